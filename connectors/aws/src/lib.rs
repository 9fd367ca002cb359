//! Amazon Web Services: where its records are read, and what may be done there.

mod client;
pub mod cloudtrail;
pub mod discover;
pub mod effect;
mod fault;

use prunella_schemas::port::{Configured, Source, SourceError};
use std::sync::Arc;

/// Every kind of source that this crate opens.
pub const KINDS: &[&str] = &[cloudtrail::KIND, discover::KIND];

/// Opens a source of one of [`KINDS`]. Nothing is asked of the provider yet.
pub async fn open(configured: Configured) -> Result<Arc<dyn Source>, SourceError> {
    match configured.kind.as_str() {
        cloudtrail::KIND => Ok(Arc::new(cloudtrail::CloudTrail::open(configured).await?)),
        discover::KIND => Ok(Arc::new(discover::Inventory::open(configured).await?)),
        other => {
            let kinds = KINDS.join(", ");
            Err(SourceError::Invalid(format!("`{other}` is no kind of AWS source; there are {kinds}")))
        }
    }
}
