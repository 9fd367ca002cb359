//! The vault over loopback: a real server, real clients, real files.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "what fails outside of a test function fails the test all the same"
)]

mod access;
mod crash;
mod custody;
mod events;
mod guide;
mod hostile;
mod response;
mod server;
