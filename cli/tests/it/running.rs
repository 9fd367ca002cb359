//! A pipeline that runs in a process of its own, and a client for its API.

use crate::program::{Ended, command, ended, run};
use serde_json::Value;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything may take to happen.
const WAIT_MS_MAX: u64 = 30_000;

pub struct Running {
    child: Option<Child>,
    dir: String,
    url: String,
    http: reqwest::Client,
    runtime: tokio::runtime::Runtime,
}

/// What the API answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub text: String,
}

impl Answer {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }
}

/// Asks `probe` until it has an answer.
#[track_caller]
pub fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let begun = instant();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_millis(WAIT_MS_MAX), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[allow(clippy::disallowed_methods, reason = "tests measure how long the program takes")]
pub fn instant() -> Instant {
    Instant::now()
}

impl Running {
    /// `prunella up` on `dir`, on a free port, once it serves.
    pub fn start(dir: &TempDir, more: &[&str]) -> Self {
        Running::start_with(dir, more, &[])
    }

    /// The same with more in its environment.
    pub fn start_with(dir: &TempDir, more: &[&str], environment: &[(&str, &str)]) -> Self {
        let dir = dir.path().to_str().unwrap().to_owned();
        let mut args = vec!["up", "--data-dir", &dir, "--listen", "127.0.0.1:0"];
        args.extend(more);
        let mut child = command(&args).envs(environment.iter().copied()).spawn().unwrap();
        let endpoint = Path::new(&dir).join("endpoint");
        let url = wait_for("the pipeline to serve", || {
            if child.try_wait().unwrap().is_some() {
                let mut text = String::new();
                std::io::Read::read_to_string(child.stderr.as_mut().unwrap(), &mut text).unwrap();
                panic!("`up` ended at once: {text}");
            }
            // A crash before has left both files behind: only the new process writes its own id.
            let pid = std::fs::read_to_string(Path::new(&dir).join("pid")).ok()?;
            (pid == child.id().to_string()).then(|| std::fs::read_to_string(&endpoint).unwrap())
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().unwrap();
        Running { child: Some(child), dir, url, http, runtime }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.send(self.http.get(format!("{}{path}", self.url)))
    }

    #[track_caller]
    pub fn post(&self, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
        let request = self.http.post(format!("{}{path}", self.url)).body(body);
        self.send(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)))
    }

    #[track_caller]
    fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        self.runtime.block_on(async {
            let answer = request.send().await.unwrap();
            Answer { status: answer.status().as_u16(), text: answer.text().await.unwrap() }
        })
    }

    /// Waits until every stage has processed all there is, twice in a row: a stage may still be handing on.
    #[track_caller]
    pub fn settle(&self) {
        let mut calm = 0;
        wait_for("the lag to go to 0", || {
            let health = self.get("/api/health").json();
            let lag = health["lag"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum::<u64>();
            calm = if lag == 0 { calm + 1 } else { 0 };
            (calm >= 3).then_some(())
        });
    }

    /// The program, on this pipeline's directory.
    #[track_caller]
    pub fn cli(&self, args: &[&str]) -> Ended {
        run(&[args, &["--data-dir", &self.dir]].concat())
    }

    /// SIGTERM; how it ended, and how long that took.
    #[track_caller]
    pub fn stop(mut self) -> (Ended, Duration) {
        let child = self.child.take().unwrap();
        let begun = instant();
        let sent = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        assert!(sent.success(), "the signal was not sent");
        let output = child.wait_with_output().unwrap();
        (ended(output), begun.elapsed())
    }

    /// SIGKILL: as a crash leaves it.
    pub fn kill(mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // The test has failed already; nothing must stay behind.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
