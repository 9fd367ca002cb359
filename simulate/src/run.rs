//! Run: the background, then the attack, then what became of it.

use crate::background::{Delivery, Traffic, background};
use crate::call::{Call, Token};
use crate::record::Verdict;
use crate::report::{Observed, Report, concerns, finding_uid, is_about, plan_of, receipt_uid, restrains};
use crate::scenario::{Intensity, Scenario, attack, victim};
use crate::target::{Answer, Setup, Target};
use crate::watch::Prunella;
use prunella_schemas::Timestamp;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch::{self, Receiver, Sender};
use tokio::time::sleep;

/// Reads the wall clock.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Told how far a run is.
pub type Listener = Arc<dyn Fn(Progress) + Send + Sync>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Background records that are durable.
    Background { sent: u64, total: u64 },
    /// Messages that the pipeline has not handled yet.
    Draining { lag: u64 },
    /// The attacker's calls so far.
    Attack { sent: u64, scripted: u64, accepted: u64, refused: u64 },
    /// A finding about the attack.
    Finding { uid: String, message: String },
    /// A receipt about the attacker.
    Receipt { uid: String },
}

pub struct Options {
    pub scenario: Scenario,
    pub intensity: Intensity,
    pub seed: u64,
    /// Where Prunella listens, such as `http://127.0.0.1:7070`.
    pub base_url: String,
    /// The API's bearer token, if it wants one.
    pub bearer: Option<String>,
    /// How much background: 1.0 is about 3,000 events a day.
    pub scale: f64,
    pub history_hours: u32,
    /// How long the attack may take, from its first call, in milliseconds.
    pub timeout_ms: u64,
    pub clock: Clock,
    pub progress: Listener,
    /// Approve what waits for a person about the attacker, in this name. `None`: nobody does.
    pub approve_as: Option<String>,
}

impl Options {
    pub fn new(scenario: Scenario, base_url: &str, clock: Clock) -> Self {
        Options {
            scenario,
            intensity: Intensity::default(),
            seed: 1,
            base_url: base_url.to_owned(),
            bearer: None,
            scale: 1.0,
            history_hours: 48,
            timeout_ms: 30_000,
            clock,
            progress: Arc::new(|_| {}),
            approve_as: None,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    #[error("{url} can't be reached ({detail}); is Prunella running there?")]
    Unreachable { url: String, detail: String },
    #[error("{url} gave an answer that can't be used: {detail}")]
    Answer { url: String, detail: String },
    #[error("the simulated front door can't listen on the loopback: {0}")]
    Listen(#[source] std::io::Error),
    #[error(
        "after {waited_ms} ms the pipeline still had {lag} messages to handle; give it less background or more time"
    )]
    Slow { waited_ms: u64, lag: u64 },
}

/// Most background records in one delivery.
pub const BACKGROUND_BATCH_MAX: usize = 1_000;
/// How long the pipeline may take for the background, in milliseconds.
pub const DRAIN_MS_MAX: u64 = 180_000;
/// Calls tried after the pipeline has settled and the front door refuses.
pub(crate) const REFUSALS_ENOUGH: u64 = 5;
/// Pause between calls after the script, in milliseconds: the attacker does not give up.
const TAIL_PAUSE_MS: u64 = 150;
/// Pause between two looks at Prunella, in milliseconds.
pub(crate) const LOOK_MS: u64 = 100;
/// How long nothing new must come before a pipeline that is not acting counts as settled, in milliseconds.
pub(crate) const QUIET_MS: i64 = 3_000;
/// The same while a person's plans are seen through.
pub(crate) const SETTLED_MS: i64 = 1_000;

/// Plays a scenario against a running Prunella and reports what happened.
pub async fn run(options: Options) -> Result<Report, SimulateError> {
    let prunella = Prunella::new(&options.base_url, options.bearer.clone())?;
    let traffic = Traffic {
        scale: options.scale,
        history_hours: options.history_hours,
        ..Traffic::live(options.seed, (options.clock)())
    };
    let history = background(&traffic);
    let before = Before::of(&prunella).await?;
    send_background(&options, &prunella, &history).await?;
    drain(&options, &prunella).await?;
    let mut observed = Observed {
        principal: victim(options.scenario).map(|identity| identity.principal()),
        background_events: history.len() as u64,
        ..Observed::default()
    };
    if options.scenario != Scenario::None {
        play(&options, &prunella, &before, &mut observed).await?;
    }
    observed.findings = before.without(prunella.findings().await?, finding_uid);
    observed.receipts = before.without(prunella.receipts().await?, receipt_uid);
    // A Prunella that does not tell its plans has none.
    observed.plans = prunella.plans().await.unwrap_or_default();
    Ok(Report::of(options.scenario, options.intensity, options.seed, &observed))
}

async fn send_background(
    options: &Options,
    prunella: &Prunella,
    history: &[Delivery],
) -> Result<(), SimulateError> {
    let mut sent = 0;
    for batch in history.chunks(BACKGROUND_BATCH_MAX) {
        let body =
            batch.iter().flat_map(|delivery| delivery.written.body.iter().chain(b"\n")).copied().collect();
        prunella.deliver(body).await?;
        sent += batch.len() as u64;
        (options.progress)(Progress::Background { sent, total: history.len() as u64 });
    }
    Ok(())
}

/// Waits until every stage has handled everything.
pub(crate) async fn drain(options: &Options, prunella: &Prunella) -> Result<(), SimulateError> {
    let begin = (options.clock)();
    let mut idle = 0;
    loop {
        let lag = prunella.lag().await?;
        (options.progress)(Progress::Draining { lag });
        // Twice in a row: between two stages a message may be in nobody's count for a moment.
        idle = if lag == 0 { idle + 1 } else { 0 };
        if idle == 2 {
            return Ok(());
        }
        let waited_ms = (options.clock)().since_ms(begin).unsigned_abs();
        if waited_ms > DRAIN_MS_MAX {
            return Err(SimulateError::Slow { waited_ms, lag });
        }
        sleep(Duration::from_millis(LOOK_MS / 2)).await;
    }
}

/// What the pipeline had found before: it is none of this run's.
pub(crate) struct Before(BTreeSet<String>);

impl Before {
    pub(crate) async fn of(prunella: &Prunella) -> Result<Self, SimulateError> {
        let (findings, receipts) = (prunella.findings().await?, prunella.receipts().await?);
        let uids = findings.iter().map(finding_uid).chain(receipts.iter().map(receipt_uid));
        Ok(Before(uids.map(str::to_owned).collect()))
    }

    pub(crate) fn without(&self, mut rows: Vec<Value>, uid: impl Fn(&Value) -> &str) -> Vec<Value> {
        rows.retain(|row| !self.0.contains(uid(row)));
        rows
    }
}

/// How far the attacker is, for the watcher.
#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    scripted: bool,
    refused_in_a_row: u64,
}

async fn play(
    options: &Options,
    prunella: &Prunella,
    before: &Before,
    observed: &mut Observed,
) -> Result<(), SimulateError> {
    let started = (options.clock)();
    let (prunella_, clock) = (prunella.clone(), Arc::clone(&options.clock));
    let target = Target::start(Setup { prunella: prunella_, clock, seed: options.seed }).await?;
    let calls = attack(options.scenario, options.intensity, options.seed, started);
    let (standing, watched) = watch::channel(Standing::default());
    let (stop, stopped) = watch::channel(false);
    let attacker = attacker(options, &target, calls, standing, stopped);
    let watcher = async {
        let scene = Scene { options, prunella, target: &target, before, started };
        let outcome = look(&scene, watched, observed).await;
        // The attacker may have ended first, and then nobody listens.
        let _ = stop.send(true);
        outcome
    };
    let (attacked, watched) = tokio::join!(attacker, watcher);
    observed.journal = target.stop().await?;
    attacked.and(watched)?;
    drain(options, prunella).await
}

/// Tries the script to its end, and then goes on trying what worked, until told to stop.
async fn attacker(
    options: &Options,
    target: &Target,
    script: Vec<Call>,
    standing: Sender<Standing>,
    mut stop: Receiver<bool>,
) -> Result<(), SimulateError> {
    let url = format!("http://{}/call", target.address);
    let http = reqwest::Client::new();
    let scripted = script.len() as u64;
    let again: Vec<Call> = script
        .iter()
        .rev()
        .filter(|call| call.token.is_some() && call.failure.is_none())
        .take(4)
        .cloned()
        .collect();
    let tail = again.iter().cycle().map(|call| Call { delay_ms: TAIL_PAUSE_MS, ..call.clone() });
    let (mut session, mut sent, mut accepted, mut refused, mut row) = (None::<Token>, 0, 0, 0, 0);
    for mut call in script.iter().cloned().chain(tail) {
        tokio::select! {
            () = sleep(Duration::from_millis(call.delay_ms)) => {}
            // A dropped sender means stop as well.
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        }
        if let (Some(token), Some(opened)) = (&mut call.token, &session) {
            token.clone_from(opened);
        }
        let answer = ask(&http, &url, &call).await?;
        session = answer.token.or(session);
        sent += 1;
        match answer.verdict {
            Verdict::Accepted => (accepted, row) = (accepted + 1, 0),
            Verdict::Refused => (refused, row) = (refused + 1, row + 1),
            Verdict::Failed => {}
        }
        (options.progress)(Progress::Attack { sent, scripted, accepted, refused });
        standing.send_replace(Standing { scripted: sent >= scripted, refused_in_a_row: row });
    }
    Ok(())
}

async fn ask(http: &reqwest::Client, url: &str, call: &Call) -> Result<Answer, SimulateError> {
    let unreachable =
        |e: reqwest::Error| SimulateError::Unreachable { url: url.to_owned(), detail: e.to_string() };
    let answer = http.post(url).json(call).send().await.map_err(unreachable)?;
    answer.json().await.map_err(|e| SimulateError::Answer { url: url.to_owned(), detail: e.to_string() })
}

/// What the watcher looks at.
struct Scene<'a> {
    options: &'a Options,
    prunella: &'a Prunella,
    target: &'a Target,
    before: &'a Before,
    started: Timestamp,
}

/// Watches Prunella until it has settled, or until time is up.
async fn look(
    scene: &Scene<'_>,
    standing: Receiver<Standing>,
    observed: &mut Observed,
) -> Result<(), SimulateError> {
    let principal = observed.principal.clone();
    let timeout_ms = i64::try_from(scene.options.timeout_ms).unwrap_or(i64::MAX);
    let mut changed = scene.started;
    loop {
        sleep(Duration::from_millis(LOOK_MS)).await;
        let attack = scene.target.journal().await.into_iter().map(|seen| seen.event_id).collect();
        let findings = scene.before.without(scene.prunella.findings().await?, finding_uid);
        let receipts = scene.before.without(scene.prunella.receipts().await?, receipt_uid);
        let now = (scene.options.clock)();
        let hits = findings.iter().filter(|finding| is_about(finding, &attack, principal.as_deref()));
        let hits: Vec<&Value> = hits.collect();
        let uids: BTreeSet<String> = hits.iter().map(|finding| finding_uid(finding).to_owned()).collect();
        let about = receipts.iter().filter(|receipt| concerns(receipt, &uids, principal.as_deref()));
        let about: Vec<&Value> = about.collect();
        let told = hits.iter().map(|finding| {
            let message = finding.get("message").and_then(Value::as_str).unwrap_or_default().to_owned();
            Progress::Finding { uid: finding_uid(finding).to_owned(), message }
        });
        let told = told
            .chain(about.iter().map(|receipt| Progress::Receipt { uid: receipt_uid(receipt).to_owned() }));
        for progress in told {
            if observed.notice(&progress, now) {
                changed = now;
                (scene.options.progress)(progress);
            }
        }
        let plans = scene.prunella.plans().await;
        let waiting = approve(scene.options, scene.prunella, &plans, principal.as_deref()).await?;
        let standing = *standing.borrow();
        let closed = about.iter().any(|receipt| restrains(receipt));
        // Whoever approves wants to see all of it through.
        let through = scene.options.approve_as.is_none()
            || !waiting && !is_pending(&plans, principal.as_deref()) && now.since_ms(changed) >= SETTLED_MS;
        let enough = closed && standing.refused_in_a_row >= REFUSALS_ENOUGH && through;
        let quiet = standing.scripted && now.since_ms(changed) >= QUIET_MS;
        let over = now.since_ms(scene.started) >= timeout_ms;
        if enough || over || quiet && !waiting && !is_pending(&plans, principal.as_deref()) {
            return Ok(());
        }
    }
}

/// Approves what waits about the attacker, if somebody is there to do so. Whether something waited.
pub(crate) async fn approve(
    options: &Options,
    prunella: &Prunella,
    plans: &Result<Vec<Value>, SimulateError>,
    principal: Option<&str>,
) -> Result<bool, SimulateError> {
    let Some(by) = &options.approve_as else { return Ok(false) };
    let mut waited = false;
    for (uid, state, _) in latest(plans, principal) {
        if state == "awaiting_approval" {
            waited = true;
            prunella.decide(&uid, "approve", by).await?;
        }
    }
    Ok(waited)
}

impl Observed {
    /// Notes when a finding or receipt was first seen. `false` when it was seen before.
    pub(crate) fn notice(&mut self, progress: &Progress, now: Timestamp) -> bool {
        let (Progress::Finding { uid, .. } | Progress::Receipt { uid }) = progress else { return false };
        let new = self.first_seen.iter().all(|(known, _)| known != uid);
        if new {
            self.first_seen.push((uid.clone(), now));
        }
        new
    }
}

/// Whether a plan about the attacker is still at work. A Prunella that does not tell its plans has none.
pub(crate) fn is_pending(plans: &Result<Vec<Value>, SimulateError>, principal: Option<&str>) -> bool {
    const AT_WORK: [&str; 5] = ["planned", "approved", "applied", "unknown", "propagating"];
    latest(plans, principal).iter().any(|(_, state, _)| AT_WORK.contains(&state.as_str()))
}

/// The plans about a principal: id, newest state, and the plan as it is now.
pub(crate) fn latest(
    plans: &Result<Vec<Value>, SimulateError>,
    principal: Option<&str>,
) -> Vec<(String, String, Value)> {
    let mut latest = BTreeMap::new();
    for row in plans.iter().flatten() {
        let plan = plan_of(row);
        if plan.get("principal").and_then(Value::as_str) != principal {
            continue;
        }
        let state = row.get("to").or_else(|| row.get("state")).or_else(|| plan.get("state"));
        let state = state.and_then(Value::as_str).unwrap_or_default();
        let uid = row.get("plan_uid").or_else(|| plan.get("uid")).and_then(Value::as_str).unwrap_or_default();
        let sequence = row.get("sequence").and_then(Value::as_u64).unwrap_or_default();
        let entry = latest.entry(uid.to_owned()).or_insert((sequence, state, plan));
        if sequence >= entry.0 {
            *entry = (sequence, state, plan);
        }
    }
    let told = latest.into_iter();
    told.map(|(uid, (_, state, plan))| (uid, state.to_owned(), plan.clone())).collect()
}
