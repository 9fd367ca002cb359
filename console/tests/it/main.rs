//! The API over real sockets and ports in memory: every route, what it refuses, and who may ask.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what fails outside of a test function fails the test all the same"
)]

mod access;
mod description;
mod fake;
mod live;
mod page;
mod reading;
mod served;
mod writing;
