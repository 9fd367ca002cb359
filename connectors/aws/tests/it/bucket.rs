//! The suite of every connector, over a bucket that is listed.

use crate::bench::Trail;

async fn bench() -> Option<Trail> {
    Trail::new(serde_json::json!({})).await
}

prunella_contract::contract!(bench);
