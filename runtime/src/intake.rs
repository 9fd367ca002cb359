//! Intake: takes a body apart, makes its records durable, and only then says so.

use crate::clock::Clock;
use crate::executor::KillSwitch;
use crate::log::{Log, LogError, Portion};
use crate::pump::Seen;
use crate::sqlite::lock;
use crate::store::SqliteStore;
use async_trait::async_trait;
use prunella_ingest::{Content, Limits, Piece, unpack};
use prunella_schemas::limits::{BATCH_BYTES_MAX, BATCH_MESSAGES_MAX, DEDUPE_IDS_MAX};
use prunella_schemas::port::{Accepted, Intake, PortError, Upload};
use prunella_schemas::{
    Command, DeadLetter, Id, Message, Posted, Record, RejectReason, Tenant, Timestamp, Topic,
};
use std::io::Read;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Records waiting for `ingest` beyond which intake says "later" instead of growing the log without end.
const BACKLOG_MESSAGES_MAX: u64 = 2_000_000;
/// Appends between two looks at the backlog.
const BACKLOG_CHECK_APPENDS: u64 = 64;
/// Batches of the log's tail from which the memory of known records is rebuilt at a start.
const KNOWN_BATCHES_MAX: i64 = 4_096;

/// The log's front door. Cheap to clone.
#[derive(Clone)]
pub struct LogIntake {
    shared: Arc<Shared>,
    store: Option<Arc<SqliteStore>>,
}

struct Shared {
    log: Arc<dyn Log>,
    clock: Clock,
    kill_switch: KillSwitch,
    /// Only spares work: what slips through is dropped at the mouth of `ingest`.
    known: Mutex<Seen>,
    appends: AtomicU64,
}

/// Who sent it and where it came from: what every record of one body shares.
#[derive(Clone, Debug)]
pub struct Sender {
    pub source: String,
    pub tenant: Tenant,
    /// For people: a file name, a request.
    pub origin: String,
}

impl From<LogError> for PortError {
    fn from(error: LogError) -> Self {
        let text = error.to_string();
        match error {
            LogError::Full(_) => PortError::Full(text),
            LogError::Corrupt(_) => PortError::Corrupt(text),
            LogError::Unavailable(_) => PortError::Unavailable(text),
        }
    }
}

impl LogIntake {
    pub fn open(log: Arc<dyn Log>, clock: Clock, kill_switch: KillSwitch) -> Result<Self, LogError> {
        let mut known = Seen::default();
        let mut after = log.head() - KNOWN_BATCHES_MAX;
        let portion =
            Portion { messages_max: BATCH_MESSAGES_MAX, bytes_max: BATCH_BYTES_MAX, until: i64::MAX };
        loop {
            let batches = log.read(&[Topic::Records], after, portion)?;
            let Some(last) = batches.last().map(|b| b.sequence) else { break };
            for posted in batches.iter().flat_map(|b| &b.messages) {
                known.first(posted.id);
            }
            after = last;
        }
        let shared = Shared { log, clock, kill_switch, known: Mutex::new(known), appends: AtomicU64::new(0) };
        Ok(LogIntake { shared: Arc::new(shared), store: None })
    }

    /// The store whose dead letters are marked when their records are given again.
    pub fn with_store(self, store: Arc<SqliteStore>) -> Self {
        LogIntake { store: Some(store), ..self }
    }

    /// Takes `input` apart and appends portion by portion; what was appended stays when a later portion fails.
    pub fn take(
        &self,
        input: impl Read,
        content: Content,
        limits: &Limits,
        sender: &Sender,
    ) -> Result<Accepted, PortError> {
        self.check_backlog()?;
        let received = (self.shared.clock)();
        let mut portion = Taken::default();
        let mut total = Accepted::default();
        let mut failure = None;
        let unpacked = unpack(input, content, limits, &mut |piece| {
            portion.add(piece, sender, received);
            if portion.is_large() {
                match self.append(std::mem::take(&mut portion)) {
                    Ok(accepted) => add(&mut total, accepted),
                    Err(e) => {
                        failure = Some(e);
                        return ControlFlow::Break(());
                    }
                }
            }
            ControlFlow::Continue(())
        });
        if let Some(e) = failure {
            return Err(e);
        }
        unpacked.map_err(|e| PortError::Unavailable(format!("reading {} failed: {e}", sender.origin)))?;
        add(&mut total, self.append(portion)?);
        Ok(total)
    }

    fn append(&self, taken: Taken) -> Result<Accepted, PortError> {
        let mut accepted = Accepted { rejected: taken.dead.len() as u64, ..Accepted::default() };
        let mut new = Vec::with_capacity(taken.records.len() + taken.dead.len());
        {
            let known = lock(&self.shared.known);
            let mut here = std::collections::HashSet::new();
            for posted in taken.records {
                if known.contains(&posted.id) || !here.insert(posted.id) {
                    accepted.duplicates += 1;
                } else {
                    accepted.accepted += 1;
                    new.push(posted);
                }
            }
        }
        let ids: Vec<_> = new.iter().map(|p| p.id).collect();
        new.extend(taken.dead);
        if !new.is_empty() {
            self.shared.log.append(new)?;
        }
        // Known only once durable: a record that could not be written must be accepted when it comes again.
        let mut known = lock(&self.shared.known);
        for id in ids {
            known.first(id);
        }
        Ok(accepted)
    }

    fn check_backlog(&self) -> Result<(), PortError> {
        if !self.shared.appends.fetch_add(1, Ordering::Relaxed).is_multiple_of(BACKLOG_CHECK_APPENDS) {
            return Ok(());
        }
        let position = self.shared.log.position("ingest")?;
        let backlog = self.shared.log.lag(&[Topic::Records], position)?;
        if backlog > BACKLOG_MESSAGES_MAX {
            let detail = format!(
                "{backlog} records wait to be processed, at most {BACKLOG_MESSAGES_MAX} may; try again later"
            );
            return Err(PortError::Unavailable(detail));
        }
        Ok(())
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, PortError> + Send + 'static,
    ) -> Result<T, PortError> {
        let intake = self.clone();
        match tokio::task::spawn_blocking(move || work(&intake)).await {
            Ok(result) => result,
            Err(e) => Err(PortError::Unavailable(format!("intake was cut short: {e}"))),
        }
    }
}

/// What a body is, how large it may become, who sent it, and its bytes.
pub(crate) fn opened(upload: Upload) -> Result<(Content, Limits, Sender, Vec<u8>), PortError> {
    let Some(content) = Content::of_media_type(&upload.content_type) else {
        let detail = format!(
            "content type `{}` holds no records; use application/x-ndjson, application/json or \
             application/cloudevents+json",
            upload.content_type
        );
        return Err(PortError::Invalid(detail));
    };
    let sender = Sender { source: upload.source, tenant: upload.tenant, origin: upload.origin };
    let limits = if upload.is_file { Limits::FILE } else { Limits::INTAKE };
    Ok((content, limits, sender, upload.body))
}

#[async_trait]
impl Intake for LogIntake {
    async fn accept(&self, upload: Upload) -> Result<Accepted, PortError> {
        let (content, limits, sender, body) = opened(upload)?;
        self.blocking(move |intake| intake.take(body.as_slice(), content, &limits, &sender)).await
    }

    async fn accept_record(&self, record: Record) -> Result<Accepted, PortError> {
        let now = (self.shared.clock)();
        let letter = dead_letter_id(&record);
        let posted = given_again(record, now);
        self.blocking(move |intake| Ok(intake.shared.log.append(vec![posted])?)).await?;
        if let Some(store) = &self.store {
            store.resolve_dead_letter(letter, now).await?;
        }
        Ok(Accepted { accepted: 1, ..Accepted::default() })
    }

    async fn command(&self, command: Command) -> Result<(), PortError> {
        self.blocking(move |intake| {
            if let Command::KillSwitch { engaged, by, .. } = &command {
                let failed = |e: std::io::Error| {
                    PortError::Unavailable(format!("the kill switch file cannot be changed: {e}"))
                };
                intake.shared.kill_switch.set(*engaged, by).map_err(failed)?;
            }
            intake.shared.log.append(vec![Posted::new(&command, Timestamp::ZERO)])?;
            Ok(())
        })
        .await
    }
}

/// Pieces of a body on their way to the log.
#[derive(Default)]
struct Taken {
    records: Vec<Posted>,
    dead: Vec<Posted>,
    bytes: usize,
}

impl Taken {
    fn add(&mut self, piece: Piece<'_>, sender: &Sender, received: Timestamp) {
        let origin = format!("{}:{}", sender.origin, piece.line);
        let (source, tenant, body) = (sender.source.clone(), sender.tenant.clone(), piece.body.to_vec());
        let record = Record { source, tenant, received, origin, body };
        self.bytes += record.body.len();
        match piece.rejected {
            None => self.records.push(Posted::new(&record, Timestamp::ZERO)),
            Some(rejected) => {
                let (reason, detail, offset) = (rejected.reason, rejected.detail, rejected.offset);
                let dead = DeadLetter { record, reason, detail, offset, time: received };
                self.dead.push(Posted::new(&dead, Timestamp::ZERO));
            }
        }
    }

    fn is_large(&self) -> bool {
        self.records.len() + self.dead.len() >= BATCH_MESSAGES_MAX || self.bytes >= BATCH_BYTES_MAX / 2
    }
}

/// A record given again on purpose: received now, and under another id, so that no stage takes it for a repeat.
pub fn given_again(mut record: Record, now: Timestamp) -> Posted {
    record.received = now;
    let mut posted = Posted::new(&record, Timestamp::ZERO);
    posted.id = Id::derive("record_again", &[&posted.id.0, &now.0.to_le_bytes()]);
    posted
}

/// The id of the dead letter of a refused record.
fn dead_letter_id(record: &Record) -> Id {
    let (record, time) = (record.clone(), record.received);
    DeadLetter { record, reason: RejectReason::Malformed, detail: String::new(), offset: None, time }.id()
}

fn add(total: &mut Accepted, more: Accepted) {
    total.accepted += more.accepted;
    total.duplicates += more.duplicates;
    total.rejected += more.rejected;
}

const _: () = assert!(DEDUPE_IDS_MAX >= BATCH_MESSAGES_MAX, "memory must outlast a portion");
