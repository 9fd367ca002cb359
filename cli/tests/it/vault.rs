//! The vault as what is protected: inside `up`, its events judged, and attacks on it refused at its own door.

use crate::program::{command, ended, fed, run};
use crate::running::{Running, wait_for};
use serde_json::Value;
use tempfile::TempDir;

const ADMIN: &[u8] = b"admin of the vault";
const PASSWORD: &[u8] = b"correct horse battery";

#[track_caller]
fn set_up(dir: &TempDir) -> String {
    let data = dir.path().to_str().unwrap().to_owned();
    let offline = dir.path().join("offline");
    let offline = offline.to_str().unwrap();
    fed(&["vault", "init", "--data-dir", &data, "--offline-keys", offline], ADMIN).with(0);
    data
}

#[test]
fn up_serves_the_vault_judges_its_events_and_acts_on_it() {
    let dir = TempDir::new().unwrap();
    let data = set_up(&dir);
    let up = Running::start(&dir, &["--response", "auto"]);
    let (server, memory) = (format!("{}/vault", up.url()), dir.path().join("alice.json"));
    let memory = memory.to_str().unwrap();
    let alice = |args: &[&str], input: &[u8]| {
        fed(&[&["vault", "--server", &server, "--memory", memory], args, &["-o", "json"]].concat(), input)
    };
    let account = alice(&["register", "alice"], PASSWORD).with(0).json();
    alice(&["login", "alice"], PASSWORD).with(0);
    alice(&["put", "-", "--name", "plan"], b"we attack at dawn").with(0);
    assert_eq!(up.get("/vault/livez").status, 204);
    assert_eq!(up.get("/vault/none").status, 404);
    assert_eq!(up.get("/livez").status, 200);

    let principal = format!("vault:user:{}", account["id"].as_str().unwrap());
    let path = format!("/api/events?principal={principal}");
    let events = wait_for("the upload to be stored", || {
        let rows = up.get(&path).json()["rows"].as_array().unwrap().clone();
        rows.iter().any(|event| event["api"]["operation"] == "upload").then_some(rows)
    });
    assert!(events.iter().all(|event| event["prunella"]["source"] == "vault"), "{events:?}");

    // Somebody guesses, in spite of being told to wait; a person then has the account locked, at the vault.
    let guess = b"grant_type=password&username=alice&password=guess".to_vec();
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let answers: Vec<u16> = (0..24).map(|_| up.post("/vault/login", &form, guess.clone()).status).collect();
    assert!(answers.starts_with(&[401; 5]) && answers.ends_with(&[429]), "{answers:?}");
    let finding = wait_for("the guessing to be found", || {
        let rows = up.get("/api/threats").json()["rows"].as_array().unwrap().clone();
        rows.into_iter().find(|finding| finding["prunella"]["principal"] == principal.as_str())
    });
    let id = finding["finding_info"]["uid"].as_str().unwrap();
    up.cli(&["respond", id, "--playbook", "contain-account-takeover", "--by", "dana"]).with(0);
    let state = |action: &str, wanted: &str| {
        let plans = up.get("/api/plans").json()["rows"].as_array().unwrap().clone();
        let of = |row: &&Value| row["plan"]["action"] == action && row["to"] == wanted;
        plans.iter().find(of).map(|row| row["plan"].clone())
    };
    // What one person starts another lets go.
    let asked = wait_for("the revocation to be asked for", || state("tokens.revoke", "awaiting_approval"));
    up.cli(&["plans", "approve", asked["uid"].as_str().unwrap(), "--by", "erin"]).with(0);
    let revoked = wait_for("the tokens to be revoked", || {
        // What the thief has is the client's memory.
        alice(&["ls"], b"");
        state("tokens.revoke", "verified")
    });
    let step = &revoked["steps"][0];
    assert_eq!((&step["provider"], &step["prior"]["version"]), (&"vault".into(), &1.into()), "{step}");
    alice(&["ls"], b"").with(2).says(&["log in again"]);
    assert!(state("account.lock", "awaiting_approval").is_some(), "a lock is for a person to approve");

    // One vault, one process.
    let (listen, none) = ("127.0.0.1:0", "--closed");
    run(&["vault", "serve", "--data-dir", &data, "--listen", listen, none])
        .with(3)
        .says(&["another process"]);
    let (stopped, _) = up.stop();
    stopped.with(0);
    run(&["ledger", "verify", "--data-dir", &data]).with(0);
}

#[test]
fn attacks_on_the_vault_are_found_and_refused_at_its_door() {
    let scenarios = ["stolen_token_exfiltration", "brute_force_login"];
    let start = |name: &&str| {
        let args = ["simulate-attack", "run", name, "--target", "vault", "--seed", "7", "-o", "json"];
        command(&args).spawn().unwrap()
    };
    let children: Vec<_> = scenarios.iter().map(start).collect();
    for (name, child) in scenarios.iter().zip(children) {
        let report = ended(child.wait_with_output().unwrap()).with(0).json();
        for fact in ["detected", "contained", "verified"] {
            assert_eq!(report[fact], true, "{name}: {report}");
        }
        assert_eq!((&report["scenario"], &report["evidence"]), (&(*name).into(), &"refused_call".into()));
        assert!(report["principal"].as_str().unwrap().starts_with("vault:user:"), "{report}");
        assert!(
            report["last_accepted_ms"].is_i64() && report["refused_calls"].as_u64() >= Some(5),
            "{report}"
        );
        assert_eq!(report["findings_on_background"], 0, "{report}");
    }
}

#[test]
fn what_is_attacked_must_be_what_the_scenario_is_about() {
    let check = |args: &[&str], says: &[&str]| {
        run(&[&["simulate-attack", "run"], args].concat()).with(3).says(says);
    };
    check(&["brute_force", "--target", "vault"], &["the simulated cloud"]);
    check(&["brute_force_login", "--target", "cloud"], &["a vault"]);
    check(&["brute_force_login", "--into", "http://127.0.0.1:9"], &["throw-away"]);
    run(&["demo", "--scenario", "brute_force_login"]).with(3).says(&["--target vault"]);
}
