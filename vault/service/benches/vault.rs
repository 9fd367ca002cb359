//! How long the vault takes, over loopback, on a local disk: put and get 1 MiB, share, harden many files with their user away.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark")]

use prunella_schemas::Timestamp;
use prunella_vault::client::{Bounds, Client, Memory, Sealed};
use prunella_vault::wire::{Level, TierName};
use prunella_vault::{Config, Vault, serve};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use zeroize::Zeroizing;

const PASSWORD: &str = "correct horse battery";

fn main() {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(measure());
}

async fn measure() {
    // Under `cargo test` the benchmark only has to run.
    let is_bench = std::env::args().any(|arg| arg == "--bench");
    let (rounds, files) = if is_bench { (200, 10_000) } else { (20, 100) };
    let dir = tempfile::tempdir().unwrap();
    let now = || Timestamp(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64);
    let config = Config::new(dir.path(), Arc::new(now)).unwrap();
    Vault::init(&config, "admin", Zeroizing::new(PASSWORD.into())).await.unwrap();
    let vault = Vault::open(config).await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(serve(vault, listener, None, std::future::pending()));
    let mut users = Vec::new();
    for name in ["alice", "bob"] {
        let mut client = Client::new(&base, Memory::default()).unwrap();
        client.register(name, PASSWORD).await.unwrap();
        client.login(name, PASSWORD).await.unwrap();
        users.push(client);
    }
    let [mut alice, mut bob] = <[Client; 2]>::try_from(users).ok().unwrap();
    let mib = vec![0x5a; 1 << 20];

    let (mut puts, mut gets, mut shares, mut id) = (Vec::new(), Vec::new(), Vec::new(), String::new());
    for round in 0..rounds {
        let name = format!("file {round}");
        puts.push(timed(async { id = put(&mut alice, &name, &mib).await }).await);
        gets.push(timed(get(&mut alice, &name)).await);
    }
    for _ in 0..rounds / 4 {
        let mut share = None;
        shares.push(
            timed(async { share = Some(alice.share("file 0", "bob", Bounds::default()).await.unwrap()) })
                .await,
        );
        alice.unshare(&share.unwrap().id).await.unwrap();
    }
    assert!(bob.open(&id).await.is_err());
    say("put 1 MiB", puts);
    say("get 1 MiB, proven", gets);
    say("share", shares);

    for file in 0..files {
        put(&mut alice, &format!("small {file}"), b"small").await;
    }
    for (what, level) in [("rotate", Level::Gate), ("rotate again", Level::Gate)] {
        let began = Instant::now();
        alice.login("alice", PASSWORD).await.unwrap();
        alice.rotate("alice", level).await.unwrap();
        while alice.rotation("alice").await.unwrap().waiting > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let took = began.elapsed();
        let all = files + rounds;
        println!(
            "{what:24} {all} files in {:.1} s: {:.0} files/s",
            took.as_secs_f64(),
            all as f64 / took.as_secs_f64()
        );
    }
    let began = Instant::now();
    for file in 0..files.min(200) {
        alice.change_tier(&format!("small {file}"), TierName::High, false).await.unwrap();
    }
    println!(
        "{:24} {:.0} files/s, one after the other",
        "harden LOW to HIGH",
        files.min(200) as f64 / began.elapsed().as_secs_f64()
    );
}

async fn put(client: &mut Client, name: &str, content: &[u8]) -> String {
    let size = content.len() as u64;
    let what = Sealed { name, size, tier: TierName::Low, scope: None, recovery: None, now: Timestamp(1) };
    client.put(&what, std::io::Cursor::new(content.to_vec()), |_| ()).await.unwrap().id
}

async fn get(client: &mut Client, name: &str) {
    let found = client.open(name).await.unwrap();
    let read = client.read(&found, tokio::io::sink(), &|_| ()).await.unwrap();
    assert_eq!(read, 1 << 20);
}

async fn timed(work: impl Future<Output = ()>) -> Duration {
    let began = Instant::now();
    work.await;
    began.elapsed()
}

fn say(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize].as_secs_f64() * 1_000.0;
    println!(
        "{what:24} p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms ({} times)",
        at(0.5),
        at(0.9),
        at(0.99),
        times.len()
    );
}
