//! Reads the configured sources: each page is durable before its cursor moves, and one that fails stops no other.

mod backoff;
mod counts;
mod cursors;
mod delays;
mod feed;

pub use counts::{Counts, Standing, render};
pub use cursors::{Cursors, Row, SqliteCursors, Tally};
pub use delays::Delays;
pub use feed::{ConnectError, Feed, Turn};

use crate::clock::Clock;
use crate::sqlite::lock;
use prunella_schemas::port::{Intake, Source};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Most sources of one process.
pub const SOURCES_MAX: usize = 256;
/// How long a source whose code failed rests before it starts again.
const PANIC_REST_MS: u64 = 30_000;

/// What every source of a process shares.
#[derive(Clone)]
pub struct Ground {
    pub intake: Arc<dyn Intake>,
    pub cursors: Arc<dyn Cursors>,
    pub clock: Clock,
}

/// A source as the operator wants it run.
#[derive(Clone)]
pub struct Planned {
    pub source: Arc<dyn Source>,
    /// Time between two looks at a source that had nothing more. `None`: as the source thinks best.
    pub every_ms: Option<u64>,
}

/// The sources of a process while they are read.
pub struct Connectors {
    pub vitals: Vitals,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Connectors {
    /// Starts a task for each source. Must be called inside a tokio runtime.
    pub fn start(ground: &Ground, sources: Vec<Planned>) -> Self {
        let (stop, _) = watch::channel(false);
        let vitals = Vitals::default();
        let tasks = sources.into_iter().take(SOURCES_MAX).map(|planned| {
            let counts = Arc::new(Counts::default());
            lock(&vitals.sources).insert(planned.source.name().to_owned(), Arc::clone(&counts));
            tokio::spawn(watch_over(ground.clone(), planned, counts, stop.subscribe()))
        });
        let tasks = tasks.collect();
        Connectors { vitals, stop, tasks }
    }

    /// Lets every source end its page, and waits for that.
    pub async fn stop(self) {
        // No receiver left means that every source has ended already.
        let _ = self.stop.send(true);
        for task in self.tasks {
            if let Err(e) = task.await {
                tracing::error!(error = %e, "a source was cut short while stopping");
            }
        }
    }
}

/// Runs a source until told to stop; a panic of its code is seen, and takes neither it nor the others away for good.
async fn watch_over(ground: Ground, planned: Planned, counts: Arc<Counts>, mut stop: watch::Receiver<bool>) {
    while !*stop.borrow() {
        let feed = Feed::new(planned.clone(), ground.clone(), Arc::clone(&counts));
        let Err(e) = tokio::spawn(feed.run(stop.clone())).await else { return };
        let name = planned.source.name();
        tracing::error!(source = name, error = %e, "a source panicked; starting it again");
        counts.fails((ground.clock)(), "its code panicked; please report this with the log".to_owned());
        let rest = tokio::time::sleep(std::time::Duration::from_millis(PANIC_REST_MS));
        tokio::select! {
            () = rest => {}
            _ = stop.changed() => {}
        }
    }
}

/// How the sources of a process fare, for health and scrapers. Cheap to clone.
#[derive(Clone, Default)]
pub struct Vitals {
    sources: Arc<Mutex<BTreeMap<String, Arc<Counts>>>>,
}

impl Vitals {
    /// What keeps a source from being read now, and what is wrong with single pieces of it.
    pub fn problems(&self) -> Vec<String> {
        let sources = lock(&self.sources);
        let told = sources.iter().flat_map(|(name, counts)| {
            counts.problems().into_iter().map(move |problem| format!("source {name}: {problem}"))
        });
        told.collect()
    }

    pub fn standings(&self) -> BTreeMap<String, Standing> {
        lock(&self.sources).iter().map(|(name, counts)| (name.clone(), counts.standing())).collect()
    }

    /// The text of a scrape.
    pub fn metrics(&self) -> String {
        let sources = lock(&self.sources);
        let borrowed: Vec<(&str, &Counts)> =
            sources.iter().map(|(name, c)| (name.as_str(), c.as_ref())).collect();
        render(&borrowed)
    }
}
