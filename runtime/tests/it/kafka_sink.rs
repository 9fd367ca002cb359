//! The sink from a real Kafka into a real ClickHouse: killed at every point, cut off, replaced, and given what is no row.

use crate::broker_or_skip;
use crate::clickhouse::{Place, place_or_skip};
use crate::contract::{START, event, post};
use crate::kafka::{PARTITIONS, PATIENCE, create, outputs, send, settings, traffic};
use crate::proxy::{Fate, Proxy};
use prunella_runtime::log::kafka::{FailPoint, KafkaPump, Pace, Settings, attributes};
use prunella_runtime::sink::kafka::KafkaSink;
use prunella_schemas::{Posted, Topic};
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// The points that the sink passes.
const POINTS: [FailPoint; 7] = [
    FailPoint::Claimed,
    FailPoint::Restored,
    FailPoint::Stepped,
    FailPoint::HalfSent,
    FailPoint::Intended,
    FailPoint::Sent,
    FailPoint::Done,
];
const EXACT: &str = "SETTINGS do_not_merge_across_partitions_select_final = 1";

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// As our own stages write.
fn produce(settings: &Settings, posted: &[Posted]) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &settings.brokers).set("partitioner", "murmur2_random");
    let producer: BaseProducer = config.create().unwrap();
    for message in posted {
        let topic = settings.topic(message.topic);
        let headers = Some(attributes(message, &topic));
        let mut record =
            BaseRecord { headers, ..BaseRecord::to(&topic).key(&message.key).payload(&message.bytes) };
        while let Err((_, back)) = producer.send(record) {
            record = back;
            producer.poll(Duration::from_millis(5));
        }
    }
    producer.flush(PATIENCE).unwrap();
}

fn events(count: i64) -> Vec<Posted> {
    (0..count).map(|n| post(&event(n))).collect()
}

/// Small portions, so that there are many.
fn small(brokers: &str, name: &str) -> Settings {
    let settings = settings(brokers, name);
    Settings { pace: Pace { batch_messages_max: 4, ..settings.pace }, ..settings }
}

/// Lives until `done` says so; a life that ends before is followed by another. How many lives there were.
#[allow(clippy::disallowed_methods, reason = "a test that hangs must fail")]
fn sink_until(sink: &KafkaSink, done: impl Fn() -> bool) -> usize {
    let (stop, lives, since) = (AtomicBool::new(false), AtomicUsize::new(0), Instant::now());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                lives.fetch_add(1, Ordering::Relaxed);
                if let Err(e) = sink.run(&stop) {
                    let text = e.to_string();
                    assert!(text.contains("injected") || text.contains("new owner"), "{text}");
                }
            }
        });
        while !done() && since.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(100));
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(since.elapsed() < PATIENCE, "not done in time");
    lives.into_inner()
}

/// What a table holds, with repeats as one: how many rows, and a sum over what they say.
fn held(runtime: &Runtime, place: &Place, table: &str) -> (u64, u64) {
    let ask =
        |what: &str| runtime.block_on(place.number(&format!("SELECT {what} FROM $.{table} FINAL {EXACT}")));
    (ask("count()"), ask("sum(cityHash64(uid, body, time, day))"))
}

#[test]
fn a_death_at_every_point_loses_nothing_and_stores_nothing_twice() {
    const EVENTS: i64 = 700;
    let brokers = broker_or_skip!();
    let runtime = runtime();
    let calm = small(&brokers, "sink-calm");
    create(&calm);
    let mut posted = events(EVENTS);
    posted.push(Posted { bytes: b"{".to_vec(), ..post(&event(9_999)) });
    produce(&calm, &posted);
    let place = place_or_skip!(@block runtime, Place::ready("sink_calm"));
    let sink = KafkaSink::new(calm.clone(), &place.user("ingest"), runtime.handle().clone());
    let whole = |place: &Place| {
        held(&runtime, place, "events").0 == EVENTS as u64 && held(&runtime, place, "dead_letters").0 == 1
    };
    assert_eq!(sink_until(&sink, || whole(&place)), 1);
    let (wanted, letters) = (held(&runtime, &place, "events"), held(&runtime, &place, "dead_letters"));
    std::thread::scope(|scope| {
        for point in POINTS {
            let (runtime, calm, brokers, whole) = (&runtime, &calm, &brokers, &whole);
            scope.spawn(move || {
                let mut struck = small(brokers, &format!("sink-{point:?}"));
                create(&struck);
                struck.inputs.insert(Topic::Events, calm.topic(Topic::Events));
                let hits = Arc::new(AtomicUsize::new(0));
                let met = Arc::clone(&hits);
                struck.fault = Some(Arc::new(move |at, _| {
                    at == point && [0, 2, 5].contains(&hits.fetch_add(1, Ordering::Relaxed))
                }));
                let place = runtime.block_on(Place::ready(&format!("sink_{point:?}"))).unwrap();
                let sink = KafkaSink::new(struck, &place.user("ingest"), runtime.handle().clone());
                let lives = sink_until(&sink, || whole(&place) && met.load(Ordering::Relaxed) > 0);
                let physical = runtime.block_on(place.number("SELECT count() FROM $.events"));
                eprintln!("{point:?}: {lives} lives, {} rows stored again", physical - EVENTS as u64);
                assert!(met.load(Ordering::Relaxed) > 0, "{point:?} was never met");
                assert_eq!(held(runtime, &place, "events"), wanted, "{point:?}");
                assert_eq!(held(runtime, &place, "dead_letters"), letters, "{point:?}");
                runtime.block_on(place.end());
            });
        }
    });
    runtime.block_on(place.end());
}

#[test]
fn connections_that_break_in_the_middle_lose_nothing() {
    const EVENTS: i64 = 3_000;
    let brokers = broker_or_skip!();
    let runtime = runtime();
    let here =
        Settings { pace: Pace { batch_messages_max: 16, ..Pace::default() }, ..small(&brokers, "sink-cut") };
    create(&here);
    produce(&here, &events(EVENTS));
    let place = place_or_skip!(@block runtime, Place::ready("sink_cut"));
    let mut server = place.user("ingest");
    let direct = server.url.trim_start_matches("http://").to_owned();
    let proxy = Proxy::before(&direct, |number| match number % 6 {
        // The first ones are the look at the schema.
        2 => Fate::CutAfter(6_000),
        4 => Fate::Unanswered,
        _ if number > 60 => Fate::Whole,
        1 | 5 => Fate::CutAfter(30_000),
        _ => Fate::Whole,
    });
    server.url = format!("http://{}", proxy.address);
    let sink = KafkaSink::new(here, &server, runtime.handle().clone());
    let lives = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                lives.fetch_add(1, Ordering::Relaxed);
                // The look at the schema may be cut off too.
                let _ = sink.run(&stop);
            }
        });
        wait_for("every event", || held(&runtime, &place, "events").0 == EVENTS as u64);
        stop.store(true, Ordering::Relaxed);
    });
    let unique = runtime.block_on(place.number("SELECT uniqExact(uid) FROM $.events"));
    let broken = proxy.broken.load(Ordering::Relaxed);
    eprintln!("{broken} connections broken, {} lives", lives.load(Ordering::Relaxed));
    assert!(unique == EVENTS as u64 && broken >= 2, "{unique} events, {broken} broken");
    runtime.block_on(place.end());
}

#[allow(clippy::disallowed_methods, reason = "a test that hangs must fail")]
fn wait_for(what: &str, done: impl Fn() -> bool) {
    let since = Instant::now();
    while !done() {
        assert!(since.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn while_clickhouse_is_away_findings_go_on_and_the_sink_says_so_and_catches_up() {
    let brokers = broker_or_skip!();
    let runtime = runtime();
    let here = Settings { pace: Pace::default(), ..settings(&brokers, "sink-away") };
    create(&here);
    let place = place_or_skip!(@block runtime, Place::ready("sink_away"));
    let mut server = place.user("ingest");
    let proxy = Proxy::before(server.url.trim_start_matches("http://"), |_| Fate::Whole);
    server.url = format!("http://{}", proxy.address);
    let sink = KafkaSink::new(here.clone(), &server, runtime.handle().clone());
    let ingest = KafkaPump::new(here.clone(), prunella_ingest::Ingest::new);
    let detect =
        KafkaPump::new(here.clone(), || prunella_detect::Detect::new(prunella_detect::Config::default()));
    let (stop, topic) = (AtomicBool::new(false), here.topic(Topic::Records));
    let (troubles, counts) = (sink.troubles(), sink.counts());
    std::thread::scope(|scope| {
        let running = [
            scope.spawn(|| sink.run(&stop)),
            scope.spawn(|| ingest.run(&stop)),
            scope.spawn(|| detect.run(&stop)),
        ];
        let records = traffic(40);
        let half = records.len() / 2;
        send(&brokers, &topic, &records[..half], "aws.cloudtrail");
        wait_for("the first half", || held(&runtime, &place, "events").0 == half as u64);
        proxy.set_off(true);
        send(&brokers, &topic, &records[half..], "aws.cloudtrail");
        wait_for("a word about it", || troubles.all().iter().any(|text| text.contains("ClickHouse")));
        wait_for("findings", || outputs(&here, Topic::Findings).0.len() >= 20);
        std::thread::sleep(Duration::from_secs(2));
        wait_for("a lag that shows", || counts.lag.load(Ordering::Relaxed) > 0);
        assert_eq!(held(&runtime, &place, "events").0, half as u64, "it is away");
        proxy.set_off(false);
        wait_for("every event", || held(&runtime, &place, "events").0 == records.len() as u64);
        wait_for("no more trouble", || troubles.all().is_empty());
        let findings = outputs(&here, Topic::Findings).0.len() as u64;
        wait_for("every finding", || held(&runtime, &place, "findings").0 == findings);
        wait_for("no lag", || counts.lag.load(Ordering::Relaxed) == 0);
        stop.store(true, Ordering::Relaxed);
        for one in running {
            one.join().unwrap().unwrap();
        }
    });
    runtime.block_on(place.end());
}

/// The first owner freezes with its intent said and nothing inserted; it wakes when another has its partition.
#[test]
fn an_owner_that_wakes_up_replaced_changes_nothing() {
    const EVENTS: i64 = 600;
    let brokers = broker_or_skip!();
    let runtime = runtime();
    let here = small(&brokers, "sink-zombie");
    create(&here);
    produce(&here, &events(EVENTS));
    let place = place_or_skip!(@block runtime, Place::ready("sink_zombie"));
    let claims: [AtomicUsize; PARTITIONS as usize] = Default::default();
    let slept: [AtomicBool; PARTITIONS as usize] = Default::default();
    let shared = Arc::new((claims, slept));
    let (faults, seen) = (Arc::clone(&shared), shared);
    let mut here = here;
    here.fault = Some(Arc::new(move |point, partition: i32| {
        let (claims, slept) = (&faults.0[partition as usize], &faults.1[partition as usize]);
        match point {
            FailPoint::Claimed => drop(claims.fetch_add(1, Ordering::Relaxed)),
            FailPoint::Intended if !slept.swap(true, Ordering::Relaxed) => {
                wait_for("a successor", || claims.load(Ordering::Relaxed) > 1);
            }
            _ => {}
        }
        false
    }));
    let sink = || KafkaSink::new(here.clone(), &place.user("ingest"), runtime.handle().clone());
    let (first, second) = (sink(), sink());
    let stops = [AtomicBool::new(false), AtomicBool::new(false)];
    std::thread::scope(|scope| {
        let zombie = scope.spawn(|| first.run(&stops[0]));
        wait_for("a lane that sleeps", || seen.1.iter().any(|slept| slept.load(Ordering::Relaxed)));
        let successor = scope.spawn(|| second.run(&stops[1]));
        wait_for("successors", || {
            let claims = seen.0.iter().map(|count| count.load(Ordering::Relaxed));
            claims.zip(&seen.1).all(|(claims, slept)| claims > 1 || !slept.load(Ordering::Relaxed))
        });
        wait_for("every event", || held(&runtime, &place, "events").0 == EVENTS as u64);
        stops.iter().for_each(|stop| stop.store(true, Ordering::Relaxed));
        zombie.join().unwrap().unwrap();
        successor.join().unwrap().unwrap();
    });
    assert_eq!(held(&runtime, &place, "events").0, EVENTS as u64);
    assert_eq!(runtime.block_on(place.number("SELECT uniqExact(uid) FROM $.events")), EVENTS as u64);
    runtime.block_on(place.end());
}

#[test]
fn what_is_no_row_becomes_a_dead_letter_and_the_lag_clears() {
    const EVENTS: i64 = 300;
    let brokers = broker_or_skip!();
    let runtime = runtime();
    let here = settings(&brokers, "sink-poison");
    create(&here);
    let place = place_or_skip!(@block runtime, Place::ready("sink_poison"));
    runtime.block_on(place.run("ALTER TABLE $.events ADD CONSTRAINT short CHECK length(account) < 100"));
    let mut posted = events(EVENTS);
    let years_off = |n: i64| {
        let mut event = event(n);
        event.time = START.plus_ms((n - 10_000) * 40 * 86_400_000);
        event.identify();
        post(&event)
    };
    // More days than an insert may have partitions.
    posted.extend((10_000 - 75..10_000 + 75).map(years_off));
    let mut long = event(20_000);
    long.cloud.get_or_insert_default().account = Some(Default::default());
    if let Some(account) = long.cloud.as_mut().and_then(|cloud| cloud.account.as_mut()) {
        account.uid = Some("9".repeat(200));
    }
    long.identify();
    posted.insert(100, post(&long));
    posted.insert(200, Posted { bytes: b"no JSON".to_vec(), ..post(&event(20_001)) });
    posted.insert(300, Posted { version: 99, ..post(&event(20_002)) });
    produce(&here, &posted);
    // And one that somebody else wrote there.
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
    let topic = here.topic(Topic::Events);
    producer.send(BaseRecord::to(&topic).key("k").payload("hello")).map_err(|(e, _)| e).unwrap();
    producer.flush(PATIENCE).unwrap();
    let sink = KafkaSink::new(here, &place.user("ingest"), runtime.handle().clone());
    let counts = sink.counts();
    let lives = sink_until(&sink, || {
        held(&runtime, &place, "dead_letters").0 == 4 && counts.lag.load(Ordering::Relaxed) == 0
    });
    assert_eq!(lives, 1, "nothing stops for a poison");
    assert_eq!(held(&runtime, &place, "events").0, (EVENTS + 150) as u64);
    let ask = |sql: &str| runtime.block_on(place.number(sql));
    assert_eq!(ask("SELECT uniqExact(uid) FROM $.dead_letters WHERE detail LIKE '%short%'"), 1);
    assert!(ask("SELECT uniqExact(day) FROM $.events") <= 33, "held near the time of receipt");
    assert!(ask("SELECT uniqExact(toDate(time)) FROM $.events") >= 150, "the true times are kept");
    runtime.block_on(place.end());
}
