//! Network: whose an address is, and of which class, by blocks that providers publish, databases and a list of systems.

use super::mmdb::{Mmdb, Told};
use super::prefixes::Prefixes;
use super::ranges::Cloud;
use prunella_schemas::ocsf::{AutonomousSystem, Location};
use prunella_schemas::{Caption, Enrichment, EnrichmentData};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Everything that tells something about an address.
#[derive(Default)]
pub struct Networks {
    pub databases: Vec<Mmdb>,
    pub ranges: Prefixes<Cloud>,
    /// Autonomous systems of hosting companies.
    pub hosting: BTreeSet<u32>,
}

/// What there is to say about an address.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Network {
    pub location: Option<Location>,
    pub system: Option<AutonomousSystem>,
    /// Without the value, which is the address as the event has it.
    pub enrichment: Option<Enrichment>,
}

const PRIVATE: Caption = Caption::of("private");
const CLOUD: Caption = Caption::of("cloud");
const HOSTING: Caption = Caption::of("hosting");
const OTHER: Caption = Caption::of("residential_or_unknown");

impl Networks {
    pub fn is_empty(&self) -> bool {
        self.databases.is_empty() && self.ranges.is_empty() && self.hosting.is_empty()
    }

    pub fn of(&self, address: IpAddr) -> Network {
        let address = address.to_canonical();
        if self.is_empty() {
            return Network::default();
        }
        if is_private(address) {
            let data = EnrichmentData { class: PRIVATE, ..EnrichmentData::default() };
            let enrichment = Some(enrichment("address", data));
            return Network { enrichment, ..Network::default() };
        }
        let mut told = Told::default();
        self.databases.iter().for_each(|database| database.tell(address, &mut told));
        let is_hosting = told.is_hosting || told.number.is_some_and(|n| self.hosting.contains(&n));
        let (provider, data) = match (self.ranges.get(address), is_hosting) {
            (Some(cloud), _) => ("published ranges", of_cloud(cloud)),
            (None, true) => (
                "database",
                EnrichmentData { class: HOSTING, owner: told.name.clone(), ..EnrichmentData::default() },
            ),
            (None, false) => (
                "database",
                EnrichmentData { class: OTHER, owner: told.name.clone(), ..EnrichmentData::default() },
            ),
        };
        Network {
            location: told.location(),
            system: told.system(),
            enrichment: Some(enrichment(provider, data)),
        }
    }
}

fn of_cloud(cloud: &Cloud) -> EnrichmentData {
    EnrichmentData {
        class: CLOUD,
        owner: Some(cloud.provider.to_owned()),
        region: cloud.region.clone(),
        service: cloud.service.clone(),
    }
}

fn enrichment(provider: &'static str, data: EnrichmentData) -> Enrichment {
    Enrichment {
        name: "src_endpoint.ip".into(),
        value: String::new(),
        kind: "network".into(),
        provider: provider.into(),
        data,
    }
}

/// An address that means something else in every network.
pub fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_private_v4(v4),
        IpAddr::V6(v6) => is_private_v6(v6),
    }
}

fn is_private_v4(ip: Ipv4Addr) -> bool {
    // 100.64.0.0/10 is what carriers translate from (RFC 6598).
    let shared = ip.octets()[0] == 100 && (64..128).contains(&ip.octets()[1]);
    ip.is_private() || ip.is_loopback() || ip.is_link_local() || ip.is_unspecified() || shared
}

fn is_private_v6(ip: Ipv6Addr) -> bool {
    ip.is_loopback() || ip.is_unspecified() || ip.is_unique_local() || ip.is_unicast_link_local()
}
