//! Fuzz target: the decoder and the unpacker on arbitrary bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use prunella_ingest::{Content, Limits, check, settle, unpack};
use prunella_schemas::RejectReason::{NotJson, NotUtf8};
use serde::de::IgnoredAny;
use std::ops::ControlFlow;

fuzz_target!(|data: &[u8]| {
    let parsed = serde_json::from_slice::<IgnoredAny>(data);
    match check(data) {
        Ok(checked) => {
            if let Ok(settled) = settle(&checked) {
                let Ok(again) = check(settled.as_bytes()) else { panic!("settled text is refused") };
                assert!(!again.duplicate_keys && !again.lone_surrogates);
                assert_eq!(
                    (settled.len(), again.depth),
                    (checked.text.len(), again.depth.min(checked.depth))
                );
            } else {
                assert!(parsed.is_err());
            }
        }
        Err(rejected) => {
            assert!(rejected.offset.is_none_or(|at| at <= data.len() as u64));
            assert!(rejected.reason != NotJson || parsed.is_err(), "{rejected:?}");
            assert!(rejected.reason != NotUtf8 || std::str::from_utf8(data).is_err());
        }
    }
    for content in [Content::Auto, Content::Ndjson, Content::CloudEvents] {
        let (mut records, mut rejects) = (0, 0);
        let limits = Limits { inflated_bytes_max: 4 << 20 };
        let tally = unpack(data, content, &limits, &mut |piece| {
            match &piece.rejected {
                None => records += 1,
                Some(_) => rejects += 1,
            }
            assert!(piece.line > 0);
            ControlFlow::Continue(())
        });
        let Ok(tally) = tally else { panic!("reading from memory failed") };
        assert_eq!((tally.records, tally.rejects, tally.stopped), (records, rejects, false));
        assert!(records + rejects > 0);
    }
});
