//! Sources of Google Cloud.

pub mod audit;
