//! `prunella ledger`: whole, changed, cut short, forked, or no ledger at all.

use crate::program::{Ended, run};
use crate::records::tampering;
use crate::running::Running;
use crate::start::copied;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::LazyLock;
use tempfile::TempDir;

/// A stopped pipeline's directory, and a checkpoint taken before its last entries were written.
static LEFT: LazyLock<TempDir> = LazyLock::new(|| {
    let dir = TempDir::new().unwrap();
    let up = Running::start(&dir, &["--response", "auto"]);
    for user in ["ada", "eve", "mallory"] {
        let line = format!("{}\n", tampering(&format!("t-{user}"), user));
        let headers = [("content-type", "application/x-ndjson")];
        assert_eq!(up.post("/api/events?source=aws.cloudtrail", &headers, line.into_bytes()).status, 202);
    }
    up.settle();
    up.stop().0.with(0);
    dir
});

fn verify(dir: &Path, more: &[&str]) -> Ended {
    run(&[&["ledger", "verify", "--data-dir", dir.to_str().unwrap(), "-o", "json"], more].concat())
}

fn change(dir: &Path, sql: &str) {
    let connection = rusqlite::Connection::open(dir.join("ledger.db")).unwrap();
    connection.execute_batch(sql).unwrap();
}

#[track_caller]
fn found(ended: Ended, integrity: &str, completeness: &str) -> Value {
    let report = ended.with(1).json();
    assert_eq!(
        (&report["integrity"], &report["completeness"]),
        (&integrity.into(), &completeness.into()),
        "{report}"
    );
    report
}

#[test]
fn a_whole_ledger_verifies_and_says_so_in_the_promised_shape() {
    let report = verify(LEFT.path(), &[]).with(0).json();
    let entries = report["entries"].as_u64().unwrap();
    assert!(entries >= 3, "{report}");
    let promised = json!({"integrity": "ok", "completeness": "ok", "first_bad": null});
    for (key, want) in promised.as_object().unwrap() {
        assert_eq!(&report[key], want, "{key}");
    }
    let args = ["ledger", "verify", "--data-dir", LEFT.path().to_str().unwrap(), "-o", "table"];
    assert_eq!(run(&args).with(0).out, format!("{entries} entries; integrity ok; completeness ok\n"));
}

#[test]
fn a_flipped_byte_a_missing_entry_and_a_swap_are_found_where_they_are() {
    let check = |sql: &str, first_bad: u64| {
        let copy = copied(LEFT.path());
        change(copy.path(), sql);
        let report = verify(copy.path(), &[]).with(1).json();
        assert_eq!(
            (&report["integrity"], &report["first_bad"]),
            (&"broken".into(), &first_bad.into()),
            "{sql}: {report}"
        );
        assert!(!report["problems"].as_array().unwrap().is_empty());
    };
    check("UPDATE entry SET body = CAST(x'00' || substr(body, 2) AS BLOB) WHERE number = 1", 1);
    check("UPDATE entry SET time = time + 1 WHERE number = 2", 2);
    check("DELETE FROM entry WHERE number = 1", 1);
    check(
        "UPDATE entry SET number = -1 WHERE number = 1; UPDATE entry SET number = 1 WHERE number = 2; \
           UPDATE entry SET number = 2 WHERE number = -1",
        1,
    );
    let copy = copied(LEFT.path());
    change(
        copy.path(),
        "UPDATE entry SET hash = zeroblob(32) WHERE number = (SELECT max(number) FROM entry)",
    );
    let up = run(&["up", "--data-dir", copy.path().to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    up.with(3).says(&["ledger.db", "is damaged", "prunella ledger verify"]);
}

#[test]
fn a_cut_end_shows_against_a_kept_checkpoint_in_either_form() {
    let cut = copied(LEFT.path());
    let keep = |format: &str| {
        let args = ["ledger", "checkpoint", "--data-dir", LEFT.path().to_str().unwrap(), "-o", format];
        let file = cut.path().join(format!("kept.{format}"));
        std::fs::write(&file, run(&args).with(0).out).unwrap();
        file.to_str().unwrap().to_owned()
    };
    let (note, json) = (keep("table"), keep("json"));
    verify(LEFT.path(), &["--checkpoint", &note]).with(0);
    verify(LEFT.path(), &["--checkpoint", &json, "--key", &json]).with(0);
    // Whoever cuts the ledger cuts its own checkpoints too, and the copy beside it.
    change(
        cut.path(),
        "DELETE FROM entry WHERE number = (SELECT max(number) FROM entry); \
         DELETE FROM checkpoint WHERE size > (SELECT count(*) FROM entry)",
    );
    std::fs::remove_file(cut.path().join("checkpoint.txt")).unwrap();
    let unsuspecting = verify(cut.path(), &[]).json();
    assert_ne!(unsuspecting["completeness"], "truncated", "{unsuspecting}");
    for kept in [&note, &json] {
        found(verify(cut.path(), &["--checkpoint", kept]), "ok", "truncated");
    }
    verify(cut.path(), &["--checkpoint", "no-such-file"]).with(2).says(&["cannot read no-such-file"]);
}

#[test]
fn another_history_does_not_pass_for_this_one() {
    let other = TempDir::new().unwrap();
    let up = Running::start(&other, &[]);
    let line = format!("{}\n", tampering("t-1", "eve"));
    up.post(
        "/api/events?source=aws.cloudtrail",
        &[("content-type", "application/x-ndjson")],
        line.into_bytes(),
    );
    up.settle();
    up.stop().0.with(0);
    verify(other.path(), &[]).with(0);
    let key = LEFT.path().join("ledger.pub");
    verify(LEFT.path(), &["--key", key.to_str().unwrap()]).with(0);
    let report = verify(other.path(), &["--key", key.to_str().unwrap()]).with(1).json();
    assert_eq!(report["integrity"], "broken", "{report}");
}

#[test]
fn a_file_that_is_no_ledger_is_broken_and_a_missing_one_is_a_usage_error() {
    let copy = copied(LEFT.path());
    std::fs::write(copy.path().join("ledger.db"), b"these bytes are no database".repeat(99)).unwrap();
    // A process that stops may leave all of a small database in the log beside it, and SQLite would mend the file from there.
    for beside in ["ledger.db-wal", "ledger.db-shm"] {
        let _ = std::fs::remove_file(copy.path().join(beside));
    }
    let report = found(verify(copy.path(), &[]), "broken", "unknown");
    assert!(report["problems"][0].as_str().unwrap().contains("ledger.db"), "{report}");
    let none = TempDir::new().unwrap();
    verify(none.path(), &[]).with(3).says(&["ledger.db", "there is no such file"]);
    run(&["ledger", "checkpoint", "--data-dir", none.path().to_str().unwrap()])
        .with(3)
        .says(&["is it a data directory?"]);
}
