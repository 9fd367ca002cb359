//! Playbooks: what is read, what is refused and why.

use crate::world::finding;
use prunella_respond::{Config, Playbooks, Respond};

#[test]
fn the_built_in_playbooks_are_sound() {
    let playbooks = Playbooks::built_in().unwrap();
    assert_eq!(playbooks.iter().count(), 8);
    assert!(playbooks.iter().all(|p| !p.description.is_empty()));
    assert!(Respond::new(Config::default(), playbooks).is_ok());
}

#[test]
fn faults_name_the_file_the_playbook_and_what_is_known() {
    let check = |text: &str, wants: &[&str]| {
        let error = Playbooks::parse(&[("x.yaml", text)]).expect_err(text).to_string();
        for want in wants.iter().chain(&["x.yaml"]) {
            assert!(error.contains(want), "{text}: {error}");
        }
    };
    let with = |conditions: &str, actions: &str| format!("id: p\nmatch: {conditions}\nactions: {actions}");
    let ok = "[{ action: tokens.revoke }]";
    check(
        &with("{ severity_min: low }", "[{ action: tokens.burn }]"),
        &[
            "`p`",
            "tokens.burn",
            "known: tokens.revoke, session.kill, account.lock, trust.reset, storage.harden_tier, keys.rotate, notify.webhook",
        ],
    );
    check(&with("{ severity_min: low }", "[]"), &["`p`", "no actions"]);
    check(
        &with("{ severity_min: low }", "[{ action: tokens.revoke }, { action: tokens.revoke }]"),
        &["twice"],
    );
    check(&with("{ severity_min: low }", "[{ action: tokens.revoke, mode: yolo }]"), &["yolo", "dry-run"]);
    check(&with("{ severity_min: low }", "[{ action: tokens.revoke, force: true }]"), &["force", "action"]);
    check(&with("{ severity_min: grave }", ok), &["grave", "critical"]);
    check(&with("{ risk_min: huge }", ok), &["huge", "HIGH"]);
    check(&with("{ techniques: [T11] }", ok), &["`p`", "`T11`", "T1110.001"]);
    check(&with("{ techniques: [\"*\"] }", ok), &["`*`"]);
    check(&with("{ technique: [T1110] }", ok), &["technique", "techniques"]);
    check(&with("{}", ok), &["`match` is empty"]);
    check("id: P!\nmatch: { severity_min: low }\nactions: [{ action: tokens.revoke }]", &["`P!`", "a-z"]);
    check("id: p\nmatch: { severity_min: low }", &["actions"]);
    check("[1, 2", &[]);
    check("", &[]);
    check(&"#".repeat(70_000), &["65536"]);
    let one = with("{ severity_min: low }", ok);
    let twice = Playbooks::parse(&[("a.yaml", &one), ("b.yaml", &one)]).unwrap_err().to_string();
    assert_eq!(twice, "playbook `p` in `b.yaml`: another playbook has this id");
}

#[test]
fn all_conditions_must_hold() {
    let check = |conditions: &str, want: bool| {
        let text =
            format!("id: p\nmatch: {conditions}\nactions: [{{ action: tokens.revoke, mode: observe }}]");
        let playbooks = Playbooks::parse(&[("x.yaml", &text)]).unwrap();
        let mut stage = Respond::new(Config::default(), playbooks).unwrap();
        let at = prunella_schemas::Timestamp(1_000_000);
        let message =
            prunella_respond::Input::Finding(Box::new(finding("aws:user:x", "T1110", 1_000_000, 1)));
        let input = prunella_schemas::Delivered { message, origin: at, at };
        assert_eq!(!crate::world::step(&mut stage, &input).is_empty(), want, "{conditions}");
    };
    check("{ techniques: [T1110] }", true);
    check("{ techniques: [T1078, T1110] }", true);
    check("{ techniques: [T1110.001] }", false);
    check("{ severity_min: high }", true);
    check("{ severity_min: critical }", false);
    check("{ risk_min: HIGH }", true);
    check("{ analytics: [test] }", true);
    check("{ analytics: [other] }", false);
    check("{ tenants: [default] }", true);
    check("{ tenants: [other] }", false);
    check("{ techniques: [T1110], severity_min: critical }", false);
}
