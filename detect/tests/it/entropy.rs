//! Entropy as a whole: what is called, what is not, and that nothing is lost in a saved state.

use proptest::prelude::*;
use prunella_detect::entropy::{Direction, Limits, Rolling, Shift, Streams, WINDOW, Which};

/// Of somebody under attack, the next event: the symbol of its operation and of the gap before it.
type Next<'a> = &'a dyn Fn(u64, &mut Numbers) -> (u8, u8);

/// A source of numbers that look random and are the same everywhere.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    /// An operation of somebody who does 24 things, some of them often.
    fn operation(&mut self) -> u8 {
        self.below(24).min(self.below(24)) as u8
    }
}

/// Of somebody known for 6,000 events, what is called in the 256 events that follow, and after how many.
fn called(mut event: impl FnMut(u64, &mut Numbers) -> (u8, u8)) -> Option<(u64, Shift)> {
    let (mut numbers, mut streams, limits) = (Numbers(7), Streams::default(), Limits::default());
    for _ in 0..6_000 {
        let event = (numbers.operation(), 8 + numbers.below(12) as u8);
        assert_eq!(streams.learn(event.0, event.1, &limits), None);
    }
    (0..256).find_map(|n| {
        let (operation, gap) = event(n, &mut numbers);
        streams.learn(operation, gap, &limits).map(|shift| (n + 1, shift))
    })
}

#[test]
fn bots_and_scans_are_called_and_people_are_not() {
    use {Direction::*, Which::*};
    let gap = |numbers: &mut Numbers| 8 + numbers.below(12) as u8;
    type Case<'a> = (&'a str, Option<(Which, Direction)>, Next<'a>);
    let cases: [Case; 6] = [
        ("the same person", None, &|_, numbers| (numbers.operation(), gap(numbers))),
        ("a 3-cycle", Some((Steps, Fall)), &|n, numbers| ((n % 3) as u8, gap(numbers))),
        ("one operation", Some((Steps, Fall)), &|_, numbers| (1, gap(numbers))),
        ("a cycle of 12", Some((Steps, Fall)), &|n, numbers| ((n % 12) as u8, gap(numbers))),
        ("a scan", Some((Operations, Rise)), &|n, numbers| (n as u8, gap(numbers))),
        ("a regular pace", Some((Gaps, Fall)), &|_, numbers| (numbers.operation(), 12)),
    ];
    for (name, want, event) in cases {
        let got = called(event);
        assert_eq!(got.map(|(_, shift)| (shift.stream, shift.direction)), want, "{name}: {got:?}");
        assert!(got.is_none_or(|(events, _)| events <= 64), "{name}: {got:?}");
    }
}

#[test]
fn nobody_is_called_before_they_are_known() {
    let (mut streams, mut numbers, limits) = (Streams::default(), Numbers(3), Limits::default());
    for n in 0..3_000u64 {
        let operation = if n < 1_500 { numbers.operation() } else { 1 };
        assert_eq!(streams.learn(operation, 10, &limits), None);
        assert_eq!(streams.departure(), 0.0, "{n}");
    }
}

#[test]
fn a_departure_comes_before_the_call_and_goes_with_it() {
    let (mut streams, mut numbers, limits) = (Streams::default(), Numbers(5), Limits::default());
    for _ in 0..6_000 {
        streams.learn(numbers.operation(), 8 + numbers.below(12) as u8, &limits);
    }
    let mut least = 0.0f32;
    let shift = (0..128).find_map(|_| {
        let shift = streams.learn(1, 8 + numbers.below(12) as u8, &limits);
        least = least.min(streams.departure());
        shift
    });
    assert_eq!(shift.map(|shift| shift.direction), Some(Direction::Fall));
    assert!(least < 0.0 && streams.departure() == 0.0, "{least} {}", streams.departure());
}

#[test]
fn a_tenant_that_turns_to_one_thing_or_to_everything_is_called() {
    for (name, want, symbol) in [
        ("one thing", Some(Direction::Fall), (|_, _| 1) as fn(u64, &mut Numbers) -> u8),
        ("everything", Some(Direction::Rise), |_, numbers| numbers.below(256) as u8),
        ("the usual", None, |_, numbers| numbers.operation()),
    ] {
        let (mut rolling, mut numbers) = (Rolling::new(), Numbers(9));
        for n in 0..100 * WINDOW {
            assert_eq!(rolling.push(numbers.operation()), None, "{name}: {n}");
        }
        let shift = (0..2 * WINDOW as u64).find_map(|n| rolling.push(symbol(n, &mut numbers)));
        assert_eq!(shift.map(|shift| shift.direction), want, "{name}: {shift:?}");
    }
}

proptest! {
    #![proptest_config(crate::cases(32))]

    #[test]
    fn a_saved_state_goes_on_as_if_never_saved(
        events in prop::collection::vec((0u8..20, 0u8..24), 0..900),
        cut in 0usize..900,
    ) {
        let limits = Limits { warm_up: 4, ..Limits::default() };
        let cut = cut.min(events.len());
        let mut streams = Streams::default();
        for (operation, gap) in &events[..cut] {
            streams.learn(*operation, *gap, &limits);
        }
        let mut saved = Vec::new();
        streams.write(&mut saved);
        let bytes = <&[u8; Streams::BYTES]>::try_from(&saved[..]).expect("as long as it says");
        let mut again = Streams::read(bytes).expect("what was written is read");
        for (operation, gap) in &events[cut..] {
            prop_assert_eq!(streams.learn(*operation, *gap, &limits), again.learn(*operation, *gap, &limits));
            prop_assert!(streams.departure().is_finite());
        }
        prop_assert_eq!(streams, again);
    }

    #[test]
    fn hostile_bytes_never_panic(
        bytes in prop::collection::vec(any::<u8>(), Streams::BYTES),
        watches in any::<bool>(),
    ) {
        // Valid rings with hostile watches reach further than bytes that are hostile throughout.
        let mut saved = Vec::new();
        let mut streams = Streams::default();
        for n in 0..40 {
            streams.learn(n % 5, n, &Limits::default());
        }
        streams.write(&mut saved);
        let from = if watches { 80 } else { 0 };
        saved[from..].copy_from_slice(&bytes[from..]);
        if let Some(mut streams) = <&[u8; Streams::BYTES]>::try_from(&saved[..]).ok().and_then(Streams::read) {
            for n in 0..200 {
                streams.learn(n, n % 7, &Limits::default());
                prop_assert!(streams.departure().is_finite());
            }
        }
    }
}
