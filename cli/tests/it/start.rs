//! `prunella up`: what it needs to start, what it says when it cannot, and how it stops.

use crate::program::run;
use crate::records::tampering;
use crate::running::Running;
use serde_json::json;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

const FREE: &str = "127.0.0.1:0";

/// `up` must refuse, saying each of `words`.
#[track_caller]
fn refused(dir: &Path, more: &[&str], words: &[&str]) {
    let args = [&["up", "--data-dir", dir.to_str().unwrap(), "--listen", FREE], more].concat();
    let ended = run(&args).with(3).says(words);
    assert!(ended.out.is_empty() && ended.err.starts_with("prunella: "), "{}", ended.err);
}

#[test]
fn a_signal_stops_it_in_time_and_a_new_start_goes_on_where_it_was() {
    let dir = TempDir::new().unwrap();
    let line = format!("{}\n", tampering("t-1", "eve"));
    let send = |up: &Running| {
        let answer = up.post("/api/events?source=aws.cloudtrail", &[NDJSON], line.clone().into_bytes());
        assert_eq!(answer.status, 202, "{}", answer.text);
        answer.json()
    };
    let up = Running::start(&dir, &[]);
    assert_eq!(send(&up), json!({"accepted": 1, "duplicates": 0, "rejected": 0}));
    up.settle();
    let findings = up.get("/api/threats").json();
    let (ended, took) = up.stop();
    let ended = ended.with(0);
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert!(ended.out.is_empty() && ended.err.contains("prunella is up: http://127.0.0.1:"), "{}", ended.err);
    assert!(!dir.path().join("endpoint").exists() && !dir.path().join("pid").exists());

    let up = Running::start(&dir, &[]);
    assert_eq!(up.get("/api/threats").json(), findings);
    assert_eq!(send(&up), json!({"accepted": 0, "duplicates": 1, "rejected": 0}));
    up.kill();
    assert!(dir.path().join("endpoint").exists(), "a crash leaves it behind");

    let up = Running::start(&dir, &[]);
    assert_eq!(send(&up), json!({"accepted": 0, "duplicates": 1, "rejected": 0}));
    up.settle();
    assert_eq!(up.get("/api/threats").json(), findings);
    assert_eq!(up.get("/api/events").json()["rows"].as_array().unwrap().len(), 1);
    up.stop().0.with(0);
}

const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");

#[test]
fn another_program_that_opens_a_database_does_no_harm() {
    let dir = TempDir::new().unwrap();
    let up = Running::start(&dir, &[]);
    let send = |id: &str| {
        let line = format!("{}\n", tampering(id, "eve")).into_bytes();
        assert_eq!(up.post("/api/events?source=aws.cloudtrail", &[NDJSON], line).status, 202);
        up.settle();
    };
    send("t-1");
    for name in ["log.db", "store.db", "state.db", "outbox.db", "ledger.db"] {
        let connection = rusqlite::Connection::open(dir.path().join(name)).unwrap();
        let tables: i64 =
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0)).unwrap();
        assert!(tables > 0, "{name}");
        drop(connection);
        // The last one to close removes it, so whoever is not the last must see the locks of the others.
        assert!(dir.path().join(format!("{name}-wal")).exists(), "{name} was closed under the pipeline");
    }
    send("t-2");
    assert_eq!(up.get("/api/events").json()["rows"].as_array().unwrap().len(), 2);
    assert_eq!(up.get("/api/health").json()["status"], "ok");
    up.cli(&["ledger", "verify"]).with(0);
}

#[test]
fn clients_that_never_finish_do_not_keep_it_from_stopping() {
    let dir = TempDir::new().unwrap();
    let up = Running::start(&dir, &[]);
    let host = up.url().strip_prefix("http://").unwrap().to_owned();
    let open = |text: String| {
        let mut stream = TcpStream::connect(&host).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        stream
    };
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n";
    let key = "Sec-WebSocket-Key: MDAwMDAwMDAwMDAwMDAwMA==";
    let mut feed = open(format!("GET /ws/events HTTP/1.1\r\nHost: {host}\r\n{upgrade}{key}\r\n\r\n"));
    let mut first = [0; 12];
    feed.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 101");
    let _half_a_head = open(format!("GET /api/health HTTP/1.1\r\nHost: {host}\r\n"));
    let head = "Content-Type: application/x-ndjson\r\nContent-Length: 1000";
    let _half_a_body =
        open(format!("POST /api/events?source=ocsf HTTP/1.1\r\nHost: {host}\r\n{head}\r\n\r\n{{"));
    let (ended, took) = up.stop();
    ended.with(0);
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn a_directory_serves_one_and_a_port_serves_one() {
    let dir = TempDir::new().unwrap();
    let up = Running::start(&dir, &[]);
    let name = dir.path().to_str().unwrap().to_owned();
    refused(dir.path(), &[], &["another prunella runs on", &name, "--data-dir"]);
    assert_eq!(up.get("/api/health").json()["status"], "ok", "the first one is unharmed");

    let (taken, other) = (TcpListener::bind(FREE).unwrap(), TempDir::new().unwrap());
    let address = taken.local_addr().unwrap().to_string();
    let args = ["up", "--data-dir", other.path().to_str().unwrap(), "--listen", &address];
    run(&args).with(3).says(&["cannot listen on", &address, "--listen"]);
    let left = std::fs::read_dir(other.path()).unwrap().count();
    assert_eq!(left, 0, "no file is touched before the port is ours");
    run(&["up", "--listen", "nowhere"]).with(3).says(&["--listen", "nowhere"]);
}

#[test]
fn only_loopback_without_a_token() {
    let dir = TempDir::new().unwrap();
    let args = ["up", "--data-dir", dir.path().to_str().unwrap(), "--listen", "0.0.0.0:0"];
    run(&args).with(3).says(&["0.0.0.0", "token_file"]);
}

#[test]
fn a_directory_that_cannot_be_used_is_named() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "x").unwrap();
    refused(&file, &[], &["cannot use the data directory", file.to_str().unwrap(), "--data-dir"]);
    refused(&file.join("below"), &[], &["cannot use the data directory", "--data-dir"]);

    let locked = dir.path().join("locked");
    std::fs::create_dir(&locked).unwrap();
    let mode = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(&locked, mode(0o500)).unwrap();
    if std::fs::write(locked.join("probe"), "x").is_ok() {
        eprintln!("SKIPPED: this user may write into every directory");
        return;
    }
    refused(&locked, &[], &["cannot use the data directory", locked.to_str().unwrap(), "make it writable"]);
    std::fs::set_permissions(&locked, mode(0o700)).unwrap();
}

#[test]
fn a_damaged_or_newer_or_foreign_file_is_named_with_what_to_do() {
    let dir = TempDir::new().unwrap();
    let up = Running::start(&dir, &[]);
    let line = format!("{}\n", tampering("t-1", "eve"));
    up.post("/api/events?source=aws.cloudtrail", &[NDJSON], line.into_bytes());
    up.settle();
    up.stop().0.with(0);
    for name in ["log.db", "store.db", "state.db", "outbox.db", "ledger.db"] {
        let copy = copied(dir.path());
        let file = copy.path().join(name);
        // With its write-ahead log SQLite would mend it.
        let _ = std::fs::remove_file(copy.path().join(format!("{name}-wal")));
        std::fs::write(&file, b"these bytes are no database, whatever their name says".repeat(99)).unwrap();
        refused(copy.path(), &[], &[file.to_str().unwrap(), "is damaged", "restore it from a backup"]);

        let copy = copied(dir.path());
        let file = copy.path().join(name);
        let connection = rusqlite::Connection::open(&file).unwrap();
        connection.pragma_update(None, "user_version", 99).unwrap();
        drop(connection);
        refused(copy.path(), &[], &[file.to_str().unwrap(), "newer prunella", "99", "upgrade prunella"]);

        let copy = copied(dir.path());
        let file = copy.path().join(name);
        std::fs::remove_file(&file).unwrap();
        let connection = rusqlite::Connection::open(&file).unwrap();
        connection.execute_batch("CREATE TABLE somebody_elses (x); PRAGMA user_version = 1").unwrap();
        drop(connection);
        refused(
            copy.path(),
            &[],
            &[file.to_str().unwrap(), "is not a prunella", "give another data directory"],
        );
    }
    let copy = copied(dir.path());
    std::fs::remove_file(copy.path().join("ledger.key")).unwrap();
    refused(copy.path(), &[], &["ledger.key"]);
}

/// The data directory of a stopped pipeline, again.
pub fn copied(from: &Path) -> TempDir {
    let to = TempDir::new().unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.path().join(entry.file_name())).unwrap();
    }
    to
}
