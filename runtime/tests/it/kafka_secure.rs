//! The broker's second door, which wants TLS and a password: who has both is let in, anybody else is told what is wrong.

use crate::kafka::{Numbering, create, live_until, outputs, send, settings};
use prunella_runtime::log::kafka::{KafkaPump, Settings, check};
use prunella_schemas::Topic;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// However loaded the machine is.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// One of the services that `cargo xtask services up` has started and that speaks TLS.
pub struct Guarded {
    pub address: String,
    /// `host:port` where it speaks TLS.
    pub tls: String,
    /// The certificate of its authority.
    pub authority: String,
    pub password: String,
}

pub fn guarded(name: &str) -> Option<Guarded> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/services/services.json");
    let services: Vec<serde_json::Value> = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    let found = services.iter().find(|s| s["name"] == name)?;
    let password = found["secrets"]["prunella"].as_str().and_then(|file| std::fs::read_to_string(file).ok());
    Some(Guarded {
        address: found["address"].as_str()?.to_owned(),
        tls: found["tls"]["address"].as_str()?.to_owned(),
        authority: found["tls"]["authority"].as_str()?.to_owned(),
        password: password.unwrap_or_default().trim().to_owned(),
    })
}

#[macro_export]
macro_rules! guarded_or_skip {
    ($name:expr) => {
        match $crate::kafka_secure::guarded($name) {
            Some(guarded) => guarded,
            None => {
                eprintln!("SKIPPED: no {} with TLS runs here; `cargo xtask services up` starts one", $name);
                return;
            }
        }
    };
}

/// Fails unless the error says all of the words soon, and no secret.
#[track_caller]
#[allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "how soon somebody is told is what this measures"
)]
fn refused(here: &Settings, words: &[&str], secret: &str) {
    let since = Instant::now();
    let said = runtime().block_on(check(here)).unwrap_err().to_string();
    eprintln!("after {} ms: {said}", since.elapsed().as_millis());
    assert!(words.iter().all(|word| said.contains(word)), "{words:?} are not in {said}");
    assert!(!said.contains(secret) && !said.contains("s3cret"), "{said}");
    assert!(since.elapsed() < ANSWER_MAX, "told after {:?}", since.elapsed());
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

/// With other properties; an empty value takes one away.
fn with(here: &Settings, brokers: &str, entries: &[(&str, &str)]) -> Settings {
    let mut changed = Settings { brokers: brokers.to_owned(), ..here.clone() };
    for (name, value) in entries {
        changed.properties.retain(|(known, _)| known != name);
        changed.properties.push(((*name).into(), (*value).into()));
    }
    changed.properties.retain(|(_, value)| !value.is_empty());
    changed
}

/// Which door, what is wrong, and the words that must be said.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str]);

#[test]
fn who_has_no_key_to_the_door_is_told_what_is_wrong_within_seconds() {
    let door = guarded_or_skip!("kafka");
    if !cfg!(feature = "kafka-tls") {
        eprintln!("SKIPPED: TLS to Kafka needs a build with `--features kafka-tls`");
        return;
    }
    let other = guarded_or_skip!("postgres");
    let open = settings(&door.address, "secure");
    create(&open);
    let right = [
        ("security.protocol", "SASL_SSL"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.username", "prunella"),
        ("sasl.password", door.password.as_str()),
        ("ssl.ca.location", door.authority.as_str()),
    ];
    let here = with(&open, &door.tls, &right);
    assert_eq!(runtime().block_on(check(&here)), Ok(()));
    let (credentials, protocol) = ("does not let us in", "do not speak the same protocol");
    let untrusted = "do not trust the certificate";
    let (tls, plain) = (&door.tls, &door.address);
    let cases: [Case<'_>; 11] = [
        (tls, &[("sasl.password", "s3cret")], &[credentials, "kafka.sasl_password_file"]),
        (tls, &[("sasl.username", "mallory")], &[credentials, "kafka.sasl_username"]),
        (tls, &[("sasl.mechanism", "SCRAM-SHA-512")], &[credentials, "sasl.mechanism"]),
        (tls, &[("security.protocol", "PLAINTEXT")], &[protocol, "security.protocol"]),
        (tls, &[("security.protocol", "SASL_PLAINTEXT")], &[protocol, "security.protocol"]),
        (tls, &[("security.protocol", "SSL")], &[protocol, "security.protocol"]),
        (tls, &[("ssl.ca.location", &other.authority)], &[untrusted, "ssl.ca.location"]),
        (tls, &[("ssl.ca.location", "")], &[untrusted, "ssl.ca.location"]),
        (tls, &[("ssl.ca.location", "/no/such/file")], &["does not take the settings", "ssl.ca.location"]),
        (plain, &[], &[protocol, "security.protocol"]),
        (plain, &[("security.protocol", "SSL")], &[protocol, "security.protocol"]),
    ];
    std::thread::scope(|scope| {
        for (brokers, entries, words) in cases {
            let (here, door) = (&here, &door);
            scope.spawn(move || refused(&with(here, brokers, entries), words, &door.password));
        }
    });
    let records: Vec<_> = (0..300).map(|n| (format!("k{n}"), format!("record {n}"))).collect();
    send(&open.brokers, &open.topic(Topic::Records), &records, "test");
    let pump = KafkaPump::new(here, Numbering::default);
    live_until(&pump, || pump.counts().produced.load(Ordering::Relaxed) == 600);
    assert_eq!(outputs(&open, Topic::Risk).0.len(), 300, "and whoever is let in works as ever");
}
