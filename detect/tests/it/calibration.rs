//! Calibration and training as a whole: p-values that hold, models that take over at the same event in every replay,
//! candidates and snapshots that are refused with the reason.

use proptest::prelude::*;
use prunella_detect::calibration::{CLASS_SCORES_MIN, Calibrator, Tally};
use prunella_detect::training::{
    Error, FEATURES, Learner, Lesson, Outcome, Refusal, TRAINING_ROWS_MIN, Trained, VERSION, Why,
};
use prunella_schemas::{Id, Timestamp};
use std::ops::Range;
use std::sync::LazyLock;

const NAMES: [&str; FEATURES] =
    ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p"];
const MINUTE_MS: i64 = 60_000;
const DAY_MS: i64 = 24 * 60 * MINUTE_MS;

/// Uniform in 0..1, from a number.
fn unit(number: u64) -> f32 {
    let z = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 40) as f32 / 16_777_216.0
}

/// An ordinary event of one of 200 principals, one a minute.
fn lesson(number: u64) -> Lesson {
    let value = |feature: usize| {
        let first = (number * FEATURES as u64 + feature as u64) * 6;
        (0..6).map(|k| unit(first + k)).sum::<f32>() - 3.0
    };
    Lesson {
        row: std::array::from_fn(value),
        class_uid: if number.is_multiple_of(4) { 3002 } else { 6003 },
        principal: number * 7 % 200,
        event: Id::derive("event", &[&number.to_le_bytes()]),
        time: Timestamp(number as i64 * MINUTE_MS),
        score: None,
        is_flagged: false,
    }
}

/// An event far from all others.
fn strange(number: u64) -> Lesson {
    Lesson { row: std::array::from_fn(|feature| if feature < 8 { 9.0 } else { 0.0 }), ..lesson(number) }
}

/// A learner, and when it trained what.
type Taught = (Learner, Vec<(u64, Trained)>);

/// A learner after so many events: learnt once for all tests, as far as they agree.
fn taught(events: u64) -> Taught {
    const SHARED: [u64; 5] = [2_048, 2_300, 3_000, 4_000, 6_000];
    static TAUGHT: LazyLock<Vec<Taught>> = LazyLock::new(|| {
        let (mut learner, mut trained, mut done) = (Learner::new(&NAMES, 7), Vec::new(), 0);
        let mut until = |events: u64| {
            teach(&mut learner, done..events, &mut trained);
            done = events;
            (learner.clone(), trained.clone())
        };
        SHARED.into_iter().map(&mut until).collect()
    });
    if let Some(at) = SHARED.iter().position(|shared| *shared == events) {
        return TAUGHT[at].clone();
    }
    let (mut learner, mut trained) = (Learner::new(&NAMES, 7), Vec::new());
    teach(&mut learner, 0..events, &mut trained);
    (learner, trained)
}

fn teach(learner: &mut Learner, events: Range<u64>, trained: &mut Vec<(u64, Trained)>) {
    trained.extend(events.filter_map(|number| learner.observe(&lesson(number)).map(|t| (number, t))));
}

fn saved(learner: &Learner) -> Vec<u8> {
    let mut bytes = Vec::new();
    learner.save(&mut bytes).unwrap();
    bytes
}

#[test]
fn p_values_hold_and_a_stranger_is_rare() {
    let (learner, _) = taught(6_000);
    let model = learner.model().unwrap();
    for alpha in [0.2, 0.05, 0.01] {
        let is_rare = |number: &u64| {
            let lesson = lesson(*number);
            model.p_value(lesson.class_uid, model.score(&lesson.row)) <= alpha
        };
        let rate = (100_000..120_000).filter(is_rare).count() as f64 / 20_000.0;
        assert!((0.6..1.5).contains(&(rate / alpha)), "{rate} at {alpha}");
    }
    let p = model.p_value(6003, model.score(&strange(1).row));
    assert!(p > 0.0 && p < 1e-3, "{p}");
}

#[test]
fn it_trains_first_and_daily_and_the_passport_says_on_what() {
    let (learner, trained) = taught(6_000);
    let whys: Vec<&Why> = trained.iter().map(|(_, trained)| &trained.why).collect();
    assert_eq!(whys[..3], [&Why::First, &Why::Daily, &Why::Daily]);
    assert!((2_048..2_300).contains(&trained[0].0), "{}", trained[0].0);
    assert_eq!(trained[1].0 - trained[0].0, 24 * 60);
    let numbers: Vec<u32> = trained
        .iter()
        .map(|(_, trained)| match trained.outcome {
            Outcome::Swapped { number } => number,
            Outcome::Refused(_) => 0,
        })
        .collect();
    assert_eq!(numbers, (1..=numbers.len() as u32).collect::<Vec<_>>());
    let model = learner.model().unwrap();
    assert_eq!(model.number as usize, numbers.len());
    let on = &model.trained_on;
    assert_eq!((on.sources, on.from < on.to), (200, true));
    assert!(on.trimmed > 0 && on.held_out > 1_024, "{on:?}");
    for usual in &model.usual {
        assert!(usual.low < -0.5 && usual.median.abs() < 0.2 && usual.high > 0.5, "{usual:?}");
    }
}

#[test]
fn a_replay_from_a_snapshot_swaps_at_the_same_event_to_the_same_model() {
    let (whole, trained) = taught(4_000);
    let cuts = [trained[0].0 + 1, 1_500, 0, trained[0].0, 3_000];
    for cut in cuts.into_iter().take(1 + crate::effort() as usize) {
        let (first, _) = taught(cut);
        let bytes = saved(&first);
        let mut second = Learner::restore(&NAMES, &bytes).unwrap();
        assert_eq!(saved(&second), bytes, "cut at {cut}");
        (cut..4_000).for_each(|number| drop(second.observe(&lesson(number))));
        assert_eq!(saved(&second), saved(&whole), "cut at {cut}");
    }
}

#[test]
fn the_event_that_completes_a_training_still_met_the_old_model() {
    let (mut learner, trained) = taught(2_048);
    assert!(learner.model().is_none() && trained.is_empty());
    let mut number = 2_048;
    while learner.observe(&lesson(number)).is_none() {
        assert!(learner.model().is_none());
        number += 1;
    }
    assert_eq!(learner.model().map(|model| model.number), Some(1));
}

#[test]
fn what_was_flagged_is_not_learnt() {
    let mut learner = Learner::new(&NAMES, 7);
    for number in 0..3_000 {
        learner.observe(&lesson(number));
        let attack = strange(1_000_000 + number);
        let time = lesson(number).time;
        learner.observe(&Lesson { is_flagged: true, principal: 9_999, time, ..attack });
    }
    let model = learner.model().unwrap();
    assert!(model.usual.iter().all(|usual| usual.most < 4.0));
    // At most one event in a thousand of those flagged stands in the calibration, however many there are.
    assert!(model.p_value(6003, model.score(&strange(1).row)) < 0.01);
}

#[test]
fn attacks_that_nobody_flagged_do_not_hide_the_next_one() {
    let mut learner = Learner::new(&NAMES, 7);
    for number in 0..6_000 {
        let time = lesson(number).time;
        let lesson = match number % 100 {
            99 => Lesson { principal: 9_000 + number / 100 % 2, time, ..strange(1_000_000 + number) },
            _ => lesson(number),
        };
        learner.observe(&lesson);
    }
    let model = learner.model().unwrap();
    let p = model.p_value(6003, model.score(&strange(1).row));
    assert!(
        p < 1e-3,
        "{p}: one event in a hundred is like this, but all of two principals who do nothing else"
    );
}

#[test]
fn one_principal_does_not_speak_for_a_class() {
    let mut learner = Learner::new(&NAMES, 7);
    for number in 0..8_000 {
        learner.observe(&lesson(number));
        let time = lesson(number).time;
        learner.observe(&Lesson { principal: 9_999, time, ..strange(1_000_000 + number) });
    }
    let model = learner.model().unwrap();
    let p = model.p_value(6003, model.score(&strange(1).row));
    assert!(p < 0.1, "{p}: half of all events are like this, by one of 201 principals");
}

#[test]
fn drift_is_seen_in_512_events_learnt_and_quiet_again() {
    let (mut learner, _) = taught(4_000);
    // Two standard deviations of a sum of six uniform numbers.
    let shifted = |number: u64| {
        let mut lesson = lesson(number);
        lesson.row[3] += 1.42;
        lesson
    };
    let mut numbers = 4_000..9_000;
    let seen = numbers.find(|number| {
        learner.observe(&shifted(*number));
        !learner.shifts().is_empty()
    });
    assert!(seen.unwrap() < 4_512, "{seen:?}");
    assert_eq!(learner.shifts().iter().map(|shift| shift.feature).collect::<Vec<_>>(), [Some(3)]);
    let learnt = numbers.find_map(|number| learner.observe(&shifted(number)).map(|trained| trained.why));
    assert_eq!(learnt, Some(Why::Drift));
    assert!(learner.shifts().is_empty());
    let model = learner.model().unwrap();
    assert!(model.usual[3].high > 1.5, "{:?}", model.usual[3]);
}

#[test]
fn a_candidate_that_no_longer_sees_extremes_is_refused_and_the_old_model_stays() {
    let (mut learner, _) = taught(3_000);
    let before = learner.model().cloned().unwrap();
    let anything = |number: u64| {
        let mut lesson = lesson(number);
        lesson.row = lesson.row.map(|value| value * 12.0);
        lesson
    };
    let trained = learner.train_on((10_000..30_000).map(anything)).unwrap();
    assert_eq!(trained.why, Why::Asked);
    let refused =
        matches!(trained.outcome, Outcome::Refused(Refusal::Canaries { .. } | Refusal::AlertRate { .. }));
    assert!(refused, "{trained:?}");
    let after = learner.model().unwrap();
    assert_eq!((after.number, after.fingerprint), (before.number, before.fingerprint));
}

#[test]
fn a_sudden_quiet_is_refused_until_candidates_insist() {
    let (mut learner, _) = taught(3_000);
    let moved = |number: u64| {
        let mut lesson = lesson(number);
        lesson.row[1] += 2.2;
        lesson.row[2] -= 2.2;
        lesson
    };
    let mut outcomes = (0..3).map(|round| {
        let from = 10_000 + round * 20_000;
        learner.train_on((from..from + 20_000).map(moved)).unwrap().outcome
    });
    for _ in 0..2 {
        let outcome = outcomes.next().unwrap();
        let Outcome::Refused(Refusal::AlertRate { before, after }) = outcome else { panic!("{outcome:?}") };
        assert!(before > 0.04 && after < 0.02, "{before} then {after}");
    }
    assert_eq!(outcomes.next(), Some(Outcome::Swapped { number: 2 }));
}

#[test]
fn an_empty_or_one_sided_past_is_refused_and_a_constant_one_is_not() {
    let mut learner = Learner::new(&NAMES, 7);
    let error = learner.train_on([]).unwrap_err();
    assert!(matches!(error, Error::Rows { rows: 0, held_out: 0 }), "{error}");
    assert!(error.to_string().contains("cannot train on 0 row(s)"));
    let flagged = (0..9_000).map(|number| Lesson { is_flagged: true, ..lesson(number) });
    assert!(matches!(learner.train_on(flagged), Err(Error::Rows { rows: 0, .. })));
    assert!(learner.model().is_none());
    let mut constant = Learner::new(&NAMES, 7);
    let alike =
        (0..3 * TRAINING_ROWS_MIN as u64).map(|number| Lesson { row: [1.0; FEATURES], ..lesson(number) });
    constant.train_on(alike).unwrap();
    let model = constant.model().unwrap();
    assert_eq!(model.p_value(6003, model.score(&[1.0; FEATURES])), 1.0);
}

#[test]
fn values_that_are_not_finite_are_replaced_and_strange_ones_counted() {
    let mut learner = Learner::new(&NAMES, 7);
    for number in 0..4_000 {
        let mut lesson = lesson(number);
        lesson.row[number as usize % FEATURES] =
            [f32::NAN, f32::INFINITY, f32::NEG_INFINITY][number as usize / 16 % 3];
        learner.observe(&lesson);
    }
    let model = learner.model().unwrap();
    let mut row = [0.0; FEATURES];
    (row[0], row[1], row[2]) = (f32::NAN, f32::INFINITY, 1e30);
    let sound = model.sound(&row);
    assert!(sound.iter().all(|value| value.is_finite()), "{sound:?}");
    assert_eq!((sound[0], sound[2]), (model.usual[0].median, 1e30));
    assert_eq!(model.beyond(&row), 2, "what is no number is not beyond anything");
    assert!((0.0..=1.0).contains(&model.score(&row)));
}

#[test]
fn a_snapshot_of_another_kind_is_refused_with_the_reason() {
    let (learner, _) = taught(2_300);
    let bytes = saved(&learner);
    let check = |names: &[&str], bytes: &[u8], want: &str| {
        let error = Learner::restore(names, bytes).unwrap_err().to_string();
        assert!(error.contains(want), "{error:?} lacks {want:?}");
    };
    let mut other = bytes.clone();
    other[0] = 9;
    check(&NAMES, &other, &format!("version 9, and this program reads version {VERSION}"));
    let mut names = NAMES;
    names.swap(0, 1);
    check(&names, &bytes, "another list of features");
    check(&NAMES[..15], &bytes, "another list of features");
    check(&NAMES, &[], "broken at its version");
    for len in [4, 5, 40, bytes.len() / 2, bytes.len() - 1] {
        check(&NAMES, &bytes[..len], "the model is broken");
    }
}

#[test]
fn a_class_has_a_table_of_its_own_once_it_has_enough_scores() {
    let scores = |tally: &mut Tally, class_uid, n: u64, from: f32| {
        (0..n).for_each(|number| tally.add(class_uid, from + unit(number) * 0.1));
    };
    let mut tally = Tally::default();
    scores(&mut tally, 6003, 5_000, 0.3);
    scores(&mut tally, 3002, CLASS_SCORES_MIN, 0.5);
    scores(&mut tally, 4001, CLASS_SCORES_MIN - 1, 0.7);
    let calibrator = Calibrator::from(tally);
    assert_eq!(calibrator.of_class(6003).scores(), 5_000);
    assert_eq!(calibrator.of_class(3002).scores(), CLASS_SCORES_MIN);
    assert_eq!(calibrator.of_class(4001), calibrator.of_class(1));
    // What is ordinary for one class is rare for another.
    assert!(calibrator.p_value(3002, 0.55) > 0.4 && calibrator.p_value(6003, 0.55) < 0.001);
}

proptest! {
    #![proptest_config(crate::cases(8))]

    #[test]
    fn a_damaged_snapshot_is_read_or_refused_but_harms_nobody(at in 0.0..1.0f64, bit in 0..8u8) {
        static SAVED: LazyLock<Vec<u8>> = LazyLock::new(|| saved(&taught(2_300).0));
        let mut bytes = SAVED.clone();
        let at = (at * bytes.len() as f64) as usize;
        bytes[at] ^= 1 << bit;
        if let Ok(mut learner) = Learner::restore(&NAMES, &bytes) {
            (0..300).for_each(|number| drop(learner.observe(&lesson(9_000 + number))));
            let p_value = learner.model().map_or(1.0, |model| model.p_value(6003, 0.9));
            prop_assert!((0.0..=1.0).contains(&p_value), "{}", p_value);
        }
    }

    #[test]
    fn a_calibrator_is_its_tally(scores in prop::collection::vec((0..40u32, 0.0..1.0f32), 0..2_000)) {
        let mut tally = Tally::default();
        scores.iter().for_each(|(class_uid, score)| tally.add(*class_uid, *score));
        let calibrator = Calibrator::from(tally);
        let bytes = postcard::to_stdvec(&calibrator).unwrap();
        let again: Calibrator = postcard::from_bytes(&bytes).unwrap();
        prop_assert_eq!(&again, &calibrator);
        prop_assert_eq!(postcard::to_stdvec(&again).unwrap(), bytes);
    }
}

#[test]
fn a_day_without_events_does_not_start_trainings_one_after_the_other() {
    let (mut learner, _) = taught(3_000);
    let forged = |number: u64| {
        let time = if number.is_multiple_of(2) { Timestamp(number as i64 * DAY_MS) } else { Timestamp(0) };
        Lesson { time, ..lesson(number) }
    };
    let trainings = (3_000..6_000).filter(|number| learner.observe(&forged(*number)).is_some()).count();
    assert!(trainings <= 3, "{trainings}");
}
