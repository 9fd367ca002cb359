//! Lists of the operator: indicators, identities, assets; what of them is used, what is not, and what is refused.

use crate::{record, trail};
use prunella_ingest::enrich::{Attribute, Config, Files, IdentityRule, Memo, Table, Tables, enrich};
use prunella_ingest::normalize;
use prunella_schemas::ocsf::{File, Fingerprint, Resource, Url};
use prunella_schemas::{Event, Principal, Tag, Timestamp};

fn table(name: &str, text: &str) -> Vec<Table> {
    vec![Table { name: name.to_owned(), bytes: text.as_bytes().to_vec() }]
}

fn indicators(name: &str, text: &str) -> Result<Tables, String> {
    let files = Files { indicators: table(name, text), ..Files::default() };
    Tables::build(&Config::default(), files).map_err(|e| e.to_string())
}

fn event() -> Event {
    let mut events = Vec::new();
    let body = trail("e1", "ListBuckets", "2024-07-31T12:29:16Z", "");
    normalize(&record("aws.cloudtrail", body), &mut events).unwrap();
    events.remove(0)
}

fn met(tables: &Tables, change: impl Fn(&mut Event)) -> Vec<(String, String)> {
    let mut event = event();
    change(&mut event);
    enrich(&mut event, tables, &mut Memo::default());
    assert_eq!(event.metadata.profiles.iter().any(|p| *p == "osint"), !event.osint.is_empty());
    assert!(event.osint.iter().all(|o| o.type_id > 0 && !o.value.is_empty() && o.vendor_name.is_some()));
    event.osint.iter().map(|o| (o.name.to_string(), o.value.clone())).collect()
}

fn pairs(want: &[(&str, &str)]) -> Vec<(String, String)> {
    want.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

const SHA256: &str = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

#[test]
fn a_plain_list_is_met_by_addresses_domains_and_hashes() {
    let list = format!(
        "# a feed\n203.0.113.9 scanner\n198.51.100.0/24\n2001:db8::/32,ignored\nevil[.]example\n{SHA256}\n"
    );
    let tables = indicators("feeds/bad.txt", &list).unwrap();
    assert_eq!(tables.notes(), [""; 0]);
    let at = |ip: &'static str| {
        move |event: &mut Event| event.src_endpoint.as_mut().unwrap().ip = Some(ip.to_owned())
    };
    assert_eq!(met(&tables, at("203.0.113.9")), pairs(&[("src_endpoint.ip", "203.0.113.9")]));
    assert_eq!(met(&tables, at("198.51.100.77")), pairs(&[("src_endpoint.ip", "198.51.100.0/24")]));
    assert_eq!(met(&tables, at("2001:db8::7")), pairs(&[("src_endpoint.ip", "2001:db8::/32")]));
    assert_eq!(met(&tables, at("203.0.113.8")), pairs(&[]));
    let host = |host: &'static str| {
        move |event: &mut Event| {
            event.src_endpoint.as_mut().unwrap().ip = None;
            let url = Url { hostname: Some(host.to_owned()), ..Url::default() };
            event.http_request.as_mut().unwrap().url = Some(url);
        }
    };
    let host_met = pairs(&[("http_request.url.hostname", "evil.example")]);
    assert_eq!(met(&tables, host("evil.example")), host_met);
    assert_eq!(met(&tables, host("C2.Evil.Example.")), host_met, "a domain stands for what lies in it");
    assert_eq!(met(&tables, host("notevil.example")), pairs(&[]));
    let file = |event: &mut Event| {
        event.src_endpoint = None;
        let print = Fingerprint { value: SHA256.to_uppercase(), ..Fingerprint::default() };
        event.file = Some(File { name: "x".into(), hashes: vec![print], ..File::default() });
    };
    assert_eq!(met(&tables, file), pairs(&[("file.hashes.value", SHA256)]));
}

/// A bundle with one indicator for each pattern; `more` goes into the first.
fn bundle(more: &str, patterns: &[&str]) -> String {
    let objects = patterns.iter().enumerate().map(|(n, pattern)| {
        let more = if n == 0 { more } else { "" };
        let pattern = serde_json::to_string(pattern).unwrap();
        format!(
            r#"{{"type":"indicator","spec_version":"2.1","id":"indicator--{n}","name":"Botnet {n}",{more}
               "pattern":{pattern},"pattern_type":"stix","valid_from":"2024-01-01T00:00:00Z"}}"#
        )
    });
    let objects: Vec<String> =
        [r#"{"type":"identity","id":"identity--1"}"#.to_owned()].into_iter().chain(objects).collect();
    format!(r#"{{"type":"bundle","id":"bundle--1","objects":[{}]}}"#, objects.join(",\n"))
}

#[test]
fn a_bundle_is_met_and_what_takes_more_is_counted_and_named() {
    let text = bundle(
        r#""confidence":85,"indicator_types":["malicious-activity"],"#,
        &[
            "[ipv4-addr:value ISSUBSET '203.0.113.0/24']",
            "[network-traffic:extensions.'http-request-ext'.request_header.'User-Agent' = 'aws-cli/2']",
            "[ipv4-addr:value = '203.0.113.9' AND domain-name:value = 'a.example']",
            "[url:value = 'http://a.example/x']",
            "[ipv4-addr:value = '10.0.0.1' OR ipv4-addr:value = '0.0.0.0/0']",
        ],
    );
    let tables = indicators("stix.json", &text).unwrap();
    let want = pairs(&[("src_endpoint.ip", "203.0.113.0/24"), ("http_request.user_agent", "aws-cli/2")]);
    assert_eq!(met(&tables, |_| {}), want);
    let mut event = event();
    enrich(&mut event, &tables, &mut Memo::default());
    let first = &event.osint[0];
    assert_eq!((first.confidence_id, first.uid.as_deref()), (Some(3), Some("indicator--0")));
    assert_eq!(
        (first.desc.as_deref(), &first.labels[..]),
        (Some("Botnet 0"), &["malicious-activity".to_owned()][..])
    );
    let [note] = tables.notes() else { panic!("{:?}", tables.notes()) };
    for want in [
        "`stix.json`: 2 indicators used; not used: ",
        "1 several comparisons together (first: indicator--2)",
        "1 compare an attribute that events do not have (first: indicator--3, `url:value`)",
        "1 addresses are private (first: indicator--4, `ipv4-addr:value`)",
        "1 blocks are too wide (first: indicator--4, `ipv4-addr:value`)",
    ] {
        assert!(note.contains(want), "{want}\n{note}");
    }
}

#[test]
fn an_indicator_ends_when_it_says_so_by_the_time_of_the_event() {
    let pattern = ["[ipv4-addr:value = '203.0.113.9']"];
    let text = bundle(r#""valid_until":"2024-07-31T12:29:17Z","#, &pattern);
    let tables = indicators("stix.json", &text).unwrap();
    assert_eq!(met(&tables, |_| {}).len(), 1);
    assert_eq!(met(&tables, |event| event.time = event.time.plus_ms(1_000)).len(), 0);
    let revoked = indicators("stix.json", &bundle(r#""revoked":true,"#, &pattern)).unwrap();
    assert_eq!((met(&revoked, |_| {}).len(), revoked.notes().len()), (0, 1));
}

#[test]
fn lists_that_do_not_read_are_refused_with_their_place() {
    let bad_pattern = bundle("", &["[ipv4-addr:value '1.2.3.4']"]);
    let bad_time = bundle(r#""valid_until":"soon","#, &["[ipv4-addr:value = '203.0.113.9']"]);
    for (text, want) in [
        ("{\"type\":\"bundle\",\n\"objects\":[{}]}", "table `x`, line 2, column 13: missing field `type`"),
        ("{\"type\":\"report\"}", "table `x`: its `type` is `report`, not `bundle`"),
        (bad_pattern.as_str(), "table `x`, entry 2: `indicator--0`: byte 17 of the pattern: a comparison"),
        (bad_time.as_str(), "table `x`, entry 2: `indicator--0`: `valid_until` is `soon`, not a time"),
        ("one\ntwo\n", "table `x`: no line is an address, a block, a domain or a hash"),
    ] {
        let said = indicators("x", text).unwrap_err();
        assert!(said.starts_with(want), "{said}");
    }
    let partly = indicators("x", "203.0.113.9\nwhat is this\n").unwrap();
    let want = "`x`: 1 indicators used; not used: 1 lines are neither address, block, domain nor hash (first: line 2, `what`)";
    assert_eq!(partly.notes(), [want]);
}

const PEOPLE_CSV: &str = "principal,entity\naws:user:arn:aws:iam::123456789012:user/ann,ann@example.com\n\
                          gcp:user:ann@example.com,ann@example.com\n";
const PEOPLE_YAML: &str =
    "- entity: ann@example.com\n  principals:\n    - azure:user:t1:0af3\n    - gcp:user:ann@example.com\n";

fn rule(attribute: Attribute, pattern: &str, entity: &str) -> IdentityRule {
    IdentityRule { attribute, pattern: pattern.to_owned(), entity: entity.to_owned() }
}

#[test]
fn one_person_is_one_entity_in_every_cloud() {
    let rules = vec![
        rule(
            Attribute::UserUid,
            "*:assumed-role/AWSReservedSSO_*/{person}@example.com",
            "{person}@example.com",
        ),
        rule(Attribute::UserEmail, "{person}@example.com", "{person}@example.com"),
        rule(Attribute::Principal, "aws:role:*", "machines"),
    ];
    let files = Files {
        identities: [table("p.csv", PEOPLE_CSV), table("p.yaml", PEOPLE_YAML)].concat(),
        ..Files::default()
    };
    let tables = Tables::build(&Config { identity: rules, ..Config::default() }, files).unwrap();
    let of = |principal: &str, uid: &str, email: &str| {
        let mut event = event();
        event.prunella.principal = Principal::from_key(principal);
        let user = event.actor.as_mut().unwrap().user.as_mut().unwrap();
        (user.uid, user.email_addr) = (Some(uid.to_owned()), Some(email.to_owned()));
        enrich(&mut event, &tables, &mut Memo::default());
        event.prunella.entity_uid.unwrap_or_default()
    };
    let session = "arn:aws:sts::123456789012:assumed-role/AWSReservedSSO_Admin_1/Ann@example.com";
    for (principal, uid, email, want) in [
        ("aws:user:arn:aws:iam::123456789012:user/ann", "", "", "ann@example.com"),
        ("azure:user:t1:0af3", "", "", "ann@example.com"),
        ("gcp:user:ann@example.com", "", "bob@example.com", "ann@example.com"),
        ("aws:role:x", session, "", "ann@example.com"),
        ("aws:role:x", "", "", "machines"),
        ("azure:user:t1:77", "", "Bob.Lee@example.com", "bob.lee@example.com"),
        ("azure:user:t1:77", "", "bob@elsewhere.example", ""),
    ] {
        assert_eq!(of(principal, uid, email), want, "{principal} {uid} {email}");
    }
}

#[test]
fn conflicts_and_mistakes_are_said_at_the_start() {
    let build = |rules: Vec<IdentityRule>, name: &str, text: &str, more: &str| {
        let mut identities = table(name, text);
        if !more.is_empty() {
            identities.extend(table("more.csv", more));
        }
        let files = Files { identities, ..Files::default() };
        Tables::build(&Config { identity: rules, ..Config::default() }, files).map_err(|e| e.to_string())
    };
    let other = "principal,entity\ngcp:user:ann@example.com,bob@example.com\n";
    for (rules, name, text, more, want) in [
        (
            vec![],
            "p.csv",
            PEOPLE_CSV,
            other,
            "table `more.csv`, line 2: `gcp:user:ann@example.com` is `bob@example.com` here and `ann@example.com` in `p.csv`, line 3",
        ),
        (
            vec![],
            "p.csv",
            "who,entity\n",
            "",
            "table `p.csv`, line 1: its first line is not `principal,entity`",
        ),
        (
            vec![],
            "p.csv",
            "principal,entity\na\n",
            "",
            "table `p.csv`, line 2: the row has 1 columns; the first line names 2",
        ),
        (vec![], "p.yaml", "- entity: x\n  people: []\n", "", "table `p.yaml`: unknown field `people`"),
        (
            vec![rule(Attribute::UserName, "{a}", "{b}")],
            "p.csv",
            PEOPLE_CSV,
            "",
            "table `[[enrich.identity]]`, entry 1: `entity` has `{b}`, which `match` does not name",
        ),
        (
            vec![rule(Attribute::UserName, "**", "b")],
            "p.csv",
            PEOPLE_CSV,
            "",
            "table `[[enrich.identity]]`, entry 1: `match` is `**`: two gaps",
        ),
    ] {
        let said = build(rules, name, text, more).unwrap_err();
        assert!(said.contains(want) || said.starts_with(want), "{said}");
    }
    let rules = vec![rule(Attribute::Principal, "gcp:user:{who}@example.com", "{who}")];
    let overruled = build(rules, "p.csv", PEOPLE_CSV, "").unwrap();
    let want = "`p.csv`, line 3: `gcp:user:ann@example.com` is `ann@example.com`, though a rule says `ann`; the map counts";
    assert_eq!(overruled.notes(), [want]);
}

#[test]
fn resources_carry_what_is_known_of_them() {
    let csv = "match,criticality,data_class,owner\narn:aws:s3:::pay*,high,pii,finance\narn:aws:s3:::payroll-test*,low,,\n";
    let yaml = "- match: arn:aws:s3:::payroll\n  criticality: critical\n  tags: {data_class: salary}\n";
    let files = Files { assets: [table("a.csv", csv), table("a.yaml", yaml)].concat(), ..Files::default() };
    let tables = Tables::build(&Config::default(), files).unwrap();
    let tag = |name: &str, value: &str| Tag { name: name.into(), value: value.into() };
    for (uid, criticality, tags) in [
        ("arn:aws:s3:::payroll", Some("critical"), vec![tag("data_class", "salary")]),
        ("arn:aws:s3:::payments/x", Some("high"), vec![tag("data_class", "pii"), tag("owner", "finance")]),
        ("arn:aws:s3:::payroll-test-1", Some("low"), vec![]),
        ("arn:aws:s3:::other", None, vec![]),
    ] {
        let mut event = event();
        event.resources = vec![Resource { uid: Some(uid.to_owned()), ..Resource::default() }];
        enrich(&mut event, &tables, &mut Memo::default());
        let resource = &event.resources[0];
        assert_eq!((resource.criticality.as_deref(), &resource.tags), (criticality, &tags), "{uid}");
    }
    let refused = |name: &str, text: &str| {
        let files = Files { assets: table(name, text), ..Files::default() };
        Tables::build(&Config::default(), files).unwrap_err().to_string()
    };
    for (name, text, want) in [
        ("a.csv", "match,criticality\nx*,high\nx*,low\n", "line 3: `x*` stands in `a.csv`, line 2, too"),
        ("a.csv", "match,owner\nx,y\n", "line 1: the first columns are not `match` and `criticality`"),
        ("a.yaml", "- match: '{a}'\n", "line 1: `{a}`: a name in braces means nothing here"),
        ("a.yaml", "- criticality: high\n", "missing field `match`"),
    ] {
        assert!(refused(name, text).contains(want), "{}", refused(name, text));
    }
}

#[test]
fn what_is_enriched_survives_its_wire_form_and_names_no_time_but_the_events() {
    let tables = indicators("bad.txt", "203.0.113.9\n").unwrap();
    let mut enriched = event();
    enrich(&mut enriched, &tables, &mut Memo::default());
    assert_eq!(enriched.time, Timestamp(1_722_428_956_000));
    let json = serde_json::to_string(&enriched).unwrap();
    assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), enriched);
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    // OCSF requires these of `osint`.
    assert_eq!(
        (&value["osint"][0]["type_id"], &value["osint"][0]["value"]),
        (&1.into(), &"203.0.113.9".into())
    );
    assert_eq!(value["osint"][0]["type"], "IP Address");
}
