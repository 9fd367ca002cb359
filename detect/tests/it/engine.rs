//! The engine as the stage uses it: a model comes about, calls the unusual unusual, and says why.

use prunella_detect::{Config, Detect, Verdict};
use prunella_schemas::ocsf::{
    Account, Actor, Api, Cloud, DATASTORE_ACTIVITY, Endpoint, HttpRequest, Service, Traffic, User,
};
use prunella_schemas::{Event, Principal, SignalKind, Stage, Timestamp};

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

/// Three in the morning, from elsewhere, a thousand times the usual size.
fn intruder() -> Event {
    event(3, BEGIN + 20 * DAY_MS + 3 * 3_600_000, "GetObject", "198.51.100.9", 900_000_000)
}

fn trained() -> Detect {
    let mut detect = Detect::new(Config::default());
    assert!(detect.train(&crowd(20, 1)) > 0, "no model was trained");
    detect
}

#[test]
fn the_unusual_is_called_unusual_with_reasons_that_add_up() {
    let mut detect = trained();
    let verdict = detect.observe(&intruder());
    let kinds: Vec<SignalKind> = verdict.signals.iter().map(|signal| signal.kind).collect();
    eprintln!("{:?}", verdict.score);
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
    assert!(strongest.contains(&"network novelty") && strongest.contains(&"size"), "{strongest:?}");
    let change = analysis.counterfactual.as_ref().unwrap();
    assert!(change.p_value > 1e-3 && change.text.starts_with("With "), "{change:?}");
    assert_eq!(finding.anomaly_analyses[0].anomalies.len(), 3);
    assert!(finding.prunella.reasons[0].starts_with("One event in "), "{:?}", finding.prunella.reasons);
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
fn debug_scores() {
    let mut config = Config::default();
    config.engine.signal_p_value_max = 1.0;
    let mut detect = Detect::new(config);
    detect.train(&crowd(20, 1));
    let next: Vec<Event> = crowd(22, 2).into_iter().filter(|e| e.time.0 >= BEGIN + 20 * DAY_MS).collect();
    let mut all = Vec::new();
    for e in next.iter().chain([&intruder()]) {
        let v = detect.observe(e);
        let is = e.source_ip() == Some("198.51.100.9");
        for s in v.signals {
            if let Some(p) = s.proposal {
                all.push((p.prunella.analysis.unwrap(), is));
            }
        }
    }
    all.sort_by(|a, b| a.0.p_value.total_cmp(&b.0.p_value));
    for (a, is) in all.iter().take(6).chain(all.iter().filter(|x| x.1)) {
        eprintln!("{is} p={} score={} base={}", a.p_value, a.score, a.base);
        for c in a.contributions.iter() {
            eprintln!("   {:+.3} {} = {}", c.share, c.feature, c.value);
        }
    }
}
