//! One file per verb.

pub mod completions;
pub mod config;
pub mod connectors;
pub mod demo;
pub mod detect;
pub mod dlq;
pub mod findings;
pub mod ingest;
pub mod input;
pub mod lab;
pub mod ledger;
pub mod normalize;
pub mod plans;
pub mod ready;
pub mod receipts;
pub mod resources;
pub mod respond;
#[cfg(feature = "kafka")]
pub mod run;
pub mod schema;
pub mod simulate;
pub mod up;
#[cfg(feature = "vault")]
pub mod vault;
