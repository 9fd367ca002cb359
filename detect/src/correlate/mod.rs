//! Correlate: the tenant's view, made from what the principals' partitions hand in.
//!
//! Scores, signals and findings of a tenant come from many partitions in no fixed order. They are held back and
//! processed by (time, event) behind a watermark, `lateness_ms` behind the newest event time; but none waits longer
//! than `hold_ms` of log time, so that live traffic pays at most that in latency. What comes later than that is
//! processed on arrival: it still counts, only the order is then that of arrival. A time more than 15 minutes ahead of
//! the log counts as 15 minutes ahead.
//!
//! # What becomes a finding
//!
//! A *proposal* is a complete finding that the forest suggests, with a p-value. [`control`] says whether it is let
//! through. *Confirmed* means: within `corroboration_ms` another source says something about the same principal, that
//! is, a signal of another kind (the two kinds of entropy are one, and the forest counts below
//! `corroborated_p_value_max` only) or a rule's finding of at least Medium. A finding by the forest, or our own, is no
//! rule's. The forest sees what the signals see: where its counterfactual says that the event would be ordinary but for
//! the network alone, a signal about the network is the same fact twice, and confirms nothing; so for the others.
//!
//! | what | p-value | confirmed | becomes |
//! |---|---|---|---|
//! | proposal | above the bar | no rule | nothing; it waits an hour for a lower bar |
//! | proposal | above the bar, < `corroborated_p_value_max` | by a rule | High: who reads the rule's finding looks anyway |
//! | proposal | below the bar | no | what it proposes, Medium at most |
//! | proposal | below the bar, >= `corroborated_p_value_max` | yes | what it proposes, Medium at most |
//! | proposal | below the bar, < `corroborated_p_value_max` | yes | High, with "also: ..." and half the doubt per source |
//! | fall of entropy | - | no | `entropy_shift` Low: asks for step-up verification |
//! | rise of entropy | - | no | `entropy_shift` Medium: asks for step-up verification |
//! | either | - | yes | `entropy_shift` High |
//! | any other signal | - | - | nothing by itself |
//! | a tenant's stream shifts | - | - | `tenant_entropy_shift` Low, once in `tenant_cooldown_ms` |
//!
//! What is confirmed later is said again, as High. Otherwise a principal is spoken of once in `cooldown_ms`, and of the
//! same operation once in `repeat_ms`, unless it is half as probable: what is flagged teaches nothing, so that a change
//! which is there to stay stays unusual, and saying so every day tells nobody anything. Further
//! proposals that are let through count into the next finding about it (`event_count`, evidence). A principal called
//! High is not called anything else for as long: one conclusion is one finding.
//!
//! Our own findings count as decisions when they are made, and are known when they come back from the log: when that
//! happens depends on the load, and must not matter.

mod config;
mod control;
mod held;
mod stage;
mod streams;
mod suspect;
mod told;
mod view;
mod words;

pub use config::Config;
pub use control::TESTS_MIN;
pub use held::HELD_MAX;
pub use stage::{Correlate, Input, TENANTS_MAX};
pub use suspect::SUSPECTS_MAX;
pub use told::TOLD_MAX;
pub use view::{Counts, REFUSED_MAX};
