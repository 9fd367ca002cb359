//! The small files beside the ledger's database: its key, the key's public half, and the copy of the newest checkpoint.

use super::{KEY_FILE, VERIFIER_FILE, broken};
use crate::sqlite::StoreError;
use prunella_ledger::Signer;
use std::io::{ErrorKind, Write};
use std::path::Path;

/// The ledger's key. It is made once, together with an empty ledger, and never again: a new key would be a new ledger.
pub fn signer(directory: &Path, may_make: bool) -> Result<Signer, StoreError> {
    let path = directory.join(KEY_FILE);
    let signer = match read(&path)? {
        Some(text) => Signer::parse(&text).map_err(|e| broken(&path, &e))?,
        None if may_make => make_key(&path)?,
        None => {
            let detail =
                "it is missing, and the ledger has entries that it signed; restore it from a backup".into();
            return Err(StoreError::Unavailable { path: path.display().to_string(), detail });
        }
    };
    let public = format!("{}\n", signer.verifier());
    let path = directory.join(VERIFIER_FILE);
    if read(&path)?.as_deref() != Some(public.as_str()) {
        write(&path, public.as_bytes(), 0o644)?;
    }
    Ok(signer)
}

/// A small text file; `None` when it is not there.
pub(super) fn read(path: &Path) -> Result<Option<String>, StoreError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed(path, &e)),
    }
}

/// Replaces a file as a whole: whoever reads it finds the old text or the new one.
pub(super) fn write(path: &Path, bytes: &[u8], mode: u32) -> Result<(), StoreError> {
    let staged = path.with_extension("new");
    let replace = || {
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
        let mut file = options.open(&staged)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&staged, path)?;
        match path.parent() {
            Some(directory) => std::fs::File::open(directory)?.sync_all(),
            None => Ok(()),
        }
    };
    replace().map_err(|e| failed(path, &e))
}

/// A fresh key whose name, also the ledger's, no other ledger has.
fn make_key(path: &Path) -> Result<Signer, StoreError> {
    let unlucky = |_| StoreError::Unavailable {
        path: path.display().to_string(),
        detail: "the system gives no random bytes for a key".into(),
    };
    let (mut name, mut seed) = ([0; 4], [0; 32]);
    aws_lc_rs::rand::fill(&mut name).map_err(unlucky)?;
    aws_lc_rs::rand::fill(&mut seed).map_err(unlucky)?;
    let signer = Signer::from_seed(&format!("prunella.local/{}", hex::encode(name)), &seed)?;
    seed.fill(0);
    let text = signer.to_secret_text()?;
    write(path, format!("{}\n", text.as_str()).as_bytes(), 0o600)?;
    Ok(signer)
}

fn failed(path: &Path, error: &std::io::Error) -> StoreError {
    let (path, detail) = (path.display().to_string(), error.to_string());
    match error.kind() {
        ErrorKind::StorageFull => StoreError::Full { path, detail },
        ErrorKind::InvalidData => StoreError::Corrupt { path, detail },
        _ => StoreError::Unavailable { path, detail },
    }
}
