//! An upgrade from the side of the process that is to serve: it goes on where the one before stopped.

use crate::listener::Gate;
use crate::server::start::Poised;
use crate::server::upgrade::handover::{Broken, Predecessor};
use crate::server::{Server, StartError};

/// Why the process before goes on.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    /// A listener cannot be opened.
    #[error(transparent)]
    Start(#[from] StartError),
    /// It does not answer.
    #[error("the process before this one: {0}")]
    Broken(#[from] Broken),
}

/// A balancer that serves, of which the process before has not been told yet.
#[derive(Debug)]
pub struct Taken {
    server: Server,
    before: Predecessor,
    /// Flows that cannot go on, by the socket that they came in at.
    left: Vec<(u64, Vec<usize>)>,
}

impl Poised {
    /// Has the process before stop, takes its flows and counters, and opens the listeners.
    ///
    /// # Errors
    /// It is gone, or a listener cannot be opened. It goes on then, as soon as this one has ended.
    pub async fn take_over(self, mut before: Predecessor) -> Result<Taken, NotTaken> {
        let rest = before.prepared().await?;
        rest.figures.into_iter().for_each(|figures| self.handle().enter(figures));
        // A datagram of a flow that is there must find it.
        let server = self.open(Gate::Paused).await?;
        server.recall(rest.homes);
        let left = server.take_flows(rest.flows).await;
        server.turn(Gate::Paused, Gate::Open).await;
        Ok(Taken { server, before, left })
    }
}

impl Taken {
    /// Tells the process before, which from then on only keeps its sessions.
    pub async fn confirm(self) -> Server {
        let Self { mut server, before, left } = self;
        let (pid, version) = (before.pid(), before.version().to_owned());
        let flows: usize = left.iter().map(|(_, places)| places.len()).sum();
        if flows > 0 {
            tracing::info!(flows, "flows end whose backends are gone from the file");
        }
        match before.serving(left).await {
            Ok(()) => tracing::info!(pid, version, "upgraded: took over from the process before"),
            Err(why) => {
                tracing::warn!(pid, %why, "the process before is gone, its sessions with it")
            }
        }
        server.tell_of_upgrade(
            pid.to_string(),
            std::process::id().to_string(),
            format!("version {version} was replaced by {}", env!("CARGO_PKG_VERSION")),
        );
        server.before = Some(before);
        server
    }
}
