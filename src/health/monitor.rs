//! The handle of a pool's monitor: start it, wait for its first round, tell it wishes, have it take
//! over another list, end it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::config::{self, AdminState};
use crate::event::Events;
use crate::health::StartError;
use crate::health::adoption::{Adoption, View};
use crate::health::known::Known;
use crate::health::watch::{Watch, Wires};
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
    /// The name of the backend.
    pub(super) backend: String,
    pub(super) steering: Steering,
    /// Told once the new list is published.
    pub(super) done: oneshot::Sender<()>,
}

/// What a monitor is told. Whoever waits for an answer hears nothing if there is none.
#[derive(Debug)]
pub(super) enum Command {
    /// Steer a backend.
    Steer(Wish),
    /// Say which members there are.
    View(oneshot::Sender<View>),
    /// Say what a process after this one begins with.
    Known(oneshot::Sender<Vec<Known>>),
    /// Take over another list.
    Adopt(Box<Adoption>, oneshot::Sender<()>),
    /// Have no members any more.
    Retire(oneshot::Sender<()>),
    /// Take over what was discovered.
    Roster(Vec<config::Member>, oneshot::Sender<()>),
}

/// Tells a monitor what is wanted; may outlive it.
#[derive(Debug, Clone)]
pub struct Operator {
    commands: mpsc::Sender<Command>,
}

impl Operator {
    /// Steers a backend, by its name; returns when the next pick obeys. False if the pool has none of
    /// that name or the monitor has ended.
    pub async fn steer(&self, backend: &str, steering: Steering) -> bool {
        let wish = |done| Command::Steer(Wish { backend: backend.to_owned(), steering, done });
        ask(&self.commands, wish).await.is_some()
    }

    /// Has the pool have these backends besides those of its file: all that discovery has found. Those
    /// that are new have one probe before anything is changed. Returns when this list, or one that
    /// has come after it, is in force; false if none is, as the monitor has ended or retired.
    pub async fn roster(&self, members: Vec<config::Member>) -> bool {
        ask(&self.commands, |done| Command::Roster(members, done)).await.is_some()
    }
}

/// Tells, and waits for the answer.
async fn ask<T>(
    commands: &mpsc::Sender<Command>,
    command: impl FnOnce(oneshot::Sender<T>) -> Command,
) -> Option<T> {
    let (reply, replied) = oneshot::channel();
    commands.send(command(reply)).await.ok()?;
    replied.await.ok()
}

/// Watches the pool of one name and publishes who may be picked. Dropping it ends all its probes at
/// once.
#[derive(Debug)]
pub struct Monitor {
    task: JoinSet<()>,
    commands: mpsc::Sender<Command>,
    first_round: watch::Receiver<bool>,
    is_done: Arc<AtomicBool>,
    trouble: Arc<Notify>,
}

impl Monitor {
    /// Begins to watch `pool`, which was made from `spec`: publishes a first list and probes every
    /// member that is not in maintenance and not among those that are `known` from a process before
    /// this one. `first_ordinal` is the number of backends in the pools before this one; it spreads
    /// the later probes of all pools over time. Names are asked of `resolver`. `events` hears each
    /// change; `bell` tells whoever holds sessions that some have to end.
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
        known: &[Known],
    ) -> Result<Self, StartError> {
        let (commands, commanded) = mpsc::channel(WISHES);
        let (round_over, first_round) = watch::channel(false);
        let is_done = Arc::<AtomicBool>::default();
        let trouble = Arc::<Notify>::default();
        let wires = Wires {
            resolver: resolver.clone(),
            events,
            bell,
            commands: commanded,
            first_round: round_over,
            is_done: Arc::clone(&is_done),
            trouble: Arc::clone(&trouble),
        };
        let watch = Watch::new(pool, spec, first_ordinal, wires, known)?;
        let mut task = JoinSet::new();
        task.spawn(watch.run());
        Ok(Self { task, commands, first_round, is_done, trouble })
    }

    /// Waits until every member has been probed once and the list that follows is published; at
    /// most one probe `timeout`.
    pub async fn first_round(&self) {
        // An error means that the monitor is gone, and nothing will ever come.
        self.first_round.clone().wait_for(|over| *over).await.ok();
    }

    /// Who tells it what is wanted.
    pub fn operator(&self) -> Operator {
        Operator { commands: self.commands.clone() }
    }

    /// Notified when a probe fails, or clients have failed often: somebody may have moved.
    pub fn trouble(&self) -> Arc<Notify> {
        Arc::clone(&self.trouble)
    }

    /// Makes ready the change to `pool`, which was made from `spec` or [fits](Pool::fits) it: reads the
    /// files that its probes need, and sends one probe to each member that is new. Names are asked of
    /// `resolver` from then on. Nothing changes before [`adopt`](Self::adopt).
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn prepare(
        &self,
        pool: &Arc<Pool>,
        spec: &config::Pool,
        resolver: &Resolver,
    ) -> Result<Adoption, StartError> {
        let view = ask(&self.commands, Command::View).await.unwrap_or_default();
        let is_sought = spec.discover.is_some();
        let roster = if is_sought { view.roster.clone() } else { Vec::new() };
        let view = View { resolver: resolver.clone(), ..view };
        Adoption::prepare(Arc::clone(pool), spec.clone(), roster, &view).await
    }

    /// Takes over what was made ready; returns when the next pick obeys, in this pool and in those
    /// before it. Members that were there keep what is known of them; those that are gone end their
    /// sessions as `[pool.NAME.close]` says.
    pub async fn adopt(&self, adoption: Adoption) {
        ask(&self.commands, |done| Command::Adopt(Box::new(adoption), done)).await;
    }

    /// The pool is gone from the file: all its backends leave; returns when nobody is picked any more.
    /// It may be adopted again while the last sessions end.
    pub async fn retire(&self) {
        ask(&self.commands, Command::Retire).await;
    }

    /// True once it was retired and the last session of its backends has ended.
    pub fn is_done(&self) -> bool {
        self.is_done.load(Ordering::Acquire)
    }

    /// What is known of its members: what the monitor of a process after this one starts from.
    pub async fn known(&self) -> Vec<Known> {
        ask(&self.commands, Command::Known).await.unwrap_or_default()
    }

    /// Ends all probes; once it returns, nothing is published any more.
    pub async fn stop(mut self) {
        self.task.shutdown().await;
    }
}
