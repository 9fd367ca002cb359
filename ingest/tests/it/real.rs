//! Real records: each becomes exactly one event, by file and by record.

use crate::{record, unpacked};
use prunella_ingest::{Content, check, normalize};
use std::fs::File;
use std::path::PathBuf;

#[test]
fn every_real_record_becomes_one_event() {
    #[allow(clippy::disallowed_methods, reason = "the data lies outside the repository")]
    let root = std::env::var("PRUNELLA_SHARED_DATA")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data").to_owned());
    for name in ["c7n_cloudtrail_samples.jsonl", "opensearch_benign.jsonl", "stratus_detonation.jsonl"] {
        let path = PathBuf::from(&root).join("aws").join(name);
        let Ok(file) = File::open(&path) else {
            eprintln!("SKIPPED: no {}; set PRUNELLA_SHARED_DATA", path.display());
            return;
        };
        let pieces = unpacked(file, Content::Auto);
        assert!(!pieces.is_empty(), "{name}");
        let (mut depth, mut keys, mut out) = (0, 0, Vec::new());
        for (i, (body, rejected)) in pieces.iter().enumerate() {
            assert_eq!(*rejected, None, "{name}:{}", i + 1);
            let checked = check(body).unwrap_or_else(|e| panic!("{name}:{}: {e:?}", i + 1));
            (depth, keys) = (checked.depth.max(depth), checked.keys.max(keys));
            if let Err(letter) = normalize(&record("aws.cloudtrail", body.clone()), &mut out) {
                panic!("{name}:{}: {:?} {}", i + 1, letter.reason, letter.detail);
            }
            assert_eq!(out.len(), i + 1, "{name}");
        }
        println!("{name}: {} records, depth up to {depth}, keys up to {keys}", pieces.len());
    }
}
