//! How the embedded pipeline is: what lags, and what keeps its parts from working.

use crate::clock::Clock;
use crate::executor::KillSwitch;
use crate::log::{Log, START};
use crate::sink;
use crate::sqlite::lock;
use async_trait::async_trait;
use prunella_schemas::port::{Health, HealthView};
use prunella_schemas::{Timestamp, Topic};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

/// How the pipeline is, asked for by people and load balancers. Cheap to clone.
#[derive(Clone)]
pub struct EmbeddedHealth {
    pub(super) vitals: Arc<Vitals>,
}

pub(super) struct Vitals {
    log: Arc<dyn Log>,
    sink: Arc<AtomicI64>,
    clock: Clock,
    kill_switch: KillSwitch,
    started: Timestamp,
    watched: Mutex<Vec<(&'static str, &'static [Topic])>>,
    problems: Mutex<BTreeMap<&'static str, String>>,
}

impl EmbeddedHealth {
    pub(super) fn new(
        log: Arc<dyn Log>,
        sink: Arc<AtomicI64>,
        clock: Clock,
        kill_switch: KillSwitch,
    ) -> Self {
        let started = clock();
        let (watched, problems) = (Mutex::default(), Mutex::default());
        EmbeddedHealth {
            vitals: Arc::new(Vitals { log, sink, clock, kill_switch, started, watched, problems }),
        }
    }

    pub(super) fn watch(&self, name: &'static str, topics: &'static [Topic]) {
        lock(&self.vitals.watched).push((name, topics));
    }

    /// What the playbooks name and nobody can carry out; it stays a problem until the next start.
    pub(super) fn lacks(&self, lacking: &[String]) {
        if !lacking.is_empty() {
            tracing::warn!(lacking = lacking.join("; "), "actions of the playbooks cannot be carried out");
            self.report("preflight", lacking.join("; "));
        }
    }

    pub(super) fn report(&self, name: &'static str, problem: String) {
        lock(&self.vitals.problems).insert(name, problem);
    }

    pub(super) fn clear(&self, name: &'static str) {
        lock(&self.vitals.problems).remove(name);
    }

    pub(super) fn clock(&self) -> Clock {
        Arc::clone(&self.vitals.clock)
    }
}

impl Vitals {
    pub(super) fn look(&self) -> Health {
        let mut problems: Vec<String> =
            lock(&self.problems).iter().map(|(name, e)| format!("{name}: {e}")).collect();
        let mut lag = BTreeMap::new();
        let watched = lock(&self.watched).clone();
        for (name, topics) in watched {
            let behind = self.log.position(name).and_then(|position| self.log.lag(topics, position));
            match behind {
                Ok(messages) => drop(lag.insert(name.to_owned(), messages)),
                Err(e) => problems.push(format!("{name}: {e}")),
            }
        }
        match self.log.lag(&sink::TOPICS, self.sink.load(Ordering::Relaxed).max(START)) {
            Ok(messages) => drop(lag.insert(sink::READER.to_owned(), messages)),
            Err(e) => problems.push(format!("{}: {e}", sink::READER)),
        }
        let status = if problems.is_empty() { "ok" } else { "degraded" };
        Health {
            status: status.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            uptime_ms: (self.clock)().since_ms(self.started).max(0).unsigned_abs(),
            lag,
            problems,
            kill_switch: self.kill_switch.is_engaged(),
        }
    }
}

#[async_trait]
impl HealthView for EmbeddedHealth {
    async fn health(&self) -> Health {
        let vitals = Arc::clone(&self.vitals);
        let looked = tokio::task::spawn_blocking(move || vitals.look()).await;
        looked.unwrap_or_else(|e| Health {
            status: "degraded".into(),
            problems: vec![e.to_string()],
            ..Health::default()
        })
    }
}
