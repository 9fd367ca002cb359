//! Google Cloud: where its records are read, and what may be done there.

mod access;
mod check;
pub mod effect;
mod error;
mod sink;
mod source;

pub use access::{Access, BadAccess};
pub use source::{BadSettings, KIND, Logs, Settings, open};
