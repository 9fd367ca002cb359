//! Where the listing of a bucket stands: bounded, and exact within the look-back.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use prunella_schemas::Id;
use prunella_schemas::port::{Cursor, SourceError};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;

/// Objects that are remembered, over all branches. When there are more, the oldest are forgotten first, and with them the
/// chance to find an object that comes even later.
pub const SEEN_MAX: usize = 24 * 1024;
/// Branches: accounts times regions times kinds.
pub const BRANCHES_MAX: usize = 8 * 1024;
/// Objects that could not be read and are tried again in each round.
pub const OWED_MAX: usize = 1_000;
const ENTRY_BYTES: usize = 32;
const VERSION: u32 = 1;

/// The cursor of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    v: u32,
    /// Where the round through all branches is; absent between two rounds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<Round>,
    #[serde(default)]
    pub branches: BTreeMap<String, Seen>,
    /// Keys that were refused, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owed: Vec<String>,
    /// The last digest of each branch of digests.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub digests: BTreeMap<String, Link>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Round {
    /// Prefix of the branch.
    pub branch: String,
    /// The last key that was looked at in it; empty: none yet.
    pub after: String,
}

/// A link in the chain of digests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    pub key: String,
    pub signature: String,
    /// SHA-256 of its uncompressed content, in hex.
    pub hash: String,
}

impl Place {
    pub fn read(cursor: &Cursor) -> Result<Self, SourceError> {
        if cursor.0.is_empty() {
            return Ok(Place { v: VERSION, ..Place::default() });
        }
        let wrong = |detail: String| {
            SourceError::Invalid(format!(
                "the stored cursor is not one of a bucket ({detail}); give the source another name to begin anew"
            ))
        };
        let place: Place = serde_json::from_str(&cursor.0).map_err(|e| wrong(e.to_string()))?;
        if place.v != VERSION { Err(wrong(format!("version {}", place.v))) } else { Ok(place) }
    }

    pub fn cursor(&self) -> Cursor {
        // Strings, numbers and maps with string keys: serde_json cannot fail on them.
        Cursor(serde_json::to_string(self).unwrap_or_default())
    }

    /// Brings branches back that stand after `until`, where no file of CloudTrail's is and a forged one or a wrong clock has
    /// left them, to `start`. What lies after it is read again. How many there were.
    pub fn come_back(&mut self, until: u32, start: u32) -> usize {
        let lost = self.branches.values_mut().filter(|seen| seen.floor > until);
        let count = lost.map(|seen| seen.come_back(until, start)).count();
        if count > 0 {
            self.round = None;
        }
        count
    }

    /// Forgets what lies before each branch's look-back from its newest file, whose name is not believed beyond `now`, and
    /// the oldest of the fullest branches beyond `SEEN_MAX`.
    pub fn forget(&mut self, late_minutes: u32, now: u32) {
        for seen in self.branches.values_mut() {
            let newest = seen.entries.last().map_or(0, |e| e.minute).min(now);
            seen.raise(newest.saturating_sub(late_minutes));
        }
        while self.branches.values().map(|s| s.entries.len()).sum::<usize>() > SEEN_MAX {
            let Some(fullest) = self.branches.values_mut().max_by_key(|s| s.entries.len()) else { return };
            let oldest = fullest.entries.first().map_or(0, |e| e.minute);
            fullest.raise(oldest.saturating_add(1));
        }
    }
}

/// What was read of one branch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Nothing before this minute is listed any more.
    pub floor: u32,
    #[serde(serialize_with = "pack", deserialize_with = "unpack")]
    entries: Vec<Entry>,
}

/// One object that was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    minute: u32,
    key: u64,
    tag: u32,
    /// The first half of the SHA-256 of its uncompressed content; zero where digests are not checked.
    content: [u8; 16],
}

/// What is known of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Read, with this content.
    Read([u8; 16]),
    /// Before the floor: read or given up long ago.
    Old,
    New,
}

impl Seen {
    /// An object that was remembered without its tag is the same whatever its tag is.
    pub fn is_seen(&self, minute: u32, key: &str, tag: &str) -> bool {
        let (key, tag, any) = (key_hash(key), tag_hash(tag), tag_hash(""));
        let is_it = |e: &Entry| e.key == key && (e.tag == tag || e.tag == any);
        minute < self.floor || self.of_minute(minute).iter().any(is_it)
    }

    pub fn known(&self, minute: u32, key: &str) -> Known {
        let key = key_hash(key);
        match self.of_minute(minute).iter().find(|e| e.key == key) {
            Some(entry) => Known::Read(entry.content),
            None if minute < self.floor => Known::Old,
            None => Known::New,
        }
    }

    /// An object that changed takes the place of what it was.
    pub fn add(&mut self, minute: u32, key: &str, tag: &str, content: [u8; 16]) {
        let entry = Entry { minute, key: key_hash(key), tag: tag_hash(tag), content };
        self.entries.retain(|e| e.key != entry.key || e.minute != minute);
        let at = self.entries.partition_point(|e| *e < entry);
        self.entries.insert(at, entry);
    }

    fn come_back(&mut self, until: u32, start: u32) {
        self.floor = start;
        self.entries.retain(|e| e.minute <= until);
    }

    fn raise(&mut self, floor: u32) {
        self.floor = self.floor.max(floor);
        let kept = self.entries.partition_point(|e| e.minute < self.floor);
        self.entries.drain(..kept);
    }

    fn of_minute(&self, minute: u32) -> &[Entry] {
        let from = self.entries.partition_point(|e| e.minute < minute);
        let to = self.entries.partition_point(|e| e.minute <= minute);
        self.entries.get(from..to).unwrap_or_default()
    }
}

fn key_hash(key: &str) -> u64 {
    let Id(bytes) = Id::derive("s3_key", &[key.as_bytes()]);
    u64::from_le_bytes(bytes.first_chunk().copied().unwrap_or_default())
}

fn tag_hash(tag: &str) -> u32 {
    let Id(bytes) = Id::derive("s3_etag", &[tag.trim_matches('"').as_bytes()]);
    u32::from_le_bytes(bytes.first_chunk().copied().unwrap_or_default())
}

fn pack<S: Serializer>(entries: &[Entry], serializer: S) -> Result<S::Ok, S::Error> {
    let mut bytes = Vec::with_capacity(entries.len() * ENTRY_BYTES);
    for entry in entries {
        bytes.extend_from_slice(&entry.minute.to_le_bytes());
        bytes.extend_from_slice(&entry.key.to_le_bytes());
        bytes.extend_from_slice(&entry.tag.to_le_bytes());
        bytes.extend_from_slice(&entry.content);
    }
    serializer.serialize_str(&STANDARD_NO_PAD.encode(bytes))
}

fn unpack<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Entry>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let bytes = STANDARD_NO_PAD.decode(text).map_err(serde::de::Error::custom)?;
    let (whole, rest) = bytes.as_chunks::<ENTRY_BYTES>();
    if !rest.is_empty() {
        return Err(serde::de::Error::custom("entries that are not whole"));
    }
    let mut entries: Vec<Entry> = whole.iter().map(entry_of).collect();
    entries.sort_unstable();
    Ok(entries)
}

fn entry_of(bytes: &[u8; ENTRY_BYTES]) -> Entry {
    let [a, b, c, d, k0, k1, k2, k3, k4, k5, k6, k7, t0, t1, t2, t3, content @ ..] = *bytes;
    Entry {
        minute: u32::from_le_bytes([a, b, c, d]),
        key: u64::from_le_bytes([k0, k1, k2, k3, k4, k5, k6, k7]),
        tag: u32::from_le_bytes([t0, t1, t2, t3]),
        content,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_known_until_it_is_older_than_the_look_back() {
        let mut place = Place::read(&Cursor::default()).unwrap();
        let seen = place.branches.entry("b/".into()).or_default();
        (100..200).for_each(|minute| seen.add(minute, &format!("k{minute}"), "t", [7; 16]));
        place.forget(60, 1_000);
        let place = Place::read(&place.cursor()).unwrap();
        let seen = &place.branches["b/"];
        assert_eq!((seen.floor, seen.entries.len()), (139, 61));
        assert!(
            seen.is_seen(150, "k150", "\"t\"")
                && !seen.is_seen(150, "k150", "u")
                && !seen.is_seen(150, "x", "t")
        );
        assert!(seen.is_seen(138, "never read", "t"), "too old to be listed");
        assert_eq!(seen.known(150, "k150"), Known::Read([7; 16]));
        assert_eq!((seen.known(150, "x"), seen.known(138, "x")), (Known::New, Known::Old));
    }

    #[test]
    fn the_floor_follows_no_file_beyond_the_clock_and_comes_back_from_there() {
        let mut place = Place::read(&Cursor::default()).unwrap();
        let seen = place.branches.entry("b/".into()).or_default();
        [100, 230].iter().for_each(|minute| seen.add(*minute, "k", "t", [7; 16]));
        place.forget(60, 200);
        assert_eq!(place.branches["b/"].floor, 140);
        assert_eq!(place.come_back(140, 0), 0, "it stands where it should");
        place.forget(60, 4_000);
        place.round = Some(Round::default());
        assert_eq!((place.branches["b/"].floor, place.come_back(160, 40)), (170, 1));
        assert_eq!((place.branches["b/"].floor, place.branches["b/"].entries.len()), (40, 0));
        assert_eq!(place.round, None);
    }

    #[test]
    fn the_cursor_is_bounded_and_forgets_the_oldest_of_the_fullest_branch() {
        let mut place = Place::read(&Cursor::default()).unwrap();
        for n in 0..SEEN_MAX as u32 {
            place.branches.entry("full/".into()).or_default().add(
                1_000 + n / 10,
                &n.to_string(),
                "t",
                [0; 16],
            );
        }
        place.branches.entry("small/".into()).or_default().add(500, "s", "t", [0; 16]);
        place.forget(u32::MAX, u32::MAX);
        let full = &place.branches["full/"];
        assert_eq!((full.floor, full.entries.len()), (1_001, SEEN_MAX - 10));
        assert_eq!(place.branches["small/"].entries.len(), 1);
        let cursor = place.cursor();
        assert!(cursor.0.len() < 1_100_000, "{}", cursor.0.len());
        assert_eq!(Place::read(&cursor).unwrap(), place);
        assert!(Place::read(&Cursor("{\"v\":9}".into())).is_err());
        assert!(Place::read(&Cursor("handles".into())).is_err());
    }
}
