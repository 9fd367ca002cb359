//! One credential in two places: the same key or session from networks that cannot be neighbours, minutes apart.

use super::words;
use crate::attack::{STOLEN_CLOUD_ACCOUNT, USE_STOLEN_TOKEN};
use crate::config::Config;
use crate::detector::{Detector, Method, analytic};
use crate::evidence::{Draft, Evidence, Severity};
use crate::network::Network;
use crate::past::Past;
use crate::sighting::Sighting;
use crate::window::{Mark, Window};
use prunella_schemas::finding::Analytic;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TwoNetworks {
    /// The two uses lie at most this far apart.
    pub span_ms: i64,
    /// Changes from one network to the other and back that no journey explains.
    pub switches_min: usize,
}

impl Default for TwoNetworks {
    fn default() -> Self {
        TwoNetworks { span_ms: 15 * 60_000, switches_min: 2 }
    }
}

const MARKS_MAX: usize = 64;
/// A use in the same place is noted again only after this time, in milliseconds.
const NOTE_AGAIN_MS: i64 = 5 * 60_000;

impl Detector for TwoNetworks {
    fn id(&self) -> &'static str {
        "credential_two_networks"
    }

    fn analytic(&self) -> Analytic {
        analytic(self.id(), "One credential from two distant networks", "1.0.0", Method::Behavioral)
    }

    fn observe(
        &self,
        seen: &Sighting<'_>,
        past: &Past,
        window: &mut Window,
        config: &Config,
        out: &mut Evidence,
    ) {
        let (Some(network), Some(credential)) = (seen.network, seen.credential_key()) else { return };
        if seen.by_service
            || !network.is_public()
            || through_endpoint(seen)
            || seen.operation == "ConsoleLogin"
        {
            return;
        }
        let tag = credential ^ network.key().rotate_left(7);
        if !is_news(window, seen, tag) || !window.admit(Mark::of(seen, 0, tag), self.span_ms, MARKS_MAX) {
            return;
        }
        let here = |mark: &&Mark| mark.tag == tag;
        let elsewhere = |mark: &&Mark| {
            let other = mark.ip.as_deref().map(Network::of);
            other.is_some_and(|other| {
                other.is_distant(network) && mark.tag == credential ^ other.key().rotate_left(7)
            })
        };
        let around = window.between(seen.time.plus_ms(-self.span_ms), seen.time.plus_ms(self.span_ms));
        let Some(there) =
            around.iter().filter(elsewhere).min_by_key(|mark| mark.time.since_ms(seen.time).abs())
        else {
            return;
        };
        let pair: Vec<Mark> =
            around.iter().filter(|mark| here(mark) || mark.tag == there.tag).cloned().collect();
        let switches = pair.windows(2).filter(|two| matches!(two, [a, b] if a.tag != b.tag)).count();
        let other = there.ip.as_deref().map_or(network, Network::of);
        self.judge(seen, past, config, (network, other), switches, pair, out);
    }
}

impl TwoNetworks {
    #[allow(
        clippy::too_many_arguments,
        reason = "all of it is one judgement; a struct would only rename the parts"
    )]
    fn judge(
        &self,
        seen: &Sighting<'_>,
        past: &Past,
        config: &Config,
        (network, other): (Network, Network),
        switches: usize,
        marks: Vec<Mark>,
        out: &mut Evidence,
    ) {
        let time = seen.time;
        let new = [network, other].into_iter().find(|n| past.is_new_network(*n, time, config));
        let interleaved = switches >= self.switches_min;
        let (severity, confidence) = match (new.is_some(), interleaved) {
            (true, true) => (Severity::High, 90),
            (true, false) => (Severity::Medium, 60),
            // Nothing is called new while learning: only going to and fro more than once speaks for itself.
            (false, true) if past.is_learning(time, config) && switches > self.switches_min => {
                (Severity::Medium, 60)
            }
            _ => return,
        };
        let (first, second) = marks.first().map_or((network, other), |mark| {
            if mark.ip.as_deref().map(Network::of) == Some(other) {
                (other, network)
            } else {
                (network, other)
            }
        });
        let span = words::between(&marks);
        let mut reasons =
            vec![format!("the same credential came from {first} and from {second} within {span}")];
        if interleaved {
            reasons.push(format!("it changed between the two {switches} times, which no journey explains"));
        }
        if let Some(new) = new {
            reasons.push(format!("{new} is new to this principal"));
        }
        out.found(Draft {
            severity,
            confidence,
            title: "One credential used from two distant networks".to_owned(),
            message: format!(
                "A credential of {} was used from {first} and {second} within {span}",
                seen.who()
            ),
            reasons,
            counterfactual: format!(
                "Both networks known to this principal, or {} between the two uses",
                words::span(self.span_ms)
            ),
            attacks: vec![USE_STOLEN_TOKEN, STOLEN_CLOUD_ACCOUNT],
            marks,
            habitual: false,
        });
    }
}

/// Whether the use says more than those already noted around it in the same place.
fn is_news(window: &Window, seen: &Sighting<'_>, tag: u64) -> bool {
    let near = window.between(seen.time.plus_ms(-NOTE_AGAIN_MS), seen.time.plus_ms(NOTE_AGAIN_MS));
    near.is_empty() || near.iter().any(|mark| mark.tag != tag)
}

/// A VPC endpoint shows the private side of a host whose other calls leave by a public address.
fn through_endpoint(seen: &Sighting<'_>) -> bool {
    seen.event.src_endpoint.as_ref().is_some_and(|from| from.interface_uid.is_some())
}
