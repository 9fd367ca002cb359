//! `prunella connectors`: what is configured, what is refused, and a bucket read from beginning to end.

use crate::program::run;
#[cfg(feature = "aws")]
use crate::program::{command, ended};
#[cfg(feature = "aws")]
use crate::running::{Running, wait_for};
#[cfg(feature = "aws")]
use flate2::{Compression, write::GzEncoder};
#[cfg(feature = "aws")]
use serde_json::Value;
#[cfg(feature = "aws")]
use std::io::Write;
use tempfile::TempDir;

#[cfg(feature = "aws")]
const RECORDS: usize = 30;

fn configured(dir: &TempDir, text: &str) -> String {
    let path = dir.path().join("prunella.toml");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn a_source_that_cannot_work_is_refused_before_anything_runs() {
    let check = |text: &str, args: &[&str], words: &[&str]| {
        let dir = TempDir::new().unwrap();
        let (config, data) = (configured(&dir, text), dir.path().join("data"));
        let mut all = vec!["connectors"];
        all.extend(args);
        all.extend(["--config", &config, "--data-dir", data.to_str().unwrap()]);
        run(&all).with(3).says(words);
        assert!(!data.exists(), "nothing was begun");
    };
    let known = "[[source]]\nname = \"trail\"\nkind = \"aws.cloudtrail\"\n";
    check("", &["check", "trail"], &["no source is called `trail`"]);
    check(known, &["run", "other"], &["no source is called `other`", "trail"]);
    check("[[source]]\nname = \"x\"\nkind = \"fax.machine\"\n", &["check", "x"], &["reads no `fax.machine`"]);
    check(
        "[[source]]\nname = \"A b\"\nkind = \"aws.cloudtrail\"\n",
        &["check", "A b"],
        &["no name for a source"],
    );
    if cfg!(feature = "aws") {
        check(known, &["check", "trail"], &["source `trail`", "set `region`"]);
        check(&format!("{known}regions_ = 1\n"), &["check", "trail"], &["unknown field `regions_`"]);
    }
}

#[cfg(feature = "aws")]
#[test]
fn a_bucket_is_checked_read_and_listed() {
    let Some(moto) = moto() else { return };
    let bucket = format!("cli-{}", std::process::id());
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let put = |path: String, body: Vec<u8>| {
        let sent = http.put(format!("{moto}/{path}")).body(body).send();
        assert!(runtime.block_on(sent).unwrap().status().is_success());
    };
    let file = |minute: usize, first: usize| {
        let name = format!("123456789012_CloudTrail_us-east-1_20240731T12{minute:02}Z_x.json.gz");
        let path = format!("{bucket}/AWSLogs/123456789012/CloudTrail/us-east-1/2024/07/31/{name}");
        put(path, log_file(first));
    };
    put(bucket.clone(), Vec::new());
    file(10, 0);
    file(15, RECORDS);
    let dir = TempDir::new().unwrap();
    let data = TempDir::new().unwrap();
    let config = configured(
        &dir,
        &format!(
            "[[source]]\nname = \"trail\"\nkind = \"aws.cloudtrail\"\nregion = \"us-east-1\"\nbucket = \"{bucket}\"\n\
             endpoint = \"{moto}\"\nevery_s = 1\n"
        ),
    );
    let connectors = |args: &[&str]| {
        let mut all = vec!["connectors"];
        all.extend(args);
        all.extend(["--config", &config, "--data-dir", data.path().to_str().unwrap(), "-o", "json"]);
        let mut command = command(&all);
        command.env("AWS_ACCESS_KEY_ID", "testing").env("AWS_SECRET_ACCESS_KEY", "testing");
        ended(command.output().unwrap())
    };
    let checkup = connectors(&["check", "trail"]).with(0).json();
    let policy: Value = serde_json::from_str(checkup["policy"].as_str().unwrap()).unwrap();
    assert_eq!(policy["Statement"][0]["Action"][0], "s3:ListBucket");
    assert!(
        checkup["steps"].as_array().unwrap().iter().all(|step| step.get("problem").is_none()),
        "{checkup}"
    );
    let report = connectors(&["run", "trail", "--once"]).with(0).json();
    assert_eq!((&report["records"], &report["rejected"]), (&60.into(), &0.into()), "{report}");
    assert!(report["fetch_ms"].as_array().is_some_and(|p| p.len() == 3), "{report}");
    let report = connectors(&["run", "trail", "--once"]).with(0).json();
    assert_eq!(report["records"], 0, "the cursor was kept");
    let listed = connectors(&["list"]).with(0).json();
    assert_eq!((&listed[0]["records"], &listed[0]["newest"]), (&60.into(), &1_722_428_100_000i64.into()));
    // What `up` reads is where the command reads from, and its findings and events are there.
    file(20, 2 * RECORDS);
    let secrets = [("AWS_ACCESS_KEY_ID", "testing"), ("AWS_SECRET_ACCESS_KEY", "testing")];
    let up = Running::start_with(&data, &["--config", &config], &secrets);
    wait_for("the third file", || {
        let events = up.get("/api/events?limit=1000").json();
        (events["rows"].as_array()?.len() == 3 * RECORDS).then_some(())
    });
    let busy = connectors(&["run", "trail", "--once"]).with(3);
    busy.says(&["reads its sources itself"]);
}

/// The address of moto, or a loud word.
#[cfg(feature = "aws")]
pub fn moto() -> Option<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/services/services.json");
    let services: Vec<Value> =
        serde_json::from_slice(&std::fs::read(path).unwrap_or_default()).unwrap_or_default();
    let address = services.iter().find(|s| s["name"] == "moto").and_then(|s| s["address"].as_str());
    if address.is_none() {
        eprintln!("SKIPPED: no moto runs here; `cargo xtask services up` starts one");
    }
    address.map(|address| format!("http://{address}"))
}

#[cfg(feature = "aws")]
fn log_file(first: usize) -> Vec<u8> {
    let records: Vec<Value> = (first..first + RECORDS)
        .map(|n| {
            serde_json::json!({
                "eventVersion": "1.09", "eventTime": "2024-07-31T12:09:00Z", "eventSource": "s3.amazonaws.com",
                "eventName": "GetObject", "awsRegion": "us-east-1", "sourceIPAddress": "198.51.100.7",
                "eventID": format!("00000000-0000-4000-8000-{n:012}"), "eventType": "AwsApiCall",
                "recipientAccountId": "123456789012",
                "userIdentity": { "type": "IAMUser", "arn": "arn:aws:iam::123456789012:user/u", "accountId": "123456789012" },
            })
        })
        .collect();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(serde_json::json!({ "Records": records }).to_string().as_bytes()).unwrap();
    encoder.finish().unwrap()
}
