//! The fault test: `prunella up` is killed with SIGKILL at random moments under load, again and again; an oracle by
//! event id then says whether anything was lost, counted twice, or judged differently than without the kills.

mod blind;
mod drive;
mod fault;
pub mod http;
mod oracle;
mod process;
#[cfg(feature = "kafka")]
mod roles;
mod stream;

use anyhow::{Context, bail};
use clap::{Args, Subcommand, ValueEnum};
use drive::Seen;
use oracle::Holdings;
use process::Setup;
use serde::Serialize;
use std::hash::BuildHasher;
use std::path::{Path, PathBuf};
use std::process::Command;
use stream::{Counts, Stream};

/// Batches that each kill finds to disturb, on average.
const BATCHES_PER_KILL: usize = 8;
const BATCHES_MIN: usize = 200;

/// Budgets wide enough that no wall clock decides which plan may act.
const CONFIG: &str = "version = 1\n\
    [response.budgets]\n\
    playbook = { max = 10000, window_ms = 60000 }\n\
    tenant = { max = 10000, window_ms = 60000 }\n\
    global = { max = 10000, window_ms = 60000 }\n";

#[derive(Args)]
pub struct Options {
    /// How many times to kill
    #[arg(long, default_value_t = 200)]
    pub kills: u32,
    /// Same seed, same records and same moments; drawn when not given
    #[arg(long)]
    pub seed: Option<u64>,
    /// Events to send, at least
    #[arg(long, default_value_t = 20_000)]
    pub events: usize,
    /// Keep both data directories here, whatever the outcome
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    /// The binary to kill; default: the release build beside this program's own build
    #[arg(long, value_name = "PATH", global = true)]
    pub binary: Option<PathBuf>,
    /// Kill the roles over Kafka instead, each a process of its own; needs `cargo xtask services up`, and this program and
    /// the binary built with `--features kafka`
    #[arg(long)]
    pub roles: bool,
    /// With `--roles`: so many of the kills hit the broker
    #[arg(long, default_value_t = 1)]
    pub broker_kills: u32,
    /// With `--roles`: so many of the kills hit ClickHouse, into which the role `sink` copies; its rows are counted too
    #[arg(long, default_value_t = 0)]
    pub table_kills: u32,
    /// With `--roles`: how often a process stands still while another one takes over, and then wakes up
    #[arg(long, default_value_t = 1)]
    pub freezes: u32,
    /// Afterwards damage copies of the data and check that the oracle notices
    #[arg(long)]
    pub check_oracle: bool,
    #[arg(short, long, value_enum, global = true, default_value_t = Format::Text)]
    pub output: Format,
    #[command(subcommand)]
    pub other: Option<Other>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
}

#[derive(Subcommand)]
pub enum Other {
    /// What the world does to a process besides killing it: one by name, or all
    Fault { name: Option<fault::Fault> },
    /// Members of a role over Kafka come, go, stand still and die; built with `--features kafka`
    Rebalance {
        /// How often somebody joins or leaves
        #[arg(long, default_value_t = 60)]
        turns: u32,
    },
}

/// What came of it.
#[derive(Debug, Serialize)]
struct Summary {
    seed: u64,
    kills: u32,
    kills_at_start: u32,
    cut_off: u64,
    sent_again: u64,
    sent: Counts,
    events: usize,
    findings: usize,
    dead_letters: usize,
    actions: usize,
    /// Actions that a kill interrupted, so that the provider had to be asked.
    actions_interrupted: usize,
    lost: u64,
    twice: u64,
    findings_identical: bool,
    ledger: Ledger,
    ready_ms: Spread,
    recovered_ms: Spread,
    stop_ms: u64,
    undisturbed_seconds: f64,
    disturbed_seconds: f64,
    /// Damages of copies that the oracle noticed, when asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    oracle_noticed: Option<usize>,
    violations: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Spread {
    samples: usize,
    p50: u64,
    max: u64,
}

#[derive(Debug, Default, Serialize, serde::Deserialize)]
struct Ledger {
    entries: u64,
    integrity: String,
    completeness: String,
}

impl Spread {
    fn of(mut values: Vec<u64>) -> Self {
        values.sort_unstable();
        let p50 = values.get(values.len() / 2).copied().unwrap_or_default();
        Spread { samples: values.len(), p50, max: values.last().copied().unwrap_or_default() }
    }
}

pub fn run(options: &Options) -> anyhow::Result<()> {
    let binary = binary(options)?;
    if let Some(Other::Fault { name }) = &options.other {
        return fault::run(&binary, *name, options.output);
    }
    // A seed that nobody chose comes from the randomness of the standard library's hash maps.
    let seed = options.seed.unwrap_or_else(|| std::hash::RandomState::new().hash_one(0) >> 32);
    say(
        options,
        &format!(
            "seed {seed} (again with: cargo xtask chaos{} --kills {} --seed {seed} --events {})",
            match options.roles {
                true => format!(
                    " --roles --broker-kills {} --table-kills {} --freezes {}",
                    options.broker_kills, options.table_kills, options.freezes
                ),
                false => String::new(),
            },
            options.kills,
            options.events
        ),
    );
    let folder = match &options.keep {
        Some(folder) => folder.clone(),
        None => std::env::temp_dir().join(format!("prunella-chaos-{}", std::process::id())),
    };
    fresh(&folder)?;
    match options.other {
        Some(Other::Rebalance { turns }) => rebalance(options, &binary, &folder, seed, turns)?,
        _ if options.roles => over_kafka(options, &binary, &folder, seed)?,
        _ => embedded(options, &binary, &folder, seed)?,
    }
    if options.keep.is_none() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(())
}

#[cfg(feature = "kafka")]
use roles::{rebalance, run as over_kafka};

#[cfg(not(feature = "kafka"))]
fn over_kafka(options: &Options, _: &Path, _: &Path, _: u64) -> anyhow::Result<()> {
    let (kills, freezes) = (options.broker_kills + options.table_kills, options.freezes);
    bail!(
        "this build knows no Kafka: no {kills} kills of a service and {freezes} frozen processes; \
         `cargo run -p xtask --features kafka -- chaos` does"
    )
}

#[cfg(not(feature = "kafka"))]
fn rebalance(options: &Options, binary: &Path, folder: &Path, seed: u64, _: u32) -> anyhow::Result<()> {
    over_kafka(options, binary, folder, seed)
}

fn embedded(options: &Options, binary: &Path, folder: &Path, seed: u64) -> anyhow::Result<()> {
    let summary = play(options, binary, folder, seed)
        .with_context(|| format!("seed {seed}, data kept in {}", folder.display()))?;
    print(options, &summary);
    match summary.violations.len() {
        0 => Ok(()),
        count => bail!("{count} violation(s) with seed {seed}; data kept in {}", folder.display()),
    }
}

/// Everything but the verdict, in `folder`.
fn play(options: &Options, binary: &Path, folder: &Path, seed: u64) -> anyhow::Result<Summary> {
    let batches = BATCHES_MIN.max(options.kills as usize * BATCHES_PER_KILL);
    let stream = stream::make(binary, folder, seed, options.events, batches)?;
    std::fs::write(folder.join("stream.ndjson"), &stream.bytes)?;
    say(options, &format!("{} lines in {} batches", stream.counts.lines, stream.batches.len()));
    let (setup, undisturbed) = (setup(binary, folder, "undisturbed")?, drive::undisturbed);
    let calm_seen = undisturbed(&setup, &stream).context("the undisturbed run")?;
    let (calm, mut violations) = judge(&setup, &stream, &calm_seen, "undisturbed")?;
    violations
        .extend(calm.findings.is_empty().then(|| "undisturbed: the stream gives no findings".to_owned()));
    violations.extend(calm.applied.is_empty().then(|| "undisturbed: the stream gives no actions".to_owned()));
    say(
        options,
        &format!(
            "undisturbed: {:.1} s, {} findings, {} actions",
            calm_seen.seconds,
            calm.findings.len(),
            calm.applied.len()
        ),
    );
    let setup = self::setup(binary, folder, "disturbed")?;
    let seen = drive::disturbed(&setup, &stream, seed, options.kills).context("the disturbed run")?;
    let (held, more) = judge(&setup, &stream, &seen, "disturbed")?;
    violations.extend(more);
    let difference = held.differences(&calm);
    violations.extend(difference.violations.into_iter().map(|v| format!("disturbed: {v}")));
    let ledger = verify(&setup)?;
    let oracle_noticed = match options.check_oracle {
        true => Some(blind::check(&setup.data, folder, &calm, &stream.counts)?),
        false => None,
    };
    Ok(Summary {
        seed,
        kills: seen.kills,
        kills_at_start: seen.kills_at_start,
        cut_off: seen.cut_off,
        sent_again: seen.sent_again,
        sent: stream.counts,
        events: held.events.len(),
        findings: held.findings.len(),
        dead_letters: held.dead_letters.len(),
        actions: held.applied.len(),
        actions_interrupted: held.interrupted(),
        lost: difference.lost,
        twice: difference.twice + held.stored_twice(),
        findings_identical: difference.identical,
        ledger,
        ready_ms: Spread::of(seen.ready_ms),
        recovered_ms: Spread::of(seen.recovered_ms),
        stop_ms: seen.stop_ms,
        undisturbed_seconds: calm_seen.seconds,
        disturbed_seconds: seen.seconds,
        oracle_noticed,
        violations,
    })
}

/// What a run left behind, and what is wrong with it by itself.
fn judge(setup: &Setup, stream: &Stream, seen: &Seen, name: &str) -> anyhow::Result<(Holdings, Vec<String>)> {
    let held = Holdings::read(&setup.data)?;
    let mut violations = seen.violations.clone();
    violations.extend(held.violations(&stream.counts));
    let panics = setup.panics();
    violations.extend((panics > 0).then(|| format!("{panics} panics, see {}", setup.log.display())));
    let ledger = verify(setup)?;
    if ledger.integrity != "ok" || ledger.completeness != "ok" {
        violations.push(format!("the ledger does not verify: {ledger:?}"));
    }
    Ok((held, violations.into_iter().map(|v| format!("{name}: {v}")).collect()))
}

fn verify(setup: &Setup) -> anyhow::Result<Ledger> {
    let done = setup
        .command()
        .args(["ledger", "verify", "-o", "json"])
        .output()
        .context("cannot run ledger verify")?;
    serde_json::from_slice(&done.stdout).with_context(|| {
        format!("ledger verify ended with {}: {}", done.status, String::from_utf8_lossy(&done.stderr))
    })
}

fn setup(binary: &Path, folder: &Path, name: &str) -> anyhow::Result<Setup> {
    let config = folder.join("prunella.toml");
    std::fs::write(&config, CONFIG)?;
    Ok(Setup {
        binary: binary.to_owned(),
        config,
        data: folder.join(name),
        log: folder.join(format!("{name}.log")),
    })
}

fn fresh(folder: &Path) -> anyhow::Result<()> {
    let used = folder.read_dir().is_ok_and(|mut entries| entries.next().is_some());
    anyhow::ensure!(!used, "{} is not empty", folder.display());
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

/// The release build in the same target directory as this program.
fn binary(options: &Options) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("where is this program?")?;
    let beside = own.ancestors().nth(2).map(|target| target.join("release").join("prunella"));
    let binary = options.binary.clone().or(beside).unwrap_or_default();
    let exists = Command::new(&binary).arg("--version").output().is_ok_and(|done| done.status.success());
    anyhow::ensure!(
        exists,
        "no prunella at {}; run `cargo build --release -p prunella-cli`, or give --binary",
        binary.display()
    );
    Ok(binary)
}

#[allow(clippy::print_stderr, reason = "progress is for the person at the terminal")]
fn say(options: &Options, line: &str) {
    if options.output == Format::Text {
        eprintln!("chaos: {line}");
    }
}

#[allow(clippy::print_stdout, reason = "the summary is the output")]
fn print(options: &Options, summary: &Summary) {
    if options.output == Format::Json {
        println!("{}", serde_json::json!(summary));
        return;
    }
    let Summary { sent, ledger, ready_ms, recovered_ms, .. } = summary;
    let yes = |right| if right { "yes" } else { "NO" };
    println!(
        "kills                {} ({} before the API served, {} requests cut off)",
        summary.kills, summary.kills_at_start, summary.cut_off
    );
    println!(
        "sent                 {} lines: {} events, {} poison, {} repeats, {} by a second channel",
        sent.lines, sent.events, sent.poison, sent.repeats, sent.second_channel
    );
    println!("sent again           {} acknowledged batches", summary.sent_again);
    println!(
        "held                 {} events, {} dead letters, {} findings, {} actions ({} interrupted)",
        summary.events, summary.dead_letters, summary.findings, summary.actions, summary.actions_interrupted
    );
    println!("lost / twice         {} / {}", summary.lost, summary.twice);
    println!("findings identical   {}", yes(summary.findings_identical));
    println!(
        "ledger               {} entries, integrity {}, completeness {}",
        ledger.entries, ledger.integrity, ledger.completeness
    );
    println!("start to API         p50 {} ms, max {} ms ({})", ready_ms.p50, ready_ms.max, ready_ms.samples);
    println!(
        "start to recovered   p50 {} ms, max {} ms ({})",
        recovered_ms.p50, recovered_ms.max, recovered_ms.samples
    );
    println!("SIGTERM to end       {} ms", summary.stop_ms);
    println!(
        "time                 {:.1} s undisturbed, {:.1} s disturbed",
        summary.undisturbed_seconds, summary.disturbed_seconds
    );
    if let Some(noticed) = summary.oracle_noticed {
        println!("oracle noticed       {noticed} of {noticed} damages");
    }
    for violation in &summary.violations {
        println!("VIOLATION            {violation}");
    }
}
