//! Collisions: remembers which event carried a provider id, so that another event under the same id is noticed.

use prunella_schemas::{Event, Id};
use std::collections::{HashMap, VecDeque};

/// Provider ids that are remembered; the one seen first is forgotten first.
pub const COLLISION_IDS_MAX: usize = 65_536;

/// Bytes of one pair in a snapshot.
const PAIR_BYTES: usize = 32;

#[derive(Debug, Default)]
pub(crate) struct Collisions {
    /// By provider id, the event that carried it first. Never iterated, so its order cannot show.
    first: HashMap<Id, Id>,
    /// Provider ids, oldest first.
    order: VecDeque<Id>,
}

impl Collisions {
    /// Whether an event, different in content, has carried this provider id before.
    pub fn collides(&mut self, event: &Event) -> bool {
        let Some(uid) = &event.metadata.uid else { return false };
        let parts = [event.tenant().as_bytes(), event.prunella.source.as_bytes(), uid.as_bytes()];
        let native = Id::derive("native", &parts);
        if let Some(first) = self.first.get(&native) {
            return *first != event.prunella.event_uid;
        }
        if self.order.len() >= COLLISION_IDS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.first.remove(&oldest);
        }
        self.remember(native, event.prunella.event_uid);
        false
    }

    /// The pairs, oldest first, after their number.
    pub fn save(&self, out: &mut Vec<u8>) {
        out.reserve(8 + self.order.len() * PAIR_BYTES);
        out.extend_from_slice(&(self.order.len() as u64).to_le_bytes());
        for native in &self.order {
            let first = self.first.get(native).copied().unwrap_or_default();
            out.extend_from_slice(&native.0);
            out.extend_from_slice(&first.0);
        }
    }

    pub fn restore(bytes: &[u8]) -> Result<Self, String> {
        let Some((count, pairs)) = bytes.split_first_chunk::<8>() else {
            return Err(format!("{} bytes; the number of ids takes 8", bytes.len()));
        };
        let count = u64::from_le_bytes(*count);
        let held = (pairs.len() / PAIR_BYTES) as u64;
        if held != count || !pairs.len().is_multiple_of(PAIR_BYTES) || held > COLLISION_IDS_MAX as u64 {
            return Err(format!("it says {count} ids and has {} bytes of them", pairs.len()));
        }
        let mut collisions = Collisions::default();
        for pair in pairs.chunks_exact(PAIR_BYTES) {
            if let (Some(native), Some(first)) = (pair.first_chunk::<16>(), pair.last_chunk::<16>()) {
                collisions.remember(Id(*native), Id(*first));
            }
        }
        if collisions.first.len() != collisions.order.len() {
            return Err("an id stands in it twice".to_owned());
        }
        Ok(collisions)
    }

    fn remember(&mut self, native: Id, first: Id) {
        self.first.insert(native, first);
        self.order.push_back(native);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(uid: &str, operation: u64) -> Event {
        let mut event = Event::default();
        event.metadata.uid = Some(uid.to_owned());
        event.prunella.event_uid = Id::derive("test", &[uid.as_bytes(), &operation.to_le_bytes()]);
        event
    }

    #[test]
    fn the_later_of_two_collides_and_memory_is_bounded() {
        let mut collisions = Collisions::default();
        assert!(!collisions.collides(&event("a", 1)));
        assert!(!collisions.collides(&event("a", 1)), "the same event again is no collision");
        assert!(collisions.collides(&event("a", 2)));
        assert!(!collisions.collides(&event("a", 1)), "the first stays the first");
        for i in 0..COLLISION_IDS_MAX {
            assert!(!collisions.collides(&event(&format!("b{i}"), 1)));
        }
        assert_eq!((collisions.order.len(), collisions.first.len()), (COLLISION_IDS_MAX, COLLISION_IDS_MAX));
        assert!(!collisions.collides(&event("a", 2)), "the oldest is forgotten");
    }

    #[test]
    fn snapshots_that_do_not_add_up_are_refused() {
        let mut collisions = Collisions::default();
        collisions.collides(&event("a", 1));
        collisions.collides(&event("b", 1));
        let mut saved = Vec::new();
        collisions.save(&mut saved);
        assert!(Collisions::restore(&saved).unwrap().collides(&event("b", 2)));
        for cut in [0, 7, 8, 39, saved.len() - 1] {
            assert!(Collisions::restore(&saved[..cut]).is_err(), "{cut}");
        }
        let twice = [&2u64.to_le_bytes()[..], &saved[8..40], &saved[8..40]].concat();
        assert!(Collisions::restore(&twice).is_err());
    }
}
