//! Who judges the rows to learn from: forests of other sources than the row's own.
//!
//! A forest that was trained on a cluster finds it ordinary, so a first fit on all rows cannot see a poisoned one.
//! Here the sources are dealt into partitions by hash, each grows a tenth of the trees, and a row is judged by the
//! median of the partitions that do not hold its source: an attacker must own sources in half of them. Partitions and
//! median after Anisetti et al. (arXiv 2209.14013), spent on training alone, so that scoring costs what it did.

use super::reservoir::{Row, mix};
use super::{Error, FEATURES};
use crate::forest::Params;
use ndarray::Array2;

const PARTITIONS: usize = 10;
/// With fewer rows than this, a partition knows too little; then one forest judges all rows.
const PARTITION_ROWS_MIN: usize = 64;

/// How unusual each row is to the others, in the order of `rows`.
pub(super) fn judge(params: &Params, rows: &[&Row]) -> Result<Vec<f32>, Error> {
    let values: Vec<[f32; FEATURES]> = rows.iter().map(|row| row.values).collect();
    let all = Array2::from(values.clone());
    let partition_of = |row: &Row| (mix(params.seed ^ row.principal) % PARTITIONS as u64) as usize;
    let homes: Vec<usize> = rows.iter().map(|row| partition_of(row)).collect();
    let mut parts = vec![Vec::new(); PARTITIONS];
    homes.iter().zip(&values).for_each(|(home, row)| parts[*home].push(*row));
    if parts.iter().any(|part| part.len() < PARTITION_ROWS_MIN) {
        return Ok(params.fit_rows(all.view())?.score(all.view())?.to_vec());
    }
    let params = Params { trees: params.trees.div_ceil(PARTITIONS), ..params.clone() };
    let mut opinions = Vec::with_capacity(PARTITIONS);
    for part in parts {
        opinions.push(params.fit_rows(Array2::from(part).view())?.score(all.view())?);
    }
    let median = |(row, home): (usize, &usize)| {
        let others = opinions.iter().enumerate().filter(|(partition, _)| partition != home);
        let mut others: Vec<f32> = others.map(|(_, scores)| scores[row]).collect();
        others.sort_unstable_by(f32::total_cmp);
        others[others.len() / 2]
    };
    Ok(homes.iter().enumerate().map(median).collect())
}
