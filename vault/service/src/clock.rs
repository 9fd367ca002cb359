//! Time and chance, as they are handed to the vault.

use prunella_schemas::Timestamp;
use rand::CryptoRng;
use std::sync::Arc;

/// A source of "now". Whoever composes the program hands in the wall clock; tests hand in their own.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// A generator that the system seeds. Not kept across waits.
pub(crate) fn chance() -> impl CryptoRng {
    rand::rng()
}

pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::Rng::fill_bytes(&mut chance(), &mut bytes);
    bytes
}

/// A name that nobody can guess: 128 bits in hexadecimal.
pub(crate) fn random_id() -> String {
    hex::encode(random::<16>())
}
