//! The body of an upload as it comes: `object | manifest | length of the manifest (u32, big-endian)`.
//!
//! The manifest comes last, since it names the digest of what was streamed before it. Only the tail is held in memory.

use crate::Error;
use aws_lc_rs::digest::{Context, SHA256};
use axum::body::Body;
use futures_util::StreamExt;
use prunella_vault_crypto::body::HEAD;
use prunella_vault_crypto::manifest::BYTES_MAX as MANIFEST_BYTES_MAX;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout};

const LENGTH: usize = 4;
/// Most bytes that may still be manifest and length.
const TAIL_MAX: usize = MANIFEST_BYTES_MAX + LENGTH;
/// Bytes that are hashed and written at once.
const PIECE: usize = 256 * 1024;
/// Longest wait between two pieces.
const PIECE_WAIT_MAX: Duration = Duration::from_secs(30);
/// An upload that is slower than this on the whole is ended: bytes per second, after a start of [`PIECE_WAIT_MAX`].
const RATE_MIN: u64 = 16 * 1024;

/// A received object: in the staging folder, durable, not yet believed.
pub(super) struct Received {
    pub staged: Staged,
    pub manifest: Vec<u8>,
    pub head: Box<[u8; HEAD]>,
    pub sha256: [u8; 32],
    pub size: u64,
}

/// A file in the staging folder, gone when this is dropped.
pub(super) struct Staged(pub PathBuf);

impl Drop for Staged {
    fn drop(&mut self) {
        // After a success the store has moved it already.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Writes a body to `folder`.
pub(super) async fn receive(body: Body, folder: &Path, bytes_max: u64) -> Result<Received, Error> {
    let failed = |e: std::io::Error| Error::store("the object store", &e);
    let staged = Staged(folder.join(crate::clock::random_id()));
    let file = crate::objects::create(&staged.0).map_err(failed)?;
    let mut sink = Sink {
        file: tokio::fs::File::from_std(file),
        hash: Context::new(&SHA256),
        head: Vec::new(),
        size: 0,
    };
    let mut tail: Vec<u8> = Vec::with_capacity(TAIL_MAX + PIECE);
    let (mut pieces, begun) = (body.into_data_stream(), Instant::now());
    let stalled = || Error::Invalid("the upload stalled: send it again".into());
    while let Some(piece) = timeout(PIECE_WAIT_MAX, pieces.next()).await.map_err(|_| stalled())? {
        let piece = piece.map_err(|_| Error::Invalid("the upload broke off: send it again".into()))?;
        if sink.size + (tail.len() + piece.len()) as u64 > bytes_max.saturating_add(TAIL_MAX as u64) {
            return Err(Error::TooLarge(bytes_max));
        }
        if is_too_slow(sink.size + tail.len() as u64, begun.elapsed()) {
            return Err(stalled());
        }
        tail.extend_from_slice(&piece);
        if tail.len() >= TAIL_MAX + PIECE {
            let rest = tail.split_off(tail.len() - TAIL_MAX);
            sink.write(&tail).await.map_err(failed)?;
            tail = rest;
        }
    }
    let (object, manifest) = split(&tail)
        .ok_or(Error::Invalid("an upload is an object, its manifest and the manifest's length".into()))?;
    sink.write(object).await.map_err(failed)?;
    let manifest = manifest.to_vec();
    if sink.size > bytes_max {
        return Err(Error::TooLarge(bytes_max));
    }
    sink.file.flush().await.map_err(failed)?;
    sink.file.sync_data().await.map_err(failed)?;
    let head =
        sink.head.try_into().map_err(|_| Error::Invalid("the object is too short to be sealed".into()))?;
    let sha256 = sink
        .hash
        .finish()
        .as_ref()
        .try_into()
        .map_err(|_| Error::Unavailable("the cryptographic library"))?;
    Ok(Received { staged, manifest, head, sha256, size: sink.size })
}

/// Whether so many bytes are too few for the time that they took.
fn is_too_slow(bytes: u64, took: Duration) -> bool {
    took.saturating_sub(PIECE_WAIT_MAX).as_secs() > bytes / RATE_MIN
}

/// The end of the object and the manifest.
fn split(tail: &[u8]) -> Option<(&[u8], &[u8])> {
    let (before, length) = tail.split_last_chunk::<LENGTH>()?;
    let length = u32::from_be_bytes(*length) as usize;
    if length == 0 || length > MANIFEST_BYTES_MAX {
        return None;
    }
    before.split_at_checked(before.len().checked_sub(length)?)
}

struct Sink {
    file: tokio::fs::File,
    hash: Context,
    head: Vec<u8>,
    size: u64,
}

impl Sink {
    async fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        let missing = HEAD - self.head.len();
        self.head.extend_from_slice(bytes.get(..missing.min(bytes.len())).unwrap_or_default());
        self.hash.update(bytes);
        self.size += bytes.len() as u64;
        self.file.write_all(bytes).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn received(body: Vec<u8>, bytes_max: u64) -> Result<(Vec<u8>, Vec<u8>), Error> {
        let dir = tempfile::tempdir().unwrap();
        let pieces =
            body.chunks(70_001).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect::<Vec<_>>();
        let body = Body::from_stream(futures_util::stream::iter(pieces));
        let result = receive(body, dir.path(), bytes_max).await.map(|mut received| {
            let object = std::fs::read(&received.staged.0).unwrap();
            assert_eq!(object.len() as u64, received.size);
            assert_eq!(object[..HEAD], received.head[..]);
            assert_eq!(aws_lc_rs::digest::digest(&SHA256, &object).as_ref(), received.sha256);
            (object, std::mem::take(&mut received.manifest))
        });
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing is left behind");
        result
    }

    fn framed(object: &[u8], manifest: &[u8]) -> Vec<u8> {
        [object, manifest, &(manifest.len() as u32).to_be_bytes()].concat()
    }

    #[tokio::test]
    async fn objects_of_every_length_are_told_from_their_manifest() {
        for len in [HEAD, HEAD + 1, PIECE, TAIL_MAX + PIECE, TAIL_MAX + PIECE + 1, 1_000_000] {
            let object: Vec<u8> = (0..len).map(|i| (i / 7) as u8).collect();
            for manifest in [&b"m"[..], &[7; MANIFEST_BYTES_MAX]] {
                let got = received(framed(&object, manifest), u64::MAX).await.unwrap();
                assert!(got == (object.clone(), manifest.to_vec()), "{len} {}", manifest.len());
            }
        }
    }

    #[tokio::test]
    async fn bodies_without_shape_or_too_large_are_refused() {
        let object = [1; 200];
        for body in [
            vec![],
            vec![0; 4],
            vec![255; 300],
            framed(&object, b""),
            framed(&object[..HEAD - 1], b"manifest"),
            framed(&object, &[7; MANIFEST_BYTES_MAX + 1]),
        ] {
            assert!(matches!(received(body, u64::MAX).await, Err(Error::Invalid(_))));
        }
        assert!(received(framed(&object, b"m"), 200).await.is_ok());
        assert_eq!(received(framed(&object, b"m"), 199).await, Err(Error::TooLarge(199)));
        assert_eq!(received(vec![1; 600_000], 199).await, Err(Error::TooLarge(199)));
    }

    #[test]
    fn an_upload_that_trickles_is_told_from_one_that_flows() {
        for (bytes, seconds, want) in [
            (0, 30, false),
            (0, 32, true),
            (RATE_MIN, 31, false),
            (RATE_MIN, 32, true),
            (10 << 30, 24 * 60 * 60, false),
            (1 << 20, 24 * 60 * 60, true),
        ] {
            assert_eq!(is_too_slow(bytes, Duration::from_secs(seconds)), want, "{bytes} in {seconds} s");
        }
    }
}
