//! Faults: files that refuse to be written, logs that were cut, orders that wait, and a retention that must not take too much or too little.

use async_trait::async_trait;
use prunella_ingest::{Content, Limits};
use prunella_runtime::clock::{self, Clock};
use prunella_runtime::executor::{Executor, KillSwitch, LogPlans, Means};
use prunella_runtime::intake::Sender;
use prunella_runtime::ledger::{LedgerStore, Sequencer, verify};
use prunella_runtime::log::memory::MemoryLog;
use prunella_runtime::log::{Commit, Log, Portion, Retention, START};
use prunella_runtime::sink::Sink;
use prunella_runtime::store::StoreWriter;
use prunella_runtime::topology::{Embedded, Settings};
use prunella_schemas::plan::{Mode, Outcome, Plan, Probe, Read, TargetState};
use prunella_schemas::port::{Effector, HealthView, PortError, Query, State, Store};
use prunella_schemas::{
    Command, DeadLetter, Id, Message, Order, PlanState, Posted, Receipt, Record, RejectReason, Reply, Step,
    Tenant, Timestamp, Topic, Transition,
};
use serde_json::json;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;
use tempfile::TempDir;

const WAIT_MS_MAX: u64 = 20_000;
const STOP_MS_MAX: i64 = 10_000;
const ALL: Portion = Portion { messages_max: usize::MAX, bytes_max: usize::MAX, until: i64::MAX };
pub const NEVER: Retention = Retention { age_ms_max: i64::MAX / 2, bytes_max: u64::MAX };

pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..WAIT_MS_MAX / 10 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("timed out waiting for {what}");
}

fn filler(log: &dyn Log, batches: usize) {
    for n in 0..batches {
        let (topic, version, key, origin) = (Topic::Manifest, 1, String::new(), Timestamp::ZERO);
        let posted = Posted { topic, version, id: Id::default(), key, origin, bytes: n.to_le_bytes().into() };
        log.commit(Commit { outputs: vec![posted], ..Commit::default() }).unwrap();
    }
}

/// A pipeline in this process, over real files.
pub struct Pipe {
    pub runtime: tokio::runtime::Runtime,
    pub up: Embedded,
}

impl Pipe {
    pub fn start(dir: &Path, retention: Retention, clock: Clock) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let mut respond = prunella_respond::Config { mode_max: Mode::Auto, ..Default::default() };
        respond.horizons_ms.insert("tokens.revoke".into(), 1_000);
        respond.horizons_ms.insert("account.lock".into(), 1_000);
        let settings = Settings {
            data_dir: dir.to_owned(),
            enrich: prunella_ingest::enrich::Config::default(),
            detect: prunella_detect::Config::default(),
            respond,
            playbooks: prunella_respond::Playbooks::built_in().unwrap(),
            webhooks: Vec::new(),
            effectors: Vec::new(),
            public_url: None,
            retention,
            clock,
        };
        let up = Embedded::start(settings, runtime.handle()).unwrap();
        Pipe { runtime, up }
    }

    /// A user who deletes the audit trail: always a finding, and a revocation.
    pub fn attack(&self, user: &str) -> Result<(), PortError> {
        let time = (clock::wall()()).plus_ms(-2_000).to_string();
        let record = json!({
            "eventVersion": "1.08", "eventTime": time, "eventID": format!("t-{user}"), "eventName": "DeleteTrail",
            "userIdentity": {
                "type": "IAMUser", "principalId": "AIDAEXAMPLE", "accountId": "111122223333", "userName": user,
                "arn": format!("arn:aws:iam::111122223333:user/{user}"), "accessKeyId": "AKIAIOSFODNN7EXAMPLE"
            },
            "eventSource": "cloudtrail.amazonaws.com", "awsRegion": "eu-central-1", "readOnly": false,
            "sourceIPAddress": "198.51.100.7", "userAgent": "aws-cli/2.15.0", "eventType": "AwsApiCall",
            "requestParameters": {"name": "main"}, "recipientAccountId": "111122223333"
        });
        let sender =
            Sender { source: "aws.cloudtrail".into(), tenant: Tenant::default(), origin: "test".into() };
        let body = format!("{record}\n");
        self.up.intake.take(body.as_bytes(), Content::Ndjson, &Limits::INTAKE, &sender).map(drop)
    }

    fn is_revoked(&self, user: &str) -> bool {
        let principal = principal(user);
        let version = self.runtime.block_on(self.up.state.token_version(&Tenant::default(), &principal));
        version.unwrap().not_before > Timestamp::ZERO
    }

    fn problems(&self) -> Vec<String> {
        self.runtime.block_on(self.up.health.health()).problems
    }

    pub fn receipts(&self) -> Vec<Receipt> {
        self.runtime.block_on(self.up.store.receipts(&Query::default())).unwrap().rows
    }

    pub fn stop(self) {
        let begin = clock::wall()();
        self.runtime.block_on(self.up.stop());
        drop(self.runtime);
        assert!(clock::wall()().since_ms(begin) < STOP_MS_MAX, "stopping takes too long");
    }
}

pub fn principal(user: &str) -> String {
    format!("aws:user:arn:aws:iam::111122223333:user/{user}")
}

fn sql(path: &Path, sql: &str) {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.busy_timeout(Duration::from_secs(10)).unwrap();
    connection.execute_batch(sql).unwrap();
}

/// Makes every insert into a table fail, as a full disk would.
fn break_table(file: &Path, table: &str) {
    let body = "BEGIN SELECT RAISE(ABORT, 'injected'); END";
    sql(file, &format!("CREATE TRIGGER injected BEFORE INSERT ON {table} {body}"));
}

fn heal(file: &Path) {
    sql(file, "DROP TRIGGER injected");
}

#[test]
fn what_a_file_refuses_for_a_while_is_done_once_it_is_writable_again() {
    let dir = TempDir::new().unwrap();
    let file = |name: &str| dir.path().join(name);
    let pipe = Pipe::start(dir.path(), NEVER, clock::wall());
    pipe.attack("before").unwrap();
    until("the first revocation", || pipe.is_revoked("before"));

    break_table(&file("log.db"), "batch");
    pipe.attack("log").expect_err("what is not durable is not accepted");
    heal(&file("log.db"));
    pipe.attack("log").unwrap();
    until("a revocation after the log is back", || pipe.is_revoked("log"));

    break_table(&file("ledger.db"), "entry");
    pipe.attack("ledger").unwrap();
    until("the executor's problem", || pipe.problems().iter().any(|p| p.starts_with("executor")));
    assert!(!pipe.is_revoked("ledger"), "nothing is done that the ledger does not hold");
    heal(&file("ledger.db"));
    until("a revocation after the ledger is back", || pipe.is_revoked("ledger"));

    break_table(&file("store.db"), "event");
    pipe.attack("store").unwrap();
    until("a revocation without the store", || pipe.is_revoked("store"));
    until("the sink's problem", || pipe.problems().iter().any(|p| p.starts_with("sink")));
    heal(&file("store.db"));

    until("a receipt of each", || pipe.receipts().len() == 4);
    until("a sound health", || pipe.problems().is_empty());
    pipe.stop();

    let pipe = Pipe::start(dir.path(), NEVER, clock::wall());
    let events = pipe.runtime.block_on(pipe.up.store.events(&Query::default())).unwrap().rows;
    assert_eq!((events.len(), pipe.receipts().len()), (4, 4), "none is lost, and none is there twice");
    let replies: Vec<(Id, u32)> = read(pipe.up.log.as_ref(), Topic::Commands)
        .iter()
        .filter_map(|posted| match Command::decode(1, &posted.bytes).unwrap() {
            Command::Reply { plan_uid, sequence, .. } => Some((plan_uid, sequence)),
            _ => None,
        })
        .collect();
    assert_eq!(replies.iter().collect::<BTreeSet<_>>().len(), replies.len(), "each order was answered once");
    pipe.stop();
    assert!(format!("{:?}", verify(dir.path(), None, &[]).unwrap().problems).contains("[]"));
}

#[test]
fn token_versions_that_were_lost_come_back_from_the_ledger() {
    let dir = TempDir::new().unwrap();
    let pipe = Pipe::start(dir.path(), NEVER, clock::wall());
    pipe.attack("eve").unwrap();
    until("the receipt", || pipe.is_revoked("eve") && pipe.receipts().len() == 1);
    let ask = |pipe: &Pipe, tenant: &str| {
        let tenant = Tenant::try_from(tenant.to_owned()).unwrap();
        pipe.runtime.block_on(pipe.up.state.token_version(&tenant, &principal("eve"))).unwrap()
    };
    let before = ask(&pipe, "default");
    pipe.stop();
    for name in ["state.db", "state.db-wal", "state.db-shm"] {
        // The sidecars are there only while somebody has the file open.
        let _ = std::fs::remove_file(dir.path().join(name));
    }
    let pipe = Pipe::start(dir.path(), NEVER, clock::wall());
    assert_eq!(ask(&pipe, "default"), before);
    assert_eq!(ask(&pipe, "other").not_before, Timestamp::ZERO);
    pipe.stop();
}

#[test]
fn an_idle_pipeline_lets_retention_pass() {
    let dir = TempDir::new().unwrap();
    let now = Arc::new(AtomicI64::new(clock::wall()().0));
    let own = Arc::clone(&now);
    let retention = Retention { age_ms_max: 1_000, bytes_max: u64::MAX };
    let pipe = Pipe::start(dir.path(), retention, Arc::new(move || Timestamp(own.load(Ordering::SeqCst))));
    let kept = || read(pipe.up.log.as_ref(), Topic::Manifest).len();
    filler(pipe.up.log.as_ref(), 4_000);
    until("the oldest to go", || {
        now.fetch_add(30_000, Ordering::SeqCst);
        kept() < 2_500
    });
    pipe.stop();
}

#[test]
fn a_reader_ahead_of_a_log_that_was_cut_misses_nothing() {
    let dir = TempDir::new().unwrap();
    let mut writer = StoreWriter::open(&dir.path().join("store.db")).unwrap();
    writer.write(&[], 100).unwrap();
    let log = memory();
    let time = Timestamp(1);
    let (source, tenant, origin, body) = ("x".into(), Tenant::default(), String::new(), b"{".to_vec());
    let record = Record { source, tenant, received: time, origin, body };
    let (reason, detail) = (RejectReason::NotJson, String::new());
    let mut sink = Sink::open(Arc::clone(&log) as _, writer, tokio::sync::broadcast::channel(1).0).unwrap();
    log.append(vec![Posted::new(&DeadLetter { record, reason, detail, offset: None, time }, time)]).unwrap();
    assert_eq!(sink.turn().unwrap(), 1);

    let world = World::new(memory(), Slow::default(), |ledger| drop(ledger.append(&[], 100).unwrap()));
    world.order(1, Order::Read { reads: vec![what()] });
    until("an answer", || world.replies().len() == 1);
}

#[test]
fn probes_that_wait_for_their_time_hold_up_nobody() {
    let world = World::new(memory(), Slow::default(), |_| {});
    let not_before = clock::wall()().plus_ms(3_600_000);
    for n in 2..=200 {
        let (steps, principal, applied) = (Vec::new(), String::new(), Timestamp(1));
        let (since, known) = (Timestamp::ZERO, Vec::new());
        world.order(n, Order::Probe { steps, principal, applied, not_before, since, known });
    }
    world.order(1, Order::Read { reads: vec![what()] });
    until("an answer", || world.replies().len() == 1);
}

#[test]
fn a_receipt_that_cannot_be_read_back_is_tried_again() {
    let world = World::new(memory(), Slow::default(), |_| {});
    let (file, away) = (world.dir.path().join("ledger.db"), world.dir.path().join("away.db"));
    std::fs::rename(&file, &away).unwrap();
    let mut transition = transition(1, Some(Order::Read { reads: vec![what()] }));
    let receipt = Receipt::of(&transition.plan, PlanState::Verified, 2, 1, Timestamp(1));
    transition.receipt = Some(Box::new(receipt));
    world.log.append(vec![Posted::new(&transition, Timestamp(1))]).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert!(read(world.log.as_ref(), Topic::Receipts).is_empty());
    std::fs::rename(&away, &file).unwrap();
    until("the receipt", || read(world.log.as_ref(), Topic::Receipts).len() == 1);
    until("the answer behind it", || world.replies().len() == 1);
}

#[test]
fn an_order_under_way_is_not_started_again_after_a_failure() {
    let world = World::new(memory(), Slow { wait_ms: 1_500, ..Slow::default() }, |_| {});
    let file = world.dir.path().join("ledger.db");
    world.order(1, Order::Apply { steps: vec![step()], key: Id([1; 16]) });
    until("the first call", || world.calls.load(Ordering::SeqCst) == 1);
    break_table(&file, "entry");
    world.order(2, Order::Read { reads: vec![what()] });
    until("a failure", || world.failures.load(Ordering::SeqCst) > 1);
    heal(&file);
    until("both answers", || world.replies().len() == 2);
    assert!(world.replies().iter().any(is_done), "{:?}", world.replies());
    assert_eq!(world.calls.load(Ordering::SeqCst), 2, "one to apply and one to read");
}

#[test]
fn an_order_that_the_ledger_cannot_begin_waits_for_it() {
    let world = World::new(memory(), Slow::default(), |_| {});
    let file = world.dir.path().join("ledger.db");
    let body = "BEGIN SELECT RAISE(ABORT, 'injected'); END";
    sql(&file, &format!("CREATE TRIGGER injected BEFORE UPDATE ON pending {body}"));
    world.order(1, Order::Apply { steps: vec![step()], key: Id([1; 16]) });
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!((world.calls.load(Ordering::SeqCst), world.replies()), (0, vec![]));
    heal(&file);
    until("the answer", || !world.replies().is_empty());
    assert!(matches!(&world.replies()[..], [reply] if is_done(reply)), "{:?}", world.replies());
    assert_eq!(world.calls.load(Ordering::SeqCst), 1);
}

#[test]
fn an_order_that_its_plan_has_left_behind_is_not_carried_out() {
    let log = memory();
    let order = || Some(Order::Apply { steps: vec![step()], key: Id([1; 16]) });
    let ended = |n| Transition {
        sequence: 1,
        from: Some(PlanState::Approved),
        to: PlanState::Escalated,
        ..transition(n, None)
    };
    let remarked = |n| Transition {
        sequence: 1,
        from: Some(PlanState::Approved),
        to: PlanState::Approved,
        ..transition(n, None)
    };
    for transition in [transition(1, order()), ended(1), transition(2, order()), remarked(2)] {
        log.append(vec![Posted::new(&transition, Timestamp(1))]).unwrap();
    }
    let world = World::new(log, Slow::default(), |_| {});
    until("the answer", || !world.replies().is_empty());
    let ledger = world.dir.path().join("ledger.db");
    let left = || {
        rusqlite::Connection::open(&ledger)
            .unwrap()
            .query_row("SELECT count(*) FROM pending", [], |r| r.get::<_, i64>(0))
    };
    until("nothing is pending", || left().unwrap() == 0);
    assert_eq!((world.calls.load(Ordering::SeqCst), world.replies().len()), (1, 1));
}

fn step() -> Step {
    Step { provider: "slow".into(), ..Step::default() }
}

fn is_done(reply: &Reply) -> bool {
    matches!(reply, Reply::Applied { outcomes } if matches!(outcomes[..], [Outcome::Done { .. }]))
}

fn memory() -> Arc<MemoryLog> {
    Arc::new(MemoryLog::new(clock::wall()))
}

fn read(log: &dyn Log, topic: Topic) -> Vec<Posted> {
    log.read(&[topic], START, ALL).unwrap().into_iter().flat_map(|b| b.messages).collect()
}

fn what() -> Read {
    Read { provider: "slow".into(), ..Read::default() }
}

fn transition(n: u8, order: Option<Order>) -> Transition {
    let plan = Plan { uid: Id([n; 16]), ..Plan::default() };
    let (plan_uid, to, at, why) = (plan.uid, PlanState::Planned, Timestamp(1), "test".to_owned());
    Transition { plan_uid, sequence: 0, from: None, to, at, why, plan, order, receipt: None }
}

/// An effector that takes its time and counts its calls.
#[derive(Clone, Default)]
struct Slow {
    wait_ms: u64,
    calls: Arc<AtomicI64>,
}

#[async_trait]
impl Effector for Slow {
    fn provider(&self) -> &str {
        "slow"
    }
    async fn read(&self, _: &Tenant, _: &Read) -> Result<TargetState, PortError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        Ok(TargetState::default())
    }
    async fn apply(&self, _: &Tenant, _: &Step, _: Id) -> Outcome {
        self.calls.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(self.wait_ms)).await;
        Outcome::Done { detail: String::new() }
    }
    async fn probe(&self, _: &Tenant, _: &Step, _: &str, _: Timestamp) -> Probe {
        Probe::NotYet { detail: String::new() }
    }
}

/// An executor that runs again after every failure.
struct World {
    dir: TempDir,
    log: Arc<MemoryLog>,
    calls: Arc<AtomicI64>,
    failures: Arc<AtomicI64>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
    _runtime: tokio::runtime::Runtime,
}

impl World {
    fn new(log: Arc<MemoryLog>, effector: Slow, prepare: impl FnOnce(&mut LedgerStore)) -> Self {
        let (dir, calls) = (TempDir::new().unwrap(), Arc::clone(&effector.calls));
        let mut ledger = LedgerStore::open(dir.path()).unwrap();
        prepare(&mut ledger);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let means = Means {
            effectors: vec![Arc::new(effector)],
            kill_switch: KillSwitch::in_directory(dir.path()),
            store: None,
            deeds: Arc::default(),
        };
        let mut executor = Executor::open(
            Arc::new(LogPlans(Arc::clone(&log) as _)),
            Arc::new(std::sync::Mutex::new(ledger)),
            means,
            clock::wall(),
            runtime.handle().clone(),
        )
        .unwrap();
        let (stop, failures) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicI64::new(0)));
        let (own, failed) = (Arc::clone(&stop), Arc::clone(&failures));
        let thread = std::thread::spawn(move || {
            while !own.load(Ordering::SeqCst) {
                if executor.run(&own, || ()).is_err() {
                    failed.fetch_add(1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
        });
        World { dir, log, calls, failures, stop, thread: Some(thread), _runtime: runtime }
    }

    fn order(&self, n: u8, order: Order) {
        self.log.append(vec![Posted::new(&transition(n, Some(order)), Timestamp(1))]).unwrap();
    }

    fn replies(&self) -> Vec<Reply> {
        let commands = read(self.log.as_ref(), Topic::Commands);
        let reply = |posted: &Posted| match Command::decode(1, &posted.bytes).unwrap() {
            Command::Reply { reply, .. } => Some(reply),
            _ => None,
        };
        commands.iter().filter_map(reply).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
    }
}
