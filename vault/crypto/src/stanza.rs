//! Inner stanzas: a file's key sealed to one recipient by the client, so that no server can open it.

use crate::body::Place;
use crate::identity::{Fingerprint, PrivateKey, PublicKey, Suite};
use crate::{Dek, Error};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

/// Why the recipient can open the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Owner = 1,
    /// Somebody with whom the owner shared this one file.
    Direct = 2,
    /// A key kept offline, for the day when the owner's is lost. Without it, nobody can recover the file.
    Recovery = 3,
    /// A scope, whose files the owner can forward; see [`crate::forward`].
    Scope = 4,
    /// A key-management service, in mode `managed`: the server can read the file.
    Service = 5,
}

impl TryFrom<u8> for Kind {
    type Error = Error;

    fn try_from(byte: u8) -> Result<Self, Error> {
        [Self::Owner, Self::Direct, Self::Recovery, Self::Scope, Self::Service]
            .into_iter()
            .find(|kind| *kind as u8 == byte)
            .ok_or(Error::Malformed("kind of a stanza"))
    }
}

/// The key of one version of one file, sealed to one recipient. Its fields are claims until it opens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stanza {
    pub kind: Kind,
    pub suite: Suite,
    pub recipient: Fingerprint,
    pub enc: Vec<u8>,
    pub sealed: Vec<u8>,
}

impl Stanza {
    /// Seals the key to a person; `kind` is owner, direct or recovery.
    pub fn seal(
        dek: &Dek,
        kind: Kind,
        to: &PublicKey,
        place: Place,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, Error> {
        if matches!(kind, Kind::Scope | Kind::Service) {
            return Err(Error::Malformed("kind of a stanza"));
        }
        let recipient = to.fingerprint();
        let info = binding(kind, to.suite(), recipient, place);
        let (enc, sealed) = to.seal(&info, dek.expose(), rng)?;
        Ok(Self { kind, suite: to.suite(), recipient, enc, sealed })
    }

    /// Opens the key. A stanza of another kind, recipient, file or version is refused.
    pub fn open(&self, with: &PrivateKey, place: Place) -> Result<Dek, Error> {
        let public = with.public();
        if self.suite != public.suite() || self.recipient != public.fingerprint() {
            return Err(Error::Refused);
        }
        let info = binding(self.kind, self.suite, self.recipient, place);
        let opened = with.open(&info, &self.enc, &self.sealed)?;
        let bytes = <[u8; 32]>::try_from(opened.as_slice()).map_err(|_| Error::Refused)?;
        Ok(Dek::from_bytes(Zeroizing::new(bytes)))
    }
}

/// What a stanza is bound to: it opens nowhere else. A key-management service takes it as its context.
#[must_use]
pub fn binding(kind: Kind, suite: Suite, recipient: Fingerprint, place: Place) -> Vec<u8> {
    let head = [kind as u8, suite as u8];
    let version = place.version.to_be_bytes();
    [&b"vault/stanza/v1\0"[..], &head, &place.file.0, &version, &recipient.0].concat()
}
