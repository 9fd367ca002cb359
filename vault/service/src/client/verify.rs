//! Verifying without a server: a sealed file with its manifest, as `get --sealed` writes it and an upload sends it.

use super::open::{Progress, unwrap_own};
use super::{Client, ClientError, Found, Memory, bytes};
use aws_lc_rs::digest::{Context, SHA256};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use prunella_vault_crypto::body::{self, HEAD, Place, Reader};
use prunella_vault_crypto::identity::VerifyingKey;
use prunella_vault_crypto::manifest::{BYTES_MAX, Expected, Floor, Verified};
use serde::Serialize;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use tokio::io::{AsyncWrite, AsyncWriteExt};

const LENGTH: usize = 4;
const PIECE: usize = 256 * 1024;

/// What a sealed file proved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    pub file: String,
    pub version: u64,
    /// Whose key signed it, of those that this client remembers.
    pub owner: String,
    /// Whether our own identity opens its key, and its length is proven.
    pub opens: bool,
}

/// Checks signature, digest and commitment of a sealed file against the keys that this client remembers.
pub fn verify(path: &Path, memory: &Memory) -> Result<Report, ClientError> {
    let failed = |e| ClientError::File(path.display().to_string(), e);
    let mut file = File::open(path).map_err(failed)?;
    let len = file.metadata().map_err(failed)?.len();
    let (object_len, manifest) =
        manifest(&mut file, len).map_err(failed)?.ok_or(ClientError::Malformed("sealed file"))?;
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    let mut head = [0; HEAD];
    file.read_exact(&mut head).map_err(failed)?;
    let place = Place::parse(&head)?;
    let expected = Expected { file: place.file, version_min: place.version, floor: Floor::Classical };
    let (owner, verified) = memory
        .signers()?
        .into_iter()
        .find_map(|(owner, key)| Some((owner, Verified::open(&manifest, &key, &expected).ok()?)))
        .ok_or(ClientError::Unproven(prunella_vault_crypto::Error::Refused))?;
    verified.check_body(&head)?;
    if sha256(&mut file, object_len).map_err(failed)? != verified.manifest().body_sha256 {
        return Err(ClientError::Unproven(prunella_vault_crypto::Error::Refused));
    }
    let opens = match memory.identity() {
        Ok(identity) => match unwrap_own(&identity, &verified)? {
            Some(dek) => {
                let span = body::last_chunk(object_len)?;
                let mut last = vec![0; (span.end - span.start) as usize];
                file.seek(SeekFrom::Start(span.start)).map_err(failed)?;
                file.read_exact(&mut last).map_err(failed)?;
                Reader::new(&dek, place, &head, object_len, &last)?;
                true
            }
            None => false,
        },
        Err(_) => false,
    };
    Ok(Report { file: hex::encode(place.file.0), version: place.version, owner, opens })
}

/// The length of the object and the manifest behind it; `None` when the file has no such shape.
fn manifest(file: &mut File, len: u64) -> std::io::Result<Option<(u64, Vec<u8>)>> {
    let Some(end) = len.checked_sub(LENGTH as u64) else { return Ok(None) };
    file.seek(SeekFrom::Start(end))?;
    let mut length = [0; LENGTH];
    file.read_exact(&mut length)?;
    let length = u64::from(u32::from_be_bytes(length));
    let Some(object_len) = end.checked_sub(length).filter(|_| length <= BYTES_MAX as u64) else {
        return Ok(None);
    };
    file.seek(SeekFrom::Start(object_len))?;
    let mut manifest = vec![0; length as usize];
    file.read_exact(&mut manifest)?;
    Ok((object_len >= HEAD as u64).then_some((object_len, manifest)))
}

fn sha256(file: &mut File, len: u64) -> std::io::Result<[u8; 32]> {
    file.seek(SeekFrom::Start(0))?;
    let (mut hash, mut left, mut piece) = (Context::new(&SHA256), len, vec![0; PIECE]);
    while left > 0 {
        let count = left.min(PIECE as u64) as usize;
        let span = piece.get_mut(..count).unwrap_or_default();
        file.read_exact(span)?;
        hash.update(span);
        left -= count as u64;
    }
    hash.finish().as_ref().try_into().map_err(std::io::Error::other)
}

impl Client {
    /// Writes the sealed object with its manifest, as it can be verified anywhere.
    pub async fn read_sealed(
        &self,
        found: &Found,
        mut out: impl AsyncWrite + Unpin,
        progress: Progress<'_>,
    ) -> Result<u64, ClientError> {
        let written = |e| ClientError::File("the output".into(), e);
        let mut answer = self.fetch(found, 0..found.info.size).await?;
        let mut total = 0;
        while let Some(piece) = answer.chunk().await? {
            out.write_all(&piece).await.map_err(written)?;
            progress(piece.len() as u64);
            total += piece.len() as u64;
        }
        out.write_all(&found.blob).await.map_err(written)?;
        out.write_all(&(found.blob.len() as u32).to_be_bytes()).await.map_err(written)?;
        out.flush().await.map_err(written)?;
        Ok(total)
    }
}

impl Memory {
    /// Our own key and those of others that are remembered.
    fn signers(&self) -> Result<Vec<(String, VerifyingKey)>, ClientError> {
        let mut signers = Vec::new();
        if let Ok(identity) = self.identity() {
            signers.push((self.username.clone(), identity.sign.verifying()?));
        }
        for (name, key) in self.pinned() {
            signers.push((name.to_owned(), VerifyingKey(bytes("public key", key)?)));
        }
        Ok(signers)
    }
}

/// Fingerprints of somebody's keys, in hexadecimal: short enough to be compared by telephone.
pub fn fingerprints(keys: &crate::wire::PublicKeys) -> Result<(String, String), ClientError> {
    let wrap = super::wrap_key(keys)?.fingerprint();
    let sign = super::sign_key(keys)?.fingerprint()?;
    Ok((hex::encode(wrap.0), hex::encode(sign.0)))
}

/// An X-Wing public key of base64, such as a recovery key's.
pub fn public_key(text: &str) -> Result<prunella_vault_crypto::identity::PublicKey, ClientError> {
    use prunella_vault_crypto::identity::{PublicKey, Suite};
    let key = BASE64.decode(text.trim()).map_err(|_| ClientError::Malformed("public key"))?;
    Ok(PublicKey::parse(Suite::XWing, &key)?)
}
