//! The evaluation: public attack records among public benign ones, aligned in time, account, region and network, so
//! that nothing but what was done tells them apart; what `prunella detect` finds in them, beside one-feature rules.

mod callers;
mod joiners;
mod mix;
mod rewrite;
mod score;

use crate::tree;
use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use mix::{Label, Line, Mix, Sources, Variant};
use score::Outcome;
use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Args)]
pub struct Options {
    /// Same seed, same records
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Give the benign past as training data, and not as the first days of the stream
    #[arg(long)]
    pub train: bool,
    /// The binary to ask; default: the release build in this program's target directory
    #[arg(long, value_name = "PATH")]
    pub binary: Option<PathBuf>,
    /// Only write the mixes
    #[arg(long)]
    pub mix_only: bool,
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    pub output: Format,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
}

pub fn run(options: &Options) -> anyhow::Result<()> {
    let sources = Sources::read(&tree::data())?;
    let target = target()?;
    let folder = target.join("evaluate");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let binary = options.binary.clone().unwrap_or_else(|| target.join("release").join("prunella"));
    let mut outcomes = Vec::new();
    for variant in Variant::all() {
        let mix = mix::mix(&sources, variant, options.seed);
        let files = write(&mix, &folder, &variant.file_name())?;
        if !options.mix_only {
            let findings = detect(&binary, &files, options.train)?;
            outcomes.push(score::score(&mix, variant, &findings)?);
        }
    }
    print(options, &folder, &outcomes)
}

struct Files {
    training: PathBuf,
    test: PathBuf,
}

/// The records of both parts, and beside them what each is.
fn write(mix: &Mix, folder: &Path, name: &str) -> anyhow::Result<Files> {
    let path = |part: &str| folder.join(format!("{name}.{part}"));
    let files = Files { training: path("training.ndjson"), test: path("test.ndjson") };
    let mut labels = "event_id,label,technique\n".to_owned();
    for (lines, file) in [(&mix.training, &files.training), (&mix.test, &files.test)] {
        let mut text = String::new();
        for Line { record, label, .. } in lines {
            writeln!(text, "{record}")?;
            let (label, technique) = match label {
                Label::Benign => ("benign", ""),
                Label::Unlabelled => ("unlabelled", ""),
                Label::Attack(technique) => ("attack", technique.as_str()),
            };
            writeln!(labels, "{},{label},{technique}", record["eventID"].as_str().unwrap_or_default())?;
        }
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
    }
    fs::write(path("labels.csv"), labels)?;
    Ok(files)
}

fn detect(binary: &Path, files: &Files, train: bool) -> anyhow::Result<Vec<Value>> {
    let mut command = Command::new(binary);
    command.env_clear().args(["detect", "-o", "ndjson"]);
    match train {
        true => command.arg(&files.test).arg("--train-on").arg(&files.training),
        false => command.arg(&files.training).arg(&files.test),
    };
    let done = command.output().with_context(|| {
        let path = binary.display();
        format!("cannot run {path}; run `cargo build --release -p prunella-cli`, or give --binary")
    })?;
    if !done.status.success() {
        bail!("prunella detect: {}", String::from_utf8_lossy(&done.stderr).trim());
    }
    let text = String::from_utf8(done.stdout).context("a finding is not UTF-8")?;
    text.lines().map(|line| serde_json::from_str(line).context("a finding is not JSON")).collect()
}

/// The target directory that this program was built into.
fn target() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("where is this program?")?;
    own.ancestors().nth(2).map(Path::to_owned).context("this program is in no target directory")
}

#[allow(clippy::print_stdout, reason = "the tables are the output")]
fn print(options: &Options, folder: &Path, outcomes: &[Outcome]) -> anyhow::Result<()> {
    if options.output == Format::Json {
        println!("{}", serde_json::json!({ "seed": options.seed, "outcomes": outcomes }));
        return Ok(());
    }
    println!("seed {}, records and labels in {}\n", options.seed, folder.display());
    print!("{}", score::tables(outcomes)?);
    Ok(())
}
