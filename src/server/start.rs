//! The start: everything is bound and built, probed once, opened.

use std::sync::Arc;

use crate::acme::Keepers;
use crate::admission::Gate;
use crate::certificates::Watcher;
use crate::config::Config;
use crate::listener::{Crew, Door, Gate as PostGate, Plan};
use crate::log::Log;
use crate::server::automation::{Automation, Wanted};
use crate::server::discovery::Discoveries;
use crate::server::monitors::Monitors;
use crate::server::sockets::{self, Sockets};
use crate::server::workers::{self, Thread};
use crate::server::world::World;
use crate::server::{Handle, Inheritance, Known, Server, Snapshot, StartError, limits, views};

/// A balancer whose addresses are bound and do not listen yet.
#[derive(Debug)]
pub struct Bound {
    handle: Arc<Handle>,
    log: Arc<Log>,
    world: World,
    sockets: Vec<Sockets>,
    wanted: Wanted,
    keepers: Keepers,
    crew: Arc<Crew>,
    doors: Vec<Door>,
    gate: Arc<Gate>,
    open_files: u64,
}

impl Bound {
    /// Binds all addresses, but for those that are inherited, and builds pools and listeners.
    ///
    /// `log` is where sessions leave their line; `open_files` bounds the sessions where the
    /// configuration says nothing.
    ///
    /// # Errors
    /// Every address that cannot be bound; TLS of a listener or a pool that cannot be set up.
    pub fn bind(
        config: Config,
        log: &Arc<Log>,
        open_files: u64,
        inheritance: &mut Inheritance,
    ) -> Result<Self, StartError> {
        let workers = workers::count(&config);
        let gate = Arc::new(limits::gate(&config, open_files, workers));
        let world = World::build(&config, None, log.access().as_ref(), &gate)?;
        let sockets = sockets::bind_all(&config, workers, inheritance)?;
        let wanted = Wanted::of(&config, &world, None);
        let keepers = wanted.keepers(&config, &world)?;
        let orders = wanted.counted();
        let (crew, doors) = Crew::new(workers);
        let views = views::of(&config, &world, &orders, |spec, address| {
            let is_it = |one: &&Sockets| one.listener == spec.name && one.is_for(address);
            sockets.iter().find(is_it).map(|one| (one.address, one.datagram_inodes()))
        });
        let snapshot = Snapshot {
            listeners: views,
            pools: world.pools().cloned().collect(),
            operators: Vec::new(),
            config: Arc::new(config),
        };
        let handle = Arc::new(Handle::new(snapshot, Arc::clone(crew.loads())));
        let log = Arc::clone(log);
        Ok(Self { handle, log, world, sockets, wanted, keepers, crew, doors, gate, open_files })
    }

    /// What reports read, before and after the start.
    pub fn handle(&self) -> &Arc<Handle> {
        &self.handle
    }

    /// Probes every backend once, then opens the listeners: `Bound::poise` and `Poised::open`.
    ///
    /// # Errors
    /// Those of both.
    pub async fn start(self) -> Result<Server, StartError> {
        self.poise(&Known::new()).await?.open(PostGate::Open).await
    }

    /// Probes every backend once, but for those that are `known` by pool from a process before, and
    /// starts the workers; then only the listeners have to be opened. Must be called inside a runtime that
    /// lives as long as the server: the monitors and the watch over certificates stay on it.
    ///
    /// # Errors
    /// A health check that cannot work, a thread or a socket that the kernel refuses.
    pub async fn poise(mut self, known: &Known) -> Result<Poised, StartError> {
        // As the user that will have to write there.
        self.keepers.load();
        let config = Arc::clone(&self.handle.snapshot().config);
        let (events, bell) = (&self.handle.events, self.crew.bell());
        let monitors = Monitors::start(&config, &self.world, events, bell, known)?;
        self.handle.set_operators(monitors.operators(&config));
        // Names are asked and backends probed at the same time.
        let mut discoveries = Discoveries::default();
        let (found, ()) =
            tokio::join!(discoveries.prepare(&config, &self.world, known), monitors.first_round());
        discoveries.take(found, (&config, &monitors), &self.handle).await;
        sockets::still_free(self.sockets.iter())?;
        let (workers, pace) = (self.doors.len(), workers::pace(&config));
        let ceiling = limits::pipe_ceiling(self.open_files, workers);
        let start = |(index, door)| {
            let crew = Arc::clone(&self.crew);
            Thread::start(Plan { index, crew, door, pace, ceiling })
        };
        let doors = std::mem::take(&mut self.doors).into_iter().enumerate();
        let workers = doors.map(start).collect::<Result<Vec<_>, _>>()?;
        Ok(Poised { bound: self, monitors, discoveries, workers })
    }
}

/// A balancer that only has to open its listeners.
#[derive(Debug)]
pub struct Poised {
    bound: Bound,
    monitors: Monitors,
    discoveries: Discoveries,
    workers: Vec<Thread>,
}

impl Poised {
    /// What reports read.
    pub fn handle(&self) -> &Arc<Handle> {
        &self.bound.handle
    }

    /// Opens the listeners, behind gates that stand so.
    ///
    /// # Errors
    /// A socket that the kernel refuses.
    pub(super) async fn open(self, gate: PostGate) -> Result<Server, StartError> {
        let Self { bound, monitors, discoveries, workers } = self;
        let config = Arc::clone(&bound.handle.snapshot().config);
        let mut held = Vec::new();
        for sockets in bound.sockets {
            let spec = config.listeners.iter().find(|spec| spec.name == sockets.listener);
            let (Some(spec), Some(live)) = (spec, bound.world.listener(&sockets.listener)) else {
                continue;
            };
            sockets.listen(spec)?;
            held.push(sockets.open(Arc::clone(live), &workers, gate).await?);
        }
        let events = &bound.handle.events;
        let certificates = Watcher::start(&bound.world.inbound, events);
        bound.handle.set_listening();
        let automation = Automation::start(bound.wanted, bound.keepers, events)?;
        Ok(Server {
            before: None,
            handle: bound.handle,
            log: bound.log,
            world: bound.world,
            held,
            workers,
            gate: bound.gate,
            open_files: bound.open_files,
            monitors,
            discoveries,
            automation,
            certificates,
        })
    }
}
