//! A stage of two inputs over Kafka: whatever dies, the order in which it took them stays what it was.

use crate::broker_or_skip;
use crate::kafka::{PARTITIONS, create, live_until, outputs, settings};
use prunella_runtime::log::kafka::{FailPoint, KafkaPump, Settings, attributes};
use prunella_schemas::message::WireError;
use prunella_schemas::stage::SnapshotError;
use prunella_schemas::{
    Command, Delivered, Id, Inbound, Message, Outbox, Posted, Record, Risk, Stage, Tenant, Timestamp, Topic,
};
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const KEYS: usize = 5;

enum Thread {
    Warp(Box<Risk>),
    Weft(Box<Command>),
}

impl Inbound for Thread {
    const TOPICS: &'static [Topic] = &[Topic::Risk, Topic::Commands];

    fn decode(topic: Topic, version: u8, bytes: &[u8]) -> Result<Self, WireError> {
        match topic {
            Topic::Risk => <Risk as Message>::decode(version, bytes).map(|m| Thread::Warp(Box::new(m))),
            _ => <Command as Message>::decode(version, bytes).map(|m| Thread::Weft(Box::new(m))),
        }
    }

    fn id(&self) -> Id {
        match self {
            Thread::Warp(risk) => Message::id(risk.as_ref()),
            Thread::Weft(command) => Message::id(command.as_ref()),
        }
    }
}

/// Numbers what it sees, and says what it saw before: another order gives other outputs.
#[derive(Default)]
struct Weaving {
    seen: u64,
    last: String,
}

impl Stage for Weaving {
    type In = Thread;

    fn name(&self) -> &'static str {
        "weaving"
    }

    fn step(&mut self, batch: &[Delivered<Thread>], out: &mut Outbox) {
        for input in batch {
            let this = match &input.message {
                Thread::Warp(risk) => risk.principal.clone(),
                Thread::Weft(command) => format!("tick {}", command.at().0),
            };
            self.seen += 1;
            out.caused_by(input);
            let body = format!("{}|{this}|{}", self.seen, self.last).into_bytes();
            let (tenant, received) = (Tenant::default(), Timestamp::ZERO);
            out.push(&Record { source: "weaving".into(), tenant, received, origin: String::new(), body });
            self.last = this;
        }
    }

    fn save(&self) -> Vec<u8> {
        format!("{}|{}", self.seen, self.last).into_bytes()
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), SnapshotError> {
        let wrong = || SnapshotError::Corrupt { stage: "weaving", detail: "text".into() };
        let text = std::str::from_utf8(snapshot).map_err(|_| wrong())?;
        let (seen, last) = text.split_once('|').ok_or_else(wrong)?;
        (self.seen, self.last) = (seen.parse().map_err(|_| wrong())?, last.to_owned());
        Ok(())
    }
}

/// Both inputs while the stage runs, of one cause: the order between them is an accident, and another one each time.
fn produce(here: &Settings, numbers: Range<usize>) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &here.brokers).set("partitioner", "murmur2_random").set("linger.ms", "1");
    let producer: BaseProducer = config.create().unwrap();
    let send = |posted: Posted, key: &str| {
        let topic = here.topic(posted.topic);
        let record = BaseRecord::to(&topic).key(key).payload(&posted.bytes);
        producer.send(record.headers(attributes(&posted, &topic))).map_err(|(e, _)| e).unwrap();
    };
    for n in numbers {
        let key = format!("k{}", n % KEYS);
        let (tenant, time) = (Tenant::default(), Timestamp(n as i64));
        let (level, previous) = Default::default();
        let principal = format!("risk {n}");
        let risk = Risk { tenant, principal, score: 0.0, level, previous, time, finding_uid: None };
        send(Posted::new(&risk, Timestamp(1)), &key);
        send(Posted::new(&Command::Tick { at: Timestamp(n as i64) }, Timestamp(1)), &key);
        if n % 20 == 0 {
            producer.flush(Duration::from_secs(10)).unwrap();
            std::thread::sleep(Duration::from_millis(200 + (n % 3 * 60) as u64));
        }
    }
    producer.flush(Duration::from_secs(10)).unwrap();
}

/// Fails unless each input was woven in once, into one unbroken cloth for each partition.
#[track_caller]
fn check(here: &Settings, count: usize) -> usize {
    let (all, with_repeats) = outputs(here, Topic::Records);
    let mut steps: BTreeMap<(u64, String), Vec<String>> = BTreeMap::new();
    let mut inputs = BTreeSet::new();
    for (_, bytes) in all.values() {
        let record = <Record as Message>::decode(1, bytes).unwrap();
        let text = String::from_utf8(record.body).unwrap();
        let (number, rest) = text.split_once('|').unwrap();
        let (this, last) = rest.split_once('|').unwrap();
        assert!(inputs.insert(this.to_owned()), "{this} was taken twice, in two orders");
        steps.entry((number.parse().unwrap(), last.to_owned())).or_default().push(this.to_owned());
    }
    assert_eq!(inputs.len(), 2 * count, "inputs were lost");
    let cloths = steps.keys().filter(|(number, _)| *number == 1).count();
    let starts: usize =
        steps.iter().filter(|((number, _), _)| *number == 1).map(|(_, these)| these.len()).sum();
    assert!(cloths >= 1 && starts <= PARTITIONS as usize, "{starts} cloths");
    for ((number, last), these) in &steps {
        assert!(*number == 1 || these.len() == 1, "after {last} came {these:?}");
    }
    with_repeats - all.len()
}

#[test]
fn a_death_at_every_point_changes_no_order() {
    const COUNT: usize = 400;
    let brokers = broker_or_skip!();
    std::thread::scope(|scope| {
        // This stage makes no scores.
        for point in FailPoint::ALL.into_iter().filter(|point| *point != FailPoint::Held) {
            let brokers = &brokers;
            scope.spawn(move || {
                let mut here = settings(brokers, &format!("weave-{point:?}"));
                create(&here);
                let hits = AtomicUsize::new(0);
                here.fault = Some(Arc::new(move |at, _| {
                    at == point && [0, 2, 5, 11, 17].contains(&hits.fetch_add(1, Ordering::Relaxed))
                }));
                let pump = KafkaPump::new(here.clone(), Weaving::default);
                let lives = std::thread::scope(|scope| {
                    scope.spawn(|| produce(&here, 0..COUNT));
                    live_until(&pump, || outputs(&here, Topic::Records).0.len() >= 2 * COUNT)
                });
                assert!(lives > 1, "{point:?} was never met");
                let again = check(&here, COUNT);
                eprintln!("{point:?}: {lives} lives, {again} outputs made again");
            });
        }
    });
}

/// An owner that is frozen until another has its partition wakes up and must not go its own way.
#[test]
fn owners_that_were_replaced_in_their_sleep_change_no_order() {
    const COUNT: usize = 1_500;
    let brokers = broker_or_skip!();
    let here = settings(&brokers, "weave-frozen");
    create(&here);
    let claims = Arc::new(AtomicUsize::new(0));
    let member = |freezes_at: FailPoint| {
        let (claims, steps) = (Arc::clone(&claims), AtomicUsize::new(0));
        let fault = move |at: FailPoint, _| {
            if at == FailPoint::Claimed {
                claims.fetch_add(1, Ordering::Relaxed);
            } else if at == freezes_at && steps.fetch_add(1, Ordering::Relaxed) % 40 == 10 {
                let before = claims.load(Ordering::Relaxed);
                let is_owner = |_: &usize| claims.load(Ordering::Relaxed) == before;
                (0..800).take_while(is_owner).for_each(|_| std::thread::sleep(Duration::from_millis(10)));
            }
            false
        };
        KafkaPump::new(Settings { fault: Some(Arc::new(fault)), ..here.clone() }, Weaving::default)
    };
    let (stayer, visitor) = (member(FailPoint::Intended), member(FailPoint::Sent));
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for tenth in 0..10 {
                produce(&here, tenth * COUNT / 10..(tenth + 1) * COUNT / 10);
                std::thread::sleep(Duration::from_millis(900));
            }
        });
        scope.spawn(|| live_until(&stayer, || is_over.load(Ordering::Relaxed)));
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                let visit = std::sync::atomic::AtomicBool::new(false);
                std::thread::scope(|scope| {
                    // An owner that finds itself replaced says so and ends.
                    let run = scope.spawn(|| visitor.run(&visit));
                    std::thread::sleep(Duration::from_millis(2_500));
                    visit.store(true, Ordering::Relaxed);
                    if let Err(e) = run.join().unwrap() {
                        assert!(e.to_string().contains("new owner"), "{e}");
                    }
                });
            }
        });
        let begun = Duration::from_secs(110);
        let turns = begun.as_millis() / 500;
        for _ in 0..turns {
            if outputs(&here, Topic::Records).0.len() >= 2 * COUNT {
                break;
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let again = check(&here, COUNT);
    let claims = claims.load(Ordering::Relaxed);
    eprintln!("{claims} claims, {again} outputs made again");
    assert!(claims >= 6, "{claims} claims are no test");
}
