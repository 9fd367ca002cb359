//! Correlate: the tenant's view, made from what the principals' partitions hand in.

mod config;
mod control;
mod held;
mod stage;
mod streams;
mod suspect;
mod view;
mod words;

pub use config::Config;
pub use control::TESTS_MIN;
pub use held::HELD_MAX;
pub use stage::{Correlate, Input, TENANTS_MAX};
pub use suspect::SUSPECTS_MAX;
pub use view::{Counts, REFUSED_MAX};
