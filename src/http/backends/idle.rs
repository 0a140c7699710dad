//! The connections to one backend that a worker has: those that nobody uses, and those that many
//! share.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::config::{AdminState, PoolHttp};
use crate::http::backends::serial::Serial;
use crate::http::backends::shared::Shared;
use crate::pool::{Backend, Health};
use crate::session::{Clock, Tick};

/// Streams that a backend is taken to allow until it has said.
const USUAL_STREAMS: usize = 100;

/// The connections to one backend that were opened in one manner.
#[derive(Debug)]
pub(super) struct Shelf {
    /// As the pool has them that was the last to come here.
    rules: Cell<PoolHttp>,
    backend: Arc<Backend>,
    /// Where its connections lead: a backend that has moved has another shelf.
    address: SocketAddr,
    clock: Rc<Clock>,
    /// Nothing is kept any more, by any shelf.
    is_closed: Rc<Cell<bool>>,
    /// Others are opened in a later manner, or to where the backend is now.
    is_outdated: Cell<bool>,
    /// Those that nobody uses, the one that came last at the end: it is used next, so that the
    /// others grow old.
    #[expect(clippy::vec_box, reason = "each request moves one out and in again")]
    idle: RefCell<Vec<Box<Counted<Serial>>>>,
    shared: RefCell<Vec<Counted<Rc<Shared>>>>,
    /// Connects that many wait for.
    opening: Cell<usize>,
    /// Who waits for them.
    waiting: Cell<usize>,
    /// How many requests the latest shared connection had room for.
    room: Cell<usize>,
    /// The latest connect that was waited for came to nothing.
    has_failed: Cell<bool>,
    opened: Notify,
}

/// A connection, counted as open on its backend.
#[derive(Debug)]
pub(super) struct Counted<T> {
    pub(super) link: T,
    backend: Arc<Backend>,
}

impl<T> Counted<T> {
    pub(super) fn new(link: T, backend: &Arc<Backend>) -> Self {
        backend.links.opened();
        Self { link, backend: Arc::clone(backend) }
    }
}

impl<T> Drop for Counted<T> {
    fn drop(&mut self) {
        self.backend.links.closed();
    }
}

impl Shelf {
    pub(super) fn new(
        rules: PoolHttp,
        (backend, address): (&Arc<Backend>, SocketAddr),
        clock: &Rc<Clock>,
        is_closed: &Rc<Cell<bool>>,
    ) -> Self {
        Self {
            rules: Cell::new(rules),
            backend: Arc::clone(backend),
            address,
            clock: Rc::clone(clock),
            is_closed: Rc::clone(is_closed),
            is_outdated: Cell::new(false),
            idle: RefCell::default(),
            shared: RefCell::default(),
            opening: Cell::new(0),
            waiting: Cell::new(0),
            room: Cell::new(USUAL_STREAMS),
            has_failed: Cell::new(false),
            opened: Notify::new(),
        }
    }

    /// How many are kept, and for how long.
    pub(super) fn set_rules(&self, rules: PoolHttp) {
        self.rules.set(rules);
    }

    /// Keeps nothing from here on.
    pub(super) fn close(&self) {
        self.is_outdated.set(true);
        self.clear();
    }

    /// True if its connections lead there.
    pub(super) fn leads_to(&self, address: SocketAddr) -> bool {
        self.address == address
    }

    pub(super) fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }

    pub(super) fn now(&self) -> Tick {
        self.clock.now()
    }

    /// A connection that nobody uses, if there is one. `surely`: the request cannot be sent again, so
    /// that the kernel is asked, too, whether the backend has closed it.
    pub(super) fn take(&self, surely: bool) -> Option<Box<Counted<Serial>>> {
        loop {
            let mut serial = self.idle.borrow_mut().pop()?;
            self.backend.links.rouse();
            let link = &mut serial.link;
            let is_free = if surely { link.is_free_now() } else { link.is_free() };
            if is_free && self.is_fresh(link.since, link.epoch) {
                return Some(serial);
            }
        }
    }

    /// Keeps a connection for the next request, if it can carry one.
    pub(super) fn put(&self, mut serial: Box<Counted<Serial>>) {
        let may_rest = serial.link.rest(self.now())
            && self.keeps()
            && !self.backend.recall().has_called(serial.link.epoch);
        if may_rest && self.backend.links.rest(self.rules.get().keepalive) {
            self.idle.borrow_mut().push(serial);
        }
    }

    /// A shared connection with room, if there is one.
    pub(super) fn share(&self) -> Option<Rc<Shared>> {
        let shared = self.shared.borrow();
        let fits = |link: &&Counted<Rc<Shared>>| {
            link.link.has_room() && self.is_fresh(link.link.since.get(), link.link.epoch)
        };
        let link = &shared.iter().find(fits)?.link;
        if link.is_idle.replace(false) {
            self.backend.links.rouse();
        }
        // It carries something again: only when it rests the next time it begins to grow old.
        link.since.set(Tick::MAX);
        self.room.set(link.most());
        Some(Rc::clone(link))
    }

    /// A new connection for many.
    pub(super) fn add(&self, shared: Rc<Shared>) {
        shared.since.set(Tick::MAX);
        self.shared.borrow_mut().push(Counted::new(shared, &self.backend));
    }

    /// A shared connection carries nothing any more.
    pub(super) fn rest(&self, shared: &Rc<Shared>) {
        shared.since.set(self.now());
        let may_rest =
            shared.is_alive() && self.keeps() && !self.backend.recall().has_called(shared.epoch);
        if may_rest && self.backend.links.rest(self.rules.get().keepalive) {
            shared.is_idle.set(true);
        } else {
            self.shared.borrow_mut().retain(|known| !Rc::ptr_eq(&known.link, shared));
        }
    }

    /// True if a backend that stands so is worth a connection that nobody uses.
    fn keeps(&self) -> bool {
        let standing = self.backend.standing();
        let is_open = standing.admin != AdminState::Maintenance && !standing.ejected;
        let is_over = self.is_closed.get() || self.is_outdated.get() || self.backend.is_removed();
        is_open && standing.health == Health::Up && !is_over
    }

    /// True if what rests since then, and was opened in that epoch, may still be used.
    fn is_fresh(&self, since: Tick, epoch: u32) -> bool {
        let most = self.rules.get().keepalive_timeout.as_millis();
        let rested = self.now().saturating_sub(since);
        u128::from(rested) < most && !self.backend.recall().has_called(epoch)
    }

    /// Closes what nobody should use any more.
    pub(super) fn sweep(&self) {
        let keeps = self.keeps();
        self.idle.borrow_mut().retain_mut(|serial| {
            let link = &mut serial.link;
            let stays = keeps && link.is_free() && self.is_fresh(link.since, link.epoch);
            if !stays {
                self.backend.links.rouse();
            }
            stays
        });
        self.shared.borrow_mut().retain(|shared| {
            let link = &shared.link;
            let is_fresh = keeps && self.is_fresh(link.since.get(), link.epoch);
            // One that is used goes when the last of those who use it does.
            let stays = !link.is_idle.get() || (is_fresh && link.is_alive());
            if !stays {
                self.backend.links.rouse();
            }
            stays
        });
    }

    /// Closes all that nobody uses.
    pub(super) fn clear(&self) {
        for serial in self.idle.take() {
            self.backend.links.rouse();
            drop(serial);
        }
        self.shared.borrow_mut().retain(|shared| {
            let is_idle = shared.link.is_idle.replace(false);
            if is_idle {
                self.backend.links.rouse();
            }
            !is_idle
        });
    }

    /// True if there is nothing here.
    pub(super) fn is_empty(&self) -> bool {
        self.idle.borrow().is_empty() && self.shared.borrow().is_empty()
    }

    /// True if the connections that are being opened will have room for one more.
    pub(super) fn should_wait(&self) -> bool {
        self.waiting.get() + self.opening.get() < self.opening.get() * self.room.get()
    }

    /// Waits until one of them is there, or has failed: then `false`.
    pub(super) async fn wait(&self) -> bool {
        let _waiting = Held::new(&self.waiting);
        self.opened.notified().await;
        !self.has_failed.get()
    }

    /// Somebody opens a connection that others may wait for.
    pub(super) fn begin(&self) -> Opening<'_> {
        Opening { shelf: self, _held: Held::new(&self.opening), has_failed: false }
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        self.clear();
    }
}

/// One more, for as long as it is there.
struct Held<'a>(&'a Cell<usize>);

impl<'a> Held<'a> {
    fn new(count: &'a Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// A connect that others wait for; they are told of its end, also if whoever made it has left.
pub(super) struct Opening<'a> {
    shelf: &'a Shelf,
    _held: Held<'a>,
    pub(super) has_failed: bool,
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.shelf.has_failed.set(self.has_failed);
        self.shelf.opened.notify_waiters();
    }
}
