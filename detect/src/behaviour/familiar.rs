//! Familiar: the few networks or devices a principal was last seen with, as fingerprints in order of use.

/// The age of what came with the principal, or so long ago that nobody would call it new, in hours.
pub const AGE_MAX: u8 = u8::MAX;

/// At most `N` fingerprints, the last used first. Two things may share a fingerprint; among eight, a stranger passes
/// for known once in 8,192 times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Familiar<const N: usize> {
    /// 0: empty.
    prints: [u16; N],
    /// Hours since it was first met.
    ages: [u8; N],
}

impl<const N: usize> Default for Familiar<N> {
    fn default() -> Self {
        Familiar { prints: [0; N], ages: [0; N] }
    }
}

/// Sixteen bits of a fingerprint, never 0.
pub fn print(fingerprint: u64) -> u16 {
    ((fingerprint.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48) as u16).max(1)
}

impl<const N: usize> Familiar<N> {
    /// How many hours ago it was first met.
    pub fn age(&self, print: u16) -> Option<u8> {
        self.prints.iter().zip(&self.ages).find(|(known, _)| **known == print).map(|(_, age)| *age)
    }

    pub fn len(&self) -> usize {
        self.prints.iter().filter(|known| **known != 0).count()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts it first; the longest unused falls out. The first one ever is taken as old: there was no time before it.
    pub fn meet(&mut self, print: u16) {
        let newcomer = if self.is_empty() { AGE_MAX } else { 0 };
        let age = self.age(print).unwrap_or(newcomer);
        let at = self.prints.iter().position(|known| *known == print).unwrap_or(N - 1);
        self.prints[..=at].rotate_right(1);
        self.ages[..=at].rotate_right(1);
        self.prints[0] = print;
        self.ages[0] = age;
    }

    /// Lets hours pass.
    pub fn pass(&mut self, hours: u8) {
        self.ages.iter_mut().for_each(|age| *age = age.saturating_add(hours));
    }

    pub const BYTES: usize = 3 * N;

    pub fn write(&self, out: &mut Vec<u8>) {
        self.prints.iter().for_each(|print| out.extend_from_slice(&print.to_le_bytes()));
        out.extend_from_slice(&self.ages);
    }

    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (prints, ages) = bytes.split_at_checked(2 * N)?;
        let mut familiar = Familiar { prints: [0; N], ages: ages.try_into().ok()? };
        for (print, bytes) in familiar.prints.iter_mut().zip(prints.as_chunks::<2>().0) {
            *print = u16::from_le_bytes(*bytes);
        }
        Some(familiar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_unused_falls_out_and_ages_stay_with_their_owner() {
        let mut known = Familiar::<4>::default();
        assert_eq!((known.age(7), known.age(0)), (None, Some(0)), "0 is no fingerprint");
        known.meet(7);
        known.pass(3);
        for print in [8, 9, 10, 7] {
            known.meet(print);
        }
        known.pass(2);
        assert_eq!([7, 8, 9, 10].map(|print| known.age(print)), [Some(AGE_MAX), Some(2), Some(2), Some(2)]);
        known.meet(11);
        assert_eq!((known.age(8), known.age(11), known.len()), (None, Some(0), 4));
        let mut bytes = Vec::new();
        known.write(&mut bytes);
        assert_eq!((bytes.len(), Familiar::read(&bytes)), (Familiar::<4>::BYTES, Some(known)));
        assert_eq!(Familiar::<4>::read(&bytes[1..]), None);
    }

    #[test]
    fn fingerprints_are_never_the_empty_one() {
        assert!((0..100_000).all(|n| print(n) != 0));
    }
}
