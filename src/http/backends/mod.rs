//! Connections to backends, kept for the next request while nobody uses them. Each worker has its own.
//!
//! Nothing runs for a connection that rests: what the kernel has reported of it is looked at when it
//! is taken, and with each sweep.

mod idle;
mod link;
mod lost;
mod serial;
mod shared;
mod wire;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use crate::config::HttpVersion;
use crate::http::stream::{Scratch, Stream};
use crate::net::Socket;
use crate::pool::{Lease, Pool};
use crate::session::Clock;
use crate::upstream::{Caller, Dialed, Search};
use idle::{Counted, Shelf};
pub(super) use link::{Bare, Link};
pub(super) use lost::{Lost, Unanswered};
use serial::Serial;
use shared::{Seat, Shared};

/// The manner in which connections are opened, and the backend: after a change of the file those serve
/// on that would be opened alike.
type Key = (u64, u64);

/// The connections of a worker to its backends, or those of one client where they are not shared
/// between clients.
#[derive(Debug)]
pub(super) struct Backends {
    shelves: RefCell<HashMap<Key, Rc<Shelf>>>,
    /// Those of single clients.
    private: RefCell<Vec<Weak<Self>>>,
    clock: Rc<Clock>,
    scratch: Rc<RefCell<Scratch>>,
    is_closed: Rc<Cell<bool>>,
}

impl Backends {
    /// No connection yet.
    pub(super) fn new(clock: &Rc<Clock>, scratch: &Rc<RefCell<Scratch>>) -> Self {
        Self {
            shelves: RefCell::default(),
            private: RefCell::default(),
            clock: Rc::clone(clock),
            scratch: Rc::clone(scratch),
            is_closed: Rc::default(),
        }
    }

    /// Connections for one client alone, which are closed with it.
    pub(super) fn for_one_client(&self) -> Rc<Self> {
        let private =
            Self { is_closed: Rc::clone(&self.is_closed), ..Self::new(&self.clock, &self.scratch) };
        let private = Rc::new(private);
        self.private.borrow_mut().push(Rc::downgrade(&private));
        private
    }

    /// A connection to the backend of `lease`, kept or new. `None`: the attempt has failed, which is
    /// counted on the backend. `surely`: the request cannot be sent again, if the backend closes a
    /// kept connection just now.
    pub(super) async fn reach<C: Caller>(
        &self,
        search: &mut Search<'_, C>,
        pool: &Arc<Pool>,
        lease: &Lease,
        surely: bool,
    ) -> Option<Link> {
        let shelf = self.shelf(pool, lease);
        match pool.connecting.http.version {
            HttpVersion::V1 => {
                if let Some(kept) = shelf.take(surely) {
                    return Some(Link::alone(kept, &shelf, true));
                }
                let dialed = search.dial(pool, lease).await?;
                self.open(dialed, &shelf, lease.epoch()).await
            }
            HttpVersion::V2 => self.reach_shared(search, pool, lease, shelf).await,
        }
    }

    /// As [`reach`](Self::reach), where many requests share a connection: who finds none waits for
    /// one that is being opened already.
    async fn reach_shared<C: Caller>(
        &self,
        search: &mut Search<'_, C>,
        pool: &Arc<Pool>,
        lease: &Lease,
        shelf: Rc<Shelf>,
    ) -> Option<Link> {
        loop {
            if let Some(shared) = shelf.share() {
                return Some(Link::shared(Seat::take(&shared, &shelf), &shelf, true));
            }
            if !shelf.should_wait() {
                break;
            }
            if !shelf.wait().await {
                return None;
            }
        }
        let mut opening = shelf.begin();
        opening.has_failed = true;
        let Dialed { socket, tls } = search.dial(pool, lease).await?;
        let is_tls = tls.is_some();
        let (stream, _) = self.stream(Dialed { socket, tls });
        let shared = Shared::open(stream, is_tls, lease.epoch()).await.ok()?;
        opening.has_failed = false;
        shelf.add(Rc::clone(&shared));
        Some(Link::shared(Seat::take(&shared, &shelf), &shelf, false))
    }

    async fn open(&self, dialed: Dialed, shelf: &Rc<Shelf>, epoch: u32) -> Option<Link> {
        let (stream, socket) = self.stream(dialed);
        let serial = Serial::open(stream, socket, epoch).await.ok()?;
        Some(Link::alone(Box::new(Counted::new(serial, shelf.backend())), shelf, false))
    }

    fn stream(&self, dialed: Dialed) -> (Stream, Rc<Socket>) {
        let Dialed { socket, tls } = dialed;
        let (tls, ahead) = match tls {
            Some(secured) => (Some(Box::new(secured.session)), secured.ahead),
            None => (None, Vec::new()),
        };
        let socket = Rc::new(socket);
        (Stream::new(Rc::clone(&socket), tls, ahead, &self.scratch), socket)
    }

    fn shelf(&self, pool: &Arc<Pool>, lease: &Lease) -> Rc<Shelf> {
        let (manner, http) = (pool.connecting.manner, pool.connecting.http);
        let (backend, address) = (lease.backend(), lease.address());
        let mut shelves = self.shelves.borrow_mut();
        let known = shelves.get(&(manner, backend.id()));
        if let Some(shelf) = known.filter(|shelf| shelf.leads_to(address)) {
            shelf.set_rules(http);
            return Rc::clone(shelf);
        }
        let is_outdated = |key: &&Key| key.1 == backend.id() && key.0 <= manner;
        let outdated: Vec<_> = shelves.keys().filter(is_outdated).copied().collect();
        outdated.iter().filter_map(|key| shelves.get(key)).for_each(|shelf| shelf.close());
        let shelf = Rc::new(Shelf::new(http, (backend, address), &self.clock, &self.is_closed));
        shelves.insert((manner, backend.id()), Rc::clone(&shelf));
        shelf
    }

    /// Closes what has rested for too long, what its backend has closed, and what leads to backends
    /// that are not to be used.
    pub(super) fn sweep(&self) {
        self.shelves.borrow_mut().retain(|_, shelf| {
            shelf.sweep();
            Rc::strong_count(shelf) > 1 || !shelf.is_empty()
        });
        self.each_private(Self::sweep);
    }

    /// Closes all that nobody uses.
    pub(super) fn release(&self) {
        self.shelves.borrow().values().for_each(|shelf| shelf.clear());
        self.each_private(Self::release);
    }

    /// Keeps nothing from here on.
    pub(super) fn close(&self) {
        self.is_closed.set(true);
        self.release();
    }

    fn each_private(&self, call: impl Fn(&Self)) {
        self.private.borrow_mut().retain(|private| {
            let private = private.upgrade();
            private.as_deref().map(&call).is_some()
        });
    }
}
