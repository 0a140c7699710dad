//! Certificate files under watch: a changed pair serves the next handshake, a broken one is refused
//! while the old one serves on, and one that ends is spoken of.

mod expiry;
mod pair;
mod report;
#[cfg(test)]
mod tests;
mod verdict;
mod watch;

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::event::Events;
use crate::tls::Inbound;
use watch::Watch;

/// Watches the certificates of all listeners. Dropping it ends that at once.
#[derive(Debug)]
pub struct Watcher {
    _task: JoinSet<()>,
}

impl Watcher {
    /// Begins to watch what these listeners, with their names, show to clients: the files that it
    /// came from, if it did, and when it ends. `events` hears what changes. Where nothing is shown
    /// there is nothing to watch.
    ///
    /// Must be called inside a tokio runtime, on which it stays.
    pub fn start(shown: &[(Arc<str>, Arc<Inbound>)], events: &Events) -> Self {
        let mut task = JoinSet::new();
        if !shown.is_empty() {
            task.spawn(Watch::new(shown, events).run());
        }
        Self { _task: task }
    }
}
