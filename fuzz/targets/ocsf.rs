//! Fuzz target: OCSF events as a source; what was accepted once is accepted again, and means the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prunella_fuzz::{body, ingest, record};
use prunella_schemas::Message;

/// An OCSF event whose every `@` is fuzzed.
const TEMPLATE: &str = r#"{"class_uid":6003,"category_uid":6,"activity_id":2,"type_uid":600302,"severity_id":1,"time":1722428956000,"metadata":{"version":"1.8.0","uid":"u1","product":{"name":"p"},"x":@},"api":@,"actor":@,"cloud":@,"src_endpoint":@,"user":@,"resources":@,"status_id":@,@}"#;

fuzz_target!(|data: &[u8]| {
    for event in ingest(&record("ocsf", body(TEMPLATE, data))) {
        let events = ingest(&record("ocsf", event.encode()));
        let [again] = events.as_slice() else { panic!("an accepted event is refused: {event:?}") };
        assert_eq!(
            (again.type_uid, again.time, &again.metadata.uid),
            (event.type_uid, event.time, &event.metadata.uid)
        );
    }
});
