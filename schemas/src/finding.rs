//! Finding: a conclusion, its evidence, its reasons, its risk. OCSF Detection Finding 2004.

use crate::event::EXTENSION;
use crate::ocsf::{
    Actor, Caption, Cloud, DETECTION_FINDING, Endpoint, Metadata, OCSF_VERSION, Resource, severity_name,
};
use crate::risk::RiskLevel;
use crate::{Enrichment, Id, Message, Osint, Timestamp, Topic};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A detection finding. It holds event times only, so that the same events give the same bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    pub class_uid: u32,
    pub class_name: Caption,
    pub category_uid: u32,
    pub category_name: Caption,
    pub activity_id: u8,
    pub activity_name: Caption,
    pub type_uid: u64,
    pub severity_id: u8,
    pub severity: Caption,
    /// `status_id` 1, New.
    pub status_id: u8,
    pub status: Caption,
    /// The time of the event that completed the evidence.
    pub time: Timestamp,
    /// One sentence: who did what.
    pub message: String,
    pub metadata: Metadata,
    pub finding_info: FindingInfo,
    /// 0 to 100: how sure.
    pub confidence_score: u8,
    /// 0 to 100: the entity's risk after this finding, decay included.
    pub risk_score: u8,
    pub risk_level_id: u8,
    pub risk_level: Caption,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud: Option<Cloud>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evidences: Vec<Evidence>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<Resource>,
    /// What the operator's tables say of the event that completed the evidence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub enrichments: Vec<Enrichment>,
    /// The indicators that this event meets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub osint: Vec<Osint>,
    /// What was measured and what is usual, in OCSF's own shape; `prunella.analysis` says how much each counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub anomaly_analyses: Vec<AnomalyAnalysis>,
    pub prunella: FindingFacts,
}

/// OCSF `anomaly_analysis`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AnomalyAnalysis {
    pub analysis_targets: Vec<AnalysisTarget>,
    pub anomalies: Vec<Observed>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub baselines: Vec<Observed>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AnalysisTarget {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: Caption,
}

/// OCSF `anomaly` and `baseline`, which have the same attributes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Observed {
    pub observation_parameter: Caption,
    /// The unit.
    pub observation_type: Caption,
    pub observations: Vec<Observation>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_pattern: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Observation {
    pub value: String,
}

/// How unusual the event that completed the evidence is, and why.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Analysis {
    /// Probability that an ordinary event of this class is at least this unusual.
    pub p_value: f64,
    /// The isolation forest's score, 0 to 1; the mean event scores about 0.5.
    pub score: f64,
    /// log2 of the score of a row that no feature sets apart; `base` plus all shares is log2 of `score`.
    pub base: f64,
    /// Which model: kind of principal, number of training, fingerprint.
    pub model: String,
    /// One per feature, the largest share first.
    pub contributions: Vec<Contribution>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counterfactual: Option<Counterfactual>,
    /// Features that the event does not tell, and those beyond what training saw.
    pub missing: u8,
    pub beyond: u8,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Contribution {
    pub feature: Caption,
    /// In the event's own unit, for people: "14 MB", "03:00 UTC".
    pub value: String,
    /// What this feature adds to log2 of the score; negative: it speaks for an ordinary event.
    pub share: f64,
    /// The principal's usual range, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usual: Option<String>,
    /// The usual range of its peers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peers: Option<String>,
}

/// The smallest change found that makes the event ordinary. It was scored again: it flips the decision.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Counterfactual {
    pub features: Vec<Caption>,
    /// In words.
    pub text: String,
    /// The p-value of the event so changed.
    pub p_value: f64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FindingInfo {
    /// The finding's id, in hexadecimal.
    pub uid: String,
    pub title: String,
    pub desc: String,
    pub types: Vec<Caption>,
    pub analytic: Analytic,
    pub attacks: Vec<Attack>,
    pub created_time: Timestamp,
    pub first_seen_time: Timestamp,
    pub last_seen_time: Timestamp,
    /// The evidence: `uid` is the provider's own event id.
    pub related_events: Vec<RelatedEvent>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Analytic {
    pub uid: Caption,
    pub name: Caption,
    pub version: Caption,
    /// 1 Rule, 2 Behavioral, 3 Statistical, 4 Learning.
    pub type_id: u8,
    #[serde(rename = "type")]
    pub kind: Caption,
}

/// A MITRE ATT&CK technique with the tactic it serves here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Attack {
    pub version: Caption,
    pub tactic: Named,
    pub technique: Named,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub_technique: Option<Named>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Named {
    pub uid: Caption,
    pub name: Caption,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RelatedEvent {
    pub uid: String,
    pub type_uid: u64,
    /// The operation, for people.
    #[serde(rename = "type_name")]
    pub operation: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<Actor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub src_endpoint: Option<Endpoint>,
}

/// What Prunella adds to a finding.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct FindingFacts {
    pub finding_uid: Id,
    pub principal: String,
    /// Who is behind the principal, in every cloud the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity_uid: Option<String>,
    /// Why, in words, the strongest reason first.
    pub reasons: Vec<String>,
    /// What would have made it normal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counterfactual: Option<String>,
    /// `event_uid` of the evidence, in the order of `related_events`; at most `EVIDENCE_MAX`.
    pub evidence: Vec<Id>,
    /// How many events took part, evidence or not.
    pub event_count: u64,
    /// The event that completed the evidence, of which there is a score. Absent in what the tenant's view concludes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_by: Option<Id>,
    /// Absent while no model is trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub analysis: Option<Analysis>,
}

impl Finding {
    pub fn new(severity_id: u8) -> Self {
        let mut finding = Finding {
            class_uid: DETECTION_FINDING.uid,
            class_name: DETECTION_FINDING.name.into(),
            category_uid: DETECTION_FINDING.category_uid,
            category_name: DETECTION_FINDING.category_name.into(),
            activity_id: 1,
            activity_name: "Create".into(),
            type_uid: DETECTION_FINDING.type_uid(1),
            severity_id,
            severity: severity_name(severity_id).into(),
            status_id: 1,
            status: "New".into(),
            ..Finding::default()
        };
        finding.metadata.version = OCSF_VERSION.into();
        finding.metadata.product.name = "Prunella".into();
        finding.metadata.product.vendor_name = "Prunella".into();
        finding.metadata.extensions = vec![EXTENSION];
        finding
    }

    /// Sets the id: blake3-128(analytic, version, tenant, principal, window, evidence).
    pub fn identify(&mut self, window: &[u8]) {
        let evidence: Vec<u8> = self.prunella.evidence.iter().flat_map(|id| id.0).collect();
        let parts: [&[u8]; 6] = [
            self.finding_info.analytic.uid.as_bytes(),
            self.finding_info.analytic.version.as_bytes(),
            self.tenant().as_bytes(),
            self.prunella.principal.as_bytes(),
            window,
            &evidence,
        ];
        self.prunella.finding_uid = Id::derive("finding", &parts);
        self.finding_info.uid = self.prunella.finding_uid.to_string();
    }

    pub fn set_risk(&mut self, score: f64) {
        let level = RiskLevel::of(score);
        self.risk_score = score.round().clamp(0.0, 100.0) as u8;
        (self.risk_level_id, self.risk_level) = match level {
            RiskLevel::Low => (1, "Low".into()),
            RiskLevel::Medium => (2, "Medium".into()),
            RiskLevel::High => (3, "High".into()),
        };
    }

    pub fn risk_level(&self) -> RiskLevel {
        match self.risk_level_id {
            3.. => RiskLevel::High,
            2 => RiskLevel::Medium,
            _ => RiskLevel::Low,
        }
    }

    pub fn tenant(&self) -> &str {
        self.metadata.tenant_uid.as_deref().unwrap_or("default")
    }

    pub fn principal(&self) -> &str {
        &self.prunella.principal
    }
}

impl Message for Finding {
    const TOPIC: Topic = Topic::Findings;
    const VERSION: u8 = 1;

    fn id(&self) -> Id {
        self.prunella.finding_uid
    }

    fn key(&self) -> &str {
        &self.prunella.principal
    }
}
