//! The routes of the API, all of them: a handler that is not listed here is neither served nor described.

mod decide;
mod health;
pub(crate) mod intake;
mod ledger;
pub(crate) mod link;
mod read;
mod rejected;
mod resources;
mod simulate;
mod tokens;

/// The types of requests and answers that are the console's own.
pub(crate) mod schemas {
    pub(crate) use super::decide::{Approval, Decision, KillSwitch, Queued, Request};
    pub(crate) use super::rejected::{DeadLetterRow, DeadLetterWhole};
    pub(crate) use super::simulate::SimulatedAttack;
}

use crate::{Console, feed};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) fn api() -> OpenApiRouter<Console> {
    OpenApiRouter::new()
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(health::health))
        .routes(routes!(read::dashboard))
        .routes(routes!(read::events, intake::accept))
        .routes(routes!(read::event))
        .routes(routes!(read::threats))
        .routes(routes!(read::threat))
        .routes(routes!(read::plans))
        .routes(routes!(read::plan))
        .routes(routes!(decide::approve))
        .routes(routes!(decide::reject))
        .routes(routes!(decide::rollback))
        .routes(routes!(decide::respond))
        .routes(routes!(decide::kill_switch))
        .routes(routes!(read::receipts))
        .routes(routes!(read::receipt))
        .routes(routes!(resources::resources))
        .routes(routes!(ledger::proof))
        .routes(routes!(ledger::checkpoint))
        .routes(routes!(rejected::list))
        .routes(routes!(rejected::show))
        .routes(routes!(rejected::replay))
        .routes(routes!(tokens::token_versions))
        .routes(routes!(tokens::account_state))
        .routes(routes!(simulate::start))
        .routes(routes!(feed::events))
}
