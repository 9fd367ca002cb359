//! The flags of `prunella lab`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub enum Lab {
    /// Fit the isolation forest on a table, score its rows, and compare with its labels
    Forest(LabForest),
    /// Fit the isolation forest on a table and say why it scores one row as it does, and what would make it usual
    Explain(LabExplain),
    /// Judge a generated stream of OCSF events on one core, beside decoding alone, which is the limit
    Throughput(LabThroughput),
    /// List the fields of a source's records that no mapping reads; they stay in `raw_data` only
    Unread(LabUnread),
}

#[derive(Debug, Args)]
pub struct LabUnread {
    /// Records: JSON, NDJSON or CloudTrail files, gzip or not; `-` is standard input
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// What the records are
    #[arg(long, value_name = "SOURCE", default_value = "aws.cloudtrail")]
    pub source: String,
}

#[derive(Debug, Args)]
pub struct LabExplain {
    /// CSV with a header and numbers, or a NumPy archive (.npz) of the arrays `X` and `y`
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Which row, counted from 0 without the header
    #[arg(long, value_name = "N")]
    pub row: usize,
    /// Column of a CSV that is 1 for an anomaly and 0 otherwise; default: the last
    #[arg(long, value_name = "COLUMN")]
    pub label: Option<String>,
    /// Trees of the forest, up to 1000
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub trees: usize,
    /// Rows each tree is grown on, 2 to 256
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub sample: usize,
    /// Of the random cuts
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
}

#[derive(Debug, Args)]
pub struct LabThroughput {
    /// Events of the stream
    #[arg(long, value_name = "N", default_value_t = 20_000, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=10_000_000))]
    pub events: usize,
    /// Times that both are measured, in turns
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1_000))]
    pub rounds: usize,
}

#[derive(Debug, Args)]
pub struct LabForest {
    /// CSV with a header and numbers, or a NumPy archive (.npz) of the arrays `X` and `y`
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Column of a CSV that is 1 for an anomaly and 0 otherwise; default: the last
    #[arg(long, value_name = "COLUMN")]
    pub label: Option<String>,
    /// Trees of the forest, up to 1000
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub trees: usize,
    /// Rows each tree is grown on, 2 to 256
    #[arg(long, value_name = "N", default_value_t = 256)]
    pub sample: usize,
    /// Fit so many times, with the seeds from 0 on, up to 1000
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub seeds: u64,
}
