//! A process of its own that reads the bucket into a log on disk: killed at random moments, and measured.

use crate::bench::{Trail, clock, gzip, log_text, record, sdk};
use prunella_aws::cloudtrail::{CloudTrail, Settings};
use prunella_contract::{Bench, Object};
use prunella_runtime::connect::{Counts, Feed, Ground, Planned, SqliteCursors, Tally};
use prunella_runtime::executor::KillSwitch;
use prunella_runtime::intake::LogIntake;
use prunella_runtime::log::sqlite::SqliteLog;
use prunella_runtime::log::{Log, Portion, START};
use prunella_schemas::{Message, Record, Tenant, Topic};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the child is told: folder, endpoint and settings, one a line.
const TOLD: &str = "PRUNELLA_TEST_CHILD";
/// How often the process is killed; the variable is for a longer run.
const KILLS: &str = "PRUNELLA_TEST_KILLS";
const KILLS_DEFAULT: u32 = 12;
/// Peak of resident memory that reading a bucket may need, in kB.
const RESIDENT_KB_MAX: u64 = 256 * 1024;

#[allow(clippy::disallowed_methods, reason = "the parent tells its child by the environment")]
fn told(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Not a test of its own: what the parents below start.
#[tokio::test(flavor = "multi_thread")]
async fn child() {
    let Some(told) = told(TOLD) else { return };
    let [folder, endpoint, settings] = told.lines().collect::<Vec<_>>()[..] else { panic!("three lines") };
    let folder = Path::new(folder);
    let log: Arc<dyn Log> = Arc::new(SqliteLog::open(&folder.join("log.db"), clock()).unwrap());
    let switch = KillSwitch::in_directory(folder);
    let intake = Arc::new(LogIntake::open(log, clock(), switch).unwrap());
    let cursors = Arc::new(SqliteCursors::open(folder).unwrap());
    let settings = Settings::parse(serde_json::from_str(settings).unwrap()).unwrap();
    let config = sdk(endpoint).await;
    let source =
        Arc::new(CloudTrail::over(config, "trail".into(), Tenant::default(), settings, clock()).unwrap());
    let planned = Planned { source, every_ms: None };
    let mut feed =
        Feed::new(planned, Ground { intake, cursors, clock: clock() }, Arc::new(Counts::default()));
    feed.run_once(&mut Tally::default()).await.unwrap();
}

fn start(trail: &Trail, folder: &Path) -> std::process::Child {
    let endpoint = trail.direct.endpoint_url().unwrap();
    let told = format!("{}\n{endpoint}\n{}", folder.display(), trail.settings);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "killed::child", "--nocapture"]).env(TOLD, told);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// How often each record is on the log.
fn on_the_log(folder: &Path) -> BTreeMap<Vec<u8>, u32> {
    let log = SqliteLog::open(&folder.join("log.db"), clock()).unwrap();
    let portion = Portion { messages_max: 10_000, bytes_max: 64 << 20, until: i64::MAX };
    let (mut after, mut found) = (START, BTreeMap::new());
    loop {
        let batches = log.read(&[Topic::Records], after, portion).unwrap();
        let Some(last) = batches.last() else { return found };
        after = last.sequence;
        for posted in batches.iter().flat_map(|batch| &batch.messages) {
            *found.entry(Record::decode(Record::VERSION, &posted.bytes).unwrap().body).or_default() += 1;
        }
    }
}

async fn kill_again_and_again(trail: Trail) {
    const OBJECTS: u32 = 120;
    let folder = tempfile::tempdir().unwrap();
    let objects: Vec<Object> = (0..OBJECTS).map(Object::at).collect();
    let kills: u32 = told(KILLS).map_or(KILLS_DEFAULT, |n| n.parse().unwrap());
    let portion = (OBJECTS / kills.min(OBJECTS)) as usize;
    let mut delivered = 0;
    for kill in 0..kills {
        let next = (delivered + portion).min(objects.len());
        trail.deliver(&objects[delivered..next]).await;
        delivered = next;
        let mut child = start(&trail, folder.path());
        // Spread over start, reading, making durable and acknowledging; the same moments in every run.
        tokio::time::sleep(Duration::from_millis(u64::from(kill * 397 % 2_400) + 100)).await;
        child.kill().unwrap();
        child.wait().unwrap();
    }
    trail.deliver(&objects[delivered..]).await;
    for _ in 0..40 {
        assert!(start(&trail, folder.path()).wait().unwrap().success(), "the last ones end by themselves");
        if trail.waiting().await == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let found = on_the_log(folder.path());
    let wanted: Vec<String> = objects.iter().flat_map(|o| (o.first..o.first + o.count).map(record)).collect();
    let lost = wanted.iter().filter(|record| !found.contains_key(record.as_bytes())).count();
    let twice = found.values().filter(|count| **count > 1).count();
    assert_eq!((lost, twice, found.len()), (0, 0, wanted.len()), "lost, twice, all, after {kills} kills");
    assert_eq!(trail.waiting().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listed_bucket_survives_kills() {
    let Some(trail) = Trail::new(serde_json::json!({})).await else { return };
    kill_again_and_again(trail).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_queue_survives_kills() {
    let Some(trail) = Trail::with_queue().await else { return };
    kill_again_and_again(trail).await;
}

/// Reads what is there, and says how fast and in how much memory. For numbers: `--release --nocapture`, and a larger
/// `PRUNELLA_TEST_OBJECTS`.
#[tokio::test(flavor = "multi_thread")]
#[allow(clippy::disallowed_methods, reason = "a measure of real time")]
async fn a_backfill_stays_within_its_memory() {
    const RECORDS: u32 = 20_000;
    let Some(trail) = Trail::new(serde_json::json!({})).await else { return };
    let objects: u32 = told("PRUNELLA_TEST_OBJECTS").map_or(6, |n| n.parse().unwrap());
    let mut stored = 0;
    for minute in 0..objects {
        let text = log_text(&Object { minute, first: minute * RECORDS, count: RECORDS, cut: false });
        let bytes = gzip(&text);
        stored += bytes.len();
        trail.put(&trail.key("CloudTrail", minute, "x"), bytes).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let since = Instant::now();
    let mut child = start(&trail, folder.path());
    let (mut peak_kb, status) = (0, format!("/proc/{}/status", child.id()));
    let ended = loop {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let peak = text
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse().ok());
        peak_kb = peak_kb.max(peak.unwrap_or(0u64));
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert!(ended.success());
    let (took, records) = (since.elapsed(), u64::from(objects * RECORDS));
    assert_eq!(on_the_log(folder.path()).len() as u64, records);
    let rate = records as f64 / took.as_secs_f64();
    eprintln!(
        "{records} records in {objects} objects, {stored} bytes as stored: {rate:.0}/s, peak {peak_kb} kB"
    );
    assert!(peak_kb <= RESIDENT_KB_MAX, "{peak_kb} kB");
}
