//! Cluster: points into groups by k-means, with more seeds than groups; those that are one blob are joined again.
//!
//! Too many seeds and then joining finds the number of groups without trying each, and k-means' bad local optima
//! (two seeds in one blob, one for two others) heal.

use super::Error;
use super::profile::DIMENSIONS;
use linfa::DatasetBase;
use linfa::prelude::{Fit, ParamGuard, Predict};
use linfa_clustering::{KMeans, KMeansInit};
use linfa_nn::distance::L2Dist;
use ndarray::Array2;
use rand_xoshiro::Xoshiro256Plus;
use rand_xoshiro::rand_core::SeedableRng;

/// A saved seed would say nothing: the same points must give the same groups.
const SEED: u64 = 0x9E37_79B9;
const ITERATIONS_MAX: u64 = 40;
const TOLERANCE: f32 = 1e-3;
/// Two clusters are one blob while parting them explains less than this share of their variance along the line between
/// their centres. Halves of a bell give 0.64 and of an even spread 0.75; bells four deviations apart give 0.8.
const PARTING_MIN: f64 = 0.8;
/// A column narrower than this carries no information; it is not blown up.
const DEVIATION_MIN: f32 = 0.05;

pub(super) type Point = [f32; DIMENSIONS];

/// Makes columns comparable: clipped at their 1st and 99th percentile, mean 0, deviation 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub(super) struct Scale {
    low: Point,
    high: Point,
    mean: Point,
    deviation: Point,
}

impl Scale {
    pub fn of(points: &[Point]) -> Scale {
        let mut scale = Scale::default();
        for column in 0..DIMENSIONS {
            let mut values: Vec<f32> = points.iter().map(|point| point[column]).collect();
            values.sort_unstable_by(f32::total_cmp);
            let Some(last) = values.len().checked_sub(1) else { return scale };
            let (low, high) = (values[last / 100], values[last - last / 100]);
            let count = values.len() as f64;
            let clipped = || values.iter().map(|value| f64::from(value.clamp(low, high)));
            let mean = clipped().sum::<f64>() / count;
            let variance = clipped().map(|value| (value - mean) * (value - mean)).sum::<f64>() / count;
            scale.low[column] = low;
            scale.high[column] = high;
            scale.mean[column] = mean as f32;
            scale.deviation[column] = (variance.sqrt() as f32).max(DEVIATION_MIN);
        }
        scale
    }

    pub fn apply(&self, point: &Point) -> Point {
        let mut scaled = *point;
        for (column, value) in scaled.iter_mut().enumerate() {
            let clipped = value.max(self.low[column]).min(self.high[column]);
            *value = (clipped - self.mean[column]) / self.deviation[column];
        }
        scaled
    }

    pub fn holds(&self) -> bool {
        let finite = [self.low, self.high, self.mean].as_flattened().iter().all(|value| value.is_finite());
        finite && self.deviation.iter().all(|value| value.is_finite() && *value >= DEVIATION_MIN)
    }
}

/// Centres of groups of at least `members_min` of the points, at most `groups_max`.
pub(super) fn cluster(points: &[Point], members_min: usize, groups_max: usize) -> Result<Vec<Point>, Error> {
    let seeds = (points.len() / members_min).min(groups_max);
    if seeds == 0 {
        return Ok(Vec::new());
    }
    let flat = Array2::from_shape_fn((points.len(), DIMENSIONS), |(row, column)| points[row][column]);
    let points = DatasetBase::from(flat);
    let first = k_means(&points, seeds, KMeansInit::KMeansPlusPlus)?;
    let mut blobs = blobs(&points, &first);
    join_small(&mut blobs, members_min);
    while let Some((left, right)) = one_blob(&blobs) {
        join(&mut blobs, left, right);
    }
    let centres = Array2::from_shape_fn((blobs.len(), DIMENSIONS), |(row, column)| blobs[row].mean(column));
    let last = k_means(&points, blobs.len(), KMeansInit::Precomputed(centres))?;
    let mut blobs = self::blobs(&points, &last);
    join_small(&mut blobs, members_min);
    let centre = |blob: &Blob| std::array::from_fn(|column| blob.mean(column));
    Ok(blobs.iter().filter(|blob| blob.size >= members_min as f64).map(centre).collect())
}

/// The nearest centre; the first of equals.
pub(super) fn nearest<'a>(point: &Point, centres: impl Iterator<Item = &'a Point>) -> Option<usize> {
    let distance = |centre: &Point| -> f32 { point.iter().zip(centre).map(|(a, b)| (a - b) * (a - b)).sum() };
    centres.map(distance).enumerate().min_by(|a, b| a.1.total_cmp(&b.1)).map(|(at, _)| at)
}

type Points = DatasetBase<Array2<f32>, ndarray::Array1<()>>;

fn k_means(points: &Points, clusters: usize, init: KMeansInit<f32>) -> Result<KMeans<f32, L2Dist>, Error> {
    let random = Xoshiro256Plus::seed_from_u64(SEED);
    let params = KMeans::params_with_rng(clusters, random).n_runs(1).init_method(init);
    let params = params.max_n_iterations(ITERATIONS_MAX).tolerance(TOLERANCE).check()?;
    Ok(params.fit(points)?)
}

/// A cluster as its sums, which add up when two are joined.
#[derive(Clone, Debug)]
struct Blob {
    size: f64,
    sums: [f64; DIMENSIONS],
    squares: [f64; DIMENSIONS],
}

impl Blob {
    fn mean(&self, column: usize) -> f32 {
        (self.sums[column] / self.size.max(1.0)) as f32
    }

    fn join(&mut self, other: &Blob) {
        self.size += other.size;
        self.sums.iter_mut().zip(other.sums).for_each(|(sum, more)| *sum += more);
        self.squares.iter_mut().zip(other.squares).for_each(|(sum, more)| *sum += more);
    }

    /// Sum of squared distances to the mean, in one column.
    fn spread(&self, column: usize) -> f64 {
        (self.squares[column] - self.sums[column] * self.sums[column] / self.size.max(1.0)).max(0.0)
    }

    /// How much the sum of squared distances grows when the two are joined (Ward 1963), and how much of the variance
    /// along the line between their centres that is, 0 to 1.
    fn parting(&self, other: &Blob) -> (f64, f64) {
        let (mut line, mut within) = (0.0, 0.0);
        for column in 0..DIMENSIONS {
            let apart = f64::from(self.mean(column)) - f64::from(other.mean(column));
            line += apart * apart;
            within += apart * apart * (self.spread(column) + other.spread(column));
        }
        let growth = self.size * other.size / (self.size + other.size) * line;
        let along = if line > 0.0 { growth / (growth + within / line) } else { 0.0 };
        (growth, along)
    }
}

/// What each centre's cluster holds; empty ones are left out.
fn blobs(points: &Points, model: &KMeans<f32, L2Dist>) -> Vec<Blob> {
    let memberships: ndarray::Array1<usize> = model.predict(points.records());
    let empty = Blob { size: 0.0, sums: [0.0; DIMENSIONS], squares: [0.0; DIMENSIONS] };
    let mut blobs = vec![empty; model.centroids().nrows()];
    for (point, cluster) in points.records().rows().into_iter().zip(memberships) {
        let Some(blob) = blobs.get_mut(cluster) else { continue };
        blob.size += 1.0;
        for (column, value) in point.iter().map(|value| f64::from(*value)).enumerate() {
            blob.sums[column] += value;
            blob.squares[column] += value * value;
        }
    }
    blobs.retain(|blob| blob.size > 0.0);
    blobs
}

/// Joins each cluster that is too small to the one that it disturbs least, the smallest first.
fn join_small(blobs: &mut Vec<Blob>, members_min: usize) {
    while blobs.len() > 1 {
        let sizes = blobs.iter().enumerate().map(|(at, blob)| (blob.size, at));
        let Some((size, small)) = sizes.min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))) else {
            return;
        };
        if size >= members_min as f64 {
            return;
        }
        let costs = blobs.iter().enumerate().filter(|(at, _)| *at != small);
        let costs = costs.map(|(at, blob)| (blobs[small].parting(blob).0, at));
        let Some((_, host)) = costs.min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))) else { return };
        join(blobs, small.min(host), small.max(host));
    }
}

/// The two clusters that are most clearly one blob, if any two are.
fn one_blob(blobs: &[Blob]) -> Option<(usize, usize)> {
    let pairs = (0..blobs.len()).flat_map(|left| (left + 1..blobs.len()).map(move |right| (left, right)));
    let partings = pairs.map(|(left, right)| (blobs[left].parting(&blobs[right]).1, (left, right)));
    let (parting, pair) = partings.min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)))?;
    (parting < PARTING_MIN).then_some(pair)
}

fn join(blobs: &mut Vec<Blob>, left: usize, right: usize) {
    let gone = blobs.remove(right);
    blobs[left].join(&gone);
}
