//! Callers: the principals of the mix that have a past and keys that can be stolen.

use super::mix::{Sources, address, principal};
use super::rewrite::ACCOUNT;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// People who do what the unlabelled records tell.
pub const ADMINISTRATORS: usize = 4;
/// A principal with fewer records has no past worth stealing.
const VICTIM_RECORDS_MIN: usize = 5;

/// Somebody with a past, who can be robbed.
pub struct Caller {
    pub identity: Value,
    pub addresses: Vec<String>,
    pub agents: Vec<String>,
}

/// Roles of the customer that call from an address; nobody holds the keys of AWS's own.
pub fn roles(sources: &Sources) -> Vec<Caller> {
    let mut roles: BTreeMap<&str, (usize, Vec<&Value>)> = BTreeMap::new();
    for record in &sources.benign {
        let (count, calls) = roles.entry(principal(record)).or_default();
        *count += 1;
        calls.extend(address(record).map(|_| record));
    }
    roles.retain(|_, (count, calls)| *count >= VICTIM_RECORDS_MIN && !calls.is_empty());
    let caller = |(_, calls): (usize, Vec<&Value>)| Caller {
        identity: calls.first().map(|record| record["userIdentity"].clone()).unwrap_or_default(),
        addresses: calls.iter().filter_map(|record| address(record)).map(str::to_owned).collect(),
        agents: calls.iter().filter_map(|record| record["userAgent"].as_str()).map(str::to_owned).collect(),
    };
    roles.into_values().map(caller).collect()
}

/// The people who play the unlabelled records, each at one of the addresses of the benign ones.
pub fn administrators(sources: &Sources, names: &BTreeMap<String, String>) -> Vec<Caller> {
    let addresses: BTreeSet<&str> = sources.benign.iter().filter_map(address).collect();
    let agents = |number: usize| {
        let own = sources.unlabelled.iter().skip(number).step_by(ADMINISTRATORS);
        own.filter_map(|record| record["userAgent"].as_str()).map(str::to_owned).collect()
    };
    let caller = |number: usize| Caller {
        identity: user(names.len() + 1 + number),
        addresses: addresses
            .iter()
            .cycle()
            .skip(number)
            .take(1)
            .map(|address| (*address).to_owned())
            .collect(),
        agents: agents(number),
    };
    (0..ADMINISTRATORS).map(caller).collect()
}

pub fn user(number: usize) -> Value {
    let name = format!("principal-{number:02}");
    json!({
        "type": "IAMUser", "userName": name, "accountId": ACCOUNT, "arn": format!("arn:aws:iam::{ACCOUNT}:user/{name}"),
        "principalId": format!("AIDA-EX-{number:08}"), "accessKeyId": format!("AKIA-EX-{number:08}"),
    })
}
