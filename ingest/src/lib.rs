//! Record to Event: takes apart what arrives, decodes it within bounds, hands it to its translator. Pure.
//!
//! `unpack` makes records of files and request bodies; `decode` decides whether the bytes of a record may go near a
//! parser; `settle` removes what parsers disagree on; `stage` turns records into events and dead letters.

mod cloudevent;
mod collisions;
pub mod decode;
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
