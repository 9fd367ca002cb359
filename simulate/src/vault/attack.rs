//! What an attacker does at the vault, request by request, and what the vault answers.

use super::Resident;
use super::door::{Answer, Visitor};
use super::history::{AGENT, home};
use crate::cast::{ATTACKER_NETWORK, GATEWAY_NETWORK};
use crate::record::Verdict;
use crate::run::{Options, Progress, SimulateError};
use crate::scenario::Scenario;
use prunella_schemas::Timestamp;
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::watch::{Receiver, Sender};
use tokio::time::sleep;

/// The attacker's tool.
const TOOL: &str = "python-requests/2.32.5";
/// Pause of a program that takes file after file at an even pace, in milliseconds.
const EVEN_PAUSE_MS: u64 = 20;
/// Pause between the requests of a user at work, in milliseconds.
const WORK_PAUSE_MS: u64 = 250;
/// Refusals after which the scraper tries from elsewhere.
const PATIENCE: u64 = 8;
/// Guesses from one network before the next one is used: fewer than the vault lets wait for.
const GUESSES_PER_NETWORK: u64 = 4;

/// One request of the attacker.
pub struct Attempt {
    pub request: String,
    pub operation: String,
    pub at: Timestamp,
    pub verdict: Verdict,
    pub asked_to_step_up: bool,
}

/// The attacker's requests in their order.
#[derive(Default)]
pub struct Journal(Mutex<Vec<Attempt>>);

impl Journal {
    pub fn take(&self) -> Vec<Attempt> {
        self.0.lock().map(|mut attempts| std::mem::take(&mut *attempts)).unwrap_or_default()
    }
}

/// How far the attacker is, for the watcher.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standing {
    /// Everything that was meant has been tried once.
    pub scripted: bool,
    /// Requests in a row that were refused for good: a step-up is no such refusal.
    pub shut_out: u64,
}

/// The attacker at work.
struct Attacker<'a> {
    options: &'a Options,
    journal: &'a Journal,
    standing: Sender<Standing>,
    now: Standing,
    sent: u64,
    accepted: u64,
    refused: u64,
    /// Requests in a row that were refused, for whatever reason.
    in_a_row: u64,
}

impl Attacker<'_> {
    fn note(&mut self, operation: &str, answer: Answer) -> Verdict {
        let at = (self.options.clock)();
        let Answer { request, verdict, asked_to_step_up, .. } = answer;
        self.sent += 1;
        match verdict {
            Verdict::Accepted => {
                (self.accepted, self.in_a_row, self.now.shut_out) = (self.accepted + 1, 0, 0);
            }
            Verdict::Refused => {
                (self.refused, self.in_a_row) = (self.refused + 1, self.in_a_row + 1);
                self.now.shut_out = if asked_to_step_up { 0 } else { self.now.shut_out + 1 };
            }
            Verdict::Failed => {}
        }
        let (sent, accepted, refused) = (self.sent, self.accepted, self.refused);
        (self.options.progress)(Progress::Attack { sent, scripted: sent, accepted, refused });
        self.standing.send_replace(self.now);
        let operation =
            if asked_to_step_up { format!("{operation} (step-up)") } else { operation.to_owned() };
        if let Ok(mut attempts) = self.journal.0.lock() {
            attempts.push(Attempt { request, operation, at, verdict, asked_to_step_up });
        }
        verdict
    }
}

/// Plays the scenario until told to stop. Whoever is refused goes on trying.
pub async fn play(
    options: &Options,
    resident: &Resident,
    journal: &Journal,
    standing: Sender<Standing>,
    stop: Receiver<bool>,
) -> Result<(), SimulateError> {
    let base = format!("{}/vault", options.base_url.trim_end_matches('/'));
    let mut owner = Visitor::new(&base, home(), AGENT)?;
    let attacker = Attacker {
        options,
        journal,
        standing,
        now: Standing::default(),
        sent: 0,
        accepted: 0,
        refused: 0,
        in_a_row: 0,
    };
    let thief = |owner: &Visitor| owner.elsewhere(format!("{ATTACKER_NETWORK}.66"), TOOL);
    match options.scenario {
        Scenario::StolenTokenExfiltration => {
            owner.log_in(&resident.username, &resident.secret).await?;
            let thief = thief(&owner);
            let (stolen, worked) = tokio::join!(
                take_all(attacker, thief, resident, pause(options), stop.clone()),
                work(owner, resident, stop)
            );
            stolen.and(worked)
        }
        Scenario::BruteForceLogin => guess(attacker, &base, resident, stop).await,
        Scenario::InsiderBulkDownload => {
            owner.log_in(&resident.username, &resident.secret).await?;
            take_all(attacker, owner, resident, pause(options), stop).await
        }
        Scenario::PredictableScraper => {
            owner.log_in(&resident.username, &resident.secret).await?;
            scrape(attacker, owner, resident, stop).await
        }
        _ => Ok(()),
    }
}

fn pause(options: &Options) -> Duration {
    Duration::from_millis(options.intensity.choose(120, 40, 10))
}

/// Waits; false when it is over.
async fn on(stop: &mut Receiver<bool>, pause: Duration) -> bool {
    tokio::select! {
        () = sleep(pause) => true,
        // A dropped sender means stop as well.
        _ = stop.wait_for(|stop| *stop) => false,
    }
}

/// Takes every file, and begins anew when all are taken.
async fn take_all(
    mut attacker: Attacker<'_>,
    thief: Visitor,
    resident: &Resident,
    pause: Duration,
    mut stop: Receiver<bool>,
) -> Result<(), SimulateError> {
    let answer = thief.list().await?;
    attacker.note("list", answer);
    for number in 0.. {
        attacker.now.scripted = number >= resident.files.len();
        let Some(file) = resident.files.get(number % resident.files.len().max(1)) else { return Ok(()) };
        if !on(&mut stop, pause).await {
            return Ok(());
        }
        attacker.note("download", thief.download(file).await?);
    }
    Ok(())
}

/// The owner at work beside the thief. Whoever is told to log in does so, and goes on.
async fn work(
    mut owner: Visitor,
    resident: &Resident,
    mut stop: Receiver<bool>,
) -> Result<(), SimulateError> {
    for number in 0.. {
        let Some(file) = resident.files.get(number % resident.files.len().max(1)) else { return Ok(()) };
        if !on(&mut stop, Duration::from_millis(WORK_PAUSE_MS)).await {
            return Ok(());
        }
        if owner.inspect(file).await?.verdict == Verdict::Refused {
            owner.log_in(&resident.username, &resident.secret).await?;
        }
    }
    Ok(())
}

/// Guesses from one network after the other, gets in, and takes what is there.
async fn guess(
    mut attacker: Attacker<'_>,
    base: &str,
    resident: &Resident,
    mut stop: Receiver<bool>,
) -> Result<(), SimulateError> {
    let pause = pause(attacker.options);
    let guesses = attacker.options.intensity.choose(8, 16, 40);
    for guess in 0..guesses {
        let network = 1 + guess / GUESSES_PER_NETWORK;
        let mut stranger = Visitor::new(base, format!("192.0.{network}.{}", 10 + guess), TOOL)?;
        let answer = stranger.log_in(&resident.username, &format!("guess{guess}")).await?;
        attacker.note("login", answer);
        if !on(&mut stop, pause).await {
            return Ok(());
        }
    }
    let mut thief = Visitor::new(base, format!("{ATTACKER_NETWORK}.66"), TOOL)?;
    let answer = thief.log_in(&resident.username, &resident.secret).await?;
    attacker.note("login", answer);
    take_all(attacker, thief, resident, pause, stop).await
}

/// Takes file after file at an even pace. Asked to prove who it is it cannot, and tries from elsewhere.
async fn scrape(
    mut attacker: Attacker<'_>,
    owner: Visitor,
    resident: &Resident,
    mut stop: Receiver<bool>,
) -> Result<(), SimulateError> {
    let mut program = owner;
    let even = Duration::from_millis(EVEN_PAUSE_MS);
    for number in 0.. {
        let Some(file) = resident.files.get(number % resident.files.len().max(1)) else { return Ok(()) };
        if !on(&mut stop, even).await {
            return Ok(());
        }
        attacker.note("download", program.download(file).await?);
        if attacker.in_a_row == PATIENCE {
            program = program.elsewhere(format!("{GATEWAY_NETWORK}.99"), TOOL);
        }
    }
    Ok(())
}
