//! Getting: proves who signed it, which version it is and how long, before a byte of it is released.

use super::{Client, ClientError, Identity, file_id, sign_key};
use crate::wire::{FileInfo, Opened, WHOLE_BYTES_MAX};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use prunella_vault_crypto::Dek;
use prunella_vault_crypto::body::{self, HEAD, Reader};
use prunella_vault_crypto::forward::{Forwarded, Grant};
use prunella_vault_crypto::manifest::{Expected, Floor, Verified, open_name};
use prunella_vault_crypto::stanza::Kind;
use prunella_vault_crypto::stream::{CHUNK, SEALED};
use reqwest::{RequestBuilder, Response};
use std::ops::Range;
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// Chunks that are opened at once.
const CHUNKS: usize = 16;

/// Told how many bytes were released.
pub type Progress<'a> = &'a (dyn Fn(u64) + Send + Sync);

/// A file that was proven and can be read.
pub struct Found {
    pub info: FileInfo,
    /// The name that its owner gave it: check it before it becomes a path.
    pub name: String,
    pub verified: Verified,
    pub owner: String,
    pub(crate) blob: Vec<u8>,
    pub(crate) dek: Dek,
}

impl Client {
    /// Opens a file by name or id, as far as its key; nothing of its body is fetched yet.
    pub async fn open(&mut self, name: &str) -> Result<Found, ClientError> {
        let identity = self.identity()?;
        let mut info = self.find(name).await?;
        let opened = self.opened(&info).await?;
        if opened.epoch != info.epoch {
            info = self.get(&["files", &opened.id]).await?;
        }
        let is_own = opened.owner.username == self.memory.username;
        let owner = if is_own { identity.sign.verifying()? } else { sign_key(&opened.owner)? };
        if !is_own {
            self.memory.pin(&opened.owner.username, &opened.owner)?;
        }
        let expected = Expected {
            file: file_id(&info.id)?,
            version_min: self.memory.version_min(&info.id).max(opened.version),
            floor: Floor::Classical,
        };
        let blob = blob(&opened)?;
        let verified = Verified::open(&blob, &owner, &expected)?;
        let dek = unwrap(&identity, &opened, &verified, name)?;
        let place = verified.manifest().place;
        let own_name = open_name(&dek, place, &verified.manifest().name)?.to_string();
        self.memory.saw(&info.id, place.version);
        Ok(Found { info, name: own_name, verified, owner: opened.owner.username, blob, dek })
    }

    /// Writes the file's content to `out`; each piece is proven first, and the length before the first.
    pub async fn read(
        &self,
        found: &Found,
        mut out: impl AsyncWrite + Unpin,
        progress: Progress<'_>,
    ) -> Result<u64, ClientError> {
        let size = found.info.size;
        let written = |e| ClientError::File("the output".into(), e);
        if size <= WHOLE_BYTES_MAX {
            let object = self.fetch(found, 0..size).await?.bytes().await?;
            let (head, _) = object.split_first_chunk::<HEAD>().ok_or(ClientError::Malformed("object"))?;
            let last = body::last_chunk(object.len() as u64)?;
            let tail = object.get(last.start as usize..).ok_or(ClientError::Malformed("object"))?;
            let reader = reader(found, head, object.len() as u64, tail)?;
            let whole = 0..reader.message_len();
            let sealed = reader.span(&whole);
            let sealed = object.get(sealed.start as usize..sealed.end as usize).unwrap_or_default();
            let message = reader.read(&whole, sealed)?;
            out.write_all(&message).await.map_err(written)?;
            out.flush().await.map_err(written)?;
            progress(message.len() as u64);
            return Ok(message.len() as u64);
        }
        let last = self.fetch(found, body::last_chunk(size)?).await?.bytes().await?;
        let mut pieces = Pieces { from: self.fetch(found, 0..size).await?, have: Vec::new() };
        let head = pieces.take(HEAD).await?;
        let head = head.first_chunk::<HEAD>().ok_or(ClientError::Malformed("object"))?;
        let reader = reader(found, head, size, &last)?;
        let (mut at, len) = (0, reader.message_len());
        while at < len {
            let span = at..(at + (CHUNKS * CHUNK) as u64).min(len);
            let sealed = reader.span(&span);
            let sealed = pieces.take((sealed.end - sealed.start) as usize).await?;
            let message = reader.read(&span, &sealed)?;
            out.write_all(&message).await.map_err(written)?;
            progress(message.len() as u64);
            at = span.end;
        }
        out.flush().await.map_err(written)?;
        Ok(len)
    }

    /// Asks for a span of the sealed object.
    pub(crate) async fn fetch(&self, found: &Found, span: Range<u64>) -> Result<Response, ClientError> {
        self.through_the_gate("download", &found.info, |request| {
            let is_whole = span == (0..found.info.size);
            if is_whole {
                request
            } else {
                request.header("range", format!("bytes={}-{}", span.start, span.end - 1))
            }
        })
        .await
    }

    pub(crate) async fn opened(&self, file: &FileInfo) -> Result<Opened, ClientError> {
        super::send::answer(self.through_the_gate("manifest", file, |request| request).await?).await
    }

    /// A request with the caller's part; once more when the epoch, and with it the part, has become another meanwhile.
    async fn through_the_gate(
        &self,
        route: &str,
        file: &FileInfo,
        with: impl Fn(RequestBuilder) -> RequestBuilder,
    ) -> Result<Response, ClientError> {
        let ask = async |file: &FileInfo| {
            let request = with(self.http().get(self.url(&[route, &file.id])?));
            let request = self.proven(self.with_part(request, file)?);
            super::send::check(request.send().await?).await
        };
        match ask(file).await {
            Err(error) if error.is_status(409) || error.is_status(400) => {
                let newer: FileInfo = self.get(&["files", &file.id]).await?;
                let is_same_body = newer.version == file.version && newer.epoch != file.epoch;
                if is_same_body { ask(&newer).await } else { Err(error) }
            }
            answered => answered,
        }
    }
}

fn reader(found: &Found, head: &[u8; HEAD], size: u64, last: &[u8]) -> Result<Reader, ClientError> {
    found.verified.check_body(head)?;
    let place = found.verified.manifest().place;
    Ok(Reader::new(&found.dek, place, head, size, last)?)
}

pub(crate) fn blob(opened: &Opened) -> Result<Vec<u8>, ClientError> {
    BASE64.decode(&opened.manifest).map_err(|_| ClientError::Malformed("manifest"))
}

/// The file's key, by the stanza that is ours; `None` when there is none.
pub(crate) fn unwrap_own(identity: &Identity, verified: &Verified) -> Result<Option<Dek>, ClientError> {
    let manifest = verified.manifest();
    let own = identity.wrap.public().fingerprint();
    let personal = |kind| matches!(kind, Kind::Owner | Kind::Direct | Kind::Recovery);
    let stanza = manifest.stanzas.iter().find(|s| personal(s.kind) && s.recipient == own);
    Ok(stanza.map(|stanza| stanza.open(&identity.wrap, manifest.place)).transpose()?)
}

/// The file's key, by our own stanza or by the one that was turned towards us.
fn unwrap(identity: &Identity, opened: &Opened, verified: &Verified, name: &str) -> Result<Dek, ClientError> {
    if let Some(dek) = unwrap_own(identity, verified)? {
        return Ok(dek);
    }
    let turned = opened.forwarded.as_ref().ok_or_else(|| ClientError::NotForYou(name.to_owned()))?;
    let grant = BASE64.decode(&turned.grant).map_err(|_| ClientError::Malformed("grant"))?;
    let grant = Grant::open(&grant, &sign_key(&opened.owner)?)?;
    let capsule = super::send::key32("capsule", &turned.capsule)?;
    Ok(grant.accept(&identity.wrap)?.open(verified, &Forwarded(capsule))?)
}

/// A response read in pieces of the length that is asked for; holds less than one piece of the network beyond that.
struct Pieces {
    from: Response,
    have: Vec<u8>,
}

impl Pieces {
    async fn take(&mut self, count: usize) -> Result<Vec<u8>, ClientError> {
        debug_assert!(count <= CHUNKS * SEALED + HEAD);
        while self.have.len() < count {
            let piece = self.from.chunk().await?.ok_or(ClientError::Malformed("object: it was cut off"))?;
            self.have.extend_from_slice(&piece);
        }
        let rest = self.have.split_off(count);
        Ok(std::mem::replace(&mut self.have, rest))
    }
}
