//! Cost of a principal's state: memory of a million principals, one update at random, and what one access to memory costs.

use prunella_detect::behaviour::{Behaviour, Table, key};
use prunella_detect::entropy::Limits;
use prunella_detect::features::{Calls, row};
use prunella_detect::sighting::Sighting;
use prunella_schemas::ocsf::{
    API_ACTIVITY, Api, Endpoint, HttpRequest, Location, Resource, Service, Traffic,
};
use prunella_schemas::{Event, Timestamp};
use std::hint::black_box;

const CALLS: Calls = Calls { of_this: 40, of_all: 300 };
const PRINCIPALS: usize = 1 << 20;
const UPDATES: usize = 1 << 20;
const BATCH: usize = 256;
const ROUNDS: usize = 5;
/// Few, so that what waits for memory is the table.
const EVENTS: usize = 64;
const SETTLED_MIN: u32 = 30;

#[allow(clippy::print_stdout, reason = "the result")]
fn main() {
    let keys: Vec<u128> = (0..PRINCIPALS).map(|n| key("default", &name(n))).collect();
    let order: Vec<usize> = (0..UPDATES).map(|n| Random(n as u64).next() as usize % PRINCIPALS).collect();
    let events: Vec<Event> = (0..EVENTS).map(|n| event(n as u64)).collect();
    let before = resident_bytes();
    let mut table = Table::new(PRINCIPALS, SETTLED_MIN);
    let filled = time(PRINCIPALS, || {
        keys.iter().enumerate().for_each(|(n, key)| update(&mut table, *key, &events[n % EVENTS]));
    });
    let held = resident_bytes().saturating_sub(before);
    println!(
        "{} principals: {} MB resident, {} bytes each; behaviour {} bytes, saved {}; {filled:.0} ns to meet one",
        table.len(),
        held / 1_000_000,
        held / table.len(),
        size_of::<Behaviour>(),
        Behaviour::BYTES,
    );
    let seen: Vec<Sighting<'_>> = events.iter().map(Sighting::of).collect();
    let mut times: [Vec<f64>; 6] = Default::default();
    for _ in 0..ROUNDS {
        times[0].push(access_memory(&table, &keys, &order));
        for (at, batch, scored) in [(1, 1, false), (2, BATCH, false), (3, 1, true), (4, BATCH, true)] {
            times[at].push(time(UPDATES, || through(&mut table, &keys, &order, &seen, batch, scored)));
        }
        let few: Vec<usize> = (0..UPDATES).map(|n| n % 64).collect();
        times[5].push(time(UPDATES, || through(&mut table, &keys, &few, &seen, BATCH, true)));
    }
    let [access, apart, together, scored_apart, scored, warm] = &mut times;
    println!("one random access to the same memory: {}", shown(access));
    println!("update (find, learn), one by one: {}", shown(apart));
    println!("update, touched in batches of {BATCH}: {}", shown(together));
    println!("update and row, one by one: {}", shown(scored_apart));
    println!("update and row, touched: {}", shown(scored));
    println!("update and row, 64 principals only: {}", shown(warm));
    alone(&table, &keys, &events);
    let (mut saved, mut again) = (Vec::new(), Vec::new());
    let save = time(1, || table.save(&mut saved));
    let restored = Table::restore(&saved, PRINCIPALS, SETTLED_MIN);
    restored.iter().for_each(|table| table.save(&mut again));
    println!("save: {:.0} ms, {} bytes, the same again: {}", save / 1e6, saved.len(), saved == again);
    evictions(&mut table);
}

/// What the parts cost with everything at hand.
#[allow(clippy::print_stdout, reason = "the result")]
fn alone(table: &Table, keys: &[u128], events: &[Event]) {
    let seen: Vec<Sighting<'_>> = events.iter().map(Sighting::of).collect();
    let mut known = keys.iter().take(64).filter_map(|key| table.get(*key)).copied().collect::<Vec<_>>();
    let behaviours: Vec<Behaviour> = known.clone();
    let rows = time(UPDATES, || {
        (0..UPDATES).for_each(|n| {
            black_box(row(&seen[n % EVENTS], &behaviours[n % 64], CALLS, None));
        });
    });
    let one = row(&seen[0], &behaviours[0], CALLS, None);
    let learnt = time(UPDATES, || {
        (0..UPDATES).for_each(|n| {
            black_box(known[n % 64].learn(&seen[n % EVENTS], &one, false, &Limits::default()));
        });
    });
    let names: Vec<String> = (0..1_024).map(name).collect();
    let keyed = time(UPDATES, || {
        (0..UPDATES).for_each(|n| {
            black_box(key("default", &names[n % 1_024]));
        });
    });
    println!("alone, at hand: row {rows:.0} ns, learn {learnt:.0} ns, key {keyed:.0} ns");
}

/// Strangers that push others out, one by one.
#[allow(clippy::print_stdout, reason = "the result")]
fn evictions(table: &mut Table) {
    let strangers: Vec<u128> = (0..200_000).map(|n| key("other", &name(n))).collect();
    let mut longest = 0.0f64;
    let all = time(strangers.len(), || {
        for chunk in strangers.chunks(64) {
            let spent = time(1, || {
                chunk.iter().for_each(|key| {
                    black_box(table.entry(*key, Timestamp(0)));
                });
            });
            longest = longest.max(spent);
        }
    });
    println!("a stranger in a full table: {all:.0} ns; the longest 64: {:.2} ms", longest / 1e6);
}

fn update(table: &mut Table, key: u128, event: &Event) {
    let seen = Sighting::of(event);
    let behaviour = table.entry(key, seen.time);
    let row = row(&seen, behaviour, CALLS, None);
    black_box(behaviour.learn(&seen, &row, false, &Limits::default()));
}

/// Learns an event of each principal in turn, in batches that are touched first unless they are of one.
fn through(
    table: &mut Table,
    keys: &[u128],
    order: &[usize],
    seen: &[Sighting<'_>],
    batch: usize,
    scored: bool,
) {
    let limits = Limits::default();
    let ordinary = row(&seen[0], &Behaviour::default(), CALLS, None);
    let mut batch_keys = Vec::with_capacity(batch);
    let mut number = 0;
    for chunk in order.chunks(batch) {
        batch_keys.clear();
        batch_keys.extend(chunk.iter().map(|at| keys[*at]));
        if batch > 1 {
            table.touch(&batch_keys);
        }
        for key in &batch_keys {
            let seen = &seen[number % EVENTS];
            let behaviour = table.entry(*key, seen.time);
            let row = if scored { row(seen, behaviour, CALLS, None) } else { ordinary };
            black_box(behaviour.learn(seen, &row, false, &limits));
            number += 1;
        }
    }
}

/// Looks at one behaviour after the other, in random order; where to look next is known only when the last one is here.
fn access_memory(table: &Table, keys: &[u128], order: &[usize]) -> f64 {
    let places: Vec<&Behaviour> = order.iter().filter_map(|at| table.get(keys[*at])).collect();
    let mut none = 0;
    let spent = time(UPDATES, || {
        for at in 0..places.len() {
            none = places[at + none].events() as usize >> 31;
        }
    });
    black_box(none);
    spent
}

/// Nanoseconds of this thread, which other work on the machine does not stretch but for its use of memory.
fn time(count: usize, work: impl FnOnce()) -> f64 {
    let start = processor_ns();
    work();
    (processor_ns() - start) as f64 / count as f64
}

fn processor_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

fn shown(all: &mut [f64]) -> String {
    all.sort_unstable_by(f64::total_cmp);
    format!("{:.0} ns (median of {ROUNDS}; {:.0} to {:.0})", all[ROUNDS / 2], all[0], all[ROUNDS - 1])
}

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok()).unwrap_or(0) * 1_024
}

fn name(n: usize) -> String {
    format!("aws:user:arn:aws:iam::111122223333:user/user-{n}")
}

fn event(n: u64) -> Event {
    let mut random = Random(n);
    let mut event = Event::new(API_ACTIVITY, 2, if random.next().is_multiple_of(8) { 2 } else { 1 }, 1);
    event.time = Timestamp(1_772_496_000_000 + n as i64 * 60_000);
    let service = Service { name: Some("s3.amazonaws.com".to_owned()), uid: None };
    let operation = ["GetObject", "PutObject", "ListObjects", "HeadObject"][random.next() as usize % 4];
    event.api = Some(Api { operation: operation.to_owned(), service: Some(service), ..Api::default() });
    let ip = format!("203.0.{}.{}", random.next() % 12, random.next() % 250);
    let coordinates = Some(vec![random.next() as f64 % 360.0 - 180.0, random.next() as f64 % 180.0 - 90.0]);
    let location = Some(Location { coordinates, ..Location::default() });
    event.src_endpoint = Some(Endpoint { ip: Some(ip), location, ..Endpoint::default() });
    let agent = "aws-sdk-go-v2/1.24 os/linux lang/go#1.21 md/GOARCH#amd64 api/s3#1.47".to_owned();
    event.http_request = Some(HttpRequest { user_agent: Some(agent), ..HttpRequest::default() });
    event.traffic = Some(Traffic { bytes_out: Some(random.next() >> 40), ..Traffic::default() });
    let uid = Some(format!("arn:aws:s3:::bucket/object-{}", random.next() % 100));
    event.resources = vec![Resource { uid, ..Resource::default() }];
    event
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}
