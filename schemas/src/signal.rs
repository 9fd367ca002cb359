//! Signal: evidence that is not a finding by itself, for the tenant's view.

use crate::{Finding, Id, Message, Tenant, Timestamp, Topic};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where a piece of evidence comes from. Two kinds are independent: they look at different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SignalKind {
    /// The isolation forest calls the event unusual.
    Forest,
    /// The principal became predictable: automation.
    EntropyFall,
    /// The principal became unpredictable: enumeration.
    EntropyRise,
    /// A network the principal does not come from.
    NewNetwork,
    /// A device (user agent) the principal does not use.
    NewDevice,
    FailedSignIns,
    /// More data, or data of another kind, than the principal moves.
    DataVolume,
    /// A time of day at which the principal does not work.
    Timing,
    /// An operation that the principal's peers do not call.
    Peers,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Signal {
    pub event_uid: Id,
    pub tenant: Tenant,
    pub principal: String,
    /// The event time.
    pub time: Timestamp,
    pub kind: SignalKind,
    /// What it adds to the principal's risk, of 100.
    pub weight: f64,
    /// In words, with the event's own units.
    pub detail: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p_value: Option<f64>,
    /// The finding this becomes when the tenant's false discovery control lets it through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposal: Option<Box<Finding>>,
}

impl Message for Signal {
    const TOPIC: Topic = Topic::Signals;
    const VERSION: u8 = 1;

    fn id(&self) -> Id {
        Id::derive("signal", &[&self.event_uid.0, &[self.kind as u8]])
    }

    fn key(&self) -> &str {
        self.tenant.as_str()
    }
}
