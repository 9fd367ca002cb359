//! Microsoft Azure: where its records are read, and what may be done there.

mod access;
mod check;
mod container;
pub mod effect;
mod error;
mod shared_key;
mod source;

pub use access::{Access, Account, BadAccount};
pub use source::{KINDS, Kind, Logs, Settings, open};
