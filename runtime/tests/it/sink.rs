//! The sink: what it stores keeps its age, also where nothing came before it.

use prunella_runtime::log::Log;
use prunella_runtime::log::memory::MemoryLog;
use prunella_runtime::sink::Sink;
use prunella_runtime::store::{Shed, StoreWriter};
use prunella_schemas::{DeadLetter, Posted, Record, RejectReason, Tenant, Timestamp};
use std::sync::Arc;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

#[test]
fn a_dead_letter_of_intake_is_as_old_as_its_intake() {
    let folder = tempfile::tempdir().unwrap();
    let log = Arc::new(MemoryLog::new(Arc::new(|| NOW)));
    let (source, tenant) = ("aws.cloudtrail".to_owned(), Tenant::default());
    let record = Record { source, tenant, received: NOW, origin: String::new(), body: b"poison".to_vec() };
    let (reason, detail) = (RejectReason::NotJson, "test".to_owned());
    let letter = DeadLetter { record, reason, detail, offset: None, time: NOW };
    log.append(vec![Posted::new(&letter, Timestamp::ZERO)]).unwrap();
    let writer = StoreWriter::open(&folder.path().join("store.db")).unwrap();
    let mut sink = Sink::open(log, writer, tokio::sync::broadcast::channel(1).0).unwrap();
    assert_eq!(sink.turn().unwrap(), 1);
    assert_eq!(sink.writer().retain(NOW, u64::MAX).unwrap(), Shed::default());
    assert_eq!(sink.writer().retain(NOW.plus_ms(1), u64::MAX).unwrap(), Shed { by_age: 1, by_size: 0 });
}
