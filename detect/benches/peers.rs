//! Cost of the peer groups: making them from 4,096 profiles, placing a profile, and looking up a surprisal.

use prunella_detect::peers::{Facts, Groups, Profile, SAMPLE_MAX, Side};
use rustix::time::{ClockId, clock_gettime};

const ROUNDS: usize = 9;
const CALLS: usize = 200_000;
const ROLES: u64 = 12;
const EVENTS: u64 = 200;

#[allow(clippy::print_stdout, reason = "the result")]
fn main() {
    let profiles: Vec<Profile> = (0..2 * SAMPLE_MAX as u64).map(profile).collect();
    let named = || (0u64..).zip(&profiles);
    let mut groups = Groups::default();
    let (cpu, wall): (Vec<f64>, Vec<f64>) = (0..ROUNDS)
        .map(|_| {
            let start = [ClockId::ProcessCPUTime, ClockId::Monotonic].map(now_ns);
            let mut fresh = Groups::default();
            if let Err(error) = fresh.regroup(named()) {
                println!("{error}");
            }
            groups = fresh;
            (
                (now_ns(ClockId::ProcessCPUTime) - start[0]) / 1e6,
                (now_ns(ClockId::Monotonic) - start[1]) / 1e6,
            )
        })
        .unzip();
    let found = groups.of(Side::Human).count() + groups.of(Side::Machine).count();
    let (cpu, wall) = (quartiles(cpu), quartiles(wall));
    println!(
        "regroup {} profiles into {found} groups: {cpu:.1?} ms of processor, {wall:.1?} ms",
        profiles.len()
    );
    each("place a profile", |at| {
        groups.assign(&profiles[at % profiles.len()]).map_or(0.0, |group| f32::from(group.0))
    });
    let placed: Vec<_> = profiles.iter().map(|profile| groups.assign(profile)).collect();
    each("surprisal", |at| {
        let at = at % profiles.len();
        groups.surprisal(profiles[at].side, placed[at], at as u64)
    });
    let mut learner = profiles[0];
    each("learn an event", |at| {
        learner.learn(&call(3, at as u64));
        0.0
    });
}

#[allow(clippy::print_stdout, reason = "the result")]
fn each(what: &str, mut call: impl FnMut(usize) -> f32) {
    let rounds = (0..ROUNDS).map(|_| {
        let start = now_ns(ClockId::ThreadCPUTime);
        std::hint::black_box((0..CALLS).map(&mut call).sum::<f32>());
        (now_ns(ClockId::ThreadCPUTime) - start) / CALLS as f64
    });
    println!("{what}: {:.1?} ns", quartiles(rounds.collect()));
}

/// Median and quartiles.
fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [values[values.len() / 2], values[values.len() / 4], values[values.len() * 3 / 4]]
}

fn now_ns(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

fn profile(principal: u64) -> Profile {
    let role = principal % ROLES;
    let mut profile = Profile::new(if role.is_multiple_of(2) { Side::Human } else { Side::Machine });
    (0..EVENTS).for_each(|turn| profile.learn(&call(role, mix(principal) ^ turn)));
    profile
}

fn call(role: u64, draw: u64) -> Facts {
    let draw = mix(draw);
    let which = draw % 9;
    Facts {
        service: mix(role * 4 + which % 3),
        operation: mix(role * 64 + which),
        hour: ((role * 5 + draw % 8) % 24) as u8,
        bytes_log2: if role == 3 { 12.0 } else { 0.0 },
        failed: draw.is_multiple_of(31),
        admin: role == 4 && draw.is_multiple_of(3),
        flagged: false,
    }
}

fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_add(0x9E37_79B9_7F4A_7C15).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
