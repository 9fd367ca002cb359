//! The engine as the stage uses it: a model comes about, calls the unusual unusual, and says why.

use prunella_detect::engine::{self, Engine};
use prunella_detect::peers::Profile;
use prunella_detect::training::{Learner, Lesson};
use prunella_detect::{Config, Detect, Past, Sighting, Verdict, behaviour};
use prunella_schemas::ocsf::{
    Account, Actor, Api, Cloud, DATASTORE_ACTIVITY, Endpoint, HttpRequest, Service, Traffic, User,
};
use prunella_schemas::{Event, Principal, SignalKind, Stage, Timestamp};
use std::sync::OnceLock;

const BEGIN: i64 = 1_772_438_400_000;
const USERS: u64 = 12;
const DAY_MS: i64 = 86_400_000;

/// Splitmix64: enough to make a crowd.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

fn event(user: u64, time: i64, operation: &str, ip: &str, bytes: u64) -> Event {
    let mut event = Event::new(DATASTORE_ACTIVITY, 1, 1, 1);
    event.time = Timestamp(time);
    let account = Account { uid: Some("111122223333".into()), ..Account::default() };
    event.cloud = Some(Cloud { provider: "AWS".into(), account: Some(account), ..Cloud::default() });
    let name = format!("user-{user}");
    let uid = format!("arn:aws:iam::111122223333:user/{name}");
    let actor = User { name: Some(name), uid: Some(uid.clone()), ..User::default() };
    event.actor = Some(Actor { user: Some(actor), ..Actor::default() });
    let service = Service { name: Some("s3.amazonaws.com".into()), uid: None };
    event.api = Some(Api { operation: operation.into(), service: Some(service), ..Api::default() });
    event.src_endpoint = Some(Endpoint { ip: Some(ip.into()), ..Endpoint::default() });
    event.http_request =
        Some(HttpRequest { user_agent: Some("aws-cli/2.17".into()), ..HttpRequest::default() });
    event.traffic = Some(Traffic { bytes_out: Some(bytes), ..Traffic::default() });
    event.prunella.source = "aws.cloudtrail".into();
    event.prunella.principal = Principal::from_key(format!("aws:user:{uid}"));
    event.metadata.uid = Some(format!("{user}-{time}-{operation}"));
    event.identify();
    event
}

/// Office hours of a dozen users over some days, in order of time.
fn crowd(days: i64, seed: u64) -> Vec<Event> {
    let mut random = Random(seed);
    let mut events = Vec::new();
    for day in 0..days {
        for user in 0..USERS {
            for _ in 0..40 {
                let time = BEGIN + day * DAY_MS + (8 * 3_600_000) + random.below(9 * 3_600_000) as i64;
                let operation =
                    ["GetObject", "GetObject", "HeadObject", "ListObjects"][random.below(4) as usize];
                let bytes = 2_000 + random.below(60_000);
                events.push(event(user, time, operation, &format!("203.0.113.{}", user + 1), bytes));
            }
        }
    }
    events.sort_by_key(|event| (event.time, event.prunella.event_uid));
    events
}

/// Three in the morning, from elsewhere, by another program, a thousand times the usual size: less than that is close
/// to one event in a thousand, since a forest averages over its features.
fn intruder() -> Event {
    let time = BEGIN + 20 * DAY_MS + 3 * 3_600_000;
    let mut event = event(3, time, "GetObject", "198.51.100.9", 900_000_000);
    event.http_request =
        Some(HttpRequest { user_agent: Some("rclone/1.68".into()), ..HttpRequest::default() });
    event
}

/// A stage that has learnt twenty days; they are learnt once for all tests.
fn trained() -> Detect {
    static SAVED: OnceLock<Vec<u8>> = OnceLock::new();
    let saved = SAVED.get_or_init(|| {
        let mut detect = Detect::new(Config::default());
        assert!(detect.train(&crowd(20, 1)) > 0, "no model was trained");
        detect.save()
    });
    let mut detect = Detect::new(Config::default());
    detect.restore(saved).unwrap();
    detect
}

#[test]
fn the_unusual_is_called_unusual_with_reasons_that_add_up() {
    let mut detect = trained();
    let verdict = detect.observe(&intruder());
    let kinds: Vec<SignalKind> = verdict.signals.iter().map(|signal| signal.kind).collect();
    for kind in [SignalKind::Forest, SignalKind::NewNetwork, SignalKind::DataVolume] {
        assert!(kinds.contains(&kind), "{kind:?} is not among {kinds:?}");
    }
    let signal = verdict.signals.iter().find(|signal| signal.kind == SignalKind::Forest).unwrap();
    let finding = signal.proposal.as_ref().unwrap();
    let analysis = finding.prunella.analysis.as_ref().unwrap();
    assert!(analysis.p_value < 1e-3 && signal.p_value == verdict.score.unwrap().p_value, "{analysis:?}");
    let total = analysis.base + analysis.contributions.iter().map(|c| c.share).sum::<f64>();
    assert!((total - analysis.score.log2()).abs() < 1e-4, "{total} is not log2 of {}", analysis.score);
    let strongest: Vec<&str> = analysis.contributions.iter().take(5).map(|c| &*c.feature).collect();
    assert!(strongest.contains(&"network novelty") && strongest.contains(&"size deviation"), "{strongest:?}");
    let change = analysis.counterfactual.as_ref().unwrap();
    assert!(change.p_value > 1e-3 && change.text.starts_with("With "), "{change:?}");
    assert_eq!(finding.anomaly_analyses[0].anomalies.len(), 3);
    assert!(finding.prunella.reasons[0].starts_with("one event in "), "{:?}", finding.prunella.reasons);
}

#[test]
fn a_newcomer_is_measured_by_its_peers() {
    let mut detect = trained();
    let day = BEGIN + 20 * DAY_MS + 10 * 3_600_000;
    let about_peers =
        |verdict: Verdict| verdict.signals.into_iter().find(|signal| signal.kind == SignalKind::Peers);
    let ordinary = event(77, day, "GetObject", "192.0.2.7", 5_000);
    assert_eq!(about_peers(detect.observe(&ordinary)), None, "its peers call it too");
    let strange = about_peers(detect.observe(&event(77, day + 60_000, "PutBucketPolicy", "192.0.2.7", 100)));
    let strange = strange.unwrap();
    assert!(strange.p_value.is_some_and(|p| p < 1e-3), "{strange:?}");
    let finding = strange.proposal.unwrap();
    assert_eq!(&*finding.finding_info.analytic.uid, "newcomer_unlike_peers");
    assert!(finding.prunella.reasons[1].contains("no more than one in"), "{:?}", finding.prunella.reasons);
    // Where newcomers do so all the time it says nothing any more.
    let mut p_values = Vec::new();
    for user in 100..120 {
        let call = event(user, day + 120_000 + user as i64, "PutBucketPolicy", "192.0.2.7", 100);
        p_values.extend(about_peers(detect.observe(&call)).and_then(|signal| signal.p_value));
    }
    assert!(p_values.len() == 20 && p_values.is_sorted() && p_values[19] > 1e-3, "{p_values:?}");
}

#[test]
fn ordinary_days_stay_ordinary() {
    let mut detect = trained();
    let next: Vec<Event> = crowd(22, 2).into_iter().filter(|e| e.time.0 >= BEGIN + 20 * DAY_MS).collect();
    let verdicts: Vec<Verdict> = next.iter().map(|event| detect.observe(event)).collect();
    let p_values: Vec<f64> = verdicts.iter().filter_map(|v| v.score.as_ref()?.p_value).collect();
    assert_eq!(p_values.len(), next.len(), "every event is scored");
    let share = |alpha: f64| p_values.iter().filter(|p| **p <= alpha).count() as f64 / p_values.len() as f64;
    assert!(share(0.5) > 0.2 && share(0.01) < 0.05, "{} {}", share(0.5), share(0.01));
    assert!(verdicts.iter().all(|verdict| verdict.findings.is_empty()));
}

#[test]
fn a_trained_stage_goes_on_from_its_snapshot_as_if_nothing_had_happened() {
    let mut detect = trained();
    let saved = detect.save();
    let mut restored = Detect::new(Config::default());
    restored.restore(&saved).unwrap();
    assert_eq!(restored.save(), saved);
    let next: Vec<Event> = crowd(22, 3).into_iter().filter(|e| e.time.0 >= BEGIN + 20 * DAY_MS).collect();
    for event in next.iter().chain([&intruder()]) {
        assert_eq!(detect.observe(event), restored.observe(event));
    }
    assert_eq!(detect.save(), restored.save());
}

#[test]
fn repeats_and_strangers_are_harmless() {
    let mut detect = trained();
    let first = detect.observe(&intruder());
    assert_eq!((first.score.is_some(), detect.observe(&intruder())), (true, Verdict::default()));
    let mut other = intruder();
    other.metadata.tenant_uid = Some("other".into());
    other.identify();
    let verdict = detect.observe(&other);
    assert_eq!(verdict.score.unwrap().p_value, None, "a tenant's model is its own");
}

#[test]
fn a_forged_clock_neither_stops_the_grouping_of_peers_nor_keeps_it_going() {
    let mut engine = Engine::new(engine::Config::default(), 30);
    let (past, mut profile) = (Past::default(), Profile::default());
    let mut regrouped = |events: &[Event]| {
        let due = events.iter().filter(|event| {
            let seen = Sighting::of(event);
            let judged = engine.judge(&seen, &past, &profile);
            engine.learn(&seen, &judged, &mut profile, (false, false)).regroup
        });
        due.count()
    };
    let events = crowd(12, 1);
    let (before, after) = events.split_at(events.len() / 2);
    assert!(regrouped(before) > 0, "no groups were made");
    let mut forged = Vec::new();
    for number in 0..8 {
        forged.push(event(3, 10_413_792_000_000 + number, "GetObject", "203.0.113.4", 5_000));
        forged.push(event(3, before.last().unwrap().time.0 + number, "GetObject", "203.0.113.4", 5_001));
    }
    assert!(regrouped(&forged) <= 1, "times that jump to and fro make groups again and again");
    assert!(regrouped(after) > 0, "a time in the year 2300 was the last at which groups were made");
}

/// A newcomer to whom the model is hostile: to it, everything is unusual.
#[test]
fn who_is_unusual_from_the_first_day_on_is_known_on_the_second() {
    let mut config = Config::default();
    config.engine.signal_p_value_max = 1.0;
    let mut detect = Detect::new(config);
    detect.restore(&trained().save()).unwrap();
    let at = |number: i64| {
        let time = BEGIN + 20 * DAY_MS + number * 600_000;
        event(77, time, "GetObject", "192.0.2.7", 5_000 + 100 * number as u64)
    };
    (0..40).for_each(|number| assert!(detect.observe(&at(number)).score.is_some()));
    let verdict = detect.observe(&at(52));
    let forest = verdict.signals.into_iter().find(|signal| signal.kind == SignalKind::Forest).unwrap();
    let analysis = forest.proposal.unwrap().prunella.analysis.unwrap();
    let network = analysis.contributions.iter().find(|c| c.feature == "network novelty").unwrap();
    assert_eq!(network.value, "known network 192.0.2.0/24");
}

#[test]
fn root_without_a_model_of_its_own_is_measured_by_that_of_humans_and_says_so() {
    let mut event = intruder();
    let uid = "arn:aws:iam::111122223333:root";
    event.actor.as_mut().unwrap().user = Some(User { uid: Some(uid.into()), ..User::default() });
    event.prunella.principal = Principal::from_key(format!("aws:root:{uid}"));
    event.identify();
    let seen = Sighting::of(&event);
    assert_eq!(seen.kind, prunella_schemas::principal::Kind::Root);
    let mut engine = Engine::new(engine::Config::default(), 30);
    let mut profile = Profile::default();
    for event in crowd(12, 1) {
        let seen = Sighting::of(&event);
        let judged = engine.judge(&seen, &Past::default(), &profile);
        engine.learn(&seen, &judged, &mut profile, (false, false));
    }
    let judged = engine.judge(&seen, &Past::default(), &profile);
    assert_eq!((judged.unusual.is_some(), judged.actor), (true, behaviour::Actor::Human));
}

#[test]
fn models_that_were_asked_for_are_trained_once_a_day_from_then_on() {
    let lesson = |event: &Event| Lesson {
        row: std::array::from_fn(|at| (event.prunella.event_uid.0[at] as f32) / 256.0),
        class_uid: event.class_uid,
        principal: u64::from(event.prunella.event_uid.0[0] % 32),
        event: event.prunella.event_uid,
        time: event.time,
        score: None,
        is_flagged: false,
    };
    let mut learner = Learner::new(&["a"], 1);
    let (past, today) = (crowd(4, 1), crowd(8, 2));
    assert_eq!(
        past.iter().find_map(|event| learner.observe(&lesson(event))),
        None,
        "too few for a first one"
    );
    learner.train_on([]).unwrap();
    let last = past.last().unwrap().time.0;
    let half_a_day = last - DAY_MS / 2..last + DAY_MS / 2;
    let again: Vec<&Event> = today.iter().filter(|event| half_a_day.contains(&event.time.0)).collect();
    for _ in 0..4 {
        assert_eq!(again.iter().find_map(|event| learner.observe(&lesson(event))), None, "{}", again.len());
    }
    assert!(learner.rows().0 > 1_024 && 4 * again.len() > 1_024, "{:?}", learner.rows());
}
