//! docker-compose.yml and what it mounts: it reads as YAML, opens nothing to the outside, and names what exists.

use crate::program::{command, ended};
use serde_json::Value;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn yaml(file: &str) -> Value {
    let text = std::fs::read_to_string(root().join(file)).unwrap();
    serde_saphyr::from_str(&text).unwrap_or_else(|e| panic!("{file}: {e}"))
}

/// A service each, by the same name.
const ROLES: [&str; 5] = ["connect", "ingest", "detect", "correlate", "sink"];

/// The program reads every word before it helps.
fn parses(words: &[&str]) {
    let with_help: Vec<&str> = words.iter().copied().chain(["--help"]).collect();
    ended(command(&with_help).output().unwrap()).with(0);
    // That it would say so otherwise is half of the proof.
    let with_nonsense: Vec<&str> = words.iter().copied().chain(["--nonsense", "--help"]).collect();
    assert_ne!(ended(command(&with_nonsense).output().unwrap()).code, 0, "{words:?}");
}

fn words(list: &Value) -> Vec<&str> {
    list.as_array().map_or(Vec::new(), |list| list.iter().filter_map(Value::as_str).collect())
}

#[test]
fn the_compose_file_names_only_what_exists() {
    let compose = yaml("docker-compose.yml");
    let services = compose["services"].as_object().unwrap();
    assert!(
        ["kafka", "clickhouse", "redis", "postgres", "grafana", "schema"]
            .iter()
            .chain(&ROLES)
            .all(|s| services.contains_key(*s))
    );
    for (name, service) in services {
        for port in words(&service["ports"]) {
            assert!(port.starts_with("127.0.0.1:"), "{name} opens {port}");
        }
        for secret in words(&service["secrets"]) {
            assert!(compose["secrets"][secret]["file"].is_string(), "{name}: {secret}");
        }
        for mount in words(&service["volumes"]) {
            let (from, _) = mount.split_once(':').unwrap();
            let there = from.starts_with("./") && root().join(from).exists();
            assert!(there || compose["volumes"].get(from).is_some(), "{name}: {mount}");
        }
        for waited in service["depends_on"].as_object().into_iter().flat_map(|d| d.keys()) {
            assert!(services.contains_key(waited), "{name} waits for {waited}");
        }
        let ours = service["image"] == "prunella";
        assert_eq!(ours, name == "schema" || ROLES.contains(&name.as_str()), "{name}");
        assert!(ours || service["healthcheck"]["test"].is_array(), "{name} has no health check");
        if ours {
            assert!(root().join(service["build"]["dockerfile"].as_str().unwrap()).exists(), "{name}");
            assert!(service["read_only"] == true && words(&service["cap_drop"]) == ["ALL"], "{name}");
            check_our(name, service);
        }
    }
}

/// Its command, its health check and its configuration are understood by the program itself.
fn check_our(name: &str, service: &Value) {
    let verb = words(&service["command"]);
    parses(&verb);
    if ROLES.contains(&name) {
        assert_eq!(verb[..3], ["run", "--role", name]);
        let health = words(&service["healthcheck"]["test"]);
        assert_eq!(health[..3], ["CMD", "prunella", "ready"], "{name}");
        parses(&health[2..]);
        let port = |words: &[&str]| words.last().unwrap().rsplit_once(':').unwrap().1.to_owned();
        assert_eq!(port(&health), port(&verb), "{name} is asked where it does not listen");
    }
    let mut check = command(&["config", "check"]);
    for (key, value) in service["environment"].as_object().unwrap() {
        check.env(key, value.as_str().unwrap());
    }
    let checked = ended(check.output().unwrap());
    assert_eq!(checked.code, 0, "{name}: {}", checked.err);
}

#[test]
fn grafana_finds_its_datasource_and_dashboards() {
    let source = &yaml("grafana/provisioning/datasources/prunella.yaml")["datasources"][0];
    let folder = &yaml("grafana/provisioning/dashboards/prunella.yaml")["providers"][0]["options"]["path"];
    let compose = yaml("docker-compose.yml");
    let mounts = words(&compose["services"]["grafana"]["volumes"]);
    let mount = format!("./grafana/dashboards:{}:ro", folder.as_str().unwrap());
    assert!(mounts.contains(&mount.as_str()), "{mounts:?}");
    let plugins = compose["services"]["grafana"]["environment"]["GF_PLUGINS_PREINSTALL"].as_str();
    assert_eq!(plugins, source["type"].as_str());
    let file = source["secureJsonData"]["password"].as_str().unwrap();
    let secret = file.strip_prefix("$__file{/run/secrets/").and_then(|s| s.strip_suffix('}')).unwrap();
    assert!(words(&compose["services"]["grafana"]["secrets"]).contains(&secret));
    for board in std::fs::read_dir(root().join("grafana/dashboards")).unwrap() {
        let board: Value = serde_json::from_slice(&std::fs::read(board.unwrap().path()).unwrap()).unwrap();
        for panel in board["panels"].as_array().unwrap() {
            assert_eq!(panel["datasource"]["uid"], source["uid"], "{}", panel["title"]);
        }
    }
}
