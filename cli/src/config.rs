//! One configuration: flags over environment over file over defaults, per leaf, each value knowing where it came from.

use anyhow::{Context, bail};
use prunella_schemas::Tenant;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// Environment variables that set a value start so; sections are separated by two underscores, as in `PRUNELLA_API__LISTEN`.
const ENVIRONMENT_PREFIX: &str = "PRUNELLA_";
/// Variables with that prefix that are not configuration.
const ENVIRONMENT_OTHER: [&str; 3] = ["PRUNELLA_SHARED_DATA", "PRUNELLA_LOG", "PRUNELLA_CONFIG"];

/// Everything that can be configured. `prunella config show` prints each key with its value and origin.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Format of this file.
    pub version: u32,
    /// Whose data this process handles, unless a source says otherwise.
    pub tenant: Tenant,
    /// Where everything durable lives.
    pub data_dir: PathBuf,
    pub api: Api,
    pub log: Log,
    pub kafka: Kafka,
    /// What events are looked up in.
    pub enrich: prunella_ingest::enrich::Config,
    pub detect: prunella_detect::Config,
    pub response: prunella_respond::Config,
    /// Where playbooks are read from, beside the built-in ones. Empty: built-in only.
    pub playbooks_dir: PathBuf,
    /// Alert endpoints by name. Each way of telling sends to all of its kind.
    #[serde(default)]
    pub webhooks: BTreeMap<String, Webhook>,
    pub clickhouse: ClickHouse,
    pub postgres: Postgres,
    pub redis: Redis,
    pub vault: Vault,
    /// Systems that are read: `[[source]]`, once for each.
    #[serde(default)]
    pub source: Vec<Source>,
    /// Systems that are acted on: `[[effector]]`, once for each.
    #[serde(default)]
    pub effector: Vec<Effector>,
}

/// A system that `prunella up` and the role `connect` read. See `prunella connectors list`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Source {
    /// Its cursor is kept under this name: another name begins anew.
    pub name: String,
    /// What it is, such as `aws.cloudtrail`.
    pub kind: String,
    /// Whose data it has; default: the one above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Tenant>,
    /// Seconds between two looks at a source that had nothing more; default: as fits the kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_s: Option<u32>,
    /// What this kind alone understands.
    #[serde(flatten)]
    pub settings: Table,
}

/// A system that `prunella up` and the role `respond` act on, as far as playbooks and `response.mode_max` let them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Effector {
    pub name: String,
    /// What it is, such as `aws`.
    pub kind: String,
    /// Whose findings may act on it, and nobody else's; default: the one above.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Tenant>,
    /// What this kind alone understands.
    #[serde(flatten)]
    pub settings: Table,
}

/// The event store of the distributed mode.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClickHouse {
    /// `http://host:port` of its HTTP interface. Empty: none.
    pub url: String,
    pub database: String,
    /// `schema apply` needs one who may make tables; everything else one who may not.
    pub user: String,
    /// File that holds the password. Empty: no password.
    pub password_file: PathBuf,
}

/// The ledger of the distributed mode.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Postgres {
    /// `postgres://user@host:port/database`. Empty: none.
    pub url: String,
    /// File that holds the password. Empty: no password.
    pub password_file: PathBuf,
    /// Where all our tables are, made when it is not there.
    pub schema: String,
    /// File that holds the key by which the ledgers are signed, the same for every process. Empty: `ledger.key` in
    /// `data_dir`, made once.
    pub key_file: PathBuf,
}

/// The store of sealed files that `prunella up` serves under `/vault`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vault {
    /// Serve it, once `prunella vault init` has set one up in `data_dir`.
    pub enabled: bool,
    /// Strangers may make accounts.
    pub registration: bool,
    /// Addresses or networks of proxies, such as `10.0.0.0/8`, whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<String>,
    /// File that holds the `postgres://` address of its metadata. Empty: SQLite in `data_dir`.
    pub database_file: PathBuf,
}

/// The hot state of the distributed mode.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redis {
    /// `redis://user@host:port/database`. Empty: none.
    pub url: String,
    /// File that holds the password. Empty: no password.
    pub password_file: PathBuf,
    /// What our keys start with.
    pub prefix: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Api {
    /// Address and port. Anything but loopback needs `token_file`.
    pub listen: SocketAddr,
    /// File that holds the bearer token, mode 0600. Empty: no token, loopback only.
    pub token_file: PathBuf,
    /// Origins beside the API's own whose pages may change state, as a browser sends them: `https://prunella.example.com`.
    /// A proxy that passes the Host on needs none.
    pub origins: Vec<String>,
    /// Where people reach the API, such as `https://prunella.example.com`: requests for approval then carry a link that is
    /// good once. Empty: they carry none.
    pub public_url: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// Consumed batches older than this may be dropped, in hours.
    pub retention_hours_max: u32,
    /// Consumed batches may be dropped beyond this size, in MiB.
    pub retention_mib_max: u64,
}

/// The log between roles that run as processes of their own. `prunella up` does not use it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kafka {
    /// `host:port` of one or more brokers, separated by commas.
    pub brokers: String,
    /// What the names of our topics start with.
    pub topic_prefix: String,
    /// Make missing topics when a role starts. Off: `prunella topics create` makes them.
    pub create_topics: bool,
    /// Partitions of every topic that we make. Fixed once made: a key would move away from its past.
    pub partitions: u16,
    /// Copies of every partition, at most as many as there are brokers.
    pub replication: u16,
    /// Name of this process across restarts, one for each process: a quick restart then moves no partition. Empty: none.
    pub member: String,
    /// Empty: no SASL. Set `properties` `security.protocol` and `sasl.mechanism` too.
    pub sasl_username: String,
    /// File that holds the SASL password.
    pub sasl_password_file: PathBuf,
    /// Given to librdkafka as they are, such as `security.protocol` or `ssl.ca.location`.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    #[serde(default)]
    pub kind: WebhookKind,
    /// Where it is. Of Slack the address is the secret, and stands in `secret_file` instead.
    #[serde(default)]
    pub url: String,
    /// File that holds the secret: `whsec_...` (a second line is the previous one while rotating), Slack's address,
    /// PagerDuty's integration key, or the private key that signs security events, as PEM.
    pub secret_file: PathBuf,
    /// Of security events: who sends them (`iss`), to whom (`aud`), and the key's id (`kid`).
    #[serde(default)]
    pub issuer: String,
    #[serde(default)]
    pub audience: String,
    #[serde(default)]
    pub key_id: String,
    /// Allow loopback and private addresses.
    #[serde(default)]
    pub allow_private: bool,
}

/// What an endpoint understands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WebhookKind {
    /// Standard Webhooks.
    #[default]
    Webhook,
    Slack,
    PagerDuty,
    Caep,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            version: 1,
            tenant: Tenant::default(),
            data_dir: "prunella-data".into(),
            api: Api {
                listen: SocketAddr::from(([127, 0, 0, 1], 7766)),
                token_file: PathBuf::new(),
                origins: Vec::new(),
                public_url: String::new(),
            },
            log: Log { retention_hours_max: 168, retention_mib_max: 4_096 },
            kafka: Kafka {
                brokers: "127.0.0.1:9092".to_owned(),
                topic_prefix: "prunella".to_owned(),
                create_topics: true,
                partitions: 4,
                replication: 1,
                member: String::new(),
                sasl_username: String::new(),
                sasl_password_file: PathBuf::new(),
                properties: BTreeMap::new(),
            },
            enrich: prunella_ingest::enrich::Config::default(),
            detect: prunella_detect::Config::default(),
            response: prunella_respond::Config::default(),
            playbooks_dir: PathBuf::new(),
            webhooks: BTreeMap::new(),
            clickhouse: ClickHouse {
                url: String::new(),
                database: "prunella".into(),
                user: "prunella".into(),
                password_file: PathBuf::new(),
            },
            postgres: Postgres {
                url: String::new(),
                password_file: PathBuf::new(),
                schema: "prunella".into(),
                key_file: PathBuf::new(),
            },
            redis: Redis { url: String::new(), password_file: PathBuf::new(), prefix: "prunella".into() },
            vault: Vault {
                enabled: true,
                registration: true,
                trusted_proxies: Vec::new(),
                database_file: PathBuf::new(),
            },
            source: Vec::new(),
            effector: Vec::new(),
        }
    }
}

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    Default,
    File(PathBuf),
    Environment(String),
    Flag(&'static str),
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path) => write!(f, "file {}", path.display()),
            Origin::Environment(name) => write!(f, "environment {name}"),
            Origin::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// A configuration with the origin of every leaf.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    /// `(key, value, origin)`, sorted by key.
    pub leaves: Vec<(String, Value, Origin)>,
}

/// Values that flags gave, by dotted key.
pub type Flags = Vec<(&'static str, &'static str, Value)>;

/// Merges the layers. `file` is read if given; a missing file is an error only then.
pub fn load(
    file: Option<&Path>,
    environment: impl Iterator<Item = (String, String)>,
    flags: Flags,
) -> anyhow::Result<Loaded> {
    let mut leaves = BTreeMap::new();
    let defaults = Table::try_from(Config::default()).context("the built-in defaults do not serialise")?;
    flatten(&[], &Value::Table(defaults), &Origin::Default, &mut leaves);
    if let Some(path) = file {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the configuration {}", path.display()))?;
        let table: Table = text.parse().with_context(|| format!("{} is not TOML", path.display()))?;
        flatten(&[], &Value::Table(table), &Origin::File(path.to_owned()), &mut leaves);
    }
    for (name, text) in environment {
        let Some(rest) = name.strip_prefix(ENVIRONMENT_PREFIX) else { continue };
        if !ENVIRONMENT_OTHER.contains(&name.as_str()) {
            let key = rest.to_ascii_lowercase().split("__").map(str::to_owned).collect();
            leaves.insert(key, (parse_scalar(&text), Origin::Environment(name)));
        }
    }
    for (key, flag, value) in flags {
        leaves.insert(key.split('.').map(str::to_owned).collect(), (value, Origin::Flag(flag)));
    }
    let mut merged = Table::new();
    for (key, (value, origin)) in &leaves {
        insert(&mut merged, key, value.clone()).with_context(|| format!("{origin}"))?;
    }
    let config: Config =
        Value::Table(merged).try_into().map_err(|e: toml::de::Error| explain(&e, &leaves))?;
    if config.version != 1 {
        bail!("configuration version {} is unknown; this build reads version 1", config.version);
    }
    Ok(Loaded {
        config,
        leaves: leaves.into_iter().map(|(path, (value, origin))| (path.join("."), value, origin)).collect(),
    })
}

/// By path: a key of its own may hold dots, as the names of actions do.
type Leaves = BTreeMap<Vec<String>, (Value, Origin)>;

fn flatten(path: &[String], value: &Value, origin: &Origin, leaves: &mut Leaves) {
    match value {
        Value::Table(table) => {
            for (key, value) in table {
                let inner: Vec<String> = path.iter().chain([key]).cloned().collect();
                flatten(&inner, value, origin, leaves);
            }
        }
        leaf => {
            leaves.insert(path.to_vec(), (leaf.clone(), origin.clone()));
        }
    }
}

fn insert(table: &mut Table, path: &[String], value: Value) -> anyhow::Result<()> {
    match path {
        [] => {}
        [key] => drop(table.insert(key.clone(), value)),
        [section, rest @ ..] => {
            let entry = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            let Value::Table(inner) = entry else { bail!("`{section}` is a value, not a section") };
            insert(inner, rest, value)?;
        }
    }
    Ok(())
}

/// Environment values are TOML where they read as TOML, else plain text.
fn parse_scalar(text: &str) -> Value {
    let parsed = format!("x = {text}").parse::<Table>().ok().and_then(|mut t| t.remove("x"));
    parsed.unwrap_or_else(|| Value::String(text.to_owned()))
}

/// Names the value that is not understood and where it came from: the one that the defaults cannot take either.
fn explain(error: &toml::de::Error, leaves: &Leaves) -> anyhow::Error {
    let set = leaves.iter().filter(|(_, (_, origin))| *origin != Origin::Default);
    let culprit = set.into_iter().find(|(key, (value, _))| {
        let Ok(mut alone) = Table::try_from(Config::default()) else { return false };
        let fits = insert(&mut alone, key, value.clone()).is_ok();
        let read = Value::Table(alone).try_into::<Config>();
        // A section that is not complete with one key alone says nothing about that key.
        !fits || read.is_err_and(|e| e.message() == error.message())
    });
    let message = error.message();
    match culprit {
        Some((key, (_, origin))) => anyhow::anyhow!("{message} (key `{}` from {origin})", key.join(".")),
        None => anyhow::anyhow!("{message}; see `prunella config show` for every key"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> std::vec::IntoIter<(String, String)> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<Vec<_>>().into_iter()
    }

    fn origin(loaded: &Loaded, key: &str) -> Origin {
        loaded.leaves.iter().find(|(k, ..)| k == key).map(|(_, _, o)| o.clone()).expect("known key")
    }

    #[test]
    fn flags_win_over_environment_over_file_over_defaults() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let file = dir.path().join("prunella.toml");
        std::fs::write(&file, "tenant = \"acme\"\n[api]\nlisten = \"127.0.0.1:1\"\n").expect("writable");
        let pairs = [
            ("PRUNELLA_API__LISTEN", "127.0.0.1:2"),
            ("PRUNELLA_LOG__RETENTION_HOURS_MAX", "5"),
            ("HOME", "/x"),
        ];
        let flags: Flags = vec![("api.listen", "--listen", Value::String("127.0.0.1:3".into()))];
        let loaded = load(Some(&file), env(&pairs), flags).expect("valid");
        assert_eq!(loaded.config.api.listen.port(), 3);
        assert_eq!(loaded.config.tenant.as_str(), "acme");
        assert_eq!(loaded.config.log.retention_hours_max, 5);
        assert_eq!(origin(&loaded, "api.listen"), Origin::Flag("--listen"));
        assert_eq!(origin(&loaded, "tenant"), Origin::File(file));
        assert_eq!(origin(&loaded, "log.retention_mib_max"), Origin::Default);
    }

    #[test]
    fn what_is_not_understood_is_an_error_that_names_it() {
        let check = |pairs: &[(&str, &str)], want: &str| {
            let error = format!("{:#}", load(None, env(pairs), Vec::new()).expect_err("refused"));
            assert!(error.contains(want), "{error}");
        };
        check(&[("PRUNELLA_LISTEN", "x")], "unknown field `listen`");
        check(&[("PRUNELLA_TENANT", "Not A Tenant")], "is not a tenant name");
        check(&[("PRUNELLA_VERSION", "9")], "version 9");
        check(&[("PRUNELLA_TENANT__X", "1")], "`tenant` is a value");
        check(
            &[("PRUNELLA_API__LISTEN", "nowhere")],
            "(key `api.listen` from environment PRUNELLA_API__LISTEN)",
        );
        check(&[("PRUNELLA_WEBHOOKS__SOC__URL", "https://x")], "missing field `secret_file`");
        check(&[("PRUNELLA_SOURCE", "[{ name = \"trail\" }]")], "missing field `kind`");
    }
}
