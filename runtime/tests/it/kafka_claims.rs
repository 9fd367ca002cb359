//! Owners of a lane over Kafka: what one takes over from another, and what the group hears when one breaks.

use crate::broker_or_skip;
use crate::kafka::{Numbering, create, live_until, produce, read, settings, text};
use prunella_runtime::log::kafka::{FailPoint, KafkaPump};
use prunella_schemas::Topic;
use rdkafka::Message as _;
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::config::ClientConfig;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Else what an earlier owner says when it wakes would count for the one after us.
#[test]
fn a_claim_says_again_what_it_took_over() {
    let brokers = broker_or_skip!();
    let here = settings(&brokers, "heir");
    create(&here);
    let sent = produce(&brokers, &here.topic(Topic::Records), 0..100) as u64;
    let pump = KafkaPump::new(here.clone(), Numbering::default);
    live_until(&pump, || pump.counts().consumed.load(Ordering::Relaxed) == sent);
    // Of each lane and claim, what was said.
    let entries = || {
        let mut said = BTreeSet::new();
        read(&here, Topic::Manifest, |message| {
            let key = text(message.key().unwrap());
            let entry = key.rsplit_once('/').filter(|(_, claim)| claim.parse::<i64>().is_ok());
            if let (Some((lane, claim)), Some(body)) = (entry, message.payload())
                && lane.matches('/').count() == 2
            {
                said.insert((lane.to_owned(), claim.to_owned(), text(body)));
            }
        });
        said
    };
    let before = entries();
    let mut dying = here.clone();
    dying.fault = Some(Arc::new(|at, _| at == FailPoint::Restored));
    KafkaPump::new(dying, Numbering::default).run(&AtomicBool::new(false)).unwrap_err();
    let after = entries();
    let new: Vec<_> = after.difference(&before).collect();
    assert!(!new.is_empty(), "nothing was said under the new claims: {after:#?}");
    for (lane, claim, body) in new {
        let inherits = |(theirs, earlier, said): &(String, String, String)| {
            theirs == lane && earlier != claim && said == body
        };
        assert!(before.iter().any(inherits), "{lane}/{claim} says {body} after {before:#?}");
    }
}

#[test]
fn a_panic_in_a_lane_is_an_error_of_the_group() {
    let brokers = broker_or_skip!();
    let mut here = settings(&brokers, "panic");
    create(&here);
    produce(&brokers, &here.topic(Topic::Records), 0..10);
    here.fault = Some(Arc::new(|at, _| match at {
        FailPoint::Stepped => panic!("as a defect would"),
        _ => false,
    }));
    let error = KafkaPump::new(here, Numbering::default).run(&AtomicBool::new(false)).unwrap_err();
    assert!(error.to_string().contains("panicked"), "{error}");
}

#[test]
fn a_topic_that_was_made_anew_is_not_skipped_in_silence() {
    let brokers = broker_or_skip!();
    let here = settings(&brokers, "anew");
    create(&here);
    let input = here.topic(Topic::Records);
    let sent = produce(&brokers, &input, 0..100) as u64;
    let pump = KafkaPump::new(here.clone(), Numbering::default);
    live_until(&pump, || pump.counts().consumed.load(Ordering::Relaxed) == sent);
    let admin: AdminClient<_> = ClientConfig::new().set("bootstrap.servers", &brokers).create().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(admin.delete_topics(&[&input], &AdminOptions::new())).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    create(&here);
    produce(&brokers, &input, 0..40);
    let error = pump.run(&AtomicBool::new(false)).unwrap_err();
    assert!(error.to_string().contains("was made anew"), "{error}");
}
