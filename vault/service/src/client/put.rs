//! Putting: seals a file as it is read and sends it as it is sealed; nothing of it is held but one piece.

use super::{Client, ClientError, Identity, file_id, sign_key};
use crate::clock::{chance, random};
use crate::wire::{FileInfo, TierName};
use aws_lc_rs::digest::{Context, SHA256};
use prunella_schemas::Timestamp;
use prunella_vault_crypto::body::{self, HEAD, Place};
use prunella_vault_crypto::identity::{Fingerprint, PublicKey};
use prunella_vault_crypto::manifest::{Expected, Floor, Manifest, Mode, Verified, seal_name};
use prunella_vault_crypto::stanza::{Kind, Stanza};
use prunella_vault_crypto::stream::Sealer;
use prunella_vault_crypto::{Dek, FileId};
use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes that are read, sealed and sent at once.
const PIECE: usize = 256 * 1024;

/// What is put, and how.
pub struct Sealed<'a> {
    pub name: &'a str,
    /// Bytes, as far as it is known before: the manifest says the power of two that it stays under.
    pub size: u64,
    /// Of a new file.
    pub tier: TierName,
    /// A scope, to be shared by proxy. Experimental.
    pub scope: Option<&'a str>,
    /// A key that is kept offline, for the day when the owner's is lost.
    pub recovery: Option<PublicKey>,
    pub now: Timestamp,
}

/// What a new version follows on.
struct Base {
    file: FileId,
    version: u64,
    previous: [u8; 32],
    /// Stanzas of those with whom the file is shared; their keys are sealed to anew.
    direct: Vec<PublicKey>,
    /// Recovery keys and scopes that it is sealed to as well. Who these are the client is told each time: of a stanza alone
    /// nobody can make another.
    others: Vec<(Kind, Fingerprint)>,
}

impl Client {
    /// Puts a file, or its next version. `progress` is told how many bytes were read.
    pub async fn put(
        &mut self,
        what: &Sealed<'_>,
        from: impl AsyncRead + Send + Unpin + 'static,
        progress: impl Fn(u64) + Send + Sync + 'static,
    ) -> Result<FileInfo, ClientError> {
        let identity = self.identity()?;
        let base = self.base(&identity, what.name).await?;
        let place = Place { file: base.file, version: base.version };
        let dek = Dek::generate(&mut chance());
        let mut out = Vec::with_capacity(PIECE * 2);
        let sealer = body::seal(&dek, place, &mut chance(), &mut out)?;
        let head: &[u8; HEAD] = out.first_chunk().ok_or(ClientError::Crypto)?;
        let manifest = manifest(&identity, what, &base, &dek, place, head)?;
        let mut url = self.url(&["upload"])?;
        url.query_pairs_mut()
            .append_pair("name", &identity.name(what.name))
            .append_pair("label", &identity.label(what.name)?)
            .append_pair(
                "tier",
                serde_json::to_value(what.tier).unwrap_or_default().as_str().unwrap_or("LOW"),
            );
        let state = Sending {
            from,
            sealer: Some(sealer),
            hash: Context::new(&SHA256),
            out,
            manifest,
            identity,
            progress,
        };
        let stream = futures_util::stream::try_unfold(state, Sending::next);
        let request = self.http().post(url).header("content-type", "application/octet-stream");
        let info: FileInfo = self.send(request.body(reqwest::Body::wrap_stream(stream))).await?;
        self.memory.saw(&info.id, info.version);
        Ok(info)
    }

    async fn base(&mut self, identity: &Identity, name: &str) -> Result<Base, ClientError> {
        let Some(old) = self.own(name).await? else {
            let (direct, others) = (Vec::new(), Vec::new());
            return Ok(Base { file: FileId(random()), version: 1, previous: [0; 32], direct, others });
        };
        let file: FileInfo = self.get(&["files", &old.id]).await?;
        let opened = self.opened(&file).await?;
        let owner = identity.sign.verifying()?;
        if sign_key(&opened.owner)? != owner {
            return Err(ClientError::Malformed("owner's key"));
        }
        let expected = Expected {
            file: file_id(&file.id)?,
            version_min: self.memory.version_min(&file.id),
            floor: Floor::Classical,
        };
        let verified = Verified::open(&super::open::blob(&opened)?, &owner, &expected)?;
        let direct = self.recipients(&file.id, verified.manifest()).await?;
        let stanzas = verified.manifest().stanzas.iter();
        let others = stanzas.filter(|stanza| matches!(stanza.kind, Kind::Recovery | Kind::Scope));
        let others = others.map(|stanza| (stanza.kind, stanza.recipient)).collect();
        Ok(Base { file: expected.file, version: file.version + 1, previous: verified.hash(), direct, others })
    }
}

/// The manifest but for the digest of the body, which is known at its end.
fn manifest(
    identity: &Identity,
    what: &Sealed<'_>,
    base: &Base,
    dek: &Dek,
    place: Place,
    head: &[u8; HEAD],
) -> Result<Manifest, ClientError> {
    let rng = &mut chance();
    let mut stanzas = vec![Stanza::seal(dek, Kind::Owner, identity.wrap.public(), place, rng)?];
    for recipient in &base.direct {
        stanzas.push(Stanza::seal(dek, Kind::Direct, recipient, place, rng)?);
    }
    if let Some(recovery) = &what.recovery {
        stanzas.push(Stanza::seal(dek, Kind::Recovery, recovery, place, rng)?);
    }
    if let Some(scope) = what.scope {
        stanzas.push(identity.scope(scope)?.scope().seal(dek, place, rng)?);
    }
    let is_there = |(kind, recipient): &(Kind, Fingerprint)| {
        stanzas.iter().any(|stanza| stanza.kind == *kind && stanza.recipient == *recipient)
    };
    if let Some((kind, _)) = base.others.iter().find(|other| !is_there(other)) {
        let what = if *kind == Kind::Recovery { "recovery key" } else { "scope" };
        return Err(ClientError::NotSealedTo(what));
    }
    Ok(Manifest {
        mode: Mode::EndToEnd,
        place,
        previous: base.previous,
        size_bucket: (u64::BITS - what.size.leading_zeros()) as u8,
        name: seal_name(dek, place, what.name, rng)?,
        body_commitment: body::commitment(head),
        body_sha256: [0; 32],
        created_ms: what.now.0.max(0) as u64,
        floor: Floor::Classical,
        stanzas,
    })
}

/// An upload under way.
struct Sending<R, P> {
    from: R,
    /// `None` once the last chunk is sealed.
    sealer: Option<Sealer>,
    hash: Context,
    out: Vec<u8>,
    manifest: Manifest,
    identity: Identity,
    progress: P,
}

impl<R: AsyncRead + Unpin, P: Fn(u64)> Sending<R, P> {
    async fn next(mut self) -> Result<Option<(Vec<u8>, Self)>, std::io::Error> {
        let refused = |e| std::io::Error::other(format!("cannot seal: {e}"));
        let Some(mut sealer) = self.sealer.take() else { return Ok(None) };
        let mut piece = zeroize::Zeroizing::new(vec![0; PIECE]);
        let count = self.from.read(&mut piece).await?;
        let mut out = std::mem::take(&mut self.out);
        if count > 0 {
            sealer.write(piece.get(..count).unwrap_or_default(), &mut out).map_err(refused)?;
            self.sealer = Some(sealer);
            self.hash.update(&out);
            (self.progress)(count as u64);
            // An empty piece would end the request's body.
            if out.is_empty() {
                return Box::pin(self.next()).await;
            }
            return Ok(Some((out, self)));
        }
        sealer.finish(&mut out).map_err(refused)?;
        self.hash.update(&out);
        let digest = self.hash.clone().finish();
        self.manifest.body_sha256 = digest.as_ref().try_into().map_err(std::io::Error::other)?;
        let blob = self.manifest.sign(&self.identity.sign).map_err(refused)?;
        out.extend_from_slice(&blob);
        out.extend_from_slice(&(blob.len() as u32).to_be_bytes());
        Ok(Some((out, self)))
    }
}
