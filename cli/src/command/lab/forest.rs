//! `prunella lab forest`: the isolation forest on a table with known answers.

use super::{median, processor_ns};
use crate::args::LabForest;
use crate::{App, Outcome, output};
use anyhow::{Context, bail, ensure};
use ndarray::{Array1, Array2, ArrayView2};
use ndarray_npy::{NpzReader, ReadNpzError, ReadableElement};
use prunella_detect::forest::{Kernel, Params};
use serde::Serialize;
use std::fs::File;
use std::path::Path;

/// Small tables are scored again until this much time was spent, so that the clock can tell.
const SCORE_NS_MIN: u64 = 5_000_000;

#[derive(Serialize)]
struct Report {
    rows: usize,
    features: usize,
    anomalies: usize,
    auc_mean: f64,
    /// Over the seeds, with n - 1; 0 for one seed.
    auc_sd: f64,
    auc_per_seed: Vec<f64>,
    fit_ms_median: f64,
    score_ns_per_row_median: f64,
    kernel: &'static str,
}

pub fn run(app: &App, args: &LabForest) -> anyhow::Result<Outcome> {
    let name = args.file.display();
    let table = read(&args.file, args.label.as_deref()).with_context(|| format!("cannot use {name}"))?;
    let report = measure(&table, args).with_context(|| format!("cannot use {name}"))?;
    output::one(app.format, &report, |report| {
        format!(
            "{} rows, {} features, {} anomalies\nAUC {:.4} (sd {:.4}, {} seeds)\nfit {:.2} ms, score {:.1} ns a row ({}; CPU time, one thread, medians)",
            report.rows,
            report.features,
            report.anomalies,
            report.auc_mean,
            report.auc_sd,
            report.auc_per_seed.len(),
            report.fit_ms_median,
            report.score_ns_per_row_median,
            report.kernel
        )
    })?;
    Ok(Outcome::Ok)
}

#[derive(Debug)]
pub struct Table {
    /// Of the columns that are features.
    pub names: Vec<String>,
    pub rows: Array2<f32>,
    pub anomalous: Vec<bool>,
}

/// A table with labels, from a CSV or a NumPy archive.
pub fn read(path: &Path, label: Option<&str>) -> anyhow::Result<Table> {
    let is_npz = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("npz"));
    if is_npz { read_npz(path) } else { read_csv(path, label) }
}

fn measure(table: &Table, args: &LabForest) -> anyhow::Result<Report> {
    let rows = table.rows.view();
    let (mut areas, mut fits, mut costs) = (Vec::new(), Vec::new(), Vec::new());
    let mut kernel = Kernel::SCALAR;
    for seed in 0..args.seeds {
        let start = processor_ns();
        let forest =
            Params { trees: args.trees, sample: args.sample, seed, ..Params::default() }.fit_rows(rows)?;
        fits.push((processor_ns() - start) as f64 / 1e6);
        kernel = forest.kernel();
        let mut scores = vec![0.0; rows.nrows()];
        let (start, mut passes, mut spent) = (processor_ns(), 0u64, 0);
        while spent < SCORE_NS_MIN {
            forest.score_into(rows, &mut scores, kernel)?;
            passes += 1;
            spent = processor_ns() - start;
        }
        costs.push(spent as f64 / (passes * rows.nrows() as u64) as f64);
        areas.push(area_under_curve(&scores, &table.anomalous)?);
    }
    let mean = areas.iter().sum::<f64>() / areas.len() as f64;
    let squares: f64 = areas.iter().map(|area| (area - mean).powi(2)).sum();
    Ok(Report {
        rows: rows.nrows(),
        features: rows.ncols(),
        anomalies: table.anomalous.iter().filter(|is| **is).count(),
        auc_mean: mean,
        auc_sd: (squares / (areas.len() - 1).max(1) as f64).sqrt(),
        auc_per_seed: areas,
        fit_ms_median: median(fits),
        score_ns_per_row_median: median(costs),
        kernel: kernel.name(),
    })
}

/// The share of pairs, one anomaly and one normal row, that the scores put in order; ties count half.
fn area_under_curve(scores: &[f32], anomalous: &[bool]) -> anyhow::Result<f64> {
    let mut order: Vec<(f32, bool)> = scores.iter().copied().zip(anomalous.iter().copied()).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut below, mut won) = (0usize, 0.0);
    for tied in order.chunk_by(|a, b| a.0 == b.0) {
        let anomalies = tied.iter().filter(|(_, is)| *is).count();
        let normal = tied.len() - anomalies;
        won += anomalies as f64 * (below as f64 + normal as f64 / 2.0);
        below += normal;
    }
    let anomalies = order.len() - below;
    ensure!(
        anomalies > 0 && below > 0,
        "its labels are all alike; both 0 (normal) and 1 (anomaly) are needed"
    );
    Ok(won / (anomalies as f64 * below as f64))
}

/// A header, then numbers; an empty field is a missing value. The label is the named column, or else the last.
fn read_csv(path: &Path, label: Option<&str>) -> anyhow::Result<Table> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(path)?;
    let columns = reader.headers()?.clone();
    let label = match label {
        Some(name) => columns
            .iter()
            .position(|column| column == name)
            .with_context(|| format!("it has no column `{name}`; name the label with --label"))?,
        None => columns.len().saturating_sub(1),
    };
    let features = columns.len().saturating_sub(1);
    ensure!(features > 0, "it needs a label and at least one more column");
    let (mut values, mut anomalous) = (Vec::new(), Vec::new());
    // A ragged row ends in an error that names its line.
    for record in reader.records() {
        let record = record?;
        let line = record.position().map_or(0, csv::Position::line);
        for (at, field) in record.iter().enumerate() {
            let number = if field.is_empty() { Ok(f32::NAN) } else { field.parse::<f32>() };
            let column = columns.get(at).unwrap_or_default();
            let number = number
                .with_context(|| format!("line {line}, column `{column}`: `{field}` is not a number"))?;
            if at == label {
                let is = is_anomaly(f64::from(number));
                anomalous.push(is.with_context(|| format!("line {line}, column `{column}`"))?);
            } else {
                values.push(number);
            }
        }
    }
    let names = columns.iter().enumerate().filter(|(at, _)| *at != label);
    let names = names.map(|(_, name)| name.to_owned()).collect();
    Ok(Table { names, rows: Array2::from_shape_vec((anomalous.len(), features), values)?, anomalous })
}

fn is_anomaly(label: f64) -> anyhow::Result<bool> {
    if label == 1.0 {
        Ok(true)
    } else if label == 0.0 {
        Ok(false)
    } else {
        bail!("`{label}` is no label; 1 is an anomaly and 0 is normal, and --label names their column")
    }
}

/// The arrays `X`, one row each, and `y`.
fn read_npz(path: &Path) -> anyhow::Result<Table> {
    let mut arrays = NpzReader::new(File::open(path)?)?;
    let rows = rows_of::<f64>(&mut arrays, |value| value as f32)
        .or_else(|_| rows_of::<f32>(&mut arrays, |value| value))
        .or_else(|_| rows_of::<i64>(&mut arrays, |value| value as f32))
        .or_else(|_| rows_of::<i32>(&mut arrays, |value| value as f32))
        .or_else(|_| rows_of::<u8>(&mut arrays, f32::from))
        .context("its array `X` is not a table of numbers")?;
    let labels = labels_of::<i64>(&mut arrays, |label| label as f64)
        .or_else(|_| labels_of::<i32>(&mut arrays, f64::from))
        .or_else(|_| labels_of::<u8>(&mut arrays, f64::from))
        .or_else(|_| labels_of::<f64>(&mut arrays, |label| label))
        .or_else(|_| labels_of::<bool>(&mut arrays, |label| f64::from(u8::from(label))))
        .context("its array `y` is not a list of labels")?;
    ensure!(labels.len() == rows.nrows(), "it has {} rows and {} labels", rows.nrows(), labels.len());
    let anomalous = labels.into_iter().map(is_anomaly).collect::<Result<_, _>>()?;
    let names = (0..rows.ncols()).map(|column| format!("x{column}")).collect();
    Ok(Table { names, rows, anomalous })
}

fn rows_of<T: ReadableElement + Clone>(
    arrays: &mut NpzReader<File>,
    convert: impl Fn(T) -> f32,
) -> Result<Array2<f32>, ReadNpzError> {
    let rows: Array2<T> = arrays.by_name("X").or_else(|_| arrays.by_name("X.npy"))?;
    let view: ArrayView2<'_, T> = rows.view();
    Ok(view.mapv(convert).as_standard_layout().into_owned())
}

fn labels_of<T: ReadableElement + Clone>(
    arrays: &mut NpzReader<File>,
    convert: impl Fn(T) -> f64,
) -> Result<Vec<f64>, ReadNpzError> {
    let labels: Array1<T> = arrays.by_name("y").or_else(|_| arrays.by_name("y.npy"))?;
    Ok(labels.into_iter().map(convert).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn csv(text: &str, label: Option<&str>) -> anyhow::Result<Table> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("table.csv");
        std::fs::write(&path, text).unwrap();
        read_csv(&path, label)
    }

    fn args(seeds: u64) -> LabForest {
        LabForest { file: "table.csv".into(), label: None, trees: 20, sample: 256, seeds }
    }

    #[test]
    fn a_table_is_read_and_measured() {
        let mut text = "anomaly,a,b\n".to_owned();
        for row in 0..60 {
            text += &format!("0,{},{}\n", row % 7, row % 5);
        }
        text += "1,90,90\n0,,inf\n";
        let table = csv(&text, Some("anomaly")).unwrap();
        assert_eq!((table.rows.dim(), table.rows[[60, 1]]), ((62, 2), 90.0));
        let report = measure(&table, &args(3)).unwrap();
        assert_eq!((report.rows, report.features, report.anomalies), (62, 2, 1));
        assert!(report.auc_mean > 0.95 && report.auc_per_seed.len() == 3, "{:?}", report.auc_per_seed);
        assert!(report.fit_ms_median > 0.0 && report.score_ns_per_row_median > 0.0);
        let keys = serde_json::to_string(&report).unwrap();
        assert!(keys.starts_with("{\"rows\":62,\"features\":2,\"anomalies\":1,\"auc_mean\":"), "{keys}");
    }

    #[test]
    fn a_table_that_cannot_be_used_says_why() {
        let check = |text: &str, label: Option<&str>, want: &str| {
            let outcome = csv(text, label).and_then(|table| measure(&table, &args(1)));
            let error = format!("{:#}", outcome.err().unwrap());
            assert!(error.contains(want), "{error:?} lacks {want:?}");
        };
        check("a,label\n1,0\nx,1\n", None, "line 3, column `a`: `x` is not a number");
        check("a,b,label\n1,2,0\n1,2\n", None, "line: 3");
        check("a,b\n1,0\n2,1\n", Some("label"), "no column `label`");
        check("a,b\n1,7\n2,1\n", None, "line 2, column `b`: `7` is no label");
        check("a,label\n1,\n", None, "`NaN` is no label");
        check("a,label\n1,0\n", None, "cannot train on 1 row(s)");
        check("a,label\n", None, "cannot train on 0 row(s)");
        check("label\n1\n", None, "at least one more column");
        check("a,label\n1,0\n2,0\n", None, "labels are all alike");
        check("", None, "at least one more column");
    }

    #[test]
    fn the_area_counts_ties_by_half() {
        let area = |scores: &[f32], labels: &[bool]| area_under_curve(scores, labels).unwrap();
        assert_eq!(area(&[0.1, 0.2, 0.9], &[false, false, true]), 1.0);
        assert_eq!(area(&[0.9, 0.2, 0.1], &[false, false, true]), 0.0);
        assert_eq!(area(&[0.5, 0.5, 0.5], &[false, true, false]), 0.5);
        assert_eq!((median(vec![3.0, 1.0, 2.0]), median(vec![1.0, 2.0])), (2.0, 1.5));
    }

    #[test]
    fn arrays_are_read_as_numpy_wrote_them() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, rows: &Array2<f64>, labels: &Array1<i64>| {
            let path = dir.path().join(name);
            let mut arrays = ndarray_npy::NpzWriter::new_compressed(File::create(&path).unwrap());
            arrays.add_array("X", rows).unwrap();
            arrays.add_array("y", labels).unwrap();
            arrays.finish().unwrap();
            read_npz(&path)
        };
        let rows = Array2::from_shape_fn((3, 2), |(row, column)| (10 * row + column) as f64);
        let table = write("good.npz", &rows, &Array1::from(vec![0, 1, 0])).unwrap();
        assert_eq!((table.rows[[2, 1]], table.anomalous), (21.0, vec![false, true, false]));
        let short = write("short.npz", &rows, &Array1::from(vec![0, 1])).unwrap_err();
        assert!(short.to_string().contains("3 rows and 2 labels"), "{short}");
        std::fs::write(dir.path().join("not.npz"), b"PK").unwrap();
        assert!(read_npz(&dir.path().join("not.npz")).is_err());
    }
}
