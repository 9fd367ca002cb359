//! Enrichment: what tables of the operator say about an event. Pure functions over tables that never change.
//!
//! The result stands on the event, with the id of the tables it was looked up in, so that nobody after this looks
//! anything up again. `Timeline` says which tables hold from when.

mod mmdb;
mod network;
mod prefixes;
mod ranges;
mod table;
mod timeline;

pub use self::table::{Position, Table, TableError};
pub use self::timeline::{SETS_MAX, Shelf, Timeline};

use self::mmdb::Mmdb;
use self::network::{Network, Networks};
use prunella_schemas::{Event, Id};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
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
    /// Seconds between two looks whether a file has changed.
    pub refresh_s: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config { mmdb: Vec::new(), cloud_ranges: Vec::new(), hosting_asns: Vec::new(), refresh_s: 60 }
    }
}

impl Config {
    /// Whether there is anything to look up.
    pub fn is_empty(&self) -> bool {
        Config { refresh_s: 0, ..self.clone() } == Config { refresh_s: 0, ..Config::default() }
    }
}

/// The bytes of every file that a [`Config`] names, in its order.
#[derive(Clone, Debug, Default)]
pub struct Files {
    pub mmdb: Vec<Table>,
    pub cloud_ranges: Vec<Table>,
}

/// Tables that never change: the same id, the same answers.
pub struct Tables {
    id: Id,
    networks: Networks,
    notes: Vec<String>,
}

impl Tables {
    pub fn build(config: &Config, files: Files) -> Result<Self, TableError> {
        let id = id(config, &files);
        let notes = Vec::new();
        let networks = Networks {
            ranges: ranges::read(&files.cloud_ranges)?,
            databases: files.mmdb.into_iter().map(Mmdb::read).collect::<Result<_, _>>()?,
            hosting: config.hosting_asns.iter().copied().collect(),
        };
        Ok(Tables { id, networks, notes })
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
    let rules = serde_json::to_vec(&(&config.hosting_asns,)).unwrap_or_default();
    let mut parts = vec![Id::derive("rules", &[&rules]).0];
    for (kind, tables) in [("mmdb", &files.mmdb), ("cloud_ranges", &files.cloud_ranges)] {
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

/// Writes onto the event what the tables say. What the source said itself stays.
pub fn enrich(event: &mut Event, tables: &Tables, memo: &mut Memo) {
    event.prunella.tables = Some(tables.id);
    if let Some(endpoint) = &mut event.src_endpoint
        && let Some(text) = &endpoint.ip
        && let Ok(address) = text.parse::<IpAddr>()
    {
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
}
