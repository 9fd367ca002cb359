//! From a finding to a receipt: the plan, a person's word on it, the revoked tokens, and the proof.

use crate::program::run;
use crate::records::{principal, tampering};
use crate::running::{Running, wait_for};
use prunella_ledger::{ProofBundle, Verifier};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Gives the pipeline one attack by `user` and waits for what it makes of it.
fn attack(up: &Running, user: &str) {
    let line = format!("{}\n", tampering(&format!("t-{user}"), user));
    let headers = [("content-type", "application/x-ndjson")];
    assert_eq!(up.post("/api/events?source=aws.cloudtrail", &headers, line.into_bytes()).status, 202);
    up.settle();
}

#[track_caller]
fn only(rows: &Value) -> Value {
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows[0].clone()
}

fn revocation(up: &Running, user: &str) -> Value {
    let plans = up.cli(&["plans", "list", "--principal", &principal(user), "-o", "json"]).with(0).json();
    let revokes = plans.as_array().unwrap().iter().find(|p| p["plan"]["action"] == "tokens.revoke");
    revokes.unwrap_or_else(|| panic!("no plan to revoke in {plans}")).clone()
}

fn not_before(up: &Running, user: &str) -> i64 {
    let answer = up.get(&format!("/api/token-versions?principal={}", principal(user)));
    answer.json()["not_before"].as_i64().unwrap()
}

#[test]
fn a_person_approves_and_the_tokens_are_worth_nothing() {
    let dir = TempDir::new().unwrap();
    let up = Running::start(&dir, &["--response", "approve"]);
    attack(&up, "eve");
    let finding = only(&up.cli(&["findings", "list", "-o", "json"]).with(0).json());
    let uid = finding["finding_info"]["uid"].as_str().unwrap();
    assert_eq!(up.cli(&["findings", "show", uid, "-o", "json"]).with(0).json(), finding);
    assert_eq!(up.get(&format!("/api/threats/{uid}")).json()["finding_info"]["uid"], uid);
    let told = up.cli(&["findings", "explain", uid, "-o", "table"]).with(0).out;
    for word in ["Why:", "ATT&CK:", "T1562", "Evidence", "t-eve", "DeleteTrail"] {
        assert!(told.contains(word), "{word} is not in {told}");
    }

    let plan = revocation(&up, "eve");
    assert_eq!((&plan["to"], not_before(&up, "eve")), (&"awaiting_approval".into(), 0));
    let id = plan["plan_uid"].as_str().unwrap();
    up.cli(&["plans", "approve", id]).with(3).says(&["--by"]);
    let approved = up.cli(&["plans", "approve", id, "--by", "ada", "-o", "json"]).with(0).json();
    assert_eq!(approved, json!({"command": "approve", "plan_uid": id, "by": "ada"}));
    let since = wait_for("the revocation", || Some(not_before(&up, "eve")).filter(|time| *time > 0));
    assert!(since > finding["time"].as_i64().unwrap());
    up.settle();
    let states = up.cli(&["plans", "show", id, "-o", "json"]).with(0).json();
    let states: Vec<&str> = states.as_array().unwrap().iter().map(|t| t["to"].as_str().unwrap()).collect();
    assert!(states.starts_with(&["planned", "awaiting_approval", "approved"]), "{states:?}");
    up.cli(&["plans", "approve", id, "--by", "ada"]).with(3).says(&["cannot be approved"]);
    up.cli(&["plans", "show", "zz"]).with(2).says(&["plans list"]);
    up.cli(&["plans", "show", &"0".repeat(32)]).with(2).says(&["there is no plan"]);
}

#[test]
fn a_rejected_plan_and_a_dry_run_do_nothing() {
    let dir = TempDir::new().unwrap();
    let up = Running::start(&dir, &["--response", "approve"]);
    attack(&up, "eve");
    let plan = revocation(&up, "eve");
    up.cli(&["plans", "reject", plan["plan_uid"].as_str().unwrap(), "--by", "ada"]).with(0);
    wait_for("the rejection", || (revocation(&up, "eve")["to"] == "rejected").then_some(()));
    assert_eq!(not_before(&up, "eve"), 0);
    up.stop().0.with(0);

    let up = Running::start(&dir, &[]);
    attack(&up, "mallory");
    let plan = revocation(&up, "mallory");
    assert_eq!((&plan["to"], not_before(&up, "mallory")), (&"dry_run".into(), 0), "the default does nothing");
    assert_eq!(revocation(&up, "eve")["to"], "rejected", "a restart forgets nothing");
}

#[test]
fn automatic_response_ends_in_a_receipt_that_anyone_can_verify() {
    let dir = TempDir::new().unwrap();
    let up = Running::start(&dir, &["--response", "auto"]);
    attack(&up, "eve");
    wait_for("the revocation", || (not_before(&up, "eve") > 0).then_some(()));
    // The attacker goes on, and is refused: what the provider says then is the evidence.
    let receipt = wait_for("a receipt", || {
        let receipts = up.cli(&["receipts", "list", "-o", "json"]).with(0).json();
        receipts.as_array().unwrap().iter().find(|r| r["prunella"]["action"] == "tokens.revoke").cloned()
    });
    assert_eq!(
        (&receipt["class_uid"], &receipt["prunella"]["principal"]),
        (&7001.into(), &principal("eve").into())
    );
    let latency = receipt["prunella"]["latency"].as_object().unwrap();
    assert!(latency.contains_key("total_ms") || latency.contains_key("detect_ms"), "{latency:?}");
    let id = receipt["prunella"]["receipt_uid"].as_str().unwrap();
    let proof = wait_for("its proof", || {
        let answer = up.get(&format!("/api/receipts/{id}/proof"));
        (answer.status == 200).then(|| answer.json())
    });
    let key = Verifier::parse(&std::fs::read_to_string(dir.path().join("ledger.pub")).unwrap()).unwrap();
    let bundle: ProofBundle = serde_json::from_value(proof.clone()).unwrap();
    bundle.verify(&key).unwrap();
    let mut forged = proof;
    forged["receipt"]["prunella"]["principal"] = "aws:user:somebody".into();
    let forged: ProofBundle = serde_json::from_value(forged).unwrap();
    assert!(forged.verify(&key).is_err(), "a changed receipt verifies");
    let shown = up.cli(&["receipts", "show", id, "-o", "json"]).with(0).json();
    assert_eq!(shown["receipt"]["prunella"]["receipt_uid"], id);
    let bundle: ProofBundle = serde_json::from_value(shown["proof"].clone()).unwrap();
    bundle.verify(&key).unwrap();

    // The same answers when nothing runs.
    up.stop().0.with(0);
    let data = dir.path().to_str().unwrap();
    let shown = run(&["receipts", "show", id, "-o", "json", "--data-dir", data]).with(0).json();
    assert_eq!(shown["receipt"]["prunella"]["receipt_uid"], id);
    run(&["plans", "approve", &"0".repeat(32), "--by", "ada", "--data-dir", data])
        .with(3)
        .says(&["no pipeline runs"]);
}

#[test]
fn looking_where_no_pipeline_ever_ran_is_refused() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().to_str().unwrap();
    for command in ["findings", "plans", "receipts", "dlq"] {
        let ended = run(&[command, "list", "--data-dir", data]).with(3);
        ended.says(&["there is no pipeline's data", data, "--data-dir"]);
    }
    run(&["findings", "list", "--limit", "0"]).with(3).says(&["--limit"]);
    run(&["findings", "list", "--severity-min", "9"]).with(3).says(&["--severity-min"]);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "looking makes no files");
}

#[test]
fn a_lock_asked_for_by_hand_is_approved_by_another_taken_back_and_proven_offline() {
    let dir = TempDir::new().unwrap();
    let up = Running::start(&dir, &["--response", "auto"]);
    attack(&up, "eve");
    let finding = only(&up.cli(&["findings", "list", "-o", "json"]).with(0).json());
    let uid = finding["finding_info"]["uid"].as_str().unwrap();
    let who = principal("eve");
    let locks = || {
        let plans = up.cli(&["plans", "list", "--principal", &who, "-o", "json"]).with(0).json();
        let locks = plans.as_array().unwrap().iter().filter(|p| p["plan"]["action"] == "account.lock");
        locks.cloned().collect::<Vec<_>>()
    };
    let locked_until =
        || up.get(&format!("/api/account-state?principal={who}")).json()["locked_until"].as_i64().unwrap();
    wait_for("the lock that waits", || locks().iter().any(|p| p["to"] == "awaiting_approval").then_some(()));
    let waiting = locks()[0]["plan_uid"].as_str().unwrap().to_owned();
    up.cli(&["plans", "reject", &waiting, "--by", "ada"]).with(0);
    wait_for("the rejection", || (locks()[0]["to"] == "rejected").then_some(()));

    up.cli(&["respond", uid, "--playbook", "nope", "--by", "dana"])
        .with(3)
        .says(&["nope", "contain-log-tampering"]);
    up.cli(&["respond", uid, "--playbook", "contain-log-tampering", "--by", "dana"]).with(0);
    let asked = |state: &'static str| {
        wait_for(state, || locks().into_iter().find(|p| p["plan_uid"] != *waiting && p["to"] == state))
    };
    let plan = asked("awaiting_approval");
    let id = plan["plan_uid"].as_str().unwrap();
    assert_eq!((&plan["plan"]["proposed_by"], locked_until()), (&"dana".into(), 0));
    let shown = up.cli(&["plans", "show", id, "-o", "table"]).with(0).out;
    for word in [
        "account account.lock on",
        "before {\"value\":0,\"version\":0}",
        "THE WAY BACK",
        "1 target(s)",
        "may still",
    ] {
        assert!(shown.to_lowercase().contains(&word.to_lowercase()), "{word} is not in {shown}");
    }
    up.cli(&["plans", "approve", id, "--by", "dana"]).with(0);
    let digest = plan["plan"]["digest"].as_str().unwrap();
    up.cli(&["plans", "approve", id, "--by", "ada", "--digest", &"0".repeat(32)])
        .with(3)
        .says(&["other steps"]);
    up.cli(&["plans", "approve", id, "--by", "ada", "--digest", digest]).with(0);
    asked("verified");
    assert!(locked_until() > finding["time"].as_i64().unwrap());

    up.cli(&["plans", "rollback", id, "--by", "ada"]).with(0);
    asked("rolled_back");
    assert_eq!(locked_until(), 0);
    let receipts = up.cli(&["receipts", "list", "-o", "json"]).with(0).json();
    let back = receipts
        .as_array()
        .unwrap()
        .iter()
        .find(|r| r["prunella"]["state"] == "rolled_back")
        .unwrap()
        .clone();
    let receipt = back["prunella"]["receipt_uid"].as_str().unwrap();
    let proof = wait_for("its proof", || {
        let shown = up.cli(&["receipts", "show", receipt, "-o", "json"]).with(0).out;
        shown.contains("inclusion").then_some(shown)
    });
    up.stop().0.with(0);
    holds_offline(&proof, &std::fs::read_to_string(dir.path().join("ledger.pub")).unwrap());
}

/// A receipt's file and the public key are enough, and nothing less is.
fn holds_offline(proof: &str, ledger_key: &str) {
    let away = TempDir::new().unwrap();
    let file = |name: &str, text: &str| {
        let path = away.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let key = file("key", ledger_key);
    let good = file("receipt.json", proof);
    let forged = file("forged.json", &proof.replace("rolled_back", "verified"));
    let checked = run(&["receipts", "verify", &good, "--key", &key, "-o", "json"]).with(0).json();
    assert_eq!((&checked["valid"], &checked["state"]), (&true.into(), &"rolled_back".into()));
    assert_eq!(
        run(&["receipts", "verify", &forged, "--key", &key, "-o", "json"]).with(1).json()["valid"],
        false
    );
    let other = file("other", "prunella+00000000+AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB");
    run(&["receipts", "verify", &good, "--key", &other]).with(2).says(&["verifier key"]);
    run(&["receipts", "verify", &key, "--key", &key]).with(2).says(&["not JSON"]);
}
