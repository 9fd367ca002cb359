//! Verification: probes from applied to the horizon, and what kind of proof they give.

use crate::guard::span;
use crate::life::{Desk, Live};
use prunella_schemas::Timestamp;
use prunella_schemas::plan::{EvidenceKind, Order, PlanState, Probe};

/// Wait before the second probe; it doubles.
const PROBE_DELAY_MS: i64 = 50;
/// Longest wait between probes when the horizon is short.
const PROBE_DELAY_MS_MAX: i64 = 1_000;
/// A long horizon is probed about so many times.
const PROBES_PER_HORIZON: i64 = 16;
/// Times that an action which did not hold is taken again before a person must take over.
const RENEWALS_MAX: u32 = 2;
/// Most principals to which one plan follows the attacker.
const SUCCESSORS_MAX: usize = 8;

impl Live {
    /// The first probe, at once.
    pub fn propagate(&mut self, desk: &mut Desk<'_>) {
        let why = format!("the provider may take {} to enforce it; probing", span(self.plan.horizon_ms));
        self.probing.delay_ms = PROBE_DELAY_MS;
        self.probe(desk, desk.now, &why);
    }

    /// A refused call settles it at once. A standing configuration is enough only at the horizon, and so is an attacker who is
    /// still accepted: before it, the provider has the right to be slow.
    pub fn probed(&mut self, desk: &mut Desk<'_>, probe: Probe) {
        if let Probe::Held { last_accepted, .. } | Probe::Escaped { last_accepted, .. } = &probe {
            self.probing.last_accepted = self.probing.last_accepted.max(*last_accepted);
        }
        if let Probe::Escaped { detail, successors, .. } = &probe
            && !successors.is_empty()
        {
            return self.spread(desk, detail, successors);
        }
        let horizon = self.plan.marks.applied.plus_ms(self.plan.horizon_ms);
        let passed = desk.now >= horizon;
        match probe {
            Probe::Held { evidence: EvidenceKind::RefusedCall, detail, .. } => {
                self.verified(desk, EvidenceKind::RefusedCall, &detail);
            }
            Probe::Held { evidence: EvidenceKind::ConfigurationRead, detail, .. } if passed => {
                self.verified(desk, EvidenceKind::ConfigurationRead, &detail);
            }
            Probe::Held { detail, .. } => {
                self.probe_again(desk, horizon, &format!("the setting stands ({detail})"));
            }
            Probe::Escaped { detail, .. } if passed => self.escaped(desk, &detail),
            Probe::Escaped { detail, .. } => {
                self.probe_again(desk, horizon, &format!("still accepted ({detail})"));
            }
            Probe::NotYet { detail } | Probe::Unseen { detail } if !passed => {
                self.probe_again(desk, horizon, &format!("not yet ({detail})"));
            }
            Probe::NotYet { detail } | Probe::Unseen { detail } if !self.probing.last => {
                self.probing.last = true;
                self.probe(desk, desk.now, &format!("not yet at the horizon ({detail}); asking a last time"));
            }
            // A person must look. It did not fail, so it does not count against those that come.
            Probe::Unseen { detail } => {
                let why = format!("whether it holds cannot be seen: {detail}");
                let receipt = self.receipt(desk, PlanState::Escalated, false, &why);
                self.finish(desk, PlanState::Escalated, &why, receipt);
            }
            Probe::NotYet { detail } => {
                let within = span(self.plan.horizon_ms);
                self.escalate(desk, &format!("not enforced within {within}: {detail}"));
            }
        }
    }

    fn probe_again(&mut self, desk: &mut Desk<'_>, horizon: Timestamp, seen: &str) {
        let at = desk.now.plus_ms(self.probing.delay_ms).min(horizon);
        let longest = PROBE_DELAY_MS_MAX.max(self.plan.horizon_ms / PROBES_PER_HORIZON);
        self.probing.delay_ms = (self.probing.delay_ms * 2).min(longest);
        self.probe(desk, at, &format!("{seen}; probing on for a refused call"));
    }

    fn probe(&mut self, desk: &mut Desk<'_>, not_before: Timestamp, why: &str) {
        let order = Order::Probe {
            steps: self.plan.steps.clone(),
            principal: self.plan.principal.clone(),
            applied: self.plan.marks.applied,
            not_before,
            since: self.since,
            known: self.probing.successors.clone(),
        };
        self.order(desk, PlanState::Propagating, why, order);
    }

    fn verified(&mut self, desk: &mut Desk<'_>, kind: EvidenceKind, detail: &str) {
        if self.evidence > self.done && self.may_renew() {
            return self.renew(desk, "it held, but the attacker came back with a newer session meanwhile");
        }
        self.plan.marks.verified = desk.now;
        let (action, principal) = (&self.plan.action, &self.plan.principal);
        let message = match kind {
            EvidenceKind::RefusedCall => {
                format!("{action} on {principal}: contained, the target refused a call")
            }
            EvidenceKind::ConfigurationRead => {
                format!("{action} on {principal}: the setting stands; no refused call was seen")
            }
        };
        let receipt = self.proof(desk, kind, detail, &message);
        self.finish(desk, PlanState::Verified, &format!("{message} ({detail})"), receipt);
    }

    /// The attacker has made credentials for somebody: that is an escape, whatever becomes of the first ones. The action is
    /// taken on those principals too, through the same guard, and this plan goes on being verified.
    fn spread(&mut self, desk: &mut Desk<'_>, detail: &str, successors: &[String]) {
        let known = &self.probing.successors;
        let fresh: Vec<String> = successors.iter().filter(|s| !known.contains(s)).cloned().collect();
        if fresh.is_empty() {
            let horizon = self.plan.marks.applied.plus_ms(self.plan.horizon_ms);
            // What was dealt with and is still good at the horizon is for a person to end.
            return match desk.now >= horizon {
                true => self.escaped(desk, detail),
                false => self.probe_again(desk, horizon, "no newer credential"),
            };
        }
        let mut receipt = self.receipt(desk, PlanState::Escaped, false, detail);
        if let Some(receipt) = &mut receipt {
            receipt.prunella.evidence_detail = detail.to_owned();
        }
        self.note_escape(desk, detail, receipt);
        self.probing.successors.extend(fresh.iter().cloned());
        if fresh.iter().any(String::is_empty) {
            return self.finish(
                desk,
                PlanState::Escalated,
                "a person must look at what was opened, and for whom",
                None,
            );
        }
        if fresh.contains(&self.plan.principal) {
            // A credential of its own: once the first ones are seen to be worth nothing, this one must be as well.
            self.evidence = desk.now;
        }
        if self.probing.successors.len() > SUCCESSORS_MAX {
            let why =
                format!("a person must take over: more than {SUCCESSORS_MAX} principals got new credentials");
            return self.finish(desk, PlanState::Escalated, &why, None);
        }
        let why = format!("escalated: acting on {} as well; probing on", fresh.join(", "));
        self.wider = fresh;
        self.probe(desk, desk.now, &why);
    }

    fn escaped(&mut self, desk: &mut Desk<'_>, detail: &str) {
        let within = span(self.plan.horizon_ms);
        let why = format!("the principal was still accepted after {within}: {detail}");
        let mut receipt = self.receipt(desk, PlanState::Escaped, false, &why);
        if let Some(receipt) = &mut receipt {
            receipt.prunella.evidence_detail = detail.to_owned();
        }
        self.note_escape(desk, &why, receipt);
        if self.may_renew() && self.generation < RENEWALS_MAX {
            self.evidence = desk.now;
            return self.renew(desk, "escalated: the same again, for everything up to now");
        }
        self.finish(
            desk,
            PlanState::Escalated,
            "a person must take over: the action did not contain the principal",
            None,
        );
    }
}
