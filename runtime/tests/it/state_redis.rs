//! The hot state in a real Redis of the test's own, which is wiped, killed, and set back: what was acknowledged is never denied.

use crate::state::{check_concurrency, check_revocations, check_settings, other, version};
use async_trait::async_trait;
use prunella_runtime::state::{Change, History, Past, RedisState};
use prunella_schemas::port::{LOCKED_UNTIL, PortError, State};
use prunella_schemas::{Tenant, Timestamp};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::Semaphore;

/// A server that ends with the test.
pub struct Server {
    dir: TempDir,
    port: u16,
    child: Child,
}

impl Server {
    /// `None` where there is no program.
    pub fn start() -> Option<Self> {
        let dir = TempDir::new().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Self::spawn(dir.path(), port)?;
        Some(Server { dir, port, child })
    }

    fn spawn(dir: &Path, port: u16) -> Option<Child> {
        // Debian's tools hold the same program under another name.
        let spawn = |program: &str| {
            let mut command = Command::new(program);
            command.arg0("redis-server").args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
            command.args(["--appendonly", "yes", "--save", "", "--dir"]).arg(dir);
            command.stdout(Stdio::null()).spawn().ok()
        };
        let child = ["redis-server", "redis-check-rdb"].into_iter().find_map(spawn)?;
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
        for _ in 0..500 {
            // It takes connections before it has read its files.
            let pong = client.get_connection().and_then(|mut c| redis::cmd("PING").query::<String>(&mut c));
            if pong.is_ok() {
                return Some(child);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the server does not answer");
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn restart(&mut self) {
        self.child = Self::spawn(self.dir.path(), self.port).unwrap();
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    fn state(&self, history: &Arc<Ledger>) -> RedisState {
        RedisState::open(&self.url(), "", "test", Arc::clone(history) as _).unwrap()
    }

    pub async fn wipe(&self) {
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        redis::cmd("FLUSHALL").query_async::<()>(&mut connection).await.unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have been killed by the test.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

macro_rules! server_or_skip {
    () => {
        match Server::start() {
            Some(server) => server,
            None => {
                eprintln!("SKIPPED: there is no redis-server here; `cargo xtask services up` installs one");
                return;
            }
        }
    };
}

/// The truth. Each reading of it takes a permit, so that a test can hold one up.
struct Ledger {
    past: Mutex<Past>,
    readings: Semaphore,
    read: AtomicUsize,
}

impl Ledger {
    fn new() -> Arc<Self> {
        let (past, read) = (Mutex::default(), AtomicUsize::default());
        Arc::new(Ledger { past, readings: Semaphore::new(Semaphore::MAX_PERMITS), read })
    }

    fn revoke(&self, principal: &str, not_before: i64) {
        let entry = (Tenant::default(), principal.to_owned(), Timestamp(not_before));
        self.past.lock().unwrap().revoked.push(entry);
    }
}

#[async_trait]
impl History for Ledger {
    async fn past(&self, tenant: &Tenant) -> Result<Past, PortError> {
        let mut past = self.past.lock().unwrap().clone();
        past.revoked.retain(|(of, ..)| of == tenant);
        past.changes.retain(|change| change.tenant == tenant.as_str());
        self.read.fetch_add(1, Ordering::SeqCst);
        self.readings.acquire().await.unwrap().forget();
        Ok(past)
    }
}

/// Asks until it is loaded. Whatever else comes is wrong.
async fn loaded<T, F: Future<Output = Result<T, PortError>>>(ask: impl Fn() -> F) -> T {
    for _ in 0..1_000 {
        match ask().await {
            Ok(answer) => return answer,
            Err(PortError::Unavailable(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(e) => panic!("{e}"),
        }
    }
    panic!("it is never loaded");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_contract_holds_in_redis() {
    let server = server_or_skip!();
    let state = server.state(&Ledger::new());
    state.answers().await.unwrap();
    let (tenant, other) = (Tenant::default(), other());
    assert!(matches!(state.token_version(&tenant, "a").await, Err(PortError::Unavailable(_))), "not loaded");
    for tenant in [&tenant, &other] {
        loaded(|| state.token_version(tenant, "a")).await;
    }
    check_revocations(&state).await;
    check_settings(&state).await;
    check_concurrency(Arc::new(state.clone())).await;
    let far = state.revoke_tokens(&tenant, "a", Timestamp(i64::MAX)).await;
    assert!(matches!(far, Err(PortError::Invalid(_))), "Lua cannot compare it: {far:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_wiped_is_not_loaded_until_it_was_made_again_from_the_ledger() {
    let server = server_or_skip!();
    let (ledger, tenant) = (Ledger::new(), Tenant::default());
    ledger.revoke("a", 100);
    ledger.revoke("a", 50);
    ledger.revoke("a", 200);
    for value in [500, 0, 600] {
        let (principal, name) = ("a".to_owned(), LOCKED_UNTIL.to_owned());
        let change = Change { tenant: "default".into(), principal, name, value: Timestamp(value) };
        ledger.past.lock().unwrap().changes.push(change);
    }
    let state = server.state(&ledger);
    assert_eq!(loaded(|| state.token_version(&tenant, "a")).await, version("a", 200, 2));
    let account = state.account(&tenant, "a").await.unwrap();
    assert_eq!((account.locked_until, account.version), (Timestamp(600), 3));
    assert_eq!(state.token_version(&tenant, "b").await, Ok(version("b", 0, 0)), "never revoked");

    ledger.revoke("a", 300);
    assert_eq!(state.revoke_tokens(&tenant, "a", Timestamp(300)).await, Ok(version("a", 300, 3)));
    server.wipe().await;
    let refused = state.revoke_tokens(&tenant, "b", Timestamp(1)).await;
    assert!(matches!(refused, Err(PortError::Unavailable(_))), "nothing is written into a void: {refused:?}");
    assert_eq!(loaded(|| state.token_version(&tenant, "a")).await, version("a", 300, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_comes_back_with_less_than_it_acknowledged_is_not_believed() {
    let mut server = server_or_skip!();
    let (ledger, tenant) = (Ledger::new(), Tenant::default());
    let state = server.state(&ledger);
    loaded(|| state.token_version(&tenant, "a")).await;
    // What a replica holds that lags, or a disk that was not synced for a second.
    let (files, earlier) = (server.dir.path().join("appendonlydir"), TempDir::new().unwrap());
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    for file in std::fs::read_dir(&files).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), earlier.path().join(file.file_name())).unwrap();
    }
    ledger.revoke("a", 700);
    assert_eq!(state.revoke_tokens(&tenant, "a", Timestamp(700)).await, Ok(version("a", 700, 1)));
    server.kill();
    assert!(matches!(state.token_version(&tenant, "a").await, Err(PortError::Unavailable(_))));
    std::fs::remove_dir_all(&files).unwrap();
    std::fs::rename(earlier.path(), &files).unwrap();
    server.restart();
    let client = redis::Client::open(server.url()).unwrap();
    let mut raw = client.get_multiplexed_async_connection().await.unwrap();
    let generation: Option<String> =
        redis::cmd("GET").arg("{test:default}:generation").query_async(&mut raw).await.unwrap();
    assert!(generation.is_some(), "it looks as if it were loaded");
    let before = ledger.read.load(Ordering::SeqCst);
    assert_eq!(loaded(|| state.token_version(&tenant, "a")).await, version("a", 700, 1));
    assert_eq!(ledger.read.load(Ordering::SeqCst), before + 1, "by the ledger");
}

/// Somebody reads the ledger and is slow; meanwhile there is a wipe, another load, a revocation, and another wipe.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_is_older_than_a_wipe_is_not_published() {
    let server = server_or_skip!();
    let (slow, quick, tenant) = (Ledger::new(), Ledger::new(), Tenant::default());
    slow.readings.forget_permits(Semaphore::MAX_PERMITS);
    let old = server.state(&slow);
    let loading = tokio::spawn({
        let (old, tenant) = (old.clone(), tenant.clone());
        async move { old.load(&tenant).await }
    });
    while slow.read.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.wipe().await;
    let state = server.state(&quick);
    assert_eq!(state.load(&tenant).await, Ok(true));
    quick.revoke("a", 900);
    assert_eq!(state.revoke_tokens(&tenant, "a", Timestamp(900)).await, Ok(version("a", 900, 1)));
    server.wipe().await;
    slow.readings.add_permits(1);
    assert_eq!(loading.await.unwrap(), Ok(false), "it does not know of the revocation");
    assert_eq!(loaded(|| state.token_version(&tenant, "a")).await, version("a", 900, 1));
    assert_eq!(state.load(&tenant).await, Ok(false), "it is loaded");
}

#[tokio::test(flavor = "multi_thread")]
async fn wiped_again_and_again_during_a_run_it_never_denies_what_it_acknowledged() {
    let server = server_or_skip!();
    let ledger = Ledger::new();
    let stop = Arc::new(AtomicBool::new(false));
    let asked: Vec<_> = (0..4)
        .map(|n| {
            let (state, ledger, stop) = (server.state(&ledger), Arc::clone(&ledger), Arc::clone(&stop));
            tokio::spawn(async move {
                let (tenant, principal) = (Tenant::default(), format!("p{n}"));
                let (mut at, mut acknowledged, mut unloaded) = (0, 0, 0);
                while !stop.load(Ordering::SeqCst) {
                    at += 1;
                    // The ledger knows before the deed.
                    ledger.revoke(&principal, at);
                    if state.revoke_tokens(&tenant, &principal, Timestamp(at)).await.is_ok() {
                        acknowledged = at;
                    }
                    match state.token_version(&tenant, &principal).await {
                        Ok(seen) => assert!(seen.not_before.0 >= acknowledged, "{seen:?} {acknowledged}"),
                        Err(PortError::Unavailable(_)) => unloaded += 1,
                        Err(e) => panic!("{e}"),
                    }
                }
                (acknowledged, unloaded)
            })
        })
        .collect();
    for _ in 0..30 {
        tokio::time::sleep(Duration::from_millis(60)).await;
        server.wipe().await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.store(true, Ordering::SeqCst);
    let mut counts = Vec::new();
    for task in asked {
        counts.push(task.await.unwrap());
    }
    eprintln!("revoked up to, and answers `not loaded`: {counts:?}");
    assert!(counts.iter().all(|(acknowledged, unloaded)| *acknowledged > 30 && *unloaded > 0), "{counts:?}");
}

/// The system says whom to trust, which a process reads once: so each case is a process.
#[test]
#[allow(clippy::disallowed_methods, reason = "a child is told by its environment")]
fn redis_over_tls_is_believed_only_with_a_certificate_that_the_system_trusts() {
    const URL: &str = "PRUNELLA_TEST_REDIS_TLS";
    if let Ok(url) = std::env::var(URL) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let _context = runtime.enter();
        let state = RedisState::open(&url, "", "test-tls", Ledger::new()).unwrap();
        let tenant = Tenant::default();
        let said = runtime.block_on(async {
            let said = state.load(&tenant).await;
            said.map(|_| "loaded".to_owned()).unwrap_or_else(|e| e.to_string())
        });
        eprintln!("SAID {said}");
        return;
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/services/services.json");
    let services = std::fs::read(path).unwrap_or_else(|_| b"[]".to_vec());
    let services: Vec<serde_json::Value> = serde_json::from_slice(&services).unwrap();
    let tls = |name: &str| services.iter().find(|s| s["name"] == name).map(|s| s["tls"].clone());
    let text = |name: &str, key: &str| Some(tls(name)?[key].as_str()?.to_owned());
    let found = text("redis", "address").zip(text("redis", "authority")).zip(text("kafka", "authority"));
    let Some(((address, own), others)) = found else {
        eprintln!("SKIPPED: no Redis with TLS runs here; `cargo xtask services up` starts one");
        return;
    };
    let check = |scheme: &str, authority: &str, want: &str| {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["redis_over_tls_is_believed", "--nocapture"]).env("SSL_CERT_FILE", authority);
        let done = child.env(URL, format!("{scheme}://{address}")).output().unwrap();
        let text = String::from_utf8(done.stderr).unwrap();
        let said = text.lines().find_map(|line| line.strip_prefix("SAID ")).unwrap_or(&text);
        eprintln!("{scheme}: {said}");
        assert!(said.contains(want), "{want} is not in {said}");
    };
    check("rediss", &own, "loaded");
    check("rediss", &others, "SSL_CERT_FILE");
    check("redis", &own, "redis.url");
}
