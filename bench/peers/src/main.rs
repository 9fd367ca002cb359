//! Our forest and the Rust peers behind one protocol: a command a line, answered by the thread's CPU time in ns.
//!
//! `peers ROWS.f32 TRAINING_ROWS OUT_DIR` reads rows of 16 features, trains on the first ones, writes `model.json` and
//! `scores.f32` to `OUT_DIR`, says `ready` and the names of its scorers, and then answers:
//! `score NAME BATCH CALLS`, `fit SEED`, `explain NAME CALLS`, and `table FILE COLUMNS SEED OUT` (fits and scores it).

use extended_isolation_forest::{Forest as Extended, ForestOptions};
use ndarray::{ArrayView2, s};
use prunella_detect::forest::{Forest, Kernel, Model, Params};
use rcf3::{Forest as RandomCut, OnlineIForest};
use rustix::time::{ClockId, clock_gettime};
use std::hint::black_box;
use std::io::{BufRead, Write};
use std::path::Path;

const FEATURES: usize = 16;
type Failure = Box<dyn std::error::Error>;

struct Bench {
    rows: Vec<f32>,
    training: usize,
    forest: Forest,
    extended: Extended<f32, FEATURES>,
    online: OnlineIForest,
    random_cut: RandomCut,
    scores: Vec<f32>,
}

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().collect();
    let [_, rows, training, out] = args.as_slice() else {
        return Err("give ROWS.f32 TRAINING_ROWS OUT_DIR".into());
    };
    let mut bench = Bench::new(read(Path::new(rows))?, training.parse()?)?;
    let model: Model = bench.forest.clone().into();
    std::fs::write(Path::new(out).join("model.json"), serde_json::to_vec(&model)?)?;
    write(
        &Path::new(out).join("scores.f32"),
        &bench.forest.score(bench.view(bench.rows.len() / FEATURES)?)?.to_vec(),
    )?;
    let ours = Kernel::available().into_iter().map(Kernel::name).collect::<Vec<_>>().join(" ");
    println!("ready {ours} extended online random-cut");
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        let spent = match words.as_slice() {
            ["score", name, batch, calls] => bench.score(name, batch.parse()?, calls.parse()?)?,
            ["fit", seed] => bench.fit(seed.parse()?)?,
            ["explain", name, calls] => bench.explain(name, calls.parse()?)?,
            ["table", file, columns, seed, out] => {
                table(Path::new(file), columns.parse()?, seed.parse()?, Path::new(out))?
            }
            _ => return Err(format!("no such command: {line}").into()),
        };
        println!("{spent}");
        std::io::stdout().flush()?;
    }
    Ok(())
}

impl Bench {
    fn new(rows: Vec<f32>, training: usize) -> Result<Bench, Failure> {
        let table = ArrayView2::from_shape((training, FEATURES), &rows[..training * FEATURES])?;
        let forest = Params::default().fit_rows(table)?;
        let (arrays, _) = rows.as_chunks::<FEATURES>();
        let options =
            ForestOptions { n_trees: 100, sample_size: 256, max_tree_depth: None, extension_level: 0 };
        let extended = Extended::from_slice(&arrays[..training], &options).map_err(|e| format!("{e:?}"))?;
        let mut online =
            OnlineIForest::builder(FEATURES).num_trees(100).window_size(2_048).seed(1).build()?;
        let mut random_cut = RandomCut::builder(FEATURES).num_trees(100).capacity(256).seed(1).build()?;
        for row in &arrays[..training] {
            online.update(row)?;
            random_cut.update(row)?;
        }
        let scores = vec![0.0; rows.len() / FEATURES];
        Ok(Bench { training, forest, extended, online, random_cut, scores, rows })
    }

    fn view(&self, rows: usize) -> Result<ArrayView2<'_, f32>, Failure> {
        Ok(ArrayView2::from_shape((rows, FEATURES), &self.rows[..rows * FEATURES])?)
    }

    /// Each call takes the next `batch` rows. Peers without batches take them one by one.
    fn score(&mut self, name: &str, batch: usize, calls: usize) -> Result<u64, Failure> {
        let all = self.rows.len() / FEATURES;
        let kernel = Kernel::available().into_iter().find(|kernel| kernel.name() == name);
        let table = ArrayView2::from_shape((all, FEATURES), &self.rows)?;
        let (arrays, _) = self.rows.as_chunks::<FEATURES>();
        let start = processor_ns();
        for call in 0..calls {
            let first = call * batch % (all - batch + 1);
            let rows = &arrays[first..first + batch];
            match (kernel, name) {
                (Some(kernel), _) => {
                    let rows = table.slice(s![first..first + batch, ..]);
                    self.forest.score_into(rows, &mut self.scores[..batch], kernel)?;
                }
                (None, "extended") => {
                    rows.iter().for_each(|row| {
                        black_box(self.extended.score(row));
                    });
                }
                (None, "online") => {
                    for row in rows {
                        black_box(self.online.score(row)?);
                    }
                }
                (None, "random-cut") => {
                    for row in rows {
                        black_box(self.random_cut.score(row)?);
                    }
                }
                _ => return Err(format!("no scorer {name}").into()),
            }
        }
        black_box(&self.scores);
        Ok(processor_ns() - start)
    }

    fn fit(&self, seed: u64) -> Result<u64, Failure> {
        let rows = self.view(self.training)?;
        let start = processor_ns();
        black_box(Params { seed, ..Params::default() }.fit_rows(rows)?);
        Ok(processor_ns() - start)
    }

    fn explain(&self, name: &str, calls: usize) -> Result<u64, Failure> {
        let (arrays, _) = self.rows.as_chunks::<FEATURES>();
        let start = processor_ns();
        for row in arrays.iter().cycle().take(calls) {
            match name {
                "ours" => {
                    black_box(self.forest.attribute(row)?);
                }
                _ => {
                    black_box(self.random_cut.attribution(row)?);
                }
            }
        }
        Ok(processor_ns() - start)
    }
}

fn table(file: &Path, columns: usize, seed: u64, out: &Path) -> Result<u64, Failure> {
    let values = read(file)?;
    let rows = ArrayView2::from_shape((values.len() / columns, columns), &values)?;
    let start = processor_ns();
    let scores = Params { seed, ..Params::default() }.fit_rows(rows)?.score(rows)?;
    let spent = processor_ns() - start;
    write(out, &scores.to_vec())?;
    Ok(spent)
}

fn read(path: &Path) -> Result<Vec<f32>, Failure> {
    let bytes = std::fs::read(path)?;
    Ok(bytes.as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

fn write(path: &Path, values: &[f32]) -> Result<(), Failure> {
    Ok(std::fs::write(path, values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())?)
}

/// Time this thread has run, which other work on the machine stretches least.
fn processor_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
