//! The roles `respond` and `console` as processes over real services: one effect and one receipt for each attack,
//! however often the responder is killed.

use crate::program::{command, run};
use crate::roles::{Crew, Dice, Installation};
use crate::running::wait_for;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpListener;
use std::process::{Child, Stdio};
use std::time::Duration;

const KILLS: usize = 8;
/// Looks at the receipts, two seconds apart.
const LOOKS_MAX: usize = 60;

/// What `cargo xtask services up` has started, by name.
fn services() -> Option<BTreeMap<String, Value>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/services/services.json");
    let services: Vec<Value> = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    let named: BTreeMap<String, Value> =
        services.into_iter().map(|s| (s["name"].as_str().unwrap().to_owned(), s)).collect();
    ["kafka", "clickhouse", "postgres", "redis"].iter().all(|name| named.contains_key(*name)).then_some(named)
}

/// Adds the engines to the configuration of an installation, and makes the tables.
fn configure(here: &Installation, services: &BTreeMap<String, Value>) {
    let text = |name: &str, path: &[&str]| {
        let found = path.iter().fold(&services[name], |value, key| &value[*key]);
        found.as_str().unwrap().to_owned()
    };
    let name = here.prefix.replace('-', "_");
    let engines = format!(
        "[postgres]\nurl = \"postgres://prunella@{}/postgres\"\npassword_file = \"{}\"\nschema = \"{name}\"\n\
         [redis]\nurl = \"redis://{}\"\nprefix = \"{name}\"\n\
         [clickhouse]\nurl = \"http://{}\"\ndatabase = \"prunella_{name}\"\nuser = \"migrate\"\npassword_file = \"{}\"\n\
         [response]\nmode_max = \"auto\"\n[response.horizons_ms]\n\"tokens.revoke\" = 1000\n\
         [response.budgets.tenant]\nmax = 50\nwindow_ms = 600000\n",
        text("postgres", &["address"]),
        text("postgres", &["secrets", "prunella"]),
        text("redis", &["address"]),
        text("clickhouse", &["address"]),
        text("clickhouse", &["secrets", "migrate"]),
    );
    let mut file = std::fs::File::options().append(true).open(here.config()).unwrap();
    file.write_all(engines.as_bytes()).unwrap();
    run(&["schema", "apply", "--config", here.config().to_str().unwrap()]).with(0);
}

fn start(here: &Installation, role: &str, port: u16) -> Child {
    let mut process = command(&["run", "--role", role, "--config", here.config().to_str().unwrap()]);
    let member = role.split(',').next().unwrap();
    process.env("PRUNELLA_KAFKA__MEMBER", member).env("PRUNELLA_API__LISTEN", format!("127.0.0.1:{port}"));
    process.env("PRUNELLA_DATA_DIR", here.dir.path().join(member)).stderr(Stdio::null());
    process.spawn().unwrap()
}

/// A user who deletes the audit trail: always a finding, and a revocation.
fn attack(user: &str, time: &str) -> String {
    json!({
        "eventVersion": "1.08", "eventTime": time, "eventID": format!("t-{user}"), "eventName": "DeleteTrail",
        "userIdentity": {
            "type": "IAMUser", "principalId": "AIDAEXAMPLE", "accountId": "111122223333", "userName": user,
            "arn": format!("arn:aws:iam::111122223333:user/{user}"), "accessKeyId": "AKIAIOSFODNN7EXAMPLE"
        },
        "eventSource": "cloudtrail.amazonaws.com", "awsRegion": "eu-central-1", "readOnly": false,
        "sourceIPAddress": "198.51.100.7", "userAgent": "aws-cli/2.15.0", "eventType": "AwsApiCall",
        "requestParameters": {"name": "main"}, "recipientAccountId": "111122223333"
    })
    .to_string()
}

struct Client {
    http: reqwest::Client,
    runtime: tokio::runtime::Runtime,
    url: String,
}

impl Client {
    fn ask(&self, path: &str, body: Option<Value>) -> Option<(u16, Value)> {
        let url = format!("{}{path}", self.url);
        let request = match body {
            Some(body) => self.http.post(url).json(&body),
            None => self.http.get(url),
        };
        self.runtime.block_on(async {
            let answer = request.send().await.ok()?;
            let (status, text) = (answer.status().as_u16(), answer.text().await.ok()?);
            Some((status, serde_json::from_str(&text).unwrap_or(Value::String(text))))
        })
    }
}

fn receipts(here: &Installation) -> BTreeMap<String, Vec<Value>> {
    let mut by_principal: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for bytes in here.read("receipts").0.into_values() {
        let receipt: Value = serde_json::from_slice(&bytes).unwrap();
        if receipt["prunella"]["action"] == "tokens.revoke" {
            let principal = receipt["prunella"]["principal"].as_str().unwrap().to_owned();
            by_principal.entry(principal).or_default().push(receipt);
        }
    }
    by_principal
}

#[test]
fn each_attack_has_one_effect_and_one_receipt_however_often_the_responder_is_killed() {
    let Some(services) = services() else {
        eprintln!("SKIPPED: not all services run here; `cargo xtask services up` starts them");
        return;
    };
    let here = Installation::new(services["kafka"]["address"].as_str().unwrap(), "respond");
    configure(&here, &services);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let roles = ["ingest,detect,correlate", "console", "respond"];
    let mut crew = Crew(roles.iter().map(|role| start(&here, role, port)).collect());
    let client = Client {
        http: reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().unwrap(),
        runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap(),
        url: format!("http://127.0.0.1:{port}"),
    };
    wait_for("the console", || client.ask("/readyz", None).filter(|(status, _)| *status == 200));
    let users: Vec<String> = (0..KILLS).map(|n| format!("user{n}")).collect();
    let mut dice = Dice(5);
    for user in &users {
        let time = (prunella_runtime::clock::wall()()).plus_ms(-2_000).to_string();
        here.produce(&[attack(user, &time)]);
        std::thread::sleep(Duration::from_millis(500 + dice.below(3_000)));
        let responder = crew.0.last_mut().unwrap();
        responder.kill().unwrap();
        responder.wait().unwrap();
        *responder = start(&here, "respond", port);
    }
    let principals: Vec<String> =
        users.iter().map(|user| format!("aws:user:arn:aws:iam::111122223333:user/{user}")).collect();
    let found = (0..LOOKS_MAX).find_map(|_| {
        std::thread::sleep(Duration::from_secs(2));
        Some(receipts(&here)).filter(|found| principals.iter().all(|who| found.contains_key(who)))
    });
    assert!(found.is_some(), "receipts are missing: {:?}", receipts(&here).keys());
    // What would come too much comes soon.
    std::thread::sleep(Duration::from_secs(2));
    let found = receipts(&here);
    for principal in &principals {
        check_contained(&client, principal, &found[principal]);
    }
    let entries = check_ledger(&here, &client);
    check_console(&client);
    eprintln!("{} attacks, as many kills of the responder, {entries} entries", users.len());
}

fn check_contained(client: &Client, principal: &str, receipts: &[Value]) {
    assert_eq!(receipts.len(), 1, "{receipts:?}");
    assert_eq!(receipts[0]["prunella"]["state"], "verified");
    let encoded = principal.replace(':', "%3A").replace('/', "%2F");
    let (status, version) = client.ask(&format!("/api/token-versions?principal={encoded}"), None).unwrap();
    assert_eq!((status, &version["version"]), (200, &json!(1)), "{principal}: one effect");
    let id = receipts[0]["prunella"]["receipt_uid"].as_str().unwrap();
    let (status, proof) = client.ask(&format!("/api/receipts/{id}/proof"), None).unwrap();
    assert_eq!((status, &proof["receipt"]["prunella"]["receipt_uid"]), (200, &json!(id)));
}

fn check_ledger(here: &Installation, client: &Client) -> Value {
    let config = here.config();
    let config = config.to_str().unwrap();
    let verified = run(&["ledger", "verify", "--config", config, "-o", "json"]).with(0).json();
    assert_eq!((&verified["integrity"], &verified["completeness"]), (&json!("ok"), &json!("ok")));
    let kept = run(&["ledger", "checkpoint", "--config", config, "-o", "json"]).with(0).json();
    let origin = kept["checkpoint"].as_str().unwrap().lines().next().unwrap().to_owned();
    let (status, served) = client.ask("/api/ledger/checkpoint", None).unwrap();
    assert_eq!(status, 200);
    assert!(served.to_string().contains(&origin), "{served}");
    verified["entries"].clone()
}

/// What a sink would write is not there, and the doors to it are open.
fn check_console(client: &Client) {
    for path in ["/api/threats", "/api/plans", "/api/receipts", "/api/dashboard"] {
        assert_eq!(client.ask(path, None).unwrap().0, 200, "{path}");
    }
    let health = || client.ask("/api/health", None).unwrap().1;
    assert_eq!((&health()["status"], &health()["kill_switch"]), (&json!("ok"), &json!(false)));
    let engaged = client.ask("/api/kill-switch", Some(json!({ "engaged": true, "by": "test" }))).unwrap();
    assert_eq!(engaged.0, 202, "{engaged:?}");
    assert_eq!(health()["kill_switch"], true);
}
