//! What the stage remembers between inputs, bounded, and its snapshot.

use crate::guard::Guard;
use crate::life::{Again, Live, Wait};
use crate::recent::Recent;
use prunella_schemas::plan::Mode;
use prunella_schemas::stage::SnapshotError;
use prunella_schemas::{Finding, Id, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Version of the snapshot. What was added since version 1 has a default, so that both are read; the shell replays others.
const VERSION: u32 = 2;
const VERSION_MIN: u32 = 1;
/// Most open plans.
pub(crate) const PLANS_MAX: usize = 4_096;
/// Most plans that wait for a person.
pub(crate) const PENDING_MAX: usize = 1_024;
/// Most action keys remembered, and for how long.
const KEYS_MAX: usize = 65_536;
const KEYS_AGE_MS_MAX: i64 = 7 * 86_400_000;
/// Most incidents remembered.
const INCIDENTS_MAX: usize = 32_768;

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// The latest time at which an input became durable.
    pub now: Timestamp,
    pub guard: Guard,
    plans: BTreeMap<Id, Live>,
    keys: Recent<Seen>,
    incidents: Recent<Incident>,
    #[serde(skip)]
    due: BTreeSet<(Timestamp, Id)>,
    #[serde(skip)]
    pub pending: usize,
}

/// What became of an action key.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub plan: Id,
    pub mode: Mode,
    pub open: bool,
    pub again: Again,
    /// How often the action was taken again, and the evidence that the last one speaks of (zero: it was never taken).
    #[serde(default)]
    pub generation: u32,
    #[serde(default)]
    pub done: Timestamp,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Incident {
    id: Id,
    first: Timestamp,
    last: Timestamp,
}

#[derive(Serialize)]
struct SnapshotOut<'a> {
    version: u32,
    memory: &'a Memory,
}

#[derive(Deserialize)]
struct SnapshotIn {
    memory: Memory,
}

#[derive(Deserialize)]
struct Header {
    version: u32,
}

impl Memory {
    pub fn save(&self) -> Vec<u8> {
        serde_json::to_vec(&SnapshotOut { version: VERSION, memory: self }).unwrap_or_default()
    }

    pub fn read(stage: &'static str, snapshot: &[u8]) -> Result<Self, SnapshotError> {
        let corrupt = |e: serde_json::Error| SnapshotError::Corrupt { stage, detail: e.to_string() };
        let Header { version } = serde_json::from_slice(snapshot).map_err(corrupt)?;
        if !(VERSION_MIN..=VERSION).contains(&version) {
            return Err(SnapshotError::Version { stage, version, expected: VERSION });
        }
        let SnapshotIn { mut memory } = serde_json::from_slice(snapshot).map_err(corrupt)?;
        for live in memory.plans.values_mut().filter(|live| live.evidence == Timestamp::ZERO) {
            // Version 1 did not say: what was sent spoke of when the plan was made.
            live.evidence = live.plan.created;
            live.done = if live.applies > 0 { live.plan.created } else { Timestamp::ZERO };
        }
        memory.due = memory.plans.iter().filter_map(|(id, live)| live.due.map(|due| (due, *id))).collect();
        memory.pending = memory.plans.values().filter(|live| live.awaits_approval()).count();
        Ok(memory)
    }

    pub fn open_plans(&self) -> usize {
        self.plans.len()
    }

    pub fn plan_ids(&self) -> Vec<Id> {
        self.plans.keys().copied().collect()
    }

    pub fn next_due(&self) -> Option<Timestamp> {
        let plan = self.due.first().map(|(due, _)| *due);
        plan.into_iter().chain(self.guard.next_notice()).min()
    }

    /// The plan that was due longest ago.
    pub fn first_due(&self) -> Option<Id> {
        self.due.first().filter(|(due, _)| *due <= self.now).map(|(_, id)| *id)
    }

    pub fn seen(&self, key: Id) -> Option<Seen> {
        self.keys.get(key).copied()
    }

    /// Takes an open plan out, to be changed and put back.
    pub fn take(&mut self, id: Id) -> Option<Live> {
        let live = self.plans.remove(&id)?;
        if let Some(due) = live.due {
            self.due.remove(&(due, id));
        }
        self.pending = self.pending.saturating_sub(usize::from(live.awaits_approval()));
        Some(live)
    }

    /// Puts a plan back, or only remembers its key when it is finished.
    pub fn put(&mut self, live: Live) {
        let (id, key) = (live.plan.uid, live.key());
        let (mode, open, again) = (live.plan.mode, live.wait != Wait::End, live.again);
        let seen = Seen { plan: id, mode, open, again, generation: live.generation, done: live.done };
        if self.seen(key).is_some_and(|s| s.plan == id) {
            self.keys.change(key, |s| *s = seen);
        } else {
            self.keys.put(key, self.now, seen);
        }
        if seen.open {
            self.pending += usize::from(live.awaits_approval());
            self.due.extend(live.due.map(|due| (due, id)));
            self.plans.insert(id, live);
        }
    }

    /// The incident that a finding belongs to, and when it began, by event time.
    pub fn incident(&mut self, finding: &Finding, gap_ms: i64, age_ms_max: i64) -> (Id, Timestamp) {
        let who = Id::derive("incident of", &[finding.tenant().as_bytes(), finding.principal().as_bytes()]);
        let time = finding.time.min(self.now);
        let known = self.incidents.get(who).copied();
        let incident = match known {
            Some(known)
                if time.since_ms(known.last) <= gap_ms && time.since_ms(known.first) <= age_ms_max =>
            {
                Incident { last: known.last.max(time), ..known }
            }
            _ => {
                let first = finding.prunella.finding_uid;
                let parts: [&[u8]; 3] =
                    [finding.tenant().as_bytes(), finding.principal().as_bytes(), &first.0];
                Incident { id: Id::derive("incident", &parts), first: time, last: time }
            }
        };
        self.incidents.put(who, self.now, incident);
        (incident.id, incident.first)
    }

    /// Keeps every memory within its bounds.
    pub fn forget(&mut self) {
        self.keys.forget(self.now.plus_ms(-KEYS_AGE_MS_MAX), KEYS_MAX, |seen| seen.open);
        self.incidents.forget(self.now.plus_ms(-KEYS_AGE_MS_MAX), INCIDENTS_MAX, |_| false);
    }
}
