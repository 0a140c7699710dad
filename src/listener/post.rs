//! One bound address: what is in force behind it, and whether it takes anything new.
//!
//! A reload puts another [`Listener`] there and leaves the sockets alone. Accept loops, forwarders
//! and connections that go on for long ask here what is in force.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use arc_swap::ArcSwap;
use crossbeam_utils::CachePadded;
use tokio::sync::watch;

use crate::listener::{Listener, Proxy};
use crate::metric::Gauge;
use crate::session::Desk;
use crate::{http, tcp, udp};

/// What becomes of those who come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// They are let in.
    Open,
    /// They wait outside.
    Paused,
    /// Nobody new: who waits to be accepted is still let in, then those sockets are closed; flows go
    /// on, over sockets that stay.
    Closed,
    /// The sockets are closed at once: somebody else has them, too.
    Left,
}

/// One bound address.
#[derive(Debug)]
pub struct Post {
    address: SocketAddr,
    listener: ArcSwap<Listener>,
    /// Whether that takes requests.
    is_http: AtomicBool,
    /// Written by the supervisor, which then has the workers look.
    gate: AtomicU8,
    /// Flows at this address, over all workers.
    flows: Arc<CachePadded<Gauge>>,
    /// Sockets that workers serve.
    attended: watch::Sender<usize>,
}

impl Post {
    /// At an address that nobody serves yet; port 0 has become a real one.
    pub fn new(address: SocketAddr, listener: Arc<Listener>) -> Self {
        Self {
            address,
            is_http: AtomicBool::new(is_http(&listener)),
            listener: ArcSwap::new(listener),
            gate: AtomicU8::new(Gate::Open as u8),
            flows: Arc::default(),
            attended: watch::channel(0).0,
        }
    }

    /// As bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What is in force.
    pub fn listener(&self) -> Arc<Listener> {
        self.listener.load_full()
    }

    /// What connections are led by now; `None` = they are not relayed.
    pub(super) fn relaying(&self) -> Option<Arc<tcp::Proxy>> {
        match self.listener.load().proxy() {
            Proxy::Tcp(proxy) => Some(Arc::clone(proxy)),
            Proxy::Udp(_) | Proxy::Http(_) => None,
        }
    }

    /// Puts another listener in force for all that comes from now on.
    pub fn replace(&self, listener: Arc<Listener>) {
        self.is_http.store(is_http(&listener), Ordering::Relaxed);
        self.listener.store(listener);
    }

    /// What becomes of those who come.
    pub fn gate(&self) -> Gate {
        match self.gate.load(Ordering::Acquire) {
            0 => Gate::Open,
            1 => Gate::Paused,
            2 => Gate::Closed,
            _ => Gate::Left,
        }
    }

    /// Decides what becomes of those who come. The workers must be told to look.
    pub fn turn(&self, gate: Gate) {
        self.gate.store(gate as u8, Ordering::Release);
    }

    /// Waits until no worker serves a socket of it.
    pub async fn deserted(&self) {
        // The sender is here, so it cannot fail.
        self.attended.subscribe().wait_for(|sockets| *sockets == 0).await.ok();
    }

    /// Flows at this address, over all workers.
    pub fn flows(&self) -> &Arc<CachePadded<Gauge>> {
        &self.flows
    }

    /// A worker serves a socket of it.
    pub(super) fn attend(self: &Arc<Self>) -> Attendance {
        self.attended.send_modify(|sockets| *sockets += 1);
        Attendance(Arc::clone(self))
    }
}

fn is_http(listener: &Listener) -> bool {
    matches!(listener.proxy(), Proxy::Http(_))
}

/// Given back when a worker has closed its socket.
#[derive(Debug)]
pub(super) struct Attendance(Arc<Post>);

impl Drop for Attendance {
    fn drop(&mut self) {
        self.0.attended.send_modify(|sockets| *sockets -= 1);
    }
}

impl Desk<http::Proxy> for Post {
    fn newer(&self, known: &Arc<http::Proxy>) -> Option<Arc<http::Proxy>> {
        match self.listener.load().proxy() {
            Proxy::Http(proxy) if !Arc::ptr_eq(proxy, known) => Some(Arc::clone(proxy)),
            _ => None,
        }
    }

    fn is_closed(&self) -> bool {
        // What speaks something else now takes no more requests.
        let is_http = self.is_http.load(Ordering::Relaxed);
        !is_http || matches!(self.gate(), Gate::Closed | Gate::Left)
    }

    fn is_left(&self) -> bool {
        self.gate() == Gate::Left
    }
}

impl Desk<udp::Proxy> for Post {
    fn newer(&self, known: &Arc<udp::Proxy>) -> Option<Arc<udp::Proxy>> {
        match self.listener.load().proxy() {
            Proxy::Udp(proxy) if !Arc::ptr_eq(proxy, known) => Some(Arc::clone(proxy)),
            _ => None,
        }
    }

    fn is_closed(&self) -> bool {
        matches!(self.gate(), Gate::Closed | Gate::Left)
    }

    fn is_paused(&self) -> bool {
        self.gate() == Gate::Paused
    }

    fn is_left(&self) -> bool {
        self.gate() == Gate::Left
    }
}
