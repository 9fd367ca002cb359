//! An attack on the vault: real requests against a running one, and whether it accepts or refuses them.
//!
//! What a user did before is written down ([`history`]), because two days cannot be waited for. What happens from the attack
//! on is real: the [`door`] sends requests, and a call counts as accepted or refused by the vault's own answer.

mod attack;
pub mod door;
pub mod history;

use crate::report::{Observed, Report, concerns, finding_uid, receipt_uid, restrains};
use crate::run::{
    BACKGROUND_BATCH_MAX, Before, LOOK_MS, Options, Progress, QUIET_MS, REFUSALS_ENOUGH, SETTLED_MS,
    SimulateError, approve, drain, is_pending,
};
use crate::suite::{OPERATOR, Outcome, take_back};
use crate::target::Seen;
use crate::watch::Prunella;
use attack::{Attempt, Journal};
use prunella_schemas::{Timestamp, principal};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;

/// The source under which the pipeline knows the vault's events.
const SOURCE: &str = "vault";

/// A user of the vault, as whoever set the vault up knows them. It holds a secret, so it prints nothing of itself.
pub struct Resident {
    /// The user's id.
    pub id: String,
    pub username: String,
    /// What the client sends in place of the password.
    pub secret: String,
    /// Ids of the user's files.
    pub files: Vec<String>,
}

/// Plays a scenario against a vault under `base_url` and reports what happened.
pub async fn run(options: Options, resident: Resident) -> Result<Report, SimulateError> {
    let prunella = Prunella::new(&options.base_url, options.bearer.clone())?;
    let whose = principal::vault(Some(&resident.id), false, None).as_str().to_owned();
    let before = Before::of(&prunella).await?;
    let lines = history::of(&resident, options.scenario, options.seed, (options.clock)());
    let total = lines.len() as u64;
    let mut sent = 0;
    for batch in lines.chunks(BACKGROUND_BATCH_MAX) {
        prunella.deliver_from(SOURCE, batch.concat()).await?;
        sent += batch.len() as u64;
        (options.progress)(Progress::Background { sent, total });
    }
    drain(&options, &prunella).await?;
    let mut observed = Observed { principal: Some(whose), background_events: total, ..Observed::default() };
    let started = (options.clock)();
    let journal = Journal::default();
    let (standing, watched) = watch::channel(attack::Standing::default());
    let (stop, stopped) = watch::channel(false);
    let attacking = attack::play(&options, &resident, &journal, standing, stopped);
    let watching = async {
        let outcome = look(&options, &prunella, &before, started, watched, &mut observed).await;
        // The attacker may have ended first, and then nobody listens.
        let _ = stop.send(true);
        outcome
    };
    let (attacked, watched) = tokio::join!(attacking, watching);
    attacked.and(watched)?;
    drain(&options, &prunella).await?;
    let attempts = journal.take();
    let principal = observed.principal.clone().unwrap_or_default();
    observed.stepped_up = attempts.iter().find(|attempt| attempt.asked_to_step_up).map(|attempt| attempt.at);
    let events = prunella.events(&principal, started).await?;
    observed.journal = told(attempts, &events);
    let uid = |event: &Value| text(event, "/prunella/event_uid");
    observed.event_uids = events.iter().filter_map(uid).collect();
    observed.findings = before.without(prunella.findings().await?, finding_uid);
    observed.receipts = before.without(prunella.receipts().await?, receipt_uid);
    observed.plans = prunella.plans().await.unwrap_or_default();
    Ok(Report::of(options.scenario, options.intensity, options.seed, &observed))
}

/// The same as a rehearsal: what waits for a person is approved, and every restriction is taken back.
pub async fn rehearse(mut options: Options, resident: Resident) -> Result<Outcome, SimulateError> {
    options.approve_as.get_or_insert_with(|| OPERATOR.to_owned());
    let prunella = Prunella::new(&options.base_url, options.bearer.clone())?;
    let clock = options.clock.clone();
    let report = run(options, resident).await?;
    take_back(&prunella, &report, || clock()).await
}

/// The attacker's own calls, each with the id of its event and when that was durable, as the pipeline tells it.
fn told(attempts: Vec<Attempt>, events: &[Value]) -> Vec<Seen> {
    let by_request: BTreeMap<String, (Option<String>, Option<Timestamp>)> = events
        .iter()
        .filter_map(|event| {
            let received = event.pointer("/prunella/received").and_then(Value::as_i64).map(Timestamp);
            Some((text(event, "/http_request/uid")?, (text(event, "/metadata/uid"), received)))
        })
        .collect();
    let seen = |attempt: Attempt| {
        let (event_id, durable) = by_request.get(&attempt.request).cloned().unwrap_or_default();
        let Attempt { operation, at, verdict, .. } = attempt;
        Seen { event_id: event_id.unwrap_or_default(), operation, at, verdict, durable }
    };
    attempts.into_iter().map(seen).collect()
}

fn text(event: &Value, pointer: &str) -> Option<String> {
    event.pointer(pointer).and_then(Value::as_str).map(str::to_owned)
}

/// Watches Prunella until the attacker is refused for good and a receipt says so, or until time is up.
async fn look(
    options: &Options,
    prunella: &Prunella,
    before: &Before,
    started: Timestamp,
    standing: watch::Receiver<attack::Standing>,
    observed: &mut Observed,
) -> Result<(), SimulateError> {
    let principal = observed.principal.clone();
    let timeout_ms = i64::try_from(options.timeout_ms).unwrap_or(i64::MAX);
    let mut changed = started;
    loop {
        sleep(Duration::from_millis(LOOK_MS)).await;
        let findings = before.without(prunella.findings().await?, finding_uid);
        let receipts = before.without(prunella.receipts().await?, receipt_uid);
        let now = (options.clock)();
        let named = |finding: &&Value| {
            finding.pointer("/prunella/principal").and_then(Value::as_str) == principal.as_deref()
        };
        let hits: Vec<&Value> = findings.iter().filter(named).collect();
        let uids: BTreeSet<String> = hits.iter().map(|finding| finding_uid(finding).to_owned()).collect();
        let about = receipts.iter().filter(|receipt| concerns(receipt, &uids, principal.as_deref()));
        let about: Vec<&Value> = about.collect();
        let found = hits.iter().map(|finding| {
            let message = finding.get("message").and_then(Value::as_str).unwrap_or_default().to_owned();
            Progress::Finding { uid: finding_uid(finding).to_owned(), message }
        });
        let told = about.iter().map(|receipt| Progress::Receipt { uid: receipt_uid(receipt).to_owned() });
        for progress in found.chain(told) {
            if observed.notice(&progress, now) {
                changed = now;
                (options.progress)(progress);
            }
        }
        let plans = prunella.plans().await;
        let waiting = approve(options, prunella, &plans, principal.as_deref()).await?;
        let at_work = waiting || is_pending(&plans, principal.as_deref());
        let standing = *standing.borrow();
        let closed = about.iter().any(|receipt| restrains(receipt));
        let settled = now.since_ms(changed) >= SETTLED_MS && !at_work;
        let through = options.approve_as.is_none() || settled;
        let enough = closed && standing.shut_out >= REFUSALS_ENOUGH && through;
        let quiet = standing.scripted && now.since_ms(changed) >= QUIET_MS && !at_work;
        if enough || quiet || now.since_ms(started) >= timeout_ms {
            return Ok(());
        }
    }
}
