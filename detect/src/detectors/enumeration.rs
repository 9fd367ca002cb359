//! Looking around: many different questions to many services within minutes, from somewhere or about something new.

use super::words;
use crate::attack::{DISCOVER_ACCOUNTS, DISCOVER_INFRASTRUCTURE, DISCOVER_SERVICES};
use crate::config::Config;
use crate::detector::{Detector, Method, analytic};
use crate::evidence::{Draft, Evidence, Severity};
use crate::network::fingerprint;
use crate::past::Past;
use crate::sighting::Sighting;
use crate::window::{Mark, Window, distinct_tags};
use prunella_schemas::finding::Analytic;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Enumeration {
    pub span_ms: i64,
    /// Different operations, and services, that make a burst.
    pub operations_min: usize,
    pub services_min: usize,
    /// Operations among them that the principal had not called before, when the network is new.
    pub unheard_of_min: usize,
    /// Of those, how many must be denied when the network is familiar.
    pub denied_min: usize,
    /// Operations never called before that are a finding from a familiar network without any denial: opening a console
    /// page for the first time asks up to this many.
    pub curious_operations_min: usize,
    pub curious_services_min: usize,
    /// Denied operations that are a finding on a principal of which little is known.
    pub learning_denied_min: usize,
}

impl Default for Enumeration {
    fn default() -> Self {
        Enumeration {
            span_ms: 10 * 60_000,
            operations_min: 12,
            services_min: 4,
            unheard_of_min: 4,
            denied_min: 5,
            curious_operations_min: 32,
            curious_services_min: 7,
            learning_denied_min: 12,
        }
    }
}

const MARKS_MAX: usize = 128;
/// `Mark::kind`: two facts and the service in six bits.
const DENIED: u8 = 1;
const UNHEARD_OF: u8 = 2;
const SERVICE: u8 = !3;

impl Detector for Enumeration {
    fn id(&self) -> &'static str {
        "credential_theft_enumeration"
    }

    fn analytic(&self) -> Analytic {
        analytic(self.id(), "Burst of discovery calls", "1.0.0", Method::Behavioral)
    }

    fn observe(
        &self,
        seen: &Sighting<'_>,
        past: &Past,
        window: &mut Window,
        config: &Config,
        out: &mut Evidence,
    ) {
        if seen.by_service || !is_question(seen.operation) {
            return;
        }
        let new_network = seen.network.is_some_and(|n| past.is_new_network(n, seen.time, config));
        let unheard_of = past.is_new_operation(seen.operation_key, seen.time, config);
        if !new_network && !unheard_of {
            return;
        }
        let facts = if unheard_of { UNHEARD_OF } else { 0 } | if seen.denied() { DENIED } else { 0 };
        let service = (fingerprint(seen.service.as_bytes()) as u8) & SERVICE;
        let mark = Mark::of(seen, service | facts, seen.operation_key);
        if !window.admit_distinct(mark, self.span_ms, MARKS_MAX) || window.marks().len() < self.operations_min
        {
            return;
        }
        let (operations, marks) = window.fullest(self.span_ms, seen.time, distinct_tags);
        if operations < self.operations_min {
            return;
        }
        let burst = Burst::of(marks, operations, new_network);
        if let Some((severity, confidence)) = self.judge(&burst, past.is_learning(seen.time, config)) {
            out.found(self.draft(seen, &burst, marks, severity, confidence));
        }
    }
}

/// What a stretch of marks amounts to.
struct Burst {
    operations: usize,
    services: usize,
    unheard_of: usize,
    denied: usize,
    new_network: bool,
}

impl Burst {
    fn of(marks: &[Mark], operations: usize, new_network: bool) -> Self {
        let services: std::collections::BTreeSet<u8> = marks.iter().map(|mark| mark.kind & SERVICE).collect();
        let count = |facts: u8| {
            let with: Vec<Mark> = marks.iter().filter(|mark| mark.kind & facts == facts).cloned().collect();
            distinct_tags(&with)
        };
        let (unheard_of, denied) = (count(UNHEARD_OF), count(UNHEARD_OF | DENIED));
        Burst { operations, services: services.len(), unheard_of, denied, new_network }
    }
}

impl Enumeration {
    fn judge(&self, burst: &Burst, learning: bool) -> Option<(Severity, u8)> {
        if burst.services < self.services_min {
            return None;
        }
        if learning {
            let mostly_denied =
                burst.denied >= self.learning_denied_min && burst.denied * 3 >= burst.operations * 2;
            return mostly_denied.then_some((Severity::Medium, 50));
        }
        if burst.new_network {
            return (burst.unheard_of >= self.unheard_of_min).then_some((Severity::High, 85));
        }
        if burst.denied >= self.denied_min && burst.denied * 4 >= burst.operations {
            return Some((Severity::Medium, 70));
        }
        let curious =
            burst.unheard_of >= self.curious_operations_min && burst.services >= self.curious_services_min;
        curious.then_some((Severity::Medium, 40))
    }

    fn draft(
        &self,
        seen: &Sighting<'_>,
        burst: &Burst,
        marks: &[Mark],
        severity: Severity,
        confidence: u8,
    ) -> Draft {
        let Burst { operations, services, unheard_of, denied, new_network } = *burst;
        let span = words::between(marks);
        let mut reasons =
            vec![format!("{operations} different read operations on {services} services in {span}")];
        reasons.push(format!("{unheard_of} of them this principal had not called before"));
        if denied > 0 {
            reasons.push(format!("{denied} of them were denied"));
        }
        if let Some(network) = seen.network.filter(|_| new_network) {
            reasons.push(format!("{network} is new to this principal"));
        }
        Draft {
            severity,
            confidence,
            title: "Burst of discovery calls".to_owned(),
            message: format!(
                "{} asked {services} services {operations} different questions in {span} from {}",
                seen.who(),
                seen.from()
            ),
            reasons,
            counterfactual: format!(
                "Fewer than {} different read operations within {}, or operations this principal has called before from a network it has used before",
                self.operations_min,
                words::span(self.span_ms)
            ),
            attacks: vec![DISCOVER_INFRASTRUCTURE, DISCOVER_SERVICES, DISCOVER_ACCOUNTS],
            marks: marks.to_vec(),
            habitual: false,
        }
    }
}

/// Whether the operation asks and does not fetch the data itself.
fn is_question(operation: &str) -> bool {
    let asks = ["List", "Describe", "Get", "Lookup", "Search", "BatchGet", "Simulate", "Head"];
    asks.iter().any(|verb| operation.starts_with(verb))
        && !matches!(operation, "GetObject" | "HeadObject" | "GetItem" | "BatchGetItem" | "GetRecords")
}
