//! How far a bucket has been read: a mark in the order of writing, and the objects that the mark cannot speak for.

use crate::Listed;
use prunella_schemas::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Most objects that a bookmark knows by name. Beyond, the newest wait until the mark has passed older ones.
pub const KNOWN_MAX: usize = 4_096;

/// Every object written at or before the mark has been read, except where `known` says otherwise. An object that is
/// written again gets a later time and so comes again by itself, however old its name is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bookmark {
    through: Mark,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    known: BTreeMap<String, Place>,
}

/// The order in which objects are read: by when they were written, then by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mark(pub Timestamp, pub String);

/// How far one object has been read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    #[serde(rename = "m")]
    modified: Timestamp,
    #[serde(rename = "b")]
    born: Timestamp,
    #[serde(rename = "v")]
    version: String,
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    closes: Option<Timestamp>,
    at: u64,
    #[serde(rename = "s")]
    state: Progress,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// More of it can be read at once.
    Partly,
    /// What is left is half a line; the rest of it is still to be written.
    HalfLine,
    /// All of it, as it was.
    Done,
}

/// From where an object is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Want {
    pub at: u64,
    /// It was read before and is another one now.
    pub replaced: bool,
}

impl Listed {
    pub(crate) fn mark(&self) -> Mark {
        Mark(self.modified, self.name.clone())
    }

    /// Whether more may be written at its end. Unless it is known to be late enough, it may.
    pub(crate) fn grows(&self, now: Option<Timestamp>) -> bool {
        self.closes.is_some_and(|closes| now.is_none_or(|now| now < closes))
    }
}

impl Bookmark {
    /// Nothing written before `since` will be read.
    pub fn starting(since: Timestamp) -> Self {
        Bookmark { through: Mark(since, String::new()), known: BTreeMap::new() }
    }

    /// Whether something of the object has not been read, and from where on.
    pub(crate) fn wants(&self, object: &Listed, now: Option<Timestamp>) -> Option<Want> {
        let Some(place) = self.known.get(&object.name) else {
            return (object.mark() > self.through).then_some(Want { at: 0, replaced: false });
        };
        let changed = object.version != place.version;
        let grew = object.closes.is_some() && object.born == place.born && object.bytes >= place.at;
        if changed && !grew {
            return Some(Want { at: 0, replaced: place.at > 0 });
        }
        let more = match place.state {
            Progress::Partly => true,
            Progress::HalfLine => changed || !object.grows(now),
            Progress::Done => changed,
        };
        (more && object.bytes > place.at).then_some(Want { at: place.at, replaced: false })
    }

    /// Everything before byte `at` is on its way. Objects come here in the order of their marks, and every object that was
    /// written before `horizon` has been listed.
    pub(crate) fn advance(&mut self, object: &Listed, at: u64, state: Progress, horizon: Timestamp) {
        self.pass(object, horizon);
        let place = Place {
            modified: object.modified,
            born: object.born,
            version: object.version.clone(),
            closes: object.closes,
            at,
            state,
        };
        let mark_speaks = state == Progress::Done && object.closes.is_none() && object.mark() <= self.through;
        match mark_speaks {
            true => self.known.remove(&object.name),
            false => self.known.insert(object.name.clone(), place),
        };
    }

    /// The object as it was listed is no more.
    pub(crate) fn pass(&mut self, object: &Listed, horizon: Timestamp) {
        let mark = object.mark();
        if object.modified < horizon && mark > self.through {
            self.through = mark;
        }
    }

    /// Everything wanted that was written before `next` has been read: moves the mark there, but never to the horizon, and
    /// forgets what the mark can say then. Objects that may still grow stay known.
    pub(crate) fn settle(&mut self, next: Option<&Mark>, horizon: Timestamp, now: Option<Timestamp>) {
        let is_passed = |name: &str, place: &Place| {
            let before_next = next.is_none_or(|next| (place.modified, name) < (next.0, next.1.as_str()));
            place.state == Progress::Done && place.modified < horizon && before_next
        };
        let passed = self.known.iter().filter(|(name, place)| is_passed(name, place));
        if let Some(last) = passed.map(|(name, place)| (place.modified, name.as_str())).max()
            && last > (self.through.0, self.through.1.as_str())
        {
            self.through = Mark(last.0, last.1.to_owned());
        }
        self.known.retain(|name, place| {
            let is_over = place.closes.is_none_or(|closes| now.is_some_and(|now| now >= closes));
            !(is_over && is_passed(name, place))
        });
    }

    /// Forgets what is gone: `listed` are the objects that a whole listing held, as far as they are known.
    pub(crate) fn retain(&mut self, listed: &BTreeSet<String>, horizon: Timestamp) {
        self.known.retain(|name, place| listed.contains(name) || place.modified >= horizon);
    }

    /// Whether `count` more objects may become known. Makes room by forgetting those that were read and may still grow: if
    /// they do, they are read again from their beginning, which loses nothing.
    pub(crate) fn has_room(&mut self, count: usize) -> bool {
        while self.known.len() + count > KNOWN_MAX {
            let through = &self.through;
            let read = self.known.iter().filter(|(name, place)| {
                place.state == Progress::Done
                    && (place.modified, name.as_str()) <= (through.0, through.1.as_str())
            });
            let Some(oldest) = read.min_by_key(|(_, place)| place.modified).map(|(name, _)| name.clone())
            else {
                return false;
            };
            self.known.remove(&oldest);
        }
        true
    }

    pub(crate) fn knows(&self, name: &str) -> bool {
        self.known.contains_key(name)
    }
}
