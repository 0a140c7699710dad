//! The complete world as it stands: what reports read and a reload replaces whole.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use crossbeam_utils::CachePadded;
use tokio::sync::mpsc;

use crate::acme::Orders;
use crate::addr::ClientAddr;
use crate::admission::Figures;
use crate::api;
use crate::config::{self, Config, Protocol};
use crate::event::{Event, Events, Subject};
use crate::health::{Operator, Steering};
use crate::http::Requests;
use crate::listener::{Asked, Foretold, Listener};
use crate::metric::{Counter, Figure, Gauge};
use crate::net::KernelDrops;
use crate::pool::{Ask, Pool};
use crate::route::Signpost;
use crate::server::DiscoveryView;
use crate::server::Retreat;
use crate::server::command::{self, COMMANDS, Command, Refusal, Reloads};
use crate::server::ledger::{self, Ledger, See};
use crate::tls::Inbound;

/// The world that the supervisor last published.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// What the file says.
    pub config: Arc<Config>,
    /// In file order.
    pub listeners: Vec<ListenerView>,
    /// In the order of [`Config::pools`].
    pub pools: Vec<Arc<Pool>>,
    /// In the same order; empty until the pools are watched.
    pub operators: Vec<Operator>,
}

/// A listener as reports see it.
#[derive(Debug, Clone)]
pub struct ListenerView {
    /// Its name.
    pub name: Arc<str>,
    /// As bound: port 0 has become the real one.
    pub addresses: Vec<SocketAddr>,
    /// Its counters.
    pub figures: Arc<Figures>,
    /// The kernel's numbers of its datagram sockets; empty for TCP.
    pub datagram_sockets: Vec<u64>,
    /// Its routes, the ways to its own pools among them.
    pub routes: Vec<Arc<Signpost>>,
    /// What is counted of its requests; empty for all but http.
    pub requests: Vec<Arc<Requests>>,
    /// What ends TLS at it, with its certificates and counters.
    pub tls: Option<Arc<Inbound>>,
    /// Orders of its automatic certificate, where it has one.
    pub orders: Option<Arc<Orders>>,
    /// What serves it; `None` where nothing does, as in a test of reports.
    pub live: Option<Arc<Listener>>,
}

impl ListenerView {
    /// True if it takes datagrams.
    pub fn is_udp(&self) -> bool {
        !self.datagram_sockets.is_empty()
    }
}

impl Snapshot {
    /// True if the listener of this name takes requests.
    pub fn is_http(&self, listener: &str) -> bool {
        let is_it = |spec: &&config::Listener| &*spec.name == listener;
        self.config.listeners.iter().find(is_it).is_some_and(|spec| spec.protocol == Protocol::Http)
    }

    /// What the kernel dropped because no worker took it in time: see
    /// [`ListenerView::datagram_sockets`].
    pub fn kernel_drops(&self) -> KernelDrops {
        // The table grows with the flows: it is not read for nothing.
        let has_udp = self.listeners.iter().any(ListenerView::is_udp);
        if has_udp { KernelDrops::read() } else { KernelDrops::default() }
    }
}

/// Why a backend could not be steered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SteerError {
    /// There is no pool of that name.
    NoPool,
    /// The pool has no backend of that name.
    NoBackend,
    /// The pool is not watched: the process is starting or stopping.
    Unwatched,
}

/// What outside parties hold of a running server.
#[derive(Debug)]
pub struct Handle {
    /// When the process began to serve.
    pub started: Instant,
    /// Live sessions of each worker.
    pub workers: Arc<[CachePadded<Gauge>]>,
    /// Changes of state, as they happen.
    pub events: Events,
    /// How often the file was read again.
    pub reloads: Reloads,
    /// Processes of before an upgrade that still have sessions, the latest first.
    pub draining: ArcSwap<Vec<api::DrainingProcess>>,
    /// The end of the admin interface, when another process serves.
    pub retreat: Retreat,
    /// Look-ups of backends, for each pool that has some.
    discoveries: ArcSwap<Vec<DiscoveryView>>,
    snapshot: ArcSwap<Snapshot>,
    /// Since all listeners accept, which is about when the workers' clocks began.
    listening: OnceLock<Instant>,
    stopping: AtomicBool,
    /// Counters of others, by a name each.
    besides: ArcSwap<Vec<(&'static str, Arc<Counter>)>>,
    commands: mpsc::Sender<Command>,
    /// Until the supervisor takes them.
    commanded: Mutex<Option<mpsc::Receiver<Command>>>,
}

impl Handle {
    /// A server that is not listening yet; `workers` are the live sessions of each worker.
    pub fn new(snapshot: Snapshot, workers: Arc<[CachePadded<Gauge>]>) -> Self {
        let (commands, commanded) = mpsc::channel(COMMANDS);
        Self {
            commands,
            commanded: Mutex::new(Some(commanded)),
            started: Instant::now(),
            workers,
            events: Events::default(),
            besides: ArcSwap::default(),
            reloads: Reloads::default(),
            draining: ArcSwap::default(),
            retreat: Retreat::default(),
            discoveries: ArcSwap::default(),
            snapshot: ArcSwap::from_pointee(snapshot),
            listening: OnceLock::new(),
            stopping: AtomicBool::new(false),
        }
    }

    /// Where backends are looked up, for each pool that has that.
    pub fn discoveries(&self) -> Arc<Vec<DiscoveryView>> {
        self.discoveries.load_full()
    }

    pub(super) fn set_discoveries(&self, views: Vec<DiscoveryView>) {
        self.discoveries.store(Arc::new(views));
    }

    /// The world in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Steers a backend by name; returns when the next pick obeys.
    ///
    /// # Errors
    /// There is no such pool or backend, or nobody watches the pool.
    pub async fn steer(
        &self,
        pool: &str,
        backend: &str,
        steering: Steering,
    ) -> Result<(), SteerError> {
        let snapshot = self.snapshot();
        let named = snapshot.pools.iter().position(|known| **known.name() == *pool);
        let place = named.ok_or(SteerError::NoPool)?;
        let members = snapshot.pools.get(place).map(|pool| pool.members()).unwrap_or_default();
        if !members.iter().any(|member| **member.backend.name() == *backend) {
            return Err(SteerError::NoBackend);
        }
        let operator = snapshot.operators.get(place).cloned().ok_or(SteerError::Unwatched)?;
        if operator.steer(backend, steering).await { Ok(()) } else { Err(SteerError::Unwatched) }
    }

    /// What would become of a session or a request of this client at a listener, as far as it is known
    /// from here, if it asks for this; `None` if there is no such listener. Nothing is changed by it.
    pub fn preview(
        &self,
        listener: &str,
        client: ClientAddr,
        asked: &Asked<'_>,
    ) -> Option<Foretold> {
        let snapshot = self.snapshot();
        let view = snapshot.listeners.iter().find(|view| *view.name == *listener)?;
        let now = self.clock();
        let chance = fastrand::u64(..);
        Some(view.live.as_ref()?.preview(&Ask::of(client, chance, now), asked))
    }

    /// Reads the file again; returns when the new one has taken effect. With `confirm`, it goes back
    /// by itself after that time unless it is confirmed.
    ///
    /// # Errors
    /// The file cannot be used, or something stands in the way. Nothing has changed then.
    pub async fn reload(&self, confirm: Option<Duration>) -> Result<api::Reloaded, Refusal> {
        command::ask(&self.commands, |reply| Command::Reload(confirm, reply)).await
    }

    /// Keeps what was loaded last and waits to be confirmed.
    ///
    /// # Errors
    /// Nothing waits for that.
    pub async fn confirm(&self) -> Result<(), Refusal> {
        command::ask(&self.commands, Command::Confirm).await
    }

    /// What a reload with this file would change. `file` is the effective file as JSON.
    ///
    /// # Errors
    /// The file cannot be used.
    pub async fn plan(&self, file: String) -> Result<api::Changes, Refusal> {
        command::ask(&self.commands, |reply| Command::Plan(file, reply)).await
    }

    /// Has a new process take over; returns when it serves.
    ///
    /// # Errors
    /// It did not get ready. This process goes on then.
    pub async fn upgrade(&self) -> Result<api::Upgraded, Refusal> {
        command::ask(&self.commands, Command::Upgrade).await
    }

    /// About what the workers' clocks say: milliseconds since all listeners accept.
    pub(super) fn clock(&self) -> u64 {
        let now = self.listening.get().map_or(0, |since| since.elapsed().as_millis());
        u64::try_from(now).unwrap_or(u64::MAX)
    }

    /// Lets a counter that is not the server's own live on in the process after an upgrade. The name
    /// is for the two of them alone.
    pub fn also_counts(&self, name: &'static str, counter: &Arc<Counter>) {
        self.besides.rcu(|known| {
            let mut more = Vec::clone(known);
            more.push((name, Arc::clone(counter)));
            more
        });
    }

    /// Shows every figure that only rises, with a name that the process after an upgrade knows, too.
    pub fn each_figure(&self, see: &mut See<'_>) {
        ledger::each(&self.snapshot(), see);
        for (name, counter) in &**self.besides.load() {
            see(format!("besides {name}"), Figure::Count(counter));
        }
        for view in &**self.discoveries.load() {
            see(format!("discovery {} failures", view.pool), Figure::Count(view.failures()));
        }
        see("reloads ok".to_owned(), Figure::Count(&self.reloads.ok));
        see("reloads refused".to_owned(), Figure::Count(&self.reloads.refused));
    }

    /// All that has been counted.
    pub fn ledger(&self) -> Ledger {
        Ledger::read(self)
    }

    /// Adds what another process has counted.
    pub fn enter(&self, ledger: Ledger) {
        ledger.enter(self);
    }

    /// What is commanded; once, for the supervisor.
    pub(super) fn commanded(&self) -> Option<mpsc::Receiver<Command>> {
        self.commanded.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Puts another world in force.
    pub(super) fn publish(&self, snapshot: Snapshot) {
        self.snapshot.store(Arc::new(snapshot));
    }

    /// The pools are watched from now on: those who steer them, in their order.
    pub fn set_operators(&self, operators: Vec<Operator>) {
        let snapshot = Snapshot::clone(&self.snapshot.load());
        self.publish(Snapshot { operators, ..snapshot });
    }

    /// Live sessions of all workers.
    pub fn sessions(&self) -> u64 {
        self.workers.iter().map(|load| load.get()).sum()
    }

    /// True once all listeners accept.
    pub fn is_listening(&self) -> bool {
        self.listening.get().is_some()
    }

    /// True once a graceful stop has begun.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// All listeners accept from now on.
    pub fn set_listening(&self) {
        self.listening.get_or_init(Instant::now);
        self.tell_of_listeners("bound", "listening", |view| {
            let addresses: Vec<_> = view.addresses.iter().map(ToString::to_string).collect();
            format!("open at {}", addresses.join(", "))
        });
    }

    /// A graceful stop has begun.
    pub fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.tell_of_listeners("listening", "closing", |_| "the process is stopping".to_owned());
    }

    fn tell_of_listeners(
        &self,
        from: &'static str,
        to: &'static str,
        reason: impl Fn(&ListenerView) -> String,
    ) {
        for view in &self.snapshot().listeners {
            let subject = Subject::Listener { listener: Arc::clone(&view.name) };
            let (time, reason) = (SystemTime::now(), reason(view));
            self.events.publish(Event { time, subject, from: from.into(), to: to.into(), reason });
        }
    }
}
