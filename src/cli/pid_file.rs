//! The file with the process id: written when the balancer is ready, removed when it ends, and left to
//! the process that takes over.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// The file with the process id, removed when the balancer ends.
#[derive(Debug)]
pub(super) struct PidFile {
    path: PathBuf,
    file: File,
    is_left: bool,
}

impl PidFile {
    /// Opens the file while it can still be opened, and leaves what is in it.
    pub(super) fn open(path: PathBuf) -> anyhow::Result<Self> {
        let opened = File::options().create(true).truncate(false).write(true).open(&path);
        let failed = || format!("process.pid_file: cannot write {}", path.display());
        let file = opened.with_context(failed)?;
        Ok(Self { path, file, is_left: false })
    }

    /// Leaves the file to another process.
    pub(super) fn leave(mut self) {
        self.is_left = true;
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Says that the balancer is ready.
    pub(super) fn write(&self) -> anyhow::Result<()> {
        let line = format!("{}\n", std::process::id());
        let written = self.file.set_len(0).and_then(|()| (&self.file).write_all(line.as_bytes()));
        written.with_context(|| format!("process.pid_file: cannot write {}", self.path.display()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if self.is_left {
            return;
        }
        // Whoever was dropped to may not remove it; a stale file is the lesser harm.
        fs::remove_file(&self.path).ok();
    }
}
