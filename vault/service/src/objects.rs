//! Where sealed bytes lie: object stores behind one trait, and the one on a local disk.

use crate::Error;
use crate::clock::random_id;
use async_trait::async_trait;
use prunella_vault_crypto::FileId;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Longest object that is read as a whole, in bytes: an envelope around the longest manifest, with room to spare.
const WHOLE_BYTES_MAX: u64 = 256 * 1024;
/// Bytes that a reader takes at once.
const PIECE: usize = 256 * 1024;

/// What an object is, of which file, in which epoch. Names of users are not part of it, so none can lead out of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub kind: Kind,
    pub file: FileId,
    pub epoch: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Body,
    Envelope,
    Part,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::Body, Kind::Envelope, Kind::Part];

    fn letter(self) -> &'static str {
        match self {
            Kind::Body => "b",
            Kind::Envelope => "e",
            Kind::Part => "p",
        }
    }
}

/// A store of objects with credentials of its own. What it has taken is durable.
#[async_trait]
pub trait ObjectStore: Send + Sync {
    /// Takes a file that lies in [`ObjectStore::staging`]; it is gone from there afterwards.
    async fn take(&self, key: Key, staged: &Path) -> Result<(), Error>;
    async fn put(&self, key: Key, bytes: Vec<u8>) -> Result<(), Error>;
    /// A small object as a whole; `None` when there is none.
    async fn get(&self, key: Key) -> Result<Option<Vec<u8>>, Error>;
    /// A span of an object of which `len` bytes are wanted from `start` on; `None` when there is no object.
    async fn read(&self, key: Key, start: u64, len: u64) -> Result<Option<Span>, Error>;
    /// Deletes the object with all its versions. That there is none is no error.
    async fn delete(&self, key: Key) -> Result<(), Error>;
    /// Where a body is written before it is known to be good.
    fn staging(&self) -> &Path;
}

/// A span of an object, read piece by piece.
pub struct Span {
    file: File,
    left: u64,
}

impl Span {
    /// The next piece; `None` at the end. An object that ends too early is an error.
    pub async fn piece(mut self) -> Result<Option<(Vec<u8>, Self)>, std::io::Error> {
        if self.left == 0 {
            return Ok(None);
        }
        let read = tokio::task::spawn_blocking(move || {
            let mut piece = vec![0; self.left.min(PIECE as u64) as usize];
            self.file.read_exact(&mut piece)?;
            self.left -= piece.len() as u64;
            Ok(Some((piece, self)))
        });
        read.await.map_err(std::io::Error::other)?
    }
}

/// Objects as files under one folder.
pub struct LocalStore {
    name: &'static str,
    root: PathBuf,
    staging: PathBuf,
}

impl LocalStore {
    /// Makes the folders that are missing, and empties the staging folder: what a process that died has left there nobody
    /// will come for. A store is one process's.
    pub fn open(name: &'static str, root: &Path) -> Result<Self, Error> {
        let staging = root.join("staging");
        let make = || -> std::io::Result<()> {
            std::fs::create_dir_all(&staging)?;
            for left in std::fs::read_dir(&staging)? {
                std::fs::remove_file(left?.path())?;
            }
            for kind in Kind::ALL {
                std::fs::create_dir_all(root.join(kind.letter()))?;
            }
            File::open(root)?.sync_all()
        };
        make().map_err(|e| Error::store(name, &e))?;
        Ok(LocalStore { name, root: root.to_owned(), staging })
    }

    fn path(&self, key: Key) -> PathBuf {
        let file = hex::encode(key.file.0);
        let shard = file.get(..2).unwrap_or_default();
        self.root.join(key.kind.letter()).join(shard).join(format!("{file}.{}", key.epoch))
    }

    /// Runs what waits for the disk where waiting is allowed.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(std::io::Error::other).and_then(|done| done).map_err(|e| Error::store(self.name, &e))
    }
}

#[async_trait]
impl ObjectStore for LocalStore {
    async fn take(&self, key: Key, staged: &Path) -> Result<(), Error> {
        let (staged, path) = (staged.to_owned(), self.path(key));
        self.on_disk(move || settle(&staged, &path)).await
    }

    async fn put(&self, key: Key, bytes: Vec<u8>) -> Result<(), Error> {
        let (staged, path) = (self.staging.join(random_id()), self.path(key));
        self.on_disk(move || {
            let mut file = create(&staged)?;
            file.write_all(&bytes)?;
            file.sync_data()?;
            settle(&staged, &path)
        })
        .await
    }

    async fn get(&self, key: Key) -> Result<Option<Vec<u8>>, Error> {
        let path = self.path(key);
        self.on_disk(move || {
            let Some(file) = found(File::open(path))? else { return Ok(None) };
            let mut bytes = Vec::new();
            file.take(WHOLE_BYTES_MAX).read_to_end(&mut bytes)?;
            Ok(Some(bytes))
        })
        .await
    }

    async fn read(&self, key: Key, start: u64, len: u64) -> Result<Option<Span>, Error> {
        let path = self.path(key);
        self.on_disk(move || {
            let Some(mut file) = found(File::open(path))? else { return Ok(None) };
            file.seek(SeekFrom::Start(start))?;
            Ok(Some(Span { file, left: len }))
        })
        .await
    }

    async fn delete(&self, key: Key) -> Result<(), Error> {
        let path = self.path(key);
        self.on_disk(move || {
            if found(std::fs::remove_file(&path))?.is_some() {
                sync_parent(&path)?;
            }
            Ok(())
        })
        .await
    }

    fn staging(&self) -> &Path {
        &self.staging
    }
}

/// A new file that nobody but us may read.
pub(crate) fn create(path: &Path) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).read(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Puts a written file in its place, durably.
fn settle(staged: &Path, path: &Path) -> std::io::Result<()> {
    if found(std::fs::rename(staged, path))?.is_none() {
        let shard = path.parent().ok_or(ErrorKind::NotFound)?;
        std::fs::create_dir_all(shard)?;
        sync_parent(shard)?;
        std::fs::rename(staged, path)?;
    }
    sync_parent(path)
}

fn sync_parent(path: &Path) -> std::io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// What is not there is no error.
fn found<T>(result: std::io::Result<T>) -> std::io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn whole(store: &LocalStore, key: Key, start: u64, len: u64) -> Vec<u8> {
        let mut span = store.read(key, start, len).await.unwrap().unwrap();
        let mut out = Vec::new();
        while let Some((piece, rest)) = span.piece().await.unwrap() {
            out.extend(piece);
            span = rest;
        }
        out
    }

    #[tokio::test]
    async fn what_is_put_is_there_until_it_is_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::open("objects", dir.path()).unwrap();
        let key = Key { kind: Kind::Body, file: FileId([0xab; 16]), epoch: 3 };
        assert!(store.get(key).await.unwrap().is_none() && store.read(key, 0, 1).await.unwrap().is_none());
        let bytes: Vec<u8> = (0..600_000_u32).map(|i| i as u8).collect();
        store.put(key, bytes.clone()).await.unwrap();
        assert_eq!(whole(&store, key, 0, 600_000).await, bytes);
        assert_eq!(whole(&store, key, 299_999, 300_000).await, bytes[299_999..599_999]);
        assert!(whole(&store, key, 5, 0).await.is_empty());
        let other = Key { epoch: 4, ..key };
        assert!(store.get(other).await.unwrap().is_none());
        store.delete(key).await.unwrap();
        store.delete(key).await.unwrap();
        assert!(store.get(key).await.unwrap().is_none());
        assert_eq!(std::fs::read_dir(store.staging()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn what_a_dead_process_has_left_in_staging_goes_with_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::open("objects", dir.path()).unwrap();
        let key = Key { kind: Kind::Body, file: FileId([1; 16]), epoch: 1 };
        store.put(key, vec![7; 10]).await.unwrap();
        std::fs::write(store.staging().join("left"), b"half a body").unwrap();
        let store = LocalStore::open("objects", dir.path()).unwrap();
        assert_eq!(std::fs::read_dir(store.staging()).unwrap().count(), 0);
        assert_eq!(whole(&store, key, 0, 10).await, [7; 10]);
    }

    #[tokio::test]
    async fn an_object_that_was_cut_off_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let store = LocalStore::open("objects", dir.path()).unwrap();
        let key = Key { kind: Kind::Envelope, file: FileId([1; 16]), epoch: 1 };
        store.put(key, vec![7; 10]).await.unwrap();
        let span = store.read(key, 4, 7).await.unwrap().unwrap();
        assert!(span.piece().await.is_err());
    }
}
