//! Enrichment: what tables of the operator say about an event. Pure functions over tables that never change.
//!
//! The result stands on the event, with the id of the tables it was looked up in, so that nobody after this looks
//! anything up again. `Timeline` says which tables hold from when.

mod assets;
mod glob;
mod identities;
mod indicators;
mod mmdb;
mod network;
mod prefixes;
mod ranges;
mod stix;
mod table;
mod timeline;

pub use self::identities::{Attribute, IdentityRule};
pub use self::table::{Position, Table, TableError};
pub use self::timeline::{SETS_MAX, Shelf, Timeline};

use self::assets::Assets;
use self::identities::Identities;
use self::indicators::Indicators;
use self::mmdb::Mmdb;
use self::network::{Network, Networks};
use prunella_schemas::enrichment::OSINT_PROFILE;
use prunella_schemas::{Event, Id};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Addresses whose network is remembered.
const MEMO_MAX: usize = 4_096;

/// Which files there are, and what needs none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// MaxMind databases: City, Country, ASN, ISP, Anonymous-IP, Enterprise. What one leaves out the next may tell.
    pub mmdb: Vec<PathBuf>,
    /// AWS `ip-ranges.json`, Azure `ServiceTags_*.json`, Google `cloud.json`.
    pub cloud_ranges: Vec<PathBuf>,
    /// Autonomous systems of hosting companies.
    pub hosting_asns: Vec<u32>,
    /// STIX 2.1 bundles, and plain lists of addresses, blocks, domains, hashes.
    pub indicators: Vec<PathBuf>,
    /// One entity's principals, as CSV or YAML.
    pub identities: Vec<PathBuf>,
    /// For who is not in the map: the first rule that matches counts.
    pub identity: Vec<IdentityRule>,
    /// What is known of resources, as CSV or YAML.
    pub assets: Vec<PathBuf>,
    /// Seconds between two looks whether a file has changed.
    pub refresh_s: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            mmdb: Vec::new(),
            cloud_ranges: Vec::new(),
            hosting_asns: Vec::new(),
            indicators: Vec::new(),
            identities: Vec::new(),
            identity: Vec::new(),
            assets: Vec::new(),
            refresh_s: 60,
        }
    }
}

impl Config {
    /// Whether there is anything to look up.
    pub fn is_empty(&self) -> bool {
        Config { refresh_s: 0, ..self.clone() } == Config { refresh_s: 0, ..Config::default() }
    }

    /// Every file, in the order of [`Files::of`].
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        let all = [&self.mmdb, &self.cloud_ranges, &self.indicators, &self.identities, &self.assets];
        all.into_iter().flatten()
    }
}

/// The bytes of every file that a [`Config`] names, in its order.
#[derive(Clone, Debug, Default)]
pub struct Files {
    pub mmdb: Vec<Table>,
    pub cloud_ranges: Vec<Table>,
    pub indicators: Vec<Table>,
    pub identities: Vec<Table>,
    pub assets: Vec<Table>,
}

impl Files {
    /// Reads every file of a configuration with `read`.
    pub fn of<E>(config: &Config, read: impl Fn(&Path) -> Result<Table, E>) -> Result<Self, E> {
        let all = |paths: &[PathBuf]| paths.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>();
        Ok(Files {
            mmdb: all(&config.mmdb)?,
            cloud_ranges: all(&config.cloud_ranges)?,
            indicators: all(&config.indicators)?,
            identities: all(&config.identities)?,
            assets: all(&config.assets)?,
        })
    }
}

/// Tables that never change: the same id, the same answers.
pub struct Tables {
    id: Id,
    networks: Networks,
    indicators: Indicators,
    identities: Identities,
    assets: Assets,
    notes: Vec<String>,
}

impl Tables {
    pub fn build(config: &Config, files: Files) -> Result<Self, TableError> {
        let id = id(config, &files);
        let mut notes = Vec::new();
        let indicators = Indicators::read(&files.indicators, &mut notes)?;
        let identities = Identities::read(&files.identities, &config.identity, &mut notes)?;
        let assets = Assets::read(&files.assets)?;
        let networks = Networks {
            ranges: ranges::read(&files.cloud_ranges)?,
            databases: files.mmdb.into_iter().map(Mmdb::read).collect::<Result<_, _>>()?,
            hosting: config.hosting_asns.iter().copied().collect(),
        };
        Ok(Tables { id, networks, indicators, identities, assets, notes })
    }

    /// Of the content of all files and of the rules: not of names, nor of times.
    pub fn id(&self) -> Id {
        self.id
    }

    /// What of the files is not used, and why.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tables({})", self.id)
    }
}

fn id(config: &Config, files: &Files) -> Id {
    let rules = serde_json::to_vec(&(&config.hosting_asns, &config.identity)).unwrap_or_default();
    let mut parts = vec![Id::derive("rules", &[&rules]).0];
    let all = [
        ("mmdb", &files.mmdb),
        ("cloud_ranges", &files.cloud_ranges),
        ("indicators", &files.indicators),
        ("identities", &files.identities),
        ("assets", &files.assets),
    ];
    for (kind, tables) in all {
        parts.extend(tables.iter().map(|table| Id::derive(kind, &[&table.bytes]).0));
    }
    let parts: Vec<&[u8]> = parts.iter().map(<[u8; 16]>::as_slice).collect();
    Id::derive("tables", &parts)
}

/// What is known of the addresses met last: the same tables say the same again.
#[derive(Debug, Default)]
pub struct Memo {
    tables: Id,
    networks: Vec<Option<(IpAddr, Arc<Network>)>>,
}

impl Memo {
    fn of(&mut self, address: IpAddr, tables: &Tables) -> Arc<Network> {
        if self.tables != tables.id || self.networks.is_empty() {
            self.tables = tables.id;
            self.networks.clear();
            self.networks.resize(MEMO_MAX, None);
        }
        let Some(slot) = self.networks.get_mut(slot(address)) else {
            return Arc::new(tables.networks.of(address));
        };
        match slot {
            Some((known, network)) if *known == address => Arc::clone(network),
            _ => {
                let network = Arc::new(tables.networks.of(address));
                *slot = Some((address, Arc::clone(&network)));
                network
            }
        }
    }
}

fn slot(address: IpAddr) -> usize {
    let bits = match address {
        IpAddr::V4(v4) => u64::from(v4.to_bits()),
        IpAddr::V6(v6) => (v6.to_bits() >> 64) as u64 ^ v6.to_bits() as u64,
    };
    (bits.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 52) as usize % MEMO_MAX
}

/// Writes onto the event what the tables say. What the source said itself of an address stays.
pub fn enrich(event: &mut Event, tables: &Tables, memo: &mut Memo) {
    event.prunella.tables = Some(tables.id);
    event.prunella.entity_uid = tables.identities.of(event);
    place(event, tables, memo);
    tables.indicators.meet(event);
    if !event.osint.is_empty() && !event.metadata.profiles.contains(&OSINT_PROFILE) {
        event.metadata.profiles.push(OSINT_PROFILE);
    }
    if !tables.assets.is_empty() {
        event.resources.iter_mut().for_each(|resource| tables.assets.tag(resource));
    }
}

fn place(event: &mut Event, tables: &Tables, memo: &mut Memo) {
    let Some(endpoint) = &mut event.src_endpoint else { return };
    let Some(text) = &endpoint.ip else { return };
    let Ok(address) = text.parse::<IpAddr>() else { return };
    let network = memo.of(address, tables);
    if endpoint.location.is_none() {
        endpoint.location.clone_from(&network.location);
    }
    if endpoint.autonomous_system.is_none() {
        endpoint.autonomous_system.clone_from(&network.system);
    }
    if let Some(enrichment) = &network.enrichment {
        let mut enrichment = enrichment.clone();
        enrichment.value.clone_from(text);
        event.enrichments.push(enrichment);
    }
}
