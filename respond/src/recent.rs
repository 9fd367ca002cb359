//! A bounded map that forgets the oldest entry first, in an order that is the same in every replay.

use prunella_schemas::{Id, Timestamp};
use serde::{Deserialize, Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, Deserialize)]
#[serde(from = "BTreeMap<Id, (Timestamp, V)>", bound(deserialize = "V: Deserialize<'de>"))]
pub(crate) struct Recent<V> {
    entries: BTreeMap<Id, (Timestamp, V)>,
    order: BTreeSet<(Timestamp, Id)>,
}

impl<V> Default for Recent<V> {
    fn default() -> Self {
        Recent { entries: BTreeMap::new(), order: BTreeSet::new() }
    }
}

impl<V> From<BTreeMap<Id, (Timestamp, V)>> for Recent<V> {
    fn from(entries: BTreeMap<Id, (Timestamp, V)>) -> Self {
        let order = entries.iter().map(|(id, (at, _))| (*at, *id)).collect();
        Recent { entries, order }
    }
}

impl<V: Serialize> Serialize for Recent<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.entries.serialize(serializer)
    }
}

impl<V> Recent<V> {
    pub fn get(&self, id: Id) -> Option<&V> {
        self.entries.get(&id).map(|(_, value)| value)
    }

    pub fn put(&mut self, id: Id, at: Timestamp, value: V) {
        if let Some((before, _)) = self.entries.insert(id, (at, value)) {
            self.order.remove(&(before, id));
        }
        self.order.insert((at, id));
    }

    /// Changes a value in place; its age stays.
    pub fn change(&mut self, id: Id, change: impl FnOnce(&mut V)) {
        if let Some((_, value)) = self.entries.get_mut(&id) {
            change(value);
        }
    }

    /// Forgets what is older than `before`, then the oldest down to `max` entries; never what `keep` says.
    pub fn forget(&mut self, before: Timestamp, max: usize, keep: impl Fn(&V) -> bool) {
        let mut passed_over = None;
        loop {
            let next = match passed_over {
                None => self.order.first().copied(),
                Some(last) => self
                    .order
                    .range((std::ops::Bound::Excluded(last), std::ops::Bound::Unbounded))
                    .next()
                    .copied(),
            };
            let Some((at, id)) = next.filter(|(at, _)| *at < before || self.entries.len() > max) else {
                return;
            };
            if self.get(id).is_some_and(&keep) {
                passed_over = Some((at, id));
            } else {
                self.order.remove(&(at, id));
                self.entries.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_the_oldest_but_never_what_is_kept() {
        let id = |n: u8| Id([n; 16]);
        let mut recent = Recent::default();
        for n in 0..10u8 {
            recent.put(id(n), Timestamp(i64::from(n)), n);
        }
        recent.put(id(0), Timestamp(20), 0);
        recent.forget(Timestamp(3), 5, |n| *n == 1);
        let left: Vec<u8> = (0..10).filter(|n| recent.get(id(*n)).is_some()).collect();
        assert_eq!(left, [0, 1, 7, 8, 9]);
        let text = serde_json::to_string(&recent).unwrap();
        let back: Recent<u8> = serde_json::from_str(&text).unwrap();
        assert_eq!((back.order, back.entries), (recent.order, recent.entries));
    }
}
