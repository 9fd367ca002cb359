//! What belongs to one event, or to one step, is judged together, whichever topic is read first.

use crate::correlate::{at, delivered, finding, findings, proposal, score, tick, uid};
use crate::story::DAY_ZERO;
use prunella_detect::correlate::{Config, Correlate, Input};
use prunella_schemas::{Command, Delivered, Outbox, Score, Stage};

#[test]
fn what_belongs_to_an_event_waits_for_all_of_it() {
    // An hour of events: what came of some of them is on other topics than their scores.
    let story = || {
        (0..3_600u64).map(|n| {
            let (time, is_marked) = (DAY_ZERO.plus_ms(n as i64 * 1_000), n % 600 == 599);
            let Input::Score(score) = score(n, time, Some(0.5)) else { unreachable!() };
            let who = ["ann", "bob", "eve"][n as usize / 600 % 3];
            let leads_to = if is_marked { 2 } else { 0 };
            let mut rule = finding(n, time, who, ("privilege_change", 1), 4);
            rule.prunella.completed_by = Some(uid(n));
            let others =
                [proposal(n, time, who, 4e-5 * (n + 1) as f64 / 600.0), Input::Finding(Box::new(rule))];
            (Input::Score(Score { leads_to, ..score }), others.into_iter().filter(move |_| is_marked))
        })
    };
    let scores: Vec<Input> = story().map(|(score, _)| score).collect();
    let others: Vec<Input> = story().flat_map(|(_, others)| others).collect();
    // Those of `first` come at once, the rest `gap_ms` later; time is told in between.
    let told = |first: &[&[Input]], rest: &[Input], gap_ms: i64| {
        let (mut stage, mut out) = (Correlate::new(Config::default()), Outbox::default());
        let (begin, end) = (at(100), at(100).plus_ms(gap_ms));
        let first = first.concat().into_iter().map(|input| delivered(input, begin));
        stage.step(&first.collect::<Vec<_>>(), &mut out);
        while let Some(due) = stage.next_due().filter(|due| *due < end) {
            stage.step(&[delivered(Input::Command(Box::new(Command::Tick { at: due })), due)], &mut out);
        }
        let rest = rest.iter().map(|input| delivered(input.clone(), end));
        stage.step(&rest.collect::<Vec<_>>(), &mut out);
        let mut all = out.drain();
        all.extend(tick(&mut stage));
        all
    };
    let want = told(&[&scores, &others], &[], 0);
    assert!(findings(&want).len() >= 2, "{} findings are no test", want.len());
    for gap_ms in [1, 300, 9_000] {
        assert_eq!(told(&[&others], &scores, gap_ms), want, "the scores {gap_ms} ms later");
        assert_eq!(told(&[&scores], &others, gap_ms), want, "the scores {gap_ms} ms before");
        assert_eq!(
            told(&[&others[..3], &scores[..2_000]], &[&scores[2_000..], &others[3..]].concat(), gap_ms),
            want
        );
    }
    assert_ne!(told(&[&others], &scores, 11_000), want, "it does not wait for ever");
}

#[test]
fn the_order_of_topics_within_a_step_changes_nothing() {
    // One step of `detect` judged an hour of events: all its scores stand before its signals, or the other way round.
    let scores = || (0..600).map(|n| delivered(score(n, at(n as i64 / 10), Some(0.5)), at(100)));
    let signals = || (0..3).map(|n| delivered(proposal(900 + n, at(n as i64 * 20), "ann", 2e-4), at(100)));
    let end = Command::Tick { at: at(10_000) };
    let told = |inputs: Vec<Delivered<Input>>| {
        let (mut stage, mut out) = (Correlate::new(Config::default()), Outbox::default());
        stage.step(&inputs, &mut out);
        stage.step(&[delivered(Input::Command(Box::new(end.clone())), at(10_000))], &mut out);
        out.drain().into_iter().map(|posted| posted.bytes).collect::<Vec<_>>()
    };
    let first = told(scores().chain(signals()).collect());
    assert!(!first.is_empty());
    assert_eq!(first, told(signals().chain(scores()).collect()));
}
