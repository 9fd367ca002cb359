//! `prunella up` with a cloud to act on: a record comes in by the API, and a key at the provider goes out of use and back.

use crate::connectors::moto;
use crate::program::run;
use crate::records::tampering;
use crate::running::{Running, wait_for};
use serde_json::Value;
use tempfile::TempDir;

const ACCOUNT: &str = "123456789012";
const SECRETS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "testing"), ("AWS_SECRET_ACCESS_KEY", "testing")];

/// IAM of the emulator, which looks at nothing but the name of the service.
struct Iam {
    url: String,
    http: reqwest::Client,
    runtime: tokio::runtime::Runtime,
}

impl Iam {
    fn ask(&self, action: &str, more: &str) -> String {
        let scope = "AWS4-HMAC-SHA256 Credential=testing/20260101/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=0";
        let body = format!("Action={action}&Version=2010-05-08&{more}");
        let request = self.http.post(&self.url).header("authorization", scope).body(body);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        self.runtime.block_on(async {
            request.send().await.unwrap().error_for_status().unwrap().text().await.unwrap()
        })
    }

    fn status(&self, user: &str) -> String {
        between(&self.ask("ListAccessKeys", &format!("UserName={user}")), "Status")
    }
}

fn between(text: &str, tag: &str) -> String {
    let rest = text.split_once(&format!("<{tag}>")).unwrap_or_else(|| panic!("no {tag} in {text}")).1;
    rest.split_once('<').unwrap().0.to_owned()
}

#[test]
fn a_running_pipeline_deactivates_a_key_and_gives_it_back() {
    let Some(url) = moto() else { return };
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let iam = Iam { url: url.clone(), http, runtime };
    let user = format!("eve-{}", std::process::id());
    iam.ask("CreateUser", &format!("UserName={user}"));
    let key = between(&iam.ask("CreateAccessKey", &format!("UserName={user}")), "AccessKeyId");
    let (dir, data) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let playbook =
        "id: keys\nmatch:\n  techniques: [T1562]\nactions:\n  - action: aws.key.deactivate\n    mode: auto\n";
    std::fs::create_dir(dir.path().join("playbooks")).unwrap();
    std::fs::write(dir.path().join("playbooks/keys.yaml"), playbook).unwrap();
    let text = format!(
        "playbooks_dir = \"{}/playbooks\"\n[response.horizons_ms]\n\"aws.key.deactivate\" = 1000\n\
         [[effector]]\nname = \"prod\"\nkind = \"aws\"\naccount = \"{ACCOUNT}\"\nregion = \"us-east-1\"\nendpoint = \"{url}\"\n",
        dir.path().display()
    );
    let config = dir.path().join("prunella.toml");
    std::fs::write(&config, text).unwrap();
    let up =
        Running::start_with(&data, &["--config", config.to_str().unwrap(), "--response", "auto"], &SECRETS);
    let problems = up.get("/api/health").json()["problems"].to_string();
    assert!(!problems.contains("aws.key.deactivate"), "what it may not do would be said: {problems}");
    let record = tampering(&format!("t-{user}"), &user).to_string();
    let record = record.replace("111122223333", ACCOUNT).replace("AKIAIOSFODNN7EXAMPLE", &key);
    let headers = [("content-type", "application/x-ndjson")];
    assert_eq!(
        up.post("/api/events?source=aws.cloudtrail", &headers, format!("{record}\n").into_bytes()).status,
        202
    );
    let plan = |state: &str| {
        wait_for(&format!("a plan that is {state}"), || {
            let plans = up.cli(&["plans", "list", "-o", "json"]).with(0).json();
            let is_it = |p: &&Value| p["plan"]["action"] == "aws.key.deactivate" && p["to"] == state;
            plans.as_array().unwrap().iter().find(is_it).cloned()
        })
    };
    let verified = plan("verified");
    assert_eq!(verified["plan"]["steps"][0]["operation"], "iam:UpdateAccessKey");
    assert_eq!(iam.status(&user), "Inactive");
    let id = verified["plan_uid"].as_str().unwrap();
    up.cli(&["plans", "rollback", id, "--by", "ann"]).with(0);
    plan("rolled_back");
    assert_eq!(iam.status(&user), "Active");
}

#[test]
fn what_cannot_be_acted_on_is_refused_before_anything_runs() {
    let check = |section: &str, words: &[&str]| {
        let dir = TempDir::new().unwrap();
        let (config, data) = (dir.path().join("prunella.toml"), dir.path().join("data"));
        std::fs::write(&config, section).unwrap();
        let args = ["up", "--listen", "127.0.0.1:0", "--config", config.to_str().unwrap()];
        run(&[&args[..], &["--data-dir", data.to_str().unwrap()]].concat()).with(3).says(words);
    };
    let aws = "[[effector]]\nname = \"prod\"\nkind = \"aws\"\n";
    check("[[effector]]\nname = \"x\"\nkind = \"fax\"\n", &["effector `x`", "acts on no `fax`", "aws"]);
    check(aws, &["`prod`", "twelve digits"]);
    check(&format!("{aws}account = \"{ACCOUNT}\"\n"), &["`prod`", "set `region`"]);
    check(&format!("{aws}secret_access_key = \"x\"\n"), &["unknown field `secret_access_key`"]);
}
