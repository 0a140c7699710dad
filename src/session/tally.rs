//! What one listener has done with one backend, in figures that outlive every session.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_utils::CachePadded;

use crate::metric::{Counter, Figure, Gauge, Histogram, LIFETIME};
use crate::outcome::Outcome;
use crate::session::Recall;

/// The counters of one (listener, pool, backend).
#[derive(Debug)]
pub struct Tally {
    /// What the backend's sessions are told, whoever sent them.
    pub recall: Arc<Recall>,
    /// Sessions picked and not yet ended; on its own cache line since every session writes it.
    pub active: CachePadded<Gauge>,
    /// Payload from clients to the backend, up to a second behind for running sessions.
    pub bytes_in: Counter,
    /// Payload from the backend to clients, up to a second behind for running sessions.
    pub bytes_out: Counter,
    /// Sessions that were connected.
    pub connected: Counter,
    /// How long sessions lasted.
    pub duration: Histogram,
    ended: [Counter; Outcome::ALL.len()],
}

impl Default for Tally {
    fn default() -> Self {
        Self::of(Arc::default())
    }
}

impl Tally {
    /// Counters at zero, of a backend with this recall.
    pub fn of(recall: Arc<Recall>) -> Self {
        Self {
            recall,
            active: CachePadded::new(Gauge::default()),
            bytes_in: Counter::default(),
            bytes_out: Counter::default(),
            connected: Counter::default(),
            duration: Histogram::new(LIFETIME),
            ended: Default::default(),
        }
    }

    /// Counts the end of a session that lasted `took`.
    pub fn end(&self, outcome: Outcome, took: Duration) {
        if let Some(counter) = self.ended.get(outcome as usize) {
            counter.increment();
        }
        self.duration.record(took);
    }

    /// Sessions ended, by outcome.
    pub fn ended(&self) -> impl Iterator<Item = (Outcome, u64)> + '_ {
        Outcome::ALL.into_iter().zip(self.ended.iter().map(Counter::get))
    }

    /// Shows all that only rises, each by a name that stays.
    pub fn figures(&self, see: &mut dyn FnMut(&str, Figure<'_>)) {
        see("in", Figure::Count(&self.bytes_in));
        see("out", Figure::Count(&self.bytes_out));
        see("connected", Figure::Count(&self.connected));
        see("duration", Figure::Durations(&self.duration));
        for (outcome, counter) in Outcome::ALL.into_iter().zip(&self.ended) {
            see(outcome.as_str(), Figure::Count(counter));
        }
    }
}
