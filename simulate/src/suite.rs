//! Suite: every attack as a regression test: found, acted on, verified, taken back, and all of it in a ledger that holds.

use crate::report::{Report, SinceFinding};
use crate::run::{Options, SimulateError, latest, run};
use crate::scenario::{CATALOG, Front, Scenario};
use crate::watch::Prunella;
use prunella_schemas::Timestamp;
use serde::Serialize;
use serde_json::Value;
use std::fmt::Write as _;
use std::time::Duration;
use tokio::time::sleep;

/// In whose name plans are approved and taken back.
pub const OPERATOR: &str = "simulate-attack";
/// How long a roll-back may take, in milliseconds.
const ROLL_BACK_MS_MAX: i64 = 20_000;
/// Pause between two looks at the plans, in milliseconds.
const LOOK_MS: u64 = 100;

/// What one attack showed. The fields are a contract that others script against.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    pub scenario: Scenario,
    pub detected: bool,
    /// A receipt says that the containment was verified.
    pub verified: bool,
    /// `refused_call` or `configuration_read`; `null` without a receipt.
    pub evidence: Option<String>,
    /// Every restriction was taken back, and the account's state is as it was.
    pub rolled_back: bool,
    pub ledger_ok: bool,
    /// From durable intake of the first attack event to the attacker's last accepted call; `null` when none was accepted.
    pub last_accepted_ms: Option<i64>,
    #[serde(skip)]
    pub since_finding: SinceFinding,
}

impl Outcome {
    pub fn passed(&self) -> bool {
        self.detected && self.verified && self.rolled_back && self.ledger_ok
    }
}

/// What all attacks showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Suite {
    pub scenarios: Vec<Outcome>,
    pub passed: usize,
    pub failed: usize,
    /// How long it took, when every attack was played more than once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub latencies: Vec<Latency>,
}

/// How long the containment of one attack took over several rounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Latency {
    pub scenario: Scenario,
    pub rounds: usize,
    pub finding_to_applied_ms: Percentiles,
    pub applied_to_verified_ms: Percentiles,
    /// 0 when the attacker's last accepted call came before the finding.
    pub finding_to_last_accepted_ms: Percentiles,
}

/// Nearest-rank percentiles, in milliseconds. `null`: no round came so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Percentiles {
    pub p50: Option<i64>,
    pub p99: Option<i64>,
    pub max: Option<i64>,
}

impl Percentiles {
    fn of(values: impl Iterator<Item = Option<i64>>) -> Self {
        let mut values: Vec<i64> = values.flatten().collect();
        values.sort_unstable();
        let at =
            |percent: usize| values.get((values.len() * percent).div_ceil(100).saturating_sub(1)).copied();
        Percentiles { p50: at(50), p99: at(99), max: at(100) }
    }
}

impl Suite {
    pub fn of(scenarios: Vec<Outcome>) -> Self {
        let passed = scenarios.iter().filter(|outcome| outcome.passed()).count();
        let all = attacks(Front::Cloud).chain(attacks(Front::Vault));
        let latencies = all.filter_map(|attack| latency(&scenarios, attack)).collect();
        Suite { passed, failed: scenarios.len() - passed, scenarios, latencies }
    }

    /// JUnit XML, as continuous integration reads it.
    pub fn to_junit(&self) -> String {
        let mut xml = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"simulate-attack\" tests=\"{}\" failures=\"{}\">\n",
            self.scenarios.len(),
            self.failed
        );
        for outcome in &self.scenarios {
            let seconds = outcome.last_accepted_ms.unwrap_or_default().max(0);
            let name = outcome.scenario;
            // Writing to a string cannot fail.
            let _ = write!(
                xml,
                "  <testcase classname=\"simulate-attack\" name=\"{name}\" time=\"{}.{:03}\"",
                seconds / 1_000,
                seconds % 1_000
            );
            if outcome.passed() {
                xml.push_str("/>\n");
                continue;
            }
            let facts = [
                (outcome.detected, "not detected"),
                (outcome.verified, "not verified"),
                (outcome.rolled_back, "not rolled back"),
                (outcome.ledger_ok, "the ledger does not verify"),
            ];
            let missing: Vec<&str> =
                facts.iter().filter(|(is_so, _)| !is_so).map(|(_, what)| *what).collect();
            let _ = writeln!(xml, ">\n    <failure message=\"{}\"/>\n  </testcase>", missing.join(", "));
        }
        xml.push_str("</testsuite>\n");
        xml
    }
}

/// Nothing when the attack was played once: that is no distribution.
fn latency(outcomes: &[Outcome], scenario: Scenario) -> Option<Latency> {
    let rounds: Vec<SinceFinding> =
        outcomes.iter().filter(|o| o.scenario == scenario).map(|o| o.since_finding).collect();
    (rounds.len() > 1).then(|| Latency {
        scenario,
        rounds: rounds.len(),
        finding_to_applied_ms: Percentiles::of(rounds.iter().map(|r| r.finding_to_applied)),
        applied_to_verified_ms: Percentiles::of(rounds.iter().map(|r| r.applied_to_verified)),
        finding_to_last_accepted_ms: Percentiles::of(rounds.iter().map(|r| r.finding_to_last_accepted)),
    })
}

/// The attacks on one target, in the order of the catalog.
pub fn attacks(target: Front) -> impl Iterator<Item = Scenario> {
    let on = CATALOG.iter().filter(move |entry| entry.target == target);
    on.map(|entry| entry.scenario).filter(|scenario| *scenario != Scenario::None)
}

/// Plays one attack, approves what waits for a person, and takes every restriction back. `ledger_ok` is for the caller to
/// say: whoever has the files verifies them.
pub async fn rehearse(mut options: Options) -> Result<Outcome, SimulateError> {
    options.approve_as.get_or_insert_with(|| OPERATOR.to_owned());
    let prunella = Prunella::new(&options.base_url, options.bearer.clone())?;
    let clock = options.clock.clone();
    let report = run(options).await?;
    take_back(&prunella, &report, || clock()).await
}

/// What an attack showed, after every restriction was taken back.
pub async fn take_back(
    prunella: &Prunella,
    report: &Report,
    clock: impl Fn() -> Timestamp,
) -> Result<Outcome, SimulateError> {
    let rolled_back = match &report.principal {
        Some(principal) => roll_back(prunella, principal, clock).await?,
        None => false,
    };
    let (detected, verified, evidence) = (report.detected, report.verified, report.evidence.clone());
    let (last_accepted_ms, since_finding) = (report.last_accepted_ms, report.since_finding);
    Ok(Outcome {
        scenario: report.scenario,
        detected,
        verified,
        evidence,
        rolled_back,
        ledger_ok: false,
        last_accepted_ms,
        since_finding,
    })
}

/// Takes back every restriction on a principal. Whether there was one, all were taken back, and nothing is left of them.
pub async fn roll_back(
    prunella: &Prunella,
    principal: &str,
    clock: impl Fn() -> Timestamp,
) -> Result<bool, SimulateError> {
    let begin = clock();
    let mut asked = Vec::new();
    loop {
        let plans = prunella.plans().await;
        let plans = latest(&plans, Some(principal));
        let stands =
            |plan: &Value| plan.get("undo").and_then(Value::as_array).is_some_and(|undo| !undo.is_empty());
        for (uid, state, plan) in &plans {
            if state == "verified" && stands(plan) && !asked.contains(uid) {
                prunella.decide(uid, "rollback", OPERATOR).await?;
                asked.push(uid.clone());
            }
        }
        let states: Vec<&str> = plans
            .iter()
            .filter(|(uid, ..)| asked.contains(uid))
            .map(|(_, state, _)| state.as_str())
            .collect();
        if states.iter().all(|state| *state == "rolled_back") {
            let account = prunella.account(principal).await;
            let free = account.is_some_and(|account| {
                account.locked_until == Timestamp::ZERO && account.refused_sessions.is_empty()
            });
            return Ok(!asked.is_empty() && free);
        }
        if states.iter().any(|state| ["conflict", "escalated"].contains(state))
            || clock().since_ms(begin) >= ROLL_BACK_MS_MAX
        {
            return Ok(false);
        }
        sleep(Duration::from_millis(LOOK_MS)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_what_is_missing() {
        let good = Outcome {
            scenario: Scenario::BruteForce,
            detected: true,
            verified: true,
            evidence: Some("refused_call".to_owned()),
            rolled_back: true,
            ledger_ok: true,
            last_accepted_ms: Some(1_204),
            since_finding: SinceFinding { finding_to_applied: Some(7), ..SinceFinding::default() },
        };
        let bad = Outcome {
            scenario: Scenario::LogTampering,
            rolled_back: false,
            ledger_ok: false,
            ..good.clone()
        };
        let again = Suite::of(vec![good.clone(), good.clone(), good.clone()]);
        assert_eq!(again.latencies.len(), 1);
        assert_eq!(again.latencies[0].finding_to_applied_ms.p99, Some(7));
        assert_eq!(again.latencies[0].applied_to_verified_ms.p99, None);
        let suite = Suite::of(vec![good, bad]);
        assert_eq!(suite.latencies, []);
        assert_eq!((suite.passed, suite.failed), (1, 1));
        let xml = suite.to_junit();
        for part in [
            "tests=\"2\" failures=\"1\"",
            "name=\"brute_force\" time=\"1.204\"/>",
            "<failure message=\"not rolled back, the ledger does not verify\"/>",
        ] {
            assert!(xml.contains(part), "{part} is not in {xml}");
        }
    }

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let check = |values: &[i64], want: [i64; 3]| {
            let got = Percentiles::of(values.iter().map(|v| Some(*v)));
            assert_eq!([got.p50, got.p99, got.max], want.map(Some), "{values:?}");
        };
        check(&[3], [3, 3, 3]);
        check(&[4, 1, 3, 2], [2, 4, 4]);
        check(&(1..=200).collect::<Vec<_>>(), [100, 198, 200]);
    }

    #[test]
    fn nobody_is_no_attack() {
        let all = attacks(Front::Cloud).chain(attacks(Front::Vault));
        assert_eq!(all.count(), CATALOG.len() - 1);
    }
}
