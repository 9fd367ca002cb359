//! The console: REST and WebSocket API, its OpenAPI description and the status page, over the ports of `schemas`.
//!
//! It waits, and opens sockets it is handed; it knows no engine. Whatever a client may do is in [`routes`]; whatever a
//! client must satisfy first is in [`gate`].

mod config;
mod feed;
mod gate;
mod openapi;
mod page;
mod params;
mod ports;
mod problem;
mod routes;
mod server;

pub use config::{Config, ConfigError, Token};
pub use ports::{Ports, Simulator};
pub use problem::Problem;
pub use routes::intake::INTAKE_REQUESTS_MAX;
pub use server::serve;

use axum::Router;
use axum::middleware::from_fn_with_state;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// What every handler can reach.
#[derive(Clone)]
pub(crate) struct Console {
    ports: Arc<Ports>,
    config: Arc<Config>,
    /// One permit per intake body in memory.
    intake: Arc<Semaphore>,
    /// One permit per live feed.
    feeds: Arc<Semaphore>,
}

/// The whole application. Refuses a configuration that would serve strangers without a token.
pub fn router(ports: Ports, config: Config) -> Result<Router, ConfigError> {
    let config = Arc::new(config.check()?);
    let console = Console {
        ports: Arc::new(ports),
        config: Arc::clone(&config),
        intake: Arc::new(Semaphore::new(INTAKE_REQUESTS_MAX)),
        feeds: Arc::new(Semaphore::new(feed::FEEDS_MAX)),
    };
    let (api, description) = routes::api().split_for_parts();
    let app = api
        .with_state(console.clone())
        .merge(routes::link::routes(console))
        .merge(openapi::routes(description))
        .merge(page::routes())
        .fallback(problem::no_such_route)
        .method_not_allowed_fallback(problem::no_such_method);
    Ok(behind_gate(app, config))
}

/// Routes of another server behind the console's gate: who may come in, how many at once, and for how long.
pub fn guard(routes: Router, config: Config) -> Result<Router, ConfigError> {
    Ok(behind_gate(routes, Arc::new(config.check()?)))
}

fn behind_gate(routes: Router, config: Arc<Config>) -> Router {
    routes.layer(from_fn_with_state(Arc::new(gate::Gate::new(config)), gate::pass))
}

/// The OpenAPI 3.1 document, for publishing and for checking drift without a server.
pub fn openapi() -> serde_json::Value {
    openapi::document(routes::api().split_for_parts().1)
}
