//! Effectors: our own, which need no provider's SDK, and what is seen of the others in the events.

pub mod account;
mod calls;
pub mod preflight;
pub mod successors;
pub mod tokens;
mod witness;

use crate::webhook::WebhookEffector;
use prunella_schemas::port::{Effector, State, Store};
use std::sync::Arc;

/// Our own; each goes by the provider that steps name.
pub fn ours(
    state: &Arc<dyn State>,
    seen: &Arc<dyn Store>,
    messages: impl IntoIterator<Item = WebhookEffector>,
) -> Vec<Arc<dyn Effector>> {
    let own: [Arc<dyn Effector>; 2] = [
        Arc::new(tokens::TokenEffector::new(Arc::clone(state), Arc::clone(seen))),
        Arc::new(account::AccountEffector::new(Arc::clone(state), Arc::clone(seen))),
    ];
    own.into_iter().chain(messages.into_iter().map(|m| Arc::new(m) as Arc<dyn Effector>)).collect()
}

/// Those of the clouds, each beside the events in which its refusals are seen.
pub fn witnessed(
    clouds: Vec<Arc<dyn Effector>>,
    seen: &Arc<dyn Store>,
) -> impl Iterator<Item = Arc<dyn Effector>> {
    clouds.into_iter().map(|cloud| Arc::new(witness::Witness::new(cloud, Arc::clone(seen))) as _)
}
