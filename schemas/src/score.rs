//! Score: how unusual one event is, as a calibrated probability. One per event, small.

use crate::{Id, Message, Tenant, Timestamp, Topic};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Score {
    pub event_uid: Id,
    pub tenant: Tenant,
    /// The event time.
    pub time: Timestamp,
    pub class_uid: u32,
    /// Fingerprint of service and operation.
    pub operation: u64,
    /// The event moves data to another storage class or tier, or says when that happens.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tier_change: bool,
    /// Probability that an ordinary event of this class is at least this unusual. Absent while no model is trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p_value: Option<f64>,
    /// Signals and findings that came of the event. Whoever reads them from several topics knows by it what is still to come.
    #[serde(default, skip_serializing_if = "is_none")]
    pub leads_to: u32,
}

fn is_none(count: &u32) -> bool {
    *count == 0
}

impl Message for Score {
    const TOPIC: Topic = Topic::Scores;
    const VERSION: u8 = 1;

    fn id(&self) -> Id {
        Id::derive("score", &[&self.event_uid.0])
    }

    /// The tenant, since its view is made from all of its scores in one order.
    fn key(&self) -> &str {
        self.tenant.as_str()
    }
}
