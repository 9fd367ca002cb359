//! The delivery protocol against a model of what is known of servers and tokens, over many seeds; and what fails without it.

use prunella_runtime::store::clickhouse::protocol::{
    Batch, Delivery, Entry, InsertError, Manifest, Next, Target,
};
use prunella_schemas::Id;
use prunella_schemas::port::PortError;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

const SEEDS: u64 = 5_000;
const INPUTS: i64 = 60;
const KILLED: &str = "killed";

/// Splitmix64: the same seed, the same faults.
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

/// A server that notes a token before it names the part, as the real one does, and a manifest that outlives processes.
struct World {
    chance: Chance,
    rows: BTreeMap<Id, u32>,
    tokens: BTreeSet<String>,
    entry: Option<Entry>,
    /// Of a hundred inserts, how many go wrong.
    faults: u64,
}

type Shared = Rc<RefCell<World>>;

struct Ends(Shared);
struct Server(Shared);
struct Inputs(Vec<Id>);

impl Batch for Inputs {
    fn ids(&self) -> Vec<Id> {
        self.0.clone()
    }
}

fn killed() -> PortError {
    PortError::Unavailable(KILLED.into())
}

impl Manifest for Ends {
    fn say(&mut self, entry: &Entry) -> Result<(), PortError> {
        let mut world = self.0.borrow_mut();
        let faults = world.faults;
        let fate = world.chance.below(100);
        // Killed before or after it was durable.
        if fate < faults / 4 {
            return Err(killed());
        }
        world.entry = Some(entry.clone());
        if fate < faults / 2 { Err(killed()) } else { Ok(()) }
    }
}

impl World {
    fn take(&mut self, token: &str, ids: &[Id]) {
        if self.tokens.insert(token.to_owned()) {
            for id in ids {
                *self.rows.entry(*id).or_default() += 1;
            }
        }
    }
}

impl Target<Inputs> for Server {
    fn insert(&mut self, token: &str, batch: &Inputs) -> Result<(), InsertError> {
        let mut world = self.0.borrow_mut();
        let faults = world.faults;
        if world.chance.below(100) >= faults {
            world.take(token, &batch.0);
            return Ok(());
        }
        let unknown = Err(InsertError::Unknown("reset".into()));
        let dead = Err(InsertError::Refused(killed()));
        let some = world.chance.below(batch.0.len() as u64 + 1) as usize;
        match world.chance.below(7) {
            0 => unknown,
            // Power was cut between the note of the token and the name of the part.
            1 | 2 => {
                world.tokens.insert(token.to_owned());
                if some.is_multiple_of(2) { unknown } else { dead }
            }
            // Some of the partitions were written.
            3 => {
                world.take(token, &batch.0[..some]);
                unknown
            }
            4 => {
                world.take(token, &batch.0);
                unknown
            }
            5 => {
                world.take(token, &batch.0);
                dead
            }
            _ => Err(InsertError::Refused(PortError::Full("no space".into()))),
        }
    }

    fn cancel(&mut self, _: &str) -> Result<(), PortError> {
        let mut world = self.0.borrow_mut();
        if world.chance.below(20) == 0 { Err(PortError::Unavailable("away".into())) } else { Ok(()) }
    }

    fn holds(&mut self, batch: &Inputs) -> Result<bool, PortError> {
        Ok(batch.0.iter().all(|id| self.0.borrow().rows.contains_key(id)))
    }
}

fn inputs(start: i64, end: i64) -> Inputs {
    Inputs((start..end).map(|n| Id::derive("input", &[&n.to_le_bytes()])).collect())
}

fn world(seed: u64) -> Shared {
    let (rows, tokens, chance) = (BTreeMap::new(), BTreeSet::new(), Chance(seed));
    Rc::new(RefCell::new(World { chance, rows, tokens, entry: None, faults: 40 }))
}

/// Runs processes one after the other until everything is delivered. How many there were.
fn run(world: &Shared) -> u32 {
    for process in 1..10_000 {
        let entry = world.borrow().entry.clone();
        let mut delivery = Delivery::resume("sink/t/0", entry, Ends(world.clone()), Server(world.clone()));
        loop {
            let (start, end) = match delivery.next() {
                Next::Again { start, end } => (start, end),
                Next::From(INPUTS) => match delivery.rest() {
                    Ok(()) => return process,
                    Err(_) => break,
                },
                Next::From(start) => {
                    let size = 1 + world.borrow_mut().chance.below(9) as i64;
                    (start, (start + size).min(INPUTS))
                }
            };
            match delivery.deliver(start, end, &inputs(start, end)) {
                Err(e) if e.to_string() == KILLED => break,
                // A process that lives tries again; one that was cut off from the manifest may not know its last word.
                _ => {}
            }
        }
    }
    panic!("it never ends")
}

#[test]
fn nothing_is_lost_whatever_dies_when() {
    let (mut processes, mut repeats) = (0, 0);
    for seed in 0..SEEDS {
        let world = world(seed);
        processes += run(&world);
        let world = world.borrow();
        assert_eq!(world.entry, Some(Entry { end: INPUTS, intent: None }), "seed {seed}");
        // A repeat is the same row again, which the table's identity makes one.
        let want: BTreeSet<Id> = inputs(0, INPUTS).0.into_iter().collect();
        assert_eq!(world.rows.keys().copied().collect::<BTreeSet<_>>(), want, "seed {seed}");
        repeats += world.rows.values().filter(|n| **n > 1).count();
    }
    assert!(processes > 2 * SEEDS as u32 && repeats > 0, "{processes} processes, {repeats} repeats");
}

/// The control: the same server, and a sink that takes an acknowledgement under a token used before for proof.
#[test]
fn a_sink_that_trusts_its_token_loses() {
    let mut lost = 0;
    for seed in 0..200 {
        let world = world(seed);
        let mut server = Server(world.clone());
        for start in (0..INPUTS).step_by(5) {
            let batch = inputs(start, start + 5);
            while server.insert(&format!("{start}"), &batch).is_err() {}
        }
        lost += INPUTS as usize - world.borrow().rows.len();
    }
    assert!(lost > 0);
}

#[test]
fn a_batch_that_is_not_the_one_that_was_meant_is_refused() {
    let world = world(1);
    world.borrow_mut().faults = 0;
    let mut delivery = Delivery::resume("l", None, Ends(world.clone()), Server(world.clone()));
    delivery.deliver(0, 5, &inputs(0, 5)).unwrap();
    let text = delivery.deliver(7, 9, &inputs(7, 9)).unwrap_err().to_string();
    assert!(text.contains("expected offset 5, was given 7-9"), "{text}");
    // The manifest still holds the intent, since nobody said that it is done.
    let entry = world.borrow().entry.clone();
    let mut next = Delivery::resume("l", entry, Ends(world.clone()), Server(world.clone()));
    assert_eq!(next.next(), Next::Again { start: 0, end: 5 });
    let text = next.deliver(0, 5, &inputs(1, 6)).unwrap_err().to_string();
    assert!(text.contains("expected 0-5 with 5 rows"), "{text}");
    world.borrow_mut().chance = Chance(3);
    while next.deliver(0, 5, &inputs(0, 5)).is_err() {}
    next.rest().unwrap();
    assert_eq!(world.borrow().entry, Some(Entry { end: 5, intent: None }));
    assert!(world.borrow().rows.values().all(|n| *n == 1), "what is there is not sent again");
}

#[test]
fn a_topic_made_anew_never_meets_a_token_of_the_one_before() {
    let world = world(1);
    world.borrow_mut().faults = 0;
    let (first, second) = (inputs(0, 5), inputs(100, 105));
    for batch in [&first, &second] {
        world.borrow_mut().entry = None;
        let mut delivery = Delivery::resume("l", None, Ends(world.clone()), Server(world.clone()));
        delivery.deliver(0, 5, batch).unwrap();
    }
    let world = world.borrow();
    assert!(second.0.iter().all(|id| world.rows.contains_key(id)), "acknowledged, and not there");
}

#[test]
fn what_compaction_took_away_does_not_stop_a_lane_for_ever() {
    let world = world(1);
    world.borrow_mut().faults = 0;
    let mut delivery = Delivery::resume("l", None, Ends(world.clone()), Server(world.clone()));
    delivery.deliver(0, 5, &inputs(0, 5)).unwrap();
    // The rows went with a disk; of the messages two are left, and one that an older build could not read.
    world.borrow_mut().rows.clear();
    let left = Inputs([inputs(3, 5).0, inputs(50, 51).0].concat());
    let entry = world.borrow().entry.clone();
    let mut next = Delivery::resume("l", entry, Ends(world.clone()), Server(world.clone()));
    assert!(next.deliver(0, 5, &left).is_err());
    next.amend(&left);
    next.deliver(0, 5, &left).unwrap();
    next.rest().unwrap();
    assert_eq!(world.borrow().entry, Some(Entry { end: 5, intent: None }));
    assert!(left.0.iter().all(|id| world.borrow().rows.contains_key(id)));
    next.deliver(5, 9, &inputs(5, 9)).unwrap();
}
