//! Peers: groups of principals that behave alike, and how strange an operation is among them.
//!
//! A [`Profile`] folds what one principal does into 16 numbers. [`Groups`], one for each tenant, clusters the profiles
//! by k-means (linfa), people and machines apart, and keeps for every group how often its members call which
//! operation. A newcomer is measured by the group of its nearest centroid, and before that by everybody of its kind.

mod cluster;
mod groups;
mod profile;
mod tally;

pub use groups::{GROUP_MEMBERS_MIN, GROUPS_MAX, Group, Groups, SAMPLE_MAX, VERSION};
pub use profile::{DIMENSIONS, Facts, PLACED_EVENTS_MIN, Profile, SETTLED_EVENTS_MIN};
pub use tally::OPERATIONS;

use prunella_schemas::principal::Kind;

/// Whose groups a principal belongs to: what is usual for machines says nothing about people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Side {
    /// People, root, and whoever is not known to be a machine.
    #[default]
    Human,
    /// Roles, applications, and the services of a provider.
    Machine,
}

impl From<Kind> for Side {
    fn from(kind: Kind) -> Side {
        match kind {
            Kind::Workload | Kind::Service => Side::Machine,
            Kind::Human | Kind::Root | Kind::Unknown => Side::Human,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the peer groups are of version {found}, and this program reads version {VERSION}; group again")]
    Version { found: u32 },
    #[error("the saved peer groups are broken at {0}; group again")]
    Broken(&'static str),
    #[error("cannot group the profiles, the old groups stay: {0}")]
    Cluster(#[from] linfa_clustering::KMeansError),
    #[error("cannot group the profiles, the old groups stay: {0}")]
    Parameters(#[from] linfa_clustering::KMeansParamsError),
}

/// The binary logarithm of a positive number; zero and less give that of the smallest positive number.
fn log2(value: f32) -> f32 {
    crate::series::log2(f64::from(value.max(f32::MIN_POSITIVE))) as f32
}
