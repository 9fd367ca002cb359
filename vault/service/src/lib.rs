//! The vault's service: sealed files of users whose custody follows their risk.
//!
//! The client seals ([`client`]); the service keeps what was sealed under a gate whose key is split over independent stores,
//! and renews that gate without being able to read what is behind it. What each breach gives stands in
//! `docs/guide/vault-crypto.md`, how to use it in `docs/guide/vault.md`, why it is so in `docs/decisions/0026-vault-service.md`.

mod access;
mod accounts;
pub mod client;
mod clock;
mod connections;
mod custody;
mod db;
pub mod effect;
mod error;
mod event;
mod files;
mod grants;
mod hooks;
mod keyring;
mod lock;
mod log;
mod names;
mod objects;
mod outbox;
mod password;
mod policy;
mod problem;
mod proxy;
mod refusals;
mod renew;
mod routes;
mod server;
mod service;
mod throttle;
mod token;
pub mod wire;

pub use access::FRESH_MS;
pub use clock::Clock;
pub use custody::{OnStep, Step};
pub use error::Error;
pub use event::ACCOUNT;
pub use files::Class;
pub use keyring::{KeyService, Ring};
pub use objects::{Key, Kind, LocalStore, ObjectStore, Span};
pub use policy::{Operation, Policy, Role};
pub use problem::Problem;
pub use proxy::Proxies;
pub use server::{beside, openapi, router, serve, work};
pub use service::{ATTEMPT_MS_MAX, Config, GRACE_MS, Offline, UPLOAD_BYTES_MAX, Vault};
pub use token::ACCESS_MS;
