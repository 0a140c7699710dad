//! Ownership of everything that lives: sockets, pools, monitors, workers, and their order of life.
//!
//! `Bound` holds sockets that do not listen yet, so a start that fails has disturbed nobody;
//! `Server` is a running balancer.

mod limits;
mod privileges;
mod signals;
mod snapshot;
mod world;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::config::{self, Config};
use crate::health::{self, Monitor};
use crate::listener::{self, Crew, Door, Gate, Order, Pace, Plan};
use crate::log::AccessLog;
use crate::net::{BindError, bind_listener, is_taken};
pub use limits::{raise_open_files, sessions_for};
pub use privileges::{Account, PrivilegeError};
pub use signals::{Signals, Told};
pub use snapshot::{Handle, ListenerView, Snapshot};
use world::World;

/// Orders a worker may have waiting: all come from one task that waits for room.
const ORDERS: usize = 64;

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

/// The sockets of one listener address, one for each worker.
#[derive(Debug)]
struct Sockets {
    listener: usize,
    address: SocketAddr,
    fds: Vec<OwnedFd>,
}

/// A balancer whose addresses are bound and do not listen yet.
#[derive(Debug)]
pub struct Bound {
    handle: Arc<Handle>,
    world: World,
    sockets: Vec<Sockets>,
    crew: Arc<Crew>,
    doors: Vec<Door>,
}

impl Bound {
    /// Binds all addresses and builds pools and listeners.
    ///
    /// `access` is where sessions leave their line; `open_files` bounds the sessions where the
    /// configuration says nothing.
    ///
    /// # Errors
    /// Every address that cannot be bound.
    pub fn bind(
        config: Config,
        access: Option<&AccessLog>,
        open_files: u64,
    ) -> Result<Self, StartError> {
        let workers = workers(&config);
        let cap = match config.process.max_sessions {
            0 => sessions_for(open_files, workers),
            cap => u64::from(cap),
        };
        let world = World::build(&config, access, &Arc::new(Gate::new(cap)));
        let sockets = bind_all(&config, workers)?;
        let (crew, doors) = Crew::new(workers);
        let snapshot = Snapshot {
            listeners: views(&world, &sockets),
            pools: world.pools.clone(),
            config: Arc::new(config),
        };
        let handle = Arc::new(Handle::new(snapshot, Arc::clone(crew.loads())));
        Ok(Self { handle, world, sockets, crew, doors })
    }

    /// What reports read, before and after the start.
    pub fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    /// Probes every backend once, then opens the listeners. Must be called inside a runtime that
    /// lives as long as the server: the monitors stay on it.
    ///
    /// # Errors
    /// A health check that cannot work, a thread or a socket that the kernel refuses.
    pub async fn start(self) -> Result<Server, StartError> {
        let config = Arc::clone(&self.handle.snapshot().config);
        let monitors = watch(&config, &self.world)?;
        for monitor in &monitors {
            monitor.first_round().await;
        }
        still_free(&self.sockets)?;
        let pace = pace(&config);
        let workers = self
            .doors
            .into_iter()
            .enumerate()
            .map(|(index, door)| Thread::start(index, Arc::clone(&self.crew), door, pace))
            .collect::<Result<Vec<_>, _>>()?;
        for sockets in self.sockets {
            open(&config, &self.world, sockets, &workers).await?;
        }
        self.handle.set_listening();
        let grace = config.process.shutdown_timeout;
        Ok(Server { handle: self.handle, workers, grace, _monitors: monitors })
    }
}

/// A running balancer. Dropping it cuts all sessions.
#[derive(Debug)]
pub struct Server {
    handle: Arc<Handle>,
    workers: Vec<Thread>,
    grace: Duration,
    _monitors: Vec<Monitor>,
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
        self.tell_all(|| Order::Cut).await;
        for worker in &mut self.workers {
            // Past this the runtime is dropped with the process, and what it holds with it.
            tokio::time::timeout(LAST_WORDS, worker.ended()).await.ok();
        }
    }

    async fn tell_all(&self, order: impl Fn() -> Order) {
        for worker in &self.workers {
            // A worker that is gone has nothing left to be told.
            worker.orders.send(order()).await.ok();
        }
    }
}

/// A worker's thread as the supervisor sees it.
#[derive(Debug)]
struct Thread {
    orders: mpsc::Sender<Order>,
    ended: Option<oneshot::Receiver<()>>,
}

impl Thread {
    fn start(index: usize, crew: Arc<Crew>, door: Door, pace: Pace) -> Result<Self, StartError> {
        let (orders, received) = mpsc::channel(ORDERS);
        let (end, ended) = oneshot::channel();
        let plan = Plan { index, crew, door, orders: received, pace };
        let body = move || {
            if let Err(error) = listener::run(plan) {
                tracing::error!(worker = index, %error, "a worker could not start");
            }
            end.send(()).ok();
        };
        let spawned = thread::Builder::new().name(format!("worker-{index}")).spawn(body);
        let refused = |why| StartError::Kernel { what: format!("start worker {index}"), why };
        spawned.map_err(refused)?;
        Ok(Self { orders, ended: Some(ended) })
    }

    /// Waits for the end of the thread; at once if it has been seen.
    async fn ended(&mut self) {
        if let Some(ended) = &mut self.ended {
            ended.await.ok();
            self.ended = None;
        }
    }
}

fn workers(config: &Config) -> usize {
    match config.process.threads {
        0 => thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    }
}

fn bind_all(config: &Config, workers: usize) -> Result<Vec<Sockets>, StartError> {
    let mut bound = Vec::new();
    let mut refused = Vec::new();
    for (listener, spec) in config.listeners.iter().enumerate() {
        for address in &spec.bind {
            match bind_listener(*address, workers, spec.keepalive) {
                Ok((address, fds)) => bound.push(Sockets { listener, address, fds }),
                Err(error) => refused.push(error),
            }
        }
    }
    if refused.is_empty() { Ok(bound) } else { Err(StartError::Bind(refused)) }
}

/// Looks once more whether the addresses are ours alone, before any of them listens: a socket that
/// is bound but does not listen yet keeps nobody else from binding, another evenkeel in its first
/// round included.
fn still_free(sockets: &[Sockets]) -> Result<(), StartError> {
    let is_lost = |sockets: &&Sockets| is_taken(sockets.address).is_ok_and(|taken| taken);
    let lost = sockets.iter().filter(is_lost).map(|sockets| BindError {
        address: sockets.address,
        source: io::ErrorKind::AddrInUse.into(),
    });
    let lost: Vec<_> = lost.collect();
    if lost.is_empty() { Ok(()) } else { Err(StartError::Bind(lost)) }
}

fn views(world: &World, sockets: &[Sockets]) -> Vec<ListenerView> {
    let view = |(index, listener): (usize, &Arc<listener::Listener>)| ListenerView {
        name: Arc::clone(&listener.name),
        addresses: sockets.iter().filter(|s| s.listener == index).map(|s| s.address).collect(),
        figures: Arc::clone(&listener.figures),
    };
    world.listeners.iter().enumerate().map(view).collect()
}

/// Starts the monitor of every pool.
fn watch(config: &Config, world: &World) -> Result<Vec<Monitor>, StartError> {
    let mut ordinal = 0;
    let mut monitors = Vec::new();
    for (spec, pool) in config.pools.iter().zip(&world.pools) {
        monitors.push(Monitor::start(Arc::clone(pool), spec, ordinal)?);
        ordinal += spec.members.len();
    }
    Ok(monitors)
}

/// Opens the sockets of one address and gives each worker its own.
async fn open(
    config: &Config,
    world: &World,
    sockets: Sockets,
    workers: &[Thread],
) -> Result<(), StartError> {
    let Sockets { listener, address, fds } = sockets;
    let (Some(spec), Some(live)) = (config.listeners.get(listener), world.listeners.get(listener))
    else {
        return Ok(());
    };
    let refused = |why| StartError::Kernel { what: format!("listen on {address}"), why };
    let backlog = i32::try_from(spec.backlog).unwrap_or(i32::MAX);
    for fd in &fds {
        rustix::net::listen(fd, backlog).map_err(|errno| refused(errno.into()))?;
    }
    for (fd, worker) in fds.into_iter().zip(workers) {
        worker.orders.send(Order::Listen(Arc::clone(live), fd)).await.ok();
    }
    tracing::info!(listener = &*live.name, %address, "listening");
    Ok(())
}

/// How often workers look around: often enough for the shortest limits of the configuration.
fn pace(config: &Config) -> Pace {
    let shortest =
        |limits: &mut dyn Iterator<Item = Duration>, default| limits.min().unwrap_or(default);
    let second = Duration::from_secs(1);
    let limits = config.listeners.iter().flat_map(|l| [l.idle_timeout, l.max_lifetime]).flatten();
    let waits = |pool: &config::Pool| [pool.connect_timeout, pool.retry.backoff];
    let connects = config.pools.iter().flat_map(waits).filter(|wait| !wait.is_zero());
    let tick = shortest(&mut limits.clone().chain(connects), second) / 10;
    let tick = tick.clamp(Duration::from_millis(10), Duration::from_millis(100));
    let sweep = shortest(&mut limits.clone(), second * 4) / 4;
    Pace { tick, sweep: sweep.clamp(tick, second) }
}
