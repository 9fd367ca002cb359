//! Groups: the peer groups of one tenant, made anew from time to time, whose ids keep their meaning.

use super::cluster::{Point, Scale, cluster, nearest};
use super::profile::{PLACED_EVENTS_MIN, Profile, SETTLED_EVENTS_MIN};
use super::tally::{OPERATIONS, Tally};
use super::{Error, Side};
use serde::{Deserialize, Serialize};

/// Changes whenever an older build could not read what this one saves.
pub const VERSION: u32 = 2;
/// Groups of one side.
pub const GROUPS_MAX: usize = 32;
/// A smaller group says little about anybody.
pub const GROUP_MEMBERS_MIN: usize = 30;
/// Profiles of one side that groups are made from.
pub const SAMPLE_MAX: usize = 2_048;
/// A member's later calls of one operation count no more: 1st, 2nd, 4th .. 128th.
const CALLS_COUNTED_MAX: u16 = 128;

/// A group's name. It stays with the group when the groups are made anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Group(pub u16);

/// Who behaves like whom in one tenant, and what each group does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Groups {
    humans: Half,
    machines: Half,
    next: u16,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Half {
    scale: Scale,
    /// Everybody of this side, in a group or not.
    all: Tally,
    /// Ordered by id.
    peers: Vec<Peers>,
}

#[derive(Clone, Debug, PartialEq)]
struct Peers {
    id: Group,
    members: u32,
    centre: Point,
    tally: Tally,
}

impl Groups {
    /// The group of the nearest centre; `None` of one that has done too little yet, or where its side has no groups.
    pub fn assign(&self, profile: &Profile) -> Option<Group> {
        if profile.events() < PLACED_EVENTS_MIN {
            return None;
        }
        let half = self.half(profile.side);
        half.nearest(profile).and_then(|at| half.peers.get(at)).map(|peers| peers.id)
    }

    /// Counts a call, before `profile` learns it; leave out what was flagged. A member's 1st, 2nd, 4th, 8th .. call of
    /// an operation counts, so that nobody can speak for a whole group.
    pub fn learn(&mut self, profile: &Profile, group: Option<Group>, operation: u64) {
        let calls = u16::from(profile.called(operation)) + 1;
        if !calls.is_power_of_two() || calls > CALLS_COUNTED_MAX {
            return;
        }
        let half = match profile.side {
            Side::Human => &mut self.humans,
            Side::Machine => &mut self.machines,
        };
        let symbol = symbol(operation);
        half.all.add(symbol);
        if let Some(at) = group.and_then(|group| half.find(group)) {
            half.peers[at].tally.add(symbol);
        }
    }

    /// How surprising an operation is in a group, in bits; without a group, among all of this side. 11 where nothing is
    /// known.
    pub fn surprisal(&self, side: Side, group: Option<Group>, operation: u64) -> f32 {
        let (half, operation) = (self.half(side), symbol(operation));
        let own = group.and_then(|group| half.find(group)).map_or(&half.all, |at| &half.peers[at].tally);
        own.surprisal(&half.all, operation)
    }

    /// Calls of this side that were counted, as in [`Groups::learn`].
    pub fn calls(&self, side: Side) -> u32 {
        self.half(side).all.sum()
    }

    /// Members at the last grouping; of a side with more than [`SAMPLE_MAX`] settled profiles, an estimate.
    pub fn members(&self, group: Group) -> u32 {
        let halves = [&self.humans, &self.machines];
        halves.iter().find_map(|half| Some(half.peers[half.find(group)?].members)).unwrap_or(0)
    }

    /// For people: "unlike 212 peers".
    pub fn words(&self, group: Group) -> String {
        format!("unlike {} peers", self.members(group))
    }

    pub fn of(&self, side: Side) -> impl Iterator<Item = Group> {
        self.half(side).peers.iter().map(|peers| peers.id)
    }

    /// Makes the groups anew from the settled ones of these profiles, each with the fingerprint of its principal, in
    /// any order. An old group keeps its id and its counts where most of its members stay together; a new one starts
    /// with the counts of the group that most of its members come from. On an error the old groups stay.
    pub fn regroup<'a>(
        &mut self,
        profiles: impl IntoIterator<Item = (u64, &'a Profile)>,
    ) -> Result<(), Error> {
        let mut sides = [Vec::new(), Vec::new()];
        for (principal, profile) in profiles {
            if profile.events() >= SETTLED_EVENTS_MIN {
                sides[usize::from(profile.side == Side::Machine)].push((
                    spread(principal),
                    principal,
                    profile,
                ));
            }
        }
        let mut next = self.next;
        let [humans, machines] = sides;
        let taken: Vec<Group> = self.of(Side::Human).chain(self.of(Side::Machine)).collect();
        let mut name = || {
            while taken.contains(&Group(next)) {
                next = next.wrapping_add(1);
            }
            next = next.wrapping_add(1);
            Group(next.wrapping_sub(1))
        };
        let humans = self.humans.regroup(humans, &mut name)?;
        let machines = self.machines.regroup(machines, &mut name)?;
        *self = Groups { humans, machines, next };
        Ok(())
    }

    fn half(&self, side: Side) -> &Half {
        match side {
            Side::Human => &self.humans,
            Side::Machine => &self.machines,
        }
    }

    pub fn save(&self) -> Vec<u8> {
        let halves = [&self.humans, &self.machines].map(SavedHalf::of);
        postcard::to_stdvec(&Saved { version: VERSION, next: self.next, halves }).unwrap_or_default()
    }

    pub fn restore(bytes: &[u8]) -> Result<Groups, Error> {
        let (found, _) = postcard::take_from_bytes::<u32>(bytes).map_err(|_| Error::Broken("its version"))?;
        if found != VERSION {
            return Err(Error::Version { found });
        }
        let (saved, rest) =
            postcard::take_from_bytes::<Saved>(bytes).map_err(|_| Error::Broken("its length"))?;
        if !rest.is_empty() {
            return Err(Error::Broken("its end"));
        }
        let [humans, machines] = saved.halves;
        let (humans, machines) = (humans.half()?, machines.half()?);
        if humans.peers.iter().any(|peers| machines.find(peers.id).is_some()) {
            return Err(Error::Broken("its groups"));
        }
        Ok(Groups { humans, machines, next: saved.next })
    }
}

impl Half {
    fn find(&self, group: Group) -> Option<usize> {
        self.peers.binary_search_by_key(&group, |peers| peers.id).ok()
    }

    fn nearest(&self, profile: &Profile) -> Option<usize> {
        nearest(&self.scale.apply(&profile.vector()), self.peers.iter().map(|peers| &peers.centre))
    }

    /// `name` draws an id that no group has.
    fn regroup(
        &self,
        mut settled: Vec<(u64, u64, &Profile)>,
        name: &mut impl FnMut() -> Group,
    ) -> Result<Half, Error> {
        let known = settled.len();
        let order = |(spread, principal, _): &(u64, u64, &Profile)| (*spread, *principal);
        if known > SAMPLE_MAX {
            settled.select_nth_unstable_by_key(SAMPLE_MAX, order);
            settled.truncate(SAMPLE_MAX);
        }
        // The order of the points decides where k-means starts.
        settled.sort_unstable_by_key(order);
        let vectors: Vec<Point> = settled.iter().map(|(_, _, profile)| profile.vector()).collect();
        let scale = Scale::of(&vectors);
        let points: Vec<Point> = vectors.iter().map(|vector| scale.apply(vector)).collect();
        let centres = cluster(&points, GROUP_MEMBERS_MIN, GROUPS_MAX)?;
        let mut overlap = vec![vec![0u32; self.peers.len()]; centres.len()];
        let mut members = vec![0u32; centres.len()];
        for (point, (_, _, profile)) in points.iter().zip(&settled) {
            let Some(new) = nearest(point, centres.iter()) else { continue };
            members[new] += 1;
            if let Some(old) = self.nearest(profile) {
                overlap[new][old] += 1;
            }
        }
        let heirs = heirs(&overlap);
        let peers = centres.into_iter().zip(&members).zip(&overlap).zip(heirs).map(
            |(((centre, sampled), overlap), heir)| {
                let origin =
                    overlap.iter().enumerate().max_by_key(|(at, shared)| (**shared, usize::MAX - at));
                let origin = heir.or_else(|| origin.filter(|(_, shared)| **shared > 0).map(|(at, _)| at));
                let tally = origin.map(|at| self.peers[at].tally.clone()).unwrap_or_default();
                let id = heir.map_or_else(&mut *name, |at| self.peers[at].id);
                let members = u64::from(*sampled) * known as u64 / settled.len().max(1) as u64;
                Peers { id, members: members as u32, centre, tally }
            },
        );
        let mut peers: Vec<Peers> = peers.collect();
        peers.sort_unstable_by_key(|peers| peers.id);
        Ok(Half { scale, all: self.all.clone(), peers })
    }
}

/// For each new group, the old one whose id it takes: greedily by overlap, where that is at least half of either.
fn heirs(overlap: &[Vec<u32>]) -> Vec<Option<usize>> {
    let mut old_sizes = vec![0; overlap.first().map_or(0, Vec::len)];
    for row in overlap {
        old_sizes.iter_mut().zip(row).for_each(|(size, shared)| *size += shared);
    }
    let mut pairs: Vec<(u32, usize, usize)> = Vec::new();
    for (new, row) in overlap.iter().enumerate() {
        let size: u32 = row.iter().sum();
        for (old, shared) in row.iter().enumerate() {
            if *shared > 0 && 2 * shared >= size.min(old_sizes[old]) {
                pairs.push((*shared, new, old));
            }
        }
    }
    pairs.sort_unstable_by(|a, b| b.0.cmp(&a.0).then((a.2, a.1).cmp(&(b.2, b.1))));
    let mut heirs = vec![None; overlap.len()];
    let mut gone = vec![false; old_sizes.len()];
    for (_, new, old) in pairs {
        if heirs[new].is_none() && !gone[old] {
            heirs[new] = Some(old);
            gone[old] = true;
        }
    }
    heirs
}

fn symbol(operation: u64) -> u16 {
    (operation % OPERATIONS as u64) as u16
}

/// Draws the sample: as good as chance, and the same everywhere.
fn spread(principal: u64) -> u64 {
    let mixed = (principal ^ (principal >> 31)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed ^ (mixed >> 29)
}

#[derive(Serialize, Deserialize)]
struct Saved {
    version: u32,
    next: u16,
    halves: [SavedHalf; 2],
}

#[derive(Serialize, Deserialize)]
struct SavedHalf {
    scale: Scale,
    all: Vec<u16>,
    peers: Vec<SavedPeers>,
}

#[derive(Serialize, Deserialize)]
struct SavedPeers {
    id: Group,
    members: u32,
    centre: Point,
    tally: Vec<u16>,
}

impl SavedHalf {
    fn of(half: &Half) -> SavedHalf {
        let saved = |peers: &Peers| SavedPeers {
            id: peers.id,
            members: peers.members,
            centre: peers.centre,
            tally: peers.tally.counts().to_vec(),
        };
        SavedHalf {
            scale: half.scale,
            all: half.all.counts().to_vec(),
            peers: half.peers.iter().map(saved).collect(),
        }
    }

    fn half(self) -> Result<Half, Error> {
        let tally = |counts: &[u16]| Tally::of(counts).ok_or(Error::Broken("its counts"));
        let ascending = self.peers.windows(2).all(|pair| pair[0].id < pair[1].id);
        if self.peers.len() > GROUPS_MAX || !ascending {
            return Err(Error::Broken("its groups"));
        }
        let finite = self.peers.iter().all(|peers| peers.centre.iter().all(|value| value.is_finite()));
        if !finite || !(self.scale == Scale::default() || self.scale.holds()) {
            return Err(Error::Broken("its numbers"));
        }
        let peers = self.peers.into_iter().map(|saved| {
            let tally = tally(&saved.tally)?;
            Ok(Peers { id: saved.id, members: saved.members, centre: saved.centre, tally })
        });
        Ok(Half { scale: self.scale, all: tally(&self.all)?, peers: peers.collect::<Result<_, Error>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::heirs;

    #[test]
    fn ids_go_where_most_of_the_members_go() {
        for (overlap, want) in [
            (vec![vec![40, 0], vec![0, 50]], vec![Some(0), Some(1)]),
            (vec![vec![0, 50], vec![40, 0]], vec![Some(1), Some(0)]),
            // One old group splits: the larger part inherits.
            (vec![vec![40], vec![60]], vec![None, Some(0)]),
            // Two old groups are joined: the larger lives on.
            (vec![vec![40, 60]], vec![Some(1)]),
            // A few strays make no heir.
            (vec![vec![100, 0, 0], vec![10, 20, 30]], vec![Some(0), Some(2)]),
            (vec![vec![], vec![]], vec![None, None]),
            (vec![], vec![]),
        ] {
            assert_eq!(heirs(&overlap), want, "{overlap:?}");
        }
    }
}
