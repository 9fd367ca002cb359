//! Indicator met: the event comes from, or speaks of, what a list of the operator warns of.

use super::words;
use crate::attack::VALID_CLOUD_ACCOUNT;
use crate::config::Config;
use crate::detector::{Detector, Method, analytic};
use crate::evidence::{Draft, Evidence, Severity};
use crate::past::Past;
use crate::sighting::Sighting;
use crate::window::{Mark, Window};
use prunella_schemas::Osint;
use prunella_schemas::finding::Analytic;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ioc {}

/// Indicators named in words; all of them stand in `osint`.
const NAMED_MAX: usize = 3;
const HIGH: u8 = 3;
const LOW: u8 = 1;

impl Detector for Ioc {
    fn id(&self) -> &'static str {
        "indicator_met"
    }

    fn analytic(&self) -> Analytic {
        analytic(self.id(), "Indicator of compromise", "1.0.0", Method::Rule)
    }

    fn observe(&self, seen: &Sighting<'_>, _: &Past, _: &mut Window, _: &Config, out: &mut Evidence) {
        let met = &seen.event.osint;
        let Some(surest) = met.iter().max_by_key(|osint| osint.confidence_id) else { return };
        let refused = seen.event.failed();
        let severity = match (surest.confidence_id, refused) {
            (Some(HIGH), false) => Severity::High,
            (Some(HIGH), true) | (Some(2) | None, _) => Severity::Medium,
            (Some(..=LOW), _) => Severity::Low,
            (Some(_), _) => Severity::High,
        };
        let values: Vec<&str> = met.iter().map(|osint| osint.value.as_str()).collect();
        let mut reasons: Vec<String> = met.iter().take(NAMED_MAX).map(reason).collect();
        if refused {
            reasons.push("the call was refused".to_owned());
        }
        out.found(Draft {
            severity,
            confidence: match surest.confidence_id {
                Some(HIGH) => 90,
                Some(LOW) => 30,
                _ => 60,
            },
            title: "Indicator of compromise met".to_owned(),
            message: format!(
                "{} called {} from {}; a list warns of {}",
                seen.who(),
                if seen.operation.is_empty() { &seen.event.activity_name } else { seen.operation },
                seen.from(),
                words::list(&values, NAMED_MAX)
            ),
            reasons,
            counterfactual: "The same call without what the list warns of".to_owned(),
            attacks: vec![VALID_CLOUD_ACCOUNT],
            marks: vec![Mark::of(seen, 0, 0)],
            habitual: false,
        });
    }
}

fn reason(osint: &Osint) -> String {
    let list = osint.vendor_name.as_deref().unwrap_or("a list");
    let called = osint.desc.as_deref().map(|desc| format!(" ({desc})")).unwrap_or_default();
    format!("`{}` meets `{}` of {list}{called}", osint.name, osint.value)
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use crate::stage::Detect;
    use prunella_schemas::ocsf::{API_ACTIVITY, STATUS_FAILURE, STATUS_SUCCESS};
    use prunella_schemas::{Event, Osint, Principal, Timestamp};

    fn event(status_id: u8, confidence: &[Option<u8>]) -> Event {
        let mut event = Event::new(API_ACTIVITY, 2, status_id, 1);
        event.time = Timestamp(1_722_429_000_000);
        event.prunella.principal = Principal::from_key("aws:user:ann");
        event.osint = confidence
            .iter()
            .map(|confidence_id| Osint {
                name: "src_endpoint.ip".into(),
                value: "203.0.113.0/24".to_owned(),
                vendor_name: Some("feed.json".to_owned()),
                desc: Some("Botnet".to_owned()),
                confidence_id: *confidence_id,
                ..Osint::default()
            })
            .collect();
        event.identify();
        event
    }

    #[test]
    fn severity_follows_the_surest_indicator_and_whether_the_call_went_through() {
        for (status, confidence, want) in [
            (STATUS_SUCCESS, &[][..], None),
            (STATUS_SUCCESS, &[None], Some((3, 60))),
            (STATUS_SUCCESS, &[Some(1)], Some((2, 30))),
            (STATUS_SUCCESS, &[Some(1), Some(3)], Some((4, 90))),
            (STATUS_FAILURE, &[Some(3)], Some((3, 90))),
        ] {
            let found = Detect::new(Config::default()).observe(&event(status, confidence)).findings;
            let found = found.iter().find(|f| f.finding_info.analytic.uid == "indicator_met");
            assert_eq!(found.map(|f| (f.severity_id, f.confidence_score)), want, "{confidence:?}");
            if let Some(found) = found {
                assert_eq!(found.osint.len(), confidence.len());
                let want = "`src_endpoint.ip` meets `203.0.113.0/24` of feed.json (Botnet)";
                assert_eq!(found.prunella.reasons[0], want);
            }
        }
    }
}
