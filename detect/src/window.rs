//! Window: what one detector remembers of one principal's last minutes, ordered by time and id.

use crate::clock::was_ahead;
use crate::sighting::Sighting;
use prunella_schemas::{Id, Timestamp};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Marks in one window, whatever the detector asks for.
pub const WINDOW_MAX: usize = 256;
/// Events this late still count as if they had come in time, in milliseconds.
pub const LATE_MS: i64 = 15 * 60_000;
/// Longest text kept of an operation or id, in bytes.
const TEXT_BYTES_MAX: usize = 256;

/// An event as it may become evidence. Its texts are shared, since a mark is copied into every draft it belongs to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    pub time: Timestamp,
    pub uid: Id,
    /// The provider's own id.
    pub native: Arc<str>,
    pub type_uid: u64,
    pub operation: Arc<str>,
    pub ip: Option<Arc<str>>,
    /// What the detector counts distinct values of.
    pub tag: u64,
    /// The detector's own sort of mark.
    pub kind: u8,
}

/// A set of marks ordered by (time, id): the order of arrival and repeats do not matter.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Window(Vec<Mark>);

impl Mark {
    pub fn of(seen: &Sighting<'_>, kind: u8, tag: u64) -> Self {
        let event = seen.event;
        let native = match &event.metadata.uid {
            Some(uid) => clip(uid, TEXT_BYTES_MAX).into(),
            None => event.prunella.event_uid.to_string().into(),
        };
        Mark {
            time: seen.time,
            uid: event.prunella.event_uid,
            native,
            type_uid: event.type_uid,
            operation: clip(event.operation(), TEXT_BYTES_MAX).into(),
            ip: event.source_ip().map(|ip| clip(ip, TEXT_BYTES_MAX).into()),
            tag,
            kind,
        }
    }
}

impl Window {
    /// Takes a mark in and drops what is older than `span_ms` and lateness before the newest. A mark that is too old,
    /// or there already, changes nothing: the answer is false. Marks whose clock was ahead are dropped, or one of them
    /// would keep all others out.
    pub fn admit(&mut self, mark: Mark, span_ms: i64, marks_max: usize) -> bool {
        let credible = self.0.partition_point(|known| !was_ahead(known.time, mark.time));
        self.0.truncate(credible);
        let newest = self.0.last().map_or(mark.time, |last| last.time.max(mark.time));
        let oldest = newest.plus_ms(-span_ms - LATE_MS);
        if mark.time < oldest {
            return false;
        }
        let Err(at) = self.0.binary_search_by(|known| (known.time, known.uid).cmp(&(mark.time, mark.uid)))
        else {
            return false;
        };
        self.0.insert(at, mark);
        let expired = self.0.partition_point(|known| known.time < oldest);
        let surplus = self.0.len().saturating_sub(marks_max.min(WINDOW_MAX));
        self.0.drain(..expired.max(surplus));
        true
    }

    /// As [`Window::admit`], but of marks with the same kind and tag within `span_ms` only the earliest stays, so that
    /// one thing done a thousand times does not push out the others.
    pub fn admit_distinct(&mut self, mark: Mark, span_ms: i64, marks_max: usize) -> bool {
        let same = |known: &Mark| known.kind == mark.kind && known.tag == mark.tag;
        let near =
            self.0.iter().position(|known| same(known) && known.time.since_ms(mark.time).abs() <= span_ms);
        match near {
            Some(at)
                if self.0.get(at).is_some_and(|known| (known.time, known.uid) <= (mark.time, mark.uid)) =>
            {
                false
            }
            Some(at) => {
                self.0.remove(at);
                self.admit(mark, span_ms, marks_max)
            }
            None => self.admit(mark, span_ms, marks_max),
        }
    }

    pub fn marks(&self) -> &[Mark] {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The marks between two times, both included.
    pub fn between(&self, from: Timestamp, to: Timestamp) -> &[Mark] {
        let start = self.0.partition_point(|mark| mark.time < from);
        let end = self.0.partition_point(|mark| mark.time <= to);
        self.0.get(start..end).unwrap_or(&[])
    }

    /// The fullest stretch of `span_ms` that holds `time`, by what `weigh` makes of its marks; the earliest of equals.
    pub fn fullest(
        &self,
        span_ms: i64,
        time: Timestamp,
        weigh: impl Fn(&[Mark]) -> usize,
    ) -> (usize, &[Mark]) {
        let around = self.between(time.plus_ms(-span_ms), time.plus_ms(span_ms));
        let mut best: (usize, &[Mark]) = (0, &[]);
        for (start, first) in around.iter().enumerate() {
            let rest = around.get(start..).unwrap_or(&[]);
            let end = rest.partition_point(|mark| mark.time <= first.time.plus_ms(span_ms));
            let stretch = rest.get(..end).unwrap_or(&[]);
            let weight = weigh(stretch);
            if weight > best.0 {
                best = (weight, stretch);
            }
            if first.time >= time {
                break;
            }
        }
        best
    }
}

/// How many distinct tags the marks have.
pub fn distinct_tags(marks: &[Mark]) -> usize {
    let mut tags: Vec<u64> = marks.iter().map(|mark| mark.tag).collect();
    tags.sort_unstable();
    tags.dedup();
    tags.len()
}

pub(crate) fn clip(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(minute: i64, tag: u64) -> Mark {
        let uid = Id::derive("mark", &[&minute.to_le_bytes(), &tag.to_le_bytes()]);
        Mark { time: Timestamp(minute * 60_000), uid, tag, ..Mark::default() }
    }

    #[test]
    fn order_of_arrival_and_repeats_do_not_matter() {
        let span = 10 * 60_000;
        let (mut forth, mut back) = (Window::default(), Window::default());
        (0..12).for_each(|m| assert!(forth.admit(mark(m, 1), span, 64)));
        (0..12).rev().for_each(|m| assert!(back.admit(mark(m, 1), span, 64)));
        assert!(!back.admit(mark(3, 1), span, 64));
        assert_eq!(forth, back);
        assert!(forth.admit(mark(100, 1), span, 64) && !forth.admit(mark(20, 1), span, 64));
        assert_eq!(forth.marks().len(), 1, "an old mark neither enters nor moves the window back");
    }

    #[test]
    fn a_mark_from_the_far_future_does_not_keep_the_others_out() {
        let (day, span) = (24 * 60, 10 * 60_000);
        let mut window = Window::default();
        [0, 200 * 365 * day, 1, 2].iter().for_each(|minute| {
            window.admit(mark(*minute, 1), span, 64);
        });
        assert_eq!(window.marks().iter().map(|mark| mark.time.0 / 60_000).collect::<Vec<_>>(), [1, 2]);
        assert!(!window.admit(mark(-29 * day, 1), span, 64) && window.marks().len() == 2, "late, not ahead");
    }

    #[test]
    fn windows_are_bounded_and_distinct_marks_survive_a_flood() {
        let mut window = Window::default();
        (0..1_000).for_each(|tag| {
            window.admit(mark(0, tag), 60_000, usize::MAX);
        });
        assert_eq!(window.marks().len(), WINDOW_MAX);
        let mut window = Window::default();
        for tag in [1, 2, 2, 2, 2, 1, 3] {
            window.admit_distinct(mark(window.marks().len() as i64, tag), 600_000, 3);
        }
        assert_eq!(distinct_tags(window.marks()), 3);
    }

    #[test]
    fn the_fullest_stretch_looks_both_ways() {
        let mut window = Window::default();
        [0, 1, 2, 14, 15, 16, 17].iter().for_each(|m| assert!(window.admit(mark(*m, 1), 20 * 60_000, 64)));
        let count = |minute: i64| window.fullest(5 * 60_000, Timestamp(minute * 60_000), <[Mark]>::len).0;
        assert_eq!((count(0), count(1), count(14), count(16), count(8)), (3, 3, 4, 4, 0));
    }
}
