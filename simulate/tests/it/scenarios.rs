//! Scenarios: each tries what its name says, at every intensity.

use crate::records::NIGHT;
use prunella_simulate::cast::ATTACKER_NETWORK;
use prunella_simulate::file::attack_records;
use prunella_simulate::scenario::{CATALOG, Entry, Front, LARGE_DOWNLOAD_BYTES, attack};
use prunella_simulate::{Call, Intensity, Scenario, Traffic};
use serde_json::Value;

fn count(calls: &[Call], operation: &str) -> usize {
    calls.iter().filter(|call| call.operation == operation).count()
}

#[test]
fn every_scenario_calls_what_it_is_named_after() {
    let check = |scenario: Scenario, want: &[(&str, [usize; 3])]| {
        for (intensity, column) in Intensity::ALL.into_iter().zip(0..) {
            let calls = attack(scenario, intensity, 7, NIGHT);
            for (operation, least) in want {
                let made = count(&calls, operation);
                assert!(made >= least[column], "{scenario} {}: {made} {operation}", intensity.name());
            }
            assert!(calls.iter().all(|call| call.source_ip.starts_with(ATTACKER_NETWORK)));
            assert!(calls.iter().all(|call| call.is_sign_in() == call.token.is_none()));
        }
    };
    check(Scenario::BruteForce, &[("ConsoleLogin", [9, 21, 61]), ("GetSecretValue", [1, 2, 4])]);
    check(
        Scenario::CredentialTheftEnumeration,
        &[("GetCallerIdentity", [1, 2, 5]), ("GetSecretValue", [2, 8, 30]), ("ListUsers", [1, 2, 5])],
    );
    check(
        Scenario::PrivilegeEscalation,
        &[
            ("CreateAccessKey", [1, 3, 6]),
            ("CreateLoginProfile", [1, 3, 6]),
            ("AttachUserPolicy", [2, 4, 7]),
            ("UpdateAssumeRolePolicy", [1, 1, 1]),
        ],
    );
    check(
        Scenario::LogTampering,
        &[
            ("StopLogging", [1, 2, 3]),
            ("DeleteTrail", [1, 2, 3]),
            ("PutEventSelectors", [1, 2, 3]),
            ("DeleteFlowLogs", [1, 1, 1]),
        ],
    );
    check(Scenario::S3Exfiltration, &[("ListBuckets", [1, 1, 1]), ("GetObject", [40, 120, 400])]);
    check(
        Scenario::RansomEncryptDelete,
        &[
            ("CopyObject", [20, 60, 200]),
            ("DeleteObject", [30, 90, 300]),
            ("ScheduleKeyDeletion", [1, 1, 1]),
            ("PutBucketLifecycle", [1, 1, 1]),
        ],
    );
    assert!(attack(Scenario::None, Intensity::High, 7, NIGHT).is_empty());
}

#[test]
fn intensity_makes_an_attack_longer_and_denser() {
    let of_cloud = |entry: &&Entry| entry.target == Front::Cloud && entry.scenario != Scenario::None;
    for entry in CATALOG.iter().filter(of_cloud) {
        let shape = |intensity| {
            let calls = attack(entry.scenario, intensity, 7, NIGHT);
            (calls.len(), calls.iter().map(|call| call.delay_ms).sum::<u64>() / calls.len() as u64)
        };
        let (low, medium, high) = (shape(Intensity::Low), shape(Intensity::Medium), shape(Intensity::High));
        assert!(low.0 < medium.0 && medium.0 < high.0, "{}: {low:?} {medium:?} {high:?}", entry.scenario);
        assert!(low.1 > medium.1 && medium.1 > high.1, "{}: {low:?} {medium:?} {high:?}", entry.scenario);
        assert!(!entry.attacks.is_empty() && !entry.description.is_empty() && !entry.victim.is_empty());
    }
}

#[test]
fn five_hundred_megabytes_leave_at_three_in_the_morning() {
    let records = attack_records(&Traffic::new(7, NIGHT), Scenario::S3Exfiltration, Intensity::Medium);
    let large = records.iter().filter(|(time, written)| {
        let record: Value = serde_json::from_slice(&written.body).expect("JSON");
        time.hour() == 3 && record["additionalEventData"]["bytesTransferredOut"] == LARGE_DOWNLOAD_BYTES
    });
    assert_eq!(large.count(), 1);
}

#[test]
fn a_guessed_password_opens_a_session_that_did_not_exist_before() {
    let records = attack_records(&Traffic::new(7, NIGHT), Scenario::BruteForce, Intensity::Low);
    let parsed: Vec<Value> =
        records.iter().map(|(_, written)| serde_json::from_slice(&written.body).expect("JSON")).collect();
    let outcome =
        |record: &Value| record["responseElements"]["ConsoleLogin"].as_str().unwrap_or_default().to_owned();
    assert!(
        parsed[..8].iter().all(
            |record| outcome(record) == "Failure" && record["userIdentity"]["userName"] == "carol.nguyen"
        )
    );
    assert_eq!(outcome(&parsed[8]), "Success");
    let opened = parsed[8]["eventTime"].clone();
    assert!(
        parsed[9..]
            .iter()
            .all(|r| r["userIdentity"]["sessionContext"]["attributes"]["creationDate"] == opened)
    );
}

#[test]
fn names_parse_and_unknown_ones_say_what_exists() {
    for entry in &CATALOG {
        assert_eq!(entry.scenario.name().parse(), Ok(entry.scenario));
        assert_eq!(serde_json::to_value(entry.scenario).expect("text"), entry.scenario.name());
    }
    let error = "melt".parse::<Scenario>().expect_err("no such scenario").to_string();
    assert!(error.contains("`melt`") && error.contains("brute_force"), "{error}");
    assert_eq!("high".parse(), Ok(Intensity::High));
    assert!("loud".parse::<Intensity>().is_err());
}
