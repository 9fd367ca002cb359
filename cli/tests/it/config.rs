//! Configuration and help: where values come from, what is refused and how, completions.

use crate::program::{Ended, command, ended, run};
use serde_json::Value;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn written(dir: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn check(config: &Path) -> Ended {
    run(&["config", "check", "--config", config.to_str().unwrap(), "-o", "json"])
}

fn refused(dir: &TempDir, text: &str, words: &[&str]) {
    check(&written(dir, "prunella.toml", text)).with(3).says(words);
}

#[test]
fn each_value_tells_where_it_came_from() {
    let dir = TempDir::new().unwrap();
    let file = written(&dir, "prunella.toml", "tenant = \"acme\"\n[response]\nmode_max = \"approve\"\n");
    let config = file.to_str().unwrap();
    let mut show = command(&["config", "show", "--config", config, "--data-dir", "here", "-o", "ndjson"]);
    let rows = ended(show.env("PRUNELLA_API__LISTEN", "127.0.0.1:9999").output().unwrap()).with(0).lines();
    let row = |key: &str| {
        rows.iter().find(|r| r["key"] == key).unwrap_or_else(|| panic!("{key} is not shown")).clone()
    };
    let check = |key: &str, value: Value, origin: &str| {
        assert_eq!((&row(key)["value"], &row(key)["origin"]), (&value, &origin.into()), "{key}");
    };
    check("tenant", "acme".into(), &format!("file {config}"));
    check("response.mode_max", "approve".into(), &format!("file {config}"));
    check("api.listen", "127.0.0.1:9999".into(), "environment PRUNELLA_API__LISTEN");
    check("data_dir", "here".into(), "flag --data-dir");
    check("log.retention_hours_max", 168.into(), "default");
    let table = run(&["config", "show", "--config", config, "-o", "table"]).with(0).out;
    assert!(table.contains("tenant") && table.contains("acme"), "{table}");
}

#[test]
fn every_key_stands_in_the_reference_with_its_default() {
    let reference = include_str!("../../../docs/guide/configuration.md");
    let dir = TempDir::new().unwrap();
    let file = written(&dir, "prunella.toml", "version = 1\n");
    let config = file.to_str().unwrap();
    let rows = run(&["config", "show", "--config", config, "-o", "ndjson"]).with(0).lines();
    let rows = rows.iter().filter(|row| row["origin"] == "default");
    for (key, default) in rows.map(|row| (row["key"].as_str().unwrap(), &row["value"])) {
        // One is told in words, the others in one line.
        if ["source", "effector"].contains(&key) || key.starts_with("response.receivers.") {
            continue;
        }
        let line = reference.lines().find(|line| line.starts_with(&format!("| `{key}` |")));
        let line = line.unwrap_or_else(|| panic!("{key} is not in the reference"));
        let plain = |text: &str| text.replace(['`', '"', ' '], "");
        let stands = plain(line.split('|').nth(2).unwrap());
        assert_eq!(stands, plain(&default.to_string()), "{key}");
    }
}

#[test]
fn what_is_not_understood_is_refused_by_name() {
    let dir = TempDir::new().unwrap();
    check(&written(&dir, "good.toml", "version = 1\n")).with(0);
    refused(&dir, "colour = \"red\"\n", &["unknown field `colour`", "prunella.toml"]);
    refused(&dir, "[api]\nport = 1\n", &["unknown field `port`", "api.port", "prunella.toml"]);
    refused(&dir, "[api]\nlisten = \"nowhere\"\n", &["api.listen", "prunella.toml"]);
    refused(&dir, "version = 2\n", &["version 2", "reads version 1"]);
    refused(&dir, "= 1\n", &["prunella.toml is not TOML"]);
    refused(&dir, "[response]\nmode_max = \"always\"\n", &["always", "response.mode_max", "prunella.toml"]);
    refused(&dir, "[response]\napproval_ms = 0\n", &["approval_ms"]);
    let (missing, folder) = (dir.path().join("none.toml"), dir.path().to_owned());
    check(&missing).with(3).says(&["cannot read the configuration", missing.to_str().unwrap()]);
    check(&folder).with(3).says(&["cannot read the configuration"]);
    let mut odd = command(&["config", "check"]);
    let odd = ended(odd.env("PRUNELLA_LISTEN", "x").output().unwrap());
    odd.with(3).says(&["unknown field `listen`", "PRUNELLA_LISTEN"]);
    run(&["config", "check", "--log", "=,=,"]).with(3).says(&["--log"]);
}

#[test]
fn a_playbook_that_wants_the_impossible_is_named_before_anything_starts() {
    let dir = TempDir::new().unwrap();
    let playbook = |text: &str| written(&dir, "books.yaml", text);
    let config = written(&dir, "prunella.toml", &format!("playbooks_dir = {:?}\n", dir.path()));
    let data = dir.path().join("data");
    let refused = |words: &[&str]| {
        let ended = check(&config).with(3).says(&["books.yaml"]).says(words);
        let args = ["up", "--config", config.to_str().unwrap(), "--data-dir", data.to_str().unwrap()];
        let up = run(&[&args[..], &["--listen", "127.0.0.1:0"]].concat()).with(3);
        assert_eq!(up.err, ended.err, "`up` says what `config check` says");
        assert!(!data.exists(), "nothing was made");
    };
    let start = "id: mine\ndescription: x\nmatch:\n  techniques: [T1562]\n";
    playbook(&format!("{start}actions:\n  - action: servers.explode\n"));
    refused(&["mine", "servers.explode", "tokens.revoke", "notify.webhook"]);
    playbook(&format!("{start}actions:\n  - action: tokens.revoke\n    mode: sometimes\n"));
    refused(&["sometimes"]);
    playbook(&format!("{start}colour: red\nactions: []\n"));
    refused(&["colour"]);
    playbook("[1, 2");
    refused(&["cannot be read"]);
    playbook(&format!("{start}actions:\n  - action: tokens.revoke\n"));
    check(&config).with(0);
    let gone = written(&dir, "gone.toml", &format!("playbooks_dir = {:?}\n", dir.path().join("none")));
    check(&gone).with(3).says(&["cannot read the playbooks in"]);
}

#[test]
fn a_webhook_without_a_usable_secret_or_address_is_refused() {
    let dir = TempDir::new().unwrap();
    let secret = written(&dir, "secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n");
    let webhook =
        |url: &str, secret: &Path| format!("[webhooks.default]\nurl = {url:?}\nsecret_file = {secret:?}\n");
    check(&written(&dir, "good.toml", &webhook("https://hooks.example.com/x", &secret))).with(0);
    refused(
        &dir,
        &webhook("https://hooks.example.com/x", &dir.path().join("none")),
        &["default", "cannot read the secret file"],
    );
    let odd = written(&dir, "odd", "hunter2\n");
    let refusal = check(&written(&dir, "p.toml", &webhook("https://hooks.example.com/x", &odd))).with(3);
    let refusal = refusal.says(&["default", "whsec_"]);
    assert!(!refusal.err.contains("hunter2"), "the secret is not repeated");
    refused(&dir, &webhook("gopher://hooks.example.com", &secret), &["default", "https://"]);
}

#[test]
fn help_completions_and_version_are_there_and_usage_errors_exit_with_3() {
    let help = run(&["--help"]).with(0).out;
    let verbs =
        ["up", "demo", "ingest", "normalize", "detect", "findings", "plans", "receipts", "ledger", "dlq"];
    for verb in verbs.iter().chain(&["simulate-attack", "config", "completions", "Exit codes"]) {
        assert!(help.contains(verb), "{verb} is not in the help");
    }
    for verb in verbs {
        assert!(run(&[verb, "--help"]).with(0).out.contains("Usage:"), "{verb}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(run(&["completions", shell]).with(0).out.contains("simulate-attack"), "{shell}");
    }
    assert!(run(&["--version"]).with(0).out.starts_with("prunella "));
    for args in [&["fly"][..], &[], &["findings"], &["config", "show", "-o", "xml"]] {
        assert!(!run(args).with(3).err.is_empty(), "{args:?}");
    }
    let colourless = run(&["config", "show", "-o", "table"]).with(0).out;
    assert!(!colourless.contains('\u{1b}'), "colour is for terminals");
}
