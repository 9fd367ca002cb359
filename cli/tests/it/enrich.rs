//! Tables of the operator through the real program: on events, on findings, changed while it runs, and refused.

use crate::mmdb::{Map, Number, Text, database};
use crate::program::{fed, run};
use crate::records::tampering;
use crate::running::{Running, wait_for};
use serde_json::Value;
use std::path::Path;
use tempfile::TempDir;

/// A configuration with every kind of table, beside its files.
fn configured(dir: &Path) -> String {
    let system = Map(vec![
        ("autonomous_system_number", Number(64_500)),
        ("autonomous_system_organization", Text("Example Telecom")),
        ("country", Map(vec![("iso_code", Text("PT"))])),
    ]);
    let write = |name: &str, bytes: &[u8]| std::fs::write(dir.join(name), bytes).unwrap();
    write("asn.mmdb", &database(vec![("198.51.100.0/24", system)]));
    write("bad.txt", b"198.51.100.7\n");
    write("people.csv", b"principal,entity\naws:user:arn:aws:iam::111122223333:user/eve,eve@example.com\n");
    let path = |name: &str| format!("[{:?}]", dir.join(name));
    let text = format!(
        "[enrich]\nmmdb = {}\nindicators = {}\nidentities = {}\nrefresh_s = 1\n",
        path("asn.mmdb"),
        path("bad.txt"),
        path("people.csv")
    );
    write("prunella.toml", text.as_bytes());
    dir.join("prunella.toml").to_str().unwrap().to_owned()
}

fn of_analytic<'a>(findings: &'a [Value], uid: &str) -> Vec<&'a Value> {
    findings.iter().filter(|f| f["finding_info"]["analytic"]["uid"] == uid).collect()
}

fn assert_enriched(finding: &Value) {
    let network = &finding["enrichments"][0];
    assert_eq!((&network["value"], &network["type"]), (&"198.51.100.7".into(), &"network".into()));
    assert_eq!(network["data"]["class"], "residential_or_unknown");
    assert_eq!(finding["evidences"][0]["src_endpoint"]["location"]["country"], "PT");
    assert_eq!(finding["evidences"][0]["src_endpoint"]["autonomous_system"]["number"], 64_500);
    assert_eq!(finding["osint"][0]["vendor_name"], "bad.txt");
    assert_eq!(finding["prunella"]["entity_uid"], "eve@example.com");
}

#[test]
fn events_and_findings_carry_what_the_tables_say() {
    let dir = TempDir::new().unwrap();
    let config = configured(dir.path());
    let input = format!("{}\n", tampering("t-1", "eve"));
    let with = |verb: &str| fed(&[verb, "--config", &config, "-"], input.as_bytes()).with(0).lines();
    let [event] = &with("normalize")[..] else { panic!("one event") };
    assert_eq!(event["metadata"]["profiles"], serde_json::json!(["cloud", "osint"]));
    assert_eq!(event["prunella"]["tables"].as_str().map(str::len), Some(32));
    let findings = with("detect");
    for analytic in ["indicator_met", "audit_log_tampering"] {
        let [finding] = of_analytic(&findings, analytic)[..] else { panic!("{analytic}: {findings:?}") };
        assert_enriched(finding);
    }
    assert_eq!(with("detect"), findings);
    run(&["config", "check", "--config", &config]).with(0);
}

#[test]
fn a_table_that_changes_holds_from_a_time_that_is_written_down_and_a_broken_one_never() {
    let dir = TempDir::new().unwrap();
    let config = configured(dir.path());
    let data = TempDir::new().unwrap();
    let running = Running::start(&data, &["--config", &config]);
    let give = |id: &str| {
        let body = tampering(id, "eve").to_string().into_bytes();
        let ndjson = ("content-type", "application/x-ndjson");
        assert_eq!(running.post("/api/events?source=aws.cloudtrail", &[ndjson], body).status, 202);
    };
    let event = |id: &str| {
        wait_for("the event", || {
            let found = running.get("/api/events?limit=1000").json();
            let all = found["rows"].as_array().cloned().unwrap_or_default();
            all.into_iter().find(|event| event["metadata"]["uid"] == id)
        })
    };
    give("t-1");
    let first = event("t-1");
    assert_eq!(first["osint"][0]["value"], "198.51.100.7");
    let found = wait_for("the finding", || {
        let found = running.get("/api/threats").json();
        let findings = found["rows"].as_array().cloned().unwrap_or_default();
        of_analytic(&findings, "indicator_met").first().map(|finding| (*finding).clone())
    });
    assert_enriched(&found);

    std::fs::write(dir.path().join("bad.txt"), "neither\n").unwrap();
    let kept = wait_for("the health to tell", || {
        let problems = running.get("/api/health").json()["problems"].to_string();
        problems.contains("the tables from before stay in use").then_some(problems)
    });
    assert!(kept.contains("bad.txt") && kept.contains("no line is an address"), "{kept}");
    give("t-2");
    assert_eq!(event("t-2")["prunella"]["tables"], first["prunella"]["tables"]);

    std::fs::write(dir.path().join("bad.txt"), "192.0.2.1\n").unwrap();
    let journal = || std::fs::read_to_string(data.path().join("tables.ndjson")).unwrap();
    let switch = wait_for("the switch", || journal().lines().nth(1).map(str::to_owned));
    let switch: Value = serde_json::from_str(&switch).unwrap();
    assert_ne!(switch["tables"], first["prunella"]["tables"]);
    let mut number = 2;
    wait_for("an event of the new tables", || {
        number += 1;
        give(&format!("t-{number}"));
        let event = event(&format!("t-{number}"));
        (event["prunella"]["tables"] == switch["tables"]).then(|| assert_eq!(event["osint"], Value::Null))
    });
    wait_for("the health to be well", || {
        let problems = running.get("/api/health").json()["problems"].to_string();
        (!problems.contains("tables:")).then_some(())
    });
    running.stop().0.with(0);
}

#[test]
fn a_table_that_cannot_be_read_at_the_start_is_named() {
    let dir = TempDir::new().unwrap();
    let config = configured(dir.path());
    std::fs::write(dir.path().join("asn.mmdb"), "<html>").unwrap();
    let words = ["asn.mmdb", "not a MaxMind database", "give the `.mmdb` file itself"];
    fed(&["normalize", "--config", &config, "-"], b"{}").with(3).says(&words);
    run(&["config", "check", "--config", &config]).with(3).says(&words);
    let data = TempDir::new().unwrap();
    let data = data.path().to_str().unwrap();
    run(&["up", "--config", &config, "--data-dir", data, "--listen", "127.0.0.1:0"]).with(3).says(&words);
    std::fs::remove_file(dir.path().join("asn.mmdb")).unwrap();
    let words = ["cannot read the table", "asn.mmdb", "mend the path under [enrich]"];
    fed(&["detect", "--config", &config, "-"], b"{}").with(3).says(&words);
}
