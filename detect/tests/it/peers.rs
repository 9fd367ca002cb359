//! Peer groups: planted roles are found, keep their names from day to day, and tell who steps out of his role.

use proptest::prelude::*;
use prunella_detect::network::fingerprint;
use prunella_detect::peers::{Error, Facts, GROUP_MEMBERS_MIN, Group, Groups, Profile, Side, VERSION};
use std::collections::BTreeMap;

/// Draws that can be replayed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((u128::from(self.0) * end as u128) >> 64) as usize
    }
}

const ROLES: usize = 7;
/// Of each role, some more and some fewer; roles from here on are machines.
const FIRST_MACHINE: usize = 4;

fn side(role: usize) -> Side {
    if role < FIRST_MACHINE { Side::Human } else { Side::Machine }
}

/// A call as somebody of this role makes it: mostly the role's own operations, a fifth what everybody calls.
fn call(role: usize, random: &mut Random) -> Facts {
    let own = random.below(5) > 0;
    // Few of a role's operations are frequent.
    let which = random.below(12).min(random.below(12));
    let operation = if own { format!("role{role}:{which}") } else { format!("all:{}", which % 6) };
    let service = if own { format!("service{role}.{}", which % 3) } else { "sts".to_owned() };
    let shift = [9, 8, 14, 20, 0, 0, 3][role];
    let hour = if role == 4 { random.below(24) } else { shift + random.below(6) + random.below(4) };
    Facts {
        service: fingerprint(service.as_bytes()),
        operation: fingerprint(operation.as_bytes()),
        hour: (hour % 24) as u8,
        bytes_log2: if role == 2 { 14.0 + random.below(8) as f32 } else { 0.0 },
        failed: random.below(30) == 0,
        admin: role == 1 && random.below(2) == 0,
        flagged: false,
    }
}

struct World {
    roles: Vec<usize>,
    profiles: Vec<Profile>,
    groups: Groups,
    random: Random,
}

impl World {
    fn new(seed: u64) -> World {
        let roles: Vec<usize> = (0..ROLES).flat_map(|role| vec![role; 50 + 17 * role]).collect();
        let profiles = roles.iter().map(|role| Profile::new(side(*role))).collect();
        World { roles, profiles, groups: Groups::default(), random: Random(seed) }
    }

    /// Everybody works for a day; then the groups are made.
    fn day(&mut self, events: usize) {
        for (role, profile) in self.roles.iter().zip(&mut self.profiles) {
            for _ in 0..events + self.random.below(events) {
                let what = call(*role, &mut self.random);
                self.groups.learn(profile, self.groups.assign(profile), what.operation);
                profile.learn(&what);
            }
        }
        let mut groups = std::mem::take(&mut self.groups);
        groups.regroup(self.named()).unwrap();
        self.groups = groups;
    }

    fn named(&self) -> impl Iterator<Item = (u64, &Profile)> {
        let id = |at: usize| fingerprint(format!("arn:{at}").as_bytes());
        self.profiles.iter().enumerate().map(move |(at, profile)| (id(at), profile))
    }

    fn assigned(&self) -> Vec<Option<Group>> {
        self.profiles.iter().map(|profile| self.groups.assign(profile)).collect()
    }
}

/// The adjusted Rand index (Hubert and Arabie 1985): 1 for the same partition, about 0 for chance.
fn adjusted_rand<A: Ord + Copy, B: Ord + Copy>(a: &[A], b: &[B]) -> f64 {
    let pairs = |n: f64| n * (n - 1.0) / 2.0;
    let mut cells = BTreeMap::<(A, B), f64>::new();
    let (mut rows, mut columns) = (BTreeMap::<A, f64>::new(), BTreeMap::<B, f64>::new());
    for (a, b) in a.iter().zip(b) {
        *cells.entry((*a, *b)).or_default() += 1.0;
        *rows.entry(*a).or_default() += 1.0;
        *columns.entry(*b).or_default() += 1.0;
    }
    let together: f64 = cells.values().map(|n| pairs(*n)).sum();
    let rows: f64 = rows.values().map(|n| pairs(*n)).sum();
    let columns: f64 = columns.values().map(|n| pairs(*n)).sum();
    let chance = rows * columns / pairs(a.len() as f64);
    (together - chance) / ((rows + columns) / 2.0 - chance)
}

#[test]
fn the_index_knows_same_from_chance() {
    assert_eq!(adjusted_rand(&[1, 1, 2, 2, 3], &[7, 7, 5, 5, 6]), 1.0);
    assert!(adjusted_rand(&[0, 0, 1, 1, 0, 0, 1, 1], &[0, 1, 0, 1, 0, 1, 0, 1]) < 0.0);
    // Worked out by hand: 2 pairs together, 4 and 3 by margin, of 15: (2 - 0.8) / (3.5 - 0.8).
    let index = adjusted_rand(&[1, 1, 1, 2, 2, 3], &[1, 1, 2, 3, 3, 2]);
    assert!((index - (2.0 - 0.8) / (3.5 - 0.8)).abs() < 1e-12, "{index}");
}

#[test]
fn planted_roles_are_found_and_keep_their_names_from_day_to_day() {
    for seed in 0..u64::from(crate::effort()) {
        let mut world = World::new(seed);
        world.day(100);
        let first = world.assigned();
        assert!(first.iter().all(Option::is_some));
        let index = adjusted_rand(&world.roles, &first);
        assert!(index >= 0.9, "seed {seed}: roles {index}");
        world.day(100);
        let second = world.assigned();
        let index = adjusted_rand(&first, &second);
        assert!(index >= 0.8, "seed {seed}: days {index}");
        let same = first.iter().zip(&second).filter(|(before, after)| before == after).count();
        assert!(same * 10 >= first.len() * 9, "seed {seed}: {same} of {} kept their group", first.len());
        for side in [Side::Human, Side::Machine] {
            let members = world.groups.of(side).map(|group| world.groups.members(group));
            let sizes: Vec<u32> = members.collect();
            assert!(sizes.iter().all(|size| *size >= GROUP_MEMBERS_MIN as u32), "{sizes:?}");
            assert_eq!(
                sizes.iter().sum::<u32>() as usize,
                world.roles.iter().filter(|r| self::side(**r) == side).count()
            );
        }
    }
}

/// Mean surprisal of a day in one's own group: whoever does another role's work must stand out.
#[test]
fn a_switch_of_role_ranks_in_the_top_hundredth() {
    for seed in 0..u64::from(crate::effort()) {
        let mut world = World::new(seed);
        world.day(100);
        world.day(100);
        // Somebody of role 0 does, for a third of his day, what role 1 does, which is common in the tenant.
        let switched = 20;
        let mut scores: Vec<(f32, usize)> = Vec::new();
        for at in 0..world.roles.len() {
            let profile = world.profiles[at];
            let group = world.groups.assign(&profile);
            let mut bits = 0.0;
            for turn in 0..60 {
                let role = if at == switched && turn % 3 == 0 { 1 } else { world.roles[at] };
                let operation = call(role, &mut world.random).operation;
                bits += world.groups.surprisal(profile.side, group, operation);
            }
            scores.push((bits / 60.0, at));
        }
        scores.sort_by(|a, b| b.0.total_cmp(&a.0));
        let rank = scores.iter().position(|(_, at)| *at == switched).unwrap();
        assert!(
            rank <= scores.len() / 100,
            "seed {seed}: rank {rank} of {}: {:?}",
            scores.len(),
            &scores[..5]
        );
    }
}

#[test]
fn a_newcomer_takes_the_group_of_those_it_resembles() {
    let mut world = World::new(3);
    world.day(100);
    world.day(100);
    let mut newcomer = Profile::new(side(1));
    let operation = fingerprint(b"role1:0");
    let of_all = world.groups.surprisal(newcomer.side, world.groups.assign(&newcomer), operation);
    assert_eq!(world.groups.assign(&newcomer), None);
    let mut random = Random(99);
    for _ in 0..24 {
        newcomer.learn(&call(1, &mut random));
    }
    let group = world.groups.assign(&newcomer);
    let established = world.roles.iter().position(|role| *role == 1).unwrap();
    assert_eq!(group, world.groups.assign(&world.profiles[established]));
    let of_peers = world.groups.surprisal(newcomer.side, group, operation);
    assert!(of_peers + 1.0 < of_all, "{of_peers} bits among its peers, {of_all} among all");
    let stranger = world.groups.surprisal(newcomer.side, Some(Group(u16::MAX)), operation);
    assert_eq!(stranger, of_all, "a group that is gone counts as none");
    assert_eq!(world.groups.words(group.unwrap()), format!("unlike {} peers", 50 + 17));
}

#[test]
fn flagged_days_move_nobody_to_another_group() {
    let mut world = World::new(5);
    world.day(100);
    let mut profile = world.profiles[0];
    let (before, group) = (profile, world.groups.assign(&profile));
    let mut random = Random(1);
    for _ in 0..2_000 {
        profile.learn(&Facts { flagged: true, ..call(3, &mut random) });
    }
    assert_eq!((profile, world.groups.assign(&profile)), (before, group));
    for _ in 0..2_000 {
        profile.learn(&call(3, &mut random));
    }
    assert_ne!(world.groups.assign(&profile), group, "the same days without the flag would have");
}

/// One member who repeats an operation all day must not make it usual for the group.
#[test]
fn nobody_speaks_for_a_group() {
    let mut world = World::new(8);
    world.day(100);
    world.day(100);
    let mut loud = world.profiles[0];
    let group = world.groups.assign(&loud);
    let operation = fingerprint(b"DeleteTrail");
    let surprisal = |groups: &Groups| groups.surprisal(Side::Human, group, operation);
    let before = surprisal(&world.groups);
    for _ in 0..5_000 {
        world.groups.learn(&loud, group, operation);
        loud.learn(&Facts { operation, ..Facts::default() });
    }
    let after = surprisal(&world.groups);
    assert!(before > 5.0 && after > 4.0, "{before} then {after} bits");
}

#[test]
fn too_few_or_too_equal_profiles_give_no_nonsense() {
    let mut random = Random(4);
    let mut settled = Profile::default();
    (0..100).for_each(|_| settled.learn(&call(0, &mut random)));
    for (profiles, want) in [
        (vec![], 0),
        (vec![settled], 0),
        (vec![settled; GROUP_MEMBERS_MIN - 1], 0),
        (vec![settled; GROUP_MEMBERS_MIN], 1),
        (vec![settled; 1_000], 1),
        (vec![Profile::default(); 1_000], 0),
    ] {
        let mut groups = Groups::default();
        groups.regroup((0u64..).zip(&profiles)).unwrap();
        assert_eq!(groups.of(Side::Human).count(), want, "{} profiles", profiles.len());
        assert_eq!(groups.of(Side::Machine).count(), 0);
        assert_eq!(groups.assign(&settled).is_some(), want > 0);
        assert_eq!(groups.surprisal(Side::Human, groups.assign(&settled), 9), 11.0);
        assert_eq!(Groups::restore(&groups.save()).unwrap(), groups);
    }
}

#[test]
fn more_profiles_than_the_sample_are_counted_by_estimate() {
    let mut random = Random(4);
    let profiles: Vec<Profile> = (0..2_200)
        .map(|at| {
            let mut profile = Profile::default();
            (0..33).for_each(|_| profile.learn(&call(at % 2, &mut random)));
            profile
        })
        .collect();
    let mut groups = Groups::default();
    groups.regroup((0u64..).zip(&profiles)).unwrap();
    let members: Vec<u32> = groups.of(Side::Human).map(|group| groups.members(group)).collect();
    assert_eq!(members.len(), 2);
    assert!(members.iter().all(|n| (990..=1_210).contains(n)), "{members:?}");
}

#[test]
fn what_was_not_saved_here_is_refused() {
    let mut world = World::new(2);
    world.day(40);
    let good = world.groups.save();
    assert_eq!(Groups::restore(&good).unwrap().save(), good);
    let mut newer = good.clone();
    newer[0] = VERSION as u8 + 1;
    assert!(matches!(Groups::restore(&newer), Err(Error::Version { found: 3 })));
    assert!(matches!(Groups::restore(&[]), Err(Error::Broken("its version"))));
    assert!(matches!(Groups::restore(&good[..good.len() - 1]), Err(Error::Broken("its length"))));
    assert!(matches!(Groups::restore(&[&good[..], &[0]].concat()), Err(Error::Broken("its end"))));
}

fn facts() -> impl Strategy<Value = Facts> {
    let number = prop_oneof![
        any::<u8>().prop_map(f32::from),
        prop::sample::select(vec![f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1.0, f32::MAX]),
    ];
    (any::<(u64, u64, u8, bool, bool)>(), number, 0..10u8).prop_map(
        |((service, operation, hour, failed, admin), bytes_log2, flagged)| Facts {
            service,
            operation,
            hour,
            bytes_log2,
            failed,
            admin,
            flagged: flagged == 0,
        },
    )
}

proptest! {
    #![proptest_config(crate::cases(16))]

    #[test]
    fn a_profile_is_finite_and_survives_its_bytes_at_any_moment(events in prop::collection::vec(facts(), 0..200), times in 1..40usize) {
        let mut profile = Profile::new(Side::Machine);
        for _ in 0..times {
            events.iter().for_each(|what| profile.learn(what));
            prop_assert!(profile.vector().iter().all(|value| value.is_finite()));
            let mut bytes = Vec::new();
            profile.write(&mut bytes);
            let bytes: [u8; Profile::BYTES] = bytes.try_into().unwrap();
            prop_assert_eq!(Profile::read(&bytes), Some(profile));
        }
    }

    #[test]
    fn bytes_from_anywhere_never_panic(bytes in prop::collection::vec(any::<u8>(), Profile::BYTES..400)) {
        if let Some(profile) = Profile::read(bytes.first_chunk().unwrap()) {
            prop_assert!(profile.vector().iter().all(|value| value.is_finite()));
        }
        prop_assert!(Groups::restore(&bytes).is_err());
    }
}

proptest! {
    #![proptest_config(crate::cases(1))]

    /// The order of the principals, who was saved when, and which run it is change no bit.
    #[test]
    fn the_same_profiles_give_the_same_groups(seed in any::<u64>()) {
        let mut world = World::new(seed);
        world.day(40);
        let mut other = Groups::restore(&world.groups.save()).unwrap();
        prop_assert_eq!(&other, &world.groups);
        world.random = Random(seed ^ 1);
        let events: Vec<(usize, Facts)> = (0..world.roles.len() * 20)
            .map(|turn| turn % world.roles.len())
            .map(|at| (at, call(world.roles[at], &mut world.random)))
            .collect();
        for (at, what) in &events {
            let profile = &mut world.profiles[*at];
            let group = world.groups.assign(profile);
            prop_assert_eq!(other.assign(profile), group);
            world.groups.learn(profile, group, what.operation);
            other.learn(profile, group, what.operation);
            profile.learn(what);
        }
        let mut backwards: Vec<(u64, &Profile)> = world.named().collect();
        backwards.reverse();
        other.regroup(backwards).unwrap();
        let mut groups = world.groups.clone();
        groups.regroup(world.named()).unwrap();
        prop_assert_eq!(groups.save(), other.save());
    }
}
