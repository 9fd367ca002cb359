//! A setting of a cloud as something to act on: looked at, compared with what the step was planned on, set once, looked at again.
//!
//! A `Cloud` finds and sets; what its answers mean for a step is the same for every provider, and is here.

mod acting;

pub use acting::Acting;

use async_trait::async_trait;
use prunella_schemas::{Step, Tenant};
use serde_json::Value;

/// A target as it is now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// An object, one entry for each part of the setting; `Null`: there is no such target.
    pub value: Value,
    /// What the provider takes as "only if it is still so"; empty where it takes nothing of the kind.
    pub version: String,
}

/// Why a call did not do what it should.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Sent, and no answer that says what became of it.
    #[error("{0}")]
    Lost(String),
    /// Not done, and it may work later: throttled, or not reached.
    #[error("{0}")]
    Unavailable(String),
    /// Not done, and it will not work until a person changes something.
    #[error("{0}")]
    Refused(String),
    /// There is no such target.
    #[error("{0}")]
    Missing(String),
    /// Not done: it was changed between our look and our call.
    #[error("{0}")]
    Changed(String),
}

/// What one provider can find and set.
#[async_trait]
pub trait Cloud: Send + Sync {
    /// The provider word that steps name.
    fn provider(&self) -> &'static str;
    /// Whether it may do `operation`, by calls that change nothing. `Err` names the permission that is missing.
    async fn check(&self, operation: &str) -> Result<(), Fault>;
    async fn find(&self, tenant: &Tenant, operation: &str, target: &str) -> Result<Found, Fault>;
    /// Makes what the step desires hold, by one call that is sent once. In words what was done.
    async fn set(&self, tenant: &Tenant, step: &Step, found: &Found) -> Result<String, Fault>;
    /// Credentials that came to the target since the step was planned, as `principal#credential`.
    fn opened(&self, _step: &Step, _found: &Found) -> Vec<String> {
        Vec::new()
    }
}
