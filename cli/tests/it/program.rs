//! Runs the program and looks at how it ended: its exit code, its output, and that it never panicked.

use crate::running::instant;
use serde_json::Value;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

/// How long a run may take.
const RUN_MAX: Duration = Duration::from_secs(240);

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ended {
    /// Fails unless the program ended with `code`.
    #[track_caller]
    pub fn with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    /// Fails unless stderr says each of `words`.
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.err.contains(word), "`{word}` is not in:\n{}", self.err);
        }
        self
    }

    /// Stdout as one JSON document.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}:\n{}\n{}", self.out, self.err))
    }

    /// Stdout as NDJSON: every line must be a JSON object.
    #[track_caller]
    pub fn lines(&self) -> Vec<Value> {
        objects(&self.out)
    }

    /// The lines of stderr that are JSON objects.
    #[track_caller]
    pub fn rejects(&self) -> Vec<Value> {
        let lines: Vec<&str> = self.err.lines().filter(|line| line.starts_with('{')).collect();
        objects(&lines.join("\n"))
    }
}

#[track_caller]
pub fn objects(text: &str) -> Vec<Value> {
    let object = |line: &str| serde_json::from_str(line).ok().filter(Value::is_object);
    text.lines().map(|line| object(line).unwrap_or_else(|| panic!("not a JSON object: {line}"))).collect()
}

/// The program with `args`, in an environment that configures nothing.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_prunella"));
    let ours = std::env::vars_os().map(|(name, _)| name);
    ours.filter(|name| name.to_string_lossy().starts_with("PRUNELLA_")).for_each(|name| {
        command.env_remove(name);
    });
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[track_caller]
pub fn run(args: &[&str]) -> Ended {
    fed(args, b"")
}

/// Runs with `input` on standard input.
#[track_caller]
pub fn fed(args: &[&str], input: &[u8]) -> Ended {
    let mut child = command(args).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    // A program that does not want its input closes the pipe: that is its right.
    let feeding = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let begun = instant();
    // What does not end by itself, such as an `up` that should have refused, is killed and fails as ended by a signal.
    let (done, watch) = std::sync::mpsc::channel::<()>();
    let id = child.id().to_string();
    let watchdog = std::thread::spawn(move || {
        if watch.recv_timeout(RUN_MAX).is_err_and(|e| e == RecvTimeoutError::Timeout) {
            let _ = Command::new("kill").args(["-KILL", &id]).status();
        }
    });
    let output = child.wait_with_output().unwrap();
    drop(done);
    watchdog.join().unwrap();
    feeding.join().unwrap();
    assert!(begun.elapsed() < RUN_MAX, "`{}` did not end", args.join(" "));
    ended(output)
}

#[track_caller]
pub fn ended(output: std::process::Output) -> Ended {
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!err.contains("panicked"), "{err}");
    let code = output.status.code().unwrap_or_else(|| panic!("ended by a signal: {}\n{err}", output.status));
    Ended { code, out: String::from_utf8(output.stdout).unwrap(), err }
}
