//! Fuzz target: every translator of the catalog on fuzzed CloudTrail records.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prunella_fuzz::{body, ingest, record};
use prunella_translate::catalog;

/// A CloudTrail record whose every `@` is fuzzed.
const TEMPLATE: &str = r#"{"eventName":@,"eventSource":@,"userIdentity":@,"eventTime":@,"errorCode":@,"requestParameters":@,"responseElements":@,"resources":@,"additionalEventData":@,"sourceIPAddress":@,"eventID":@,"tlsDetails":@,"detail":@,"serviceEventDetails":@,@}"#;

fuzz_target!(|data: &[u8]| {
    let body = body(TEMPLATE, data);
    for translator in catalog() {
        ingest(&record(translator.name(), body.clone()));
    }
});
