//! Cost of the engine per event, part by part: 60,000 events of 500 principals, on a trained stage.

use prunella_detect::behaviour::{Behaviour, Table, key};
use prunella_detect::engine::{self, Engine, Judged};
use prunella_detect::entropy::Limits;
use prunella_detect::features::{self, Calls};
use prunella_detect::notice::notice;
use prunella_detect::peers::{Facts, Groups, Profile, Side};
use prunella_detect::training::{Learner, Lesson};
use prunella_detect::{Config, Detect, Past, Sighting};
use prunella_schemas::ocsf::{
    API_ACTIVITY, Account, Actor, Api, Cloud, Endpoint, HttpRequest, Service, User,
};
use prunella_schemas::{Event, Principal, Timestamp};
use std::hint::black_box;
use std::time::Instant;

const EVENTS: u64 = 60_000;
const PRINCIPALS: u64 = 500;
const CALLS: [&str; 8] = [
    "GetObject",
    "PutObject",
    "ListObjects",
    "DescribeInstances",
    "AssumeRole",
    "Decrypt",
    "GetItem",
    "HeadObject",
];
const NAMES: [&str; 16] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p"];

fn main() {
    let events: Vec<Event> = (0..2 * EVENTS).map(event).collect();
    let (past, events) = events.split_at(EVENTS as usize);
    let mut detect = Detect::new(Config::default());
    detect.train(past);
    report("all: Detect::observe", events, |event| {
        black_box(detect.observe(event));
    });
    let seen: Vec<Sighting<'_>> = events.iter().map(Sighting::of).collect();
    report("Sighting::of", events, |event| {
        black_box(Sighting::of(event));
    });
    report("key (BLAKE3)", events, |event| {
        black_box(key(event.tenant(), event.principal()));
    });
    let judged = engine(past, &seen);
    let all: Vec<(&Sighting<'_>, &Judged)> = seen.iter().zip(&judged).collect();
    state(&all);
    peers(&all);
    training(&all);
}

/// Judges and learns all events, and says what that costs.
fn engine(past: &[Event], seen: &[Sighting<'_>]) -> Vec<Judged> {
    let mut engine = Engine::new(engine::Config::default(), 30);
    let (memory, mut profile) = (Past::default(), Profile::default());
    for event in past {
        let seen = Sighting::of(event);
        let judged = engine.judge(&seen, &memory, &profile);
        engine.learn(&seen, &judged, &mut profile, (false, false));
    }
    engine.train();
    let mut judged = Vec::with_capacity(seen.len());
    report("Engine::judge", seen, |seen| judged.push(engine.judge(seen, &memory, &profile)));
    let Some(model) = engine.model(&seen[0]).cloned() else { return judged };
    let all: Vec<(&Sighting<'_>, &Judged)> = seen.iter().zip(&judged).collect();
    report("  forest: score", &all, |(_, judged)| {
        black_box(model.score(&judged.row.values));
    });
    report("  p-value", &all, |(seen, judged)| {
        let score = judged.unusual.map_or(0.0, |(score, _)| score);
        black_box(model.p_value(seen.event.class_uid, score));
    });
    let mut trained = Vec::new();
    report("Engine::learn", &all, |(seen, judged)| {
        trained.extend(engine.learn(seen, judged, &mut profile, (false, false)).trained);
    });
    say(&format!("  ({} trainings in between, the last: {:?})", trained.len(), trained.last()));
    let config = Config::default();
    report("notice", &all, |(seen, judged)| {
        black_box(notice(seen, &memory, judged, &config));
    });
    judged
}

fn state(all: &[(&Sighting<'_>, &Judged)]) {
    let mut table = Table::new(1_000_000, 30);
    report("  table: entry and copy", all, |(seen, judged)| {
        black_box(*table.entry(judged.key, seen.time));
    });
    report("  row", all, |(seen, judged)| {
        let calls = Calls::lately(seen, &judged.behaviour);
        black_box(features::row(seen, &judged.behaviour, calls, Some(3.0)));
    });
    let limits = Limits::default();
    report("  behaviour: learn", all, |(seen, judged)| {
        let mut behaviour: Behaviour = judged.behaviour;
        black_box(behaviour.learn(seen, &judged.row, false, &limits));
    });
}

fn peers(all: &[(&Sighting<'_>, &Judged)]) {
    let facts = |seen: &Sighting<'_>| Facts {
        service: seen.operation_key >> 7,
        operation: seen.operation_key,
        hour: seen.time.hour(),
        ..Facts::default()
    };
    let mut groups = Groups::default();
    let mut profiles = vec![Profile::new(Side::Human); PRINCIPALS as usize];
    let who = |judged: &Judged| (judged.key % u128::from(PRINCIPALS)) as usize;
    all.iter().for_each(|(seen, judged)| profiles[who(judged)].learn(&facts(seen)));
    if let Err(error) = groups.regroup((0..).zip(&profiles)) {
        say(&format!("no groups: {error}"));
    }
    report("  peers: assign", all, |(_, judged)| {
        black_box(groups.assign(&profiles[who(judged)]));
    });
    let group = groups.assign(&profiles[0]);
    report("  peers: surprisal", all, |(seen, _)| {
        black_box(groups.surprisal(Side::Human, group, seen.operation_key));
    });
    report("  peers: learn", all, |(seen, judged)| {
        groups.learn(&profiles[who(judged)], group, seen.operation_key);
    });
    report("  profile: learn", all, |(seen, judged)| profiles[who(judged)].learn(&facts(seen)));
}

fn training(all: &[(&Sighting<'_>, &Judged)]) {
    let lessons: Vec<Lesson> = all.iter().map(|(seen, judged)| lesson(seen, judged)).collect();
    let mut learner = Learner::new(&NAMES, 1);
    lessons.iter().take(20_000).for_each(|lesson| {
        learner.observe(lesson);
    });
    let mut trainings = 0;
    report("  learner: observe", &lessons, |lesson| {
        let mut lesson = lesson.clone();
        // Of one day, so that what is measured is not training.
        lesson.time = lessons[20_000].time;
        trainings += u64::from(learner.observe(&lesson).is_some());
    });
    say(&format!("  ({trainings} trainings in between)"));
}

fn lesson(seen: &Sighting<'_>, judged: &Judged) -> Lesson {
    Lesson {
        row: judged.row.values,
        class_uid: seen.event.class_uid,
        principal: judged.key as u64,
        event: seen.event.prunella.event_uid,
        time: seen.time,
        score: judged.unusual.map(|(score, _)| score),
        is_flagged: false,
    }
}

/// Nanoseconds of processor time per item, on average: the kernel counts in milliseconds, so all items at once.
fn report<T>(what: &str, items: &[T], work: impl FnMut(&T)) {
    let start = processor_ns();
    items.iter().for_each(work);
    let spent = (processor_ns() - start) / items.len().max(1) as u64;
    say(&format!("{what:<24} {spent:>6} ns"));
}

/// Time this thread has run, which other work on the machine does not stretch; elsewhere than on Linux, wall time.
#[allow(clippy::disallowed_methods, reason = "a benchmark measures")]
fn processor_ns() -> u64 {
    static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
    let ran = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    ran.and_then(|text| text.split(' ').next()?.parse().ok())
        .unwrap_or_else(|| START.elapsed().as_nanos() as u64)
}

#[allow(clippy::print_stdout, reason = "the result")]
fn say(line: &str) {
    println!("{line}");
}

/// Four days of two halves: people in office hours, a principal's share falls with its rank.
fn event(n: u64) -> Event {
    let mut z = (n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut below = |end: u64| {
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB) ^ (z >> 31);
        ((u128::from(z) * u128::from(end)) >> 64) as u64
    };
    let rank = below(PRINCIPALS).min(below(PRINCIPALS));
    let mut event = Event::new(API_ACTIVITY, 2, 1, 1);
    event.time = Timestamp(1_772_496_000_000 + (n * 4 * 86_400_000 / EVENTS) as i64);
    let account = Account { uid: Some("111122223333".to_owned()), ..Account::default() };
    event.cloud = Some(Cloud { provider: "AWS".into(), account: Some(account), ..Cloud::default() });
    let uid = format!("arn:aws:iam::111122223333:user/user-{rank}");
    let user = User { name: Some(format!("user-{rank}")), uid: Some(uid.clone()), ..User::default() };
    event.actor = Some(Actor { user: Some(user), ..Actor::default() });
    let service = Service { name: Some("s3.amazonaws.com".to_owned()), uid: None };
    let operation = CALLS[((rank + below(4)) % 8) as usize].to_owned();
    event.api = Some(Api { operation, service: Some(service), ..Api::default() });
    event.src_endpoint =
        Some(Endpoint { ip: Some(format!("203.0.{}.{}", rank % 250, below(200))), ..Endpoint::default() });
    event.http_request =
        Some(HttpRequest { user_agent: Some("aws-cli/2.17".to_owned()), ..HttpRequest::default() });
    event.prunella.source = "aws.cloudtrail".into();
    event.prunella.principal = Principal::from_key(format!("aws:user:{uid}"));
    event.metadata.uid = Some(format!("event-{n}"));
    event.identify();
    event
}
