//! Features: each of the sixteen, and what stands in its place when an event does not tell.

use crate::story::{event, events};
use prunella_detect::Sighting;
use prunella_detect::behaviour::Behaviour;
use prunella_detect::entropy::Limits;
use prunella_detect::features::{
    CATALOG, COUNT, Calls, DEVICE, ENTROPY, FAILURES, FAN_OUT, GAP, HOUR, NETWORK, ODD, OPERATION, PEERS,
    RATE, RATE_RISE, Row, SENSITIVITY, SIZE, SIZE_DEVIATION, TRAVEL, row, show,
};
use prunella_schemas::event::Flag;
use prunella_schemas::ocsf::{AutonomousSystem, Location, Resource};
use prunella_schemas::{Event, Timestamp};
use std::collections::BTreeMap;

const PAST: &str = "past ann 203.0.113.10 s3:GetObject,s3:ListBuckets bytes=64K days=5\n";

/// The row of the last event of a story, after an ordinary week.
fn row_of(story: &str) -> (Row, Event) {
    change(story, |_| ())
}

fn change(story: &str, change: impl Fn(&mut Event)) -> (Row, Event) {
    let mut all = events(&format!("{PAST}{story}"));
    let mut last = all.pop().expect("a story");
    let mut behaviour = Behaviour::default();
    for event in &mut all {
        located(event, 13.4, 52.5, 64_500);
        learn(&mut behaviour, event);
    }
    located(&mut last, 13.4, 52.5, 64_500);
    change(&mut last);
    let seen = Sighting::of(&last);
    (row(&seen, &behaviour, Calls::lately(&seen, &behaviour), Some(2.5)), last)
}

fn learn(behaviour: &mut Behaviour, event: &Event) {
    let seen = Sighting::of(event);
    let row = row(&seen, behaviour, Calls::lately(&seen, behaviour), None);
    behaviour.learn(&seen, &row, false, &Limits::default());
}

fn located(event: &mut Event, longitude: f64, latitude: f64, system: u32) {
    let from = event.src_endpoint.get_or_insert_default();
    let coordinates = Some(vec![longitude, latitude]);
    from.location = Some(Location { coordinates, ..Location::default() });
    from.autonomous_system = Some(AutonomousSystem { number: Some(system), name: None });
}

const CALL: &str = "09:10:00 ann 203.0.113.10 s3:GetObject bytes=64K";

#[test]
fn an_ordinary_call_is_ordinary() {
    let (row, event) = row_of(CALL);
    assert_eq!((row.missing, row.odd), (0, 0), "{row:?}");
    let near = |feature: usize, want: f32| {
        let got = row.values[feature];
        assert!((got - want).abs() < 0.15, "{}: {got} instead of {want}", CATALOG[feature].name);
    };
    near(HOUR, (74f32 / 6.0).log2());
    near(GAP, (15.0f32 * 3_600.0 + 38.0 * 60.0).log2());
    near(SIZE, 16.0);
    near(SIZE_DEVIATION, 0.0);
    near(RATE, 1.0);
    near(RATE_RISE, 1.0);
    [NETWORK, DEVICE, FAILURES, ODD, TRAVEL, ENTROPY, FAN_OUT]
        .into_iter()
        .for_each(|feature| near(feature, 0.0));
    near(OPERATION, (96f32 / 33.0).log2());
    near(PEERS, 2.5);
    near(SENSITIVITY, 0.2);
    let seen = Sighting::of(&event);
    let shown: Vec<String> = (0..COUNT).map(|feature| show(feature, row.values[feature], &seen)).collect();
    assert_eq!(shown[HOUR], "09:10 UTC");
    assert_eq!(shown[SIZE], "64.0 KiB");
    assert_eq!(shown[NETWORK], "known network 203.0.113.0/24");
    assert_eq!(shown[OPERATION], "GetObject, about one in 3 of its own calls");
}

fn check(feature: usize, story: &str, range: std::ops::RangeInclusive<f32>, words: &str) {
    let (row, event) = row_of(story);
    let value = row.values[feature];
    assert!(range.contains(&value), "{}: {value} on {story}", CATALOG[feature].name);
    assert!(!row.is_missing(feature), "{story}");
    assert_eq!(show(feature, value, &Sighting::of(&event)), words);
}

#[test]
fn each_feature_tells_what_it_is_for() {
    check(HOUR, "03:10:00 ann 203.0.113.10 s3:GetObject bytes=64K", 6.1..=6.3, "03:10 UTC");
    check(HOUR, "03:10:00 ann 203.0.113.10 s3:GetObject bytes=64K x=9", 6.1..=6.3, "03:10 UTC");
    check(
        GAP,
        "09:10:00 ann 203.0.113.10 s3:GetObject x=2 every=30s",
        4.9..=5.0,
        "30 s after the event before",
    );
    check(SIZE, "09:10:00 ann 203.0.113.10 s3:GetObject bytes=900M", 29.8..=29.9, "900.0 MiB");
    check(
        SIZE_DEVIATION,
        "09:10:00 ann 203.0.113.10 s3:GetObject bytes=900M",
        15.9..=16.0,
        "900.0 MiB, +16.0 standard deviations",
    );
    check(RATE, "09:10:00 ann 203.0.113.10 s3:GetObject x=63 every=0s", 5.9..=6.1, "63 events a minute");
    check(
        RATE_RISE,
        "09:10:00 ann 203.0.113.10 s3:GetObject x=63 every=0s",
        4.8..=5.1,
        "31.2 times the rate of the last hour",
    );
    check(NETWORK, "09:10:00 ann 198.51.100.7 s3:GetObject", 0.5..=0.5, "new network 198.51.100.0/24");
    check(NETWORK, "09:10:00 ann 198.51.100.7 s3:GetObject x=2", 0.5..=0.5, "new network 198.51.100.0/24");
    check(
        NETWORK,
        "09:10:00 ann 198.51.100.7 s3:GetObject x=2 every=25200s",
        0.25..=0.25,
        "recent network 198.51.100.0/24",
    );
    check(
        FAILURES,
        "09:10:00 ann 203.0.113.10 signin:ConsoleLogin fail=Failure x=7",
        2.9..=3.0,
        "7 refusals in ten minutes",
    );
    check(
        FAILURES,
        "09:10:00 ann 203.0.113.10 s3:GetObject fail=AccessDenied",
        1.0..=1.0,
        "1 refusals in ten minutes",
    );
    check(
        FAILURES,
        "09:10:00 ann 203.0.113.10 signin:ConsoleLogin fail=Failure x=7\n09:10:10 ann 203.0.113.10 signin:ConsoleLogin",
        -3.0..=-2.8,
        "a sign-in that works after 7 refusals",
    );
    check(
        FAILURES,
        "09:10:00 ann 203.0.113.10 signin:ConsoleLogin fail=Failure x=7\n11:10:00 ann 203.0.113.10 signin:ConsoleLogin",
        -0.01..=0.0,
        "not refused",
    );
    check(
        OPERATION,
        "09:10:00 ann 203.0.113.10 kms:Decrypt",
        6.5..=6.6,
        "Decrypt, no more than one in 96 of its own calls",
    );
    check(PEERS, CALL, 2.5..=2.5, "GetObject, about one in 6 of its peers' calls");
    check(
        SENSITIVITY,
        "09:10:00 ann 203.0.113.10 iam:CreateAccessKey",
        1.0..=1.0,
        "CreateAccessKey, sensitivity 100 of 100",
    );
    check(ENTROPY, CALL, 0.0..=0.0, "less predictable by 0.0 of the limit");
}

#[test]
fn places_systems_and_things_tell_too() {
    let (row, event) = change(CALL, |event| {
        located(event, 139.7, 35.7, 1);
        event.time = event.time.plus_ms(-54_000_000);
    });
    assert!((13.6..=13.9).contains(&row.values[TRAVEL]), "{}", row.values[TRAVEL]);
    assert!(show(TRAVEL, row.values[TRAVEL], &Sighting::of(&event)).ends_with("km/h since the last place"));
    let stranger = "09:10:00 ann 198.51.100.7 s3:GetObject bytes=64K";
    assert_eq!(change(stranger, |event| located(event, 13.4, 52.5, 1)).0.values[NETWORK], 1.0);
    let (row, _) = change(CALL, |event| {
        event.resources =
            (0..30).map(|n| Resource { uid: Some(format!("r{n}")), ..Resource::default() }).collect();
    });
    assert!((4.6..=5.3).contains(&row.values[FAN_OUT]), "{}", row.values[FAN_OUT]);
    let (row, event) =
        change(CALL, |event| event.http_request.get_or_insert_default().user_agent = Some("curl".into()));
    assert_eq!(show(DEVICE, row.values[DEVICE], &Sighting::of(&event)), "new program curl");
    let without = row.without_user_agent();
    assert_eq!((without.values[DEVICE], without.is_missing(DEVICE), without.odd), (0.25, true, row.odd));
}

#[test]
fn what_is_missing_or_absurd_is_neutral_and_counted() {
    let check = |what: &str, odd: u8, missing: &[usize], apply: &dyn Fn(&mut Event)| {
        let (row, event) = change(CALL, apply);
        let got: Vec<usize> = (0..COUNT).filter(|feature| row.is_missing(*feature)).collect();
        assert_eq!((row.odd, got.as_slice()), (odd, missing), "{what}");
        assert_eq!(row.values[ODD], f32::from(odd), "{what}");
        for feature in missing.iter().filter(|feature| **feature != SIZE) {
            assert_eq!(row.values[*feature], CATALOG[*feature].neutral, "{what}");
        }
        if odd > 0 {
            assert!(show(ODD, row.values[ODD], &Sighting::of(&event)).starts_with(&odd.to_string()));
        }
    };
    check("nothing", 0, &[], &|_| ());
    check("no size", 1, &[SIZE, SIZE_DEVIATION], &|event| event.traffic = None);
    check("no address", 2, &[NETWORK, TRAVEL], &|event| event.src_endpoint = None);
    check("no program", 0, &[DEVICE], &|event| event.http_request = None);
    check("no operation", 1, &[], &|event| event.api.get_or_insert_default().operation.clear());
    check("an absurd size", 2, &[], &|event| {
        event.traffic.get_or_insert_default().bytes_out = Some(u64::MAX);
    });
    check("no place on Earth", 1, &[TRAVEL], &|event| located(event, f64::NAN, 1.0, 64_500));
    check("a time that was made up", 1, &[], &|event| event.flag(Flag::MissingTime));
    check("a time before computers", 1, &[], &|event| event.time = Timestamp(-1));
    check("a time without end", 2, &[], &|event| event.time = Timestamp(i64::MAX));
    let (row, _) = change(CALL, |event| event.traffic = None);
    assert!((row.values[SIZE] - 16.0).abs() < 0.1, "the principal's mean");
}

#[test]
fn peers_may_say_anything() {
    let call =
        event(Timestamp(1_772_496_000_000), "ann", "203.0.113.10", "s3:GetObject", &BTreeMap::new(), 1);
    for (bits, want, odd) in [
        (None, 4.0, 0),
        (Some(f32::NAN), 4.0, 1),
        (Some(f32::INFINITY), 4.0, 1),
        (Some(-1.0), 0.0, 1),
        (Some(99.0), 32.0, 1),
        (Some(7.0), 7.0, 0),
    ] {
        let row = row(&Sighting::of(&call), &Behaviour::default(), Calls { of_this: 0, of_all: 0 }, bits);
        let base = row.odd - odd;
        assert_eq!((row.values[PEERS], base), (want, 2), "{bits:?}: no size and no place besides");
    }
}

#[test]
fn the_catalog_is_whole() {
    let names: std::collections::BTreeSet<_> = CATALOG.iter().map(|feature| feature.name).collect();
    assert_eq!(names.len(), COUNT);
    for feature in &CATALOG {
        assert!(
            feature.min < feature.max && (feature.min..=feature.max).contains(&feature.neutral),
            "{}",
            feature.name
        );
        assert!(!feature.unit.is_empty() && !feature.source.is_empty() && !feature.missing.is_empty());
    }
    assert_eq!(CATALOG.iter().filter(|feature| feature.user_agent).count(), 1);
}
