//! What applications must honour about accounts, in memory and in the file: each setting has a value and a version of its own.

use prunella_schemas::Timestamp;
use prunella_schemas::port::{AccountState, Setting};
use rusqlite::{Connection, params};
use std::collections::BTreeMap;

/// Most settings that were ever set; they are held in memory.
const SETTINGS_MAX: usize = 1_000_000;

const WRITE: &str = "INSERT INTO setting VALUES (?1, ?2, ?3, ?4, 1) ON CONFLICT DO UPDATE \
    SET value = excluded.value, version = version + 1 RETURNING value, version";

/// A value that one setting of one account is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub tenant: String,
    pub principal: String,
    pub name: String,
    pub value: Timestamp,
}

/// By tenant and principal, then by name.
#[derive(Default)]
pub(super) struct Settings {
    accounts: BTreeMap<(String, String), BTreeMap<String, Setting>>,
    count: usize,
}

impl Settings {
    pub fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let mut statement =
            connection.prepare("SELECT tenant, principal, name, value, version FROM setting")?;
        let mut rows = statement.query([])?;
        let mut settings = Settings::default();
        while let Some(row) = rows.next()? {
            let value = Timestamp(row.get(3)?);
            let change = Change { tenant: row.get(0)?, principal: row.get(1)?, name: row.get(2)?, value };
            let version = row.get::<_, i64>(4)?.unsigned_abs();
            settings.put(change, Setting { value, version });
        }
        Ok(settings)
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn is_full(&self) -> bool {
        self.count >= SETTINGS_MAX
    }

    pub fn put(&mut self, change: Change, setting: Setting) {
        let account = self.accounts.entry((change.tenant, change.principal)).or_default();
        self.count += usize::from(account.insert(change.name, setting).is_none());
    }

    pub fn get(&self, tenant: &str, principal: &str, name: &str) -> Setting {
        let account = self.accounts.get(&(tenant.to_owned(), principal.to_owned()));
        account.and_then(|account| account.get(name)).copied().unwrap_or_default()
    }

    pub fn account(&self, tenant: &str, principal: &str) -> AccountState {
        let account = self.accounts.get(&(tenant.to_owned(), principal.to_owned()));
        AccountState::of(principal, account.into_iter().flatten())
    }
}

/// A transaction of its own, so that a failed commit is an error here and not lost in the end of a statement.
pub(super) fn write(connection: &Connection, change: &Change) -> rusqlite::Result<Setting> {
    let transaction = connection.unchecked_transaction()?;
    let setting = replay(&transaction, change)?;
    transaction.commit()?;
    Ok(setting)
}

/// The same inside a transaction.
pub(super) fn replay(connection: &Connection, change: &Change) -> rusqlite::Result<Setting> {
    let values = params![change.tenant, change.principal, change.name, change.value.0];
    connection.prepare_cached(WRITE)?.query_row(values, |row| {
        Ok(Setting { value: Timestamp(row.get(0)?), version: row.get::<_, i64>(1)?.unsigned_abs() })
    })
}
