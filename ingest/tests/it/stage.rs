//! The stage gives the same bytes however its input is batched and whether or not it was interrupted.

use crate::{good, letters, record, staged, trail};
use proptest::prelude::*;
use prunella_ingest::Ingest;
use prunella_schemas::stage::SnapshotError;
use prunella_schemas::{Record, Stage, Topic};

/// Records of which many share an id and some are refused.
fn records() -> impl Strategy<Value = Vec<Record>> {
    let one = (0..8u8, 0..3u8, 0..12u8).prop_map(|(id, name, fate)| match fate {
        0 => record("aws.cloudtrail", "oops"),
        1 => record("nowhere", good("e")),
        _ => record(
            "aws.cloudtrail",
            trail(&format!("e{id}"), &format!("Get{name}"), "2024-07-31T12:29:16Z", ""),
        ),
    });
    prop::collection::vec(one, 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn output_does_not_depend_on_batches(records in records(), size in 1..9usize) {
        let whole = staged(&mut Ingest::new(), &records, records.len());
        prop_assert_eq!(staged(&mut Ingest::new(), &records, size), whole);
    }

    #[test]
    fn an_interrupted_stage_goes_on_where_it_was(records in records(), cut in 0..40usize) {
        let cut = cut.min(records.len());
        let mut whole = Ingest::new();
        let want = staged(&mut whole, &records, 4);
        let mut before = Ingest::new();
        let mut got = staged(&mut before, &records[..cut], 4);
        let mut after = Ingest::new();
        after.restore(&before.save()).unwrap();
        got.extend(staged(&mut after, &records[cut..], 4));
        prop_assert_eq!(got, want);
        prop_assert_eq!(after.save(), whole.save());
    }
}

#[test]
fn a_snapshot_of_another_version_is_refused_and_nothing_changes() {
    let twins = [
        record("aws.cloudtrail", good("e1")),
        record("aws.cloudtrail", trail("e1", "X", "2024-07-31T12:29:16Z", "")),
    ];
    let mut stage = Ingest::new();
    staged(&mut stage, &twins[..1], 1);
    let saved = stage.save();
    let newer = [&2u32.to_le_bytes()[..], &saved[4..]].concat();
    assert_eq!(
        stage.restore(&newer),
        Err(SnapshotError::Version { stage: "ingest", version: 2, expected: 1 })
    );
    for cut in [0, 3, 4, saved.len() - 1] {
        assert!(matches!(stage.restore(&saved[..cut]), Err(SnapshotError::Corrupt { .. })), "{cut}");
    }
    assert_eq!(stage.save(), saved);
}

#[test]
fn causes_and_tenants_are_carried_through() {
    let mut bad = record("nowhere", good("e1"));
    bad.tenant = String::from("acme").try_into().unwrap();
    let mut fine = record("aws.cloudtrail", good("e1"));
    fine.tenant = bad.tenant.clone();
    let posted = staged(&mut Ingest::new(), &[bad.clone(), fine], 2);
    assert_eq!(posted.iter().map(|p| p.topic).collect::<Vec<_>>(), [Topic::Dlq, Topic::Events]);
    assert!(posted.iter().all(|p| p.origin == crate::RECEIVED));
    assert_eq!(letters(&posted)[0].record, bad);
    assert_eq!(crate::events(&posted)[0].tenant(), "acme");
    let own = staged(&mut Ingest::new(), &[record("aws.cloudtrail", good("e1"))], 1);
    assert_ne!(own[0].id, posted[1].id, "the tenant is part of the identity");
}
