//! Whole lives on moto: a record comes in, and the pipeline finds, plans, acts, verifies and takes back.

use crate::bench::{ACCOUNT, REGION, clock, sdk};
use crate::effect::{World, fresh, user};
use aws_config::timeout::TimeoutConfig;
use prunella_contract::{Asked, Loss};
use prunella_ingest::{Content, Limits};
use prunella_respond::{Budget, Budgets};
use prunella_runtime::intake::Sender;
use prunella_runtime::log::Retention;
use prunella_runtime::topology::{Embedded, Settings};
use prunella_schemas::plan::{EvidenceKind, Mode};
use prunella_schemas::port::{Intake, Query, Store};
use prunella_schemas::{Command, PlanState, Receipt, Tenant, Transition};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;

const ACTION: &str = "aws.key.deactivate";
/// Under load a step waits for its turn; nothing is judged by how long it takes.
const WAITS_MAX: u32 = 1_200;
const KEYS: usize = 30;

struct Pipe {
    up: Embedded,
    _dir: TempDir,
}

impl Pipe {
    async fn start(world: &World, mode: &str, horizon_ms: i64) -> Pipe {
        let dir = tempfile::tempdir().unwrap();
        let text = format!(
            "id: keys\nmatch:\n  techniques: [T1562]\nactions:\n  - action: {ACTION}\n    mode: {mode}\n"
        );
        let wide = Budget { max: 10_000, window_ms: 600_000 };
        let budgets = Budgets {
            playbook: wide,
            tenant: wide,
            global: wide,
            principals_percent: 100,
            ..Budgets::default()
        };
        let respond = prunella_respond::Config {
            mode_max: Mode::Auto,
            horizons_ms: BTreeMap::from([(ACTION.to_owned(), horizon_ms)]),
            budgets,
            ..Default::default()
        };
        // An answer that does not come is waited for no longer than this.
        let soon = Duration::from_secs(2);
        let times = TimeoutConfig::builder().operation_attempt_timeout(soon).build();
        let config = sdk(&world.gate.url).await.into_builder().timeout_config(times).build();
        let aws = prunella_aws::effect::over(vec![(Tenant::default(), ACCOUNT.to_owned(), config)]);
        let settings = Settings {
            data_dir: dir.path().to_owned(),
            enrich: prunella_ingest::enrich::Config::default(),
            detect: prunella_detect::Config::default(),
            respond,
            playbooks: prunella_respond::Playbooks::parse(&[("keys.yaml", &text)]).unwrap(),
            webhooks: Vec::new(),
            effectors: vec![aws],
            public_url: None,
            retention: Retention { age_ms_max: i64::MAX / 2, bytes_max: u64::MAX },
            clock: clock(),
        };
        let handle = tokio::runtime::Handle::current();
        let started = tokio::task::spawn_blocking(move || Embedded::start(settings, &handle)).await;
        Pipe { up: started.unwrap().unwrap(), _dir: dir }
    }

    /// A user who deletes the audit trail: always a finding.
    fn attack(&self, name: &str, key: &str) {
        let record = json!({
            "eventVersion": "1.08", "eventTime": clock()().plus_ms(-2_000).to_string(), "eventID": fresh("t"),
            "eventName": "DeleteTrail", "eventSource": "cloudtrail.amazonaws.com", "eventType": "AwsApiCall",
            "userIdentity": {
                "type": "IAMUser", "principalId": "AIDAEXAMPLE", "accountId": ACCOUNT, "userName": name,
                "arn": format!("arn:aws:iam::{ACCOUNT}:user/{name}"), "accessKeyId": key
            },
            "awsRegion": REGION, "readOnly": false, "sourceIPAddress": "198.51.100.7", "userAgent": "aws-cli/2.15.0",
            "requestParameters": { "name": "main" }, "recipientAccountId": ACCOUNT
        });
        let sender =
            Sender { source: "aws.cloudtrail".into(), tenant: Tenant::default(), origin: "test".into() };
        let body = format!("{record}\n");
        self.up.intake.take(body.as_bytes(), Content::Ndjson, &Limits::INTAKE, &sender).unwrap();
    }

    /// Where the plans of a user stand, by the key that they are about.
    async fn plans(&self, name: &str) -> BTreeMap<String, Transition> {
        let query = Query { principal: Some(user(name)), limit: 100, ..Query::default() };
        let rows = self.up.store.plans(&query).await.unwrap().rows;
        let by_key = |t: Transition| {
            let key = t.plan.steps.first()?.target.rsplit_once('#')?.1.to_owned();
            Some((key, t))
        };
        rows.into_iter().filter_map(by_key).collect()
    }

    /// Waits until the plan about a key is in a state.
    async fn until(&self, name: &str, key: &str, state: PlanState) -> Transition {
        let mut last = None;
        for _ in 0..WAITS_MAX {
            last = self.plans(name).await.remove(key);
            match &last {
                Some(found) if found.to == state => return found.clone(),
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
        panic!("{name}#{key} is never {state:?}, but {last:?}");
    }

    /// A receipt is signed after its transition: waits for one that is as said.
    async fn receipt(&self, of: &Transition, is_it: impl Fn(&Receipt) -> bool) -> Receipt {
        for _ in 0..WAITS_MAX {
            let query = Query { limit: 1_000, ..Query::default() };
            let rows = self.up.store.receipts(&query).await.unwrap().rows;
            match rows.into_iter().find(|r| r.prunella.plan_uid == of.plan_uid && is_it(r)) {
                Some(receipt) => return receipt,
                None => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
        panic!("no such receipt of {of:?}");
    }

    async fn roll_back(&self, of: &Transition) {
        let (tenant, plan_uid, by) = (Tenant::default(), of.plan_uid, "ann".to_owned());
        let command = Command::RollBack { tenant, plan_uid, by, at: clock()() };
        self.up.intake.command(command).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_finding_to_an_inactive_key_and_back() {
    let Some(world) = World::new().await else { return };
    let name = fresh("eve");
    let key = world.with_key(&name).await;
    let pipe = Pipe::start(&world, "approve", 1_000).await;
    pipe.attack(&name, &key);
    let asked = pipe.until(&name, &key, PlanState::AwaitingApproval).await;
    assert_eq!(world.status(&name, &key).await, "Active", "nothing is done before a person says so");
    let step = &asked.plan.steps[0];
    assert_eq!(
        (step.operation.as_str(), &step.desired),
        ("iam:UpdateAccessKey", &json!({ "status": "Inactive" }))
    );
    assert_eq!(step.prior.as_ref().unwrap()["status"], "Active");
    assert_eq!(asked.plan.undo[0].desired, json!({ "status": "Active" }));
    let approve = Command::Approve {
        tenant: Tenant::default(),
        plan_uid: asked.plan_uid,
        by: "ann".into(),
        at: clock()(),
        digest: Some(asked.plan.digest),
    };
    pipe.up.intake.command(approve).await.unwrap();
    let verified = pipe.until(&name, &key, PlanState::Verified).await;
    assert_eq!(world.status(&name, &key).await, "Inactive");
    let receipt = pipe.receipt(&verified, |r| r.prunella.evidence.is_some()).await;
    assert_eq!(receipt.prunella.evidence, Some(EvidenceKind::ConfigurationRead));
    assert!(!receipt.prunella.contained, "only a refused call is called contained");
    pipe.roll_back(&verified).await;
    pipe.until(&name, &key, PlanState::RolledBack).await;
    assert_eq!(world.status(&name, &key).await, "Active");
    pipe.up.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_is_followed_and_what_another_has_changed_stays() {
    let Some(world) = World::new().await else { return };
    let name = fresh("eve");
    let key = world.with_key(&name).await;
    let pipe = Pipe::start(&world, "auto", 60_000).await;
    pipe.attack(&name, &key);
    pipe.until(&name, &key, PlanState::Propagating).await;
    // Somebody whose calls we do not see makes another one.
    let other = world.key_of(&name).await;
    let followed = pipe.until(&name, &other, PlanState::Propagating).await;
    assert_eq!(followed.plan.principal, user(&name));
    assert_eq!(world.status(&name, &other).await, "Inactive");
    let first = pipe.plans(&name).await.remove(&key).unwrap();
    pipe.receipt(&first, |r| r.message.contains(&other)).await;
    // A person deletes the first key: there is nothing to give back, and nothing else to touch.
    world.iam.delete_access_key().user_name(&name).access_key_id(&key).send().await.unwrap();
    pipe.roll_back(&first).await;
    pipe.until(&name, &key, PlanState::Conflict).await;
    assert_eq!(world.status(&name, &other).await, "Inactive");
    pipe.up.stop().await;
}

/// The first bytes of the id of a request decide, so that a run can be told again; moto sees what goes through.
fn is_write(asked: &Asked) -> bool {
    asked.body.starts_with(b"Action=UpdateAccessKey")
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_gets_lost_each_key_is_set_once() {
    let Some(world) = World::new().await else { return };
    let mut users = Vec::new();
    for _ in 0..KEYS {
        let name = fresh("eve");
        users.push((world.with_key(&name).await, name));
    }
    let pipe = Pipe::start(&world, "auto", 1_000).await;
    // Of ten answers three are lost, one is late, and one request never arrives, in turns; looks and calls alike.
    let (turn, sent) = (Mutex::new(0u32), Arc::new(Mutex::new(BTreeMap::<Vec<u8>, u32>::new())));
    let seen = Arc::clone(&sent);
    let unsent = Mutex::new(0u32);
    world.gate.meddle(move |_| {
        let mut unsent = unsent.lock().unwrap();
        *unsent += 1;
        (*unsent % 10 == 5).then(|| crate::effect::refusal(500, "ServiceFailure"))
    });
    world.gate.lose(move |asked| {
        if is_write(asked) {
            *seen.lock().unwrap().entry(asked.body.to_vec()).or_default() += 1;
        }
        let mut turn = turn.lock().unwrap();
        *turn += 1;
        match *turn % 9 {
            1 => Some(Loss::Cut),
            4 => Some(Loss::Status(503)),
            7 => Some(Loss::Status(504)),
            8 => Some(Loss::Late(Duration::from_secs(3))),
            _ => None,
        }
    });
    for (key, name) in &users {
        pipe.attack(name, key);
    }
    for (key, name) in &users {
        pipe.until(name, key, PlanState::Verified).await;
    }
    world.gate.heal();
    for (key, name) in &users {
        assert_eq!(world.status(name, key).await, "Inactive");
    }
    let sent = sent.lock().unwrap().clone();
    let (calls, twice) = (sent.len(), sent.values().filter(|n| **n > 1).count());
    assert_eq!((calls, twice), (KEYS, 0), "calls that reached the provider, and those that did again");
    pipe.up.stop().await;
}
