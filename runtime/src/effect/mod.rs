//! Effectors of our own: what Prunella can change without any provider's SDK.

pub mod account;
mod calls;
pub mod preflight;
pub mod successors;
pub mod tokens;

use crate::webhook::WebhookEffector;
use prunella_schemas::port::{Effector, State, Store};
use std::sync::Arc;

/// All of them; each goes by the provider that steps name.
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
