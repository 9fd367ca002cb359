//! The tenant's view: what is let through, what confirms what, and that the order of arrival does not matter.

use crate::story::DAY_ZERO;
use proptest::prelude::*;
use prunella_detect::correlate::{Config, Correlate, Counts, HELD_MAX, Input};
use prunella_schemas::finding::{Analysis, Analytic, Counterfactual, RelatedEvent};
use prunella_schemas::{
    Command, Delivered, Finding, Id, Message, Outbox, Posted, Score, Signal, SignalKind, Stage, Tenant,
    Timestamp,
};
use std::collections::BTreeSet;
use std::path::Path;

const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 86_400_000;

pub fn uid(n: u64) -> Id {
    Id::derive("event", &[&n.to_le_bytes()])
}

pub fn at(minutes: i64) -> Timestamp {
    DAY_ZERO.plus_ms(minutes * MINUTE_MS)
}

pub fn score(n: u64, time: Timestamp, p_value: Option<f64>) -> Input {
    Input::Score(Score {
        event_uid: uid(n),
        tenant: Tenant::default(),
        time,
        class_uid: 6003,
        operation: n % 7,
        tier_change: n.is_multiple_of(5),
        p_value,
        leads_to: 0,
    })
}

/// The score of an event to which so many signals and findings belong.
fn score_of(n: u64, time: Timestamp, leads_to: u32) -> Input {
    let Input::Score(score) = score(n, time, None) else { unreachable!() };
    Input::Score(Score { leads_to, ..score })
}

fn signal(n: u64, time: Timestamp, who: &str, kind: SignalKind) -> Signal {
    let (tenant, principal) = (Tenant::default(), who.to_owned());
    let detail = format!("{kind:?} of {who}");
    let (p_value, proposal) = (None, None);
    Signal { event_uid: uid(n), tenant, principal, time, kind, weight: 10.0, detail, p_value, proposal }
}

pub fn finding(n: u64, time: Timestamp, who: &str, analytic: (&'static str, u8), severity: u8) -> Finding {
    let mut finding = Finding::new(severity);
    finding.time = time;
    finding.confidence_score = 60;
    finding.message = format!("{who} did something");
    let info = &mut finding.finding_info;
    info.title = format!("{} speaks", analytic.0);
    info.desc = "It was seen.".to_owned();
    info.analytic = Analytic { uid: analytic.0.into(), type_id: analytic.1, ..Analytic::default() };
    (info.first_seen_time, info.last_seen_time, info.created_time) = (time, time, time);
    info.related_events = vec![RelatedEvent { uid: format!("native-{n}"), ..RelatedEvent::default() }];
    finding.prunella.principal = who.to_owned();
    finding.prunella.reasons = vec!["a rare hour".to_owned()];
    finding.prunella.counterfactual = Some("by day it would not have been a finding".to_owned());
    finding.prunella.evidence = vec![uid(n)];
    finding.prunella.event_count = 1;
    finding.identify(&n.to_le_bytes());
    finding
}

pub fn proposal(n: u64, time: Timestamp, who: &str, p_value: f64) -> Input {
    let mut proposed = finding(n, time, who, ("isolation_forest", 4), 4);
    proposed.prunella.analysis = Some(Analysis { p_value, score: 0.7, ..Analysis::default() });
    let signal = signal(n, time, who, SignalKind::Forest);
    Input::Signal(Box::new(Signal { p_value: Some(p_value), proposal: Some(Box::new(proposed)), ..signal }))
}

fn word(n: u64, time: Timestamp, who: &str, kind: SignalKind) -> Input {
    Input::Signal(Box::new(signal(n, time, who, kind)))
}

fn rule(n: u64, time: Timestamp, who: &str, severity: u8) -> Input {
    Input::Finding(Box::new(finding(n, time, who, ("privilege_change", 1), severity)))
}

pub fn delivered(message: Input, at: Timestamp) -> Delivered<Input> {
    let origin = match &message {
        Input::Score(score) => score.time,
        Input::Signal(signal) => signal.time,
        Input::Finding(finding) => finding.time,
        Input::Command(command) => command.at(),
    };
    Delivered { message, origin, at }
}

/// Everything is delivered at once, a day later, and then time passes.
fn posted(stage: &mut Correlate, inputs: &[Input], sizes: &[usize]) -> Vec<Posted> {
    let now = DAY_ZERO.plus_ms(40 * DAY_MS);
    let mut rest: Vec<_> = inputs.iter().map(|input| delivered(input.clone(), now)).collect();
    let mut out = Outbox::default();
    for size in sizes.iter().copied().chain([usize::MAX]) {
        let later = rest.split_off(size.min(rest.len()));
        stage.step(&rest, &mut out);
        rest = later;
    }
    out.drain()
}

pub fn tick(stage: &mut Correlate) -> Vec<Posted> {
    let mut out = Outbox::default();
    // First the hold passes, then the patience with what is not whole.
    while let Some(at) = stage.next_due() {
        stage.step(&[delivered(Input::Command(Box::new(Command::Tick { at })), at)], &mut out);
    }
    out.drain()
}

pub fn findings(posted: &[Posted]) -> Vec<Finding> {
    posted.iter().map(|p| Finding::decode(p.version, &p.bytes).expect("a finding")).collect()
}

fn run(config: Config, inputs: &[Input]) -> (Vec<Finding>, Counts) {
    let mut stage = Correlate::new(config);
    let mut all = posted(&mut stage, inputs, &[]);
    all.extend(tick(&mut stage));
    (findings(&all), stage.counts(&Tenant::default()))
}

/// What is said of these inputs, as `analytic severity`, in order.
#[track_caller]
fn check(inputs: &[Input], want: &[&str]) -> Vec<Finding> {
    let (found, _) = run(Config::default(), inputs);
    let got: Vec<String> =
        found.iter().map(|f| format!("{} {}", f.finding_info.analytic.uid, f.severity)).collect();
    assert_eq!(got, want, "{inputs:#?}");
    found
}

#[test]
fn the_bar_and_what_confirms() {
    use SignalKind::{EntropyFall, EntropyRise, Forest, NewDevice, NewNetwork};
    let forest = |n, minute, p| proposal(n, at(minute), "ann", p);
    let said = |n, minute, kind| word(n, at(minute), "ann", kind);
    let (high, medium) = ("isolation_forest High", "isolation_forest Medium");
    // The bar of a tenant without a past is one in a thousand.
    check(&[forest(1, 0, 9e-4)], &[medium]);
    check(&[forest(1, 0, 2e-3)], &[]);
    // Confirmed, at once, before and after; too far away, by somebody else, by itself.
    check(&[forest(1, 0, 9e-5), said(1, 0, NewNetwork)], &[high]);
    check(&[said(1, 0, NewNetwork), forest(2, 59, 9e-5)], &[high]);
    check(&[forest(1, 0, 9e-5), said(2, 59, NewDevice)], &[medium, high]);
    check(&[said(1, 0, NewNetwork), forest(2, 61, 9e-5)], &[medium]);
    check(&[word(1, at(0), "bob", NewNetwork), forest(2, 1, 9e-5)], &[medium]);
    check(&[forest(1, 0, 9e-5), forest(2, 1, 5e-5)], &[medium]);
    // Not unusual enough for more, whatever is said.
    check(&[forest(1, 0, 2e-4), said(1, 0, NewNetwork)], &[medium]);
    // A rule's finding confirms; a mild one does not, and nothing is said twice.
    check(&[rule(1, at(0), "ann", 3), forest(2, 1, 9e-5)], &[high]);
    check(&[rule(1, at(0), "ann", 2), forest(2, 1, 9e-5)], &[medium]);
    check(
        &[forest(1, 0, 9e-5), said(2, 1, NewDevice), said(3, 2, NewNetwork), rule(4, at(3), "ann", 4)],
        &[medium, high],
    );
    // Entropy: alone it asks for verification; two shifts are one kind of evidence.
    let (low, mid, top) = ("entropy_shift Low", "entropy_shift Medium", "entropy_shift High");
    check(&[said(1, 0, EntropyFall)], &[low]);
    check(&[said(1, 0, EntropyRise)], &[mid]);
    check(&[said(1, 0, EntropyFall), said(2, 1, EntropyRise)], &[low, mid]);
    check(&[said(1, 0, EntropyFall), said(2, 30, NewNetwork)], &[low, top]);
    check(&[said(1, 0, EntropyFall), forest(2, 1, 9e-5)], &[low, high]);
    check(&[said(1, 0, EntropyFall), forest(2, 1, 5e-3)], &[low]);
    // Nothing becomes of a witness alone, nor of a forest without a proposal.
    check(&[said(1, 0, NewNetwork), said(2, 0, NewDevice), said(3, 0, Forest)], &[]);
}

#[test]
fn the_same_fact_twice_confirms_nothing() {
    use SignalKind::{EntropyFall, NewDevice, NewNetwork};
    let resting = |features: &'static [&'static str]| {
        let Input::Signal(mut signal) = proposal(1, at(0), "ann", 9e-5) else { panic!("a signal") };
        let analysis = signal.proposal.as_mut().and_then(|f| f.prunella.analysis.as_mut()).expect("one");
        let features = features.iter().map(|feature| (*feature).into()).collect();
        analysis.counterfactual = Some(Counterfactual { features, ..Counterfactual::default() });
        Input::Signal(signal)
    };
    let said = |kind| word(2, at(0), "ann", kind);
    let (high, medium) = ("isolation_forest High", "isolation_forest Medium");
    check(&[resting(&["network novelty"]), said(NewNetwork)], &[medium]);
    check(&[resting(&["network novelty", "travel"]), said(NewNetwork)], &[medium]);
    check(&[resting(&["network novelty"]), said(NewDevice)], &[high]);
    check(&[resting(&["network novelty", "sensitivity"]), said(NewNetwork)], &[high]);
    check(&[resting(&["sensitivity"]), said(NewNetwork)], &[high]);
    check(&[resting(&["entropy departure"]), said(EntropyFall)], &["entropy_shift Low", medium]);
}

#[test]
fn a_confirmed_finding_says_by_what() {
    let inputs = [proposal(1, at(0), "ann", 9e-5), word(2, at(5), "ann", SignalKind::NewNetwork)];
    let found = check(&inputs, &["isolation_forest Medium", "isolation_forest High"]);
    let (alone, confirmed) = (&found[0], &found[1]);
    assert_eq!(confirmed.prunella.reasons, ["a rare hour", "also: NewNetwork of ann"]);
    assert_eq!(confirmed.prunella.counterfactual, alone.prunella.counterfactual);
    assert_eq!(confirmed.prunella.analysis, alone.prunella.analysis);
    assert_eq!(confirmed.prunella.evidence, [uid(1), uid(2)]);
    assert_eq!(confirmed.finding_info.related_events.len(), 2);
    assert_eq!((alone.confidence_score, confirmed.confidence_score), (60, 80));
    assert_eq!((confirmed.time, confirmed.finding_info.first_seen_time), (at(5), at(0)));
    assert_ne!(confirmed.prunella.finding_uid, alone.prunella.finding_uid);
    assert_eq!(confirmed.finding_info.uid, confirmed.prunella.finding_uid.to_string());
}

#[test]
fn a_principal_is_spoken_of_once_an_hour() {
    let inputs: Vec<Input> = (0..70).map(|n| proposal(n, at(n as i64), "ann", 5e-4)).collect();
    let (found, counts) = run(Config::default(), &inputs);
    assert_eq!(found.iter().map(|f| f.time).collect::<Vec<_>>(), [at(0), at(60)]);
    assert_eq!(found[1].prunella.event_count, 60, "59 that were not said, and its own");
    assert_eq!(found[1].prunella.evidence.len(), 32);
    assert_eq!(found[1].finding_info.related_events.len(), 32);
    assert_eq!(counts.proposals, 70);
    assert_eq!((counts.findings, counts.unsaid), (2, 68));
}

/// Uniform on 0 to 1 (SplitMix64).
pub fn uniform(seed: &mut u64) -> f64 {
    *seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = (*seed ^ (*seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

#[test]
fn a_refused_event_is_released_when_others_lower_the_bar() {
    let mut inputs: Vec<Input> = (0..2_000).map(|n| score(n, at(0), Some(0.5))).collect();
    inputs.push(proposal(2_000, at(1), "ann", 9e-4));
    inputs.extend((0..60).map(|n| proposal(3_000 + n, at(2), &format!("host{n}"), 1e-7)));
    let config = Config { expected_false_findings_per_day: 0.2, ..Config::default() };
    let (found, counts) = run(config.clone(), &inputs);
    assert_eq!((counts.refused, counts.released, found.len()), (1, 1, 61));
    // An hour later it is no longer news.
    let late: Vec<Input> = (0..60).map(|n| proposal(5_000 + n, at(70), &format!("host{n}"), 1e-7)).collect();
    inputs.truncate(2_001);
    inputs.extend(late);
    let (found, counts) = run(config, &inputs);
    assert_eq!((counts.refused, counts.released, found.len()), (1, 0, 60));
}

#[test]
fn one_principal_alone_does_not_lower_the_bar() {
    let mut inputs: Vec<Input> = (0..2_000).map(|n| score(n, at(0), Some(0.5))).collect();
    inputs.extend((0..60).map(|n| proposal(3_000 + n, at(1), "flood", 1e-7)));
    inputs.push(proposal(2_000, at(2), "ann", 9e-4));
    let config = Config { expected_false_findings_per_day: 0.2, ..Config::default() };
    let (found, _) = run(config, &inputs);
    assert_eq!(found.iter().map(Finding::principal).collect::<Vec<_>>(), ["flood"]);
}

#[test]
fn a_rules_finding_stands_for_the_bar() {
    let mut inputs: Vec<Input> = (0..60_000).map(|n| score(n, at(0), Some(0.5))).collect();
    inputs.push(proposal(60_001, at(1), "ann", 9e-5));
    assert_eq!(run(Config::default(), &inputs).0.len(), 0);
    inputs.push(rule(60_002, at(2), "ann", 3));
    let (found, counts) = run(Config::default(), &inputs);
    assert_eq!((found.len(), counts.released), (1, 1));
    assert_eq!(found[0].severity, "High");
}

#[test]
fn a_tenant_that_becomes_predictable_is_told_once() {
    let mut random = 3;
    let mut inputs = Vec::new();
    for n in 0..60_000u64 {
        let Input::Score(mut one) = score(n, DAY_ZERO.plus_ms(n as i64 * 500), None) else { continue };
        one.tier_change = false;
        let variety = if n < 40_000 { 24.0 } else { 2.0 };
        one.operation = (uniform(&mut random) * variety) as u64;
        inputs.push(Input::Score(one));
    }
    let (found, _) = run(Config::default(), &inputs);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].principal(), "tenant:default");
    assert_eq!(found[0].finding_info.title, "Access became predictable");
    assert!((1..=32).contains(&found[0].prunella.evidence.len()));
}

#[test]
fn predictable_decisions_are_told() {
    let mut random = 5;
    let rules = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
    let decision = |n: u64, rule: &'static str| {
        let minute = (n * 7) as i64 + i64::from(n as u8 % 5);
        Input::Finding(Box::new(finding(n, at(minute), "ann", (rule, 1), 2)))
    };
    let mixed = (0..600).map(|n| decision(n, rules[(uniform(&mut random) * 12.0) as usize]));
    let mut inputs: Vec<Input> = mixed.collect();
    assert_eq!(run(Config::default(), &inputs).0, []);
    inputs.extend((600..900).map(|n| decision(n, rules[n as usize % 2])));
    let (found, _) = run(Config::default(), &inputs);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].finding_info.title, "Decisions of the defence became predictable");
    assert!(found[0].finding_info.desc.contains("An attacker who watches"));
}

#[test]
fn an_input_waits_for_earlier_ones_but_not_for_long() {
    let now = at(10);
    let mut stage = Correlate::new(Config::default());
    let mut out = Outbox::default();
    stage.step(
        &[delivered(proposal(1, at(0), "ann", 9e-5), now), delivered(score_of(1, at(0), 1), now)],
        &mut out,
    );
    assert!(out.is_empty());
    let due = stage.next_due().expect("something waits");
    assert_eq!(due, now.plus_ms(200));
    // It came later and belongs before.
    let late = [word(2, at(-1), "ann", SignalKind::NewNetwork), score_of(2, at(-1), 1)];
    stage.step(&late.map(|input| delivered(input, now.plus_ms(10))), &mut out);
    let early = Command::Tick { at: due.plus_ms(-1) };
    stage.step(&[delivered(Input::Command(Box::new(early)), due.plus_ms(-1))], &mut out);
    assert!(out.is_empty());
    stage.step(&[delivered(Input::Command(Box::new(Command::Tick { at: due })), due)], &mut out);
    assert_eq!(findings(&out.drain())[0].severity, "High");
    // What came at the same instant is looked at together: it may be one step of the stage before, topic by topic.
    stage.step(&[delivered(score(4, at(17), None), due)], &mut out);
    stage.step(
        &[delivered(proposal(3, at(1), "bob", 9e-5), due), delivered(score_of(3, at(1), 1), due)],
        &mut out,
    );
    assert!(out.is_empty());
    // An input that others show to be the earliest does not wait any longer.
    let due = due.plus_ms(1);
    stage.step(&[delivered(score(7, at(17), None), due)], &mut out);
    assert_eq!(findings(&out.drain())[0].principal(), "bob");
    // A clock that runs ahead by years does not end the waiting for the others.
    stage.step(&[delivered(score(5, at(9_000_000), None), due)], &mut out);
    stage.step(&[delivered(proposal(6, at(20), "eve", 9e-5), due)], &mut out);
    assert!(out.is_empty());
}

#[test]
fn what_waits_is_bounded() {
    let mut stage = Correlate::new(Config::default());
    let mut out = Outbox::default();
    stage.step(&[delivered(proposal(1, at(0), "ann", 9e-5), at(0))], &mut out);
    let more: Vec<_> = (0..HELD_MAX as u64).map(|n| delivered(score(n, at(1), None), at(0))).collect();
    stage.step(&more, &mut out);
    assert_eq!(findings(&out.drain()).len(), 1, "the first had to go");
}

#[test]
fn snapshots_of_strangers_are_refused_and_change_nothing() {
    let mut stage = Correlate::new(Config::default());
    posted(&mut stage, &any_story(1), &[]);
    let own = stage.save();
    let longer = [own.as_slice(), b"x"].concat();
    let mut newer = own.clone();
    newer[0] += 1;
    for bad in [&b""[..], b"\x01\0\0", b"\x01\0\0\0", &own[..own.len() / 2], &longer, &newer] {
        assert!(stage.restore(bad).is_err());
        assert_eq!(stage.save(), own);
    }
}

#[test]
fn the_story_becomes_the_findings_on_file() {
    let (found, _) = run(Config::default(), &any_story(11));
    let got: String =
        found.iter().map(|finding| serde_json::to_string(finding).expect("a finding") + "\n").collect();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/correlate.ndjson");
    if crate::golden::update() {
        std::fs::write(&golden, &got).expect("the golden file is writable");
    }
    let want = std::fs::read_to_string(&golden).unwrap_or_default();
    assert_eq!(got, want, "{} differs; look at it, then run the test with UPDATE=1", golden.display());
}

/// Three hours of a small tenant in which everything happens, in order of time.
fn any_story(seed: u64) -> Vec<Input> {
    let mut random = seed;
    let kinds = [
        SignalKind::EntropyFall,
        SignalKind::EntropyRise,
        SignalKind::NewNetwork,
        SignalKind::NewDevice,
        SignalKind::FailedSignIns,
        SignalKind::Peers,
    ];
    let mut inputs = Vec::new();
    for n in 0..1_500u64 {
        // Whole seconds, as providers write them.
        let time = DAY_ZERO.plus_ms(n as i64 * 7 / 3 * 3_000);
        let p_value = uniform(&mut random);
        let who = format!("user{}", (uniform(&mut random) * 9.0) as u8);
        inputs.push(score(n, time, Some(p_value)));
        if p_value < 0.01 {
            inputs.push(proposal(n, time, &who, p_value * 0.05));
        }
        if n.is_multiple_of(41) {
            inputs.push(word(n, time, &who, kinds[(uniform(&mut random) * 6.0) as usize]));
        }
        if n.is_multiple_of(97) {
            inputs.push(rule(n, time, &who, 2 + (n % 3) as u8));
        }
    }
    inputs
}

fn time_of(input: &Input) -> Timestamp {
    delivered(input.clone(), Timestamp::ZERO).origin
}

proptest! {
    #![proptest_config(crate::cases(4))]

    #[test]
    fn any_interleaving_within_lateness_in_any_batches_gives_the_same_bytes(
        seed in any::<u64>(),
        jitter in any::<u64>(),
        sizes in prop::collection::vec(0..200usize, 0..20),
        cut in 0..1_600usize,
    ) {
        let in_order = any_story(seed);
        let config = Config { lateness_ms: 5 * MINUTE_MS, ..Config::default() };
        let all = |inputs: &[Input], sizes: &[usize]| {
            let mut stage = Correlate::new(config.clone());
            let mut all = posted(&mut stage, inputs, sizes);
            all.extend(tick(&mut stage));
            (all, stage)
        };
        let (want, stage) = all(&in_order, &[]);
        prop_assert!(!want.is_empty());
        let ids: BTreeSet<Id> = want.iter().map(|posted| posted.id).collect();
        prop_assert_eq!(ids.len(), want.len());
        let mut random = jitter;
        let late = |input: &Input, random: &mut u64| time_of(input).plus_ms((uniform(random) * 3e5) as i64);
        let mut mixed: Vec<(Timestamp, Input)> =
            in_order.iter().map(|input| (late(input, &mut random), input.clone())).collect();
        mixed.sort_by_key(|(arrival, _)| *arrival);
        let mut mixed: Vec<Input> = mixed.into_iter().map(|(_, input)| input).collect();
        prop_assert_eq!(&all(&mixed, &sizes).0, &want);
        // What the stage says comes back to it, and is no news.
        let own = findings(&want);
        let (again, known) = all(&[mixed.clone(), own.iter().cloned().map(|f| Input::Finding(Box::new(f))).collect()].concat(), &sizes);
        prop_assert!(again.len() == want.len() && known.counts(&Tenant::default()) == stage.counts(&Tenant::default()));
        // The same, with the memory saved and restored on the way.
        let after = mixed.split_off(cut.min(mixed.len()));
        let mut first = Correlate::new(config.clone());
        let mut resumed = posted(&mut first, &mixed, &[]);
        let snapshot = first.save();
        let mut second = Correlate::new(config);
        second.restore(&snapshot).expect("own snapshot");
        prop_assert_eq!(second.save(), snapshot);
        resumed.extend(posted(&mut second, &after, &[]));
        resumed.extend(tick(&mut second));
        prop_assert_eq!(resumed, want);
    }

    #[test]
    fn hostile_numbers_never_panic(
        times in prop::collection::vec(any::<i64>(), 1..40),
        p_values in prop::collection::vec(prop::num::f64::ANY, 40),
        log in prop::collection::vec(any::<i64>(), 40),
    ) {
        let mut stage = Correlate::new(Config::default());
        let mut out = Outbox::default();
        for (n, time) in times.iter().enumerate() {
            let (id, time, p_value) = (n as u64, Timestamp(*time), p_values[n]);
            for input in [score(id, time, Some(p_value)), proposal(id, time, "x", p_value), word(id, time, "x", SignalKind::EntropyRise)] {
                stage.step(&[Delivered { message: input, origin: time, at: Timestamp(log[n]) }], &mut out);
            }
        }
        let saved = stage.save();
        stage.restore(&saved).expect("own snapshot");
        prop_assert_eq!(stage.save(), saved);
    }
}
