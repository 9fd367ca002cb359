//! What the console is handed: the ports of `schemas`, the live feed, and the simulator that only it knows.

use async_trait::async_trait;
use prunella_schemas::Timestamp;
use prunella_schemas::port::{ApprovalLinks, HealthView, Intake, LedgerView, Live, PortError, State, Store};
use std::sync::Arc;

/// Everything the console reads from and writes to.
#[derive(Clone)]
pub struct Ports {
    pub store: Arc<dyn Store>,
    pub intake: Arc<dyn Intake>,
    pub state: Arc<dyn State>,
    pub ledger: Arc<dyn LedgerView>,
    pub health: Arc<dyn HealthView>,
    /// Every feed subscribes to it.
    pub live: tokio::sync::broadcast::Sender<Live>,
    /// Absent: `POST /api/simulate-attack` answers 501.
    pub simulator: Option<Arc<dyn Simulator>>,
    /// Absent: there are no links by which people approve.
    pub links: Option<Arc<dyn ApprovalLinks>>,
    /// Wall-clock time, for the commands of operators.
    pub clock: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Names of the sources that intake can read, such as `aws.cloudtrail`.
    pub sources: Vec<String>,
    /// Ids of the playbooks, for those who start one by hand.
    pub playbooks: Vec<String>,
}

/// Starts a simulated attack against this very process.
#[async_trait]
pub trait Simulator: Send + Sync {
    /// Starts it and returns at once with what was started.
    async fn start(
        &self,
        attack_type: &str,
        intensity: &str,
        seed: Option<u64>,
    ) -> Result<serde_json::Value, PortError>;
    /// The attack types it knows.
    fn catalog(&self) -> Vec<String>;
}
