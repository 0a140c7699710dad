//! How the admin interface makes way for that of another process: it lets nobody in any more before
//! anybody is told that the other one serves.

use std::time::Duration;

use tokio::sync::watch;

/// How long the interface may take to close its door.
const DOOR: Duration = Duration::from_secs(1);

/// Asked for by the supervisor, obeyed by the interface.
#[derive(Debug)]
pub struct Retreat {
    asked: watch::Sender<bool>,
    begun: watch::Sender<bool>,
}

impl Default for Retreat {
    fn default() -> Self {
        Self { asked: watch::channel(false).0, begun: watch::channel(false).0 }
    }
}

impl Retreat {
    /// Has the interface let nobody in any more; returns when it does not.
    pub async fn ask(&self) {
        self.asked.send_replace(true);
        let mut begun = self.begun.subscribe();
        // Without an interface nobody begins.
        tokio::time::timeout(DOOR, begun.wait_for(|begun| *begun)).await.ok();
    }

    /// Waits until it is asked for.
    pub async fn asked(&self) {
        // The sender is here, so it cannot fail.
        self.asked.subscribe().wait_for(|asked| *asked).await.ok();
    }

    /// The door is closed.
    pub fn begin(&self) {
        self.begun.send_replace(true);
    }
}
