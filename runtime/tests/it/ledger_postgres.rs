//! The ledger in a real PostgreSQL, which `cargo xtask services up` starts: the contract, and one writer at a time.

use crate::ledger::{Home, check_failures, check_orders, check_proofs, check_repeats, fill, note, order};
use prunella_ledger::{Completeness, Integrity, Report, Signer, Verifier};
use prunella_runtime::ledger::postgres::{Database, PostgresLedger, PostgresReader, Server, verify};
use prunella_runtime::ledger::{NewEntry, Sequencer};
use prunella_runtime::sqlite::StoreError;
use prunella_schemas::port::LedgerView;
use prunella_schemas::{Id, Tenant};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// The running server, with a schema of its own. `None` where none runs.
pub fn server(name: &str) -> Option<Server> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/services/services.json");
    let services: Vec<serde_json::Value> = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    let found = services.iter().find(|s| s["name"] == "postgres")?;
    let password = std::fs::read_to_string(found["secrets"]["prunella"].as_str()?).ok()?.trim().to_owned();
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let schema = format!("test_{name}_{}_{number}", std::process::id());
    let url = format!("postgres://prunella@{}/postgres", found["address"].as_str()?);
    Some(Server { url, password, schema })
}

#[macro_export]
macro_rules! postgres_or_skip {
    ($name:expr) => {
        match $crate::ledger_postgres::server($name) {
            Some(server) => server,
            None => {
                eprintln!("SKIPPED: no PostgreSQL runs here; `cargo xtask services up` starts one");
                return;
            }
        }
    };
}

/// The ledgers in one schema, which is dropped at the end.
pub struct Schema {
    server: Server,
    pub database: Database,
    pub signer: Arc<Signer>,
    runtime: Runtime,
}

impl Schema {
    pub fn new(server: Server) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let database = runtime.block_on(Database::open(&server)).unwrap();
        let signer = Arc::new(Signer::from_seed("prunella.test/key", &[7; 32]).unwrap());
        Schema { server, database, signer, runtime }
    }

    /// The same by connections of their own.
    pub async fn again(&self) -> Database {
        Database::open(&self.server).await.unwrap()
    }

    fn writer(&self, source: &str) -> PostgresLedger {
        let (database, signer) = (self.database.clone(), Arc::clone(&self.signer));
        PostgresLedger::open(database, signer, source, self.runtime.handle().clone()).unwrap()
    }

    async fn connect(&self) -> PgConnection {
        let url = self.server.url.replace("prunella@", &format!("prunella:{}@", self.server.password));
        let mut connection = PgConnection::connect(&url).await.unwrap();
        let sql = format!("SET search_path = {}", self.server.schema);
        sqlx::query(AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
        connection
    }

    fn raw(&self, sql: &str) {
        self.runtime.block_on(async {
            let mut connection = self.connect().await;
            for sql in sql.split(";;") {
                sqlx::query(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
            }
        });
    }

    pub fn report(&self, anchors: &[String]) -> Report {
        let tenant = Tenant::default();
        verify(&self.database, &tenant, Some(&self.verifier()), anchors, self.runtime.handle()).unwrap()
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        self.raw(&format!("DROP SCHEMA {} CASCADE", self.server.schema));
    }
}

impl Home for Schema {
    fn open(&self) -> Box<dyn Sequencer> {
        Box::new(self.writer("plans/0"))
    }
    fn reader(&self) -> Arc<dyn LedgerView> {
        Arc::new(PostgresReader::new(self.database.clone(), Tenant::default()))
    }
    fn verifier(&self) -> Verifier {
        self.signer.renamed("prunella.test/key/default").unwrap().verifier().clone()
    }
    fn verify(&self) -> Report {
        self.report(&[])
    }
    fn break_entry(&self, number: u64) {
        self.raw(&format!("ALTER TABLE entry ADD CONSTRAINT full_disk CHECK (number <> {number})"));
    }
    fn heal(&self) {
        self.raw("ALTER TABLE entry DROP CONSTRAINT full_disk");
    }
    fn runtime(&self) -> &Runtime {
        &self.runtime
    }
}

#[test]
fn the_contract_holds_in_postgres() {
    for check in [check_repeats, check_orders, check_proofs, check_failures] {
        check(&Schema::new(postgres_or_skip!("contract")));
    }
}

#[test]
fn an_older_writer_can_do_nothing_once_a_later_one_was_opened() {
    let home = Schema::new(postgres_or_skip!("fence"));
    let mut older = home.writer("plans/0");
    older.append(&[order(1), order(2), order(3)], 3).unwrap();
    assert!(older.begin(Id([1; 16])).unwrap());
    let mut later = home.writer("plans/0");
    let fenced = |result: Result<(), StoreError>| {
        assert!(matches!(result, Err(StoreError::Fenced { .. })), "{result:?}");
    };
    fenced(older.append(&[note(4)], 4).map(drop));
    fenced(older.begin(Id([2; 16])).map(drop));
    fenced(older.done(Id([1; 16])).map(drop));
    let started: Vec<bool> = later.pending_orders().unwrap().iter().map(|o| o.started).collect();
    assert_eq!((started, later.position().unwrap()), (vec![true, false, false], 3), "nothing was changed");
    assert!(later.begin(Id([2; 16])).unwrap());
    later.append(&[note(4)], 4).unwrap();
    let mut other = home.writer("plans/1");
    assert!(matches!(other.append(&[note(5)], 1), Err(StoreError::Invalid(_))), "a tenant has one input");
    let tenant = Tenant::try_from("acme".to_owned()).unwrap();
    other.append(&[NewEntry { tenant, ..note(5) }], 1).unwrap();
    later.append(&[note(6)], 5).unwrap();
    assert_eq!(home.report(&[]).entries, 5);
}

/// A process that is stopped between its check and its commit holds the row that its successor needs.
#[test]
fn a_writer_that_is_frozen_in_the_middle_of_a_transaction_does_not_lock_out_its_successor() {
    let home = Schema::new(postgres_or_skip!("frozen"));
    home.writer("plans/0").append(&[note(1)], 1).unwrap();
    let mut frozen = home.runtime.block_on(home.connect());
    home.runtime.block_on(async {
        sqlx::query("SET idle_in_transaction_session_timeout = 5000").execute(&mut frozen).await.unwrap();
        sqlx::query("BEGIN").execute(&mut frozen).await.unwrap();
        let sql = "SELECT epoch FROM sequencer WHERE source = 'plans/0' FOR UPDATE";
        sqlx::query(sql).fetch_one(&mut frozen).await.unwrap();
        sqlx::query("UPDATE sequencer SET position = 99").execute(&mut frozen).await.unwrap();
    });
    #[allow(clippy::disallowed_methods, reason = "how long the successor waits is what is measured")]
    let since = Instant::now();
    let mut later = home.writer("plans/0");
    assert!(since.elapsed() < Duration::from_secs(9), "{:?}", since.elapsed());
    assert_eq!(later.position().unwrap(), 1);
    let commit = home.runtime.block_on(async { sqlx::query("COMMIT").execute(&mut frozen).await });
    assert!(commit.is_err(), "the server has ended it");
    later.append(&[note(2)], 2).unwrap();
    assert_eq!((later.position().unwrap(), home.report(&[]).entries), (2, 2));
}

#[test]
fn two_writers_of_one_input_never_fork_it() {
    let home = Schema::new(postgres_or_skip!("race"));
    let logged = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for writer in 0..3u8 {
            let (home, logged) = (&home, &logged);
            scope.spawn(move || {
                for turn in 0..10u8 {
                    let mut ledger = home.writer("plans/0");
                    for n in 0..4u8 {
                        let id = Id::derive("race", &[&[writer, turn, n]]);
                        match ledger.append(&[NewEntry { id, ..note(n) }], i64::from(n)) {
                            Ok(entries) => logged.fetch_add(entries.len() as u64, Ordering::Relaxed),
                            Err(StoreError::Fenced { .. }) => break,
                            Err(e) => panic!("{e}"),
                        };
                    }
                }
            });
        }
    });
    let report = home.report(&[]);
    assert_eq!((report.integrity, report.completeness), (Integrity::Ok, Completeness::Ok), "{report:?}");
    assert_eq!(report.entries, logged.into_inner(), "every acknowledged entry, and no other");
}

#[test]
fn another_key_and_a_changed_table_are_refused() {
    let home = Schema::new(postgres_or_skip!("refused"));
    fill(&mut home.writer("plans/0"));
    let anchor = home.runtime.block_on(home.reader().checkpoint()).unwrap();
    let other = Arc::new(Signer::from_seed("prunella.test/other", &[8; 32]).unwrap());
    let opened = PostgresLedger::open(home.database.clone(), other, "plans/0", home.runtime.handle().clone());
    assert!(opened.err().is_some_and(|e| e.to_string().contains("prunella.test/other")));
    let check = |sql: &str, undo: &str, words: &str| {
        home.raw(sql);
        let appended = home.writer("plans/0").append(&[note(77)], 9);
        let error = appended.err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains(words), "{sql}: {error}");
        let report = home.report(std::slice::from_ref(&anchor));
        let is_found =
            report.integrity == Integrity::Broken || report.completeness == Completeness::Truncated;
        assert!(is_found, "{sql}: {report:?}");
        home.raw(undo);
    };
    check(
        "CREATE TABLE kept AS SELECT * FROM entry;;UPDATE entry SET body = '\\x00' WHERE number = 9",
        "UPDATE entry e SET body = kept.body FROM kept WHERE kept.number = e.number",
        "the newest entry was changed",
    );
    check(
        "DELETE FROM entry WHERE number = 9",
        "INSERT INTO entry SELECT * FROM kept WHERE number = 9",
        "newest checkpoint signs",
    );
    // Whoever can rewrite everything is found by a checkpoint that was kept elsewhere, and only by that.
    home.raw("DELETE FROM entry WHERE number >= 8;;DELETE FROM checkpoint WHERE size > 8");
    assert_eq!(home.report(&[]).completeness, Completeness::Ok);
    assert_eq!(home.report(&[anchor]).completeness, Completeness::Truncated);
}

#[test]
fn over_tls_the_servers_certificate_and_our_password_are_checked() {
    let server = postgres_or_skip!("secure");
    let Some((own, others)) = authority("postgres").zip(authority("redis")) else {
        eprintln!("SKIPPED: no PostgreSQL with TLS runs here; `cargo xtask services up` starts one");
        return;
    };
    let runtime = Runtime::new().unwrap();
    let open = |query: &str, password: &str| {
        let (url, password) = (format!("{}?{query}", server.url), password.to_owned());
        let server = Server { url, password, schema: server.schema.clone() };
        runtime.block_on(Database::open(&server)).map(drop).map_err(|e| e.to_string())
    };
    let full = |authority: &str| format!("sslmode=verify-full&sslrootcert={authority}");
    assert_eq!(open(&full(&own), &server.password), Ok(()));
    let refused = |query: &str, password: &str, words: &[&str]| {
        let since = now();
        let said = open(query, password).unwrap_err();
        eprintln!("after {} ms: {said}", since.elapsed().as_millis());
        assert!(words.iter().all(|word| said.contains(word)), "{words:?} are not in {said}");
        assert!(!said.contains(&server.password) && !said.contains("s3cret"), "{said}");
        assert!(since.elapsed() < Duration::from_secs(60), "told after {:?}", since.elapsed());
    };
    refused(&full(&own), "s3cret", &["password", "postgres.password_file"]);
    refused(&full(&others), &server.password, &["certificate", "sslrootcert"]);
    refused(&full("/no/such/file"), &server.password, &["sslrootcert"]);
}

#[allow(clippy::disallowed_methods, reason = "how soon somebody is told is what this measures")]
fn now() -> Instant {
    Instant::now()
}

/// The certificate that vouches for one of the services.
pub fn authority(name: &str) -> Option<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/services/services.json");
    let services: Vec<serde_json::Value> = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    let found = services.iter().find(|s| s["name"] == name)?;
    Some(found["tls"]["authority"].as_str()?.to_owned())
}
