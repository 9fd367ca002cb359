//! A server of its own for each test: in a folder of its own, on a port of its own, with a clock that can be set.

use axum::http::Method;
use prunella_schemas::Timestamp;
use prunella_schemas::port::{Accepted, Intake, PortError, Upload};
use prunella_schemas::{Command, Record};
use prunella_vault::client::{Client, ClientError, Memory, Sealed};
use prunella_vault::wire::{FileInfo, TierName};
use prunella_vault::{Config, Offline, OnStep, Vault, serve};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

pub const ADMIN: &str = "admin";
pub const ADMIN_PASSWORD: &str = "admin of the vault";
pub const PASSWORD: &str = "correct horse battery";

#[derive(Clone)]
pub struct SetClock(Arc<AtomicI64>);

impl SetClock {
    #[allow(
        clippy::disallowed_methods,
        reason = "tests begin at the machine's time and go on from there by hand"
    )]
    pub fn new() -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        SetClock(Arc::new(AtomicI64::new(now.as_millis() as i64)))
    }

    pub fn advance(&self, ms: i64) {
        self.0.fetch_add(ms, Ordering::SeqCst);
    }

    /// Each reading is a little later than the one before.
    pub fn now(&self) -> Timestamp {
        Timestamp(self.0.fetch_add(1, Ordering::SeqCst))
    }
}

/// Keeps what the pipeline would get.
#[derive(Default)]
pub struct Pipeline(pub Mutex<Vec<serde_json::Value>>);

#[async_trait::async_trait]
impl Intake for Pipeline {
    async fn accept(&self, upload: Upload) -> Result<Accepted, PortError> {
        assert_eq!((upload.source.as_str(), upload.content_type.as_str()), ("vault", "application/x-ndjson"));
        let text = String::from_utf8(upload.body).unwrap();
        let events: Vec<_> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let accepted = events.len() as u64;
        self.0.lock().unwrap().extend(events);
        Ok(Accepted { accepted, ..Accepted::default() })
    }

    async fn accept_record(&self, _: Record) -> Result<Accepted, PortError> {
        Err(PortError::Invalid("not here".into()))
    }

    async fn command(&self, _: Command) -> Result<(), PortError> {
        Err(PortError::Invalid("not here".into()))
    }
}

pub struct Server {
    pub base: String,
    pub clock: SetClock,
    pub vault: Arc<Vault>,
    pub pipeline: Arc<Pipeline>,
    pub offline: Offline,
    dir: TempDir,
    stop: Option<oneshot::Sender<()>>,
    task: Option<tokio::task::JoinHandle<()>>,
}

/// The configuration of tests: nothing waits longer than it must. The database is SQLite, or one of its own in the
/// PostgreSQL that the environment names.
pub async fn config(dir: &Path, clock: &SetClock) -> Config {
    let now = clock.clone();
    let mut config = Config::new(dir, Arc::new(move || now.now())).unwrap();
    config.grace_ms = 1_000;
    config.database = postgres(dir).await;
    config
}

/// `postgres://user:password@host:port`, without a database.
const POSTGRES: &str = "TEST_POSTGRES";

async fn postgres(dir: &Path) -> Option<String> {
    #[allow(clippy::disallowed_methods, reason = "the environment says whether there is a PostgreSQL")]
    let Ok(base) = std::env::var(POSTGRES) else {
        static ONCE: std::sync::Once = std::sync::Once::new();
        ONCE.call_once(|| eprintln!("SKIPPED over PostgreSQL: {POSTGRES} names none; SQLite is tested"));
        return None;
    };
    let folder = dir.file_name().unwrap().to_str().unwrap();
    let plain: String =
        folder.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    // Two folders may differ in capitals alone.
    let name = format!(
        "vault_{plain}_{}",
        hex::encode(&aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, folder.as_bytes()).as_ref()[..4])
    );
    sqlx::any::install_default_drivers();
    let pool = sqlx::AnyPool::connect(&format!("{base}/postgres")).await.unwrap();
    let make = sqlx::query(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&pool).await;
    assert!(make.is_ok() || make.is_err_and(|e| e.to_string().contains("already exists")));
    pool.close().await;
    Some(format!("{base}/{name}"))
}

impl Server {
    pub async fn start() -> Self {
        Self::start_with(Arc::new(|_| ())).await
    }

    pub async fn start_with(on_step: OnStep) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = SetClock::new();
        let mut config = config(dir.path(), &clock).await;
        config.on_step = on_step;
        let offline = Vault::init(&config, ADMIN, Zeroizing::new(ADMIN_PASSWORD.into())).await.unwrap();
        let vault = Vault::open(config).await.unwrap();
        let pipeline = Arc::new(Pipeline::default());
        let (base, stop, task) = serve_on(Arc::clone(&vault), Arc::clone(&pipeline)).await;
        Server { base, clock, vault, pipeline, offline, dir, stop: Some(stop), task: Some(task) }
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// As another process on the same folder would open it.
    pub async fn config(&self) -> Config {
        config(self.dir.path(), &self.clock).await
    }

    /// Ends the process's part of it, and begins anew over the same files.
    pub async fn restart(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        self.task.take().unwrap().await.unwrap();
        self.vault = Vault::open(config(self.dir.path(), &self.clock).await).await.unwrap();
        let (base, stop, task) = serve_on(Arc::clone(&self.vault), Arc::clone(&self.pipeline)).await;
        (self.base, self.stop, self.task) = (base, Some(stop), Some(task));
    }

    /// Does something to the database behind the vault's back.
    pub async fn tamper(&self, statement: &'static str) {
        let own = format!("sqlite://{}", self.dir.path().join("vault.db").display());
        sqlx::any::install_default_drivers();
        let url = postgres(self.dir.path()).await.unwrap_or(own);
        let pool = sqlx::AnyPool::connect(&url).await.unwrap();
        sqlx::query(statement).execute(&pool).await.unwrap();
        pool.close().await;
    }

    pub fn client(&self) -> Client {
        Client::new(&self.base, Memory::default()).unwrap()
    }

    /// A new account, logged in.
    pub async fn user(&self, name: &str) -> Client {
        let mut client = self.client();
        client.register(name, PASSWORD).await.unwrap();
        client.login(name, PASSWORD).await.unwrap();
        client
    }

    pub async fn admin(&self) -> Client {
        let mut client = self.client();
        client.login_as(ADMIN, ADMIN_PASSWORD).await.unwrap();
        client
    }

    /// Events of an operation that reached the pipeline: whether they succeeded.
    pub async fn events(&self, operation: &str, at_least: usize) -> Vec<serde_json::Value> {
        for _ in 0..200 {
            let of: Vec<_> = {
                let events = self.pipeline.0.lock().unwrap();
                events.iter().filter(|event| event["api"]["operation"] == operation).cloned().collect()
            };
            if of.len() >= at_least {
                return of;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        panic!("fewer than {at_least} events of {operation}");
    }

    /// A request as nobody's client would send it.
    pub async fn raw(&self, method: Method, path: &str, token: &str, body: Vec<u8>) -> (u16, String) {
        let request = reqwest::Client::new().request(method, format!("{}{path}", self.base));
        let request = request.header("content-type", "application/json").bearer_auth(token).body(body);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    /// All files of the data directory whose path has this in it.
    pub fn stored(&self, part: &str) -> Vec<PathBuf> {
        below(self.dir.path(), part)
    }
}

/// All files below a folder whose path has this in it.
pub fn below(folder: &Path, part: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        // What goes while we look is gone.
        for path in std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
            match path.is_dir() {
                true => folders.push(path),
                false if path.display().to_string().contains(part) => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    found
}

async fn serve_on(
    vault: Arc<Vault>,
    pipeline: Arc<Pipeline>,
) -> (String, oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel::<()>();
    let task = tokio::spawn(async move {
        let end = async {
            let _ = stopped.await;
        };
        serve(vault, listener, Some(pipeline), end).await.unwrap();
    });
    (base, stop, task)
}

pub async fn put(
    client: &mut Client,
    name: &str,
    content: &[u8],
    tier: TierName,
) -> Result<FileInfo, ClientError> {
    put_in(client, name, content, tier, None).await
}

pub async fn put_in(
    client: &mut Client,
    name: &str,
    content: &[u8],
    tier: TierName,
    scope: Option<&str>,
) -> Result<FileInfo, ClientError> {
    let what = Sealed { name, size: content.len() as u64, tier, scope, recovery: None, now: Timestamp(1) };
    client.put(&what, std::io::Cursor::new(content.to_vec()), |_| ()).await
}

pub async fn get(client: &mut Client, name: &str) -> Result<Vec<u8>, ClientError> {
    let found = client.open(name).await?;
    let mut out = Vec::new();
    client.read(&found, &mut out, &|_| ()).await?;
    Ok(out)
}

/// Bytes that compress badly and repeat never.
pub fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = |state: &mut u64| {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state as u8
    };
    (0..len).map(|_| next(&mut state)).collect()
}
