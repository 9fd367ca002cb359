//! View: one tenant, as far as the stage remembers it, and what follows from one more input.

use super::Config;
use super::control::Control;
use super::held::{Held, Place};
use super::streams::{Departure, TenantStreams};
use super::suspect::{Candidate, Source, Subject, Suspects, Unsaid, Witness, is_entropy, is_near};
use super::told::Told;
use super::words;
use prunella_schemas::{Finding, Id, SignalKind, Tenant, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, VecDeque};

/// Refused proposals that wait for a lower bar, per tenant; beyond it the most probable go first.
pub const REFUSED_MAX: usize = 256;
/// Findings of our own that are known when they come back from the log.
const OWN_MAX: usize = 1_024;
/// Of the p-values of one principal in this time, the smallest counts.
const COUNTED_MS: i64 = 3_600_000;

/// What the stage keeps of an input, with floating-point numbers bit for bit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Item {
    Score { operation: u64, tier_change: bool, is_test: bool },
    Witness { principal: String, source: Source, detail: String },
    Candidate { principal: String, candidate: Box<Candidate> },
    Decision { principal: String, analytic: String, severity: u8, is_rule: bool, detail: String, event: Id },
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Events with a p-value.
    pub tests: u64,
    pub proposals: u64,
    /// Proposals above the bar when they came.
    pub refused: u64,
    /// Of those, let through after all.
    pub released: u64,
    /// Let through, but not said: the principal, or its call, had been spoken of.
    pub unsaid: u64,
    pub findings: u64,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct View {
    pub held: Held<(Timestamp, Item)>,
    /// The log time at which the tenant was last heard of.
    pub heard: Timestamp,
    pub counts: Counts,
    /// The newest event time processed.
    clock: Timestamp,
    control: Control,
    suspects: Suspects,
    told: Told,
    /// Principals with a refused proposal, the least probable first.
    refused: BTreeSet<(u64, Timestamp, String)>,
    streams: TenantStreams,
    own: VecDeque<Id>,
}

/// What a view says, and when its cause became durable.
pub type Said = Vec<(Timestamp, Finding)>;

impl View {
    /// Whether this is a finding that the view published itself.
    pub fn is_own(&self, finding: &Finding) -> bool {
        self.own.contains(&finding.prunella.finding_uid)
    }

    pub fn take(
        &mut self,
        tenant: &Tenant,
        place: Place,
        origin: Timestamp,
        item: Item,
        config: &Config,
    ) -> Said {
        let mut desk = Desk { view: self, tenant, config, origin, said: Vec::new() };
        desk.take(place, item);
        desk.said
    }
}

/// The work on one input.
struct Desk<'a> {
    view: &'a mut View,
    tenant: &'a Tenant,
    config: &'a Config,
    origin: Timestamp,
    said: Said,
}

impl Desk<'_> {
    fn take(&mut self, place: Place, item: Item) {
        let (time, event) = (place.time, place.event);
        self.view.clock = self.view.clock.max(time);
        match item {
            Item::Score { operation, tier_change, is_test } => {
                self.score(operation, tier_change, is_test, time, event);
            }
            Item::Witness { principal, source, detail } => {
                self.hear(&principal, source, Witness { time, event, detail });
                self.confirm(&principal);
            }
            Item::Candidate { principal, candidate } => match candidate.subject {
                Subject::Shift => self.shift(&principal, *candidate),
                Subject::Proposal => self.propose(&principal, *candidate),
            },
            Item::Decision { principal, analytic, severity, is_rule, detail, event } => {
                self.decided(&analytic, severity, time, event);
                if is_rule && severity >= words::MEDIUM {
                    self.hear(&principal, Source::Rule(analytic), Witness { time, event, detail });
                    self.confirm(&principal);
                }
            }
        }
        let kept_ms = self.config.corroboration_ms.max(self.config.cooldown_ms).saturating_mul(2);
        let before = self.view.clock.plus_ms(kept_ms.max(0).saturating_neg());
        self.view.suspects.forget(before);
    }

    fn score(&mut self, operation: u64, tier_change: bool, is_test: bool, time: Timestamp, event: Id) {
        let view = &mut *self.view;
        if is_test {
            view.counts.tests += 1;
            view.control.count(time);
        }
        let access = view.streams.access(operation, time, event, self.config);
        let tiers =
            if tier_change { view.streams.tier_change(operation, time, event, self.config) } else { None };
        [access, tiers].iter().flatten().for_each(|departure| self.depart(departure));
    }

    /// A proposal is judged, and lowers the bar for those that were refused.
    fn propose(&mut self, principal: &str, candidate: Candidate) {
        let view = &mut *self.view;
        view.counts.proposals += 1;
        let suspect = view.suspects.of(principal, view.clock);
        let before = suspect.counted.filter(|counted| is_near(counted.since, view.clock, COUNTED_MS));
        suspect.counted = view.control.record(candidate.p_value, view.clock, before);
        let bar = view.control.bar(self.config);
        // What a shift made unusual does not confirm the shift.
        let is_word = candidate.kind != SignalKind::Forest || self.is_sure(&candidate);
        if is_word && !candidate.rests_on.is_some_and(is_entropy) {
            self.hear(principal, Source::Signal(candidate.kind), candidate.witness());
        }
        if candidate.p_value <= bar || self.is_found_by_rule(principal, &candidate) {
            self.let_through(principal, candidate);
        } else {
            self.view.counts.refused += 1;
            self.refuse(principal, candidate);
        }
        self.release(bar);
        self.confirm(principal);
    }

    /// An entropy that shifted leads to a step-up verification; confirmed, to more.
    fn shift(&mut self, principal: &str, candidate: Candidate) {
        self.hear(principal, Source::Signal(candidate.kind), candidate.witness());
        self.confirm(principal);
        self.say(principal, &candidate);
        if let Some(suspect) = self.view.suspects.get_mut(principal) {
            suspect.shift = Some(candidate);
        }
    }

    fn hear(&mut self, principal: &str, source: Source, witness: Witness) {
        let view = &mut *self.view;
        view.suspects.of(principal, view.clock).hear(source, witness);
    }

    /// What was said mildly, or refused, is looked at again after somebody else spoke of the principal.
    fn confirm(&mut self, principal: &str) {
        let Some(suspect) = self.view.suspects.get_mut(principal) else { return };
        let (said, refused) = ([suspect.let_through.clone(), suspect.shift.clone()], suspect.refused.clone());
        if let Some(candidate) = refused.filter(|candidate| self.is_found_by_rule(principal, candidate)) {
            self.view.refused.remove(&key(principal, &candidate));
            self.view.counts.released += 1;
            self.forget_refused(principal);
            self.let_through(principal, candidate);
        }
        for candidate in said.iter().flatten() {
            if self.severity(principal, candidate) == words::HIGH {
                self.say(principal, candidate);
            }
        }
    }

    fn let_through(&mut self, principal: &str, candidate: Candidate) {
        let severity = self.severity(principal, &candidate);
        let is_old = self.view.told.is_old(principal, &candidate, severity, self.config.repeat_ms);
        let is_said = !is_old && self.say(principal, &candidate);
        let view = &mut *self.view;
        let suspect = view.suspects.of(principal, view.clock);
        if !is_said {
            view.counts.unsaid += 1;
        }
        if !is_said && !is_old {
            suspect.unsaid.add(&candidate);
        }
        let span_ms = self.config.corroboration_ms;
        let is_better = suspect.let_through.as_ref().is_none_or(|known| {
            candidate.p_value < known.p_value || !is_near(known.time, candidate.time, span_ms)
        });
        if is_better {
            suspect.let_through = Some(candidate);
        }
    }

    /// Remembers the least probable of the principal's refused proposals.
    fn refuse(&mut self, principal: &str, candidate: Candidate) {
        let view = &mut *self.view;
        let suspect = view.suspects.of(principal, view.clock);
        if let Some(known) = &suspect.refused {
            if known.p_value <= candidate.p_value
                && is_near(known.time, view.clock, self.config.corroboration_ms)
            {
                return;
            }
            view.refused.remove(&key(principal, known));
        }
        view.refused.insert(key(principal, &candidate));
        suspect.refused = Some(candidate);
        if view.refused.len() > REFUSED_MAX
            && let Some((_, _, principal)) = view.refused.pop_last()
        {
            self.forget_refused(&principal);
        }
    }

    /// Lets through what was refused, is still fresh, and lies below the bar by now.
    fn release(&mut self, bar: f64) {
        let (clock, span_ms) = (self.view.clock, self.config.corroboration_ms);
        while let Some((p_value, time, principal)) = self.view.refused.first().cloned() {
            if f64::from_bits(p_value) > bar {
                return;
            }
            self.view.refused.pop_first();
            let candidate = self.view.suspects.get_mut(&principal).and_then(|suspect| suspect.refused.take());
            if let Some(candidate) = candidate.filter(|_| is_near(time, clock, span_ms)) {
                self.view.counts.released += 1;
                self.let_through(&principal, candidate);
            }
        }
    }

    fn forget_refused(&mut self, principal: &str) {
        if let Some(suspect) = self.view.suspects.get_mut(principal) {
            suspect.refused = None;
        }
    }

    /// Says it, unless the principal was spoken of already.
    fn say(&mut self, principal: &str, candidate: &Candidate) -> bool {
        let severity = self.severity(principal, candidate);
        let (config, tenant) = (self.config, self.tenant);
        let Some(suspect) = self.view.suspects.get_mut(principal) else { return false };
        if !suspect.may_say(candidate.subject, severity, candidate.time, config) {
            return false;
        }
        let unsaid = match candidate.subject {
            Subject::Proposal => std::mem::take(&mut suspect.unsaid),
            Subject::Shift => Unsaid::default(),
        };
        let confirming =
            if severity == words::HIGH { suspect.confirming(candidate, config) } else { Vec::new() };
        let finding = words::of_principal(tenant, principal, candidate, severity, &confirming, unsaid);
        suspect.said(candidate.subject, severity, candidate.time);
        self.view.told.tell(principal, candidate);
        let Some(finding) = finding else { return false };
        let analytic = finding.finding_info.analytic.uid.to_string();
        let time = finding.time;
        self.publish(self.origin, finding);
        self.decided(&analytic, severity, time, candidate.event);
        true
    }

    /// The rules of [`super`], as far as they are about severity.
    fn severity(&self, principal: &str, candidate: &Candidate) -> u8 {
        let suspect = self.view.suspects.get(principal);
        let confirmed = || suspect.is_some_and(|known| !known.confirming(candidate, self.config).is_empty());
        if (candidate.subject == Subject::Shift || self.is_sure(candidate)) && confirmed() {
            words::HIGH
        } else {
            candidate.severity.min(words::MEDIUM)
        }
    }

    fn is_sure(&self, candidate: &Candidate) -> bool {
        candidate.p_value < self.config.corroborated_p_value_max
    }

    /// A rule's finding stands for the bar: who reads it looks at the principal anyway.
    fn is_found_by_rule(&self, principal: &str, candidate: &Candidate) -> bool {
        let suspect = self.view.suspects.get(principal);
        self.is_sure(candidate) && suspect.is_some_and(|known| known.is_found_by_rule(candidate, self.config))
    }

    fn decided(&mut self, analytic: &str, severity: u8, time: Timestamp, event: Id) {
        let departure = self.view.streams.decision(analytic, severity, time, event, self.config);
        departure.iter().for_each(|departure| self.depart(departure));
    }

    fn depart(&mut self, departure: &Departure) {
        self.publish(self.origin, words::of_tenant(self.tenant, departure));
    }

    fn publish(&mut self, origin: Timestamp, finding: Finding) {
        self.view.counts.findings += 1;
        if self.view.own.len() >= OWN_MAX {
            self.view.own.pop_front();
        }
        self.view.own.push_back(finding.prunella.finding_uid);
        self.said.push((origin, finding));
    }
}

fn key(principal: &str, candidate: &Candidate) -> (u64, Timestamp, String) {
    (candidate.p_value.to_bits(), candidate.time, principal.to_owned())
}
