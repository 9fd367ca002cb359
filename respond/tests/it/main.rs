//! The response stage as the shell sees it: inputs in, transitions out.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on must fail"
)]

mod back;
mod cloud;
mod crash;
mod guard;
mod life;
mod notify;
mod playbooks;
mod property;
mod provider;
mod world;
