//! The words of Prunella: what flows between the stages, how it is named, and the ports the shell implements.
//!
//! `Record -> Event -> Finding -> Plan -> Receipt`. This crate depends on nothing of ours, waits for nothing
//! and reads no clock: it is the vocabulary that every other crate shares.

pub mod caption;
pub mod dead_letter;
pub mod enrichment;
pub mod event;
pub mod finding;
pub mod id;
pub mod inventory;
pub mod limits;
pub mod message;
pub mod ocsf;
pub mod plan;
pub mod port;
pub mod principal;
pub mod raw;
pub mod receipt;
pub mod record;
pub mod risk;
pub mod score;
pub mod signal;
pub mod stage;
pub mod time;

pub use caption::Caption;
pub use dead_letter::{DeadLetter, RejectReason};
pub use enrichment::{Enrichment, EnrichmentData, Osint, Tag};
pub use event::{Event, Flag};
pub use finding::Finding;
pub use id::{Id, Tenant};
pub use message::{Message, Topic};
pub use plan::{Command, Order, Plan, PlanState, Reply, Step, Transition};
pub use principal::Principal;
pub use raw::{RawJson, RawText};
pub use receipt::Receipt;
pub use record::Record;
pub use risk::Risk;
pub use score::Score;
pub use signal::{Signal, SignalKind};
pub use stage::{Delivered, Inbound, Outbox, Posted, Stage};
pub use time::Timestamp;
