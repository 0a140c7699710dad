//! Who is let in: the caps of process and listener, the networks that clients come from, the rate of
//! each client, and what is counted of those who are not.
//!
//! In two steps, since whom a connection is from may stand in a header that is read in between: the
//! caps when it comes, the client once it is known.

mod figures;
mod gate;
mod rate;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::addr::{ClientAddr, Networks};
use crate::config::{Clients, Rate};
use crate::outcome::Rejection;
pub use figures::{Dropped, Figures};
pub use gate::{Cost, Gate};
pub use rate::{Counted, Limiter};

/// Clients for whom room is made in one go: a flood must not empty the table of its own kind.
const MOST_WANTED: u64 = 16;

/// The way into one listener, shared by all workers.
#[derive(Debug)]
pub struct Admission {
    /// What the listener counts before a session has a backend.
    pub figures: Arc<Figures>,
    gate: Arc<Gate>,
    /// Cap of the listener; 0 = none.
    cap: u64,
    cost: Cost,
    allow: Networks,
    deny: Networks,
    rate: Option<(Rate, Arc<Limiter>)>,
    /// Clients turned away at the cap for whom somebody else's stale flow could make room.
    wanted: AtomicU64,
}

impl Admission {
    /// A way in for sessions that cost `cost` each; `cap` 0 = no cap of its own. `before` is the
    /// listener's way in so far: its counts go on, and so do the rates if they are the same.
    pub fn new(
        gate: Arc<Gate>,
        cap: u32,
        cost: Cost,
        clients: &Clients,
        rate: Option<Rate>,
        before: Option<&Self>,
    ) -> Arc<Self> {
        let known = before.and_then(|before| before.rate.as_ref());
        let limiter = |rate| match known {
            Some((known, limiter)) if *known == rate => (rate, Arc::clone(limiter)),
            _ => (rate, Arc::new(Limiter::new(rate))),
        };
        Arc::new(Self {
            figures: before.map(|before| Arc::clone(&before.figures)).unwrap_or_default(),
            gate,
            cap: u64::from(cap),
            cost,
            allow: Networks::new(&clients.allow),
            deny: Networks::new(&clients.deny),
            rate: rate.map(limiter),
            wanted: AtomicU64::new(0),
        })
    }

    /// What its sessions cost.
    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// The first step: takes a place unless the process or the listener is at its cap.
    ///
    /// # Errors
    /// `MaxSessions`.
    pub fn enter(self: &Arc<Self>) -> Result<Place, Rejection> {
        if !self.figures.admitted.increment_below(self.cap) {
            return Err(Rejection::MaxSessions);
        }
        if !self.gate.enter(self.cost) {
            self.figures.admitted.decrement();
            return Err(Rejection::MaxSessions);
        }
        Ok(Place(Arc::clone(self)))
    }

    /// A place for a session that was let in elsewhere, by another process: no cap keeps it out.
    pub fn readmit(self: &Arc<Self>) -> Place {
        self.figures.admitted.increment();
        self.gate.readmit(self.cost);
        Place(Arc::clone(self))
    }

    /// The second step: lets the client in unless `allow` or `deny` says no, or it comes too fast;
    /// counts it against its rate.
    ///
    /// # Errors
    /// `Denied` or `Rate`.
    pub fn screen(&self, client: ClientAddr) -> Result<(), Rejection> {
        if !self.allows(client) {
            return Err(Rejection::Denied);
        }
        match &self.rate {
            Some((_, rate)) => {
                let admitted = rate.admit(Counted::Client(client.ip()), Instant::now());
                admitted.map_err(|_| Rejection::Rate)
            }
            None => Ok(()),
        }
    }

    /// True unless `allow` or `deny` keeps the client out. Nothing is counted.
    pub fn allows(&self, client: ClientAddr) -> bool {
        let is_allowed = self.allow.is_empty() || self.allow.contain(client.ip());
        is_allowed && !self.deny.contain(client.ip())
    }

    /// Both steps at once, for a client that is known from the beginning.
    ///
    /// # Errors
    /// `MaxSessions`, `Denied` or `Rate`.
    pub fn admit(self: &Arc<Self>, client: ClientAddr) -> Result<Place, Rejection> {
        let place = self.enter()?;
        self.screen(client).map(|()| place)
    }

    /// Somebody was turned away at the cap, and this worker had no stale flow to give up: another
    /// one may have.
    pub fn want_room(&self) {
        let more = |wanted| (wanted < MOST_WANTED).then_some(wanted + 1);
        self.wanted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok();
    }

    /// True if somebody is to give up a stale flow; each call that says so is one flow.
    pub fn must_make_room(&self) -> bool {
        // Nearly always 0, and then the line stays shared between the workers.
        if self.wanted.load(Ordering::Relaxed) == 0 {
            return false;
        }
        if self.has_room() {
            self.wanted.store(0, Ordering::Relaxed);
            return false;
        }
        let fewer = |wanted: u64| wanted.checked_sub(1);
        self.wanted.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer).is_ok()
    }

    /// True unless the process or the listener is at its cap.
    pub fn has_room(&self) -> bool {
        (self.cap == 0 || self.figures.admitted.get() < self.cap) && self.gate.has_room(self.cost)
    }
}

/// A session counted on its listener and the process, given back on drop.
#[derive(Debug)]
pub struct Place(Arc<Admission>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.figures.admitted.decrement();
        self.0.gate.leave(self.0.cost);
    }
}
