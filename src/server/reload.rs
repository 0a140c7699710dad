//! One reload: all that may fail is done first and changes nothing; then it takes effect, which cannot
//! fail.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::admission::Gate;
use crate::certificates::Watcher;
use crate::config::{self, Config, Listener};
use crate::listener::{Gate as PostGate, Order, Post};
use crate::log;
use crate::server::automation::Wanted;
use crate::server::discovery::NextDiscoveries;
use crate::server::monitors::Next;
use crate::server::sockets::{self, Held, Sockets};
use crate::server::world::World;
use crate::server::{Inheritance, Known, Server, Snapshot, StartError, limits, views, workers};

/// How long the queue of an address that goes may take to empty: longer than any worker tries.
const LAST_CALL: Duration = Duration::from_secs(3);

/// A world that stands ready beside the one that serves. Dropping it changes nothing.
#[derive(Debug)]
pub(super) struct Prepared {
    config: Config,
    world: World,
    places: Vec<Place>,
    next: Next,
    found: NextDiscoveries,
    log: log::Prepared,
    gate: Gate,
    wanted: Wanted,
}

/// Where an address of a listener is served from now on.
#[derive(Debug)]
enum Place {
    /// Where it was, or another listener.
    Kept(Arc<Post>),
    /// At sockets that listen already.
    New(Sockets),
}

impl Server {
    /// Makes everything ready: reads files, binds what is new, probes each backend that is new once.
    ///
    /// # Errors
    /// Anything that a start could fail for.
    pub(super) async fn prepare(&self, mut config: Config) -> Result<Prepared, StartError> {
        let snapshot = self.handle.snapshot();
        keep_what_needs_a_restart(&mut config, &snapshot.config);
        let log = self
            .log
            .prepare(&config.log)
            .map_err(|why| StartError::Kernel { what: "open the log".to_owned(), why })?;
        let gate = limits::gate(&config, self.open_files, self.workers.len());
        let (before, access) = (Some(&self.world), log.access());
        let world = World::build(&config, before, access.as_ref(), &self.gate)?;
        let wanted = Wanted::of(&config, &world, Some(self.automation.wanted()));
        wanted.check(&world)?;
        let places = self.places(&config)?;
        let old = (&*snapshot.config, &self.world);
        let next = self.monitors.prepare(old, (&config, &world)).await?;
        let found = self.discoveries.prepare(&config, &world, &Known::new()).await;
        let new = || places.iter().filter_map(Place::as_new);
        sockets::still_free(new())?;
        for sockets in new() {
            let spec = config.listeners.iter().find(|spec| spec.name == sockets.listener);
            spec.map_or(Ok(()), |spec| sockets.listen(spec))?;
        }
        Ok(Prepared { config, world, places, next, found, log, gate, wanted })
    }

    /// Where each address is to be served, in the order of the file; binds those that are new.
    fn places(&self, config: &Config) -> Result<Vec<Place>, StartError> {
        let (mut places, mut refused) = (Vec::<Place>::new(), Vec::new());
        for (spec, address) in addresses(config) {
            let is_free = |held: &&Held| !places.iter().any(|place| place.is_at(&held.post));
            let held = self.held.iter().filter(is_free).find(|held| held.serves(spec, address));
            match held {
                Some(held) => places.push(Place::Kept(Arc::clone(&held.post))),
                None => {
                    let workers = self.workers.len();
                    let nothing = &mut Inheritance::default();
                    match Sockets::bind(spec, address, workers, nothing, &self.held) {
                        Ok(sockets) => places.push(Place::New(sockets)),
                        Err(error) => refused.push(error),
                    }
                }
            }
        }
        if refused.is_empty() { Ok(places) } else { Err(StartError::Bind(refused)) }
    }

    /// Puts what was prepared into effect; returns when it is.
    pub(super) async fn commit(&mut self, prepared: Prepared) {
        let Prepared { config, mut world, places, next, found, log, gate, wanted } = prepared;
        let config = Arc::new(config);
        // First the pools: whoever is led to one finds it ready.
        self.monitors.take(next).await;
        self.discoveries.take(found, (&config, &self.monitors), &self.handle).await;
        std::mem::take(&mut world.fresh).into_iter().for_each(|fresh| fresh.show());
        self.log.apply(log);
        self.gate.turn_to(&gate);
        self.tell_all(|| Order::Pace(workers::pace(&config))).await;
        let kept = self.open(&config, &world, places).await;
        self.publish(&config, &world, &wanted, &kept);
        self.leave_others(&kept).await;
        // Last those that nobody is led to any more.
        self.retire_others(&config).await;
        let events = self.handle.events.clone();
        self.certificates = Watcher::start(&world.inbound, &events);
        self.automation.follow(wanted, (&config, &world), &events).await;
        let is_gone = |listener: &str| world.listener(listener).is_none();
        world.pools().for_each(|pool| pool.forget_listeners(is_gone));
        self.world = world;
        self.tidy().await;
    }

    /// Has every address served by its listener; gives the posts, in the order of the file.
    async fn open(&mut self, config: &Config, world: &World, places: Vec<Place>) -> Vec<Arc<Post>> {
        let mut posts = Vec::new();
        let mut has_reopened = false;
        for ((spec, _), place) in addresses(config).zip(places) {
            let Some(live) = world.listener(&spec.name) else { continue };
            match place {
                Place::Kept(post) => {
                    let held = self.held.iter_mut().find(|held| Arc::ptr_eq(&held.post, &post));
                    held.into_iter().for_each(|held| held.adopt(spec, Arc::clone(live)));
                    has_reopened |= post.gate() != PostGate::Open;
                    post.turn(PostGate::Open);
                    posts.push(post);
                }
                Place::New(sockets) => {
                    match sockets.open(Arc::clone(live), &self.workers, PostGate::Open).await {
                        Ok(held) => {
                            posts.push(Arc::clone(&held.post));
                            self.held.push(held);
                        }
                        // The kernel was asked for all that it refuses with a reason before.
                        Err(error) => tracing::error!(listener = &*spec.name, %error, "not opened"),
                    }
                }
            }
        }
        if has_reopened {
            self.heed().await;
        }
        posts
    }

    fn publish(&self, config: &Arc<Config>, world: &World, wanted: &Wanted, kept: &[Arc<Post>]) {
        let is_kept = |held: &&Held| kept.iter().any(|post| Arc::ptr_eq(post, &held.post));
        let orders = wanted.counted();
        let listeners = views::of(config, world, &orders, |spec, address| {
            let held = self.held.iter().filter(is_kept).find(|held| held.serves(spec, address))?;
            Some((held.post.address(), held.datagram_inodes()))
        });
        self.handle.publish(Snapshot {
            listeners,
            pools: world.pools().cloned().collect(),
            operators: self.monitors.operators(config),
            config: Arc::clone(config),
        });
    }

    /// Closes the addresses that are not among these. Who waits in their queues is still let in;
    /// datagrams go on as long as there are flows.
    async fn leave_others(&mut self, kept: &[Arc<Post>]) {
        let is_kept = |held: &Held| kept.iter().any(|post| Arc::ptr_eq(post, &held.post));
        let (others, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.held).into_iter().partition(|held| !is_kept(held));
        self.held = kept;
        if others.is_empty() {
            return;
        }
        let mut connections = Vec::new();
        for mut held in others {
            let was_open = held.post.gate() == PostGate::Open;
            held.post.turn(PostGate::Closed);
            if was_open {
                let (listener, address) = (&*held.listener, held.post.address());
                tracing::info!(listener, %address, "no longer listening");
            }
            if held.is_datagram {
                self.held.push(held);
            } else {
                // The workers have the others, and close them once their queues are empty.
                held.fds.clear();
                connections.push(held.post);
            }
        }
        self.heed().await;
        for post in connections {
            tokio::time::timeout(LAST_CALL, post.deserted()).await.ok();
        }
    }

    /// Has the pools end that are gone from the file. Whoever was let in before its listener led
    /// elsewhere has found its backend by then.
    async fn retire_others(&mut self, config: &Config) {
        if self.monitors.has_others(config) {
            self.heed().await;
            self.monitors.retire_others(config).await;
        }
    }

    /// Lets go of what is no longer used: addresses for datagrams once their last flow has ended. To
    /// be called now and then.
    pub(super) async fn tidy(&mut self) {
        let is_over =
            |held: &&mut Held| held.post.gate() == PostGate::Closed && held.post.flows().get() == 0;
        let over: Vec<_> =
            self.held.iter_mut().filter(is_over).map(|held| Arc::clone(&held.post)).collect();
        if over.is_empty() {
            return;
        }
        over.iter().for_each(|post| post.turn(PostGate::Left));
        self.heed().await;
        self.held.retain(|held| held.post.gate() != PostGate::Left);
        for post in over {
            tokio::time::timeout(LAST_CALL, post.deserted()).await.ok();
        }
    }
}

impl Place {
    fn as_new(&self) -> Option<&Sockets> {
        match self {
            Self::Kept(_) => None,
            Self::New(sockets) => Some(sockets),
        }
    }

    fn is_at(&self, post: &Arc<Post>) -> bool {
        matches!(self, Self::Kept(kept) if Arc::ptr_eq(kept, post))
    }
}

/// Every address of every listener, in the order of the file.
fn addresses(config: &Config) -> impl Iterator<Item = (&Listener, SocketAddr)> {
    config.listeners.iter().flat_map(|spec| spec.bind.iter().map(move |address| (spec, *address)))
}

/// Some things are as they were at the start, whatever the file says now.
fn keep_what_needs_a_restart(config: &mut Config, running: &Config) {
    let config::Process { threads, user, group, .. } = &running.process;
    config.process.threads = *threads;
    config.process.user.clone_from(user);
    config.process.group.clone_from(group);
    config.admin.bind.clone_from(&running.admin.bind);
}
