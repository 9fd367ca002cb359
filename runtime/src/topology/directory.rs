//! The data directory belongs to one process at a time.

use super::StartError;
use std::fs::File;
use std::path::Path;

/// Holds the data directory for this process; the operating system lets go of it however the process ends.
pub(crate) struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    pub(crate) fn take(data_dir: &Path) -> Result<Self, StartError> {
        let wrong = |e: std::io::Error| StartError::DataDir {
            path: data_dir.display().to_string(),
            detail: format!("{e}; make it writable, or give another --data-dir"),
        };
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(data_dir).map_err(wrong)?;
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(data_dir.join("lock"))
            .map_err(wrong)?;
        match file.try_lock() {
            Ok(()) => Ok(DirectoryLock { _file: file }),
            Err(std::fs::TryLockError::WouldBlock) => Err(StartError::Busy(data_dir.display().to_string())),
            Err(std::fs::TryLockError::Error(e)) => Err(wrong(e)),
        }
    }
}
