//! The stage: each event meets its principal's past, then becomes part of it.

use crate::attack::VALID_CLOUD_ACCOUNT;
use crate::config::Config;
use crate::detector::{Method, analytic};
use crate::detectors::words;
use crate::engine::{Engine, Judged};
use crate::evidence::{Draft, Evidence, Severity};
use crate::explain;
use crate::features::{self, inputs};
use crate::notice::{Noticed, notice, shifted};
use crate::principals::{Memory, Principals};
use crate::sighting::Sighting;
use crate::snapshot;
use crate::window::Mark;
use prunella_schemas::finding::{Analysis, Analytic};
use prunella_schemas::ocsf::CLOUD_INVENTORY;
use prunella_schemas::risk::RiskLevel;
use prunella_schemas::stage::SnapshotError;
use prunella_schemas::{
    Delivered, Event, Finding, Id, Outbox, Risk, Score, Signal, SignalKind, Stage, Tenant, Timestamp,
};

pub(crate) const NAME: &str = "detect";
/// Under this name, in place of a technique, cool-downs remember what a kind of signal added to the risk.
const RISK: &str = "risk";

/// EVENT -> FINDING, per principal.
pub struct Detect {
    config: Config,
    pub(crate) principals: Principals,
    pub(crate) engine: Engine,
}

/// What came of one event.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    pub findings: Vec<Finding>,
    /// Changes of the principal's risk level.
    pub risks: Vec<Risk>,
    /// Evidence for the tenant's view.
    pub signals: Vec<Signal>,
    /// Absent for a repeat, which was judged before.
    pub score: Option<Score>,
}

impl Detect {
    pub fn new(config: Config) -> Self {
        let settled_min = u32::try_from(config.learning_events_min).unwrap_or(u32::MAX);
        let engine = Engine::new(config.engine.clone(), settled_min);
        Detect { config, principals: Principals::default(), engine }
    }

    /// Judges one event, then learns it. Time is the event's own.
    pub fn observe(&mut self, event: &Event) -> Verdict {
        self.observe_at(event, Timestamp::ZERO)
    }

    /// The same for an event that became durable at `now`: it cannot have happened much later.
    pub fn observe_at(&mut self, event: &Event, now: Timestamp) -> Verdict {
        let mut verdict = Verdict::default();
        // Nobody acts in an inventory.
        if event.class_uid == CLOUD_INVENTORY.uid {
            return verdict;
        }
        let seen = Sighting::at(event, now);
        let detectors = self.config.detectors.all();
        let (max, settled) = (self.config.principals_max, self.config.learning_events_min);
        let Some(memory) = self.principals.of(event, detectors.len(), max, settled) else { return verdict };
        if memory.past.is_repeat(&seen) {
            return verdict;
        }
        let judged = self.engine.judge(&seen, &memory.past, &memory.profile);
        let case = Case { seen: &seen, judged: &judged, engine: &self.engine, config: &self.config };
        memory.risk.decay_to(seen.time);
        note_level(memory, event, seen.time, None, &mut verdict);
        let suspect = case.detect(memory, &mut verdict);
        case.notice(memory, notice(&seen, &memory.past, &judged, &self.config), &mut verdict);
        let score = case.score();
        let young = memory.past.is_learning(seen.time, &self.config);
        // Of the young, everything is unusual: were it not learnt, they would remain strangers for good.
        let unusual = !young && judged.p_value().is_some_and(|p| p <= self.config.engine.signal_p_value_max);
        let stranger = young && judged.strange.is_some();
        let flagged = suspect || unusual || stranger;
        let learnt = self.engine.learn(&seen, &judged, &mut memory.profile, (flagged, young));
        if let Some(shift) = &learnt.shift {
            let case = Case { seen: &seen, judged: &judged, engine: &self.engine, config: &self.config };
            case.notice(memory, vec![shifted(shift)], &mut verdict);
        }
        let leads_to = u32::try_from(verdict.findings.len() + verdict.signals.len()).unwrap_or(u32::MAX);
        verdict.score = Some(Score { leads_to, ..score });
        let cause = verdict.findings.last().map(|finding| finding.prunella.finding_uid);
        note_level(memory, event, seen.time, cause, &mut verdict);
        memory.past.learn(&seen, flagged || learnt.shift.is_some());
        if learnt.regroup {
            self.engine.regroup(event.tenant(), self.principals.profiles(event.tenant()));
        }
        verdict
    }

    /// Learns from past events, without a word about them, and trains every model on them. How many models there are then.
    pub fn train(&mut self, events: &[Event]) -> usize {
        for event in events {
            self.observe(event);
        }
        self.engine.train()
    }

    /// Principals remembered now.
    pub fn principals(&self) -> usize {
        self.principals.len()
    }

    pub(crate) fn detector_ids(&self) -> Vec<&'static str> {
        self.config.detectors.all().iter().map(|detector| detector.id()).collect()
    }
}

impl Stage for Detect {
    type In = Event;

    fn name(&self) -> &'static str {
        NAME
    }

    fn step(&mut self, batch: &[Delivered<Event>], out: &mut Outbox) {
        for delivered in batch {
            let verdict = self.observe_at(&delivered.message, delivered.at);
            out.caused_by(delivered);
            verdict.findings.iter().for_each(|finding| out.push(finding));
            verdict.risks.iter().for_each(|risk| out.push(risk));
            verdict.signals.iter().for_each(|signal| out.push(signal));
            verdict.score.iter().for_each(|score| out.push(score));
        }
    }

    fn save(&self) -> Vec<u8> {
        snapshot::save(self)
    }

    fn restore(&mut self, bytes: &[u8]) -> Result<(), SnapshotError> {
        snapshot::restore(self, bytes)
    }
}

/// One event with what it is judged by.
struct Case<'a> {
    seen: &'a Sighting<'a>,
    judged: &'a Judged,
    engine: &'a Engine,
    config: &'a Config,
}

impl Case<'_> {
    /// Asks every detector. Whether the event takes part in something of severity Medium or above, said or, so soon
    /// after the last time, not said again.
    fn detect(&self, memory: &mut Memory, verdict: &mut Verdict) -> bool {
        let (seen, config) = (self.seen, self.config);
        let mut suspect = false;
        for (detector, window) in config.detectors.all().iter().zip(&mut memory.windows) {
            let mut evidence = Evidence::new(detector.id(), &memory.cooldowns, config);
            detector.observe(seen, &memory.past, window, config, &mut evidence);
            suspect |= evidence.is_hushed();
            // Only the event at hand completes evidence: what is found without it was found before.
            let drafts = evidence.drafts().into_iter().filter(|draft| draft.holds(seen));
            for draft in drafts {
                let (time, severity, technique) = (newest(&draft, seen), draft.severity, draft.technique());
                let quiet_ms = if draft.habitual { config.habit_cooldown_ms } else { config.cooldown_ms };
                let heard = memory.cooldowns.permit(detector.id(), technique, time, severity as u8, quiet_ms);
                suspect |= severity >= Severity::Medium && (heard || !draft.habitual);
                if !heard {
                    continue;
                }
                memory.cooldowns.speak(detector.id(), technique, time, severity as u8);
                if severity >= Severity::Medium {
                    memory.past.rhythm.flag(seen.time);
                }
                memory.risk.add(draft.weight(), seen.time);
                verdict.findings.push(self.finding(
                    draft,
                    detector.analytic(),
                    memory.risk.score(),
                    self.analysis(),
                ));
            }
        }
        suspect
    }

    /// Hands in what was noticed and not just said.
    fn notice(&self, memory: &mut Memory, noticed: Vec<Noticed>, verdict: &mut Verdict) {
        let (seen, quiet_ms) = (self.seen, self.config.cooldown_ms);
        for noticed in noticed {
            let (id, strength) = (noticed.id(), noticed.strength);
            if !memory.cooldowns.permit(id, "", seen.time, strength, quiet_ms) {
                continue;
            }
            memory.cooldowns.speak(id, "", seen.time, strength);
            let weight = noticed.weight as u8;
            if memory.cooldowns.permit(id, RISK, seen.time, weight, quiet_ms) {
                memory.cooldowns.speak(id, RISK, seen.time, weight);
                memory.risk.add(noticed.weight, seen.time);
            }
            let risk = memory.risk.score();
            let proposal = match (noticed.kind, noticed.p_value) {
                (SignalKind::Forest, _) => self.analysis().map(|analysis| self.proposal(analysis, risk)),
                (_, Some(p_value)) => Some(self.newcomer(p_value, memory.past.events, risk)),
                (_, None) => None,
            };
            verdict.signals.push(Signal {
                event_uid: seen.event.prunella.event_uid,
                tenant: tenant(seen.event),
                principal: seen.event.principal().to_owned(),
                time: seen.time,
                kind: noticed.kind,
                weight: noticed.weight,
                detail: noticed.detail,
                p_value: noticed.p_value,
                proposal: proposal.map(Box::new),
            });
        }
    }

    fn analysis(&self) -> Option<Analysis> {
        let model = self.engine.model(self.seen)?;
        explain::analysis(model, self.seen, self.judged, self.config.engine.signal_p_value_max)
    }

    /// What the event becomes if the tenant's view lets it through.
    fn proposal(&self, analysis: Analysis, risk: f64) -> Finding {
        let seen = self.seen;
        let draft = Draft {
            severity: Severity::Medium,
            confidence: 50,
            title: "Unusual behaviour".to_owned(),
            message: format!(
                "{} called {} in a way unlike its past, from {}",
                seen.who(),
                if seen.operation.is_empty() { &seen.event.activity_name } else { seen.operation },
                seen.from()
            ),
            reasons: explain::reasons(&analysis),
            counterfactual: match &analysis.counterfactual {
                Some(change) => change.text.clone(),
                None => format!("No three of its features make it ordinary; {}", words::clock(seen.time)),
            },
            attacks: vec![VALID_CLOUD_ACCOUNT],
            marks: vec![Mark::of(seen, 0, 0)],
            habitual: false,
        };
        let by = analytic(
            "unusual_behaviour",
            "Isolation forest over sixteen features",
            "1.0.0",
            Method::Learning,
        );
        self.finding(draft, by, risk, Some(analysis))
    }

    /// The same for a principal without a past, which its peers are put in the place of.
    fn newcomer(&self, p_value: f64, events: u64, risk: f64) -> Finding {
        let seen = self.seen;
        let draft = Draft {
            severity: Severity::Medium,
            confidence: 50,
            title: "Newcomer unlike its peers".to_owned(),
            message: format!(
                "{} called {}, which its peers do not, from {}",
                seen.who(),
                seen.operation,
                seen.from()
            ),
            reasons: vec![
                format!(
                    "{} of this tenant is a newcomer's sensitive call unlike its peers",
                    explain::one_in(p_value)
                ),
                features::show(features::PEERS, self.judged.row.values[features::PEERS], seen),
                features::show(features::SENSITIVITY, self.judged.row.values[features::SENSITIVITY], seen),
                match events {
                    0 => "it was never seen before".to_owned(),
                    1 => "only one event of it came before".to_owned(),
                    events => format!("only {events} events of it came before"),
                },
            ],
            counterfactual: "With an operation that its peers call it would have been ordinary".to_owned(),
            attacks: vec![VALID_CLOUD_ACCOUNT],
            marks: vec![Mark::of(seen, 0, 0)],
            habitual: false,
        };
        let by = analytic(
            "newcomer_unlike_peers",
            "Sensitive calls of a newcomer that its peers do not make",
            "1.0.0",
            Method::Learning,
        );
        self.finding(draft, by, risk, None)
    }

    fn finding(&self, draft: Draft, by: Analytic, risk: f64, analysis: Option<Analysis>) -> Finding {
        let mut finding = draft.finding(by, self.seen, self.config.cooldown_ms);
        finding.set_risk(risk);
        if let Some(analysis) = analysis {
            explain::attach(&mut finding, analysis);
        }
        finding
    }

    fn score(&self) -> Score {
        let seen = self.seen;
        Score {
            event_uid: seen.event.prunella.event_uid,
            tenant: tenant(seen.event),
            time: seen.time,
            class_uid: seen.event.class_uid,
            operation: inputs::operation(seen),
            tier_change: seen.changes_tier(),
            p_value: self.judged.p_value(),
            leads_to: 0,
        }
    }
}

fn tenant(event: &Event) -> Tenant {
    Tenant::try_from(event.tenant().to_owned()).unwrap_or_default()
}

fn newest(draft: &Draft, seen: &Sighting<'_>) -> Timestamp {
    draft.marks.iter().map(|mark| mark.time).max().unwrap_or(seen.time)
}

/// Says so when the level of risk is no longer what it was.
fn note_level(memory: &mut Memory, event: &Event, time: Timestamp, cause: Option<Id>, verdict: &mut Verdict) {
    let (score, previous) = (memory.risk.score(), memory.risk.level);
    let level = RiskLevel::of(score);
    if level == previous {
        return;
    }
    memory.risk.level = level;
    verdict.risks.push(Risk {
        tenant: tenant(event),
        principal: event.principal().to_owned(),
        // Two decimals are more than it means, and the same on every machine.
        score: (score * 100.0).round() / 100.0,
        level,
        previous,
        time,
        finding_uid: cause,
    });
}
