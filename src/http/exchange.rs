//! A request on the backend that serves it: a session that counts there until its last byte, whatever
//! ends it.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::outcome::Outcome;
use crate::pool::{Backend, Lease};
use crate::session::{Alarm, Direction, Entry, Limits, Table};

/// A request on a backend. Dropping it ends the session: as [`Exchange::ends_as`] has said, or else as
/// one whose client has left.
pub(super) struct Exchange {
    /// `None` = it came to nothing, and counts elsewhere.
    lease: RefCell<Option<Lease>>,
    /// `Some` until drop.
    live: RefCell<Option<Entry>>,
    sessions: Rc<Table>,
    since: Instant,
    end: Cell<Option<Outcome>>,
    /// Bound of the whole request.
    deadline: OnceCell<Alarm>,
    /// Goes off when the client does not take what it is given.
    untaken: OnceCell<Alarm>,
}

impl Exchange {
    /// Enters the request that came at `since` as a session.
    pub(super) fn enter(lease: Lease, sessions: &Rc<Table>, since: Instant) -> Rc<Self> {
        let entry = sessions.enter(Arc::clone(lease.tally()), lease.epoch(), Limits::default());
        Rc::new(Self {
            lease: RefCell::new(Some(lease)),
            live: RefCell::new(Some(entry)),
            sessions: Rc::clone(sessions),
            since,
            end: Cell::new(None),
            deadline: OnceCell::new(),
            untaken: OnceCell::new(),
        })
    }

    /// The backend that it is on.
    pub(super) fn backend(&self) -> Option<Arc<Backend>> {
        self.lease.borrow().as_ref().map(|lease| Arc::clone(lease.backend()))
    }

    /// From here on it is this backend's: it has answered, or it is the last that was asked.
    pub(super) fn settle(&self) {
        if let Some(lease) = &*self.lease.borrow() {
            lease.tally().connected.increment();
        }
    }

    /// It came to nothing here: the session ends without a trace, and its place is given back.
    pub(super) fn retract(&self) -> Option<Lease> {
        self.live.take();
        self.lease.take()
    }

    /// How it ends, unless somebody has said so before.
    pub(super) fn ends_as(&self, outcome: Outcome) {
        if self.end.get().is_none() {
            self.end.set(Some(outcome));
        }
    }

    /// Bytes of a body were handed on.
    pub(super) fn moved(&self, direction: Direction, bytes: usize) {
        if let Some(live) = &*self.live.borrow() {
            live.moved(direction, bytes as u64);
        }
    }

    /// The request ends after so long; `None` = whenever it likes.
    pub(super) fn limit(&self, left: Option<Duration>) {
        if let Some(left) = left {
            self.deadline.get_or_init(|| Alarm::new(self.sessions.clock())).set(Some(left));
        }
    }

    /// The client was given something that it is to take in this time; `None` = it has taken it.
    pub(super) fn awaits_taker(&self, limit: Option<Duration>) {
        match (self.untaken.get(), limit) {
            (None, None) => {}
            _ => self.untaken.get_or_init(|| Alarm::new(self.sessions.clock())).set(limit),
        }
    }

    /// Ready once somebody has decided that it ends, with the cause. All calls must come from the task
    /// that serves the request.
    pub(super) fn poll_cut(&self, cx: &Context<'_>) -> Poll<Outcome> {
        let ordered = self.live.borrow().as_ref().map_or(Poll::Pending, |live| live.poll_end(cx));
        let is_off = |alarm: &OnceCell<Alarm>| {
            alarm.get().is_some_and(|alarm| alarm.poll(cx).is_ready())
        };
        let cause = match ordered {
            Poll::Ready(cause) => cause,
            Poll::Pending if is_off(&self.deadline) => Outcome::RequestTimeout,
            Poll::Pending if is_off(&self.untaken) => Outcome::Idle,
            Poll::Pending => return Poll::Pending,
        };
        self.ends_as(cause);
        Poll::Ready(cause)
    }

    /// It goes on as a tunnel, in which nothing may stand still for longer than `idle`.
    pub(super) fn becomes_tunnel(&self, idle: Option<Duration>) {
        let lease = self.lease.borrow();
        let Some(lease) = &*lease else { return };
        let limits = Limits { idle, lifetime: None };
        let (tally, epoch) = (Arc::clone(lease.tally()), lease.epoch());
        self.live.replace(Some(self.sessions.enter(tally, epoch, limits)));
    }

    /// Its place in the table, for whoever moves its bytes from here on.
    pub(super) fn take_live(&self) -> Option<Entry> {
        self.live.take()
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        // Its last bytes are counted before its end is: whoever sees the end sees them all.
        drop(self.live.take());
        if let Some(lease) = self.lease.take() {
            let outcome = self.end.get().unwrap_or(Outcome::ClientReset);
            lease.tally().end(outcome, self.since.elapsed());
        }
    }
}

/// What a task is at, for whoever has to end it while it waits for its client: then it is not asked for
/// more, and cannot end by itself.
#[derive(Default)]
pub(super) struct Watch {
    exchange: RefCell<Weak<Exchange>>,
    /// Attempts of the present request.
    pub(super) attempts: Cell<u32>,
}

impl Watch {
    /// This is what is under way now.
    pub(super) fn begin(&self, exchange: &Rc<Exchange>) {
        self.exchange.replace(Rc::downgrade(exchange));
    }

    /// What is under way.
    pub(super) fn exchange(&self) -> Option<Rc<Exchange>> {
        self.exchange.borrow().upgrade()
    }

    /// Ready once what is under way has to end. The task is then dropped, and its client's connection
    /// or stream reset.
    pub(super) fn poll_cut(&self, cx: &Context<'_>) -> Poll<Outcome> {
        self.exchange().map_or(Poll::Pending, |exchange| exchange.poll_cut(cx))
    }
}
