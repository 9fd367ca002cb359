//! Suspect: what is remembered of one principal for an hour: who witnessed what, and what may become a finding.

use super::Config;
use super::control::Counted;
use crate::features::{self, CATALOG};
use prunella_schemas::finding::RelatedEvent;
use prunella_schemas::limits::EVIDENCE_MAX;
use prunella_schemas::ocsf::Caption;
use prunella_schemas::{Id, SignalKind, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Most principals remembered per tenant; beyond it those unheard of for longest go first.
pub const SUSPECTS_MAX: usize = 4_096;
/// Most sources remembered per principal: every kind of signal, and some rules.
const WITNESSES_MAX: usize = 16;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Suspect {
    /// The tenant's time when it was last heard of.
    pub heard: Timestamp,
    /// The newest word of each source.
    witnesses: BTreeMap<Source, Witness>,
    pub counted: Option<Counted>,
    /// The least probable proposal that was refused.
    pub refused: Option<Candidate>,
    /// The least probable proposal that was let through, and the shift of entropy: each may still become High.
    pub let_through: Option<Candidate>,
    pub shift: Option<Candidate>,
    spoken: BTreeMap<Subject, Spoken>,
    pub unsaid: Unsaid,
}

/// Who says so. Different sources look at different things.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Source {
    Signal(SignalKind),
    /// A finding of this analytic, of severity Medium or above.
    Rule(String),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Witness {
    pub time: Timestamp,
    pub event: Id,
    /// In words.
    pub detail: String,
}

/// What a finding is about, for the cool-down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Subject {
    Proposal,
    Shift,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Spoken {
    time: Timestamp,
    severity: u8,
}

/// What may become a finding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    pub subject: Subject,
    pub kind: SignalKind,
    pub p_value: f64,
    /// When nothing confirms it.
    pub severity: u8,
    pub time: Timestamp,
    pub event: Id,
    /// The analytic that proposes it.
    pub analytic: String,
    pub detail: String,
    /// The proposed finding as it is on the wire. Empty: none was proposed.
    pub proposal: Vec<u8>,
    /// The one thing it is unusual by, if it is one that a signal looks at too: that signal confirms nothing.
    pub rests_on: Option<SignalKind>,
    /// What it alone counts with, when it is not said by itself.
    pub evidence: Option<RelatedEvent>,
}

/// What was let through since the last finding, but not said by itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Unsaid {
    pub count: u64,
    pub events: Vec<(Id, RelatedEvent)>,
}

impl Suspect {
    /// Takes a word in; of one source the newest counts.
    pub fn hear(&mut self, source: Source, witness: Witness) {
        if self.witnesses.get(&source).is_some_and(|known| known.time > witness.time) {
            return;
        }
        self.witnesses.insert(source, witness);
        if self.witnesses.len() > WITNESSES_MAX {
            let oldest = self.witnesses.iter().min_by_key(|(_, known)| known.time);
            if let Some(oldest) = oldest.map(|(source, _)| source.clone()) {
                self.witnesses.remove(&oldest);
            }
        }
    }

    /// Those who confirm the candidate, and look at something else.
    pub fn confirming(&self, candidate: &Candidate, config: &Config) -> Vec<(&Source, &Witness)> {
        let near = |witness: &Witness| is_near(witness.time, candidate.time, config.corroboration_ms);
        self.witnesses
            .iter()
            .filter(|(source, witness)| near(witness) && source.is_independent_of(candidate))
            .collect()
    }

    /// Whether a rule found something about the same principal.
    pub fn is_found_by_rule(&self, candidate: &Candidate, config: &Config) -> bool {
        self.confirming(candidate, config).iter().any(|(source, _)| matches!(source, Source::Rule(_)))
    }

    /// Whether a finding of this severity may be said: not soon after one as severe about the same, and not after the
    /// principal was called High at all.
    pub fn may_say(&self, subject: Subject, severity: u8, time: Timestamp, config: &Config) -> bool {
        self.spoken.iter().all(|(about, said)| {
            !is_near(said.time, time, config.cooldown_ms - 1)
                || said.severity < severity
                || (*about != subject && said.severity < super::words::HIGH)
        })
    }

    pub fn said(&mut self, subject: Subject, severity: u8, time: Timestamp) {
        self.spoken.insert(subject, Spoken { time, severity });
    }
}

impl Candidate {
    /// The candidate as somebody who confirms others.
    pub fn witness(&self) -> Witness {
        Witness { time: self.time, event: self.event, detail: self.detail.clone() }
    }
}

/// The two kinds of entropy look at the same thing.
pub fn is_entropy(kind: SignalKind) -> bool {
    matches!(kind, SignalKind::EntropyFall | SignalKind::EntropyRise)
}

/// The kind of signal that looks at the same thing as all of these features.
pub fn looked_at_by(changed: &[Caption]) -> Option<SignalKind> {
    let kind = |feature: &Caption| match CATALOG.iter().position(|known| *feature == known.name)? {
        features::NETWORK | features::TRAVEL => Some(SignalKind::NewNetwork),
        features::DEVICE => Some(SignalKind::NewDevice),
        features::FAILURES => Some(SignalKind::FailedSignIns),
        features::SIZE | features::SIZE_DEVIATION => Some(SignalKind::DataVolume),
        features::HOUR => Some(SignalKind::Timing),
        features::PEERS => Some(SignalKind::Peers),
        features::ENTROPY => Some(SignalKind::EntropyFall),
        _ => None,
    };
    let first = kind(changed.first()?)?;
    changed.iter().all(|feature| kind(feature) == Some(first)).then_some(first)
}

impl Source {
    fn is_independent_of(&self, candidate: &Candidate) -> bool {
        match self {
            Source::Rule(analytic) => *analytic != candidate.analytic,
            Source::Signal(kind) => {
                let is_same = |other: SignalKind| *kind == other || (is_entropy(*kind) && is_entropy(other));
                !is_same(candidate.kind) && !candidate.rests_on.is_some_and(is_same)
            }
        }
    }
}

impl Unsaid {
    pub fn add(&mut self, candidate: &Candidate) {
        self.count += 1;
        if let Some(related) = candidate.evidence.clone().filter(|_| self.events.len() < EVIDENCE_MAX) {
            self.events.push((candidate.event, related));
        }
    }
}

/// The principals of a tenant of whom something was heard lately.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "BTreeMap<String, Suspect>", into = "BTreeMap<String, Suspect>")]
pub struct Suspects {
    all: BTreeMap<String, Suspect>,
    order: BTreeSet<(Timestamp, String)>,
}

impl From<BTreeMap<String, Suspect>> for Suspects {
    fn from(all: BTreeMap<String, Suspect>) -> Self {
        let order = all.iter().map(|(name, suspect)| (suspect.heard, name.clone())).collect();
        Suspects { all, order }
    }
}

impl From<Suspects> for BTreeMap<String, Suspect> {
    fn from(suspects: Suspects) -> Self {
        suspects.all
    }
}

impl Suspects {
    /// The principal, noted as heard of at `now`, the tenant's event time.
    pub fn of(&mut self, principal: &str, now: Timestamp) -> &mut Suspect {
        let suspect = self.all.entry(principal.to_owned()).or_default();
        self.order.remove(&(suspect.heard, principal.to_owned()));
        suspect.heard = now;
        self.order.insert((now, principal.to_owned()));
        suspect
    }

    pub fn get(&self, principal: &str) -> Option<&Suspect> {
        self.all.get(principal)
    }

    pub fn get_mut(&mut self, principal: &str) -> Option<&mut Suspect> {
        self.all.get_mut(principal)
    }

    /// Forgets those not heard of since `before`, then the longest unheard of down to the bound.
    pub fn forget(&mut self, before: Timestamp) {
        while let Some((heard, _)) = self.order.first() {
            if *heard >= before && self.all.len() <= SUSPECTS_MAX {
                return;
            }
            if let Some((_, principal)) = self.order.pop_first() {
                self.all.remove(&principal);
            }
        }
    }
}

/// Whether two times are at most `span_ms` apart.
pub fn is_near(a: Timestamp, b: Timestamp, span_ms: i64) -> bool {
    a.max(b).since_ms(a.min(b)) <= span_ms
}
