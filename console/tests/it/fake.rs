//! Ports in memory, with sample data: what the tests and the development example serve.

use async_trait::async_trait;
use prunella_console::{Ports, Simulator};
use prunella_schemas::finding::{Attack, Named, RelatedEvent};
use prunella_schemas::ocsf::{API_ACTIVITY, AUTHENTICATION, Api, Endpoint};
use prunella_schemas::plan::{EvidenceKind, Marks, Mode, Reach};
use prunella_schemas::port::{
    Accepted, AccountState, ApprovalLink, ApprovalLinks, Dashboard, Health, HealthView, Intake, LedgerView,
    Live, PortError, Query, Rows, State, Store, TokenVersion, Upload,
};
use prunella_schemas::{
    Command, DeadLetter, Event, Finding, Id, Message, Plan, PlanState, Principal, Receipt, Record,
    RejectReason, Step, Tenant, Timestamp, Transition,
};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// 2026-11-21T10:00:00Z: the fake now.
pub const NOW: Timestamp = Timestamp(1_795_255_200_000);
pub const ALICE: &str = "aws:user:arn:aws:iam::111122223333:user/alice";
/// What an attacker writes into a field that people will read.
pub const HOSTILE: &str = "<img src=x onerror=alert(1)>";

/// Everything the fake ports hold, and the errors they are told to give.
#[derive(Default)]
pub struct World {
    pub events: Vec<Event>,
    pub findings: Vec<Finding>,
    pub plans: Vec<Transition>,
    pub receipts: Vec<Receipt>,
    pub letters: Vec<DeadLetter>,
    pub uploads: Vec<Upload>,
    pub replayed: Vec<Record>,
    pub commands: Vec<Command>,
    pub queries: Vec<Query>,
    pub tokens: BTreeMap<(String, String), TokenVersion>,
    pub tokens_loaded: bool,
    pub fails: Option<PortError>,
    /// Whether the one link there is, `good`, was used.
    pub link_used: bool,
    pub health: Health,
    /// How long intake takes, in milliseconds.
    pub intake_ms: u64,
}

#[derive(Clone, Default)]
pub struct Fake(Arc<Mutex<World>>);

impl Fake {
    pub fn sample() -> Self {
        let fake = Fake::default();
        {
            let mut world = fake.world();
            world.events = (0..240).map(event).collect();
            world.findings = vec![finding(5, 0), finding(4, 1), finding(2, 2)];
            let findings: Vec<Id> = world.findings.iter().map(|f| f.prunella.finding_uid).collect();
            world.plans = vec![
                transition(PlanState::Planned, 0, &findings),
                transition(PlanState::Verified, 0, &findings),
                transition(PlanState::AwaitingApproval, 1, &findings),
                transition(PlanState::DryRun, 2, &findings),
            ];
            world.receipts = vec![receipt(&world.plans[1].plan), configured(&world.plans[2].plan)];
            world.letters = vec![letter()];
            world.tokens_loaded = true;
            world.health = Health {
                status: "ok".to_owned(),
                version: "0.1.0".to_owned(),
                uptime_ms: 5_025_000,
                lag: [("ingest".to_owned(), 0), ("detect".to_owned(), 12), ("respond".to_owned(), 0)].into(),
                ..Health::default()
            };
        }
        fake
    }

    pub fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn ports(&self) -> Ports {
        let ports = Arc::new(self.clone());
        Ports {
            store: ports.clone(),
            intake: ports.clone(),
            state: ports.clone(),
            ledger: ports.clone(),
            health: ports.clone(),
            live: tokio::sync::broadcast::Sender::new(16),
            simulator: Some(ports.clone()),
            links: Some(ports),
            clock: Arc::new(|| NOW),
            sources: vec!["aws.cloudtrail".to_owned(), "ocsf".to_owned()],
            playbooks: vec!["lock".to_owned()],
        }
    }

    fn checked(&self) -> Result<MutexGuard<'_, World>, PortError> {
        let world = self.world();
        match &world.fails {
            Some(error) => Err(error.clone()),
            None => Ok(world),
        }
    }
}

impl ApprovalLinks for Fake {
    fn open(&self, token: &str) -> Result<ApprovalLink, &'static str> {
        let world = self.world();
        if token != "good" || world.link_used {
            return Err("the link was used already");
        }
        let waiting =
            world.plans.iter().find(|t| t.to == PlanState::AwaitingApproval).ok_or("no plan waits")?;
        Ok(ApprovalLink { plan_uid: waiting.plan_uid, digest: waiting.plan.digest, until: NOW })
    }

    fn redeem(&self, token: &str) -> Result<ApprovalLink, &'static str> {
        let link = self.open(token);
        self.world().link_used = true;
        link
    }
}

/// The newest rows, as many as asked for, and a cursor if there are more.
fn page<T: Clone>(rows: &[T], query: &Query) -> Rows<T> {
    let start = query.before.as_ref().and_then(|b| b.parse::<usize>().ok()).unwrap_or(0);
    let rows: Vec<T> = rows.iter().skip(start).cloned().collect();
    let next = (rows.len() > query.limit as usize).then(|| (start + query.limit as usize).to_string());
    Rows { rows: rows.into_iter().take(query.limit as usize).collect(), next }
}

#[async_trait]
impl Store for Fake {
    async fn events(&self, query: &Query) -> Result<Rows<Event>, PortError> {
        let mut world = self.checked()?;
        world.queries.push(query.clone());
        Ok(page(&world.events, query))
    }
    async fn event(&self, uid: Id) -> Result<Option<Event>, PortError> {
        Ok(self.checked()?.events.iter().find(|e| e.prunella.event_uid == uid).cloned())
    }
    async fn findings(&self, query: &Query) -> Result<Rows<Finding>, PortError> {
        let mut world = self.checked()?;
        world.queries.push(query.clone());
        let wanted = |f: &&Finding| f.severity_id >= query.severity_min.unwrap_or(0);
        let rows: Vec<Finding> = world.findings.iter().filter(wanted).cloned().collect();
        Ok(page(&rows, query))
    }
    async fn finding(&self, uid: Id) -> Result<Option<Finding>, PortError> {
        Ok(self.checked()?.findings.iter().find(|f| f.prunella.finding_uid == uid).cloned())
    }
    async fn plans(&self, query: &Query) -> Result<Rows<Transition>, PortError> {
        let world = self.checked()?;
        let newest: BTreeMap<Id, &Transition> = world.plans.iter().map(|t| (t.plan_uid, t)).collect();
        Ok(page(&newest.into_values().cloned().collect::<Vec<_>>(), query))
    }
    async fn plan(&self, uid: Id) -> Result<Vec<Transition>, PortError> {
        Ok(self.checked()?.plans.iter().filter(|t| t.plan_uid == uid).cloned().collect())
    }
    async fn receipts(&self, query: &Query) -> Result<Rows<Receipt>, PortError> {
        Ok(page(&self.checked()?.receipts, query))
    }
    async fn receipt(&self, uid: Id) -> Result<Option<Receipt>, PortError> {
        Ok(self.checked()?.receipts.iter().find(|r| r.prunella.receipt_uid == uid).cloned())
    }
    async fn dead_letters(&self, query: &Query) -> Result<Rows<DeadLetter>, PortError> {
        Ok(page(&self.checked()?.letters, query))
    }
    async fn dead_letter(&self, id: Id) -> Result<Option<DeadLetter>, PortError> {
        Ok(self.checked()?.letters.iter().find(|l| l.id() == id).cloned())
    }
    async fn dashboard(&self, _: Option<&str>) -> Result<Dashboard, PortError> {
        let world = self.checked()?;
        let minute = |i: i64| NOW.plus_ms((i - 59) * 60_000);
        Ok(Dashboard {
            events: 148_213,
            findings: world.findings.len() as u64,
            receipts: world.receipts.len() as u64,
            dead_letters: world.letters.len() as u64,
            findings_by_severity: [("Critical".to_owned(), 1), ("High".to_owned(), 1), ("Low".to_owned(), 1)]
                .into(),
            findings_by_technique: [("T1110.001".to_owned(), 2), ("T1562.008".to_owned(), 1)].into(),
            riskiest: vec![
                (ALICE.to_owned(), 92),
                (format!("aws:user:{HOSTILE}"), 47),
                ("aws:root:111122223333".to_owned(), 18),
            ],
            events_per_minute: (0..60).map(|i| (minute(i), rate(i))).collect(),
            plans_by_state: [
                ("verified".to_owned(), 1),
                ("awaiting_approval".to_owned(), 1),
                ("dry_run".to_owned(), 1),
            ]
            .into(),
            newest_event: Some(NOW),
        })
    }
}

/// A working day's ripple with one burst.
fn rate(minute: i64) -> u64 {
    let ripple = 900 + (minute * 37 % 11) * 60 + (minute * 13 % 7) * 45;
    (ripple + if (46..49).contains(&minute) { 2_600 } else { 0 }) as u64
}

#[async_trait]
impl Intake for Fake {
    async fn accept(&self, upload: Upload) -> Result<Accepted, PortError> {
        let wait = self.world().intake_ms;
        if wait > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(wait)).await;
        }
        let mut world = self.checked()?;
        let accepted = upload.body.split(|b| *b == b'\n').filter(|line| !line.is_empty()).count() as u64;
        world.uploads.push(upload);
        Ok(Accepted { accepted, duplicates: 0, rejected: 0 })
    }
    async fn accept_record(&self, record: Record) -> Result<Accepted, PortError> {
        self.checked()?.replayed.push(record);
        Ok(Accepted { accepted: 1, duplicates: 0, rejected: 0 })
    }
    async fn command(&self, command: Command) -> Result<(), PortError> {
        self.checked()?.commands.push(command);
        Ok(())
    }
}

#[async_trait]
impl State for Fake {
    async fn token_version(&self, tenant: &Tenant, principal: &str) -> Result<TokenVersion, PortError> {
        let world = self.checked()?;
        if !world.tokens_loaded {
            return Err(PortError::Unavailable("token versions are being loaded: try again".to_owned()));
        }
        let known = world.tokens.get(&(tenant.to_string(), principal.to_owned())).cloned();
        Ok(known
            .unwrap_or_else(|| TokenVersion { principal: principal.to_owned(), ..TokenVersion::default() }))
    }
    async fn revoke_tokens(
        &self,
        tenant: &Tenant,
        principal: &str,
        not_before: Timestamp,
    ) -> Result<TokenVersion, PortError> {
        let version = TokenVersion { principal: principal.to_owned(), not_before, version: 1 };
        self.checked()?.tokens.insert((tenant.to_string(), principal.to_owned()), version.clone());
        Ok(version)
    }
    async fn account(&self, _: &Tenant, principal: &str) -> Result<AccountState, PortError> {
        if !self.checked()?.tokens_loaded {
            return Err(PortError::Unavailable("account states are being loaded: try again".to_owned()));
        }
        let locked_until = Timestamp(if principal == ALICE { 2_000 } else { 0 });
        Ok(AccountState { principal: principal.to_owned(), locked_until, ..AccountState::default() })
    }
}

#[async_trait]
impl LedgerView for Fake {
    async fn checkpoint(&self) -> Result<String, PortError> {
        let _world = self.checked()?;
        Ok("prunella.example/ledger\n2\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\u{2014} prunella.example/ledger AAAA\n".to_owned())
    }
    async fn proof(&self, receipt: Id) -> Result<Option<serde_json::Value>, PortError> {
        let known = self.checked()?.receipts.iter().any(|r| r.prunella.receipt_uid == receipt);
        Ok(known.then(|| json!({"receipt_uid": receipt, "index": 1, "proof": []})))
    }
    async fn len(&self) -> Result<u64, PortError> {
        Ok(self.checked()?.receipts.len() as u64)
    }
}

#[async_trait]
impl HealthView for Fake {
    async fn health(&self) -> Health {
        self.world().health.clone()
    }
}

#[async_trait]
impl Simulator for Fake {
    async fn start(
        &self,
        attack: &str,
        intensity: &str,
        seed: Option<u64>,
    ) -> Result<serde_json::Value, PortError> {
        let _world = self.checked()?;
        Ok(json!({"attack_type": attack, "intensity": intensity, "seed": seed}))
    }
    fn catalog(&self) -> Vec<String> {
        vec!["brute_force".to_owned(), "log_tampering".to_owned()]
    }
}

pub fn event(i: i64) -> Event {
    let (class, operation, ok) = match i % 5 {
        0 => (AUTHENTICATION, "ConsoleLogin", false),
        1 => (API_ACTIVITY, "DescribeInstances", true),
        2 => (API_ACTIVITY, "GetObject", true),
        3 => (API_ACTIVITY, HOSTILE, true),
        _ => (API_ACTIVITY, "AssumeRole", true),
    };
    let mut event = Event::new(class, 1, if ok { 1 } else { 2 }, 1);
    event.time = NOW.plus_ms(-i * 7_000);
    event.metadata.uid = Some(format!("event-{i}"));
    event.api = Some(Api { operation: operation.to_owned(), ..Api::default() });
    event.src_endpoint = Some(Endpoint { ip: Some(format!("203.0.113.{}", i % 250)), ..Endpoint::default() });
    event.prunella.source = "aws.cloudtrail".into();
    event.prunella.principal = Principal::from_key(ALICE);
    event.prunella.received = event.time.plus_ms(900);
    event.raw_data = Some(format!("{{\"eventID\":\"event-{i}\"}}").as_str().into());
    event.identify();
    event
}

pub fn finding(severity: u8, i: i64) -> Finding {
    let named = |uid: &'static str, name: &'static str| Named { uid: uid.into(), name: name.into() };
    let mut finding = Finding::new(severity);
    finding.time = NOW.plus_ms(-i * 240_000 - 30_000);
    let (title, message) = match i {
        0 => (
            "Password guessing that succeeded",
            "alice signed in from 203.0.113.7 after 41 failures in 90 seconds",
        ),
        1 => ("Audit log stopped", "alice stopped the trail `management-events` in eu-central-1"),
        _ => ("First sensitive call from a new network", HOSTILE),
    };
    finding.message = message.to_owned();
    finding.finding_info.title = title.to_owned();
    finding.finding_info.desc = title.to_owned();
    finding.finding_info.attacks = vec![Attack {
        version: "18.1".into(),
        tactic: named("TA0006", "Credential Access"),
        technique: if i == 1 { named("T1562", "Impair Defenses") } else { named("T1110", "Brute Force") },
        sub_technique: (i != 2).then(|| {
            if i == 1 {
                named("T1562.008", "Disable Cloud Logs")
            } else {
                named("T1110.001", "Password Guessing")
            }
        }),
    }];
    finding.finding_info.related_events = vec![RelatedEvent {
        uid: format!("event-{i}"),
        type_uid: 300_201,
        operation: "ConsoleLogin".to_owned(),
    }];
    finding.confidence_score = 97 - (i * 13) as u8;
    finding.set_risk(92.0 - (i * 27) as f64);
    finding.prunella.principal = ALICE.to_owned();
    let (reasons, normal): (&[&str], _) = match i {
        0 => (
            &[
                "41 failed sign-ins from one address within 90 seconds; this account has at most 2 a day",
                "the success came from the same address, which was never seen before",
            ],
            Some("4 failures or fewer before the success"),
        ),
        1 => (&["StopLogging on a multi-region trail", "nobody stopped a trail in the 30 days before"], None),
        _ => (
            &["first CreateAccessKey of this principal", "from a network it never used"],
            Some("a network of the last 30 days"),
        ),
    };
    finding.prunella.reasons = reasons.iter().map(|r| (*r).to_owned()).collect();
    finding.prunella.counterfactual = normal.map(str::to_owned);
    finding.prunella.evidence = vec![event(i).prunella.event_uid];
    finding.prunella.event_count = 42;
    finding.identify(&i.to_le_bytes());
    finding
}

fn transition(to: PlanState, i: u8, findings: &[Id]) -> Transition {
    let created = NOW.plus_ms(-25_000);
    let marks = Marks {
        provider: created.plus_ms(-2_400),
        ingested: created.plus_ms(-40),
        detected: created.plus_ms(-9),
        planned: created,
        applied: created.plus_ms(21),
        verified: created.plus_ms(372),
    };
    let plan = Plan {
        uid: Id::derive("plan", &[&[i]]),
        action_key: Id::derive("action", &[&[i]]),
        principal: ALICE.to_owned(),
        playbook: "credential-attack".to_owned(),
        action: if i == 2 { "notify.webhook" } else { "tokens.revoke" }.to_owned(),
        reach: Reach::Principal,
        mode: Mode::Auto,
        finding_uids: findings.to_vec(),
        reason: "alice signed in from 203.0.113.7 after 41 failures in 90 seconds; risk 92".to_owned(),
        steps: vec![Step {
            provider: "prunella".to_owned(),
            operation: "tokens.set_not_before".to_owned(),
            target: ALICE.to_owned(),
            desired: json!({"not_before": NOW}),
            prior: None,
        }],
        undo: vec![Step { provider: "prunella".to_owned(), target: ALICE.to_owned(), ..Step::default() }],
        created,
        expires: Some(NOW.plus_ms(3_600_000)),
        marks,
        ..Plan::default()
    };
    let sequence = u32::from(to == PlanState::Verified) * 3;
    let why = if to == PlanState::AwaitingApproval {
        "the playbook asks a person"
    } else {
        "the attacker's call was refused"
    };
    Transition {
        plan_uid: plan.uid,
        sequence,
        from: None,
        to,
        at: NOW,
        why: why.to_owned(),
        plan,
        order: None,
        receipt: None,
    }
}

fn receipt(plan: &Plan) -> Receipt {
    let mut receipt = Receipt::of(plan, PlanState::Verified, 2, 1, NOW);
    receipt.message = "tokens of alice issued before 10:00:00 are refused".to_owned();
    receipt.prunella.evidence = Some(EvidenceKind::RefusedCall);
    receipt.prunella.contained = true;
    receipt.prunella.evidence_detail = "GetObject with a token from before was refused".to_owned();
    receipt.prunella.last_accepted = Some(NOW.plus_ms(-25_200));
    receipt
}

fn configured(plan: &Plan) -> Receipt {
    let mut receipt = Receipt::of(plan, PlanState::Verified, 4, 1, NOW.plus_ms(-600_000));
    receipt.message = "the setting stands; no call of the attacker was seen since".to_owned();
    receipt.prunella.evidence = Some(EvidenceKind::ConfigurationRead);
    receipt
}

fn letter() -> DeadLetter {
    let record = Record {
        source: "aws.cloudtrail".to_owned(),
        tenant: Tenant::default(),
        received: NOW,
        origin: "http:127.0.0.1".to_owned(),
        body: b"{\"eventName\":".to_vec(),
    };
    let detail = "the record ends inside an object: send it whole".to_owned();
    DeadLetter { record, reason: RejectReason::NotJson, detail, offset: Some(13), time: NOW }
}

/// One of each, for the live feed.
pub fn live(i: i64) -> Live {
    match i % 9 {
        7 => Live::Finding { finding: Box::new(finding(4, i % 3)) },
        8 => {
            let plan = transition(PlanState::Verified, 0, &[]);
            Live::Receipt { receipt: Box::new(receipt(&plan.plan)) }
        }
        _ => Live::Event { event: Box::new(event(i)) },
    }
}
