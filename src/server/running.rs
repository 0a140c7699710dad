//! A running balancer, and its end.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::admission::Gate;
use crate::certificates::Watcher;
use crate::listener::Order;
use crate::log::Log;
use crate::server::Handle;
use crate::server::automation::Automation;
use crate::server::discovery::Discoveries;
use crate::server::monitors::Monitors;
use crate::server::sockets::Held;
use crate::server::upgrade::Predecessor;
use crate::server::workers::Thread;
use crate::server::world::World;

/// How long workers may take to end once their sessions were cut.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// A running balancer. Dropping it cuts all sessions.
#[derive(Debug)]
pub struct Server {
    /// The process that this one has taken over from, while it drains.
    pub(super) before: Option<Predecessor>,
    pub(super) handle: Arc<Handle>,
    pub(super) log: Arc<Log>,
    pub(super) world: World,
    /// The addresses that are served, those included whose last flows are on their way out.
    pub(super) held: Vec<Held>,
    pub(super) workers: Vec<Thread>,
    pub(super) gate: Arc<Gate>,
    pub(super) open_files: u64,
    pub(super) monitors: Monitors,
    pub(super) discoveries: Discoveries,
    pub(super) automation: Automation,
    pub(super) certificates: Watcher,
}

impl Server {
    /// What reports read.
    pub fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    /// Stops: takes who waits in the listen queues, lets sessions go on for `shutdown_timeout` or
    /// until `hurry` is done, then cuts them. Returns when the last one has ended.
    pub async fn stop(mut self, hurry: impl Future<Output = ()>) {
        self.handle.set_stopping();
        if let Some(before) = &self.before {
            before.stop().await;
        }
        self.automation.stop();
        // The workers have the others, and close them once their queues are empty.
        self.held.iter_mut().for_each(|held| held.fds.clear());
        self.tell_all(|| Order::Close).await;
        self.wait_and_cut(hurry).await;
    }

    /// Lets sessions go on for `shutdown_timeout` or until `hurry` is done, then cuts them.
    pub(super) async fn wait_and_cut(&mut self, hurry: impl Future<Output = ()>) {
        let grace = self.handle.snapshot().config.process.shutdown_timeout;
        let ended = async {
            for worker in &mut self.workers {
                worker.ended().await;
            }
        };
        tokio::select! {
            () = ended => return,
            () = hurry => tracing::info!("stopping at once"),
            () = tokio::time::sleep(grace) => {
                tracing::info!("shutdown_timeout has passed, ending the sessions that are left");
            }
        }
        self.cut().await;
    }

    /// Ends all sessions that are left.
    pub(super) async fn cut(&mut self) {
        // Before the cut, or one worker's sessions make room for those that wait on another.
        self.handle.snapshot().pools.iter().for_each(|pool| pool.queue().end());
        self.tell_all(|| Order::Cut).await;
        for worker in &mut self.workers {
            // Past this the runtime is dropped with the process, and what it holds with it.
            tokio::time::timeout(LAST_WORDS, worker.ended()).await.ok();
        }
    }

    /// Has all workers look at the gates of the posts; returns when they go by them.
    pub(super) async fn heed(&self) {
        for worker in &self.workers {
            worker.heed().await;
        }
    }

    pub(super) async fn tell_all(&self, order: impl Fn() -> Order) {
        for worker in &self.workers {
            worker.tell(order()).await;
        }
    }
}
