//! `prunella lab explain`: why the forest scores one row of a table as it does, and what would make it usual.

use super::forest::{Table, read};
use crate::args::LabExplain;
use crate::{App, Outcome, output};
use anyhow::{Context, ensure};
use ndarray::ArrayView1;
use prunella_detect::forest::Params;
use serde::Serialize;

/// A row is told to be usual when it scores below this share of the others.
const USUAL_SHARE: f64 = 0.95;

#[derive(Serialize)]
struct Report {
    row: usize,
    rows: usize,
    /// The table's own word.
    is_anomaly: bool,
    score: f32,
    /// Rows that score more.
    rows_above: usize,
    /// log2 of the score of a row that no feature sets apart; `base` plus all shares is log2 of `score`.
    base: f64,
    /// The largest share first.
    contributions: Vec<Share>,
    /// The fewest features that, so changed, make the row score less than 95 % of the rows; scored again.
    counterfactual: Option<Counterfactual>,
}

#[derive(Serialize)]
struct Share {
    feature: String,
    value: f32,
    share: f64,
    /// Quantiles .05, .5 and .95 of the column.
    usual: [f32; 3],
}

#[derive(Serialize)]
struct Counterfactual {
    changes: Vec<Change>,
    score: f32,
}

#[derive(Serialize)]
struct Change {
    feature: String,
    value: f32,
}

pub fn run(app: &App, args: &LabExplain) -> anyhow::Result<Outcome> {
    let name = args.file.display();
    let table = read(&args.file, args.label.as_deref()).with_context(|| format!("cannot use {name}"))?;
    let report = explain(&table, args).with_context(|| format!("cannot use {name}"))?;
    output::one(app.format, &report, text)?;
    Ok(Outcome::Ok)
}

fn explain(table: &Table, args: &LabExplain) -> anyhow::Result<Report> {
    let rows = table.rows.view();
    ensure!(
        args.row < rows.nrows(),
        "it has {} rows, counted from 0; there is no row {}",
        rows.nrows(),
        args.row
    );
    let params = Params { trees: args.trees, sample: args.sample, seed: args.seed, ..Params::default() };
    let forest = params.fit_rows(rows)?;
    let scores = forest.score(rows)?;
    let row: Vec<f32> = rows.row(args.row).to_vec();
    let usual: Vec<[f32; 3]> = rows.columns().into_iter().map(quantiles).collect();
    let medians: Vec<f32> = usual.iter().map(|usual| usual[1]).collect();
    let attribution = forest.attribute(&row)?;
    let score = scores[args.row];
    let mut order = scores.to_vec();
    order.sort_by(f32::total_cmp);
    let below = order[((order.len() - 1) as f64 * USUAL_SHARE) as usize];
    let change = match score >= below {
        true => forest.counterfactual(&row, &medians, |_| false, below)?,
        false => None,
    };
    let counterfactual = change.map(|change| {
        let changes = change.features.iter().zip(&change.values);
        let changes = changes.map(|(at, value)| Change { feature: table.names[*at].clone(), value: *value });
        Counterfactual { changes: changes.collect(), score: change.score }
    });
    Ok(Report {
        row: args.row,
        rows: rows.nrows(),
        is_anomaly: table.anomalous[args.row],
        score,
        rows_above: scores.iter().filter(|other| **other > score).count(),
        base: attribution.base,
        contributions: attribution
            .ranked()
            .into_iter()
            .map(|at| Share {
                feature: table.names[at].clone(),
                value: row[at],
                share: attribution.shares[at],
                usual: usual[at],
            })
            .collect(),
        counterfactual,
    })
}

/// Of the numbers among the values; NaN where there is none.
fn quantiles(column: ArrayView1<'_, f32>) -> [f32; 3] {
    let mut values: Vec<f32> = column.iter().copied().filter(|value| !value.is_nan()).collect();
    values.sort_by(f32::total_cmp);
    let last = values.len().saturating_sub(1);
    [0.05, 0.5, 0.95].map(|q| values.get((last as f64 * q) as usize).copied().unwrap_or(f32::NAN))
}

fn text(report: &Report) -> String {
    let mut lines = vec![
        format!(
            "row {} of {}: score {:.4}, {} rows score more; labelled {}",
            report.row,
            report.rows,
            report.score,
            report.rows_above,
            if report.is_anomaly { "anomaly" } else { "normal" }
        ),
        format!("log2 of the score = {:.4} and these shares:", report.base),
    ];
    lines.extend(report.contributions.iter().map(|c| {
        let [low, middle, high] = c.usual;
        format!("  {:>+8.4}  {} = {} (usually {middle}, {low} to {high})", c.share, c.feature, c.value)
    }));
    match &report.counterfactual {
        Some(change) => {
            let words: Vec<String> =
                change.changes.iter().map(|c| format!("{} = {}", c.feature, c.value)).collect();
            lines.push(format!("with {} it would score {:.4}, as usual", words.join(" and "), change.score));
        }
        None if report.rows_above * 20 > report.rows => lines.push("it is usual as it is".to_owned()),
        None => lines.push("no three features make it usual".to_owned()),
    }
    lines.join("\n")
}
