//! Hears of changes on the ways to files, as far as the kernel tells.
//!
//! Folders are watched, not files: a file that is replaced takes its watch with it. What the kernel
//! does not tell of (network file systems, a folder that came back unseen) is found by looking.

mod debounce;
mod links;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

pub use debounce::Debounce;
use links::on_the_way;

/// Ways may change while they are walked; what changes more often is heard of or found later.
const WALKS: usize = 3;

/// A folder under watch, and which one of that name it is.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Folder {
    path: PathBuf,
    /// Device and inode.
    is: Option<(u64, u64)>,
}

impl Folder {
    fn find(path: &Path) -> Self {
        let is = fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
        Self { path: path.to_owned(), is }
    }
}

/// Hears of changes.
#[derive(Debug)]
pub struct Lookout {
    /// `None` until it is first needed, and while the system has none to give.
    watcher: Option<RecommendedWatcher>,
    folders: BTreeSet<Folder>,
    /// Whose changes matter: entries on the ways, and the folders that they are in.
    concerns: Arc<ArcSwap<BTreeSet<PathBuf>>>,
    /// Told of each change. It holds one word however many come, so nothing can pile up.
    changed: Arc<Notify>,
    /// What the files are, for the log, and how often they are looked at in any case.
    what: (&'static str, Duration),
    has_complained: bool,
}

impl Lookout {
    /// Tells `changed` once it is aimed at something. `what` names the files in the log, with how
    /// often somebody looks at them who is told nothing.
    pub fn new(changed: Arc<Notify>, what: (&'static str, Duration)) -> Self {
        Self {
            watcher: None,
            folders: BTreeSet::new(),
            concerns: Arc::default(),
            changed,
            what,
            has_complained: false,
        }
    }

    /// Watches the ways to `files` as they are now, and no others. What changes after it has
    /// returned is heard of.
    ///
    /// It asks the file system, so it may block. What cannot be watched is logged, once.
    pub fn aim(&mut self, files: &[PathBuf]) {
        for _ in 0..WALKS {
            let entries: BTreeSet<_> = files.iter().flat_map(|file| on_the_way(file)).collect();
            if !self.watch(entries) {
                return;
            }
        }
    }

    /// Watches the folders of these entries. True if they are others than before: then what was
    /// found on the way may have changed before anybody listened.
    fn watch(&mut self, entries: BTreeSet<PathBuf>) -> bool {
        let paths: BTreeSet<_> = entries.iter().filter_map(|entry| entry.parent()).collect();
        let folders: BTreeSet<_> = paths.iter().map(|path| Folder::find(path)).collect();
        let concerns = paths.iter().map(|path| path.to_path_buf()).chain(entries.clone());
        let concerns: BTreeSet<_> = concerns.collect();
        let is_new = **self.concerns.load() != concerns || self.folders != folders;
        self.concerns.store(Arc::new(concerns));
        let before = std::mem::replace(&mut self.folders, folders);
        if let Err(error) = self.place(&before) {
            self.complain(&error);
        }
        is_new
    }

    /// Gives up the watches of `before` that are of no use any more, and sets those that are.
    fn place(&mut self, before: &BTreeSet<Folder>) -> notify::Result<()> {
        let watcher = match &mut self.watcher {
            Some(watcher) => watcher,
            none => none.insert(watcher(&self.concerns, &self.changed)?),
        };
        for folder in before.difference(&self.folders) {
            // One that is gone from disk has lost its watch already.
            watcher.unwatch(&folder.path).ok();
        }
        // Those of before too: a folder may have been made again under its old name and number.
        let set = |folder: &Folder| watcher.watch(&folder.path, RecursiveMode::NonRecursive);
        let failed: Vec<_> = self.folders.iter().map(set).filter_map(Result::err).collect();
        failed.into_iter().next().map_or(Ok(()), Err)
    }

    fn complain(&mut self, error: &notify::Error) {
        // A folder that went away meanwhile: the next walk finds where the way ends now.
        if matches!(error.kind, notify::ErrorKind::PathNotFound) {
            return;
        }
        if std::mem::replace(&mut self.has_complained, true) {
            return;
        }
        tracing::warn!(
            %error,
            "cannot be told of every change to {}: they are looked at every {} s instead; raise the limits fs.inotify.max_user_watches and \
             fs.inotify.max_user_instances, or let the process read the folders",
            self.what.0,
            self.what.1.as_secs()
        );
    }
}

/// A watcher that tells `changed` of what matters to `concerns`.
fn watcher(
    concerns: &Arc<ArcSwap<BTreeSet<PathBuf>>>,
    changed: &Arc<Notify>,
) -> notify::Result<RecommendedWatcher> {
    let (concerns, changed) = (Arc::clone(concerns), Arc::clone(changed));
    notify::recommended_watcher(move |heard| {
        if matters(&heard, &concerns.load()) {
            changed.notify_one();
        }
    })
}

/// True if what was heard may lead to other bytes. Reading the files must not: we do it ourselves.
fn matters(heard: &notify::Result<Event>, concerns: &BTreeSet<PathBuf>) -> bool {
    let Ok(event) = heard else { return true };
    let is_a_change = match event.kind {
        EventKind::Access(kind) => kind == AccessKind::Close(AccessMode::Write),
        _ => true,
    };
    // Without a path: the kernel could not keep all that it had to tell.
    let is_ours = || event.paths.iter().any(|path| concerns.contains(path));
    is_a_change && (event.paths.is_empty() || is_ours())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use tokio::time::timeout;

    use super::*;

    /// Far beyond what the kernel needs.
    const PATIENCE: Duration = Duration::from_secs(20);

    struct Scene {
        _folder: tempfile::TempDir,
        real: PathBuf,
        lookout: Lookout,
        changed: Arc<Notify>,
    }

    impl Scene {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let real = folder.path().canonicalize().unwrap();
            let changed = Arc::new(Notify::new());
            Self {
                _folder: folder,
                real,
                lookout: Lookout::new(Arc::clone(&changed), ("files", PATIENCE)),
                changed,
            }
        }

        /// What was heard before is forgotten.
        async fn aim(&mut self, file: &str) {
            self.lookout.aim(&[self.real.join(file)]);
            let quiet = Duration::from_millis(50);
            while timeout(quiet, self.changed.notified()).await.is_ok() {}
        }

        async fn hears(&self) {
            timeout(PATIENCE, self.changed.notified()).await.expect("nothing was heard");
        }
    }

    #[tokio::test]
    async fn a_change_of_any_entry_on_the_way_is_heard() {
        let mut scene = Scene::new();
        let real = scene.real.clone();
        for folder in ["1", "2"] {
            fs::create_dir(real.join(folder)).unwrap();
            fs::write(real.join(folder).join("cert.pem"), folder).unwrap();
        }
        symlink("1", real.join("..data")).unwrap();
        symlink("..data/cert.pem", real.join("cert.pem")).unwrap();
        scene.aim("cert.pem").await;
        fs::write(real.join("1/cert.pem"), "new").unwrap();
        scene.hears().await;
        scene.aim("cert.pem").await;
        symlink("2", real.join("..tmp")).unwrap();
        fs::rename(real.join("..tmp"), real.join("..data")).unwrap();
        scene.hears().await;
        scene.aim("cert.pem").await;
        fs::write(real.join("2/new"), "new").unwrap();
        fs::rename(real.join("2/new"), real.join("2/cert.pem")).unwrap();
        scene.hears().await;
    }

    #[tokio::test]
    async fn a_folder_that_is_made_again_is_watched_again() {
        let mut scene = Scene::new();
        let real = scene.real.clone();
        let folder = real.join("certs");
        for _ in 0..3 {
            fs::create_dir(&folder).unwrap();
            fs::write(folder.join("cert.pem"), "1").unwrap();
            scene.aim("certs/cert.pem").await;
            fs::write(folder.join("cert.pem"), "2").unwrap();
            scene.hears().await;
            fs::remove_dir_all(&folder).unwrap();
            scene.hears().await;
            scene.aim("certs/cert.pem").await;
        }
        fs::create_dir(&folder).unwrap();
        scene.hears().await;
        // Renamed away, and another one in its place before anybody looked.
        scene.aim("certs/cert.pem").await;
        fs::rename(&folder, real.join("old")).unwrap();
        fs::create_dir(&folder).unwrap();
        scene.hears().await;
        scene.aim("certs/cert.pem").await;
        fs::write(folder.join("cert.pem"), "3").unwrap();
        scene.hears().await;
    }

    #[test]
    fn reading_and_other_files_are_no_change() {
        let concerns = BTreeSet::from([PathBuf::from("/certs"), PathBuf::from("/certs/a.pem")]);
        let event = |kind, path: &str| Ok(Event::new(kind).add_path(path.into()));
        let read = EventKind::Access(AccessKind::Open(AccessMode::Any));
        let written = EventKind::Access(AccessKind::Close(AccessMode::Write));
        assert!(!matters(&event(read, "/certs/a.pem"), &concerns));
        assert!(matters(&event(written, "/certs/a.pem"), &concerns));
        assert!(!matters(&event(written, "/certs/b.pem"), &concerns));
        assert!(matters(&event(EventKind::Any, "/certs"), &concerns));
        assert!(matters(&Ok(Event::new(EventKind::Other)), &concerns));
        assert!(matters(&Err(notify::Error::generic("")), &concerns));
    }
}
