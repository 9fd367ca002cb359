//! The routes, all of them: a handler that is not listed here is neither served nor described.

mod account;
mod admin;
mod body;
mod download;
mod files;
mod share;
mod upload;

use crate::Error;
use crate::service::Vault;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use std::sync::Arc;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(crate) type Shared = State<Arc<Vault>>;

pub(crate) fn api() -> OpenApiRouter<Arc<Vault>> {
    OpenApiRouter::new()
        .routes(routes!(account::register))
        .routes(routes!(account::login))
        .routes(routes!(account::refresh))
        .routes(routes!(account::logout))
        .routes(routes!(account::me))
        .routes(routes!(account::publish))
        .routes(routes!(account::keys))
        .routes(routes!(upload::upload))
        .routes(routes!(download::manifest))
        .routes(routes!(download::download))
        .routes(routes!(files::list))
        .routes(routes!(files::inspect))
        .routes(routes!(files::delete))
        .routes(routes!(files::change_tier))
        .routes(routes!(files::change_class))
        .routes(routes!(share::share))
        .routes(routes!(share::unshare))
        .routes(routes!(share::shares))
        .routes(routes!(admin::rotate, admin::progress))
        .routes(routes!(admin::users, admin::import))
        .routes(routes!(admin::logs))
        .routes(routes!(admin::lock))
        .routes(routes!(admin::unlock))
        .routes(routes!(admin::revoke_tokens))
        .routes(routes!(admin::offline_parts))
        .routes(routes!(admin::recover))
        .routes(routes!(admin::checkpoint))
        .routes(routes!(admin::livez))
}

/// A JSON body, or what is wrong with it in our own words.
pub(crate) fn json<T>(body: Result<axum::Json<T>, JsonRejection>) -> Result<T, Error> {
    body.map(|axum::Json(value)| value)
        .map_err(|error| Error::Invalid(format!("the body does not read: {}", error.body_text())))
}

/// Bytes that a client sent as base64.
pub(crate) fn base64(what: &str, text: &str) -> Result<Vec<u8>, Error> {
    use base64::Engine;
    let decoded = base64::engine::general_purpose::STANDARD.decode(text);
    decoded.map_err(|_| Error::Invalid(format!("{what} is not base64")))
}
