//! The vault as a whole: what it is made of, how it is first set up, and how it is opened again.

use crate::accounts::{self, DEVICE_KEY, Devices, NewUser};
use crate::clock::{Clock, chance, random_id};
use crate::custody::{Custody, OnStep, Stores};
use crate::db::Database;
use crate::keyring::{KeyService, Ring, name_of};
use crate::lock::Hold;
use crate::log::{self, Log};
use crate::objects::{LocalStore, ObjectStore};
use crate::password::Passwords;
use crate::policy::{Policy, Role};
use crate::proxy::Proxies;
use crate::refusals::Refusals;
use crate::throttle::Throttle;
use crate::token::{self, Tokens};
use crate::{Error, names};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use prunella_schemas::{Tenant, Timestamp};
use prunella_vault_crypto::gate::Domain;
use prunella_vault_crypto::identity::{PrivateKey, PublicKey, Suite};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::sync::{Notify, Semaphore};
use zeroize::Zeroizing;

/// Largest sealed body, in bytes, unless the configuration says otherwise: a little over 10 GiB.
pub const UPLOAD_BYTES_MAX: u64 = 11 << 30;
/// Most uploads in progress; further ones are answered 503.
const UPLOADS_MAX: usize = 64;
/// How long what was replaced is kept for readers that have begun, in milliseconds.
pub const GRACE_MS: i64 = 60_000;
/// How long an attempt may take before the janitor ends it, in milliseconds.
pub const ATTEMPT_MS_MAX: i64 = 10 * 60_000;

const REKEY_KEY: &str = "rekey";
const ORIGIN: &str = "ledger_origin";
const RECOVERY_KEY: &str = "recovery_key";
const APPROVER_KEY: &str = "approver_key";

/// How a vault is run.
#[derive(Clone)]
pub struct Config {
    /// Where everything lies that has no address of its own.
    pub data_dir: PathBuf,
    /// `postgres://...`; none: SQLite in the data directory.
    pub database: Option<String>,
    pub clock: Clock,
    pub policy: Policy,
    /// Whether strangers may make accounts.
    pub registration: bool,
    pub upload_bytes_max: u64,
    pub grace_ms: i64,
    pub attempt_ms_max: i64,
    pub tenant: Tenant,
    /// Who is believed when they say for whom they ask.
    pub proxies: Proxies,
    /// Told of each step of each change of custody.
    pub on_step: OnStep,
}

impl Config {
    pub fn new(data_dir: &Path, clock: Clock) -> Result<Self, Error> {
        Ok(Config {
            data_dir: data_dir.to_owned(),
            database: None,
            clock,
            policy: Policy::built_in()?,
            registration: true,
            upload_bytes_max: UPLOAD_BYTES_MAX,
            grace_ms: GRACE_MS,
            attempt_ms_max: ATTEMPT_MS_MAX,
            tenant: Tenant::default(),
            proxies: Proxies::default(),
            on_step: Arc::new(|_| ()),
        })
    }

    async fn database(&self) -> Result<Database, Error> {
        match &self.database {
            Some(url) => Database::open(url).await,
            None => Database::embedded(&self.data_dir.join("vault.db")).await,
        }
    }

    fn first_ring(&self) -> Result<Ring, Error> {
        let domains = [Domain::Objects, Domain::Database].into_iter().filter_map(name_of);
        let names: Vec<&str> = domains.chain([token::KEY, DEVICE_KEY, REKEY_KEY, log::KEY]).collect();
        self.ring("first", &names)
    }

    fn second_ring(&self) -> Result<Ring, Error> {
        self.ring("second", &Vec::from_iter(name_of(Domain::Service)))
    }

    fn ring(&self, name: &str, keys: &[&str]) -> Result<Ring, Error> {
        let folder = self.data_dir.join("keys");
        make_private(&folder).map_err(|e| Error::store("the key ring", &e))?;
        Ring::open(&folder.join(format!("{name}.ring")), &folder.join(format!("{name}.key")), keys)
    }
}

/// What a new vault gives once and does not keep: the private keys that stay offline, base64.
pub struct Offline {
    pub recovery: Zeroizing<String>,
    pub approver: Zeroizing<String>,
}

pub struct Vault {
    pub(crate) db: Database,
    pub(crate) custody: Custody,
    pub(crate) tokens: Tokens,
    pub(crate) devices: Devices,
    pub(crate) passwords: Passwords,
    pub(crate) policy: Policy,
    pub(crate) throttle: Throttle,
    pub(crate) log: Log,
    pub(crate) ring: Arc<Ring>,
    pub(crate) registration: bool,
    pub(crate) upload_bytes_max: u64,
    /// Uploads in progress, bounded.
    pub(crate) uploads: Semaphore,
    pub(crate) grace_ms: i64,
    pub(crate) attempt_ms_max: i64,
    pub(crate) tenant: Tenant,
    pub(crate) proxies: Proxies,
    pub(crate) refusals: Refusals,
    hold: Mutex<Option<Hold>>,
    /// Something is in the outbox.
    pub(crate) posted: Notify,
    /// A renewal waits for its turn.
    pub(crate) renewals: Notify,
    clock: Clock,
}

impl Vault {
    /// Sets a new vault up: keys, tables, and an account that may administrate. Refuses a folder that has a vault.
    pub async fn init(config: &Config, admin: &str, password: Zeroizing<String>) -> Result<Offline, Error> {
        names::account(admin)?;
        names::password(&password)?;
        make_private(&config.data_dir).map_err(|e| Error::store("the data directory", &e))?;
        let db = config.database().await?;
        if setting(&db, RECOVERY_KEY).await?.is_some() {
            return Err(Error::Conflict("this vault is set up already"));
        }
        config.first_ring()?;
        config.second_ring()?;
        let hash = Passwords::new()?.hash(password).await?;
        let (recovery, approver) = (offline_key()?, offline_key()?);
        let mut tx = db.begin().await?;
        let user = NewUser {
            name: admin,
            role: Role::Admin,
            password: &hash,
            wrap_key: "",
            sign_key: "",
            sealed_identity: "",
        };
        accounts::add(&mut tx, &user, (config.clock)()).await?;
        let settings = [
            (RECOVERY_KEY, BASE64.encode(recovery.public().as_bytes())),
            (APPROVER_KEY, BASE64.encode(approver.public().as_bytes())),
            (ORIGIN, format!("prunella.vault/{}", random_id())),
        ];
        for (name, value) in settings {
            let insert =
                sqlx::query("INSERT INTO settings (name, value) VALUES ($1, $2)").bind(name).bind(value);
            insert.execute(&mut *tx).await?;
        }
        tx.commit().await?;
        db.close().await;
        let text = |key: &PrivateKey| Zeroizing::new(BASE64.encode(key.expose()));
        Ok(Offline { recovery: text(&recovery), approver: text(&approver) })
    }

    /// Opens a vault that was set up.
    pub async fn open(config: Config) -> Result<Arc<Self>, Error> {
        let db = config.database().await?;
        let missing = Error::Conflict("there is no vault here yet: run `prunella vault init`");
        let origin = setting(&db, ORIGIN).await?.ok_or(missing)?;
        make_private(&config.data_dir).map_err(|e| Error::store("the data directory", &e))?;
        let hold = Hold::take(&config.data_dir, &db, &origin).await?;
        let first = Arc::new(config.first_ring()?);
        let second = Arc::new(config.second_ring()?);
        let store = |name: &'static str, folder: &str| -> Result<Arc<dyn ObjectStore>, Error> {
            let path = config.data_dir.join(folder);
            make_private(&path).map_err(|e| Error::store(name, &e))?;
            Ok(Arc::new(LocalStore::open(name, &path)?))
        };
        let stores = Stores {
            objects: store("the object store", "objects")?,
            rare: store("the object store of STANDARD_IA", "objects-ia")?,
            service: store("the store of the second key service", "parts/service")?,
            approver: store("the store of the approver", "parts/approver")?,
            cold: store("the cold store", "parts/cold")?,
        };
        let custody = Custody {
            db: db.clone(),
            stores,
            first: Arc::clone(&first) as Arc<dyn KeyService>,
            second: second as Arc<dyn KeyService>,
            cold: offline_public(&db, RECOVERY_KEY).await?,
            approver: offline_public(&db, APPROVER_KEY).await?,
            clock: Arc::clone(&config.clock),
            on_step: config.on_step,
            deposits: Mutex::default(),
        };
        Ok(Arc::new(Vault {
            log: Log::open(db.clone(), &first, &origin).await?,
            tokens: Tokens::new(Arc::clone(&first)),
            devices: Devices::new(Arc::clone(&first)),
            passwords: Passwords::new()?,
            policy: config.policy,
            throttle: Throttle,
            ring: first,
            registration: config.registration,
            upload_bytes_max: config.upload_bytes_max,
            uploads: Semaphore::new(UPLOADS_MAX),
            grace_ms: config.grace_ms,
            attempt_ms_max: config.attempt_ms_max,
            tenant: config.tenant,
            proxies: config.proxies,
            refusals: Refusals::default(),
            hold: Mutex::new(Some(hold)),
            posted: Notify::new(),
            renewals: Notify::new(),
            clock: config.clock,
            custody,
            db,
        }))
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Seals a key that turns capsules, for the database; bound to its grant.
    pub(crate) fn seal_rekey(&self, grant: &str, rekey: &[u8; 32]) -> Result<String, Error> {
        let (version, key) = self.ring.newest(REKEY_KEY)?;
        let sealed = prunella_vault_crypto::stream::seal(&key, grant.as_bytes(), rekey, &mut chance());
        let sealed = sealed.map_err(|_| Error::Unavailable("the cryptographic library"))?;
        Ok(format!("{version}.{}", BASE64.encode(sealed)))
    }

    pub(crate) fn open_rekey(&self, grant: &str, sealed: &str) -> Option<Zeroizing<[u8; 32]>> {
        let (version, sealed) = sealed.split_once('.')?;
        let key = self.ring.version(REKEY_KEY, version.parse().ok()?)?;
        let sealed = BASE64.decode(sealed).ok()?;
        let rekey = prunella_vault_crypto::stream::open(&key, grant.as_bytes(), &sealed).ok()?;
        rekey.as_slice().try_into().ok().map(Zeroizing::new)
    }

    /// Closes the database; requests in progress end first.
    pub async fn close(&self) {
        self.db.close().await;
        if let Ok(mut hold) = self.hold.lock() {
            *hold = None;
        }
    }
}

/// A folder that only its owner may enter.
fn make_private(path: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(path)?;
    #[cfg(unix)]
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    Ok(())
}

fn offline_key() -> Result<PrivateKey, Error> {
    PrivateKey::generate(Suite::XWing, &mut chance())
        .map_err(|_| Error::Unavailable("the cryptographic library"))
}

async fn offline_public(db: &Database, name: &str) -> Result<PublicKey, Error> {
    let damaged = || Error::Corrupt("the database");
    let text = setting(db, name).await?.ok_or_else(damaged)?;
    PublicKey::parse(Suite::XWing, &BASE64.decode(text).map_err(|_| damaged())?).map_err(|_| damaged())
}

async fn setting(db: &Database, name: &str) -> Result<Option<String>, Error> {
    let value = sqlx::query_scalar("SELECT value FROM settings WHERE name = $1").bind(name);
    Ok(value.fetch_optional(db.pool()).await?)
}
