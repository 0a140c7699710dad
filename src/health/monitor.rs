//! The handle of a pool's monitor: start it, wait for its first round, tell it wishes, end it.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::config::{self, AdminState};
use crate::event::Events;
use crate::health::StartError;
use crate::health::watch::Watch;
use crate::net::Resolver;
use crate::pool::Pool;
use crate::session::Bell;

/// Wishes that may stand in line: each comes from somebody who waits for its answer.
const WISHES: usize = 16;

/// What an operator wants of a backend; what is `None` stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Steering {
    /// In or out of rotation.
    pub state: Option<AdminState>,
    /// 0 to 256.
    pub weight: Option<u16>,
}

/// A steering on its way to the monitor.
#[derive(Debug)]
pub(super) struct Wish {
    /// Its place among the pool's members.
    pub(super) member: usize,
    pub(super) steering: Steering,
    /// Told once the new list is published.
    pub(super) done: oneshot::Sender<()>,
}

/// Tells a monitor what an operator wants; may outlive it.
#[derive(Debug, Clone)]
pub struct Operator {
    wishes: mpsc::Sender<Wish>,
}

impl Operator {
    /// Steers a member, by its place in the pool; returns when the next pick obeys. False if there
    /// is no such member or the monitor has ended.
    pub async fn steer(&self, member: usize, steering: Steering) -> bool {
        let (done, obeyed) = oneshot::channel();
        let told = self.wishes.send(Wish { member, steering, done }).await;
        told.is_ok() && obeyed.await.is_ok()
    }
}

/// Watches one pool and publishes who may be picked. Dropping it ends all its probes at once.
#[derive(Debug)]
pub struct Monitor {
    task: JoinSet<()>,
    wishes: mpsc::Sender<Wish>,
    first_round: watch::Receiver<bool>,
}

impl Monitor {
    /// Begins to watch `pool`, which was made from `spec`: publishes a first list and probes every
    /// member that is not in maintenance. `first_ordinal` is the number of backends in the pools
    /// before this one; it spreads the later probes of all pools over time. Names are asked of `resolver`. `events` hears each change;
    /// `bell` tells whoever holds sessions that some have to end.
    ///
    /// Must be called inside a tokio runtime, on which the monitor stays. Reads the files that
    /// `[pool.NAME.health.tls]` names.
    ///
    /// # Errors
    /// A TLS file that is of no use, a name or header that cannot be sent.
    pub fn start(
        pool: Arc<Pool>,
        spec: &config::Pool,
        first_ordinal: usize,
        resolver: &Resolver,
        events: Events,
        bell: Bell,
    ) -> Result<Self, StartError> {
        let (wishes, wished) = mpsc::channel(WISHES);
        let (round_over, first_round) = watch::channel(false);
        let watch =
            Watch::new(pool, spec, first_ordinal, resolver, (events, bell), wished, round_over)?;
        let mut task = JoinSet::new();
        task.spawn(watch.run());
        Ok(Self { task, wishes, first_round })
    }

    /// Waits until every member has been probed once and the list that follows is published; at
    /// most one probe `timeout`.
    pub async fn first_round(&self) {
        // An error means that the monitor is gone, and nothing will ever come.
        self.first_round.clone().wait_for(|over| *over).await.ok();
    }

    /// Who tells it what is wanted.
    pub fn operator(&self) -> Operator {
        Operator { wishes: self.wishes.clone() }
    }

    /// Ends all probes; once it returns, nothing is published any more.
    pub async fn stop(mut self) {
        self.task.shutdown().await;
    }
}
