//! What a listener counts before a session has a backend.

use crossbeam_utils::CachePadded;

use crate::metric::{Counter, Gauge};
use crate::outcome::Rejection;

/// The counters of one listener; they survive reloads.
#[derive(Debug, Default)]
pub struct Figures {
    /// Sessions admitted and not ended, for the listener's cap.
    pub admitted: CachePadded<Gauge>,
    /// Times that accepting stopped for want of descriptors or memory.
    pub accept_paused: Counter,
    rejected: [Counter; Rejection::ALL.len()],
}

impl Figures {
    /// Counts a client that was turned away.
    pub fn reject(&self, why: Rejection) {
        if let Some(counter) = self.rejected.get(why as usize) {
            counter.increment();
        }
    }

    /// Clients turned away so far, by reason.
    pub fn rejected(&self) -> impl Iterator<Item = (Rejection, u64)> + '_ {
        Rejection::ALL.into_iter().zip(self.rejected.iter().map(Counter::get))
    }
}
