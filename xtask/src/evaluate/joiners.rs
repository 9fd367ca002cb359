//! Joiners: benign newcomers, so that to be new is not by itself an attack.

use super::callers::{ADMINISTRATORS, administrators, user};
use super::mix::{
    DAY_MS, Disguise, Label, Line, PAIR_CHANCE, RECORD_CHANCE, Sources, TEST_DAYS, TRAINING_DAYS,
    UNLABELLED_CHANCE, WORK_MS, WORK_STARTS_MS, calendar_days, happened, line,
};
use crate::random::Random;
use prunella_schemas::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;

/// Working days between two roles that join.
const JOIN_DAYS: i64 = 2;
/// The number in the name of the administrator who joins.
const JOINED_ADMINISTRATOR: usize = 99;

/// Twins of roles, each from a day of its own on; and, in the middle of the test days, one more administrator.
pub fn joiners(
    sources: &Sources,
    start: Timestamp,
    names: &BTreeMap<String, String>,
    random: &mut Random,
) -> Vec<Line> {
    let origin = sources.benign.iter().filter_map(happened).min().unwrap_or_default();
    let roles: Vec<&String> = names.keys().collect();
    let days = TRAINING_DAYS + TEST_DAYS;
    let mut lines = Vec::new();
    for (number, joined) in (JOIN_DAYS..days).step_by(JOIN_DAYS as usize).enumerate() {
        let Some(twin) = roles.get(random.below(roles.len().max(1))) else { return lines };
        let mut names = names.clone();
        names.insert((*twin).clone(), format!("joiner-{number:02}"));
        let issuer =
            |record: &&Value| record["userIdentity"]["sessionContext"]["sessionIssuer"]["userName"] == **twin;
        let records: Vec<&Value> = sources.benign.iter().filter(issuer).collect();
        for day in joined..days {
            let within = WORK_STARTS_MS + random.below(WORK_MS as usize) as i64;
            for record in &records {
                if random.chance(PAIR_CHANCE * RECORD_CHANCE) {
                    let late = happened(record).unwrap_or(origin).since_ms(origin);
                    let time = start.plus_ms(calendar_days(day) * DAY_MS + within + late);
                    lines.push(line(record, time, Label::Benign, Disguise::default(), &names));
                }
            }
        }
    }
    let administrators = administrators(sources, names);
    let address = administrators.first().and_then(|known| known.addresses.first()).map(String::as_str);
    for day in TRAINING_DAYS + TEST_DAYS / 2..days {
        for record in &sources.unlabelled {
            let within = WORK_STARTS_MS + random.below(WORK_MS as usize) as i64;
            if random.chance(UNLABELLED_CHANCE / ADMINISTRATORS as f64) {
                let identity = Some(user(JOINED_ADMINISTRATOR));
                let time = start.plus_ms(calendar_days(day) * DAY_MS + within);
                let disguise = Disguise { identity, address, agent: None };
                lines.push(line(record, time, Label::Unlabelled, disguise, names));
            }
        }
    }
    lines
}
