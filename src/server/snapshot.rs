//! The complete world as it stands: what reports read and a reload replaces whole.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use crossbeam_utils::CachePadded;

use crate::admission::Figures;
use crate::config::Config;
use crate::metric::Gauge;
use crate::net::KernelDrops;
use crate::pool::Pool;

/// The world that the supervisor last published.
#[derive(Debug)]
pub struct Snapshot {
    /// What the file says.
    pub config: Arc<Config>,
    /// In file order.
    pub listeners: Vec<ListenerView>,
    /// In the order of [`Config::pools`].
    pub pools: Vec<Arc<Pool>>,
}

/// A listener as reports see it.
#[derive(Debug)]
pub struct ListenerView {
    /// Its name.
    pub name: Arc<str>,
    /// As bound: port 0 has become the real one.
    pub addresses: Vec<SocketAddr>,
    /// Its counters.
    pub figures: Arc<Figures>,
    /// The kernel's numbers of its datagram sockets; empty for TCP.
    pub datagram_sockets: Vec<u64>,
}

impl ListenerView {
    /// True if it takes datagrams.
    pub fn is_udp(&self) -> bool {
        !self.datagram_sockets.is_empty()
    }
}

impl Snapshot {
    /// What the kernel dropped because no worker took it in time: see
    /// [`ListenerView::datagram_sockets`].
    pub fn kernel_drops(&self) -> KernelDrops {
        // The table grows with the flows: it is not read for nothing.
        let has_udp = self.listeners.iter().any(ListenerView::is_udp);
        if has_udp { KernelDrops::read() } else { KernelDrops::default() }
    }
}

/// What outside parties hold of a running server.
#[derive(Debug)]
pub struct Handle {
    /// When the process began to serve.
    pub started: Instant,
    /// Live sessions of each worker.
    pub workers: Arc<[CachePadded<Gauge>]>,
    snapshot: ArcSwap<Snapshot>,
    listening: AtomicBool,
    stopping: AtomicBool,
}

impl Handle {
    /// A server that is not listening yet; `workers` are the live sessions of each worker.
    pub fn new(snapshot: Snapshot, workers: Arc<[CachePadded<Gauge>]>) -> Self {
        Self {
            started: Instant::now(),
            workers,
            snapshot: ArcSwap::from_pointee(snapshot),
            listening: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
        }
    }

    /// The world in force.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Live sessions of all workers.
    pub fn sessions(&self) -> u64 {
        self.workers.iter().map(|load| load.get()).sum()
    }

    /// True once all listeners accept.
    pub fn is_listening(&self) -> bool {
        self.listening.load(Ordering::Relaxed)
    }

    /// True once a graceful stop has begun.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// All listeners accept from now on.
    pub fn set_listening(&self) {
        self.listening.store(true, Ordering::Relaxed);
    }

    /// A graceful stop has begun.
    pub fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }
}
