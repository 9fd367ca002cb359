//! The cryptography of the vault: bodies, stanzas, manifests, envelopes, parts and forwarding. Pure: it opens no file, reads no clock.
//!
//! Bytes go in and come out; randomness is handed in as a [`rand_core::CryptoRng`]. What each single breach gives an
//! attacker stands in `docs/guide/vault-crypto.md`, why these libraries in `docs/decisions/0016-vault-crypto.md`.

pub mod body;
mod cbor;
mod error;
pub mod forward;
pub mod gate;
pub mod identity;
mod key;
pub mod manifest;
pub mod stanza;
pub mod stream;

pub use body::Place;
pub use error::Error;
pub use key::{Dek, FileId};
