//! Table: the behaviours of a million principals, found with one look into a small index and one into memory.
//!
//! The index is a row of buckets of 64 entries; a key belongs into one bucket and is probed for within it only, so
//! that keys chosen by an attacker cost a bucket's length at most. Behaviours lie in chunks that never move. When there
//! is no room, the least worth keeping of the bucket goes to the cold store: no pause, no list of uses, and what goes
//! depends on what the table holds only, never on how it came there.

use super::Behaviour;
use prunella_schemas::{Id, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;

/// Principals that a table may hold, whatever is asked for.
pub const PRINCIPALS_MAX: usize = 1 << 24;
/// Principals kept cold once there is no room in the table.
pub const COLD_MAX: usize = 65_536;
/// Entries of a bucket.
const BUCKET: usize = 64;
/// Behaviours of a chunk.
const CHUNK: usize = 1_024;
const SNAPSHOT_VERSION: u8 = 1;

/// The key of a principal: 128 bits of BLAKE3, since names are chosen by attackers and two must never share a memory.
pub fn key(tenant: &str, principal: &str) -> u128 {
    u128::from_be_bytes(Id::derive("principal", &[tenant.as_bytes(), principal.as_bytes()]).0)
}

/// A principal and its behaviour: five lines of a processor's cache.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Slot {
    key: u128,
    behaviour: Behaviour,
}

const _: () =
    assert!(size_of::<Slot>() <= 320, "a sixth line per principal: a million no longer fit in 400 MB");

/// Behaviours by key, at most so many.
#[derive(Debug)]
pub struct Table {
    /// 0: empty; else 32 bits of the key, then the number of the slot plus one.
    index: Vec<u64>,
    chunks: Vec<Vec<Slot>>,
    len: usize,
    max: usize,
    /// With fewer events a principal has little history.
    settled_min: u32,
    cold: BTreeMap<u128, Behaviour>,
    /// The cold ones, the least worth keeping first.
    cold_order: BTreeSet<Worth>,
}

/// Those with little history go first, so that a flood of made-up principals cannot wash out the real ones; then the
/// longest unseen; then by key.
type Worth = (bool, Timestamp, u128);

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Corrupt {
    #[error(
        "the behaviours have version {0}, this build reads {SNAPSHOT_VERSION}: replay the events instead"
    )]
    Version(u8),
    #[error("the behaviours are damaged at byte {0}: replay the events instead")]
    At(usize),
}

impl Table {
    pub fn new(principals_max: usize, settled_min: u32) -> Self {
        let max = principals_max.clamp(1, PRINCIPALS_MAX);
        let capacity = (max + max / 3).next_power_of_two().max(BUCKET);
        Table {
            index: vec![0; capacity],
            chunks: Vec::new(),
            len: 0,
            max,
            settled_min,
            cold: BTreeMap::new(),
            cold_order: BTreeSet::new(),
        }
    }

    /// Principals in the table, the cold ones aside.
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn cold_len(&self) -> usize {
        self.cold.len()
    }

    pub fn get(&self, key: u128) -> Option<&Behaviour> {
        let slot = slot_of(self.index[self.find(key)?])?;
        self.slot(slot).map(|slot| &slot.behaviour)
    }

    /// The behaviour of a principal, back from the cold store or new if it is not there.
    pub fn entry(&mut self, key: u128, time: Timestamp) -> &mut Behaviour {
        let slot = match self.find(key).and_then(|at| slot_of(self.index[at])) {
            Some(slot) => slot,
            None => {
                let warm = self.cold.remove(&key);
                if let Some(behaviour) = &warm {
                    self.cold_order.remove(&self.worth(key, behaviour));
                }
                self.insert(key, warm.unwrap_or_else(|| Behaviour::met(time)))
            }
        };
        &mut self.chunks[slot / CHUNK][slot % CHUNK].behaviour
    }

    /// Fetches what [`Table::entry`] will look at for a batch, so that the waits for memory overlap.
    pub fn touch(&self, keys: &[u128]) {
        // First the index, then the slots: a wait for one would hold up the other.
        for key in keys {
            black_box(self.index[self.home(*key)]);
        }
        for key in keys {
            // A guess by 32 bits; whether the key is right is known only when its slot is here.
            let at = self.probe(*key).find(|at| self.index[*at] == 0 || tag_of(self.index[*at]) == tag(*key));
            if let Some(slot) = at.and_then(|at| self.slot(slot_of(self.index[at])?)) {
                black_box(slot.behaviour);
            }
        }
    }

    /// All of it, sorted by key: the same behaviours give the same bytes, whatever the table's history.
    pub fn save(&self, out: &mut Vec<u8>) {
        let mut slots: Vec<&Slot> =
            self.index.iter().filter_map(|entry| self.slot(slot_of(*entry)?)).collect();
        slots.sort_unstable_by_key(|slot| slot.key);
        out.reserve(1 + 16 + (slots.len() + self.cold.len()) * RECORD);
        out.push(SNAPSHOT_VERSION);
        out.extend_from_slice(&(slots.len() as u64).to_le_bytes());
        out.extend_from_slice(&(self.cold.len() as u64).to_le_bytes());
        let hot = slots.iter().map(|slot| (&slot.key, &slot.behaviour));
        for (key, behaviour) in hot.chain(&self.cold) {
            out.extend_from_slice(&key.to_le_bytes());
            behaviour.write(out);
        }
    }

    /// Reads what [`Table::save`] wrote, into a table of perhaps another size.
    pub fn restore(bytes: &[u8], principals_max: usize, settled_min: u32) -> Result<Self, Corrupt> {
        let at = |rest: &[u8]| Corrupt::At(bytes.len() - rest.len());
        let (version, rest) = bytes.split_first().ok_or(Corrupt::At(0))?;
        if *version != SNAPSHOT_VERSION {
            return Err(Corrupt::Version(*version));
        }
        let (hot, rest) = rest.split_first_chunk().ok_or(at(rest))?;
        let (cold, mut rest) = rest.split_first_chunk().ok_or(at(rest))?;
        let (hot, cold) = (u64::from_le_bytes(*hot), u64::from_le_bytes(*cold));
        if hot.checked_add(cold).and_then(|all| all.checked_mul(RECORD as u64)) != Some(rest.len() as u64) {
            return Err(at(rest));
        }
        let mut table = Table::new(principals_max, settled_min);
        let mut before = None;
        for number in 0..hot + cold {
            let (record, next) = rest.split_first_chunk::<RECORD>().ok_or(at(rest))?;
            let (key, behaviour) = read(record).ok_or(at(rest))?;
            if before.is_some_and(|before| before >= (number >= hot, key)) || table.holds(key) {
                return Err(at(rest));
            }
            before = Some((number >= hot, key));
            if number < hot {
                table.insert(key, behaviour);
            } else {
                table.cool(key, behaviour);
            }
            rest = next;
        }
        Ok(table)
    }

    fn holds(&self, key: u128) -> bool {
        self.find(key).is_some() || self.cold.contains_key(&key)
    }

    fn worth(&self, key: u128, behaviour: &Behaviour) -> Worth {
        (behaviour.events() >= self.settled_min, behaviour.last(), key)
    }

    fn slot(&self, slot: usize) -> Option<&Slot> {
        self.chunks.get(slot / CHUNK)?.get(slot % CHUNK)
    }

    /// Where in the index the key is looked for first. The low bits of the tag, so that it can be told from an entry.
    fn home(&self, key: u128) -> usize {
        tag(key) as usize & (self.index.len() - 1)
    }

    /// The entries of the key's bucket, from its home round to its home.
    fn probe(&self, key: u128) -> impl Iterator<Item = usize> + use<> {
        let home = self.home(key);
        (0..BUCKET).map(move |step| around(home, step))
    }

    fn find(&self, key: u128) -> Option<usize> {
        for at in self.probe(key) {
            let entry = self.index[at];
            let slot = slot_of(entry)?;
            if tag_of(entry) == tag(key) && self.slot(slot).is_some_and(|slot| slot.key == key) {
                return Some(at);
            }
        }
        None
    }

    /// Puts in a key that is not there, and says in which slot.
    fn insert(&mut self, key: u128, behaviour: Behaviour) -> usize {
        let mut free = None;
        if self.len >= self.max {
            free = self.evict(self.home(key));
        }
        if self.probe(key).all(|at| self.index[at] != 0) {
            free = self.evict(self.home(key));
        }
        let slot = free.unwrap_or(self.len);
        let fresh = Slot { key, behaviour };
        match self.chunks.get_mut(slot / CHUNK) {
            Some(chunk) if slot % CHUNK < chunk.len() => chunk[slot % CHUNK] = fresh,
            Some(chunk) => chunk.push(fresh),
            None => {
                let mut chunk = Vec::with_capacity(CHUNK);
                chunk.push(fresh);
                self.chunks.push(chunk);
            }
        }
        if let Some(at) = self.probe(key).find(|at| self.index[*at] == 0) {
            self.index[at] = u64::from(tag(key)) << 32 | (slot as u64 + 1);
            self.len += 1;
        }
        slot
    }

    /// Moves the least worth keeping of a bucket to the cold store, of the next bucket if that one is empty, and says
    /// which slot became free.
    fn evict(&mut self, home: usize) -> Option<usize> {
        let buckets = self.index.len() / BUCKET;
        let first = home / BUCKET;
        let (at, slot) = (0..buckets).find_map(|step| self.least((first + step) % buckets))?;
        let Slot { key, behaviour } = *self.slot(slot)?;
        self.remove(at);
        self.cool(key, behaviour);
        Some(slot)
    }

    /// The least worth keeping of a bucket: its place in the index, and its slot.
    fn least(&self, bucket: usize) -> Option<(usize, usize)> {
        let entries = (bucket * BUCKET..(bucket + 1) * BUCKET)
            .filter_map(|at| slot_of(self.index[at]).map(|slot| (at, slot)));
        entries.min_by_key(|(_, slot)| self.slot(*slot).map(|slot| self.worth(slot.key, &slot.behaviour)))
    }

    /// Empties a place of the index, and moves up those that would be cut off from their home by it.
    fn remove(&mut self, at: usize) {
        let mut hole = at;
        for step in 1..BUCKET {
            let next = around(at, step);
            let entry = self.index[next];
            if entry == 0 {
                break;
            }
            let home = tag_of(entry) as usize & (self.index.len() - 1);
            let distance = |to: usize, from: usize| (to + BUCKET - from) % BUCKET;
            if distance(next, home) >= distance(next, hole) {
                self.index[hole] = entry;
                hole = next;
            }
        }
        self.index[hole] = 0;
        self.len -= 1;
    }

    fn cool(&mut self, key: u128, behaviour: Behaviour) {
        self.cold_order.insert(self.worth(key, &behaviour));
        self.cold.insert(key, behaviour);
        while self.cold.len() > COLD_MAX
            && let Some((.., key)) = self.cold_order.pop_first()
        {
            self.cold.remove(&key);
        }
    }
}

/// Bytes of a saved principal.
const RECORD: usize = 16 + Behaviour::BYTES;

fn read(record: &[u8; RECORD]) -> Option<(u128, Behaviour)> {
    let (key, behaviour) = record.split_first_chunk()?;
    Some((u128::from_le_bytes(*key), Behaviour::read(behaviour.try_into().ok()?)?))
}

/// `step` places on from `home`, within its bucket.
fn around(home: usize, step: usize) -> usize {
    home / BUCKET * BUCKET + (home + step) % BUCKET
}

fn tag(key: u128) -> u32 {
    (key >> 96) as u32
}

fn tag_of(entry: u64) -> u32 {
    (entry >> 32) as u32
}

fn slot_of(entry: u64) -> Option<usize> {
    (entry as u32).checked_sub(1).map(|slot| slot as usize)
}
