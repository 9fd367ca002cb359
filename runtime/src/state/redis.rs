//! The hot state of several processes, in Redis: each change one script, and nothing told that was not loaded.
//!
//! What a tenant's state is stands in two hashes under the name of a *generation*, which begins with the life of the
//! server. Every script asks first whether that generation is the present one. A wipe takes it away, a restart or a
//! fail-over makes it another life's, and until it was made again from the ledger the answer is "not loaded".

mod load;

use super::past::History;
use crate::sqlite::lock;
use ::redis::aio::{ConnectionManager, ConnectionManagerConfig};
use ::redis::{Client, IntoConnectionInfo, RedisError, Script, Value};
use async_trait::async_trait;
use prunella_schemas::port::{AccountState, PortError, Setting, State, TokenVersion};
use prunella_schemas::{Tenant, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Most principals of a tenant whose tokens were revoked, and whose account was changed.
const PRINCIPALS_MAX: usize = 1_000_000;
/// Most tenants that one process loads.
const TENANTS_MAX: usize = 10_000;
/// A generation that moves so often while one question is asked is no state to answer from.
const TURNS_MAX: usize = 4;
/// Lua counts in doubles.
const VALUE_MAX: i64 = 1 << 53;
const ANSWER_MAX: Duration = Duration::from_secs(2);
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// Token versions and accounts in Redis. Cheap to clone.
#[derive(Clone)]
pub struct RedisState {
    shared: Arc<Shared>,
}

struct Shared {
    connection: ConnectionManager,
    /// What our keys start with.
    prefix: String,
    history: Arc<dyn History>,
    scripts: Scripts,
    /// The generation of each tenant, as last heard.
    generations: Mutex<BTreeMap<Tenant, String>>,
    /// Tenants that are being loaded by this process.
    loading: Mutex<BTreeSet<Tenant>>,
}

struct Scripts {
    get: Script,
    revoke: Script,
    set: Script,
    begin: Script,
    renew: Script,
    publish: Script,
}

impl Scripts {
    fn new() -> Self {
        let guarded = |body: &str| Script::new(&format!("{}{body}", include_str!("redis/prelude.lua")));
        Scripts {
            get: guarded(include_str!("redis/get.lua")),
            revoke: guarded(include_str!("redis/revoke.lua")),
            set: guarded(include_str!("redis/set.lua")),
            begin: Script::new(include_str!("redis/begin.lua")),
            renew: Script::new(include_str!("redis/renew.lua")),
            publish: Script::new(include_str!("redis/publish.lua")),
        }
    }
}

/// The two hashes of a generation.
#[derive(Clone, Copy)]
enum Hash {
    /// Principal to `not_before:version`.
    Tokens,
    /// Principal to a JSON object of settings, each `value:version`.
    Accounts,
}

impl Hash {
    fn name(self) -> &'static str {
        match self {
            Hash::Tokens => "tokens",
            Hash::Accounts => "accounts",
        }
    }
}

impl RedisState {
    /// Connects when first used, on the async runtime that it is called in. `url` is `redis://user@host:port/database`; an empty password is none.
    pub fn open(
        url: &str,
        password: &str,
        prefix: &str,
        history: Arc<dyn History>,
    ) -> Result<Self, PortError> {
        let wrong = |e: RedisError| PortError::Invalid(format!("`redis.url` cannot be read: {e}"));
        let mut info = url.into_connection_info().map_err(wrong)?;
        if !password.is_empty() {
            let settings = info.redis_settings().clone().set_password(password);
            info = info.set_redis_settings(settings);
        }
        let config = ConnectionManagerConfig::new()
            .set_response_timeout(Some(ANSWER_MAX))
            .set_connection_timeout(Some(CONNECT_MAX))
            .set_number_of_retries(1);
        let client = Client::open(info).map_err(wrong)?;
        let connection = ConnectionManager::new_lazy_with_config(client, config).map_err(wrong)?;
        let (prefix, scripts) = (prefix.to_owned(), Scripts::new());
        let (generations, loading) = (Mutex::default(), Mutex::default());
        let shared = Shared { connection, prefix, history, scripts, generations, loading };
        Ok(RedisState { shared: Arc::new(shared) })
    }

    /// Whether the server answers now, and keeps what it is given: one that evicts would forget who was revoked.
    pub async fn answers(&self) -> Result<(), PortError> {
        let mut connection = self.shared.connection.clone();
        let mut ask = ::redis::cmd("CONFIG");
        ask.arg("GET").arg("maxmemory-policy");
        match ask.query_async::<BTreeMap<String, String>>(&mut connection).await {
            Ok(found) if found.values().any(|policy| policy.starts_with("allkeys")) => {
                let detail = "Redis evicts whatever it likes (`maxmemory-policy`); set it to `noeviction`";
                Err(PortError::Invalid(detail.into()))
            }
            Ok(_) => Ok(()),
            Err(e) if e.is_io_error() || e.is_timeout() || e.is_connection_refusal() => Err(away(&e)),
            // A server that does not let us look is not thereby wrong.
            Err(_) => {
                let pong = ::redis::cmd("PING").query_async::<String>(&mut connection).await;
                pong.map(drop).map_err(|e| away(&e))
            }
        }
    }

    /// Runs a script on one principal's field. An empty answer: there is none.
    async fn ask(
        &self,
        tenant: &Tenant,
        script: &Script,
        hash: Hash,
        args: &[&str],
    ) -> Result<String, PortError> {
        let mut generation = lock(&self.shared.generations).get(tenant).cloned().unwrap_or_default();
        for _ in 0..TURNS_MAX {
            let mut call = script.prepare_invoke();
            call.key(self.key(tenant, "generation")).key(self.hash_key(tenant, &generation, hash));
            call.arg(&generation);
            for arg in args {
                call.arg(*arg);
            }
            let mut connection = self.shared.connection.clone();
            match call.invoke_async(&mut connection).await.map_err(|e| away(&e))? {
                Value::Nil => {
                    self.want(tenant);
                    return Err(PortError::Unavailable(
                        "the token versions are not loaded yet; ask again".into(),
                    ));
                }
                Value::Array(answer) => return text(answer.into_iter().next()),
                other => {
                    generation = text(Some(other))?;
                    let mut known = lock(&self.shared.generations);
                    if known.len() < TENANTS_MAX || known.contains_key(tenant) {
                        known.insert(tenant.clone(), generation.clone());
                    }
                }
            }
        }
        Err(PortError::Unavailable("the token versions are being loaded; ask again".into()))
    }

    /// Keys of one tenant share a hash tag, so that a script may touch all of them in a cluster too.
    fn key(&self, tenant: &Tenant, name: &str) -> String {
        format!("{{{}:{}}}:{name}", self.shared.prefix, tenant.as_str())
    }

    fn hash_key(&self, tenant: &Tenant, generation: &str, hash: Hash) -> String {
        self.key(tenant, &format!("{generation}:{}", hash.name()))
    }
}

#[async_trait]
impl State for RedisState {
    async fn token_version(&self, tenant: &Tenant, principal: &str) -> Result<TokenVersion, PortError> {
        let known = self.ask(tenant, &self.shared.scripts.get, Hash::Tokens, &[principal]).await?;
        version(principal, &known)
    }

    async fn revoke_tokens(
        &self,
        tenant: &Tenant,
        principal: &str,
        not_before: Timestamp,
    ) -> Result<TokenVersion, PortError> {
        if principal.is_empty() {
            return Err(PortError::Invalid("cannot revoke the tokens of nobody; name a principal".into()));
        }
        let (wanted, most) = (exact(not_before)?, PRINCIPALS_MAX.to_string());
        let args = [principal, &wanted, &most];
        let known = self.ask(tenant, &self.shared.scripts.revoke, Hash::Tokens, &args).await?;
        version(principal, &known)
    }

    async fn account(&self, tenant: &Tenant, principal: &str) -> Result<AccountState, PortError> {
        Ok(AccountState::of(principal, &self.settings(tenant, principal).await?))
    }

    async fn setting(&self, tenant: &Tenant, principal: &str, name: &str) -> Result<Setting, PortError> {
        Ok(self.settings(tenant, principal).await?.get(name).copied().unwrap_or_default())
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
        let (wanted, expected, most) = (exact(value)?, expected.to_string(), PRINCIPALS_MAX.to_string());
        let args = [principal, name, &wanted, &expected, &most];
        let known = self.ask(tenant, &self.shared.scripts.set, Hash::Accounts, &args).await?;
        setting(&known)
    }
}

impl RedisState {
    async fn settings(
        &self,
        tenant: &Tenant,
        principal: &str,
    ) -> Result<BTreeMap<String, Setting>, PortError> {
        let known = self.ask(tenant, &self.shared.scripts.get, Hash::Accounts, &[principal]).await?;
        if known.is_empty() {
            return Ok(BTreeMap::new());
        }
        let stored: BTreeMap<String, String> = serde_json::from_str(&known).map_err(|_| damaged(&known))?;
        stored.into_iter().map(|(name, text)| Ok((name, setting(&text)?))).collect()
    }
}

fn version(principal: &str, known: &str) -> Result<TokenVersion, PortError> {
    let Setting { value, version } = if known.is_empty() { Setting::default() } else { setting(known)? };
    Ok(TokenVersion { principal: principal.to_owned(), not_before: value, version })
}

/// `value:version`
fn setting(text: &str) -> Result<Setting, PortError> {
    if text == "full" {
        return Err(PortError::Full(format!("Redis holds {PRINCIPALS_MAX} principals of this tenant")));
    }
    let read = || {
        let (value, version) = text.split_once(':')?;
        Some(Setting { value: Timestamp(value.parse().ok()?), version: version.parse().ok()? })
    };
    read().ok_or_else(|| damaged(text))
}

fn exact(value: Timestamp) -> Result<String, PortError> {
    if value.0.unsigned_abs() < VALUE_MAX.unsigned_abs() {
        return Ok(value.0.to_string());
    }
    Err(PortError::Invalid(format!("{} ms is no time that Redis can compare", value.0)))
}

fn text(value: Option<Value>) -> Result<String, PortError> {
    let read = value.map(::redis::from_redis_value::<String>);
    read.and_then(Result::ok).ok_or_else(|| damaged("no text"))
}

fn damaged(what: &str) -> PortError {
    PortError::Corrupt(format!("Redis holds what no prunella wrote: `{what}`"))
}

fn away(error: &RedisError) -> PortError {
    let text = error.to_string();
    let remedy = match text.contains("certificate") {
        true => "; `SSL_CERT_FILE` names the file of the authority that made its certificate",
        false => "",
    };
    PortError::Unavailable(format!("Redis: {text}; see `redis.url`{remedy}"))
}
