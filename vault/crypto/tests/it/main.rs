//! What must hold of the vault's cryptography, seen from outside: vectors, properties, attacks.

mod body;
mod chance;
mod stream;
