//! The file with the process id: written when the balancer is ready, removed when it ends. With another
//! id in it the file is another process's: of the one that takes over, or of the one that goes on because
//! this one could not.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// The file with the process id, removed when the balancer ends.
#[derive(Debug)]
pub(super) struct PidFile {
    path: PathBuf,
    file: File,
}

impl PidFile {
    /// Opens the file while it can still be opened, and leaves what is in it.
    pub(super) fn open(path: PathBuf) -> anyhow::Result<Self> {
        let opened = File::options().create(true).truncate(false).write(true).open(&path);
        let failed = || format!("process.pid_file: cannot write {}", path.display());
        let file = opened.with_context(failed)?;
        Ok(Self { path, file })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Says that the balancer is ready.
    pub(super) fn write(&self) -> anyhow::Result<()> {
        let line = format!("{}\n", std::process::id());
        // It may be written a second time.
        let written =
            self.file.set_len(0).and_then(|()| self.file.write_all_at(line.as_bytes(), 0));
        written.with_context(|| format!("process.pid_file: cannot write {}", self.path.display()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let held = fs::read_to_string(&self.path).unwrap_or_default();
        let held = held.trim();
        // Nothing is in it if it was made for a start that has failed.
        if !held.is_empty() && held != std::process::id().to_string() {
            return;
        }
        // Whoever was dropped to may not remove it; a stale file is the lesser harm.
        fs::remove_file(&self.path).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_another_process_has_is_left_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        let held = || fs::read_to_string(&path).unwrap();
        let file = PidFile::open(path.clone()).unwrap();
        drop(PidFile::open(path.clone()).unwrap());
        assert!(!path.exists(), "a start that failed leaves nothing");
        drop(file);

        fs::write(&path, "1\n").unwrap();
        drop(PidFile::open(path.clone()).unwrap());
        assert_eq!(held(), "1\n");

        let file = PidFile::open(path.clone()).unwrap();
        (0..2).for_each(|_| file.write().unwrap());
        assert_eq!(held(), format!("{}\n", std::process::id()));
        drop(file);
        assert!(!path.exists());
    }
}
