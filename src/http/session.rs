//! A request on the backend that serves it: a session that counts there until its last byte, whatever
//! ends it.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::http::Connection;
use crate::http::account::Account;
use crate::outcome::Outcome;
use crate::pool::{Backend, Lease};
use crate::session::{Alarm, Direction, Entry, Limits};

/// A request on a backend. Dropping it ends the session: as [`Session::ends_as`] has said, or else as
/// its connection says, whose client has left or was given up.
pub(super) struct Session {
    /// `None` = it came to nothing, and counts elsewhere.
    lease: RefCell<Option<Lease>>,
    /// `None` = its bytes are counted by somebody else.
    live: RefCell<Option<Entry>>,
    on: Rc<Connection>,
    account: Rc<Account>,
    end: Cell<Option<Outcome>>,
    is_settled: Cell<bool>,
    /// Bound of the whole request.
    deadline: OnceCell<Alarm>,
}

impl Session {
    /// Enters a request as a session, and its end in the account of it.
    pub(super) fn enter(lease: Lease, on: &Rc<Connection>, account: &Rc<Account>) -> Rc<Self> {
        let live = enter(&lease, on, Limits::default());
        Rc::new(Self {
            lease: RefCell::new(Some(lease)),
            live: RefCell::new(Some(live)),
            on: Rc::clone(on),
            account: Rc::clone(account),
            end: Cell::new(None),
            is_settled: Cell::new(false),
            deadline: OnceCell::new(),
        })
    }

    /// The backend that it is on.
    pub(super) fn backend(&self) -> Option<Arc<Backend>> {
        self.lease.borrow().as_ref().map(|lease| Arc::clone(lease.backend()))
    }

    /// From here on it is this backend's: it has answered, or it is the last that was asked.
    pub(super) fn settle(&self) {
        if let Some(lease) = &*self.lease.borrow()
            && !self.is_settled.replace(true)
        {
            lease.tally().connected.increment();
            self.account.settled(lease.backend().name());
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

    /// The request ends after so long.
    pub(super) fn limit(&self, left: Duration) {
        let clock = &self.on.tools.dialer.clock;
        self.deadline.get_or_init(|| Alarm::new(clock)).set(Some(left));
    }

    /// Ready once somebody has decided that it ends, with the cause. All calls must come from the task
    /// that serves the request.
    pub(super) fn poll_cut(&self, cx: &Context<'_>) -> Poll<Outcome> {
        let ordered = self.live.borrow().as_ref().map_or(Poll::Pending, |live| live.poll_end(cx));
        let is_late = || self.deadline.get().is_some_and(|alarm| alarm.poll(cx).is_ready());
        let cause = match ordered {
            Poll::Ready(cause) => cause,
            Poll::Pending if is_late() => Outcome::RequestTimeout,
            Poll::Pending => return Poll::Pending,
        };
        self.ends_as(cause);
        Poll::Ready(cause)
    }

    /// It goes on as a tunnel, in which nothing may stand still for longer than `idle`. `None` = it has
    /// come to nothing.
    pub(super) fn as_tunnel(&self, idle: Option<Duration>) -> Option<Entry> {
        self.account.becomes_tunnel();
        self.live.take();
        let limits = Limits { idle, lifetime: None };
        self.lease.borrow().as_ref().map(|lease| enter(lease, &self.on, limits))
    }
}

impl Session {
    /// The tunnel that it was has ended; `live` were its bytes.
    pub(super) fn tunnelled(&self, live: Entry, outcome: Outcome) {
        self.account.moved(&live);
        drop(live);
        self.ends_as(outcome);
    }
}

fn enter(lease: &Lease, on: &Connection, limits: Limits) -> Entry {
    on.tools.sessions.enter(Arc::clone(lease.tally()), lease.epoch(), limits)
}

impl Drop for Session {
    fn drop(&mut self) {
        // Whoever was cut while it waited for an answer waited for this backend.
        self.settle();
        let Some(lease) = self.lease.take() else { return };
        // Its last bytes are counted before its end is: whoever sees the end sees them all.
        if let Some(live) = self.live.take() {
            self.account.moved(&live);
        }
        let outcome = self.end.get().unwrap_or_else(|| self.on.end());
        lease.tally().end(outcome, self.account.since().elapsed());
        self.account.ended(outcome);
    }
}
