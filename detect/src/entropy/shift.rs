//! Shift: an entropy that left its baseline, and how to say so.

use super::logarithm::BIT;

/// Which of a principal's entropies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// How varied its operations are.
    Operations,
    /// How much an operation leaves open about the next.
    Steps,
    /// How varied the gaps between its events are.
    Gaps,
    /// How varied the symbols of a [`super::Rolling`] window are; whose, the caller says.
    Window,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Automation, or predictability.
    Fall,
    /// Enumeration.
    Rise,
}

/// An entropy that left its baseline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shift {
    pub stream: Which,
    pub direction: Direction,
    /// In 1/65,536 bits.
    pub bits_now: u32,
    /// In 1/65,536 bits.
    pub bits_usual: u32,
}

impl Shift {
    /// For an analyst: "its operations became predictable: 0.4 bits a step where 2.9 are usual".
    pub fn words(&self) -> String {
        let what = match (self.stream, self.direction) {
            (Which::Operations, Direction::Fall) => "its operations became few",
            (Which::Operations, Direction::Rise) => "its operations became many",
            (Which::Steps, Direction::Fall) => "its operations became predictable",
            (Which::Steps, Direction::Rise) => "its operations came in an order unlike any before",
            (Which::Gaps, Direction::Fall) => "its pace became regular",
            (Which::Gaps, Direction::Rise) => "its pace became irregular",
            (Which::Window, Direction::Fall) => "fewer kinds than before",
            (Which::Window, Direction::Rise) => "more kinds than before",
        };
        let per = match self.stream {
            Which::Operations => "an operation",
            Which::Window => "each",
            Which::Steps => "a step",
            Which::Gaps => "a gap",
        };
        format!("{what}: {} bits {per} where {} are usual", tenths(self.bits_now), tenths(self.bits_usual))
    }
}

fn tenths(bits: u32) -> String {
    let tenths = (u64::from(bits) * 10 + u64::from(BIT) / 2) / u64::from(BIT);
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_for_people() {
        let shift = Shift {
            stream: Which::Steps,
            direction: Direction::Fall,
            bits_now: 26_000,
            bits_usual: 2 * BIT + 60_000,
        };
        assert_eq!(shift.words(), "its operations became predictable: 0.4 bits a step where 2.9 are usual");
        let scan =
            Shift { stream: Which::Operations, direction: Direction::Rise, bits_now: 5 * BIT, ..shift };
        assert_eq!(scan.words(), "its operations became many: 5.0 bits an operation where 2.9 are usual");
    }
}
