//! Record to Event: takes apart what arrives, decodes it within bounds, hands it to its translator. Pure.
//!
//! `unpack` makes records of files and request bodies; `decode` decides whether the bytes of a record may go near a
//! parser; `settle` removes what parsers disagree on; `stage` turns records into events and dead letters; `enrich` says
//! what the operator's tables know of an event.

mod cloudevent;
mod collisions;
pub mod decode;
pub mod enrich;
mod gzip;
mod scan;
mod settle;
pub mod stage;
pub mod unpack;
mod window;

pub use decode::{Checked, Rejected, check};
pub use settle::settle;
pub use stage::{Ingest, normalize};
pub use unpack::{Content, Limits, Piece, Tally, unpack};
