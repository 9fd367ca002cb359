//! An attack on itself: provider-native CloudTrail traffic, an attacker, and a front door that accepts or refuses it.
//!
//! Nothing here is assumed. The attacker's calls go to [`target::Target`], a small local service that asks Prunella
//! which tokens still count and writes the CloudTrail record of every call, so that "detected", "contained" and "last
//! accepted" are what happened, measured from outside through the same API that everybody else has.
//!
//! A live run happens now, because a containment is proven by comparing the times of calls with the wall clock; it is
//! three in the morning all the same, because the simulated company lives where it is ([`Traffic::live`]). A file's
//! attack begins at [`attack_time`], 03:00 UTC.
//!
//! [`background`] and [`scenario`] are pure and seeded: the same seed and base time give the same bytes. The generator
//! is `ChaCha8Rng`, whose output is fixed by the algorithm and not by the version of a crate.

pub mod background;
pub mod call;
pub mod cast;
pub mod file;
pub mod operation;
pub mod record;
pub mod report;
pub mod run;
pub mod scenario;
pub mod suite;
pub mod target;
pub mod vault;
pub mod watch;

pub use background::Traffic;
pub use call::{Call, Token};
pub use cast::Identity;
pub use file::{Label, Summary, labels, write_records};
pub use report::{Moment, Report};
pub use run::{Clock, Options, Progress, SimulateError, run};
pub use scenario::{Front, Intensity, Scenario};
pub use suite::{Outcome, Suite};

use prunella_schemas::{Id, Timestamp};
use rand::SeedableRng;

/// The generator of everything that is drawn by chance.
pub(crate) use rand::rngs::ChaCha8Rng as Rng;

/// The hour of the night at which every simulated attack begins, where the company is.
pub const ATTACK_HOUR: i64 = 3;

/// The most recent 03:00:00 UTC not after `now`: the attack begins at night, and none of its events is in the future.
pub fn attack_time(now: Timestamp) -> Timestamp {
    const DAY_MS: i64 = 86_400_000;
    let offset = ATTACK_HOUR * 3_600_000;
    Timestamp((now.0 - offset).div_euclid(DAY_MS) * DAY_MS + offset)
}

/// An independent generator for one purpose: `seed` is the user's, `stream` and `part` say what it is for, so that more
/// traffic of one principal changes nothing about another.
pub(crate) fn stream(seed: u64, stream: &str, part: u64) -> Rng {
    let low = Id::derive("simulate", &[&seed.to_le_bytes(), stream.as_bytes(), &part.to_le_bytes()]);
    let high = Id::derive("simulate", &[&low.0]);
    let mut key = [0; 32];
    key[..16].copy_from_slice(&low.0);
    key[16..].copy_from_slice(&high.0);
    Rng::from_seed(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_attack_begins_at_three_in_the_morning_and_never_in_the_future() {
        let check = |now: &str, want: &str| {
            let parse = |text| Timestamp::parse(text).expect("a time");
            assert_eq!(attack_time(parse(now)), parse(want), "{now}");
        };
        check("2026-11-21T01:18:22Z", "2026-11-20T03:00:00Z");
        check("2026-11-21T03:00:00Z", "2026-11-21T03:00:00Z");
        check("2026-11-21T02:59:59Z", "2026-11-20T03:00:00Z");
        check("2026-11-21T23:59:59Z", "2026-11-21T03:00:00Z");
    }
}
