//! Whatever happens in whatever order, with cuts and restarts in between: every line is given, and none twice.

use crate::world::{Event, GROWS_MS, Place, bodies};
use proptest::prelude::*;
use prunella_schemas::port::Cursor;
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
enum Step {
    Happens(Kind, u8),
    /// Between two pages of the next listing.
    Meanwhile(Kind, u8),
    Reads {
        pages: u8,
        restart: bool,
        fails_in: Option<u8>,
    },
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Put,
    Lines,
    HalfLine,
    Replace,
    Delete,
    Pass,
    Sleep,
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        4 => Just(Kind::Put),
        6 => Just(Kind::Lines),
        3 => Just(Kind::HalfLine),
        1 => Just(Kind::Replace),
        1 => Just(Kind::Delete),
        4 => Just(Kind::Pass),
        1 => Just(Kind::Sleep),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (kind(), 0u8..8).prop_map(|(kind, name)| Step::Happens(kind, name)),
        3 => (kind(), 0u8..8).prop_map(|(kind, name)| Step::Meanwhile(kind, name)),
        4 => (1u8..4, any::<bool>(), proptest::option::of(0u8..12))
            .prop_map(|(pages, restart, fails_in)| Step::Reads { pages, restart, fails_in }),
    ]
}

/// Gives every line a number of its own.
#[derive(Default)]
struct Writer {
    lines: u32,
}

impl Writer {
    fn event(&mut self, kind: Kind, name: u8) -> Event {
        let (whole, grows) = (format!("whole/{name}"), format!("grows/{name}"));
        match kind {
            Kind::Put => Event::Put { name: whole, bytes: format!("{}{}", self.line(), self.line()).into() },
            Kind::Lines => {
                Event::Append { name: grows, bytes: format!("{}{}", self.line(), self.line()).into() }
            }
            Kind::HalfLine => {
                let line = self.line();
                Event::Append { name: grows, bytes: line.trim_end_matches("}\n").into() }
            }
            Kind::Replace => Event::Replace { name: grows, bytes: self.line().into() },
            Kind::Delete => Event::Delete { name: whole },
            Kind::Sleep => Event::Sleep { ms: 9_000 * i64::from(name) },
            Kind::Pass => Event::Pass { ms: 700 * (1 + i64::from(name) * i64::from(name)) },
        }
    }

    fn line(&mut self) -> String {
        self.lines += 1;
        format!("{{\"n\":{}}}\n", self.lines)
    }
}

fn count(bodies: Vec<String>, given: &mut BTreeMap<String, u32>) {
    for body in bodies {
        body.lines().for_each(|line| *given.entry(line.to_owned()).or_default() += 1);
    }
}

async fn run(steps: Vec<Step>) {
    let place = Place::at(1_800_000_000_000);
    let (mut writer, mut given, mut cursor) = (Writer::default(), BTreeMap::new(), Cursor::default());
    let mut reader = place.reader();
    for step in steps {
        match step {
            Step::Happens(kind, name) => place.happen(writer.event(kind, name)),
            Step::Meanwhile(kind, name) => {
                let event = writer.event(kind, name);
                place.0.lock().unwrap().meanwhile.push_back(event);
            }
            Step::Reads { pages, restart, fails_in } => {
                if restart {
                    reader = place.reader();
                }
                place.0.lock().unwrap().fails_in = fails_in.map(u32::from);
                for _ in 0..pages {
                    if let Ok(page) = reader.read(&cursor).await {
                        cursor = page.next.clone();
                        count(bodies(&[page]), &mut given);
                    }
                }
                place.0.lock().unwrap().fails_in = None;
            }
        }
    }
    let left: Vec<Event> = place.0.lock().unwrap().meanwhile.drain(..).collect();
    left.into_iter().for_each(|event| place.happen(event));
    place.happen(Event::Pass { ms: 2 * GROWS_MS });
    count(bodies(&place.read_all(&reader, &mut cursor).await.unwrap()), &mut given);
    let world = place.0.lock().unwrap();
    for (name, blob) in &world.blobs {
        for line in String::from_utf8_lossy(&blob.bytes).lines() {
            assert_eq!(given.get(line), Some(&1), "{line} of {name}, cursor {}", cursor.0);
        }
    }
    let twice: Vec<_> = given.iter().filter(|(_, times)| **times > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]
    #[test]
    fn every_line_is_given_once(steps in proptest::collection::vec(step(), 1..60)) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(run(steps));
    }
}
