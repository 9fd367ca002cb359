//! Effectors of our own: what Prunella can change without any provider's SDK.

pub mod account;
pub mod preflight;
pub mod successors;
pub mod tokens;
