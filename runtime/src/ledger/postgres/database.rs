//! The way to PostgreSQL: connections that give up in time, tables of the newest schema, and errors in words.

use crate::sqlite::StoreError;
use prunella_ledger::Verifier;
use prunella_schemas::Tenant;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, ConnectOptions, PgPool};
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

const CONNECTIONS_MAX: u32 = 8;
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// A transaction whose process is frozen in the middle of it would lock out its successor: the server ends it.
const IDLE_MS_MAX: &str = "5000";
const STATEMENT_MS_MAX: &str = "20000";
const LOCK_MS_MAX: &str = "10000";

/// How to reach a server, and as whom.
#[derive(Clone)]
pub struct Server {
    /// `postgres://user@host:port/database`
    pub url: String,
    /// Empty: none.
    pub password: String,
    /// Holds all our tables: lower-case letters, digits and `_`.
    pub schema: String,
}

/// A connected server with our tables. Cheap to clone.
#[derive(Clone)]
pub struct Database {
    pool: PgPool,
    name: Arc<str>,
}

impl Database {
    /// Connects, and brings the tables to the newest schema.
    pub async fn open(server: &Server) -> Result<Self, StoreError> {
        let schema = &server.schema;
        let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        if schema.is_empty() || !schema.bytes().all(is_plain) {
            return Err(StoreError::Invalid(format!(
                "`postgres.schema` is `{schema}`; it takes lower-case letters, digits and `_`"
            )));
        }
        let wrong = |e: sqlx::Error| StoreError::Invalid(format!("`postgres.url` cannot be read: {e}"));
        let mut options: PgConnectOptions = server.url.parse().map_err(wrong)?;
        if !server.password.is_empty() {
            options = options.password(&server.password);
        }
        let options = options.application_name("prunella").disable_statement_logging().options([
            ("search_path", schema.as_str()),
            // What is acknowledged is on the disk, whatever the server's default.
            ("synchronous_commit", "on"),
            ("idle_in_transaction_session_timeout", IDLE_MS_MAX),
            ("statement_timeout", STATEMENT_MS_MAX),
            ("lock_timeout", LOCK_MS_MAX),
        ]);
        let name = format!(
            "postgres://{}:{}/{}#{schema}",
            options.get_host(),
            options.get_port(),
            options.get_database().unwrap_or_default()
        );
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS_MAX).acquire_timeout(CONNECT_MAX);
        let database = Database { pool: pool.connect_lazy_with(options), name: name.into() };
        database.make_schema(schema).await.map_err(|e| database.describe(&e))?;
        sqlx::migrate!("../schemas/postgres/ledger").run(&database.pool).await.map_err(|e| match e {
            sqlx::migrate::MigrateError::Execute(e) => database.describe(&e),
            e => StoreError::Corrupt { path: database.name().to_owned(), detail: e.to_string() },
        })?;
        Ok(database)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Whether the server answers now.
    pub async fn answers(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1").execute(&self.pool).await.map(drop).map_err(|e| self.describe(&e))
    }

    /// Whether nobody has signed here yet, so that a key may be made.
    pub async fn is_unsigned(&self) -> Result<bool, StoreError> {
        let signed = sqlx::query_scalar("SELECT EXISTS (SELECT FROM authority)").fetch_one(&self.pool).await;
        signed.map(|signed: bool| !signed).map_err(|e| self.describe(&e))
    }

    /// Refuses a key other than the first that signed here: every process of an installation has the same.
    pub(super) async fn check_authority(&self, key: &Verifier) -> Result<(), StoreError> {
        let ours = key.to_string();
        let claim = async {
            let sql = "INSERT INTO authority (verifier) VALUES ($1) ON CONFLICT DO NOTHING";
            sqlx::query(sql).bind(&ours).execute(&self.pool).await?;
            sqlx::query_scalar("SELECT verifier FROM authority").fetch_one(&self.pool).await
        };
        let known: String = claim.await.map_err(|e| self.describe(&e))?;
        if known == ours {
            return Ok(());
        }
        Err(StoreError::Invalid(format!(
            "the ledgers in {} are signed by {known}, and the key given is {ours}; give every process the same `ledger.key`",
            self.name
        )))
    }

    /// Whether every action is stopped, and by whom the switch was last moved.
    pub async fn kill_switch(&self) -> Result<bool, StoreError> {
        let engaged = sqlx::query_scalar("SELECT engaged FROM kill_switch").fetch_optional(&self.pool).await;
        engaged.map(Option::unwrap_or_default).map_err(|e| self.describe(&e))
    }

    pub async fn set_kill_switch(&self, engaged: bool, by: &str) -> Result<(), StoreError> {
        let sql = "INSERT INTO kill_switch (engaged, by) VALUES ($1, $2) \
                   ON CONFLICT (one) DO UPDATE SET engaged = excluded.engaged, by = excluded.by";
        let set = sqlx::query(sql).bind(engaged).bind(by).execute(&self.pool).await;
        set.map(drop).map_err(|e| self.describe(&e))
    }

    /// Says in words what the server or the way to it reported.
    pub(super) fn describe(&self, error: &sqlx::Error) -> StoreError {
        let (path, detail) = (self.name.to_string(), error.to_string());
        match error {
            sqlx::Error::Database(e) if e.code().is_some_and(|code| code.starts_with("53")) => {
                StoreError::Full { path, detail }
            }
            sqlx::Error::Database(e) if e.code().is_some_and(|code| code.starts_with("28")) => {
                let detail =
                    format!("{detail}; see the user in `postgres.url`, and `postgres.password_file`");
                StoreError::Unavailable { path, detail }
            }
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => StoreError::Corrupt { path, detail },
            // Over TCP nothing else can be not found.
            sqlx::Error::Io(e) if e.kind() == ErrorKind::NotFound || detail.contains("certificate") => {
                let detail = format!("{detail}; see `sslrootcert` in `postgres.url`");
                StoreError::Unavailable { path, detail }
            }
            sqlx::Error::PoolTimedOut | sqlx::Error::Io(_) => StoreError::Unavailable {
                path,
                detail: format!("{detail}; is PostgreSQL running there? see `postgres.url`"),
            },
            _ => StoreError::Unavailable { path, detail },
        }
    }

    pub(super) fn broken(&self, tenant: &Tenant, detail: &str) -> StoreError {
        let path = format!("{} of tenant {}", self.name, tenant.as_str());
        StoreError::Corrupt { path, detail: format!("{detail} (`prunella ledger verify` says where)") }
    }

    async fn make_schema(&self, schema: &str) -> sqlx::Result<()> {
        let mut transaction = self.pool.begin().await?;
        // Two that start at once would both find nothing and both make it.
        sqlx::query("SELECT pg_advisory_xact_lock(hashtext('prunella'))").execute(&mut *transaction).await?;
        let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)")
            .bind(schema)
            .fetch_one(&mut *transaction)
            .await?;
        if !exists {
            let sql = format!("CREATE SCHEMA {schema}");
            sqlx::query(AssertSqlSafe(sql)).execute(&mut *transaction).await?;
        }
        transaction.commit().await
    }
}
