//! Receipt: what was done, when the target stopped accepting the attacker, signed and chained. OCSF Remediation Activity 7001.

use crate::event::EXTENSION;
use crate::ocsf::{Caption, Metadata, OCSF_VERSION, REMEDIATION_ACTIVITY};
use crate::plan::{EvidenceKind, Marks, Plan, PlanState};
use crate::{Id, Message, Timestamp, Topic};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A receipt. The response stage fills it; the ledger adds `attestation` when the entry is durable and signed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Receipt {
    pub class_uid: u32,
    pub class_name: Caption,
    pub category_uid: u32,
    pub category_name: Caption,
    /// The MITRE D3FEND tactic: 1 Isolate, 2 Evict, 3 Restore, 4 Harden, 5 Detect, 6 Deceive.
    pub activity_id: u8,
    pub activity_name: Caption,
    pub type_uid: u64,
    pub severity_id: u8,
    /// 1 Success, 2 Failure, 4 Partial.
    pub status_id: u8,
    pub status: Caption,
    pub time: Timestamp,
    pub message: String,
    pub metadata: Metadata,
    /// The plan's id.
    pub command_uid: String,
    pub prunella: ReceiptFacts,
    /// OCSF 1.9 `record_integrity`, set by the ledger.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attestation: Option<Attestation>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ReceiptFacts {
    pub receipt_uid: Id,
    pub plan_uid: Id,
    pub action_key: Id,
    pub incident: Id,
    pub action: String,
    pub principal: String,
    pub finding_uids: Vec<Id>,
    pub steps: Vec<crate::Step>,
    /// The state the plan ended in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<PlanState>,
    /// `refused_call` or `configuration_read`; absent when nothing was verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<EvidenceKind>,
    /// True only with evidence `refused_call`.
    pub contained: bool,
    pub evidence_detail: String,
    /// The last call of the attacker that the target accepted, as far as events tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_accepted: Option<Timestamp>,
    pub marks: Marks,
    pub latency: LatencyBudget,
}

/// Where the time went, in milliseconds. A stage that was not reached is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LatencyBudget {
    /// Provider time of the completing event to durable intake: the provider's delivery delay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detect_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apply_ms: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify_ms: Option<i64>,
    /// Durable intake to verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_ms: Option<i64>,
    /// Durable intake of the evidence to the attacker's last accepted call; negative: it came before. Absent: none was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_accepted_ms: Option<i64>,
}

impl LatencyBudget {
    pub fn of(marks: &Marks) -> Self {
        let span = |from: Timestamp, to: Timestamp| (from.0 != 0 && to.0 != 0).then(|| to.since_ms(from));
        LatencyBudget {
            delivery_ms: span(marks.provider, marks.ingested),
            detect_ms: span(marks.ingested, marks.detected),
            plan_ms: span(marks.detected, marks.planned),
            apply_ms: span(marks.planned, marks.applied),
            verify_ms: span(marks.applied, marks.verified),
            total_ms: span(marks.ingested, marks.verified),
            last_accepted_ms: None,
        }
    }
}

/// Where the receipt stands in the ledger, in the shape of OCSF 1.9 `attestation`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Attestation {
    /// SHA-256 of the ledger entry, in hexadecimal.
    pub fingerprint: String,
    /// SHA-256 of the entry before it.
    pub prev_event: String,
    /// The ledger's origin line.
    pub chain_uid: String,
    /// The key that signs its checkpoints: a C2SP verifier key.
    pub authority_uid: String,
    /// Index of the entry, from 0.
    pub index: u64,
}

impl Receipt {
    /// The receipt of a plan that reached `state` at `time`.
    pub fn of(plan: &Plan, state: PlanState, activity_id: u8, status_id: u8, time: Timestamp) -> Self {
        let class = REMEDIATION_ACTIVITY;
        let mut receipt = Receipt {
            class_uid: class.uid,
            class_name: class.name.into(),
            category_uid: class.category_uid,
            category_name: class.category_name.into(),
            activity_id,
            activity_name: class.activity_name(activity_id).into(),
            type_uid: class.type_uid(activity_id),
            severity_id: 1,
            status_id,
            status: match status_id {
                1 => "Success".into(),
                2 => "Failure".into(),
                4 => "Partial".into(),
                _ => "Other".into(),
            },
            time,
            command_uid: plan.uid.to_string(),
            ..Receipt::default()
        };
        receipt.metadata.version = OCSF_VERSION.into();
        receipt.metadata.product.name = "Prunella".into();
        receipt.metadata.product.vendor_name = "Prunella".into();
        receipt.metadata.extensions = vec![EXTENSION];
        receipt.metadata.tenant_uid = Some(plan.tenant.as_str().to_owned());
        receipt.prunella = ReceiptFacts {
            // A plan may come to a state again: it escapes, and so does what follows.
            receipt_uid: Id::derive("receipt", &[&plan.uid.0, &[state as u8], &time.0.to_le_bytes()]),
            plan_uid: plan.uid,
            action_key: plan.action_key,
            incident: plan.incident,
            action: plan.action.clone(),
            principal: plan.principal.clone(),
            finding_uids: plan.finding_uids.clone(),
            steps: plan.steps.clone(),
            state: Some(state),
            marks: plan.marks,
            latency: LatencyBudget::of(&plan.marks),
            ..ReceiptFacts::default()
        };
        receipt
    }
}

impl Message for Receipt {
    const TOPIC: Topic = Topic::Receipts;
    const VERSION: u8 = 1;

    fn id(&self) -> Id {
        self.prunella.receipt_uid
    }

    fn key(&self) -> &str {
        &self.prunella.principal
    }
}
