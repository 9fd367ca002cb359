//! Keys of 32 bytes that are erased when dropped and cannot be printed, and the name of a file.

use rand_core::CryptoRng;
use zeroize::Zeroizing;

pub const KEY: usize = 32;

/// The name of a file inside the formats; it never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub [u8; 16]);

/// A type for each role, so that a key cannot be used in another's place.
macro_rules! role {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        pub struct $name(Zeroizing<[u8; KEY]>);

        impl $name {
            #[must_use]
            pub fn generate(rng: &mut impl CryptoRng) -> Self {
                let mut bytes = Zeroizing::new([0; KEY]);
                rng.fill_bytes(&mut *bytes);
                Self(bytes)
            }

            /// Takes a key that was random when it was made: never a password.
            #[must_use]
            pub fn from_bytes(bytes: Zeroizing<[u8; KEY]>) -> Self {
                Self(bytes)
            }

            /// The key itself, for whoever seals or stores it.
            #[must_use]
            pub fn expose(&self) -> &[u8; KEY] {
                &self.0
            }
        }
    };
}

role!(
    /// The key of one version of one file's body.
    Dek
);
