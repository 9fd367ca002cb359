//! What must hold of the vault's cryptography, seen from outside: vectors, properties, attacks.

#![allow(clippy::unwrap_used, reason = "a test stops at the first thing that is wrong")]

mod body;
mod breach;
mod chance;
mod forward;
mod gate;
mod manifest;
mod stream;
