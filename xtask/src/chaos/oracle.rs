//! The oracle: what a data directory holds, read from its files alone, and what must be true of it.

use super::stream::Counts;
use anyhow::Context;
use prunella_schemas::Id;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Topics as the log numbers them: `topic_number` in `runtime/src/log/sqlite.rs`.
const EVENTS: i64 = 2;
const FINDINGS: i64 = 5;
const PLANS: i64 = 7;
/// States in which a plan has nothing to do by itself any more.
const SETTLED: [&str; 9] = [
    "observed",
    "dry_run",
    "refused",
    "awaiting_approval",
    "rejected",
    "failed",
    "verified",
    "escalated",
    "rolled_back",
];
/// States that only a crash, or its timing, brings a plan through.
const BY_CRASH: [&str; 1] = ["unknown"];

pub type Uid = Vec<u8>;

/// Everything of a data directory that the oracle looks at.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Holdings {
    /// How often each event is stored, and a hash of what it says but for when it was received.
    pub events: BTreeMap<Uid, (u64, Id)>,
    /// Events as counted for the front page.
    pub events_counted: i64,
    pub events_by_minute: i64,
    /// The bytes of each stored finding; a second one under the same id is a second element.
    pub findings: BTreeMap<Uid, Vec<String>>,
    pub findings_counted: i64,
    /// Reason and source of each dead letter.
    pub dead_letters: BTreeMap<Uid, Vec<(String, String)>>,
    /// How often each id stands on the log, per topic.
    pub logged: BTreeMap<i64, BTreeMap<Uid, u64>>,
    /// Per action key, the states its plans went through.
    pub plans: BTreeMap<String, BTreeSet<String>>,
    /// Plans in a state in which they do not stay.
    pub unsettled: u64,
    pub transitions: u64,
    /// Per action key, the entries of the ledger that say "applied", and the instants from which tokens count.
    pub applied: BTreeMap<String, Vec<Revocation>>,
    pub ledger_transitions: u64,
    /// Orders without a reply.
    pub pending: u64,
    /// Principal, instant, version.
    pub tokens: BTreeMap<String, (i64, u64)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revocation {
    pub principal: String,
    pub not_before: Option<i64>,
}

impl Holdings {
    /// Reads a data directory on which nothing runs.
    pub fn read(data: &Path) -> anyhow::Result<Self> {
        let mut held = Holdings::default();
        held.read_store(&open(data, "store.db")?).context("store.db")?;
        held.read_log(&open(data, "log.db")?).context("log.db")?;
        held.read_ledger(&open(data, "ledger.db")?).context("ledger.db")?;
        held.read_state(&open(data, "state.db")?).context("state.db")?;
        Ok(held)
    }

    fn read_store(&mut self, store: &Connection) -> anyhow::Result<()> {
        each(store, "SELECT uid, bytes FROM event", |row| {
            let (uid, text): (Uid, String) = (row.get(0)?, row.get(1)?);
            let entry = self.events.entry(uid).or_default();
            *entry = (entry.0 + 1, timeless(&text));
            Ok(())
        })?;
        each(store, "SELECT uid, bytes FROM finding ORDER BY uid, bytes", |row| {
            self.findings.entry(row.get(0)?).or_default().push(row.get(1)?);
            Ok(())
        })?;
        each(store, "SELECT uid, operation, principal FROM dead_letter", |row| {
            self.dead_letters.entry(row.get(0)?).or_default().push((row.get(1)?, row.get(2)?));
            Ok(())
        })?;
        each(store, "SELECT bytes FROM transition ORDER BY plan_uid, sequence", |row| {
            let transition = json(&row.get::<_, String>(0)?);
            let (key, to) = (word(&transition["plan"]["action_key"]), word(&transition["to"]));
            self.plans.entry(key).or_default().insert(to);
            self.transitions += 1;
            Ok(())
        })?;
        self.unsettled = unsettled(store)?;
        let number = |sql| store.query_row(sql, [], |row| row.get(0));
        self.events_counted = number("SELECT COALESCE(SUM(rows), 0) FROM tally WHERE kind = 'event'")?;
        self.findings_counted = number("SELECT COALESCE(SUM(rows), 0) FROM tally WHERE kind = 'finding'")?;
        self.events_by_minute = number("SELECT COALESCE(SUM(events), 0) FROM minute")?;
        Ok(())
    }

    fn read_log(&mut self, log: &Connection) -> anyhow::Result<()> {
        let mut broken = 0;
        let sql = format!("SELECT topic, bytes FROM batch WHERE topic IN ({EVENTS}, {FINDINGS}, {PLANS})");
        each(log, &sql, |row| {
            let (topic, bytes): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
            let Some(ids) = ids(&bytes) else {
                broken += 1;
                return Ok(());
            };
            let counts = self.logged.entry(topic).or_default();
            ids.into_iter().for_each(|id| *counts.entry(id).or_default() += 1);
            Ok(())
        })?;
        anyhow::ensure!(broken == 0, "{broken} batches do not decode");
        Ok(())
    }

    fn read_ledger(&mut self, ledger: &Connection) -> anyhow::Result<()> {
        each(ledger, "SELECT body FROM entry WHERE kind = 'transition' ORDER BY number", |row| {
            let body: Vec<u8> = row.get(0)?;
            let transition = json(&String::from_utf8_lossy(&body));
            self.ledger_transitions += 1;
            // A note repeats the state; only a move into it is a deed.
            if transition["to"] == "applied" && transition["from"] != "applied" {
                let plan = &transition["plan"];
                let not_before = plan["steps"][0]["desired"]["not_before"].as_i64();
                let revocation = Revocation { principal: word(&plan["principal"]), not_before };
                self.applied.entry(word(&plan["action_key"])).or_default().push(revocation);
            }
            Ok(())
        })?;
        self.pending = ledger.query_row("SELECT COUNT(*) FROM pending", [], |row| row.get(0))?;
        Ok(())
    }

    fn read_state(&mut self, state: &Connection) -> anyhow::Result<()> {
        each(state, "SELECT principal, not_before, version FROM token", |row| {
            self.tokens.insert(row.get(0)?, (row.get(1)?, row.get(2)?));
            Ok(())
        })
    }

    /// What is wrong with this directory by itself, given what was sent to it.
    pub fn violations(&self, counts: &Counts) -> Vec<String> {
        let mut wrong = Wrong::default();
        let (events, letters) = (self.events.len() as u64, self.dead_letters.len() as u64);
        wrong.unless(events == counts.events, || format!("{events} events, sent {}", counts.events));
        wrong.unless(letters == counts.poison, || format!("{letters} dead letters, sent {}", counts.poison));
        let twice = |times: usize| u64::from(times > 1);
        wrong
            .none("events stored twice", self.events.values().map(|(times, _)| twice(*times as usize)).sum());
        wrong.none("findings stored twice", self.findings.values().map(|f| twice(f.len())).sum());
        wrong.none("dead letters stored twice", self.dead_letters.values().map(|d| twice(d.len())).sum());
        for (topic, what) in [(FINDINGS, "findings"), (PLANS, "transitions")] {
            let ids = self.logged.get(&topic).into_iter().flat_map(BTreeMap::values);
            wrong.none(&format!("{what} twice on the log"), ids.map(|n| twice(*n as usize)).sum());
        }
        let (tallied, by_minute) = (self.events_counted, self.events_by_minute);
        wrong.unless(tallied == events as i64, || {
            format!("the front page counts {tallied} events of {events}")
        });
        wrong.unless(by_minute == events as i64, || {
            format!("the chart counts {by_minute} events of {events}")
        });
        let (counted, findings) = (self.findings_counted, self.findings.len());
        wrong.unless(counted == findings as i64, || {
            format!("the front page counts {counted} findings of {findings}")
        });
        self.check_deeds(&mut wrong);
        wrong.0
    }

    fn check_deeds(&self, wrong: &mut Wrong) {
        let acted_again = self.applied.values().filter(|deeds| deeds.len() > 1).count();
        wrong.none("actions applied twice", acted_again as u64);
        wrong.none("orders without a reply", self.pending);
        wrong.none("plans that did not settle", self.unsettled);
        let (stored, ledgered) = (self.transitions, self.ledger_transitions);
        wrong.unless(stored == ledgered, || format!("{stored} transitions, {ledgered} in the ledger"));
        let mut revoked: BTreeMap<&str, (i64, u64)> = BTreeMap::new();
        for deed in self.applied.values().flatten() {
            if let Some(not_before) = deed.not_before {
                let entry = revoked.entry(&deed.principal).or_default();
                *entry = (entry.0.max(not_before), entry.1 + 1);
            }
        }
        for (principal, (not_before, times)) in &revoked {
            let held = self.tokens.get(*principal);
            wrong.unless(held.is_some_and(|(at, _)| at == not_before), || {
                format!("tokens of {principal} count from {held:?}, the ledger says {not_before}")
            });
            let version = held.map_or(0, |(_, version)| *version);
            wrong.unless(version <= *times, || {
                format!("{principal} was revoked {version} times by {times} actions")
            });
        }
        for principal in self.tokens.keys().filter(|p| !revoked.contains_key(p.as_str())) {
            wrong.0.push(format!("tokens of {principal} are revoked and the ledger does not say so"));
        }
    }

    /// How this directory differs from that of an undisturbed run over the same records.
    pub fn differences(&self, calm: &Holdings) -> Difference {
        let mut wrong = Wrong::default();
        let lost = calm.events.keys().filter(|uid| !self.events.contains_key(*uid)).count() as u64;
        let made_up = self.events.keys().filter(|uid| !calm.events.contains_key(*uid)).count() as u64;
        wrong.none("events lost", lost);
        wrong.none("events made up", made_up);
        let changed =
            calm.events.iter().filter(|(uid, (_, v))| self.events.get(*uid).is_some_and(|(_, w)| w != v));
        wrong.none("events that say something else", changed.count() as u64);
        let none = BTreeMap::new();
        let on_log = |held: &'_ Holdings| held.logged.get(&EVENTS).unwrap_or(&none).clone();
        let (here, there) = (on_log(self), on_log(calm));
        let twice = here.iter().filter(|(id, n)| there.get(*id).is_some_and(|m| *n > m)).count() as u64;
        wrong.none("events more often on the log", twice);
        let identical = self.findings == calm.findings;
        let (a, b) = (self.findings.len(), calm.findings.len());
        wrong.unless(identical, || format!("the findings differ: {a} here, {b} undisturbed"));
        wrong.unless(self.dead_letters == calm.dead_letters, || "the dead letters differ".to_owned());
        for key in self.plans.keys().chain(calm.plans.keys()).collect::<BTreeSet<_>>() {
            let (a, b) = (self.plans.get(key).map(lasting), calm.plans.get(key).map(lasting));
            wrong.unless(a == b, || format!("action {key} went through {a:?}, undisturbed {b:?}"));
        }
        let acted = |held: &Holdings| held.applied.keys().cloned().collect::<BTreeSet<_>>();
        wrong.unless(acted(self) == acted(calm), || "other actions were applied".to_owned());
        Difference { lost, twice, identical, violations: wrong.0 }
    }

    /// Actions that a kill interrupted, so that the provider had to be asked.
    pub fn interrupted(&self) -> usize {
        self.plans.values().filter(|states| BY_CRASH.iter().any(|state| states.contains(*state))).count()
    }

    /// Events that are stored or on the log more often than they may be.
    pub fn stored_twice(&self) -> u64 {
        self.events.values().filter(|(times, _)| *times > 1).count() as u64
    }
}

#[derive(Debug, Default, PartialEq)]
pub struct Difference {
    pub lost: u64,
    pub twice: u64,
    pub identical: bool,
    pub violations: Vec<String>,
}

#[derive(Default)]
struct Wrong(Vec<String>);

impl Wrong {
    fn unless(&mut self, right: bool, say: impl FnOnce() -> String) {
        if !right {
            self.0.push(say());
        }
    }

    fn none(&mut self, what: &str, count: u64) {
        self.unless(count == 0, || format!("{what}: {count}"));
    }
}

/// Plans that will still move by themselves.
pub fn unsettled(store: &Connection) -> anyhow::Result<u64> {
    let settled: Vec<String> = SETTLED.iter().map(|state| format!("'{state}'")).collect();
    let sql = format!("SELECT COUNT(*) FROM plan WHERE state NOT IN ({})", settled.join(","));
    Ok(store.query_row(&sql, [], |row| row.get(0))?)
}

/// A database of ours, to read.
pub fn open(data: &Path, name: &str) -> anyhow::Result<Connection> {
    let path = data.join(name);
    let connection = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .with_context(|| format!("cannot open {}", path.display()))?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    Ok(connection)
}

fn each(
    connection: &Connection,
    sql: &str,
    mut take: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<()>,
) -> anyhow::Result<()> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        take(row)?;
    }
    Ok(())
}

fn lasting(states: &BTreeSet<String>) -> BTreeSet<&str> {
    states.iter().map(String::as_str).filter(|state| !BY_CRASH.contains(state)).collect()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// An event without what depends on when and by which request it arrived.
fn timeless(text: &str) -> Id {
    let mut event = json(text);
    if let Some(metadata) = event["metadata"].as_object_mut() {
        for name in ["logged_time", "processed_time"] {
            metadata.remove(name);
        }
    }
    if let Some(facts) = event["prunella"].as_object_mut() {
        facts.remove("received");
    }
    Id::derive("event without receipt", &[event.to_string().as_bytes()])
}

/// The ids of a batch's messages, as `runtime/src/log/frame.rs` writes them.
fn ids(mut bytes: &[u8]) -> Option<Vec<Uid>> {
    let mut ids = Vec::new();
    while !bytes.is_empty() {
        let (head, rest) = bytes.split_at_checked(1 + 16 + 8)?;
        ids.push(head.get(1..17)?.to_vec());
        let (_key, rest) = prefixed(rest)?;
        let (_body, rest) = prefixed(rest)?;
        bytes = rest;
    }
    Some(ids)
}

fn prefixed(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*length) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calm() -> Holdings {
        let mut held =
            Holdings { events_counted: 2, events_by_minute: 2, findings_counted: 1, ..Holdings::default() };
        for uid in [1u8, 2] {
            held.events.insert(vec![uid], (1, Id::default()));
            held.logged.entry(EVENTS).or_default().insert(vec![uid], 1);
        }
        held.logged.entry(FINDINGS).or_default().insert(vec![7], 1);
        held.logged.entry(PLANS).or_default().insert(vec![8], 1);
        held.findings.insert(vec![7], vec!["{}".to_owned()]);
        held.dead_letters.insert(vec![3], vec![("not_json".to_owned(), "aws.cloudtrail".to_owned())]);
        held.plans.insert("k".to_owned(), ["planned", "applied"].map(str::to_owned).into());
        let deed = Revocation { principal: "p".to_owned(), not_before: Some(5) };
        held.applied.insert("k".to_owned(), vec![deed]);
        (held.transitions, held.ledger_transitions) = (2, 2);
        held.tokens.insert("p".to_owned(), (5, 1));
        held
    }

    /// Damages a good directory, and looks for what the oracle should say of it.
    fn check(what: &str, damage: &dyn Fn(&mut Holdings), want: Option<&str>) {
        let counts = Counts { lines: 3, events: 2, poison: 1, ..Counts::default() };
        let mut held = calm();
        damage(&mut held);
        let mut got = held.violations(&counts);
        got.extend(held.differences(&calm()).violations);
        match want {
            None => assert!(got.is_empty(), "{what}: {got:?}"),
            Some(want) => assert!(got.iter().any(|g| g.contains(want)), "{what}: {got:?} lacks {want}"),
        }
    }

    fn set<V>(map: &mut BTreeMap<Uid, V>, uid: u8, value: V) {
        map.insert(vec![uid], value);
    }

    #[test]
    fn damage_to_what_is_stored_is_noticed() {
        let (same, other) = (Id::default(), Id([1; 16]));
        let letter = vec![("empty".to_owned(), "ocsf".to_owned())];
        let log = |h: &mut Holdings, topic, uid| set(h.logged.entry(topic).or_default(), uid, 2);
        check("nothing", &|_| {}, None);
        check("event gone", &|h| h.events.clear(), Some("events lost: 2"));
        check("event new", &|h| set(&mut h.events, 9, (1, same)), Some("made up: 1"));
        check("event twice", &|h| set(&mut h.events, 1, (2, same)), Some("stored twice: 1"));
        check("event altered", &|h| set(&mut h.events, 1, (1, other)), Some("something else: 1"));
        check("event made again", &|h| log(h, EVENTS, 1), Some("more often on the log: 1"));
        check("finding made again", &|h| log(h, FINDINGS, 7), Some("findings twice on the log: 1"));
        check("transition made again", &|h| log(h, PLANS, 8), Some("transitions twice on the log: 1"));
        check("counted twice", &|h| h.events_counted += 1, Some("front page counts 3 events of 2"));
        check("charted twice", &|h| h.events_by_minute += 1, Some("chart counts 3"));
        check("finding gone", &|h| h.findings.clear(), Some("findings differ"));
        check("finding altered", &|h| set(&mut h.findings, 7, vec!["{ }".into()]), Some("findings differ"));
        check("letter gone", &|h| h.dead_letters.clear(), Some("0 dead letters, sent 1"));
        check("letter altered", &|h| set(&mut h.dead_letters, 3, letter.clone()), Some("letters differ"));
    }

    #[test]
    fn damage_to_what_was_done_is_noticed() {
        let went =
            |h: &mut Holdings, state: &str| h.plans.values_mut().for_each(|s| s.extend([state.to_owned()]));
        let twice = |h: &mut Holdings| h.applied.values_mut().for_each(|deeds| deeds.extend(deeds.clone()));
        let version = |h: &mut Holdings, version| h.tokens.values_mut().for_each(|token| token.1 = version);
        check("only a crash shows", &|h| went(h, "unknown"), None);
        check("plan gone", &|h| h.plans.clear(), Some("action k went through None"));
        check("plan elsewhere", &|h| went(h, "failed"), Some("action k went"));
        check("applied twice", &twice, Some("actions applied twice: 1"));
        check("not applied", &|h| h.applied.clear(), Some("ledger does not say so"));
        check("token lost", &|h| h.tokens.clear(), Some("tokens of p count from None"));
        check("token twice", &|h| version(h, 2), Some("revoked 2 times by 1"));
        check("reply missing", &|h| h.pending = 1, Some("orders without a reply: 1"));
        check("not settled", &|h| h.unsettled = 1, Some("did not settle: 1"));
        check("not in the ledger", &|h| h.ledger_transitions = 1, Some("1 in the ledger"));
    }

    #[test]
    fn ids_are_read_from_whole_batches_only() {
        let mut batch = Vec::new();
        for id in [4u8, 5] {
            batch.push(1);
            batch.extend([id; 16]);
            batch.extend([0; 8]);
            for text in ["key", "body"] {
                batch.extend((text.len() as u32).to_le_bytes());
                batch.extend(text.bytes());
            }
        }
        assert_eq!(ids(&batch), Some(vec![vec![4; 16], vec![5; 16]]));
        assert_eq!(ids(&batch[..batch.len() - 1]), None);
        assert_eq!(ids(&[]), Some(Vec::new()));
    }

    #[test]
    fn only_the_time_of_receipt_is_forgiven() {
        let event = |received: u64, name: &str| {
            timeless(&format!(
                r#"{{"activity_name":"{name}","prunella":{{"received":{received},"flags":[]}}}}"#
            ))
        };
        assert_eq!(event(1, "a"), event(2, "a"));
        assert_ne!(event(1, "a"), event(1, "b"));
    }
}
