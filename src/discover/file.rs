//! The file that lists backends: watched, and looked at in any case every now and then.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::spawn_blocking;

use crate::config::{self, Member};
use crate::lookout::Lookout;

/// It is looked at so often, whatever was heard.
pub(super) const POLL: Duration = Duration::from_secs(30);

/// Larger files are no list of backends; without a limit a device would eat the memory.
const LARGEST: u64 = 8 << 20;

/// A file under watch.
#[derive(Debug)]
pub(super) struct Listing {
    path: PathBuf,
    max_sessions: u32,
    changed: Arc<Notify>,
    /// `None` before the first look, and while somebody looks.
    lookout: Option<Lookout>,
}

impl Listing {
    /// Tells `changed` of each change, once it has been looked at.
    pub(super) fn new(path: PathBuf, max_sessions: u32, changed: Arc<Notify>) -> Self {
        Self { path, max_sessions, changed, lookout: None }
    }

    /// The backends that it lists now, or why it is of no use.
    pub(super) async fn look(&mut self) -> Result<Vec<Member>, String> {
        let watched = || Lookout::new(Arc::clone(&self.changed), ("files of backends", POLL));
        let mut lookout = self.lookout.take().unwrap_or_else(watched);
        let (path, max_sessions) = (self.path.clone(), self.max_sessions);
        // First the way to the file is watched, so that no change is missed that comes after reading.
        let looked = spawn_blocking(move || {
            lookout.aim(std::slice::from_ref(&path));
            (lookout, read(&path, max_sessions))
        });
        match looked.await {
            Ok((lookout, read)) => {
                self.lookout = Some(lookout);
                read
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

fn read(path: &Path, max_sessions: u32) -> Result<Vec<Member>, String> {
    let named = |error: std::io::Error| format!("it cannot be read: {error}");
    // Opening a pipe would wait for somebody who writes.
    if !path.metadata().map_err(named)?.is_file() {
        return Err("it is no file".to_owned());
    }
    let mut text = Vec::new();
    File::open(path)
        .and_then(|file| file.take(LARGEST + 1).read_to_end(&mut text))
        .map_err(named)?;
    if u64::try_from(text.len()).unwrap_or(u64::MAX) > LARGEST {
        return Err("it is larger than 8 MiB".to_owned());
    }
    config::listed(path, &text, max_sessions)
}
