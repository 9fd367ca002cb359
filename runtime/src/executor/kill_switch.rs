//! The kill switch: looked at before every single step, and engaged when it cannot be looked at.

use async_trait::async_trait;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A switch that several processes share.
#[async_trait]
pub trait Switch: Send + Sync {
    /// Fails closed: what cannot be read counts as engaged.
    async fn is_engaged(&self) -> bool;
}

/// A file whose mere presence stops every action, and a switch beside it that holds for other processes too.
#[derive(Clone)]
pub struct KillSwitch {
    path: PathBuf,
    shared: Option<Arc<dyn Switch>>,
}

impl KillSwitch {
    pub fn in_directory(data_dir: &Path) -> Self {
        KillSwitch { path: data_dir.join("kill-switch"), shared: None }
    }

    /// Either of the two stops every action.
    pub fn with_shared(self, shared: Arc<dyn Switch>) -> Self {
        KillSwitch { shared: Some(shared), ..self }
    }

    /// The file alone. Fails closed: what cannot be read counts as engaged.
    pub fn is_engaged(&self) -> bool {
        self.path.try_exists().unwrap_or(true)
    }

    pub async fn is_engaged_anywhere(&self) -> bool {
        if self.is_engaged() {
            return true;
        }
        match &self.shared {
            Some(shared) => shared.is_engaged().await,
            None => false,
        }
    }

    pub fn set(&self, engaged: bool, by: &str) -> std::io::Result<()> {
        match engaged {
            // On the disk before anybody is told: a power cut must not let go of it.
            true => File::create(&self.path).and_then(|mut file| {
                file.write_all(format!("engaged by {by}\n").as_bytes())?;
                file.sync_all()?;
                self.path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
            }),
            false if self.path.try_exists()? => std::fs::remove_file(&self.path),
            false => Ok(()),
        }
    }
}
