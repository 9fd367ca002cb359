//! Keys in the C2SP signed-note form: an Ed25519 key with a name.

use crate::encoding::{from_base64, sha256, to_base64};
use crate::{LedgerError, ProofError, SignedNote};
use aws_lc_rs::encoding::AsBigEndian;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use zeroize::{Zeroize, Zeroizing};

/// The signature type that the C2SP signed-note specification assigns to Ed25519.
const ED25519_TYPE: u8 = 0x01;
/// Longest key name, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// Signs notes. It has neither `Debug` nor `Serialize`, since it holds a secret.
pub struct Signer {
    pair: Ed25519KeyPair,
    verifier: Verifier,
}

impl Signer {
    /// The key called `name` made from a secret seed of 32 random bytes.
    pub fn from_seed(name: &str, seed: &[u8; 32]) -> Result<Self, LedgerError> {
        let pair =
            Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| LedgerError::Key("the seed is refused"))?;
        let public = pair.public_key().as_ref().try_into();
        let public = public.map_err(|_| LedgerError::Key("the public key does not have 32 bytes"))?;
        Ok(Signer { verifier: Verifier::new(name, public)?, pair })
    }

    /// Reads the text of a key file: `PRIVATE+KEY+<name>+<hash>+<base64>`.
    pub fn parse(text: &str) -> Result<Self, LedgerError> {
        let text = text.trim_end_matches(['\r', '\n']);
        let rest = text
            .strip_prefix("PRIVATE+KEY+")
            .ok_or(LedgerError::Key("it does not start with `PRIVATE+KEY+`"))?;
        let (name, id, mut data) = parse_key(rest)?;
        let mut seed = Zeroizing::new([0; 32]);
        seed.copy_from_slice(&data);
        data.zeroize();
        let signer = Signer::from_seed(name, &seed)?;
        if signer.verifier.id != id {
            return Err(LedgerError::Key("its hash does not match its name and key"));
        }
        Ok(signer)
    }

    /// The same key under another name. What one signs does not pass for the other's: the name is part of the id.
    pub fn renamed(&self, name: &str) -> Result<Self, LedgerError> {
        Signer::from_seed(name, &*self.seed()?)
    }

    /// The text of a key file, wiped from memory when dropped. Whoever reads it can sign in the ledger's name.
    pub fn to_secret_text(&self) -> Result<Zeroizing<String>, LedgerError> {
        let text = Zeroizing::new(key_text(&self.verifier.name, self.verifier.id, &*self.seed()?));
        Ok(Zeroizing::new(format!("PRIVATE+KEY+{}", *text)))
    }

    fn seed(&self) -> Result<Zeroizing<[u8; 32]>, LedgerError> {
        let refused = |_| LedgerError::Key("its seed cannot be read");
        let bytes = self.pair.seed().and_then(|seed| seed.as_be_bytes()).map_err(refused)?;
        let mut seed = Zeroizing::new([0; 32]);
        if bytes.as_ref().len() != seed.len() {
            return Err(LedgerError::Key("its seed does not have 32 bytes"));
        }
        seed.copy_from_slice(bytes.as_ref());
        Ok(seed)
    }

    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// The signed note over `text`, which must end in a newline.
    pub fn sign(&self, text: &str) -> Result<String, LedgerError> {
        let signature =
            self.pair.try_sign(text.as_bytes()).map_err(|_| LedgerError::Key("signing failed"))?;
        let mut bytes = self.verifier.id.to_vec();
        bytes.extend_from_slice(signature.as_ref());
        let note = format!("{text}\n\u{2014} {} {}\n", self.verifier.name, to_base64(&bytes));
        SignedNote::parse(note.as_bytes())?;
        Ok(note)
    }
}

/// Checks notes signed by one key. Its text form is a C2SP verifier key: `<name>+<hash>+<base64>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifier {
    name: String,
    id: [u8; 4],
    public: [u8; 32],
}

impl Verifier {
    pub fn new(name: &str, public: [u8; 32]) -> Result<Self, LedgerError> {
        check_name(name)?;
        let [a, b, c, d, ..] = sha256(&[name.as_bytes(), b"\n", &[ED25519_TYPE], &public]);
        Ok(Verifier { name: name.to_owned(), id: [a, b, c, d], public })
    }

    /// Reads `<name>+<hash>+<base64>`.
    pub fn parse(text: &str) -> Result<Self, LedgerError> {
        let (name, id, data) = parse_key(text.trim_end_matches(['\r', '\n']))?;
        let verifier = Verifier::new(name, data)?;
        if verifier.id == id {
            Ok(verifier)
        } else {
            Err(LedgerError::Key("its hash does not match its name and key"))
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first four bytes of the hash of the name and the key: what a signature line starts with.
    pub fn id(&self) -> [u8; 4] {
        self.id
    }

    /// Reads a note and returns its text, if this key signed it. Signatures of other keys are ignored.
    pub fn open(&self, note: &[u8]) -> Result<String, ProofError> {
        let note = SignedNote::parse(note)?;
        let mut seen = false;
        for signature in note.signatures.iter().filter(|s| s.name == self.name && s.key_id == self.id) {
            let key = UnparsedPublicKey::new(&ED25519, &self.public);
            if key.verify(note.text.as_bytes(), &signature.signature).is_err() {
                return Err(ProofError::Signature(self.to_string()));
            }
            seen = true;
        }
        if seen { Ok(note.text) } else { Err(ProofError::UnknownKey(self.to_string())) }
    }
}

impl std::fmt::Display for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&key_text(&self.name, self.id, &self.public))
    }
}

pub(crate) fn check_name(name: &str) -> Result<(), LedgerError> {
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '+';
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(plain) {
        return Err(LedgerError::Key(
            "its name must be 1 to 256 bytes without spaces, control characters and `+`",
        ));
    }
    Ok(())
}

fn key_text(name: &str, id: [u8; 4], data: &[u8; 32]) -> String {
    let mut typed = Zeroizing::new([ED25519_TYPE; 33]);
    if let Some(key) = typed.get_mut(1..) {
        key.copy_from_slice(data);
    }
    format!("{name}+{}+{}", hex::encode(id), to_base64(&*typed))
}

fn parse_key(text: &str) -> Result<(&str, [u8; 4], [u8; 32]), LedgerError> {
    let mut parts = text.splitn(3, '+');
    let (Some(name), Some(hash), Some(data)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(LedgerError::Key("it is not of the form `<name>+<hash>+<base64>`"));
    };
    check_name(name)?;
    let mut id = [0; 4];
    if hash.bytes().any(|b| b.is_ascii_uppercase()) || hex::decode_to_slice(hash, &mut id).is_err() {
        return Err(LedgerError::Key("its hash is not 8 lower-case hexadecimal digits"));
    }
    let data = Zeroizing::new(from_base64(data).ok_or(LedgerError::Key("it does not end in base64"))?);
    match data.split_first() {
        Some((&ED25519_TYPE, key)) => {
            let key = key.try_into().map_err(|_| LedgerError::Key("an Ed25519 key has 32 bytes"))?;
            Ok((name, id, key))
        }
        _ => Err(LedgerError::Key("its type is not Ed25519")),
    }
}
