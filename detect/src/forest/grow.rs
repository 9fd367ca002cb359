//! Training: each tree on its own sample of the rows, split in place, without an allocation per node.

use super::path::Leaves;
use super::random::Random;
use super::tree::{DEPTH, Layout, NODES, SAMPLE_MAX, Tree};
use ndarray::ArrayView2;

/// What is known of the training rows before the first tree.
pub(super) struct Columns {
    low: Vec<f32>,
    high: Vec<f32>,
    /// Holds nothing but 0 and 1: split in the middle, wherever the bits of a threshold would lead.
    binary: Vec<bool>,
    pub not_finite: u64,
}

impl Columns {
    pub fn of(rows: ArrayView2<'_, f32>) -> Columns {
        let features = rows.ncols();
        let mut low = vec![f32::INFINITY; features];
        let mut high = vec![f32::NEG_INFINITY; features];
        let mut binary = vec![true; features];
        let mut not_finite = 0;
        for row in rows.rows() {
            let columns = low.iter_mut().zip(&mut high).zip(&mut binary);
            for (value, ((low, high), binary)) in row.iter().zip(columns) {
                let finite = value.is_finite();
                *low = if finite && *value < *low { *value } else { *low };
                *high = if finite && *value > *high { *value } else { *high };
                *binary &= (*value == 0.0) | (*value == 1.0);
                not_finite += u64::from(!finite);
            }
        }
        for (low, high) in low.iter_mut().zip(&mut high) {
            if *low > *high {
                (*low, *high) = (0.0, 0.0);
            }
        }
        Columns { low, high, binary, not_finite }
    }

    /// Infinities become the column's own extremes; NaN stays, and goes right at every split.
    fn clip(&self, feature: usize, value: f32) -> f32 {
        let (low, high) = (self.low[feature], self.high[feature]);
        if value < low {
            low
        } else if value > high {
            high
        } else {
            value
        }
    }
}

/// Grows one tree after the other; its buffers are made once.
pub(super) struct Grower<'a> {
    rows: ArrayView2<'a, f32>,
    columns: &'a Columns,
    layout: Layout,
    sample: usize,
    /// ceil(log2(sample)), the height at which the average row is isolated.
    height: usize,
    /// The sampled rows, one array per feature.
    values: Vec<[f32; SAMPLE_MAX]>,
    /// Places in the sample; each node owns a range of them.
    places: [u8; SAMPLE_MAX],
    features: Vec<u16>,
    drawn: Sample,
    leaves: Leaves,
}

struct Cut {
    feature: usize,
    bits: u32,
}

impl<'a> Grower<'a> {
    pub fn new(rows: ArrayView2<'a, f32>, columns: &'a Columns, sample: usize) -> Grower<'a> {
        let sample = sample.min(rows.nrows()).min(SAMPLE_MAX);
        Grower {
            rows,
            columns,
            layout: Layout::for_features(rows.ncols()),
            sample,
            height: (sample.next_power_of_two().trailing_zeros() as usize).min(DEPTH),
            values: vec![[0.0; SAMPLE_MAX]; rows.ncols()],
            places: [0; SAMPLE_MAX],
            features: Vec::with_capacity(rows.ncols()),
            drawn: Sample::default(),
            leaves: Leaves::new(),
        }
    }

    /// `wide` takes the features of the nodes where they do not fit into the thresholds.
    pub fn grow(&mut self, mut random: Random, tree: &mut Tree, wide: &mut [u16]) {
        self.drawn.draw(&mut random, self.rows.nrows(), self.sample);
        for (place, row) in self.drawn.rows.iter().enumerate() {
            let row = self.rows.row(*row as usize);
            for (feature, (value, column)) in row.iter().zip(&mut self.values).enumerate() {
                column[place] = self.columns.clip(feature, *value);
            }
        }
        for (place, at) in self.places.iter_mut().enumerate() {
            *at = place as u8;
        }
        self.features.clear();
        self.features.extend(0..self.values.len() as u16);
        self.branch(&mut random, tree, wide, (1, 0), (0, self.sample));
    }

    fn branch(
        &mut self,
        random: &mut Random,
        tree: &mut Tree,
        wide: &mut [u16],
        (node, depth): (usize, usize),
        (first, end): (usize, usize),
    ) {
        let cut = if depth < self.height && end - first > 1 { self.cut(random, first, end) } else { None };
        let Some(cut) = cut else {
            return tree.end((node, depth), end - first, &self.leaves);
        };
        tree.0[node] = cut.bits;
        if let Some(slot) = wide.get_mut(node) {
            *slot = cut.feature as u16;
        }
        let middle = self.part(&cut, first, end);
        self.branch(random, tree, wide, (2 * node, depth + 1), (first, middle));
        self.branch(random, tree, wide, (2 * node + 1, depth + 1), (middle, end));
    }

    /// A threshold on the first feature, in random order, that can part these rows; none when they are all alike.
    fn cut(&mut self, random: &mut Random, first: usize, end: usize) -> Option<Cut> {
        for left in (1..=self.features.len()).rev() {
            self.features.swap(random.below(left), left - 1);
            let feature = usize::from(self.features[left - 1]);
            let (low, high) = self.range(feature, first, end);
            if low < high {
                let unit = if self.columns.binary[feature] { 0.5 } else { random.unit() };
                let drawn = (f64::from(low) + unit * (f64::from(high) - f64::from(low))) as f32;
                if let Some(bits) = self.layout.threshold(feature, drawn, low, high) {
                    return Some(Cut { feature, bits });
                }
            }
        }
        None
    }

    fn range(&self, feature: usize, first: usize, end: usize) -> (f32, f32) {
        let column = &self.values[feature];
        let (mut low, mut high) = (f32::INFINITY, f32::NEG_INFINITY);
        for place in &self.places[first..end] {
            let value = column[usize::from(*place)];
            low = if value < low { value } else { low };
            high = if value > high { value } else { high };
        }
        (low, high)
    }

    /// Moves the rows that go left before those that go right, without branches; returns where the right ones begin.
    fn part(&mut self, cut: &Cut, first: usize, end: usize) -> usize {
        let column = &self.values[cut.feature];
        let threshold = f32::from_bits(cut.bits);
        let places = &mut self.places[first..end];
        let mut middle = 0;
        for at in 0..places.len() {
            let place = places[at];
            places.swap(at, middle);
            middle += usize::from(column[usize::from(place)] < threshold);
        }
        first + middle
    }
}

/// Slots for the rows already drawn: four times as many as rows, so that a probe is short.
const SLOTS: usize = 4 * SAMPLE_MAX;

/// Distinct rows by Floyd's method, at a cost that does not depend on how many rows there are.
struct Sample {
    rows: Vec<u32>,
    /// Row number plus one; 0 is empty.
    slots: [u64; SLOTS],
}

impl Default for Sample {
    fn default() -> Self {
        Sample { rows: Vec::with_capacity(SAMPLE_MAX), slots: [0; SLOTS] }
    }
}

impl Sample {
    fn draw(&mut self, random: &mut Random, rows: usize, sample: usize) {
        self.rows.clear();
        self.slots.fill(0);
        for last in rows - sample..rows {
            let row = random.below(last + 1);
            let row = if self.insert(row) { row } else { last };
            self.insert(row);
            self.rows.push(row as u32);
        }
    }

    /// False when the row was drawn before.
    fn insert(&mut self, row: usize) -> bool {
        let mut slot = row.wrapping_mul(0x9E37_79B1) >> 7;
        loop {
            slot %= SLOTS;
            match self.slots[slot] {
                0 => {
                    self.slots[slot] = row as u64 + 1;
                    return true;
                }
                taken if taken == row as u64 + 1 => return false,
                _ => slot += 1,
            }
        }
    }
}

/// Features of the nodes of one tree, beside the thresholds.
pub(super) const WIDE_LEN: usize = NODES;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_distinct_in_range_and_uniform() {
        let mut sample = Sample::default();
        let mut hits = vec![0u32; 300];
        for tree in 0..600 {
            sample.draw(&mut Random::of_tree(1, tree), 300, 150);
            let distinct: std::collections::BTreeSet<u32> = sample.rows.iter().copied().collect();
            assert_eq!(distinct.len(), 150);
            for row in distinct {
                hits[row as usize] += 1;
            }
        }
        // 300 expected each, standard deviation 12.2.
        assert!(hits.iter().all(|n| (240..=360).contains(n)), "{hits:?}");
        sample.draw(&mut Random::of_tree(1, 0), 256, 256);
        assert_eq!(sample.rows.len(), 256);
    }
}
