//! Who is let in: the caps of process and listener, the rate of each client, and what is counted of
//! those who are not.

mod figures;
mod gate;
mod rate;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::addr::ClientAddr;
use crate::config::Rate;
use crate::outcome::Rejection;
pub use figures::{Dropped, Figures};
pub use gate::{Cost, Gate};
use rate::Limiter;

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
    rate: Option<Limiter>,
    /// Clients turned away at the cap for whom somebody else's stale flow could make room.
    wanted: AtomicU64,
}

impl Admission {
    /// A way in for sessions that cost `cost` each; `cap` 0 = no cap of its own.
    pub fn new(gate: Arc<Gate>, cap: u32, cost: Cost, rate: Option<Rate>) -> Arc<Self> {
        Arc::new(Self {
            figures: Arc::default(),
            gate,
            cap: u64::from(cap),
            cost,
            rate: rate.map(Limiter::new),
            wanted: AtomicU64::new(0),
        })
    }

    /// Lets a client in unless the process or the listener is at its cap, or the client comes too
    /// fast. Caps come first.
    ///
    /// # Errors
    /// `MaxSessions` or `Rate`.
    pub fn admit(self: &Arc<Self>, client: ClientAddr) -> Result<Place, Rejection> {
        if !self.figures.admitted.increment_below(self.cap) {
            return Err(Rejection::MaxSessions);
        }
        if !self.gate.enter(self.cost) {
            self.figures.admitted.decrement();
            return Err(Rejection::MaxSessions);
        }
        let place = Place(Arc::clone(self));
        if self.is_within_rate(client) { Ok(place) } else { Err(Rejection::Rate) }
    }

    /// Counts a client against its rate; for one that takes over somebody's place.
    pub fn is_within_rate(&self, client: ClientAddr) -> bool {
        self.rate.as_ref().is_none_or(|rate| rate.admit(client, Instant::now()))
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
