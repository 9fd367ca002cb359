//! The role `respond` over real Kafka, PostgreSQL and Redis: one effect for one finding, wherever the process dies.

use crate::broker_or_skip;
use crate::faults::principal;
use crate::kafka::{create, outputs, settings};
use crate::ledger_postgres::Schema;
use crate::postgres_or_skip;
use crate::state_redis::Server;
use async_trait::async_trait;
use prunella_ingest::{Content, Limits};
use prunella_ledger::{Completeness, Integrity};
use prunella_runtime::clock;
use prunella_runtime::effect::tokens::TokenEffector;
use prunella_runtime::intake::Sender;
use prunella_runtime::log::kafka::{KafkaIntake, Settings, attributes};
use prunella_runtime::roles::{Response, Role, Roles};
use prunella_runtime::state::RedisState;
use prunella_runtime::store::{SqliteStore, StoreWriter};
use prunella_schemas::plan::{Mode, Outcome, Probe, Read, TargetState};
use prunella_schemas::port::{Effector, Intake, Live, PortError, State, Store};
use prunella_schemas::{
    Command, Finding, Id, Message, PlanState, Posted, Receipt, Step, Tenant, Timestamp, Topic, Transition,
};
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::broadcast;

const WAIT: Duration = Duration::from_secs(90);

/// Everything that outlives a process.
struct World {
    settings: Settings,
    schema: Schema,
    redis: Server,
    dir: TempDir,
    store: Arc<SqliteStore>,
    /// How often tokens were revoked, counted where it happens.
    applied: Arc<AtomicUsize>,
    reply_wait_ms: i64,
}

impl World {
    fn new(brokers: &str, name: &str, schema: Schema, redis: Server) -> Self {
        let (settings, dir) = (settings(brokers, name), TempDir::new().unwrap());
        create(&settings);
        // No sink runs here, so that no event is ever found: the evidence is what was configured.
        drop(StoreWriter::open(&dir.path().join("store.db")).unwrap());
        let store = Arc::new(SqliteStore::open(&dir.path().join("store.db")).unwrap());
        World { settings, schema, redis, dir, store, applied: Arc::default(), reply_wait_ms: 5_000 }
    }

    fn state(&self) -> RedisState {
        let history = Arc::new(self.schema.database.clone());
        RedisState::open(&self.redis.url(), "", &self.settings.prefix, history).unwrap()
    }

    /// A process of all roles, in which revoking tokens may never return.
    fn start(&self, moment: Moment) -> Process {
        self.start_as("respond", &[Role::Ingest, Role::Detect, Role::Correlate], moment)
    }

    /// The process of that name: `respond`, and these stages.
    fn start_as(&self, name: &str, stages: &[Role], moment: Moment) -> Process {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let context = runtime.enter();
        let mut config = prunella_respond::Config { mode_max: Mode::Auto, ..Default::default() };
        for action in ["tokens.revoke", "account.lock", "session.kill", "trust.reset"] {
            config.horizons_ms.insert(action.into(), 1_000);
        }
        let wide = prunella_respond::Budget { max: 10_000, window_ms: 60_000 };
        config.budgets.playbook = wide;
        config.budgets.tenant = wide;
        config.budgets.global = wide;
        // Without the process that was asked, nobody answers; then the provider is read soon.
        config.reply_wait_ms = self.reply_wait_ms;
        let (state, store) = (self.state(), Arc::clone(&self.store) as Arc<dyn Store>);
        let inner = TokenEffector::new(Arc::new(state.clone()), Arc::clone(&store));
        let counted = Counted { inner, moment, applied: Arc::clone(&self.applied) };
        let response = Response {
            config,
            playbooks: prunella_respond::Playbooks::built_in().unwrap(),
            data_dir: self.dir.path().join(name),
            webhooks: Vec::new(),
            database: runtime.block_on(self.schema.again()),
            signer: Arc::clone(&self.schema.signer),
            state: Arc::new(state),
            store,
            effectors: vec![Arc::new(counted)],
        };
        let settings = Settings { member: Some(name.to_owned()), ..self.settings.clone() };
        let mut roles = Roles::start(&settings, &prunella_detect::Config::default(), None, stages).unwrap();
        let started = runtime.block_on(roles.start_respond(&settings, response));
        started.unwrap();
        drop(context);
        Process { runtime, roles }
    }

    /// A user who deletes the audit trail: always a finding, and a revocation.
    fn attack(&self, user: &str) {
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
        let intake = KafkaIntake::open(&self.settings, clock::wall()).unwrap();
        let body = format!("{record}\n");
        intake.take(body.as_bytes(), Content::Ndjson, &Limits::INTAKE, &sender).unwrap();
    }

    fn read<M: Message>(&self) -> Vec<M> {
        let (found, _) = outputs(&self.settings, M::TOPIC);
        found.into_values().map(|(_, bytes)| M::decode(M::VERSION, &bytes).unwrap()).collect()
    }

    /// Receipts of revocations, by principal.
    fn receipts(&self) -> BTreeMap<String, Vec<Receipt>> {
        let mut receipts: BTreeMap<String, Vec<Receipt>> = BTreeMap::new();
        for receipt in self.read::<Receipt>() {
            if receipt.prunella.action == "tokens.revoke" {
                receipts.entry(receipt.prunella.principal.clone()).or_default().push(receipt);
            }
        }
        receipts
    }

    fn states(&self, user: &str) -> Vec<PlanState> {
        let of = |t: &Transition| t.plan.action == "tokens.revoke" && t.plan.principal == principal(user);
        let mut found: Vec<Transition> = self.read();
        found.retain(of);
        found.sort_by_key(|t| t.sequence);
        found.into_iter().map(|t| t.to).collect()
    }

    /// One effect, one signed receipt, and a ledger that holds.
    fn check_contained(&self, users: &[&str]) {
        let receipts = self.receipts();
        let runtime = Runtime::new().unwrap();
        for user in users {
            let known = runtime.block_on(self.version(user));
            assert_eq!((known.1, known.0 > Timestamp::ZERO), (1, true), "{user} is revoked once");
            let receipts = &receipts[&principal(user)];
            assert_eq!(receipts.len(), 1, "{receipts:?}");
            assert_eq!(receipts[0].prunella.state, Some(PlanState::Verified), "{receipts:?}");
            assert!(receipts[0].attestation.is_some());
        }
        let report = self.schema.report(&[]);
        assert_eq!((report.integrity, report.completeness), (Integrity::Ok, Completeness::Ok), "{report:?}");
    }

    async fn version(&self, user: &str) -> (Timestamp, u64) {
        version(&self.state(), &Tenant::default(), user).await
    }
}

/// Since when the tokens of a user are refused, and how often that was changed.
async fn version(state: &RedisState, tenant: &Tenant, user: &str) -> (Timestamp, u64) {
    for _ in 0..500 {
        match state.token_version(tenant, &principal(user)).await {
            Ok(known) => return (known.not_before, known.version),
            Err(PortError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(e) => panic!("{e}"),
        }
    }
    panic!("it is never loaded");
}

struct Process {
    runtime: Runtime,
    roles: Roles,
}

impl Process {
    /// What hangs is gone, as after a kill: nothing of it is reported or ticked off.
    fn die(self) {
        self.runtime.shutdown_background();
        self.roles.stop();
    }
}

/// Where revoking tokens never returns.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moment {
    Never,
    BeforeTheDeed,
    AfterTheDeed,
}

struct Counted {
    inner: TokenEffector,
    moment: Moment,
    applied: Arc<AtomicUsize>,
}

#[async_trait]
impl Effector for Counted {
    fn provider(&self) -> &str {
        self.inner.provider()
    }
    async fn read(&self, tenant: &Tenant, what: &Read) -> Result<TargetState, PortError> {
        self.inner.read(tenant, what).await
    }
    async fn apply(&self, tenant: &Tenant, step: &Step, key: Id) -> Outcome {
        if self.moment == Moment::BeforeTheDeed {
            self.applied.fetch_add(1, Ordering::SeqCst);
            std::future::pending::<()>().await;
        }
        let outcome = self.inner.apply(tenant, step, key).await;
        self.applied.fetch_add(1, Ordering::SeqCst);
        if self.moment == Moment::AfterTheDeed {
            std::future::pending::<()>().await;
        }
        outcome
    }
    async fn probe(&self, tenant: &Tenant, step: &Step, principal: &str, applied: Timestamp) -> Probe {
        self.inner.probe(tenant, step, principal, applied).await
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..WAIT.as_millis() / 200 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    panic!("timed out waiting for {what}");
}

macro_rules! world_or_skip {
    ($name:expr) => {{
        let (brokers, postgres) = (broker_or_skip!(), postgres_or_skip!($name));
        let Some(redis) = Server::start() else {
            eprintln!("SKIPPED: there is no redis-server here; `cargo xtask services up` installs one");
            return;
        };
        World::new(&brokers, $name, Schema::new(postgres), redis)
    }};
}

#[test]
fn a_record_becomes_one_effect_and_one_receipt_also_when_redis_is_wiped() {
    let world = world_or_skip!("respond");
    let mut process = world.start(Moment::Never);
    let (live, mut feed) = broadcast::channel(1_000);
    process.roles.start_feed(&world.settings, live).unwrap();
    // From the end on, which it has to find first.
    std::thread::sleep(Duration::from_secs(3));
    world.attack("eve");
    until("the receipt", || world.receipts().contains_key(&principal("eve")));
    world.check_contained(&["eve"]);
    check_shown(&mut feed);
    Runtime::new().unwrap().block_on(world.redis.wipe());
    world.attack("mallory");
    until("the second receipt", || world.receipts().contains_key(&principal("mallory")));
    world.check_contained(&["eve", "mallory"]);
    process.die();
    let process = world.start(Moment::Never);
    world.attack("trent");
    until("a receipt after a restart", || world.receipts().contains_key(&principal("trent")));
    world.check_contained(&["eve", "mallory", "trent"]);
    assert_eq!(world.applied.load(Ordering::SeqCst), 3);
    let scrape = process.roles.vitals.metrics();
    for line in [
        "prunella_plan_transitions_total{state=\"verified\"} 1",
        "prunella_plan_transitions_total{state=\"escaped\"} 0",
        "prunella_unknown_outcomes 0",
        "prunella_lag_records{stage=\"executor\"} 0",
    ] {
        until(line, || process.roles.vitals.metrics().lines().any(|l| l == line));
    }
    let counted = |name: &str| {
        let line = scrape.lines().find(|line| line.starts_with(&format!("{name}{{stage=\"executor\"}}")));
        line.unwrap().rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()
    };
    let (taken, told) =
        (counted("prunella_events_processed_total"), counted("prunella_events_produced_total"));
    assert!(taken >= 4 && told >= 3, "{taken} transitions, {told} reports");
    process.die();
}

/// The whole story is on the live feed, each part of it once.
fn check_shown(feed: &mut broadcast::Receiver<Live>) {
    let mut shown: BTreeMap<&str, Vec<Id>> = BTreeMap::new();
    until("the receipt on the feed", || {
        while let Ok(live) = feed.try_recv() {
            let (what, id) = match live {
                Live::Event { event } => ("event", event.id()),
                Live::Finding { finding } => ("finding", finding.id()),
                Live::Plan { transition } => ("plan", transition.id()),
                Live::Receipt { receipt } => ("receipt", receipt.id()),
            };
            shown.entry(what).or_default().push(id);
        }
        shown.contains_key("receipt")
    });
    assert_eq!(shown.keys().copied().collect::<Vec<_>>(), ["event", "finding", "plan", "receipt"]);
    for (what, ids) in shown {
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "each {what} once");
    }
}

#[test]
fn a_death_before_or_after_the_deed_is_settled_by_reading() {
    let check = |name: &str, moment: Moment, calls: usize, user: &str| {
        let world = world_or_skip!(name);
        let process = world.start(moment);
        world.attack(user);
        until("the deed", || world.applied.load(Ordering::SeqCst) == 1);
        process.die();
        assert!(world.receipts().is_empty());
        let process = world.start(Moment::Never);
        until("the receipt", || world.receipts().contains_key(&principal(user)));
        world.check_contained(&[user]);
        let states = world.states(user);
        assert!(states.contains(&PlanState::Unknown), "{states:?}");
        assert_eq!(world.applied.load(Ordering::SeqCst), calls, "{states:?}");
        process.die();
    };
    check("before", Moment::BeforeTheDeed, 2, "eve");
    check("after", Moment::AfterTheDeed, 1, "mallory");
}

#[test]
fn the_kill_switch_holds_for_every_process_and_partition() {
    let world = world_or_skip!("switch");
    let process = world.start(Moment::Never);
    let intake = KafkaIntake::open(&world.settings, clock::wall()).unwrap();
    let runtime = Runtime::new().unwrap();
    let switch = |engaged: bool| {
        runtime.block_on(world.schema.database.set_kill_switch(engaged, "test")).unwrap();
    };
    switch(true);
    world.attack("eve");
    until("a plan that was held", || {
        let commands: Vec<Command> = world.read();
        let held = |c: &Command| format!("{c:?}").contains(prunella_respond::KILL_SWITCH_ENGAGED);
        commands.iter().any(held)
    });
    assert_eq!(world.applied.load(Ordering::SeqCst), 0);
    switch(false);
    let at = clock::wall()();
    let command = Command::KillSwitch { engaged: true, by: "test".into(), at };
    runtime.block_on(intake.command(command)).unwrap();
    let copies = outputs(&world.settings, Topic::Commands).1;
    assert!(copies >= usize::try_from(crate::kafka::PARTITIONS).unwrap(), "one for each partition");
    process.die();
}

/// Users under attack in each tenant, and how often each finding is said.
const USERS: usize = 8;
const COPIES: usize = 10;
const TENANTS: [&str; 4] = ["default", "acme", "globex", "initech"];

impl World {
    /// The findings of the one tenant as if all had them, each many times and in no order.
    fn scatter(&self) {
        let mut all = Vec::new();
        for (_, bytes) in outputs(&self.settings, Topic::Findings).0.into_values() {
            for tenant in TENANTS {
                let mut finding = Finding::decode(Finding::VERSION, &bytes).unwrap();
                finding.metadata.tenant_uid = Some(tenant.into());
                finding.identify(&[]);
                all.extend(vec![(tenant, Posted::new(&finding, Timestamp(1))); COPIES]);
            }
        }
        let mut dice = 1_u64;
        for at in (1..all.len()).rev() {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            all.swap(at, (dice >> 33) as usize % (at + 1));
        }
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.settings.brokers).set("partitioner", "murmur2_random");
        let (producer, topic) =
            (config.create::<BaseProducer>().unwrap(), self.settings.findings_by_tenant());
        for (tenant, posted) in &all {
            let record = BaseRecord::to(&topic).key(*tenant).payload(&posted.bytes);
            producer.send(record.headers(attributes(posted, &topic))).map_err(|(e, _)| e).unwrap();
        }
        producer.flush(WAIT).unwrap();
    }

    /// How many users are cut off by now, each once.
    async fn revoked(&self) -> usize {
        let (state, mut count) = (self.state(), 0);
        for tenant in TENANTS {
            let tenant = Tenant::try_from(tenant.to_owned()).unwrap();
            for user in (0..USERS).map(|n| format!("user{n}")) {
                let (since, changes) = version(&state, &tenant, &user).await;
                assert!(changes <= 1, "{user} of {tenant} was revoked {changes} times");
                count += usize::from(since > Timestamp::ZERO);
            }
        }
        count
    }
}

#[test]
fn three_responders_have_one_effect_for_each_finding_however_often_and_in_whatever_order_it_comes() {
    let mut world = world_or_skip!("several");
    // Many at once on a loaded machine: who was asked is slow, not gone.
    world.reply_wait_ms = 120_000;
    let runtime = Runtime::new().unwrap();
    let stages = [Role::Ingest, Role::Detect];
    let stages = Roles::start(&world.settings, &prunella_detect::Config::default(), None, &stages).unwrap();
    (0..USERS).for_each(|n| world.attack(&format!("user{n}")));
    until("a finding for each", || {
        let findings: Vec<Finding> = world.read();
        findings.iter().map(|f| f.prunella.principal.to_string()).collect::<BTreeSet<_>>().len() == USERS
    });
    stages.stop();
    world.scatter();
    let names = ["one", "two", "three"];
    let mut processes = VecDeque::from(names.map(|name| (name, world.start_as(name, &[], Moment::Never))));
    // Each leaves in its turn and comes back, so that every one of them has every partition at some time.
    for turn in 0..2 * names.len() {
        std::thread::sleep(Duration::from_millis(700));
        if turn % names.len() == 1 {
            runtime.block_on(world.redis.wipe());
        }
        if let Some((name, process)) = processes.pop_front() {
            process.die();
            processes.push_back((name, world.start_as(name, &[], Moment::Never)));
        }
    }
    let all = USERS * TENANTS.len();
    until("every effect", || runtime.block_on(world.revoked()) == all);
    until("a receipt for each", || {
        world.read::<Receipt>().iter().filter(|r| is_revocation(r)).count() >= all
    });
    let receipts: Vec<Receipt> = world.read();
    let revocations: Vec<&Receipt> = receipts.iter().filter(|r| is_revocation(r)).collect();
    let uids = revocations.iter().map(|r| r.prunella.receipt_uid).collect::<BTreeSet<_>>();
    assert_eq!((uids.len(), revocations.len()), (all, all), "one receipt for each");
    let applied = world.applied.load(Ordering::SeqCst);
    eprintln!("{applied} calls for {all} effects, {} findings", all * COPIES);
    assert_eq!(runtime.block_on(world.revoked()), all);
    let report = world.schema.report(&[]);
    assert_eq!((report.integrity, report.completeness), (Integrity::Ok, Completeness::Ok), "{report:?}");
    processes.into_iter().for_each(|(_, process)| process.die());
}

fn is_revocation(receipt: &Receipt) -> bool {
    receipt.prunella.action == "tokens.revoke"
}
