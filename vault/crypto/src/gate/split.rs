//! Shamir's scheme over GF(256): any `threshold` values give the key, any fewer say nothing about it.
//!
//! The scheme knows nothing of integrity: each value is authenticated where it is kept, and a wrong key is refused by
//! the commitment of the envelope.

use super::{Domain, Point};
use crate::Error;
use rand_core::CryptoRng;
use vsss_rs::{Gf256, IdentifierGf256};
use zeroize::Zeroizing;

/// The values at the x of each domain, in the order of the domains.
pub fn split(
    secret: &[u8],
    threshold: usize,
    domains: &[Domain],
    rng: &mut impl CryptoRng,
) -> Result<Vec<Zeroizing<Vec<u8>>>, Error> {
    let at = domains.iter().map(|domain| IdentifierGf256(Gf256(*domain as u8)));
    let shares = Gf256::split_bytes_with_participant_ids_iter(threshold, domains.len(), secret, rng, at)
        .map_err(|_| Error::Library)?;
    // The library writes x before the values.
    Ok(shares
        .into_iter()
        .map(Zeroizing::new)
        .map(|share| Zeroizing::new(share.iter().skip(1).copied().collect()))
        .collect())
}

/// The key that the first `threshold` points give; wrong points give a wrong key.
pub fn join(threshold: usize, points: &[Point]) -> Result<Zeroizing<[u8; 32]>, Error> {
    let mut taken: Vec<&Point> = Vec::with_capacity(threshold);
    for point in points {
        if taken.len() < threshold && taken.iter().all(|other| other.domain() != point.domain()) {
            taken.push(point);
        }
    }
    if taken.len() < threshold {
        return Err(Error::Refused);
    }
    let shares = taken.iter().map(|point| [&[point.domain() as u8], &point.expose()[..]].concat()).collect();
    let shares: Zeroizing<Vec<Vec<u8>>> = Zeroizing::new(shares);
    let key = Zeroizing::new(Gf256::combine_bytes(&*shares).map_err(|_| Error::Refused)?);
    key.as_slice().try_into().map(Zeroizing::new).map_err(|_| Error::Refused)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::Tier;
    use rand_core::{TryCryptoRng, TryRng};
    use std::convert::Infallible;

    /// Gives the coefficients of the polynomial, one after the other.
    struct Script<'a>(std::slice::Iter<'a, u8>);

    impl TryRng for Script<'_> {
        type Error = Infallible;

        fn try_next_u32(&mut self) -> Result<u32, Infallible> {
            Ok(u32::from(*self.0.next().unwrap()))
        }

        fn try_next_u64(&mut self) -> Result<u64, Infallible> {
            self.try_next_u32().map(u64::from)
        }

        fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
            dst.iter_mut().for_each(|byte| *byte = *self.0.next().unwrap());
            Ok(())
        }
    }

    impl TryCryptoRng for Script<'_> {}

    fn values(tier: Tier, secret: u8, coefficients: &[u8]) -> Vec<u8> {
        let mut script = Script(coefficients.iter());
        let shares = split(&[secret], tier.threshold(), tier.domains(), &mut script).unwrap();
        shares.iter().map(|share| share[0]).collect()
    }

    /// Every set of `threshold - 1` positions among the domains of a tier.
    fn sets_that_must_not_open(tier: Tier) -> Vec<Vec<usize>> {
        let n = tier.domains().len();
        (0_u32..1 << n)
            .filter(|set| set.count_ones() as usize == tier.threshold() - 1)
            .map(|set| (0..n).filter(|i| set >> i & 1 == 1).collect())
            .collect()
    }

    /// LOW: for every secret byte and every domain, each value occurs exactly once over all coefficients.
    #[test]
    fn one_part_of_low_is_independent_of_the_key() {
        for secret in 0..=255 {
            let mut seen = [[0_u32; 256]; 3];
            for coefficient in 0..=255 {
                let values = values(Tier::Low, secret, &[coefficient]);
                seen.iter_mut().zip(values).for_each(|(seen, value)| seen[usize::from(value)] += 1);
            }
            assert!(seen.iter().flatten().all(|count| *count == 1), "secret {secret}");
        }
    }

    /// MEDIUM: the same for every two of four parts, over all 65,536 pairs of coefficients.
    #[test]
    fn two_parts_of_medium_are_independent_of_the_key() {
        for secret in [0, 1, 0x53, 255] {
            let sets = sets_that_must_not_open(Tier::Medium);
            let mut seen = vec![vec![false; 65_536]; sets.len()];
            for (first, second) in (0..=255).flat_map(|a| (0..=255).map(move |b| (a, b))) {
                let values = values(Tier::Medium, secret, &[first, second]);
                for (set, seen) in sets.iter().zip(&mut seen) {
                    let at = usize::from(values[set[0]]) << 8 | usize::from(values[set[1]]);
                    assert!(!std::mem::replace(&mut seen[at], true), "{set:?} saw {at:04x} twice");
                }
            }
            assert!(seen.iter().flatten().all(|seen| *seen), "secret {secret}");
        }
    }

    /// Every tier, HIGH with its 16 million triples too: the parts are a linear map of the coefficients over GF(2), and
    /// its matrix is invertible, so each combination of values occurs exactly once whatever the secret is.
    #[test]
    fn fewer_parts_than_the_threshold_are_independent_of_the_key_at_every_tier() {
        for tier in [Tier::Low, Tier::Medium, Tier::High] {
            let free = tier.threshold() - 1;
            let linear = |bits: u32| values(tier, 0, &bits.to_be_bytes()[4 - free..]);
            for (a, b, secret) in [(0x00_1234, 0x00_ff01, 7), (0xab_cdef, 0x13_5799, 200), (1, 2, 255)] {
                let mask = (1_u32 << (8 * free)) - 1;
                let (a, b) = (a & mask, b & mask);
                let sum: Vec<u8> = linear(a).iter().zip(linear(b)).map(|(x, y)| x ^ y).collect();
                assert_eq!(linear(a ^ b), sum, "{tier:?} is linear");
                let shifted: Vec<u8> = linear(a).iter().map(|x| x ^ secret).collect();
                assert_eq!(
                    values(tier, secret, &a.to_be_bytes()[4 - free..]),
                    shifted,
                    "{tier:?} is shifted"
                );
            }
            let columns: Vec<Vec<u8>> = (0..8 * free).map(|bit| linear(1 << bit)).collect();
            for set in sets_that_must_not_open(tier) {
                let matrix = columns.iter().map(|values| {
                    set.iter().fold(0_u32, |row, position| row << 8 | u32::from(values[*position]))
                });
                assert_eq!(rank(matrix.collect()), 8 * free, "{tier:?} {set:?}");
            }
        }
    }

    /// The rank of a matrix over GF(2), a row each.
    fn rank(mut rows: Vec<u32>) -> usize {
        let mut rank = 0;
        while let Some(pivot) = rows.pop() {
            if pivot != 0 {
                rank += 1;
                let low = pivot & pivot.wrapping_neg();
                rows.iter_mut().filter(|row| **row & low != 0).for_each(|row| *row ^= pivot);
            }
        }
        rank
    }
}
