//! What every connector must do, whatever the provider: one suite over a bench that each connector brings. For tests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod cases;
mod gate;
mod rig;

pub use cases::*;
pub use gate::{Answer, Asked, Gate, Loss};
pub use rig::Rig;

use async_trait::async_trait;
use prunella_schemas::port::Source;
use std::sync::Arc;

/// A provider's emulator with one place that a source reads.
#[async_trait]
pub trait Bench: Send + Sync {
    /// The source over that place, as a start of the program makes it. Its requests go through the gate.
    async fn source(&self) -> Arc<dyn Source>;
    /// The provider writes objects there, in order.
    async fn deliver(&self, objects: &[Object]);
    /// Records as this source has them, one line of JSON each; another number, another record.
    fn record(&self, number: u32) -> String;
    /// What the provider answers when it refuses for this reason.
    fn refusal(&self, fault: Fault) -> Answer;
    fn gate(&self) -> &Gate;
    /// How many notifications wait at the provider, where the source reads some: what was acknowledged is gone.
    async fn waiting(&self) -> u64 {
        0
    }
}

/// One object of the provider.
#[derive(Clone, Debug)]
pub struct Object {
    /// Minutes after the bench's own beginning; objects of the same minute are told apart by their first record.
    pub minute: u32,
    /// Numbers of the records in it: `first .. first + count`.
    pub first: u32,
    pub count: u32,
    /// Its bytes end in the middle.
    pub cut: bool,
}

impl Object {
    /// Ten records; the objects of different minutes share none.
    pub fn at(minute: u32) -> Self {
        Object { minute, first: minute * 1_000, count: 10, cut: false }
    }
}

/// Why a provider refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Too many requests.
    Throttled,
    /// The credentials were good until a moment ago.
    ExpiredCredentials,
    /// Our clock is wrong.
    ClockSkew,
    /// A permission is missing.
    Denied,
}

/// Makes a test of each case. `$bench` is an async function that gives a new bench, or `None` with a loud word where the
/// emulator is not there.
#[macro_export]
macro_rules! contract {
    ($bench:path; $($case:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                let Some(bench) = $bench().await else { return };
                // The case asserts.
                $crate::$case(&bench).await;
            }
        )*
    };
    ($bench:path) => {
        $crate::contract!($bench;
            fresh_start, resume, duplicate_page, late_object, truncated_object, throttling, expired_credentials,
            clock_skew, denied, ten_thousand_objects, killed_before_the_cursor, killed_before_the_acknowledgement);
    };
}
