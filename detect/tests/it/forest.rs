//! The isolation forest: one result on every kernel, repeatable, as accurate as the reference, polite to bad input.

use linfa::DatasetBase;
use linfa::traits::{Fit, Predict};
use ndarray::{Array1, Array2, ArrayView1, ArrayView2, Axis, s};
use proptest::prelude::*;
use prunella_detect::forest::{
    CHANGES_MAX, Error, FEATURES_MAX, Forest, Kernel, Model, Params, TREES_MAX, average_path,
};
use std::path::PathBuf;

/// Numbers as they come, and those that break programs.
fn value() -> impl Strategy<Value = f32> {
    prop_oneof![
        6 => -100.0..100.0f32,
        3 => (-3..4i8).prop_map(f32::from),
        1 => prop::sample::select(vec![
            f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, f32::MIN_POSITIVE, 1e-45, -1e-45, 0.0, -0.0,
        ]),
    ]
}

/// A table with some constant and some binary columns.
fn table() -> impl Strategy<Value = Array2<f32>> {
    (prop_oneof![4 => 1..=64usize, 1 => 65..=80usize], 2..=200usize).prop_flat_map(|(features, rows)| {
        let values = prop::collection::vec(value(), features * rows);
        let kinds = prop::collection::vec(0..6u8, features);
        (values, kinds).prop_map(move |(values, kinds)| {
            let mut table = Array2::from_shape_vec((rows, features), values).unwrap();
            for (mut column, kind) in table.columns_mut().into_iter().zip(kinds) {
                match kind {
                    0 => column.fill(2.5),
                    1 => column.mapv_inplace(|value| f32::from(value > 0.0)),
                    _ => {}
                }
            }
            table
        })
    })
}

fn scores(forest: &Forest, rows: ArrayView2<'_, f32>, kernel: Kernel) -> Vec<u32> {
    let mut scores = vec![0.0; rows.nrows()];
    forest.score_into(rows, &mut scores, kernel).unwrap();
    scores.iter().map(|score| score.to_bits()).collect()
}

proptest! {
    #![proptest_config(crate::cases(3))]

    #[test]
    fn every_kernel_and_every_batch_gives_the_same_bits(
        training in table(), more in prop::collection::vec(value(), 80 * 40), trees in 1..150usize, seed in any::<u64>(),
    ) {
        let features = training.ncols();
        let forest = Params { trees, sample: 64, seed, ..Params::default() }.fit_rows(training.view()).unwrap();
        let strangers = Array2::from_shape_vec((40, features), more[..40 * features].to_vec()).unwrap();
        for rows in [training.view(), strangers.view()] {
            let want = scores(&forest, rows, Kernel::SCALAR);
            prop_assert!(want.iter().all(|bits| (0.0..=1.0).contains(&f32::from_bits(*bits))));
            for kernel in Kernel::available() {
                prop_assert_eq!(&scores(&forest, rows, kernel), &want, "{}", kernel.name());
                let single: Vec<u32> =
                    rows.axis_chunks_iter(Axis(0), 1).flat_map(|row| scores(&forest, row, kernel)).collect();
                prop_assert_eq!(&single, &want, "{} row by row", kernel.name());
            }
            // Columns one after the other in memory.
            let turned = rows.t().as_standard_layout().into_owned();
            prop_assert_eq!(&scores(&forest, turned.t(), Kernel::best()), &want);
        }
    }

    #[test]
    fn a_forest_is_its_data(training in table(), seed in any::<u64>()) {
        let forest = Params { trees: 5, sample: 32, seed, ..Params::default() }.fit_rows(training.view()).unwrap();
        let again: Forest = serde_json::from_str(&serde_json::to_string(&forest).unwrap()).unwrap();
        prop_assert_eq!(&again, &forest);
        prop_assert_eq!(Params { trees: 5, sample: 32, seed, ..Params::default() }.fit_rows(training.view()).unwrap(), forest);
    }
}

#[test]
fn the_longest_paths_of_the_most_trees_add_up() {
    let rows = cloud(100, 3);
    let usual = Params { trees: TREES_MAX, ..Params::default() }.fit_rows(rows.view()).unwrap();
    let mut model: Model = usual.into();
    model.thresholds.fill(f32::INFINITY.to_bits());
    // The most that a leaf may be has its low bits clear: one less has them all set.
    model.leaves.fill(19 * 65_536 - 1);
    let forest = Forest::try_from(model).unwrap();
    let want = scores(&forest, rows.view(), Kernel::SCALAR);
    assert!(want.iter().all(|bits| *bits == want[0] && (0.1..0.4).contains(&f32::from_bits(*bits))));
    for kernel in Kernel::available() {
        assert_eq!(scores(&forest, rows.view(), kernel), want, "{}", kernel.name());
    }
}

/// Checks that base and shares of each row sum up to the logarithm of its score.
fn check_shares(forest: &Forest, rows: ArrayView2<'_, f32>) {
    let scores = forest.score(rows).unwrap();
    for (row, score) in rows.rows().into_iter().zip(scores) {
        let found = forest.attribute(&row.to_vec()).unwrap();
        assert_eq!(found.shares.len(), rows.ncols());
        let want = f64::from(score).log2();
        assert!(
            (found.total() - want).abs() < 1e-6,
            "{} features: {} != {want}",
            rows.ncols(),
            found.total()
        );
    }
}

proptest! {
    #![proptest_config(crate::cases(4))]

    #[test]
    fn shares_sum_up_and_changes_flip_for_any_table(
        training in table(), strangers in prop::collection::vec(value(), 80 * 5), usual in prop::collection::vec(value(), 80),
        fixed in prop::collection::vec(any::<bool>(), 80), below in 0.3..0.8f32,
    ) {
        let features = training.ncols();
        let forest = Params { trees: 30, sample: 64, ..Params::default() }.fit_rows(training.view()).unwrap();
        let strangers = Array2::from_shape_vec((5, features), strangers[..5 * features].to_vec()).unwrap();
        check_shares(&forest, training.slice(s![..training.nrows().min(10), ..]));
        check_shares(&forest, strangers.view());
        for row in strangers.rows() {
            let row = row.to_vec();
            let found = forest.counterfactual(&row, &usual[..features], |feature| fixed[feature], below).unwrap();
            let Some(change) = found else { continue };
            prop_assert!(change.features.len() <= CHANGES_MAX);
            let mut changed = row.clone();
            for (feature, value) in change.features.iter().zip(&change.values) {
                prop_assert!(!fixed[*feature] && value.is_finite());
                let (from, to) = (row[*feature], usual[*feature]);
                prop_assert!(!from.is_finite() || (from.min(to)..=from.max(to)).contains(value), "{} {} {}", from, to, value);
                changed[*feature] = *value;
            }
            let score = forest.score_row(ArrayView1::from(&changed)).unwrap();
            prop_assert!(score < below && score == change.score, "{} {}", score, change.score);
            let already = forest.score_row(ArrayView1::from(&row)).unwrap() < below;
            prop_assert_eq!(already, change.features.is_empty());
        }
    }
}

/// A cloud around the origin whose last row is far away.
fn cloud(rows: usize, features: usize) -> Array2<f32> {
    let mut state = 1u32;
    let mut table = Array2::from_shape_simple_fn((rows, features), || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 16_777_216.0
    });
    table.row_mut(rows - 1).fill(9.0);
    table
}

#[test]
fn an_outlier_scores_more_than_any_inlier_whatever_the_number_of_features() {
    for features in [1, 4, 16, 17, 32, 33, 64, 65, 300] {
        let rows = cloud(500, features);
        for seed in 0..3 {
            let forest = Params { seed, ..Params::default() }.fit_rows(rows.view()).unwrap();
            let scores = forest.score(rows.view()).unwrap();
            let inliers = scores.slice(s![..499]);
            let most = inliers.iter().fold(0.0, |most: f32, score| most.max(*score));
            assert!(scores[499] > most, "{features} features: {} <= {most}", scores[499]);
            assert!((0.3..0.6).contains(&inliers.mean().unwrap()), "{features}: {:?}", inliers.mean());
            assert_eq!(forest.score_row(rows.row(499)).unwrap(), scores[499]);
        }
    }
}

#[test]
fn a_seed_decides_everything() {
    let rows = cloud(300, 8);
    let fit = |seed| Params { seed, ..Params::default() }.fit_rows(rows.view()).unwrap();
    assert_eq!(fit(1), fit(1));
    assert_ne!(fit(1), fit(2));
    // A tree depends on the seed and its number, not on how many others there are, nor on the threads that grow them.
    let few: Model = Params { trees: 3, seed: 1, ..Params::default() }.fit_rows(rows.view()).unwrap().into();
    let many: Model = fit(1).into();
    assert_eq!(few.thresholds, many.thresholds[..few.thresholds.len()]);
    for features in [8, 70] {
        let rows = cloud(300, features);
        let fit =
            |trees, threads| Params { trees, threads, ..Params::default() }.fit_rows(rows.view()).unwrap();
        for (trees, threads) in [(100, 2), (100, 3), (100, 64), (2, 5), (1, 2)] {
            assert_eq!(fit(trees, threads), fit(trees, 1), "{trees} trees on {threads} threads");
        }
    }
}

#[test]
fn rows_that_are_all_alike_score_alike() {
    let forest = Params::default().fit_rows(Array2::from_elem((50, 3), 7.0).view()).unwrap();
    let scores = forest.score(Array2::from_elem((2, 3), 7.0).view()).unwrap();
    assert!((scores[0] - 0.5).abs() < 1e-5 && scores[0] == scores[1], "{scores}");
}

#[test]
fn values_that_are_not_finite_are_counted_and_harm_nobody() {
    let mut rows = cloud(200, 4);
    for (at, value) in [(0, f32::NAN), (1, f32::INFINITY), (2, f32::NEG_INFINITY)] {
        rows[[at, 1]] = value;
    }
    rows.column_mut(3).fill(f32::NAN);
    let forest = Params::default().fit_rows(rows.view()).unwrap();
    assert_eq!(forest.not_finite(), 203);
    let scores = forest.score(rows.view()).unwrap();
    assert!(scores.iter().all(|score| (0.0..=1.0).contains(score)), "{scores}");
    assert!(scores[199] > scores[100]);
}

#[test]
fn what_cannot_be_trained_is_refused_with_the_reason() {
    let check = |params: &Params, rows: Array2<f32>, want: &str| {
        let error = params.fit_rows(rows.view()).unwrap_err().to_string();
        assert!(error.contains(want), "{error:?} lacks {want:?}");
    };
    let usual = Params::default();
    check(&usual, Array2::zeros((0, 4)), "cannot train on 0 row(s)");
    check(&usual, Array2::zeros((1, 4)), "cannot train on 1 row(s)");
    check(&usual, Array2::zeros((9, 0)), "0 features");
    check(&usual, Array2::zeros((2, FEATURES_MAX + 1)), "4097 features");
    check(&Params { trees: 0, ..usual }, Array2::zeros((9, 4)), "0 trees");
    check(&Params { trees: TREES_MAX + 1, ..usual }, Array2::zeros((9, 4)), "1001 trees");
    check(&Params { threads: 0, ..usual }, Array2::zeros((9, 4)), "0 threads");
    check(&Params { threads: 65, ..usual }, Array2::zeros((9, 4)), "65 threads");
    check(&Params { sample: 1, ..usual }, Array2::zeros((9, 4)), "sample of 1 rows");
    check(&Params { sample: 257, ..usual }, Array2::zeros((9, 4)), "sample of 257 rows");
}

#[test]
fn a_model_that_does_not_fit_is_refused_with_the_reason() {
    let packed: Model = Params::default().fit_rows(cloud(100, 5).view()).unwrap().into();
    let wide: Model = Params::default().fit_rows(cloud(100, 70).view()).unwrap().into();
    let check = |model: &Model, change: fn(&mut Model), want: &str| {
        let mut model = model.clone();
        change(&mut model);
        let error = Forest::try_from(model.clone()).unwrap_err().to_string();
        assert!(error.contains(want), "{error:?} lacks {want:?}");
        let text = serde_json::to_string(&model).unwrap();
        assert!(serde_json::from_str::<Forest>(&text).unwrap_err().to_string().contains(want));
    };
    check(&packed, |m| m.version = 2, "version 2, and this program reads version 1");
    check(&packed, |m| m.features = 4, "the features of its nodes");
    check(&packed, |m| m.features = 0, "its number of features");
    check(&packed, |m| m.sample = 1, "its sample");
    check(&packed, |m| m.thresholds.truncate(300), "its number of thresholds");
    check(&packed, |m| m.thresholds.clear(), "its number of thresholds");
    check(&packed, |m| m.leaves[3] = u32::MAX, "its leaves");
    check(&packed, |m| m.node_features.push(1), "the features of its nodes");
    check(&wide, |m| m.node_features[9] = 70, "the features of its nodes");
    check(&wide, |m| m.node_features.clear(), "the features of its nodes");
    let forest = Forest::try_from(packed).unwrap();
    let error = forest.score(Array2::zeros((3, 6)).view()).unwrap_err();
    assert!(matches!(error, Error::FeatureCount { model: 5, given: 6 }), "{error}");
    let error = forest.score_into(Array2::zeros((3, 5)).view(), &mut [0.0], Kernel::SCALAR).unwrap_err();
    assert!(matches!(error, Error::Room { given: 3, room: 1 }), "{error}");
}

#[test]
fn it_is_fitted_and_predicts_as_linfa_users_expect() {
    let rows = cloud(300, 16);
    let forest = Params::default().fit(&DatasetBase::from(rows.clone())).unwrap();
    let by_rows: Array1<f32> = forest.predict(&rows);
    assert_eq!(by_rows, forest.score(rows.view()).unwrap());
    let by_dataset = forest.predict(DatasetBase::from(rows.clone()));
    assert_eq!(by_dataset.targets, by_rows);
    assert!(forest.predict(&rows.slice(s![.., ..3]).to_owned()).iter().all(|score| score.is_nan()));
    assert!(Params::default().fit(&DatasetBase::from(Array2::<f32>::zeros((1, 2)))).is_err());
}

#[test]
fn the_average_path_is_public_and_right() {
    assert_eq!((average_path(1), average_path(2)), (0.0, 1.0));
    assert!((average_path(256) - 10.248_69).abs() < 1e-5);
}

#[test]
fn shares_sum_up_to_the_score_whatever_the_number_of_features() {
    for features in [1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 300] {
        let rows = cloud(300, features);
        let forest = Params::default().fit_rows(rows.view()).unwrap();
        check_shares(&forest, rows.slice(s![270.., ..]));
    }
    let forest = Params::default().fit_rows(cloud(300, 4).view()).unwrap();
    let error = forest.attribute(&[0.0; 5]).unwrap_err();
    assert!(matches!(error, Error::FeatureCount { model: 4, given: 5 }), "{error}");
    assert!(forest.counterfactual(&[0.0; 4], &[0.0; 3], |_| false, 0.5).is_err());
    assert!(forest.counterfactual(&[], &[], |_| false, 0.5).is_err());
}

/// Rows of features of different scale, some of which move together, as those of real accounts do.
fn accounts(rows: usize, features: usize) -> Array2<f32> {
    let mut state = 5u64;
    let mut bell = move || {
        let mut unit = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / 16_777_216.0
        };
        // The sum of twelve has variance one.
        (0..12).map(|_| unit()).sum::<f32>() - 6.0
    };
    let mut table = Array2::zeros((rows, features));
    for mut row in table.rows_mut() {
        let busy = bell();
        for (feature, value) in row.iter_mut().enumerate() {
            let own = bell();
            *value = (if feature % 4 == 0 { 0.6 * busy + 0.8 * own } else { own }) * (1 + feature) as f32;
        }
    }
    table
}

#[test]
fn a_planted_culprit_is_among_the_three_largest_shares_and_undoing_it_flips_the_score() {
    const ATTACKS: usize = 2_000;
    let mut rows = accounts(4_096 + ATTACKS, 16);
    rows.column_mut(15).fill(1.5);
    let forest = Params { seed: 3, ..Params::default() }.fit_rows(rows.slice(s![..4_096, ..])).unwrap();
    let mut scores = forest.score(rows.slice(s![..4_096, ..])).unwrap().to_vec();
    scores.sort_by(f32::total_cmp);
    let alarm = scores[4_096 * 9 / 10];
    let (mut among_three, mut alarms, mut changes, mut of_culprit) = (0, 0, 0, 0);
    let (mut of_culprits, mut of_others) = (0.0, 0.0);
    for attack in 0..ATTACKS {
        let mut row = rows.row(4_096 + attack).to_vec();
        let culprit = attack % 15;
        let sign = if attack % 2 == 0 { 1.0 } else { -1.0 };
        row[culprit] = sign * (4.0 + (attack % 40) as f32 / 10.0) * (1 + culprit) as f32;
        let found = forest.attribute(&row).unwrap();
        among_three += usize::from(found.ranked()[..3].contains(&culprit));
        of_culprits += found.shares[culprit];
        // The next feature is what it always is: a control that has nothing to do with the attack.
        of_others += found.shares[(culprit + 1) % 15];
        assert_eq!(found.shares[15], 0.0, "a constant feature has no share");
        assert_eq!(forest.attribute(&row).unwrap(), found);
        if forest.score_row(ArrayView1::from(&row)).unwrap() >= alarm {
            alarms += 1;
            // A row that was rare before the attack may need more than three features to be usual.
            let Some(change) = forest.counterfactual(&row, &[0.0; 16], |_| false, alarm).unwrap() else {
                continue;
            };
            assert!(change.score < alarm);
            changes += 1;
            of_culprit += usize::from(change.features.contains(&culprit));
        }
    }
    assert!(among_three * 100 >= ATTACKS * 95, "{among_three} of {ATTACKS}");
    assert!(of_others.abs() < 0.1 * of_culprits, "{of_others} beside {of_culprits}");
    assert!(alarms >= ATTACKS / 4 && changes * 100 >= alarms * 95, "{changes} changes for {alarms} alarms");
    // Rows just above the alarm are also cleared by less than their culprit.
    assert!(of_culprit * 3 >= changes * 2, "{of_culprit} of {changes} changes are of the culprit");
}

/// Mean AUC of scikit-learn 1.9.1 (100 trees, sample 256, seeds 0 to 9) and its standard deviation over seeds.
const REFERENCE: [(&str, f64, f64); 14] = [
    ("wbc", 0.99521, 0.00062),
    ("breastw", 0.98726, 0.00137),
    ("pima", 0.67068, 0.00741),
    ("ionosphere", 0.84609, 0.00643),
    ("thyroid", 0.97811, 0.00396),
    ("annthyroid", 0.81842, 0.01695),
    ("satimage-2", 0.99357, 0.00131),
    ("satellite", 0.70079, 0.01981),
    ("arrhythmia", 0.80897, 0.00980),
    ("mammography", 0.86148, 0.00754),
    ("shuttle", 0.99704, 0.00050),
    ("smtp", 0.90429, 0.00628),
    ("http", 0.99959, 0.00042),
    ("cover", 0.87743, 0.03662),
];

/// Seeds of ours; few, so that the test is quick without optimisation.
const SEEDS: u64 = 4;
/// Larger tables are for `prunella lab forest`.
const ROWS_MAX: usize = 6_000;

#[test]
fn tables_of_the_field_are_scored_as_well_as_by_the_reference() {
    for (name, reference, deviation) in REFERENCE {
        let Some((rows, labels)) = load(name) else { continue };
        if rows.nrows() > ROWS_MAX {
            continue;
        }
        let auc = |seed| {
            let forest = Params { seed, ..Params::default() }.fit_rows(rows.view()).unwrap();
            area_under_curve(&forest.score(rows.view()).unwrap(), &labels)
        };
        let mean = (0..SEEDS).map(auc).sum::<f64>() / SEEDS as f64;
        // Three standard deviations of the difference of the two means, and the rounding of the reference.
        let floor = reference - 3.0 * deviation * (0.1 + 1.0 / SEEDS as f64).sqrt() - 0.001;
        assert!(mean >= floor, "{name}: AUC {mean:.5} is below {floor:.5}");
    }
}

#[allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "finds the shared data, and says so when absent"
)]
fn load(name: &str) -> Option<(Array2<f32>, Vec<bool>)> {
    let default = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data");
    let root = PathBuf::from(std::env::var("PRUNELLA_SHARED_DATA").unwrap_or_else(|_| default.into()));
    let path = root.join("adbench").join(format!("{name}.npz"));
    let Ok(file) = std::fs::File::open(&path) else {
        eprintln!("SKIPPED: {} is not here", path.display());
        return None;
    };
    let mut arrays = ndarray_npy::NpzReader::new(file).unwrap();
    let rows: Array2<f64> = arrays.by_name("X").unwrap();
    let labels: Array1<i64> = arrays.by_name("y").unwrap();
    Some((rows.mapv(|value| value as f32), labels.iter().map(|label| *label == 1).collect()))
}

/// The share of pairs, one anomaly and one normal row, that the scores put in order; ties count half.
fn area_under_curve(scores: &Array1<f32>, labels: &[bool]) -> f64 {
    let mut order: Vec<(f32, bool)> = scores.iter().copied().zip(labels.iter().copied()).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut below, mut won) = (0.0, 0.0);
    for tied in order.chunk_by(|a, b| a.0 == b.0) {
        let anomalies = tied.iter().filter(|(_, anomaly)| *anomaly).count() as f64;
        let normal = tied.len() as f64 - anomalies;
        won += anomalies * (below + normal / 2.0);
        below += normal;
    }
    won / (below * (scores.len() as f64 - below))
}
