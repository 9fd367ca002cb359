//! Making a tenant's state again from the ledger: under a name that nobody reads yet, and published at once.

use super::{Hash, RedisState, TENANTS_MAX, away};
use crate::sqlite::lock;
use crate::state::Past;
use ::redis::Value;
use prunella_schemas::port::{PortError, Setting};
use prunella_schemas::{Tenant, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

/// Whoever does not renew its ticket for so long has died, and somebody else may load.
const TICKET_MS_MAX: u32 = 15_000;
const RENEW_EVERY: Duration = Duration::from_secs(4);
/// Fields written at once.
const PORTION: usize = 1_000;

impl RedisState {
    /// Loads a tenant in the background, unless that is under way.
    pub(super) fn want(&self, tenant: &Tenant) {
        let is_known = lock(&self.shared.generations).remove(tenant).is_some();
        let mut loading = lock(&self.shared.loading);
        if (!is_known && loading.len() >= TENANTS_MAX) || !loading.insert(tenant.clone()) {
            return;
        }
        drop(loading);
        let (state, tenant) = (self.clone(), tenant.clone());
        tokio::spawn(async move {
            match state.load(&tenant).await {
                Ok(true) => tracing::info!(tenant = tenant.as_str(), "Redis was loaded from the ledger"),
                Ok(false) => {}
                Err(e) => tracing::warn!(tenant = tenant.as_str(), error = %e, "Redis could not be loaded"),
            }
            lock(&state.shared.loading).remove(&tenant);
        });
    }

    /// Loads a tenant from the ledger. `false`: it is loaded already, or somebody else loads it.
    pub async fn load(&self, tenant: &Tenant) -> Result<bool, PortError> {
        let mut connection = self.shared.connection.clone();
        let ticket = random()?;
        let (current, loading) = (self.key(tenant, "generation"), self.key(tenant, "loading"));
        let mut begin = self.shared.scripts.begin.prepare_invoke();
        begin.key(&current).key(&loading).arg(&ticket).arg(TICKET_MS_MAX);
        // Before the ledger is read: a wipe after this takes the ticket away.
        let begun: Value = begin.invoke_async(&mut connection).await.map_err(|e| away(&e))?;
        if begun == Value::Nil {
            return Ok(false);
        }
        let (life, old): (String, String) = ::redis::from_redis_value(begun)
            .map_err(|_| PortError::Corrupt("Redis does not tell its `run_id`".into()))?;
        let mut reading = self.shared.history.past(tenant);
        let past = loop {
            tokio::select! {
                past = &mut reading => break past?,
                () = tokio::time::sleep(RENEW_EVERY) => {
                    let mut renew = self.shared.scripts.renew.prepare_invoke();
                    renew.key(&loading).arg(&ticket).arg(TICKET_MS_MAX);
                    renew.invoke_async::<()>(&mut connection).await.map_err(|e| away(&e))?;
                }
            }
        };
        let generation = format!("{life}.{ticket}");
        self.write(tenant, &generation, &past).await?;
        let mut publish = self.shared.scripts.publish.prepare_invoke();
        publish.key(&current).key(&loading).arg(&generation).arg(&ticket);
        let published: i64 = publish.invoke_async(&mut connection).await.map_err(|e| away(&e))?;
        let unneeded = if published == 1 { &old } else { &generation };
        if !unneeded.is_empty() {
            let mut unlink = ::redis::cmd("UNLINK");
            for hash in [Hash::Tokens, Hash::Accounts] {
                unlink.arg(self.hash_key(tenant, unneeded, hash));
            }
            unlink.query_async::<()>(&mut connection).await.map_err(|e| away(&e))?;
        }
        Ok(published == 1)
    }

    async fn write(&self, tenant: &Tenant, generation: &str, past: &Past) -> Result<(), PortError> {
        let rendered = |Setting { value, version }: &Setting| format!("{}:{version}", value.0);
        let tokens = tokens(past).into_iter().map(|(who, setting)| (who, rendered(&setting)));
        let accounts = accounts(past).into_iter().map(|(who, settings)| {
            let settings: BTreeMap<&str, String> =
                settings.iter().map(|(name, setting)| (*name, rendered(setting))).collect();
            (who, serde_json::json!(settings).to_string())
        });
        self.put(tenant, generation, Hash::Tokens, &tokens.collect::<Vec<_>>()).await?;
        self.put(tenant, generation, Hash::Accounts, &accounts.collect::<Vec<_>>()).await
    }

    async fn put(
        &self,
        tenant: &Tenant,
        generation: &str,
        hash: Hash,
        fields: &[(&str, String)],
    ) -> Result<(), PortError> {
        let (mut connection, key) = (self.shared.connection.clone(), self.hash_key(tenant, generation, hash));
        for portion in fields.chunks(PORTION) {
            let mut set = ::redis::cmd("HSET");
            set.arg(&key);
            for (field, value) in portion {
                set.arg(*field).arg(value);
            }
            set.query_async::<()>(&mut connection).await.map_err(|e| away(&e))?;
        }
        Ok(())
    }
}

/// Each principal's token version after everything, as if it had been revoked step by step.
fn tokens(past: &Past) -> BTreeMap<&str, Setting> {
    let mut tokens: BTreeMap<&str, Setting> = BTreeMap::new();
    for (_, principal, not_before) in &past.revoked {
        let known = tokens.entry(principal).or_default();
        if *not_before > known.value {
            *known = Setting { value: *not_before, version: known.version + 1 };
        }
    }
    tokens.retain(|_, known| known.value > Timestamp::ZERO);
    tokens
}

/// Each account's settings after everything.
fn accounts(past: &Past) -> BTreeMap<&str, BTreeMap<&str, Setting>> {
    let mut accounts: BTreeMap<&str, BTreeMap<&str, Setting>> = BTreeMap::new();
    for change in &past.changes {
        let known = accounts.entry(&change.principal).or_default().entry(&change.name).or_default();
        *known = Setting { value: change.value, version: known.version + 1 };
    }
    accounts
}

fn random() -> Result<String, PortError> {
    let mut bytes = [0; 16];
    let unlucky = |_| PortError::Unavailable("the system gives no random bytes".into());
    aws_lc_rs::rand::fill(&mut bytes).map_err(unlucky)?;
    Ok(hex::encode(bytes))
}
