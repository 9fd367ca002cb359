//! Behaviour and its table: a fold that saves and restores exactly, bounded, whatever the events.

use crate::story::{DAY_ZERO, event, events};
use proptest::prelude::*;
use prunella_detect::Sighting;
use prunella_detect::behaviour::{Actor, Behaviour, COLD_MAX, Corrupt, Table, key};
use prunella_detect::entropy::Limits;
use prunella_detect::features::{self, CATALOG, Calls, Row, row};
use prunella_schemas::ocsf::{AutonomousSystem, Location, Resource};
use prunella_schemas::{Event, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

const SETTLED_MIN: u32 = 3;

fn learn(behaviour: &mut Behaviour, event: &Event, flagged: bool) -> Row {
    let seen = Sighting::of(event);
    let row = row(&seen, behaviour, Calls::lately(&seen, behaviour), None);
    behaviour.learn(&seen, &row, flagged, &Limits::default());
    row
}

fn after(story: &str) -> Behaviour {
    let mut behaviour = Behaviour::default();
    events(story).iter().for_each(|event| {
        learn(&mut behaviour, event, false);
    });
    behaviour
}

fn saved(behaviour: &Behaviour) -> Vec<u8> {
    let mut bytes = Vec::new();
    behaviour.write(&mut bytes);
    bytes
}

fn read(bytes: &[u8]) -> Option<Behaviour> {
    Behaviour::read(bytes.try_into().ok()?)
}

/// Anything a record may claim.
fn any_event() -> impl Strategy<Value = Event> {
    let call = prop::sample::select(vec![
        "s3:GetObject",
        "signin:ConsoleLogin",
        "iam:CreateUser",
        ":",
        "x:\u{1F600}",
    ]);
    let ip = prop::sample::select(vec!["203.0.113.10", "198.51.100.7", "2001:db8::1", "-", "", "?"]);
    let fail = prop::sample::select(vec!["", "AccessDenied", "Failure"]);
    let time =
        prop_oneof![20 => 0..86_400_000i64, 1 => any::<i64>(), 1 => Just(i64::MIN), 1 => Just(i64::MAX)];
    let coordinates = prop::collection::vec(any::<f64>(), 0..4);
    let place = prop_oneof![3 => (-180.0..180.0f64, -90.0..90.0f64).prop_map(|(x, y)| Some(vec![x, y])), 1 => coordinates.prop_map(Some), 1 => Just(None)];
    let size = prop_oneof![Just(None), any::<u64>().prop_map(Some), (0..1_000_000u64).prop_map(Some)];
    (call, ip, fail, time, place, size, any::<[u8; 4]>()).prop_map(
        |(call, ip, fail, time, place, size, n)| {
            let options = if fail.is_empty() { BTreeMap::new() } else { BTreeMap::from([("fail", fail)]) };
            let who = ["ann", "role/app", "service/s", ""][usize::from(n[0] % 4)];
            let mut event =
                event(Timestamp(DAY_ZERO.0.wrapping_add(time)), who, ip, call, &options, i64::from(n[1]));
            let endpoint = event.src_endpoint.get_or_insert_default();
            endpoint.location =
                place.map(|coordinates| Location { coordinates: Some(coordinates), ..Location::default() });
            endpoint.autonomous_system =
                (n[2] % 2 == 0).then(|| AutonomousSystem { number: Some(u32::from(n[2])), name: None });
            event.traffic.get_or_insert_default().bytes_out = size;
            event.resources = (0..n[3] % 5)
                .map(|i| Resource { uid: Some(format!("r{}", n[3] / 5 + i)), ..Resource::default() })
                .collect();
            event
        },
    )
}

proptest! {
    #![proptest_config(crate::cases(6))]

    #[test]
    fn any_events_fold_the_same_with_a_save_in_between(
        all in prop::collection::vec((any_event(), any::<bool>()), 1..120),
        cut in 0..120usize,
    ) {
        let mut whole = Behaviour::default();
        let mut resumed = Behaviour::default();
        for (at, (event, flagged)) in all.iter().enumerate() {
            if at == cut {
                resumed = read(&saved(&resumed)).expect("own bytes");
            }
            let row = learn(&mut whole, event, *flagged);
            prop_assert_eq!(row, learn(&mut resumed, event, *flagged));
            for (value, feature) in row.values.iter().zip(&CATALOG) {
                prop_assert!(value.is_finite() && (feature.min..=feature.max).contains(value), "{} {value}", feature.name);
            }
            let seen = Sighting::of(event);
            for (feature, value) in row.values.iter().enumerate() {
                prop_assert!(!features::show(feature, *value, &seen).is_empty());
            }
            prop_assert_eq!(saved(&whole), saved(&resumed));
        }
        prop_assert_eq!(u32::try_from(all.len()), Ok(whole.events()));
        prop_assert!((0..16).all(|feature| whole.usual(feature).is_none_or(|usual| !usual.is_empty())));
    }

    #[test]
    fn a_table_is_what_its_behaviours_are_whatever_its_history(
        all in prop::collection::vec((0..400u32, any_event()), 1..600),
        cut in 0..600usize,
        max in 1..200usize,
    ) {
        let keys: Vec<u128> = (0..400).map(|n| key("t", &format!("p{n}"))).collect();
        let mut whole = Table::new(max, SETTLED_MIN);
        let mut resumed = Table::new(max, SETTLED_MIN);
        for (at, (who, event)) in all.iter().enumerate() {
            if at == cut {
                let mut bytes = Vec::new();
                resumed.save(&mut bytes);
                resumed = Table::restore(&bytes, max, SETTLED_MIN).expect("own bytes");
            }
            let key = keys[*who as usize];
            for table in [&mut whole, &mut resumed] {
                table.touch(&[key]);
                learn(table.entry(key, event.time), event, false);
            }
            prop_assert!(whole.len() <= max && whole.get(key).is_some_and(|b| b.events() > 0));
        }
        let (mut one, mut other) = (Vec::new(), Vec::new());
        whole.save(&mut one);
        resumed.save(&mut other);
        prop_assert_eq!(one, other);
        // Nothing is lost while the cold store has room.
        let distinct: BTreeSet<u32> = all.iter().map(|(who, _)| *who).collect();
        prop_assert_eq!(whole.len() + whole.cold_len(), distinct.len());
        let learnt: u32 = distinct.iter().map(|who| whole.entry(keys[*who as usize], DAY_ZERO).events()).sum();
        prop_assert_eq!(learnt as usize, all.len());
    }

    #[test]
    fn strange_bytes_are_refused_or_read_as_what_they_are(mut bytes in prop::collection::vec(any::<u8>(), Behaviour::BYTES), zero: bool) {
        if zero {
            bytes[24..].fill(0);
        }
        if let Some(mut behaviour) = read(&bytes) {
            prop_assert_eq!(saved(&behaviour), bytes);
            learn(&mut behaviour, &events("09:00:00 ann 203.0.113.10 s3:GetObject bytes=1M")[0], false);
        }
    }
}

#[test]
fn a_behaviour_is_small_and_its_bytes_are_all_needed() {
    assert!(size_of::<Behaviour>() <= 320 && Behaviour::BYTES <= 320);
    let bytes = saved(&after("past ann 203.0.113.10 s3:GetObject bytes=1M"));
    assert_eq!(bytes.len(), Behaviour::BYTES);
    let mut strange = bytes.clone();
    *strange.last_mut().expect("not empty") = 3;
    assert!(read(&bytes).is_some() && read(&strange).is_none(), "there is no actor 3");
}

#[test]
fn what_is_flagged_counts_but_teaches_nothing() {
    let past = "past ann 203.0.113.10 s3:GetObject bytes=20K";
    let usual = after(past);
    let mut flagged = usual;
    let theft = events("03:00:00 ann 198.51.100.7 s3:GetObject bytes=900M agent=curl x=40");
    let rows: Vec<Row> = theft.iter().map(|event| learn(&mut flagged, event, true)).collect();
    for feature in [features::HOUR, features::SIZE, features::NETWORK, features::DEVICE] {
        assert_eq!(flagged.usual(feature), usual.usual(feature), "{}", CATALOG[feature].name);
    }
    for feature in [features::HOUR, features::SIZE_DEVIATION, features::NETWORK] {
        assert_eq!(rows[39].values[feature], rows[0].values[feature], "{}", CATALOG[feature].name);
    }
    assert!(
        rows[39].values[features::RATE] > rows[0].values[features::RATE] + 3.0,
        "windows count it all the same"
    );
    assert_eq!(flagged.events(), usual.events() + 40);
}

#[test]
fn late_events_are_harmless() {
    let usual = after("past ann 203.0.113.10 s3:GetObject bytes=20K");
    let mut late = usual;
    for time in ["1970-01-01T00:00:00Z", "2026-03-01T09:00:00Z"] {
        let mut event = events("09:00:00 ann 203.0.113.10 s3:GetObject bytes=20K").remove(0);
        event.time = Timestamp::parse(time).expect("a time");
        let row = learn(&mut late, &event, false);
        assert_eq!(row.values[features::GAP], 0.0);
    }
    assert_eq!((late.last(), late.first(), late.hours()), (usual.last(), usual.first(), usual.hours()));
    assert_eq!(late.events(), usual.events() + 2);
}

#[test]
fn a_clock_that_once_ran_ahead_stops_nothing() {
    let call = "09:00:00 ann 203.0.113.10 s3:GetObject bytes=20K";
    for ahead in ["2300-01-01T00:00:00Z", "2090-01-01T00:00:00Z"] {
        let mut behaviour = after("past ann 203.0.113.10 s3:GetObject bytes=20K");
        let mut forged = events(call).remove(0);
        forged.time = Timestamp::parse(ahead).expect("a time");
        learn(&mut behaviour, &forged, false);
        let mut call = events(call).remove(0);
        for _ in 0..600 {
            call.time = call.time.plus_ms(60_000);
            learn(&mut behaviour, &call, false);
        }
        assert_eq!(behaviour.last(), call.time, "{ahead}");
        let row = row(&Sighting::of(&call), &behaviour, Calls { of_this: 0, of_all: 0 }, None);
        assert!(
            row.values[features::RATE] < 2.0,
            "an event a minute is {} after {ahead}",
            row.values[features::RATE]
        );
    }
}

#[test]
fn habits_are_told_in_words() {
    let ann = after("past ann 203.0.113.10 s3:GetObject,s3:ListBuckets bytes=1M days=5");
    let check = |feature: usize, want: Option<&str>| {
        assert_eq!(ann.usual(feature).as_deref(), want, "{}", CATALOG[feature].name);
    };
    check(features::HOUR, Some("08:00-17:00 UTC"));
    check(features::SIZE, Some("1.0 MiB"));
    check(features::NETWORK, Some("1 network"));
    check(features::DEVICE, Some("1 device"));
    check(features::OPERATION, Some("2 operations in its last 32 calls"));
    check(features::RATE, Some("2 events an hour"));
    check(features::SENSITIVITY, None);
    assert_eq!((0..16).filter_map(|feature| Behaviour::default().usual(feature)).count(), 0);
}

#[test]
fn people_programs_and_roots_are_apart() {
    for (who, want) in [
        ("ann", Actor::Human),
        ("role/app", Actor::Service),
        ("service/s", Actor::Service),
        ("", Actor::Human),
    ] {
        let call = event(DAY_ZERO, who, "203.0.113.10", "s3:GetObject", &BTreeMap::new(), 1);
        let mut behaviour = Behaviour::default();
        learn(&mut behaviour, &call, false);
        assert_eq!(behaviour.actor(), want, "{who}: {}", call.principal());
    }
}

#[test]
fn p_values_are_kept_on_a_scale_of_bits() {
    let mut behaviour = Behaviour::default();
    for (p, want) in [
        (1.0, 0.0),
        (0.5, 1.0),
        (1.0 / 1_024.0, 10.0),
        (0.0, 0.0),
        (-1.0, 0.0),
        (f64::NAN, 0.0),
        (1e-300, 32.0),
    ] {
        behaviour.set_p_value(p);
        assert!((behaviour.surprise() - want).abs() < 0.01, "{p}: {}", behaviour.surprise());
    }
}

#[test]
fn eviction_keeps_the_settled_and_then_the_recent_and_all_come_back() {
    let mut table = Table::new(100, SETTLED_MIN);
    let regular = event(DAY_ZERO, "ann", "203.0.113.10", "s3:GetObject", &BTreeMap::new(), 1);
    for round in 0..SETTLED_MIN {
        for n in 0..40 {
            let mut event = regular.clone();
            event.time = DAY_ZERO.plus_ms(i64::from(round) * 1_000 + n);
            learn(table.entry(key("t", &format!("regular {n}")), event.time), &event, false);
        }
    }
    let mut table = flood(table, 1_000);
    assert_eq!((table.len(), table.cold_len()), (100, 940));
    for n in 0..40 {
        assert!(table.get(key("t", &format!("regular {n}"))).is_some(), "{n}");
    }
    let lost = key("t", "stranger 0");
    assert!(table.get(lost).is_none());
    assert_eq!(table.entry(lost, DAY_ZERO).events(), 1, "back from the cold");
    let table = flood(table, COLD_MAX as i64 + 1_000);
    assert_eq!((table.len(), table.cold_len()), (100, COLD_MAX));
}

fn flood(mut table: Table, strangers: i64) -> Table {
    for n in 0..strangers {
        let call = event(DAY_ZERO.plus_ms(n), "s", "203.0.113.10", "s3:GetObject", &BTreeMap::new(), n);
        learn(table.entry(key("t", &format!("stranger {n}")), call.time), &call, false);
    }
    table
}

#[test]
fn a_bucket_chosen_by_an_attacker_holds_no_more_than_a_bucket() {
    // Keys of one bucket; a million principals would have room.
    let mut table = Table::new(1 << 20, SETTLED_MIN);
    for n in 0..10_000u128 {
        table.entry(n << 64 | 7 << 96, DAY_ZERO).set_group(Some(n as u16));
    }
    assert_eq!((table.len(), table.cold_len()), (64, 9_936));
    assert!((0..10_000u128).all(|n| table.entry(n << 64 | 7 << 96, DAY_ZERO).group() == Some(n as u16)));
}

#[test]
fn damaged_tables_are_refused() {
    let table = flood(Table::new(8, SETTLED_MIN), 12);
    let mut own = Vec::new();
    table.save(&mut own);
    let record = 16 + Behaviour::BYTES;
    let mut swapped = own.clone();
    swapped[17..17 + 2 * record].rotate_left(record);
    let mut newer = own.clone();
    newer[0] = 9;
    let mut endless = own.clone();
    endless[1..9].fill(0xFF);
    let mut twice = own.clone();
    twice.copy_within(17..17 + record, 17 + 8 * record);
    for (bytes, want) in [
        (&b""[..], Corrupt::At(0)),
        (&own[..5], Corrupt::At(1)),
        (&own[..own.len() - 1], Corrupt::At(17)),
        (&endless, Corrupt::At(17)),
        (&swapped, Corrupt::At(17 + record)),
        (&twice, Corrupt::At(17 + 8 * record)),
        (&newer, Corrupt::Version(9)),
    ] {
        assert_eq!(Table::restore(bytes, 8, SETTLED_MIN).err(), Some(want));
    }
    let smaller = Table::restore(&own, 4, SETTLED_MIN).expect("of another size");
    assert_eq!((smaller.len(), smaller.cold_len()), (4, 8));
}
