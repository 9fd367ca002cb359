//! Guessing: a run of failed sign-ins, and whether a success follows.

use super::words;
use crate::attack::{BRUTE_FORCE, PASSWORD_GUESSING, Technique, VALID_CLOUD_ACCOUNT};
use crate::config::Config;
use crate::detector::{Detector, Method, analytic};
use crate::evidence::{Draft, Evidence, Severity};
use crate::network::{Network, fingerprint};
use crate::past::Past;
use crate::sighting::Sighting;
use crate::window::{Mark, Window, distinct_tags};
use prunella_schemas::finding::Analytic;
use prunella_schemas::ocsf::AUTHENTICATION;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SignIn {
    /// Failures in a row, within `failures_span_ms`, that make a success suspicious.
    pub failures_before_success_min: usize,
    /// Failures in a row, within `failures_span_ms`, that are a finding without any success.
    pub failures_alone_min: usize,
    pub failures_span_ms: i64,
    /// How long after the failures a success still belongs to them.
    pub success_after_ms: i64,
    /// Different roles that must have been tried when the caller's network is familiar: one role is a retry.
    pub roles_tried_min: usize,
    /// Failures in a row up to which a success from a familiar network is a forgotten password.
    pub forgotten_password_max: usize,
}

impl Default for SignIn {
    fn default() -> Self {
        SignIn {
            failures_before_success_min: 5,
            failures_alone_min: 20,
            failures_span_ms: 10 * 60_000,
            success_after_ms: 30 * 60_000,
            roles_tried_min: 3,
            forgotten_password_max: 9,
        }
    }
}

const MARKS_MAX: usize = 128;
/// What may be found, at its most severe.
const DRAFTS: [(Technique, Severity); 2] =
    [(BRUTE_FORCE, Severity::Medium), (PASSWORD_GUESSING, Severity::High)];

/// Two kinds of door. `Mark::kind` is the door, plus 2 for a success.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Door {
    /// A person with a password.
    Console = 0,
    /// A program that asks for a token, or signs with a key that does not exist.
    Token = 1,
}

const SUCCESS: u8 = 2;

impl Detector for SignIn {
    fn id(&self) -> &'static str {
        "sign_in_brute_force"
    }

    fn analytic(&self) -> Analytic {
        analytic(self.id(), "Failed sign-ins, then a success", "1.0.0", Method::Rule)
    }

    fn observe(
        &self,
        seen: &Sighting<'_>,
        past: &Past,
        window: &mut Window,
        config: &Config,
        out: &mut Evidence,
    ) {
        if seen.by_service {
            return;
        }
        let Some(door) = door(seen) else { return };
        let success = if seen.event.succeeded() { SUCCESS } else { 0 };
        let tried = seen.target().map_or(0, |target| fingerprint(target.as_bytes()));
        let mark = Mark::of(seen, door as u8 | success, tried);
        if !window.admit(mark, self.success_after_ms, MARKS_MAX) {
            return;
        }
        let marks = window.marks();
        if marks.len() < self.failures_before_success_min
            || !DRAFTS.iter().any(|(t, s)| out.is_heard(*t, *s, seen.time))
        {
            return;
        }
        let mut run: Vec<&Mark> = Vec::new();
        let mut attempts: Vec<&Mark> = marks.iter().filter(|mark| mark.kind & 1 == door as u8).collect();
        // Providers write whole seconds: within one, the failures came first.
        attempts.sort_by_key(|mark| (mark.time, mark.kind & SUCCESS));
        for attempt in attempts {
            if attempt.kind & SUCCESS == 0 {
                run.push(attempt);
                continue;
            }
            let reach = attempt.time.plus_ms(-self.success_after_ms);
            run.retain(|mark| mark.time >= reach);
            let failures = self.dense(&run);
            if failures.len() >= self.failures_before_success_min {
                self.succeeded(seen, past, config, door, failures, attempt, out);
            }
            run.clear();
        }
        let failures = self.dense(&run);
        if failures.len() >= self.failures_alone_min && out.is_heard(BRUTE_FORCE, Severity::Medium, seen.time)
        {
            alone(seen, failures, self.failures_alone_min, out);
        }
    }
}

impl SignIn {
    /// All failures from the first to the last stretch of `failures_span_ms` that holds enough of them.
    fn dense<'r, 'm>(&self, run: &'r [&'m Mark]) -> &'r [&'m Mark] {
        let enough = self.failures_before_success_min.max(1);
        let dense = |stretch: &[&Mark]| {
            let ends = stretch.first().zip(stretch.last());
            ends.is_some_and(|(first, last)| last.time.since_ms(first.time) <= self.failures_span_ms)
        };
        let first = run.windows(enough).position(dense);
        let last = run.windows(enough).rposition(dense);
        first.zip(last).and_then(|(first, last)| run.get(first..last + enough)).unwrap_or(&[])
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "all of it is one judgement; a struct would only rename the parts"
    )]
    fn succeeded(
        &self,
        seen: &Sighting<'_>,
        past: &Past,
        config: &Config,
        door: Door,
        failures: &[&Mark],
        success: &Mark,
        out: &mut Evidence,
    ) {
        let mut marks: Vec<Mark> = failures.iter().map(|mark| (*mark).clone()).collect();
        let network = success.ip.as_deref().map(Network::of);
        let new = network.is_some_and(|network| past.is_new_network(network, success.time, config));
        let familiar = !new && !past.is_learning(success.time, config);
        if door == Door::Token && !new && distinct_tags(&marks) < self.roles_tried_min {
            return;
        }
        let forgotten = familiar && marks.len() <= self.forgotten_password_max;
        let (failures, span) = (marks.len(), words::between(&marks));
        let from = success.ip.as_deref().unwrap_or("an unknown address").to_owned();
        let mut reasons = vec![format!("{failures} failed sign-ins in {span}, then a success from {from}")];
        if let Some(network) = network.filter(|_| new) {
            reasons.push(format!("{network} is new to this principal"));
        }
        if seen.event.is_mfa == Some(false) && seen.event.succeeded() {
            reasons.push("no second factor was used".to_owned());
        }
        marks.push(success.clone());
        out.found(Draft {
            severity: if forgotten { Severity::Medium } else { Severity::High },
            confidence: if forgotten { 40 } else { 90 },
            title: "Brute force succeeded".to_owned(),
            message: format!("{} signed in from {from} after {failures} failures in a row", seen.who()),
            reasons,
            counterfactual: format!(
                "Fewer than {} failures in a row within {} before the success",
                self.failures_before_success_min,
                words::span(self.failures_span_ms)
            ),
            attacks: vec![PASSWORD_GUESSING, VALID_CLOUD_ACCOUNT],
            marks,
            habitual: false,
        });
    }
}

fn alone(seen: &Sighting<'_>, failures: &[&Mark], failures_min: usize, out: &mut Evidence) {
    let marks: Vec<Mark> = failures.iter().map(|mark| (*mark).clone()).collect();
    let (failures, span) = (marks.len(), words::between(&marks));
    let mut addresses: Vec<&str> = marks.iter().filter_map(|mark| mark.ip.as_deref()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    let from = words::list(&addresses, 3);
    out.found(Draft {
        severity: Severity::Medium,
        confidence: 80,
        title: "Many failed sign-ins".to_owned(),
        message: format!("Somebody tried to sign in as {} {failures} times and failed", seen.who()),
        reasons: vec![format!("{failures} failed sign-ins in {span} without a success, from {from}")],
        counterfactual: format!("Fewer than {failures_min} failures in a row, or a success among them"),
        attacks: vec![BRUTE_FORCE],
        marks,
        habitual: false,
    });
}

/// Which door the event knocks on, if it is a sign-in at all and its outcome is known.
fn door(seen: &Sighting<'_>) -> Option<Door> {
    let event = seen.event;
    if !event.succeeded() && !event.failed() {
        return None;
    }
    match seen.operation {
        "ConsoleLogin" => Some(Door::Console),
        "AssumeRole"
        | "AssumeRoleWithSAML"
        | "AssumeRoleWithWebIdentity"
        | "AssumeRoot"
        | "GetSessionToken"
        | "GetFederationToken" => Some(Door::Token),
        _ if event.class_uid == AUTHENTICATION.uid && event.activity_id == 1 => Some(Door::Console),
        _ if event.failed() && is_unknown_key(event.status_code.as_deref()) => Some(Door::Token),
        _ => None,
    }
}

/// The call was signed with a key that does not exist or does not match.
fn is_unknown_key(code: Option<&str>) -> bool {
    code.is_some_and(|code| {
        [
            "InvalidClientTokenId",
            "SignatureDoesNotMatch",
            "InvalidAccessKeyId",
            "UnrecognizedClientException",
            "AuthFailure",
        ]
        .iter()
        .any(|known| code.contains(known))
    })
}
