//! Events meet the operator's tables: what they say, what stays, what cannot be read, and that time decides which.

use crate::mmdb::{Double, Flag, List, Map, Number, Text, database};
use crate::{events, record, trail};
use prunella_ingest::enrich::{Config, Files, Memo, Shelf, Table, Tables, Timeline, enrich};
use prunella_ingest::{Ingest, normalize};
use prunella_schemas::{Delivered, Event, Outbox, Stage, Timestamp};
use std::sync::Arc;

pub fn city() -> Vec<u8> {
    let names = |name| Map(vec![("names", Map(vec![("en", Text(name))]))]);
    let lisbon = vec![
        ("city", names("Lisbon")),
        ("country", Map(vec![("iso_code", Text("PT"))])),
        ("location", Map(vec![("latitude", Double(38.7)), ("longitude", Double(-9.1))])),
        ("subdivisions", List(vec![Map(vec![("iso_code", Text("11"))])])),
    ];
    database(vec![
        ("203.0.113.0/24", Map(lisbon)),
        ("2001:db8::/32", Map(vec![("registered_country", Map(vec![("iso_code", Text("NZ"))]))])),
        ("198.51.100.0/25", Map(vec![("country", Text("a shape of its own"))])),
    ])
}

pub fn asn() -> Vec<u8> {
    let system = |number, name| {
        Map(vec![
            ("autonomous_system_number", Number(number)),
            ("autonomous_system_organization", Text(name)),
        ])
    };
    database(vec![
        ("203.0.113.0/25", system(64_500, "Example Telecom")),
        ("203.0.113.128/25", system(64_501, "Example Hosting")),
        ("192.0.2.0/24", Map(vec![("is_hosting_provider", Flag(true))])),
    ])
}

const AWS: &str = r#"{"syncToken":"1","prefixes":[
    {"ip_prefix":"52.0.0.0/15","region":"us-east-1","service":"AMAZON","network_border_group":"us-east-1"},
    {"ip_prefix":"52.0.0.0/15","region":"us-east-1","service":"EC2","network_border_group":"us-east-1"},
    {"ip_prefix":"52.0.7.0/24","region":"eu-west-1","service":"AMAZON","network_border_group":"eu-west-1"}],
    "ipv6_prefixes":[{"ipv6_prefix":"2600:1f00::/24","region":"GLOBAL","service":"S3"}]}"#;
const AZURE: &str = r#"{"changeNumber":7,"cloud":"Public","values":[
    {"name":"AzureCloud","id":"AzureCloud","properties":{"region":"","systemService":"","addressPrefixes":["20.0.0.0/11"]}},
    {"name":"Storage.WestEurope","id":"Storage.WestEurope","properties":{"region":"westeurope","systemService":"AzureStorage","addressPrefixes":["20.0.1.0/24"]}}]}"#;
const GCP: &str = r#"{"syncToken":"1","prefixes":[
    {"ipv4Prefix":"34.0.0.0/15","service":"Google Cloud","scope":"europe-west4"},
    {"ipv6Prefix":"2600:1900::/28","service":"Google Cloud","scope":"us-central1"}]}"#;

fn table(name: &str, bytes: impl Into<Vec<u8>>) -> Table {
    Table { name: name.to_owned(), bytes: bytes.into() }
}

fn networks() -> Tables {
    let files = Files {
        mmdb: vec![table("city.mmdb", city()), table("asn.mmdb", asn())],
        cloud_ranges: vec![table("aws.json", AWS), table("azure.json", AZURE), table("gcp.json", GCP)],
        ..Files::default()
    };
    let config = Config { hosting_asns: vec![64_501], ..Config::default() };
    Tables::build(&config, files).unwrap()
}

fn event_from(address: &str) -> Event {
    let body = trail("e1", "ListBuckets", "2024-07-31T12:29:16Z", "").replace("203.0.113.9", address);
    let mut events = Vec::new();
    normalize(&record("aws.cloudtrail", body), &mut events).unwrap();
    events.remove(0)
}

#[test]
fn an_address_tells_place_system_and_class() {
    let (tables, mut memo) = (networks(), Memo::default());
    let residential = "residential_or_unknown";
    for (address, class, owner, region, service, country, number) in [
        ("203.0.113.9", residential, "Example Telecom", "", "", "PT", 64_500),
        ("203.0.113.200", "hosting", "Example Hosting", "", "", "PT", 64_501),
        ("192.0.2.7", "hosting", "", "", "", "", 0),
        ("2001:db8::1", residential, "", "", "", "NZ", 0),
        ("198.51.100.7", residential, "", "", "", "", 0),
        ("52.0.1.1", "cloud", "AWS", "us-east-1", "EC2", "", 0),
        ("52.0.7.1", "cloud", "AWS", "eu-west-1", "", "", 0),
        ("2600:1f00::1", "cloud", "AWS", "", "S3", "", 0),
        ("20.0.1.9", "cloud", "Azure", "westeurope", "AzureStorage", "", 0),
        ("20.31.255.255", "cloud", "Azure", "", "", "", 0),
        ("34.1.255.255", "cloud", "GCP", "europe-west4", "Google Cloud", "", 0),
        ("2600:1900::5", "cloud", "GCP", "us-central1", "Google Cloud", "", 0),
        ("10.1.2.3", "private", "", "", "", "", 0),
        ("fd00::1", "private", "", "", "", "", 0),
    ] {
        // Twice: what is remembered says the same.
        for _ in 0..2 {
            let mut event = event_from(address);
            enrich(&mut event, &tables, &mut memo);
            let [enrichment] = &event.enrichments[..] else { panic!("{address}: {:?}", event.enrichments) };
            let said = |text: &Option<String>| text.clone().unwrap_or_default();
            let data = &enrichment.data;
            assert_eq!((enrichment.name.as_str(), enrichment.kind.as_str()), ("src_endpoint.ip", "network"));
            assert_eq!((enrichment.value.as_str(), data.class.as_str()), (address, class), "{address}");
            assert_eq!((said(&data.owner), said(&data.region)), (owner.into(), region.into()), "{address}");
            assert_eq!(said(&data.service), service, "{address}");
            let endpoint = event.src_endpoint.unwrap();
            let told = endpoint.location.and_then(|l| l.country).unwrap_or_default();
            let system = endpoint.autonomous_system.and_then(|s| s.number).unwrap_or_default();
            assert_eq!((told.as_str(), system), (country, number), "{address}");
        }
    }
}

#[test]
fn what_the_source_said_stays_and_names_are_no_addresses() {
    let (tables, mut memo) = (networks(), Memo::default());
    let mut event = event_from("203.0.113.9");
    let location = prunella_schemas::ocsf::Location { country: Some("FR".into()), ..Default::default() };
    event.src_endpoint.as_mut().unwrap().location = Some(location.clone());
    let uid = event.prunella.event_uid;
    enrich(&mut event, &tables, &mut memo);
    assert_eq!(event.src_endpoint.unwrap().location, Some(location));
    assert_eq!((event.prunella.event_uid, event.prunella.tables), (uid, Some(tables.id())));

    let mut event = event_from("config.amazonaws.com");
    enrich(&mut event, &tables, &mut memo);
    assert!(event.enrichments.is_empty());
}

#[test]
fn tables_are_named_by_what_is_in_them() {
    let same = Tables::build(&Config { hosting_asns: vec![64_501], ..Config::default() }, Files::default());
    let other = Tables::build(&Config { hosting_asns: vec![64_502], ..Config::default() }, Files::default());
    assert_ne!(same.as_ref().unwrap().id(), other.unwrap().id());
    assert_eq!(networks().id(), networks().id());
    assert_ne!(networks().id(), same.unwrap().id());
}

#[test]
fn the_time_of_the_log_decides_and_not_the_batch() {
    let config = |asn| Config { hosting_asns: vec![asn], ..Config::default() };
    let [old, new] = [1, 2].map(|n| Arc::new(Tables::build(&config(n), Files::default()).unwrap()));
    let timeline = Timeline::of(Arc::clone(&old)).switched(Timestamp(105), Arc::clone(&new));
    let delivered: Vec<_> = (100..110)
        .map(|at| {
            let body = trail(&format!("e{at}"), "ListBuckets", "2024-07-31T12:29:16Z", "");
            let message = record("aws.cloudtrail", body);
            Delivered { message, origin: Timestamp(at), at: Timestamp(at) }
        })
        .collect();
    let step = |size| {
        let (mut stage, mut out) = (Ingest::enriching(Shelf::new(timeline.clone())), Outbox::default());
        delivered.chunks(size).for_each(|batch| stage.step(batch, &mut out));
        out.drain()
    };
    let whole = step(10);
    assert_eq!(step(1), whole);
    assert_eq!(step(3), whole);
    let used: Vec<_> = events(&whole).iter().map(|event| event.prunella.tables.unwrap()).collect();
    assert_eq!(used, [[old.id(); 5], [new.id(); 5]].concat());
}

#[test]
fn what_cannot_be_read_is_named_with_its_place_and_what_to_do() {
    let whole = city();
    let mut bent = whole.clone();
    // Into the node of the first bit: a record that points nowhere.
    bent[..6].fill(0xFE);
    let refused = |files: Files| Tables::build(&Config::default(), files).unwrap_err().to_string();
    let mmdb = |bytes: &[u8]| refused(Files { mmdb: vec![table("x.mmdb", bytes)], ..Files::default() });
    for bytes in [&b""[..], b"<html>rate limited</html>", &whole[..whole.len() / 2], &bent] {
        let said = mmdb(bytes);
        assert!(said.starts_with("table `x.mmdb`"), "{said}");
        assert!(said.contains("not a MaxMind database: "), "{said}");
        assert!(said.ends_with("; give the `.mmdb` file itself, unpacked and whole"), "{said}");
    }
    let mut odd = whole;
    let at = odd.windows(10).position(|word| word == b"ip_version").unwrap() + 10;
    // A text of two bytes where a number belongs.
    odd[at] = 2 << 5 | 2;
    assert!(mmdb(&odd).starts_with("table `x.mmdb`, byte "), "{}", mmdb(&odd));
    let ranges =
        |text: &[u8]| refused(Files { cloud_ranges: vec![table("r.json", text)], ..Files::default() });
    for (text, want) in [
        (&b"{\"prefixes\":[\n{]}"[..], "table `r.json`, line 2, column 2: key must be a string"),
        (
            b"[]",
            "table `r.json`: it is none of AWS `ip-ranges.json`, Azure `ServiceTags`, Google `cloud.json`",
        ),
        (b"{\"prefixes\":\"\xFF\"}", "table `r.json`, byte 13: it is not UTF-8 text"),
        (
            br#"{"prefixes":[{"ipv4Prefix":"1.2.3.0/24"},{"ipv4Prefix":"1.2.3/24"}]}"#,
            "table `r.json`, entry 2: `1.2.3/24` is no block of addresses",
        ),
    ] {
        let said = ranges(text);
        assert!(said.starts_with(want), "{said}");
    }
}
