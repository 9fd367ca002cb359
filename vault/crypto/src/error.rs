//! What can go wrong, in words that tell an attacker nothing.

/// Why an operation did not happen. No variant says which of key, place or bytes was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes do not open under this key at this place: wrong key, wrong place, or altered bytes.
    #[error(
        "refused: the bytes do not open with this key at this place; fetch them again or use the right key"
    )]
    Refused,
    /// The bytes have no shape that any key could open.
    #[error("malformed {0}; it was cut off, or is none")]
    Malformed(&'static str),
    /// A bound of the format was exceeded.
    #[error("too large: {0}")]
    TooLarge(&'static str),
    /// The library under this crate refused; with keys of the right length it never does.
    #[error("the cryptographic library failed")]
    Library,
}
