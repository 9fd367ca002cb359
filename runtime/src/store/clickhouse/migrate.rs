//! The schema: made and brought up to date by a user who may, checked by everybody before they rely on it.

use super::{Server, UNKNOWN_DATABASE, UNKNOWN_TABLE, code, describe};
use clickhouse::error::Error;
use clickhouse::{Client, Row};
use prunella_schemas::port::PortError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// `MIGRATIONS[n]` leads from version `n` to `n + 1`; one that was ever released never changes. Each statement can be
/// repeated, since the server has no transactions: a migration cut off in the middle is simply run again.
pub const MIGRATIONS: &[&str] = &[
    include_str!("../../../../schemas/clickhouse/0001_events.sql"),
    include_str!("../../../../schemas/clickhouse/0002_evidence.sql"),
    include_str!("../../../../schemas/clickhouse/0003_findings.sql"),
    include_str!("../../../../schemas/clickhouse/0004_response.sql"),
    include_str!("../../../../schemas/clickhouse/0005_dead_letters.sql"),
];

const VERSIONS: &str = "CREATE TABLE IF NOT EXISTS schema_version (version UInt32, shape Array(String), \
    applied DateTime DEFAULT now()) ENGINE = MergeTree ORDER BY version SETTINGS fsync_after_insert = 1";
const SHAPE: &str = "SELECT concat(table, '.', name, ' ', type) FROM system.columns \
    WHERE database = currentDatabase() AND table != 'schema_version' ORDER BY 1";

/// What `apply` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Applied {
    pub before: u32,
    pub now: u32,
}

/// The schema of one database.
pub struct Schema {
    client: Client,
    /// The database may not exist yet.
    outside: Client,
    database: String,
}

#[derive(Row, Serialize)]
struct NewVersion<'a> {
    version: u32,
    shape: &'a [String],
}

#[derive(Row, Deserialize)]
struct Version {
    version: u32,
    shape: Vec<String>,
}

impl Schema {
    pub fn of(server: &Server) -> Result<Self, PortError> {
        let database = server.database.clone();
        let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        if database.is_empty() || !database.bytes().all(plain) {
            let text =
                format!("`{}` is not a database name: use letters, digits and `_`", database.escape_debug());
            return Err(PortError::Invalid(text));
        }
        let outside = Server { database: "default".into(), ..server.clone() }.client();
        Ok(Schema { client: server.client(), outside, database })
    }

    /// Makes what is missing. The user must be allowed to.
    pub async fn apply(&self) -> Result<Applied, PortError> {
        self.run(&self.outside, &format!("CREATE DATABASE IF NOT EXISTS {}", self.database)).await?;
        self.run(&self.client, VERSIONS).await?;
        let before = self.version().await?.map_or(0, |v| v.version);
        self.refuse_newer(before)?;
        for (version, migration) in (1u32..).zip(MIGRATIONS).skip(before as usize) {
            for statement in statements(migration) {
                self.run(&self.client, &statement).await?;
            }
            let shape = self.shape().await?;
            let mut insert =
                self.client.insert::<NewVersion<'_>>("schema_version").await.map_err(|e| describe(&e))?;
            let row = NewVersion { version, shape: &shape };
            insert.write(&row).await.map_err(|e| describe(&e))?;
            insert.end().await.map_err(|e| describe(&e))?;
        }
        self.check().await?;
        Ok(Applied { before, now: newest() })
    }

    /// Whether the tables are those that this build writes and reads. Changes nothing.
    pub async fn check(&self) -> Result<(), PortError> {
        let Some(Version { version, shape }) = self.version().await? else {
            let text =
                format!("database {} has no tables of ours; run `prunella schema apply`", self.database);
            return Err(PortError::Unavailable(text));
        };
        self.refuse_newer(version)?;
        if version < newest() {
            let text = format!(
                "database {} has schema {version}, this build needs {}; run `prunella schema apply`",
                self.database,
                newest()
            );
            return Err(PortError::Unavailable(text));
        }
        let there: BTreeSet<String> = self.shape().await?.into_iter().collect();
        match shape.iter().find(|column| !there.contains(*column)) {
            None => Ok(()),
            Some(column) => Err(PortError::Corrupt(format!(
                "database {}: column `{column}` is missing or of another type; somebody changed the tables by hand: change them back",
                self.database
            ))),
        }
    }

    /// Whether a server answers at all, whatever it says.
    pub async fn answers(&self) -> bool {
        let asked = self.outside.query_raw("SELECT 1").execute().await;
        !matches!(asked, Err(Error::Network(_) | Error::TimedOut))
    }

    fn refuse_newer(&self, version: u32) -> Result<(), PortError> {
        if version <= newest() {
            return Ok(());
        }
        Err(PortError::Corrupt(format!(
            "database {} was made by a newer prunella (schema {version}, this build reads up to {}); upgrade prunella",
            self.database,
            newest()
        )))
    }

    async fn version(&self) -> Result<Option<Version>, PortError> {
        let sql = "SELECT version, shape FROM schema_version ORDER BY version DESC LIMIT 1";
        match self.client.query_raw(sql).fetch_optional().await {
            Ok(version) => Ok(version),
            Err(e) if matches!(code(&e), Some(UNKNOWN_TABLE | UNKNOWN_DATABASE)) => Ok(None),
            Err(e) => Err(describe(&e)),
        }
    }

    async fn shape(&self) -> Result<Vec<String>, PortError> {
        self.client.query_raw(SHAPE).fetch_all().await.map_err(|e| describe(&e))
    }

    async fn run(&self, client: &Client, sql: &str) -> Result<(), PortError> {
        client.query_raw(sql).execute().await.map_err(|e| describe(&e))
    }
}

/// The version that this build writes and reads.
fn newest() -> u32 {
    u32::try_from(MIGRATIONS.len()).unwrap_or(u32::MAX)
}

fn statements(migration: &str) -> Vec<String> {
    let code: Vec<&str> = migration.lines().filter(|line| !line.starts_with("--")).collect();
    let code = code.join("\n");
    code.split(";\n").map(|s| s.trim().trim_end_matches(';').to_owned()).filter(|s| !s.is_empty()).collect()
}
