//! Properties: what must hold for any events in any batches.

use crate::story::{DAY_ZERO, event, events};
use proptest::prelude::*;
use prunella_detect::{Config, Detect, run};
use prunella_schemas::{Delivered, Event, Finding, Outbox, Posted, Stage, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

const STORY: &str = include_str!("golden/ransom.story");
const OTHER: &str = include_str!("golden/brute_force.story");

fn delivered(events: &[Event]) -> Vec<Delivered<Event>> {
    events
        .iter()
        .map(|e| Delivered { message: e.clone(), origin: e.time.plus_ms(7), at: e.time.plus_ms(9) })
        .collect()
}

/// All that the stage posts, given the events in batches of these sizes.
fn posted(detect: &mut Detect, events: &[Event], sizes: &[usize]) -> Vec<Posted> {
    let (mut rest, mut out) = (delivered(events), Outbox::default());
    for size in sizes.iter().copied().chain([usize::MAX]) {
        let later = rest.split_off(size.min(rest.len()));
        detect.step(&rest, &mut out);
        rest = later;
    }
    out.drain()
}

fn all_stories() -> Vec<Event> {
    let mut all = events(&format!("{STORY}\n{OTHER}"));
    all.sort_by_key(|e| (e.time, e.prunella.event_uid));
    all
}

fn who_found_whom(findings: &[Finding]) -> BTreeSet<(String, String)> {
    findings.iter().map(|f| (f.finding_info.analytic.uid.to_string(), f.prunella.principal.clone())).collect()
}

fn any_event() -> impl Strategy<Value = Event> {
    let call = prop::sample::select(vec![
        "signin:ConsoleLogin",
        "sts:AssumeRole",
        "s3:GetObject",
        "s3:DeleteObject",
        "kms:ScheduleKeyDeletion",
        "iam:PutUserPolicy",
        "iam:CreateUser",
        "iam:AttachUserPolicy",
        "cloudtrail:StopLogging",
        "ec2:DescribeVpcs",
        "iam:ListRoles",
        "rds:DescribeDBInstances",
        "secretsmanager:GetSecretValue",
        "kms:Decrypt",
        "ec2:AuthorizeSecurityGroupIngress",
        "x:\u{e9}\u{1F600}20150331v2",
        ":",
    ]);
    let ip = prop::sample::select(vec![
        "203.0.113.10",
        "198.51.100.7",
        "2001:db8::1",
        "10.0.0.1",
        "-",
        "not an address",
        "",
    ]);
    let option = prop::sample::select(vec![
        "",
        "fail=AccessDenied",
        "fail=Failure",
        "bytes=900M",
        "bytes=1",
        "flag=id_collision",
        "flag=future_time",
        "target=ann",
        "service=x",
        "raw={\"Action\":\"*\"}",
        "resource=arn:aws:kms:e:1:key/k",
        "policy=AdministratorAccess",
    ]);
    let time = prop_oneof![20 => 0..86_400_000i64, 1 => any::<i64>()];
    (call, ip, option, time, 0..4u8, any::<u16>()).prop_map(|(call, ip, option, time, who, n)| {
        let options: BTreeMap<&str, &str> = option.split_once('=').into_iter().collect();
        let who = ["ann", "role/app", "service/s", ""][usize::from(who)];
        event(Timestamp(DAY_ZERO.0.wrapping_add(time)), who, ip, call, &options, i64::from(n))
    })
}

proptest! {
    #![proptest_config(crate::cases(3))]

    #[test]
    fn any_events_in_any_batches_give_the_same_bytes(
        mut mixed in prop::collection::vec(any_event(), 0..200),
        sizes in prop::collection::vec(0..40usize, 0..20),
        cut in 0..400usize,
    ) {
        mixed.extend(all_stories());
        let whole = posted(&mut Detect::new(Config::default()), &mixed, &[]);
        let split = posted(&mut Detect::new(Config::default()), &mixed, &sizes);
        prop_assert_eq!(&whole, &split);
        prop_assert!(!whole.is_empty());
        // The same, with the memory saved and restored on the way.
        let (before, after) = mixed.split_at(cut.min(mixed.len()));
        let mut first = Detect::new(Config::default());
        let mut resumed = posted(&mut first, before, &[]);
        let snapshot = first.save();
        let mut second = Detect::new(Config::default());
        second.restore(&snapshot).expect("own snapshot");
        prop_assert_eq!(second.save(), snapshot);
        resumed.extend(posted(&mut second, after, &[]));
        prop_assert_eq!(whole, resumed);
        prop_assert_eq!(first_id_repeated(&mixed), None);
    }

    #[test]
    fn lateness_of_minutes_does_not_change_who_is_found(seed in any::<u64>()) {
        let in_order = all_stories();
        let mut late: Vec<(i64, Event)> = in_order.iter().cloned().map(|e| (e.time.0 + jitter_ms(seed, &e), e)).collect();
        late.sort_by_key(|(arrival, e)| (*arrival, e.prunella.event_uid));
        let find = |events: &[Event]| {
            let mut detect = Detect::new(Config::default());
            events.iter().flat_map(|e| detect.observe(e).findings).collect::<Vec<_>>()
        };
        let late: Vec<Event> = late.into_iter().map(|(_, e)| e).collect();
        prop_assert_eq!(who_found_whom(&find(&in_order)), who_found_whom(&find(&late)));
        prop_assert_eq!(run(late.into_iter()), run(in_order.into_iter()));
    }
}

/// Up to five minutes, by the event's own id.
fn jitter_ms(seed: u64, event: &Event) -> i64 {
    let word = u64::from_le_bytes(event.prunella.event_uid.0[..8].try_into().expect("eight bytes"));
    ((word ^ seed).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as i64 % 300_000
}

/// Whether a finding's id comes up twice with different content.
fn first_id_repeated(events: &[Event]) -> Option<String> {
    let mut detect = Detect::new(Config::default());
    let mut known: BTreeMap<String, Finding> = BTreeMap::new();
    for finding in events.iter().flat_map(|e| detect.observe(e).findings) {
        let uid = finding.finding_info.uid.clone();
        if known.insert(uid.clone(), finding.clone()).is_some_and(|other| other != finding) {
            return Some(uid);
        }
    }
    None
}

/// Told by the log, or shown by what follows: in either case the time of a forged event stops nothing.
#[test]
fn a_forged_clock_freezes_no_window() {
    let story = "past ann 203.0.113.10 s3:ListBuckets
        09:00:00 ann 198.51.100.7 signin:ConsoleLogin fail=Failure x=9 every=25s
        09:05:00 ann 198.51.100.7 signin:ConsoleLogin mfa=no";
    let day = |n: i64| DAY_ZERO.plus_ms(n * 86_400_000);
    for (forged_time, log_time) in [(day(20), DAY_ZERO), (day(100_000), Timestamp::ZERO)] {
        let failed = BTreeMap::from([("fail", "Failure")]);
        let mut all = events(story);
        let at = all.partition_point(|e| e.time < DAY_ZERO);
        all.insert(at, event(forged_time, "ann", "203.0.113.10", "signin:ConsoleLogin", &failed, 1));
        let mut detect = Detect::new(Config::default());
        let found = all.iter().flat_map(|e| {
            let now = if e.time == forged_time { log_time } else { e.time };
            detect.observe_at(e, now).findings
        });
        let found: Vec<Finding> = found.collect();
        assert!(
            found.iter().any(|f| f.finding_info.analytic.uid == "sign_in_brute_force"),
            "{forged_time}: {}",
            found.len()
        );
        assert!(found.iter().all(|f| f.time < day(2)), "{forged_time}");
    }
}

#[test]
fn repeats_count_once() {
    let once = all_stories();
    let twice: Vec<Event> = once.iter().flat_map(|e| [e.clone(), e.clone()]).collect();
    assert_eq!(run(once.into_iter()), run(twice.into_iter()));
}

#[test]
fn memory_is_bounded_and_a_flood_of_strangers_does_not_wash_out_those_known() {
    let max = 256;
    let mut detect = Detect::new(Config { principals_max: max, ..Config::default() });
    let past = events("past ann 203.0.113.10 s3:ListBuckets,s3:GetObject");
    past.iter().for_each(|e| assert_eq!(detect.observe(e).findings, []));
    for n in 0..20_000 {
        let stranger = event(
            DAY_ZERO.plus_ms(n),
            &format!("s{n}"),
            "198.51.100.7",
            "s3:ListBuckets",
            &BTreeMap::new(),
            n,
        );
        detect.observe(&stranger);
        assert!(detect.principals() <= max);
    }
    let theft = events("09:00:00 ann 198.51.100.7 sts:GetFederationToken");
    assert_eq!(detect.observe(&theft[0]).findings.len(), 1);
}

#[test]
fn one_principal_is_bounded_too() {
    let mut detect = Detect::new(Config::default());
    let mut size_after = Vec::new();
    for n in 0..900i64 {
        let ip = format!("{}.{}.{}.9", 20 + n % 180, n / 180 % 250, n % 250);
        let call =
            ["signin:ConsoleLogin", "s3:DeleteObject", "iam:CreateUser", "s3:GetObject"][n as usize % 4];
        let other = format!("svc{n}:Describe{n}");
        let options = BTreeMap::from([
            ("bytes", "1M"),
            ("target", "u"),
            (if n % 8 == 0 { "fail" } else { "agent" }, "AccessDenied"),
        ]);
        detect.observe(&event(DAY_ZERO.plus_ms(n * 500), "ann", &ip, call, &options, n));
        detect.observe(&event(DAY_ZERO.plus_ms(n * 500 + 1), "ann", &ip, &other, &options, n));
        if n % 300 == 299 {
            size_after.push(detect.save().len());
        }
    }
    // The models and the rows they learn from come to a million bytes at most; one principal's memory to a third of it.
    assert!(size_after.iter().all(|size| *size < 1_300_000), "{size_after:?}");
}

#[test]
fn tenants_are_strangers_to_each_other() {
    let mut detect = Detect::new(Config::default());
    events("past ann 203.0.113.10 s3:ListBuckets").iter().for_each(|e| {
        detect.observe(e);
    });
    let mut theft = events("09:00:00 ann 198.51.100.7 sts:GetFederationToken").remove(0);
    theft.metadata.tenant_uid = Some("other".to_owned());
    assert_eq!(detect.observe(&theft).findings, [], "the other tenant's ann is new");
}

#[test]
fn snapshots_of_strangers_are_refused_and_change_nothing() {
    let mut detect = Detect::new(Config::default());
    all_stories().iter().for_each(|e| {
        detect.observe(e);
    });
    let own = detect.save();
    for bad in [
        &b""[..],
        b"{}",
        b"{\"version\":99}",
        b"{\"version\":1}",
        b"{\"version\":1,\"principals\":{\"a\":{}}}",
        b"\x02\xff\xff\xff\xff\x0f",
        &own[..own.len() / 2],
        &[&own[..], b"\0"].concat(),
    ] {
        assert!(
            detect.restore(bad).is_err(),
            "{}",
            String::from_utf8_lossy(bad).chars().take(60).collect::<String>()
        );
        assert_eq!(detect.save(), own);
    }
}

#[test]
fn risk_rises_and_decays_with_event_time() {
    let story = "past ann 203.0.113.10 s3:ListBuckets
        09:00:00 ann 203.0.113.10 cloudtrail:StopLogging
        12:00:00 ann 203.0.113.10 s3:ListBuckets
        20:00:00 ann 203.0.113.10 s3:ListBuckets
        1d09:00:00 ann 203.0.113.10 s3:ListBuckets";
    let mut detect = Detect::new(Config::default());
    let mut risks = Vec::new();
    for event in events(story) {
        let verdict = detect.observe(&event);
        risks.extend(
            verdict
                .risks
                .into_iter()
                .map(|risk| (risk.time, risk.level, risk.score, risk.finding_uid.is_some())),
        );
    }
    let shown: Vec<String> =
        risks.iter().map(|(time, level, score, by)| format!("{time} {level:?} {score} {by}")).collect();
    assert_eq!(
        shown,
        [
            "2026-03-03T09:00:00.000Z High 72 true",
            "2026-03-03T12:00:00.000Z Medium 50.91 false",
            "2026-03-03T20:00:00.000Z Low 20.2 false",
        ]
    );
}

#[test]
fn evidence_is_only_what_took_part_and_at_most_the_limit() {
    for finding in run(all_stories().into_iter()) {
        let facts = &finding.prunella;
        assert_eq!(facts.evidence.len(), finding.finding_info.related_events.len());
        assert!((1..=32).contains(&facts.evidence.len()), "{}", finding.message);
        assert!(facts.event_count >= facts.evidence.len() as u64);
        assert!(
            !facts.reasons.is_empty()
                && facts.counterfactual.is_some()
                && !finding.finding_info.attacks.is_empty()
        );
        let past =
            finding.finding_info.related_events.iter().filter(|related| related.operation == "ListUsers");
        assert_eq!(past.count(), 0, "an ordinary call is not evidence");
    }
}
