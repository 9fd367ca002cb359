//! Sources of Amazon Web Services.

pub mod cloudtrail;
