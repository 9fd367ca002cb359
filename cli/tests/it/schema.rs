//! `prunella schema` against a real ClickHouse, which `cargo xtask services up` starts.

use crate::program::run;
use serde_json::Value;
use tempfile::TempDir;

#[test]
fn tables_are_made_and_checked() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/services/services.json");
    let services: Vec<Value> =
        std::fs::read(path).map_or(Vec::new(), |bytes| serde_json::from_slice(&bytes).unwrap());
    let Some(server) = services.iter().find(|s| s["name"] == "clickhouse") else {
        eprintln!("SKIPPED: no ClickHouse runs here; `cargo xtask services up` starts one");
        return;
    };
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("prunella.toml");
    let database = format!("prunella_test_cli_{}", std::process::id());
    let schema = |verb: &str, database: &str, password: &str| {
        let address = server["address"].as_str().unwrap();
        let text = format!(
            "[clickhouse]\nurl = \"http://{address}\"\ndatabase = \"{database}\"\nuser = \"migrate\"\npassword_file = \"{password}\"\n"
        );
        std::fs::write(&file, text).unwrap();
        run(&["schema", verb, "--config", file.to_str().unwrap(), "-o", "json"])
    };
    let password = server["secrets"]["migrate"].as_str().unwrap();
    schema("check", &database, password).with(3).says(&["run `prunella schema apply`"]);
    assert!(schema("apply", &database, password).with(0).out.contains("\"before\": 0"));
    schema("check", &database, password).with(0);
    assert!(schema("apply", &database, password).with(0).out.contains("\"before\": 5"));
    schema("check", "no database", password).with(3).says(&["is not a database name"]);
    schema("check", &database, "/nowhere/password").with(3).says(&["clickhouse.password_file"]);
    schema("check", &database, "").with(3).says(&["check the user, its password file"]);
}

#[test]
fn without_a_server_it_says_which_key_is_missing() {
    run(&["schema", "check"]).with(3).says(&["set `clickhouse.url`"]);
}
