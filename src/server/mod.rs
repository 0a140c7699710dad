//! Ownership of everything that lives: sockets, pools, monitors, workers, and their order of life.
//!
//! `Bound` holds sockets that do not listen yet, so a start that fails has disturbed nobody;
//! `Server` is a running balancer.

mod automation;
mod command;
mod handover;
mod inheritance;
mod ledger;
mod limits;
mod privileges;
mod signals;
mod snapshot;
mod sockets;
mod workers;
mod world;

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::acme::{self, Keepers};
use crate::admission::Gate;
use crate::certificates::Watcher;
use crate::config::Config;
use crate::event::Events;
pub use crate::health::Steering;
use crate::health::{self, Monitor};
use crate::listener::{self, Crew, Door, Order, Plan};
pub use crate::listener::{Asked, Fate, Foretold};
use crate::log::AccessLog;
use crate::net::BindError;
pub use crate::route::{Miss, Signpost};
use crate::session::Bell;
use crate::tls;
pub use command::Refusal;
pub use inheritance::{Inheritance, Inherited};
pub use ledger::Ledger;
pub use limits::{descriptors_for, hard_limit_of_open_files, raise_open_files};
pub use privileges::{Account, PrivilegeError};
pub use signals::{Signals, Told};
pub use snapshot::{Handle, ListenerView, Snapshot, SteerError};
use sockets::Sockets;
use workers::Thread;
pub use workers::{clock_step, count as workers};
use world::World;

/// How long workers may take to end once their sessions were cut.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Why a balancer did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// One or more addresses could not be bound.
    #[error("{}", join(.0))]
    Bind(Vec<BindError>),
    /// A pool's health check cannot work.
    #[error(transparent)]
    Health(#[from] health::StartError),
    /// The files of `[listener.NAME.tls]` are of no use.
    #[error("[listener.{listener}.tls]: {why}")]
    ListenerTls {
        /// The listener.
        listener: Arc<str>,
        /// What is wrong.
        why: Box<tls::Error>,
    },
    /// Automatic certificates cannot be kept.
    #[error(transparent)]
    Acme(#[from] acme::Error),
    /// The files or names of `[pool.NAME.tls]` are of no use.
    #[error("[pool.{pool}.tls]: {why}")]
    Tls {
        /// The pool.
        pool: Arc<str>,
        /// What is wrong.
        why: Box<tls::Error>,
    },
    /// The secret of a pool's cookie cannot be read.
    #[error("[pool.{pool}.sticky] secret_file {}: {why}", file.display())]
    CookieSecret {
        /// The pool.
        pool: Arc<str>,
        /// The file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A thread or a listening socket was refused.
    #[error("cannot {what}: {why}")]
    Kernel {
        /// What was tried.
        what: String,
        /// Why not.
        why: io::Error,
    },
}

fn join(errors: &[BindError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// A balancer whose addresses are bound and do not listen yet.
#[derive(Debug)]
pub struct Bound {
    handle: Arc<Handle>,
    world: World,
    sockets: Vec<Sockets>,
    keepers: Keepers,
    crew: Arc<Crew>,
    doors: Vec<Door>,
    /// Descriptors from this number on are left to sessions.
    ceiling: u64,
}

impl Bound {
    /// Binds all addresses and builds pools and listeners.
    ///
    /// `access` is where sessions leave their line; `open_files` bounds the sessions where the
    /// configuration says nothing.
    ///
    /// # Errors
    /// Every address that cannot be bound; TLS of a listener or a pool that cannot be set up.
    pub fn bind(
        config: Config,
        access: Option<&AccessLog>,
        open_files: u64,
    ) -> Result<Self, StartError> {
        let workers = workers::count(&config);
        let gate = match config.process.max_sessions {
            0 => Gate::of_descriptors(descriptors_for(open_files, workers)),
            cap => Gate::of_sessions(u64::from(cap)),
        };
        let world = World::build(&config, access, &Arc::new(gate))?;
        let sockets = sockets::bind_all(&config, workers)?;
        let (keepers, orders) = automation::keepers(&config, &world)?;
        let (crew, doors) = Crew::new(workers);
        let snapshot = Snapshot {
            listeners: views(&world, &sockets, &orders),
            pools: world.pools.clone(),
            config: Arc::new(config),
        };
        let handle = Arc::new(Handle::new(snapshot, Arc::clone(crew.loads())));
        let ceiling = limits::pipe_ceiling(open_files, workers);
        Ok(Self { handle, world, sockets, keepers, crew, doors, ceiling })
    }

    /// What reports read, before and after the start.
    pub fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    /// Probes every backend once, then opens the listeners. Must be called inside a runtime that
    /// lives as long as the server: the monitors and the watch over certificates stay on it.
    ///
    /// # Errors
    /// A health check that cannot work, a thread or a socket that the kernel refuses.
    pub async fn start(mut self) -> Result<Server, StartError> {
        // As the user that will have to write there.
        self.keepers.load();
        let config = Arc::clone(&self.handle.snapshot().config);
        let monitors = watch(&config, &self.world, &self.handle.events, self.crew.bell())?;
        self.handle.set_operators(monitors.iter().map(Monitor::operator).collect());
        for monitor in &monitors {
            monitor.first_round().await;
        }
        sockets::still_free(&self.sockets)?;
        let (pace, ceiling) = (workers::pace(&config), self.ceiling);
        let start = |(index, door)| {
            let crew = Arc::clone(&self.crew);
            Thread::start(Plan { index, crew, door, pace, ceiling })
        };
        let doors = self.doors.into_iter().enumerate();
        let workers = doors.map(start).collect::<Result<Vec<_>, _>>()?;
        for sockets in self.sockets {
            sockets::open(&config, &self.world, sockets, &workers).await?;
        }
        let certificates = Watcher::start(&self.world.inbound, &self.handle.events);
        self.handle.set_listening();
        let automation = self.keepers.start(&self.handle.events).map_err(acme::Error::from)?;
        let grace = config.process.shutdown_timeout;
        Ok(Server {
            handle: self.handle,
            workers,
            grace,
            automation,
            _monitors: monitors,
            _certificates: certificates,
        })
    }
}

/// A running balancer. Dropping it cuts all sessions.
#[derive(Debug)]
pub struct Server {
    handle: Arc<Handle>,
    workers: Vec<Thread>,
    grace: Duration,
    automation: acme::Running,
    _monitors: Vec<Monitor>,
    _certificates: Watcher,
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
        self.automation.stop();
        self.tell_all(|| Order::Close).await;
        let grace = self.grace;
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
        // Before the cut, or one worker's sessions make room for those that wait on another.
        self.handle.snapshot().pools.iter().for_each(|pool| pool.queue().end());
        self.tell_all(|| Order::Cut).await;
        for worker in &mut self.workers {
            // Past this the runtime is dropped with the process, and what it holds with it.
            tokio::time::timeout(LAST_WORDS, worker.ended()).await.ok();
        }
    }

    async fn tell_all(&self, order: impl Fn() -> Order) {
        for worker in &self.workers {
            worker.tell(order()).await;
        }
    }
}

fn views(world: &World, sockets: &[Sockets], orders: &automation::Counted) -> Vec<ListenerView> {
    let of = |index| sockets.iter().filter(move |sockets| sockets.listener == index);
    let tls = |name: &Arc<str>| world.inbound.iter().find(|(of, _)| of == name);
    let orders = |name: &Arc<str>| orders.iter().find(|(of, _)| of == name);
    let view = |(index, listener): (usize, &Arc<listener::Listener>)| ListenerView {
        name: Arc::clone(&listener.name),
        addresses: of(index).map(|sockets| sockets.address).collect(),
        figures: Arc::clone(&listener.admission.figures),
        datagram_sockets: of(index).flat_map(Sockets::datagram_inodes).collect(),
        routes: listener.signposts(),
        requests: listener.requests(),
        tls: tls(&listener.name).map(|(_, tls)| Arc::clone(tls)),
        orders: orders(&listener.name).map(|(_, orders)| Arc::clone(orders)),
        live: Some(Arc::clone(listener)),
    };
    world.listeners.iter().enumerate().map(view).collect()
}

/// Starts the monitor of every pool.
fn watch(
    config: &Config,
    world: &World,
    events: &Events,
    bell: &Bell,
) -> Result<Vec<Monitor>, StartError> {
    let mut ordinal = 0;
    let mut monitors = Vec::new();
    for (spec, pool) in config.pools.iter().zip(&world.pools) {
        let (pool, events, bell) = (Arc::clone(pool), events.clone(), bell.clone());
        monitors.push(Monitor::start(pool, spec, ordinal, events, bell)?);
        ordinal += spec.members.len();
    }
    Ok(monitors)
}
