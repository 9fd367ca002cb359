//! The sink over Kafka: a consumer group of its own that copies what people ask for into ClickHouse.
//!
//! How a portion gets there exactly once is in [`protocol`](crate::store::clickhouse::protocol); where its intents are
//! kept, in decision 0021. ClickHouse away means: nothing more is fetched, the portion in hand is tried again, and the
//! lag grows where it costs nothing, on the log.

mod lane;
mod page;
mod table;

use crate::log::LogError;
use crate::log::kafka::Settings;
use crate::log::kafka::pump::Group;
use crate::metrics::Counts;
use crate::sink::READER;
use crate::sqlite::lock;
use crate::store::clickhouse::{Located, Schema, Server, Writer};
use crate::trace::{self, Share, Span};
use prunella_schemas::Topic;
use prunella_schemas::port::PortError;
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::Handle;

/// What is stored: the topics that have a table. The first one is where nearly all of it is.
pub const TOPICS: [Topic; 8] = [
    Topic::Events,
    Topic::Scores,
    Topic::Signals,
    Topic::Findings,
    Topic::Risk,
    Topic::Plans,
    Topic::Receipts,
    Topic::Dlq,
];
/// How long the server may take to say what tables it has.
const CHECK_MAX: Duration = Duration::from_secs(5);

/// The role `sink`. A lane is one partition number of all its topics.
pub struct KafkaSink {
    settings: Settings,
    server: Server,
    writer: Writer,
    /// Where the requests to ClickHouse run; the lanes wait for them on threads of their own.
    runtime: Handle,
    counts: Arc<Counts>,
    troubles: Troubles,
    traces: Option<Traces>,
}

/// Where the spans of what was stored go, and which events have some.
struct Traces {
    share: Share,
    send: Box<dyn Fn(Vec<Span>) + Send + Sync>,
}

impl KafkaSink {
    /// `server` names a user who may insert, select, and end its own queries.
    pub fn new(settings: Settings, server: &Server, runtime: Handle) -> Self {
        let (writer, server) = (Writer::new(server), server.clone());
        let (counts, troubles) = (Arc::default(), Troubles::default());
        KafkaSink { settings, server, writer, runtime, counts, troubles, traces: None }
    }

    /// Gives `send` the spans of what was stored: all of findings, plans and receipts, and a share of events. It must not
    /// wait.
    pub fn with_traces(self, share: Share, send: impl Fn(Vec<Span>) + Send + Sync + 'static) -> Self {
        KafkaSink { traces: Some(Traces { share, send: Box::new(send) }), ..self }
    }

    pub fn name(&self) -> &'static str {
        READER
    }

    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    fn trace(&self, messages: &[Located]) {
        if let Some(traces) = &self.traces {
            let spans = messages.iter().flat_map(|m| trace::spans(&m.posted, m.at, traces.share));
            (traces.send)(spans.collect());
        }
    }

    pub fn troubles(&self) -> Troubles {
        self.troubles.clone()
    }

    /// Works until told to stop. After an error nothing of it is left running; call it again to go on.
    pub fn run(&self, stop: &AtomicBool) -> Result<(), LogError> {
        self.runtime.block_on(check(&self.server)).map_err(|e| LogError::Unavailable(e.to_string()))?;
        let body = |place: &crate::log::kafka::lane::Place<'_>| {
            let worked = lane::run(place, self);
            self.troubles.over(place.partition);
            worked
        };
        let (settings, counts) = (&self.settings, self.counts.as_ref());
        Group { settings, name: READER, counts, body: &body }.run(&TOPICS, stop)
    }
}

/// Whether the tables are there that this build writes.
pub async fn check(server: &Server) -> Result<(), PortError> {
    let schema = Schema::of(server)?;
    let late = |_| PortError::Unavailable(format!("ClickHouse at {} does not answer", server.url));
    tokio::time::timeout(CHECK_MAX, schema.check()).await.map_err(late)?
}

/// Whether there is a server at all. One that is away comes back; one that says no has to be set right.
pub async fn answers(server: &Server) -> Result<bool, PortError> {
    let schema = Schema::of(server)?;
    Ok(tokio::time::timeout(CHECK_MAX, schema.answers()).await.unwrap_or(false))
}

/// What keeps each lane from storing now, for probes. Cheap to clone.
#[derive(Clone, Default)]
pub struct Troubles(Arc<Mutex<BTreeMap<i32, String>>>);

impl Troubles {
    /// Which partition number, and why, in words.
    pub fn all(&self) -> Vec<String> {
        let told = |(partition, text): (&i32, &String)| format!("{READER}, partition {partition}: {text}");
        lock(&self.0).iter().map(told).collect()
    }

    fn met(&self, partition: i32, text: String) {
        lock(&self.0).insert(partition, text);
    }

    fn over(&self, partition: i32) {
        lock(&self.0).remove(&partition);
    }
}
