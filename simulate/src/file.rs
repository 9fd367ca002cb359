//! File: background and attack as records to keep, for when there is no pipeline to attack.

use crate::background::{Traffic, background};
use crate::call::mint;
use crate::record::{Verdict, Written, write};
use crate::scenario::{Intensity, Scenario, attack, victim};
use crate::stream;
use prunella_schemas::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, Write};

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Label {
    Attack,
    Background,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    pub scenario: Scenario,
    pub intensity: Intensity,
    pub seed: u64,
    /// When the attack begins; the background ends before it.
    pub attack_time: Timestamp,
    pub attack_events: u64,
    pub background_events: u64,
    /// The principal whose credentials the attacker has; `None` when nobody attacks.
    pub principal: Option<String>,
}

/// Writes background and then attack as NDJSON, in the order of delivery. Every call of the attacker is accepted, since
/// nobody is there to stop it; its records come last and in order.
pub fn write_records(
    traffic: &Traffic,
    scenario: Scenario,
    intensity: Intensity,
    out: &mut dyn Write,
) -> io::Result<Summary> {
    let background = background(traffic);
    let attack = attack_records(traffic, scenario, intensity);
    for written in
        background.iter().map(|delivery| &delivery.written).chain(attack.iter().map(|(_, written)| written))
    {
        out.write_all(&written.body)?;
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(Summary {
        scenario,
        intensity,
        seed: traffic.seed,
        attack_time: traffic.end,
        attack_events: attack.len() as u64,
        background_events: background.len() as u64,
        principal: victim(scenario).map(|identity| identity.principal()),
    })
}

/// What each record that [`write_records`] writes is, by CloudTrail's `eventID`.
pub fn labels(traffic: &Traffic, scenario: Scenario, intensity: Intensity) -> BTreeMap<String, Label> {
    let background =
        background(traffic).into_iter().map(|delivery| (delivery.written.event_id, Label::Background));
    let attack = attack_records(traffic, scenario, intensity);
    background.chain(attack.into_iter().map(|(_, written)| (written.event_id, Label::Attack))).collect()
}

/// The attack as it happens when every call is accepted, with its times.
pub fn attack_records(
    traffic: &Traffic,
    scenario: Scenario,
    intensity: Intensity,
) -> Vec<(Timestamp, Written)> {
    let mut rng = stream(traffic.seed, &format!("attack record {}", traffic.end.0), 0);
    let (mut time, mut session) = (traffic.end, None);
    let calls = attack(scenario, intensity, traffic.seed, traffic.end);
    let records = calls.into_iter().map(|mut call| {
        time = time.plus_ms(i64::try_from(call.delay_ms).unwrap_or(i64::MAX));
        if let (Some(token), Some(opened)) = (&mut call.token, &session) {
            token.clone_from(opened);
        }
        session = mint(&call, time).or(session.take());
        let failed = call.is_sign_in() && call.failure.is_some();
        (time, write(&call, time, if failed { Verdict::Failed } else { Verdict::Accepted }, &mut rng))
    });
    records.collect()
}
