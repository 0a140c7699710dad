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
        if !self.gate.enter(self.cost) {
            return Err(Rejection::MaxSessions);
        }
        if !self.figures.admitted.increment_below(self.cap) {
            self.gate.leave(self.cost);
            return Err(Rejection::MaxSessions);
        }
        let place = Place(Arc::clone(self));
        if self.is_within_rate(client) { Ok(place) } else { Err(Rejection::Rate) }
    }

    /// Counts a client against its rate; for one that takes over somebody's place.
    pub fn is_within_rate(&self, client: ClientAddr) -> bool {
        self.rate.as_ref().is_none_or(|rate| rate.admit(client, Instant::now()))
    }

    /// Somebody was turned away at the cap, and this worker had no stale flow to give up.
    pub fn want_room(&self) {
        self.wanted.fetch_add(1, Ordering::Relaxed);
    }

    /// How many were, since the last call.
    pub fn take_wanted(&self) -> u64 {
        // Nearly always 0, and then the line stays shared between the workers.
        if self.wanted.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        self.wanted.swap(0, Ordering::Relaxed)
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
