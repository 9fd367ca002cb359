//! Enrichment tables from files: loaded at the start, looked at now and then, and switched at a time that is written down.

use crate::clock::Clock;
use prunella_ingest::enrich::{Config, Files, Shelf, Table, TableError, Tables, Timeline};
use prunella_schemas::{Id, Timestamp};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// In the data directory: which tables held from when, a line of JSON for each switch.
pub const JOURNAL_FILE: &str = "tables.ndjson";
/// Under this name the health tells of tables.
pub const KEEPER: &str = "tables";

/// Largest file of a table, in bytes.
const TABLE_BYTES_MAX: u64 = 1 << 30;
/// New tables hold from so long after they were written down: no message of that time can have been stepped yet.
const LEAD_MS: i64 = 2_000;
/// How often a keeper looks whether it should stop.
const IDLE_MS: u64 = 100;

/// Why there are no tables.
#[derive(Debug, thiserror::Error)]
pub enum EnrichError {
    #[error("cannot read the table `{file}`: {detail}; mend the path under [enrich], or its permissions")]
    File { file: String, detail: String },
    #[error("the table `{file}` has {bytes} bytes; at most {TABLE_BYTES_MAX} are read")]
    TooLarge { file: String, bytes: u64 },
    #[error(transparent)]
    Table(#[from] TableError),
    #[error("cannot write down which tables hold in `{file}`: {detail}")]
    Journal { file: String, detail: String },
}

/// The tables of a configuration; `None` when it names nothing to look up.
pub fn load(config: &Config) -> Result<Option<Tables>, EnrichError> {
    if config.is_empty() {
        return Ok(None);
    }
    let tables = Tables::build(config, Files::of(config, read)?)?;
    for note in tables.notes() {
        tracing::warn!(note, "a table is used in part");
    }
    Ok(Some(tables))
}

fn read(path: &Path) -> Result<Table, EnrichError> {
    let name = path.display().to_string();
    let unreadable = |e: io::Error| EnrichError::File { file: name.clone(), detail: e.to_string() };
    let file = File::open(path).map_err(unreadable)?;
    let bytes_told = file.metadata().map_err(unreadable)?.len();
    if bytes_told > TABLE_BYTES_MAX {
        return Err(EnrichError::TooLarge { file: name, bytes: bytes_told });
    }
    let mut bytes = Vec::new();
    file.take(TABLE_BYTES_MAX).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(Table { name, bytes })
}

/// A line of the journal.
#[derive(Debug, Serialize, Deserialize)]
struct Switch {
    from: Timestamp,
    tables: Id,
    files: Vec<PathBuf>,
}

/// Keeps the tables of a process: what changed on disk holds from a time that is written down before.
pub struct Keeper {
    config: Config,
    clock: Clock,
    journal: PathBuf,
    shelf: Shelf,
    /// What the files looked like when they were last read.
    stamps: Vec<Option<Stamp>>,
}

/// Device, inode, size, and time of change: a file that is written anew differs in one of them.
type Stamp = (u64, u64, u64, i64, i64);

impl Keeper {
    /// Loads every table. Nothing is looked up if one of them cannot be read, so it is an error.
    pub fn open(config: Config, data_dir: &Path, clock: Clock) -> Result<Self, EnrichError> {
        let stamps = stamps(&config);
        let tables = load(&config)?;
        let journal = data_dir.join(JOURNAL_FILE);
        let mut keeper = Keeper { config, clock, journal, shelf: Shelf::default(), stamps };
        if let Some(tables) = tables {
            if keeper.last_written() != Some(tables.id()) {
                keeper.write_down((keeper.clock)(), tables.id())?;
            }
            keeper.shelf = Shelf::new(Timeline::of(Arc::new(tables)));
        }
        Ok(keeper)
    }

    /// Where the stage finds the tables.
    pub fn shelf(&self) -> Shelf {
        self.shelf.clone()
    }

    /// Looks at the files. After an error the tables from before hold, and the next look tries again.
    pub fn look(&mut self) -> Result<(), EnrichError> {
        let now_stamps = stamps(&self.config);
        if now_stamps == self.stamps {
            return Ok(());
        }
        let Some(tables) = load(&self.config)? else { return Ok(()) };
        let timeline = self.shelf.timeline();
        if timeline.newest().is_none_or(|newest| newest.id() != tables.id()) {
            let from = (self.clock)().plus_ms(LEAD_MS);
            self.write_down(from, tables.id())?;
            tracing::info!(tables = %tables.id(), from = from.0, "new tables");
            self.shelf.put(timeline.switched(from, Arc::new(tables)));
        }
        self.stamps = now_stamps;
        Ok(())
    }

    /// Looks every `refresh_s` until told to stop. `told` hears how each look went.
    pub fn run(&mut self, stop: &AtomicBool, mut told: impl FnMut(Result<(), EnrichError>)) {
        let looks = u64::from(self.config.refresh_s.max(1)) * 1_000 / IDLE_MS;
        let mut idle = 0;
        while !stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(IDLE_MS));
            idle += 1;
            if idle >= looks && !self.config.is_empty() {
                idle = 0;
                told(self.look());
            }
        }
    }

    fn last_written(&self) -> Option<Id> {
        let lines = BufReader::new(File::open(&self.journal).ok()?).lines();
        // A line cut short by a crash was not in effect yet.
        let switches = lines.map_while(Result::ok).filter_map(|l| serde_json::from_str::<Switch>(&l).ok());
        switches.last().map(|switch| switch.tables)
    }

    fn write_down(&self, from: Timestamp, tables: Id) -> Result<(), EnrichError> {
        let files = self.config.paths().cloned().collect();
        let write = || -> io::Result<()> {
            let mut line = serde_json::to_vec(&Switch { from, tables, files })?;
            line.push(b'\n');
            let mut file = OpenOptions::new().create(true).append(true).open(&self.journal)?;
            file.write_all(&line)?;
            file.sync_data()
        };
        write().map_err(|e| EnrichError::Journal {
            file: self.journal.display().to_string(),
            detail: e.to_string(),
        })
    }
}

fn stamps(config: &Config) -> Vec<Option<Stamp>> {
    let stamp = |path: &PathBuf| {
        let m = std::fs::metadata(path).ok()?;
        Some((m.dev(), m.ino(), m.len(), m.ctime(), m.ctime_nsec()))
    };
    config.paths().map(stamp).collect()
}
