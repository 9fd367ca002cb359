//! The stage: for each record its event, or the dead letter that says why there is none.

use crate::collisions::Collisions;
use crate::decode::{Checked, Rejected, check};
use crate::enrich::{Memo, Shelf, enrich};
use crate::settle::{settle, well_formed};
use prunella_schemas::stage::SnapshotError;
use prunella_schemas::{DeadLetter, Delivered, Event, Flag, Id, Outbox, Record, RejectReason, Stage};
use prunella_translate::{Malformed, Translate, by_name, catalog};

const NAME: &str = "ingest";
const SNAPSHOT_VERSION: u32 = 1;

/// Record to Event. Its only memory is which event carried a provider id first.
#[derive(Debug, Default)]
pub struct Ingest {
    collisions: Collisions,
    shelf: Shelf,
    memo: Memo,
    /// The events of one record; kept to save allocations, empty between records.
    events: Vec<Event>,
}

impl Ingest {
    pub fn new() -> Self {
        Ingest::default()
    }

    /// One that looks events up in the tables on a shelf.
    pub fn enriching(shelf: Shelf) -> Self {
        Ingest { shelf, ..Ingest::default() }
    }
}

impl Stage for Ingest {
    type In = Record;

    fn name(&self) -> &'static str {
        NAME
    }

    fn step(&mut self, batch: &[Delivered<Record>], out: &mut Outbox) {
        let timeline = self.shelf.timeline();
        for delivered in batch {
            out.caused_by(delivered);
            let tables = timeline.at(delivered.at);
            match normalize(&delivered.message, &mut self.events) {
                Ok(()) => {
                    for mut event in self.events.drain(..) {
                        if self.collisions.collides(&event) {
                            event.flag(Flag::IdCollision);
                        }
                        if let Some(tables) = tables {
                            enrich(&mut event, tables, &mut self.memo);
                        }
                        out.push(&event);
                    }
                }
                Err(letter) => out.push(&letter),
            }
        }
    }

    fn save(&self) -> Vec<u8> {
        let mut snapshot = SNAPSHOT_VERSION.to_le_bytes().to_vec();
        self.collisions.save(&mut snapshot);
        snapshot
    }

    fn restore(&mut self, snapshot: &[u8]) -> Result<(), SnapshotError> {
        let corrupt = |detail: String| SnapshotError::Corrupt { stage: NAME, detail };
        let Some((version, rest)) = snapshot.split_first_chunk::<4>() else {
            return Err(corrupt(format!("{} bytes; the version alone takes 4", snapshot.len())));
        };
        let version = u32::from_le_bytes(*version);
        if version != SNAPSHOT_VERSION {
            return Err(SnapshotError::Version { stage: NAME, version, expected: SNAPSHOT_VERSION });
        }
        self.collisions = Collisions::restore(rest).map_err(corrupt)?;
        Ok(())
    }
}

/// Appends the events of `record`, or says why there are none and leaves `out` as it was. Never dedupes.
#[expect(clippy::result_large_err, reason = "a refused record goes on as it is, and seldom")]
pub fn normalize(record: &Record, out: &mut Vec<Event>) -> Result<(), DeadLetter> {
    let first = out.len();
    let refuse = |out: &mut Vec<Event>, rejected: Rejected| {
        out.truncate(first);
        Err(rejected.into_dead_letter(record.clone()))
    };
    let Some(translator) = by_name(&record.source) else {
        return refuse(out, unknown_source(&record.source));
    };
    match read(record, translator, out) {
        Ok(()) if out.len() == first => {
            let detail = format!("`{}` made no event of it", translator.name());
            refuse(out, Rejected::new(RejectReason::Malformed, detail, None))
        }
        Ok(()) => Ok(()),
        Err(rejected) => refuse(out, rejected),
    }
}

/// Check, settle, translate, complete: the whole way of one record.
fn read(record: &Record, translator: &dyn Translate, out: &mut Vec<Event>) -> Result<(), Rejected> {
    let first = out.len();
    let checked = check(&record.body)?;
    let text = settle(&checked)?;
    translator.translate(record, &text, out).map_err(|malformed| refused(&checked, malformed))?;
    for event in out.get_mut(first..).unwrap_or_default() {
        complete(event, record, &checked, &text);
    }
    Ok(())
}

/// Sets what holds for every source, and names the event anew where that changes its identity.
fn complete(event: &mut Event, record: &Record, checked: &Checked<'_>, text: &str) {
    let mut renamed = event.prunella.event_uid == Id::default();
    if checked.duplicate_keys {
        event.flag(Flag::DuplicateKey);
    }
    if checked.lone_surrogates {
        event.flag(Flag::LoneSurrogate);
    }
    // The translator read the settled text; what is kept is what arrived. An event without a provider id is named by
    // its raw bytes, so it gets another name.
    if text != checked.text && event.raw_data.as_ref().is_some_and(|raw| raw.text() == text) {
        event.raw_data = Some(checked.text.into());
        renamed |= event.metadata.uid.is_none();
    }
    // Whose data it is never comes from a record, whatever a translator makes of it.
    if event.metadata.tenant_uid.as_deref() != Some(record.tenant.as_str()) {
        event.set_tenant(&record.tenant);
        renamed = true;
    }
    if renamed {
        event.identify();
    }
}

/// A translator cannot always tell bad JSON from a bad record; the parser can.
fn refused(checked: &Checked<'_>, malformed: Malformed) -> Rejected {
    match well_formed(checked.text) {
        Err(not_json) => not_json,
        Ok(()) => {
            Rejected { reason: RejectReason::Malformed, detail: malformed.detail, offset: malformed.offset }
        }
    }
}

fn unknown_source(name: &str) -> Rejected {
    let known: Vec<&str> = catalog().iter().map(|translator| translator.name()).collect();
    let name: String = name.chars().take(80).collect();
    let detail = format!("no source is called `{name}`; there are {}", known.join(", "));
    Rejected::new(RejectReason::UnknownSource, detail, None)
}
