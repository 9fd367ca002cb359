//! Background records: the same for the same seed, shaped like CloudTrail, and distributed as documented.

use prunella_schemas::Timestamp;
use prunella_simulate::background::{DELIVERY_MS_MAX, Delivery, Traffic, background};
use prunella_simulate::{Intensity, Label, Scenario, labels, write_records};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// 2026-11-20T03:00:00Z.
pub const NIGHT: Timestamp = Timestamp(1_795_143_600_000);

fn traffic(seed: u64, scale: f64) -> Traffic {
    Traffic { scale, ..Traffic::new(seed, NIGHT) }
}

fn parse(delivery: &Delivery) -> Value {
    serde_json::from_slice(&delivery.written.body).expect("one JSON object")
}

fn written(traffic: &Traffic, scenario: Scenario) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_records(traffic, scenario, Intensity::Medium, &mut bytes).expect("a vector takes everything");
    bytes
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let once = written(&traffic(7, 0.1), Scenario::S3Exfiltration);
    assert_eq!(once, written(&traffic(7, 0.1), Scenario::S3Exfiltration));
    assert_ne!(once, written(&traffic(8, 0.1), Scenario::S3Exfiltration));
    let later = Traffic { end: NIGHT.plus_ms(86_400_000), ..traffic(7, 0.1) };
    assert_ne!(once, written(&later, Scenario::S3Exfiltration));
}

#[test]
fn more_history_is_more_of_the_same_and_limits_hold() {
    let count = |hours, scale| background(&Traffic { history_hours: hours, ..traffic(7, scale) }).len();
    assert!(count(72, 0.1) > count(24, 0.1) * 2);
    assert_eq!(count(0, 0.1), count(24, 0.1));
    assert_eq!(count(1_000, 0.1), count(72, 0.1));
    assert_eq!(count(24, -1.0), count(24, 0.02));
}

#[test]
fn every_record_has_the_shape_of_cloudtrail() {
    let all = background(&traffic(3, 1.0));
    let mut ids = BTreeSet::new();
    for delivery in &all {
        let (record, size) = (parse(delivery), delivery.written.body.len());
        assert!((800..=2_000).contains(&size), "{size} bytes: {record}");
        for field in [
            "eventVersion",
            "eventSource",
            "eventName",
            "awsRegion",
            "sourceIPAddress",
            "userAgent",
            "eventID",
            "requestID",
            "eventType",
            "eventCategory",
            "recipientAccountId",
        ] {
            assert!(record[field].as_str().is_some_and(|text| !text.is_empty()), "{field} of {record}");
        }
        assert_eq!(record["eventVersion"], "1.11");
        assert!(record["userIdentity"]["type"].is_string() && record["readOnly"].is_boolean(), "{record}");
        assert_eq!(record["managementEvent"] == true, record["eventCategory"] == "Management", "{record}");
        assert!(record.as_object().expect("an object").contains_key("requestParameters"), "{record}");
        let time = Timestamp::parse(record["eventTime"].as_str().expect("a time")).expect("RFC 3339");
        assert_eq!(time.0, delivery.time.0.div_euclid(1_000) * 1_000, "{record}");
        if let Some(created) = record.pointer("/userIdentity/sessionContext/attributes/creationDate") {
            assert!(Timestamp::parse(created.as_str().expect("text")).expect("RFC 3339") <= time, "{record}");
        }
        assert!(ids.insert(delivery.written.event_id.clone()), "{} twice", delivery.written.event_id);
        assert_eq!(record["eventID"], delivery.written.event_id.as_str());
    }
    let mean = all.iter().map(|d| d.written.body.len()).sum::<usize>() / all.len();
    assert!((1_000..=1_800).contains(&mean), "{mean} bytes on average");
}

#[test]
fn the_background_is_distributed_as_documented() {
    for seed in [1, 7, 42] {
        let all = background(&traffic(seed, 1.0));
        let count = all.len() as f64;
        assert!((5_000.0..7_500.0).contains(&count), "{count} events in 48 h");
        let errors = all.iter().filter(|d| parse(d).get("errorCode").is_some()).count() as f64 / count;
        assert!((0.10..=0.35).contains(&errors), "seed {seed}: {errors} errors");
        let mut by_principal: BTreeMap<&str, usize> = BTreeMap::new();
        all.iter().for_each(|d| *by_principal.entry(&d.principal).or_default() += 1);
        assert_eq!(by_principal.len(), 40);
        let mut counts: Vec<_> = by_principal.into_values().collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let (top, first) =
            (counts[..5].iter().sum::<usize>() as f64 / count, counts[0] as f64 / counts[9] as f64);
        assert!(
            (0.45..0.70).contains(&top) && first > 5.0,
            "seed {seed}: {top} by five, {first} between first and tenth"
        );
        let begin = NIGHT.plus_ms(-48 * 3_600_000);
        assert!(all.iter().all(|d| (begin..NIGHT).contains(&d.time)));
        let late = |d: &Delivery| d.delivered.since_ms(d.time);
        assert!(all.iter().all(|d| (0..=DELIVERY_MS_MAX as i64).contains(&late(d))));
        assert!(all.windows(2).all(|pair| pair[0].delivered <= pair[1].delivered));
        let mut newest = Timestamp::ZERO;
        let overtaken = all.iter().filter(|d| {
            let behind = d.time < newest;
            newest = newest.max(d.time);
            behind
        });
        let out_of_order = overtaken.count() as f64 / count;
        assert!((0.3..0.95).contains(&out_of_order), "seed {seed}: {out_of_order} out of order");
        let mut times: Vec<_> = all.iter().map(|d| d.time.0).collect();
        times.sort_unstable();
        let close = times.windows(2).filter(|pair| pair[1] - pair[0] < 2_000).count() as f64 / count;
        assert!(close > 0.4, "seed {seed}: only {close} come in bursts");
    }
}

#[test]
fn people_keep_office_hours_and_their_two_networks() {
    let all = background(&traffic(11, 1.0));
    let mut networks: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let (mut mistyped, mut signed_in) = (0, 0);
    for delivery in
        all.iter().filter(|d| d.principal.contains(":user/") || d.principal.contains("AWSReservedSSO"))
    {
        let record = parse(delivery);
        assert!((6..=22).contains(&delivery.time.hour()), "{record}");
        let ip = record["sourceIPAddress"].as_str().expect("an address");
        let network = ip.rsplit_once('.').expect("IPv4").0.to_owned();
        networks.entry(delivery.principal.clone()).or_default().insert(network);
        if record["eventName"] == "ConsoleLogin" {
            let failed = record["responseElements"]["ConsoleLogin"] == "Failure";
            assert_eq!(failed, record["errorMessage"] == "Failed authentication", "{record}");
            *if failed { &mut mistyped } else { &mut signed_in } += 1;
        }
    }
    assert!(networks.values().all(|networks| networks.len() <= 2), "{networks:?}");
    assert!(mistyped > 0 && mistyped * 4 < signed_in, "{mistyped} mistyped, {signed_in} signed in");
}

#[test]
fn routines_happen_every_day() {
    let all = background(&traffic(5, 0.2));
    let days = |role: &str, operation: &str| {
        let wanted = all.iter().filter(|d| d.principal.ends_with(role) && parse(d)["eventName"] == operation);
        wanted.map(|d| d.time.0.div_euclid(86_400_000)).collect::<BTreeSet<_>>().len()
    };
    assert!(days("role/ci/ci-deployer", "AttachRolePolicy") >= 2);
    assert!(days("role/ops/backup-agent", "GetObject") >= 2);
    assert!(days("role/ops/log-janitor", "DeleteObject") >= 2);
    assert!(days("user/amelia.ross", "CreateUser") >= 2);
}

#[test]
fn every_written_record_has_a_label_and_attacks_come_last() {
    let (traffic, scenario) = (traffic(9, 0.1), Scenario::BruteForce);
    let mut bytes = Vec::new();
    let summary =
        write_records(&traffic, scenario, Intensity::Low, &mut bytes).expect("a vector takes everything");
    let labels = labels(&traffic, scenario, Intensity::Low);
    let text = String::from_utf8(bytes).expect("UTF-8");
    let told: Vec<Label> = text
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).expect("JSON")["eventID"].as_str().expect("text").to_owned()
        })
        .map(|id| labels[&id])
        .collect();
    assert_eq!(told.len(), labels.len());
    assert_eq!(told.len() as u64, summary.attack_events + summary.background_events);
    let begin = told.len() - summary.attack_events as usize;
    assert!(told[..begin].iter().all(|label| *label == Label::Background));
    assert!(told[begin..].iter().all(|label| *label == Label::Attack));
    assert_eq!(summary.principal.as_deref(), Some("aws:user:arn:aws:iam::111122223333:user/carol.nguyen"));
    assert_eq!(
        write_records(&traffic, Scenario::None, Intensity::Low, &mut Vec::new())
            .expect("written")
            .attack_events,
        0
    );
}
