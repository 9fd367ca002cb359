//! The embedded hot state: token versions and accounts in a file of their own, answered from memory.

mod settings;

pub use settings::Change;

use self::settings::Settings;
use super::Past;
use crate::sqlite::{StoreError, blocking, describe, lock, open};
use async_trait::async_trait;
use prunella_schemas::port::{AccountState, PortError, Setting, State, TokenVersion};
use prunella_schemas::{Tenant, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// Most principals whose tokens were ever revoked; they are held in memory.
const TOKENS_MAX: usize = 1_000_000;
const KIND: &str = "state";
const MIGRATIONS: &[&str] = &[
    include_str!("../../../schemas/sqlite/state/0001.sql"),
    include_str!("../../../schemas/sqlite/state/0002.sql"),
];

/// A revocation only ever goes further.
const REVOKE: &str = "INSERT INTO token VALUES (?1, ?2, ?3, 1) ON CONFLICT DO UPDATE \
    SET not_before = excluded.not_before, version = version + 1 WHERE excluded.not_before > not_before \
    RETURNING not_before, version";

type Tokens = BTreeMap<String, BTreeMap<String, TokenVersion>>;

/// Token versions. Answers `Unavailable` until they are loaded. Cheap to clone.
#[derive(Clone)]
pub struct SqliteState {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    /// Held while something is revoked, so that memory changes in the order of the file.
    file: Mutex<Option<Connection>>,
    /// `None` until loaded.
    tokens: RwLock<Option<Tokens>>,
    settings: RwLock<Option<Settings>>,
}

impl SqliteState {
    /// Opens or makes the state at `path` and loads it.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let state = SqliteState::unloaded(path);
        state.load()?;
        Ok(state)
    }

    /// A state that answers `Unavailable` until `load` succeeds.
    pub fn unloaded(path: &Path) -> Self {
        let (file, tokens, settings) = (Mutex::default(), RwLock::default(), RwLock::default());
        SqliteState { shared: Arc::new(Shared { path: path.to_owned(), file, tokens, settings }) }
    }

    /// Reads the file into memory.
    pub fn load(&self) -> Result<(), StoreError> {
        let shared = &self.shared;
        let mut file = lock(&shared.file);
        let connection = open(&shared.path, KIND, MIGRATIONS)?;
        let fail = |e| describe(&shared.path, &e);
        // An answer "revoked" that a power cut takes back would let the attacker in again.
        connection.pragma_update(None, "synchronous", "FULL").map_err(fail)?;
        let tokens = read_tokens(&connection).map_err(fail)?;
        let settings = Settings::read(&connection).map_err(fail)?;
        *shared.settings.write().unwrap_or_else(PoisonError::into_inner) = Some(settings);
        *shared.tokens.write().unwrap_or_else(PoisonError::into_inner) = Some(tokens);
        *file = Some(connection);
        Ok(())
    }

    /// Whether nobody was ever acted on, as far as the file knows.
    pub fn is_empty(&self) -> bool {
        let settings = self.shared.settings.read().unwrap_or_else(PoisonError::into_inner);
        self.shared.count() == 0 && settings.as_ref().is_none_or(Settings::is_empty)
    }

    /// Takes over revocations in their order, all of them or none: for a file that was lost.
    pub fn restore(&self, past: &Past) -> Result<(), StoreError> {
        if let Some(connection) = lock(&self.shared.file).as_ref() {
            let take_over = || {
                let transaction = connection.unchecked_transaction()?;
                for (tenant, principal, not_before) in &past.revoked {
                    let values = params![tenant.as_str(), principal, not_before.0];
                    transaction.prepare_cached(REVOKE)?.query_row(values, |_| Ok(())).optional()?;
                }
                for change in &past.changes {
                    settings::replay(&transaction, change)?;
                }
                transaction.commit()
            };
            take_over().map_err(|e| describe(&self.shared.path, &e))?;
        }
        self.load()
    }
}

#[async_trait]
impl State for SqliteState {
    async fn token_version(&self, tenant: &Tenant, principal: &str) -> Result<TokenVersion, PortError> {
        let tokens = self.shared.tokens.read().unwrap_or_else(PoisonError::into_inner);
        let tokens = tokens.as_ref().ok_or_else(not_loaded)?;
        let known = tokens.get(tenant.as_str()).and_then(|t| t.get(principal));
        Ok(known
            .cloned()
            .unwrap_or_else(|| TokenVersion { principal: principal.to_owned(), ..TokenVersion::default() }))
    }

    async fn revoke_tokens(
        &self,
        tenant: &Tenant,
        principal: &str,
        not_before: Timestamp,
    ) -> Result<TokenVersion, PortError> {
        if self.shared.tokens.read().unwrap_or_else(PoisonError::into_inner).is_none() {
            return Err(not_loaded());
        }
        if principal.is_empty() {
            return Err(PortError::Invalid("cannot revoke the tokens of nobody; name a principal".into()));
        }
        let (shared, tenant, principal) = (Arc::clone(&self.shared), tenant.clone(), principal.to_owned());
        blocking(move || shared.revoke(tenant.as_str(), &principal, not_before)).await
    }

    async fn account(&self, tenant: &Tenant, principal: &str) -> Result<AccountState, PortError> {
        let settings = self.shared.settings.read().unwrap_or_else(PoisonError::into_inner);
        Ok(settings.as_ref().ok_or_else(not_loaded)?.account(tenant.as_str(), principal))
    }

    async fn setting(&self, tenant: &Tenant, principal: &str, name: &str) -> Result<Setting, PortError> {
        let settings = self.shared.settings.read().unwrap_or_else(PoisonError::into_inner);
        Ok(settings.as_ref().ok_or_else(not_loaded)?.get(tenant.as_str(), principal, name))
    }

    async fn set(
        &self,
        tenant: &Tenant,
        principal: &str,
        name: &str,
        value: Timestamp,
        expected: u64,
    ) -> Result<Setting, PortError> {
        if principal.is_empty() || name.is_empty() {
            return Err(PortError::Invalid("cannot set nothing, or for nobody".into()));
        }
        let change = Change {
            tenant: tenant.as_str().to_owned(),
            principal: principal.to_owned(),
            name: name.to_owned(),
            value,
        };
        let shared = Arc::clone(&self.shared);
        blocking(move || shared.set(change, expected)).await
    }
}

impl Shared {
    /// Durable in the file first, visible in memory second.
    fn revoke(
        &self,
        tenant: &str,
        principal: &str,
        not_before: Timestamp,
    ) -> Result<TokenVersion, StoreError> {
        let file = lock(&self.file);
        let Some(connection) = file.as_ref() else {
            let path = self.path.display().to_string();
            return Err(StoreError::Unavailable {
                path,
                detail: "the token versions are not loaded yet".into(),
            });
        };
        let unknown = || TokenVersion { principal: principal.to_owned(), ..TokenVersion::default() };
        if not_before <= Timestamp::ZERO {
            return Ok(self.known(tenant, principal).unwrap_or_else(unknown));
        }
        if self.known(tenant, principal).is_none() && self.count() >= TOKENS_MAX {
            let detail = format!("it holds {TOKENS_MAX} revoked principals");
            return Err(StoreError::Full { path: self.path.display().to_string(), detail });
        }
        let token = |r: &rusqlite::Row<'_>| {
            let (not_before, version) = (Timestamp(r.get(0)?), r.get::<_, i64>(1)?.unsigned_abs());
            Ok(TokenVersion { principal: principal.to_owned(), not_before, version })
        };
        // A transaction of its own, so that a failed commit is an error here and not lost in the end of a statement.
        let commit = || {
            let transaction = connection.unchecked_transaction()?;
            let changed =
                transaction.query_row(REVOKE, params![tenant, principal, not_before.0], token).optional()?;
            transaction.commit()?;
            Ok(changed)
        };
        let changed = commit().map_err(|e| describe(&self.path, &e))?;
        let Some(changed) = changed else {
            return Ok(self.known(tenant, principal).unwrap_or_else(unknown));
        };
        let mut tokens = self.tokens.write().unwrap_or_else(PoisonError::into_inner);
        let tenants = tokens.get_or_insert_default();
        tenants.entry(tenant.to_owned()).or_default().insert(principal.to_owned(), changed.clone());
        Ok(changed)
    }

    /// Durable in the file first, visible in memory second. The file's lock makes compare and set one.
    fn set(&self, change: Change, expected: u64) -> Result<Setting, StoreError> {
        let file = lock(&self.file);
        let path = || self.path.display().to_string();
        let Some(connection) = file.as_ref() else {
            let detail = "the account states are not loaded yet".into();
            return Err(StoreError::Unavailable { path: path(), detail });
        };
        let (known, is_full) = {
            let settings = self.settings.read().unwrap_or_else(PoisonError::into_inner);
            let found = settings.as_ref().map(|s| s.get(&change.tenant, &change.principal, &change.name));
            (found.unwrap_or_default(), settings.as_ref().is_some_and(Settings::is_full))
        };
        if known.value == change.value || known.version != expected {
            return Ok(known);
        }
        if is_full && known.version == 0 {
            return Err(StoreError::Full {
                path: path(),
                detail: "it holds too many account settings".into(),
            });
        }
        let setting = settings::write(connection, &change).map_err(|e| describe(&self.path, &e))?;
        let mut settings = self.settings.write().unwrap_or_else(PoisonError::into_inner);
        settings.get_or_insert_default().put(change, setting);
        Ok(setting)
    }

    fn known(&self, tenant: &str, principal: &str) -> Option<TokenVersion> {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        tokens.as_ref()?.get(tenant)?.get(principal).cloned()
    }

    fn count(&self) -> usize {
        let tokens = self.tokens.read().unwrap_or_else(PoisonError::into_inner);
        tokens.as_ref().map_or(0, |tenants| tenants.values().map(BTreeMap::len).sum())
    }
}

fn not_loaded() -> PortError {
    PortError::Unavailable("the token versions are not loaded yet; ask again".into())
}

fn read_tokens(connection: &Connection) -> rusqlite::Result<Tokens> {
    let mut statement = connection.prepare("SELECT tenant, principal, not_before, version FROM token")?;
    let mut rows = statement.query([])?;
    let mut tokens = Tokens::new();
    while let Some(row) = rows.next()? {
        let (tenant, principal): (String, String) = (row.get(0)?, row.get(1)?);
        let (not_before, version) = (Timestamp(row.get(2)?), row.get::<_, i64>(3)?.unsigned_abs());
        tokens
            .entry(tenant)
            .or_default()
            .insert(principal.clone(), TokenVersion { principal, not_before, version });
    }
    Ok(tokens)
}
