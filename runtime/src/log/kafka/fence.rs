//! Keeps out what an owner says that was replaced, however late it comes.
//!
//! The ids that a stage remembers keep out what is said again soon. An owner that stood still for long wakes up with
//! outputs that its successor has long said, and that nobody remembers. So every output names the claim under which it
//! was written: once a later claim to the same lane has spoken on a partition, the earlier one says nothing new there.
//! What it had said before the later claim stands before it, and everything else the successor says itself.

use prunella_schemas::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Lanes that are known; the one that was claimed longest ago is forgotten for another.
const LANES_MAX: usize = 4_096;
/// What a stage's memory starts with, if a fence stands before it.
const MAGIC: &[u8] = b"prunella.fence.1\n";

/// When a lane was claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Claim {
    /// Offset of the claim in the manifest.
    pub epoch: i64,
    /// The broker's clock at the claim. A manifest that was made anew counts from 0 again, but not its clock.
    pub at: Timestamp,
}

/// The latest claim to each lane whose outputs were read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Fence {
    latest: BTreeMap<String, Claim>,
}

/// As it stands in a header: `<lane>@<epoch>@<milliseconds>`.
pub fn signature(lane: &str, claim: Claim) -> String {
    format!("{lane}@{}@{}", claim.epoch, claim.at.0)
}

impl Fence {
    /// Whether what carries this signature counts. What carries none, or none that can be read, does.
    pub fn admits(&mut self, signature: &str) -> bool {
        let Some((lane, claim)) = parse(signature) else { return true };
        match self.latest.get_mut(lane) {
            // Both must say so: to drop what is new would be worse than to take what is old.
            Some(latest) if claim.epoch < latest.epoch && claim.at <= latest.at => false,
            Some(latest) => {
                *latest = claim;
                true
            }
            None => {
                if self.latest.len() >= LANES_MAX {
                    let oldest = self.latest.iter().min_by_key(|(_, claim)| claim.at);
                    if let Some(oldest) = oldest.map(|(lane, _)| lane.clone()) {
                        self.latest.remove(&oldest);
                    }
                }
                self.latest.insert(lane.to_owned(), claim);
                true
            }
        }
    }

    /// Itself and the stage's own memory.
    pub fn join(&self, stage: Vec<u8>) -> Vec<u8> {
        // Plain strings and numbers: serde_json cannot fail on them.
        let fence = serde_json::to_vec(&self.latest).unwrap_or_default();
        match self.latest.is_empty() {
            true => stage,
            false => [MAGIC, &(fence.len() as u32).to_le_bytes(), &fence, &stage].concat(),
        }
    }

    /// The other way round. A memory without a fence is from before there were any.
    pub fn split(bytes: &[u8]) -> Option<(Fence, &[u8])> {
        let Some(rest) = bytes.strip_prefix(MAGIC) else { return Some((Fence::default(), bytes)) };
        let (size, rest) = rest.split_at_checked(4)?;
        let size = u32::from_le_bytes(size.try_into().ok()?) as usize;
        let (fence, stage) = rest.split_at_checked(size)?;
        Some((Fence { latest: serde_json::from_slice(fence).ok()? }, stage))
    }
}

fn parse(signature: &str) -> Option<(&str, Claim)> {
    let (rest, at) = signature.rsplit_once('@')?;
    let (lane, epoch) = rest.rsplit_once('@')?;
    Some((lane, Claim { epoch: epoch.parse().ok()?, at: Timestamp(at.parse().ok()?) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pump::Seen;
    use prunella_schemas::Id;
    use prunella_schemas::limits::DEDUPE_IDS_MAX;

    fn signed(lane: &str, epoch: i64, at: i64) -> String {
        signature(lane, Claim { epoch, at: Timestamp(at) })
    }

    #[test]
    fn only_the_latest_claim_to_a_lane_speaks() {
        let mut fence = Fence::default();
        for (signature, want) in [
            (signed("detect/t/3", 10, 100), true),
            (signed("detect/t/4", 5, 50), true),
            (signed("detect/t/3", 20, 200), true),
            (signed("detect/t/3", 10, 100), false),
            (signed("detect/t/3", 20, 200), true),
            (signed("detect/t/4", 5, 50), true),
            // Two claims within one millisecond.
            (signed("detect/t/4", 6, 50), true),
            (signed("detect/t/4", 5, 50), false),
            // The manifest was made anew.
            (signed("detect/t/3", 0, 300), true),
            (signed("detect/t/3", 20, 200), true),
            ("unsigned".into(), true),
            ("a@b@c".into(), true),
        ] {
            assert_eq!(fence.admits(&signature), want, "{signature}");
        }
        let bytes = fence.join(b"memory".to_vec());
        assert_eq!(Fence::split(&bytes), Some((fence, &b"memory"[..])));
        assert_eq!(Fence::split(b"memory"), Some((Fence::default(), &b"memory"[..])));
        assert_eq!(Fence::split(&bytes[..20]), None);
    }

    /// A sleeper's output, after more of its successor's than ids are remembered.
    #[test]
    fn a_sleeper_is_kept_out_when_its_ids_are_forgotten() {
        let (mut seen, mut fence) = (Seen::default(), Fence::default());
        let id = |n: usize| Id::derive("output", &[&n.to_le_bytes()]);
        let (early, late) = (signed("ingest/t/0", 1, 10), signed("ingest/t/0", 2, 20));
        assert!(fence.admits(&early) && seen.first(id(0)));
        for n in 1..=DEDUPE_IDS_MAX {
            assert!(fence.admits(&late) && seen.first(id(n)));
        }
        assert!(seen.first(id(0)), "without the fence it would count twice");
        assert!(!fence.admits(&early), "the fence keeps it out");
    }

    #[test]
    fn it_knows_so_many_lanes_and_no_more() {
        let mut fence = Fence::default();
        (0..2 * LANES_MAX as i64).for_each(|n| assert!(fence.admits(&signed(&format!("lane {n}"), n, n))));
        assert_eq!(fence.latest.len(), LANES_MAX);
        assert!(!fence.latest.contains_key("lane 0") && fence.latest.contains_key("lane 5000"));
    }
}
