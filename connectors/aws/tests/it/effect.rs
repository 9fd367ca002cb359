//! Steps on moto by the real SDK, one by one: looked at, applied, probed, taken back; and what must not be touched.

use crate::bench::{ACCOUNT, clock, moto, sdk};
use aws_config::SdkConfig;
use aws_sdk_s3::config::Credentials;
use prunella_contract::{Answer, Gate, Loss};
use prunella_schemas::plan::{EvidenceKind, Outcome, Probe, Read, TargetState};
use prunella_schemas::port::{Effector, PortError};
use prunella_schemas::{Id, Step, Tenant, Timestamp};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub const LIST: &str = "iam:ListAccessKeys";
pub const UPDATE: &str = "iam:UpdateAccessKey";

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// A name that nobody else uses.
pub fn fresh(what: &str) -> String {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("{what}-{}-{number}-{}", std::process::id(), clock()().millis())
}

pub fn user(name: &str) -> String {
    format!("aws:user:arn:aws:iam::{ACCOUNT}:user/{name}")
}

/// An effector behind a gate, and what goes straight to the emulator.
pub struct World {
    pub gate: Gate,
    pub direct: SdkConfig,
    pub iam: aws_sdk_iam::Client,
    pub aws: Arc<dyn Effector>,
}

impl World {
    pub async fn new() -> Option<World> {
        let moto = moto()?;
        let gate = Gate::before(&moto).await;
        let direct = sdk(&moto).await;
        let aws =
            prunella_aws::effect::over(vec![(Tenant::default(), ACCOUNT.to_owned(), sdk(&gate.url).await)]);
        Some(World { gate, iam: aws_sdk_iam::Client::new(&direct), direct, aws })
    }

    /// A user with a key; the key.
    pub async fn with_key(&self, name: &str) -> String {
        self.iam.create_user().user_name(name).send().await.unwrap();
        self.key_of(name).await
    }

    pub async fn key_of(&self, name: &str) -> String {
        let made = self.iam.create_access_key().user_name(name).send().await.unwrap();
        made.access_key().unwrap().access_key_id().to_owned()
    }

    /// What the provider itself says of a key.
    pub async fn status(&self, name: &str, key: &str) -> String {
        let listed = self.iam.list_access_keys().user_name(name).send().await.unwrap();
        let found = listed.access_key_metadata().iter().find(|k| k.access_key_id() == Some(key)).unwrap();
        found.status().unwrap().to_string()
    }

    pub async fn read(&self, operation: &str, target: &str) -> Result<Value, PortError> {
        self.read_as(&Tenant::default(), operation, target).await
    }

    async fn read_as(&self, tenant: &Tenant, operation: &str, target: &str) -> Result<Value, PortError> {
        let what = Read { provider: "aws".into(), operation: operation.into(), target: target.into() };
        self.aws.read(tenant, &what).await.map(|TargetState { value, .. }| value)
    }

    pub async fn apply(&self, step: &Step) -> (&'static str, String) {
        word(self.aws.apply(&Tenant::default(), step, Id::default()).await)
    }

    pub async fn probe(&self, step: &Step) -> (&'static str, String) {
        match self.aws.probe(&Tenant::default(), step, "", Timestamp::ZERO).await {
            Probe::Held { evidence: EvidenceKind::ConfigurationRead, detail, .. } => ("held", detail),
            Probe::Held { evidence: EvidenceKind::RefusedCall, detail, .. } => ("refused", detail),
            Probe::NotYet { detail } | Probe::Unseen { detail } => ("not yet", detail),
            Probe::Escaped { successors, .. } => ("escaped", successors.join(" ")),
        }
    }
}

pub fn word(outcome: Outcome) -> (&'static str, String) {
    match outcome {
        Outcome::Done { detail } => ("done", detail),
        Outcome::Unknown { detail } => ("unknown", detail),
        Outcome::Failed { detail } => ("failed", detail),
        Outcome::Conflict { detail } => ("conflict", detail),
    }
}

pub fn step(operation: &str, target: &str, desired: Value, prior: Value) -> Step {
    let prior = Some(prior);
    Step { provider: "aws".into(), operation: operation.into(), target: target.into(), desired, prior }
}

pub fn refusal(status: u16, code: &str) -> Answer {
    let body = format!(
        "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>not now</Message></Error><RequestId>1</RequestId></ErrorResponse>"
    );
    Answer { status, headers: vec![("content-type".into(), "text/xml".into())], body: body.into_bytes() }
}

#[tokio::test]
async fn a_key_is_deactivated_seen_and_given_back() {
    let Some(world) = World::new().await else { return };
    let name = fresh("eve");
    let key = world.with_key(&name).await;
    let target = format!("{}#{key}", user(&name));
    let prior = world.read(LIST, &target).await.unwrap();
    assert_eq!(prior, json!({ "status": "Active", "keys": { &key: "Active" }, "is_ours": false }));
    let off = step(UPDATE, &target, json!({ "status": "Inactive" }), prior.clone());
    assert_eq!(world.apply(&off).await.0, "done");
    assert_eq!(world.status(&name, &key).await, "Inactive");
    let (again, why) = world.apply(&off).await;
    assert_eq!((again, why.contains("so already")), ("done", true), "{why}");
    assert_eq!(world.probe(&off).await.0, "held");
    // A key that came since is the attacker's until somebody says otherwise; one that is inactive opens nothing.
    let other = world.key_of(&name).await;
    assert_eq!(world.probe(&off).await, ("escaped", format!("{}#{other}", user(&name))));
    let now = world.read(LIST, &format!("{}#{other}", user(&name))).await.unwrap();
    let other_off = step(UPDATE, &format!("{}#{other}", user(&name)), off.desired.clone(), now);
    assert_eq!(world.apply(&other_off).await.0, "done");
    assert_eq!(world.probe(&off).await.0, "held");
    let found = world.read(LIST, &target).await.unwrap();
    let back = step(UPDATE, &target, json!({ "status": "Active" }), found);
    assert_eq!(world.apply(&back).await.0, "done");
    assert_eq!(world.status(&name, &key).await, "Active");
    assert_eq!(world.probe(&off).await.0, "escaped");
}

#[tokio::test]
async fn what_is_not_there_or_not_ours_to_touch_is_said_and_left_alone() {
    let Some(world) = World::new().await else { return };
    let name = fresh("eve");
    let key = world.with_key(&name).await;
    let target = format!("{}#{key}", user(&name));
    let before = world.gate.counts();
    let inactive = json!({ "status": "Inactive" });
    let prior = json!({ "status": "Active" });
    let refused = |target: &str| step(UPDATE, target, inactive.clone(), prior.clone());
    for (target, says) in [
        ("", "names no user"),
        (&*format!("aws:user:arn:aws:iam::{ACCOUNT}:user/*#{key}"), "names no user"),
        (&*format!("{}#*", user(&name)), "names no user"),
        (&*format!("aws:role:arn:aws:iam::{ACCOUNT}:role/x#{key}"), "no access key of a user"),
        (&*format!("aws:user:arn:aws:iam::111122223333:user/{name}#{key}"), "111122223333 is not configured"),
    ] {
        let (outcome, why) = world.apply(&refused(target)).await;
        assert_eq!((outcome, why.contains(says)), ("failed", true), "{target}: {why}");
    }
    let somebody = Tenant::try_from("somebody".to_owned()).unwrap();
    let why = world.read_as(&somebody, LIST, &target).await.unwrap_err().to_string();
    assert!(why.contains("for tenant somebody"), "{why}");
    assert_eq!(world.gate.counts(), before, "nothing was asked of the provider");
    assert_eq!(world.read(LIST, &format!("{}#AKIANOBODY", user(&name))).await.unwrap(), Value::Null);
    assert_eq!(world.read(LIST, &format!("{}#{key}", user(&fresh("nobody")))).await.unwrap(), Value::Null);
    let (outcome, why) = world.apply(&refused(&format!("{}#AKIANOBODY", user(&name)))).await;
    assert_eq!((outcome, why.contains("has no access key")), ("failed", true), "{why}");
    assert_eq!(world.status(&name, &key).await, "Active");
}

#[tokio::test]
async fn our_own_key_is_never_touched() {
    let Some(world) = World::new().await else { return };
    let name = fresh("prunella");
    world.iam.create_user().user_name(&name).send().await.unwrap();
    let made = world.iam.create_access_key().user_name(&name).send().await.unwrap();
    let key = made.access_key().unwrap();
    let (id, secret) = (key.access_key_id(), key.secret_access_key());
    let ours =
        aws_sdk_s3::config::SharedCredentialsProvider::new(Credentials::new(id, secret, None, None, "s"));
    let config = world.direct.to_builder().credentials_provider(ours).build();
    let aws = prunella_aws::effect::over(vec![(Tenant::default(), ACCOUNT.to_owned(), config)]);
    let target = format!("{}#{id}", user(&name));
    let what = Read { provider: "aws".into(), operation: LIST.into(), target: target.clone() };
    let found = aws.read(&Tenant::default(), &what).await.unwrap().value;
    assert_eq!(found["is_ours"], true);
    let off = step(UPDATE, &target, json!({ "status": "Inactive" }), found);
    let (outcome, why) = word(aws.apply(&Tenant::default(), &off, Id::default()).await);
    assert_eq!((outcome, why.contains("ourselves")), ("failed", true), "{why}");
    assert_eq!(world.status(&name, id).await, "Active");
}

#[tokio::test]
async fn a_lost_answer_is_unknown_and_sent_once() {
    let Some(world) = World::new().await else { return };
    let name = fresh("eve");
    let key = world.with_key(&name).await;
    let target = format!("{}#{key}", user(&name));
    let prior = world.read(LIST, &target).await.unwrap();
    let off = step(UPDATE, &target, json!({ "status": "Inactive" }), prior);
    let sent = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&sent);
    let is_write = |asked: &prunella_contract::Asked| asked.body.starts_with(b"Action=UpdateAccessKey");
    world.gate.lose(move |asked| {
        is_write(asked).then(|| {
            count.fetch_add(1, Ordering::Relaxed);
            Loss::Cut
        })
    });
    assert_eq!(world.apply(&off).await.0, "unknown");
    assert_eq!(sent.load(Ordering::Relaxed), 1, "the SDK did not send it again");
    world.gate.heal();
    assert_eq!(world.status(&name, &key).await, "Inactive", "it happened all the same");
    let mut back = off.clone();
    (back.desired, back.prior) = (json!({ "status": "Active" }), world.read(LIST, &target).await.ok());
    for (answer, want) in [
        (refusal(500, "ServiceFailure"), "unknown"),
        (refusal(400, "Throttling"), "unknown"),
        (refusal(403, "AccessDenied"), "failed"),
        (refusal(409, "ConcurrentModification"), "unknown"),
        (refusal(404, "NoSuchEntity"), "failed"),
    ] {
        world.gate.meddle(move |asked| is_write(asked).then(|| answer.clone()));
        let (outcome, why) = world.apply(&back).await;
        assert_eq!(outcome, want, "{why}");
        assert!(want != "failed" || why.contains(UPDATE), "{why}");
    }
    world.gate.heal();
    assert_eq!(world.status(&name, &key).await, "Inactive");
}

#[tokio::test]
async fn preflight_names_what_the_policy_lacks() {
    let Some(world) = World::new().await else { return };
    for operation in [LIST, UPDATE] {
        world.aws.preflight(operation).await.unwrap();
    }
    assert!(world.aws.preflight("iam:DeleteUser").await.is_err());
    world.gate.meddle(|asked| {
        let is_write = asked.body.starts_with(b"Action=UpdateAccessKey");
        is_write.then(|| refusal(403, "AccessDenied"))
    });
    world.aws.preflight(LIST).await.unwrap();
    let why = world.aws.preflight(UPDATE).await.unwrap_err().to_string();
    let line =
        r#"{"Action":"iam:UpdateAccessKey","Effect":"Allow","Resource":"arn:aws:iam::123456789012:user/*"}"#;
    assert!(why.contains(line), "{why}");
    let moto = world.gate.url.clone();
    let strange =
        prunella_aws::effect::over(vec![(Tenant::default(), "999999999999".into(), sdk(&moto).await)]);
    let why = strange.preflight(LIST).await.unwrap_err().to_string();
    assert!(why.contains("of account 123456789012, not of 999999999999"), "{why}");
}
