//! The contract of the event store: what is written into it, and what every engine must then answer.

use prunella_schemas::finding::{Attack, Named};
use prunella_schemas::ocsf::{API_ACTIVITY, Api};
use prunella_schemas::plan::Plan;
use prunella_schemas::port::{PortError, Query, Store};
use prunella_schemas::risk::{RISK_HALF_LIFE_MS, RiskLevel};
use prunella_schemas::{
    DeadLetter, Event, Finding, Id, Message, PlanState, Posted, Principal, RawText, Receipt, Record,
    RejectReason, Risk, Tenant, Timestamp, Transition,
};

pub const START: Timestamp = Timestamp(1_700_000_000_000);

pub fn event(n: i64) -> Event {
    let mut event = Event::new(API_ACTIVITY, 1, 1, 1);
    event.time = START.plus_ms(n * 1_000);
    event.metadata.uid = Some(format!("native-{n}"));
    event.api =
        Some(Api { operation: if n % 2 == 0 { "GetObject" } else { "PutObject" }.into(), ..Api::default() });
    event.prunella.principal = Principal::from_key(format!("aws:user:{}", n % 3));
    event.prunella.received = START.plus_ms(n * 1_000 + 500);
    if n % 2 == 0 {
        event.raw_data = Some(RawText::from(format!("{{\"n\": {n}, \"said\": \"\\t\u{1F980}\"}}").as_str()));
    }
    event.identify();
    event
}

pub fn finding(n: i64, severity: u8) -> Finding {
    let mut finding = Finding::new(severity);
    finding.time = START.plus_ms(n);
    finding.finding_info.analytic.uid = "test.rule".into();
    let technique = Named { uid: "T1110".into(), name: "Brute Force".into() };
    finding.finding_info.attacks = vec![Attack { technique, ..Attack::default() }];
    finding.identify(&n.to_le_bytes());
    finding
}

pub fn transition(sequence: u32, to: PlanState) -> Transition {
    let plan = Plan { uid: Id([7; 16]), action: "tokens.revoke".into(), ..Plan::default() };
    let at = START.plus_ms(i64::from(sequence));
    Transition {
        plan_uid: plan.uid,
        sequence,
        from: None,
        to,
        at,
        why: "test".into(),
        plan,
        order: None,
        receipt: None,
    }
}

pub fn dead_letter(time: i64) -> DeadLetter {
    let (source, tenant) = ("aws.cloudtrail".to_owned(), Tenant::default());
    let record = Record { source, tenant, received: START, origin: String::new(), body: b"{".to_vec() };
    DeadLetter {
        record,
        reason: RejectReason::NotJson,
        detail: "ends early".into(),
        offset: Some(1),
        time: Timestamp(time),
    }
}

pub fn risk(principal: &str, score: f64, time: Timestamp) -> Risk {
    let (level, previous, principal) = (RiskLevel::of(score), RiskLevel::Low, principal.to_owned());
    Risk { tenant: Tenant::default(), principal, score, level, previous, time, finding_uid: None }
}

pub fn post<M: Message>(message: &M) -> Posted {
    Posted::new(message, START)
}

fn receipt() -> Receipt {
    Receipt::of(&transition(1, PlanState::Verified).plan, PlanState::Verified, 2, 1, START)
}

/// One or more of everything: 18 rows, and a record, which is not stored.
pub fn everything() -> Vec<Posted> {
    let mut posted: Vec<Posted> = (0..10).map(|n| post(&event(n))).collect();
    posted.extend([post(&finding(1, 4)), post(&finding(2, 5)), post(&dead_letter(5))]);
    posted.extend([post(&transition(0, PlanState::Planned)), post(&transition(1, PlanState::Verified))]);
    posted.extend([post(&receipt()), post(&risk("a", 80.0, START)), post(&risk("b", 60.0, START))]);
    posted.push(post(&dead_letter(5).record));
    posted
}

/// Everything is found, once, however often it was written.
pub async fn check_everything(store: &dyn Store) {
    assert_eq!(store.event(event(3).id()).await.unwrap(), Some(event(3)));
    assert_eq!(store.event(Id([9; 16])).await.unwrap(), None);
    assert_eq!(store.finding(finding(1, 4).id()).await.unwrap(), Some(finding(1, 4)));
    assert_eq!(store.receipt(receipt().id()).await.unwrap(), Some(receipt()));
    let plans = store.plans(&Query::default()).await.unwrap().rows;
    assert_eq!(plans, [transition(1, PlanState::Verified)], "the newest transition of the plan");
    let steps = store.plan(Id([7; 16])).await.unwrap();
    assert_eq!(steps.iter().map(|t| t.sequence).collect::<Vec<_>>(), [0, 1]);

    let dashboard = store.dashboard(None).await.unwrap();
    let counts = (dashboard.events, dashboard.findings, dashboard.receipts, dashboard.dead_letters);
    assert_eq!(counts, (10, 2, 1, 1));
    assert_eq!(dashboard.findings_by_technique.get("T1110"), Some(&2));
    assert_eq!(dashboard.findings_by_severity.values().sum::<u64>(), 2);
    assert_eq!(dashboard.plans_by_state.get("verified"), Some(&1));
    assert_eq!(dashboard.newest_event, Some(event(9).time));
    assert_eq!(dashboard.events_per_minute.iter().map(|(_, n)| n).sum::<u64>(), 10);
    assert_eq!(dashboard.riskiest, [("a".to_owned(), 80), ("b".to_owned(), 60)]);
    assert_eq!(store.dashboard(Some("nobody")).await.unwrap().events, 0);
}

/// A hundred events, two of each time, so that pages must go on inside a tie.
pub fn tied() -> Vec<Event> {
    let tied = |n: i64| {
        let mut event = event(n);
        event.time = START.plus_ms(n / 2);
        event.identify();
        event
    };
    (0..100).map(tied).collect()
}

/// Pages without gap or repeat, and filters.
pub async fn check_pages(store: &dyn Store) {
    let mut query = Query { limit: 7, ..Query::default() };
    let mut seen = Vec::new();
    loop {
        let page = store.events(&query).await.unwrap();
        seen.extend(page.rows.iter().map(|e| (e.time, e.id())));
        match page.next {
            Some(next) => query.before = Some(next),
            None => break,
        }
    }
    let mut expected: Vec<_> = tied().iter().map(|e| (e.time, e.id())).collect();
    expected.sort();
    expected.reverse();
    assert_eq!(seen, expected);

    let check = async |query: Query, want: usize| {
        let found = store.events(&Query { limit: 1_000, ..query.clone() }).await.unwrap();
        assert_eq!((found.rows.len(), found.next), (want, None), "{query:?}");
    };
    let text = |s: &str| Some(s.to_owned());
    check(Query { principal: text("aws:user:1"), ..Query::default() }, 33).await;
    check(Query { operation: text("GetObject"), ..Query::default() }, 50).await;
    check(Query { tenant: text("other"), ..Query::default() }, 0).await;
    check(Query { severity_min: Some(2), ..Query::default() }, 0).await;
    check(Query { since: Some(START.plus_ms(10)), until: Some(START.plus_ms(19)), ..Query::default() }, 20)
        .await;
    let hostile = Query { principal: text("' OR 1=1 --"), before: text("1:00"), ..Query::default() };
    assert!(matches!(store.events(&hostile).await, Err(PortError::Invalid(_))));
}

/// Risks of two principals, an event half a life later, and one whose clock runs ahead.
pub fn risks() -> Vec<Posted> {
    let mut late = event(0);
    late.time = START.plus_ms(RISK_HALF_LIFE_MS);
    late.prunella.received = late.time;
    late.identify();
    let mut ahead = event(1);
    ahead.time = START.plus_ms(1_000 * RISK_HALF_LIFE_MS);
    ahead.prunella.received = START;
    ahead.identify();
    let risks = [risk("old", 90.0, START), risk("new", 50.0, late.time), risk("new", 10.0, START)];
    let mut posted = vec![post(&late), post(&ahead)];
    posted.extend(risks.iter().map(post));
    posted
}

/// Risk decays on the front page, and a fast clock does not move it.
pub async fn check_risks(store: &dyn Store) {
    let dashboard = store.dashboard(None).await.unwrap();
    assert_eq!(dashboard.newest_event, Some(START.plus_ms(RISK_HALF_LIFE_MS)));
    assert_eq!(dashboard.riskiest, [("new".to_owned(), 50), ("old".to_owned(), 45)]);
}
