//! What stands behind a listener now, and the two gates in front of it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use crossbeam_utils::CachePadded;

use crate::listener::Figures;
use crate::metric::Gauge;
use crate::outcome::Rejection;
use crate::tcp;

/// What stands behind a listener: replaced whole by a reload.
#[derive(Debug)]
pub struct Frontend {
    /// What is done with a connection.
    pub proxy: Arc<tcp::Proxy>,
    /// Cap of the listener; 0 = none.
    pub max_sessions: u32,
}

/// The cap over all listeners.
#[derive(Debug)]
pub struct Gate {
    admitted: CachePadded<Gauge>,
    cap: u64,
}

impl Gate {
    /// A gate that lets `cap` sessions in at once; 0 = all.
    pub fn new(cap: u64) -> Self {
        Self { admitted: CachePadded::default(), cap }
    }
}

/// A named listener: its counters, what is behind it, and the process's gate.
#[derive(Debug)]
pub struct Listener {
    /// Its name.
    pub name: Arc<str>,
    /// Its counters.
    pub figures: Arc<Figures>,
    frontend: ArcSwap<Frontend>,
    gate: Arc<Gate>,
}

impl Listener {
    /// A listener that is not bound to anything by itself.
    pub fn new(name: Arc<str>, frontend: Frontend, gate: Arc<Gate>) -> Self {
        let frontend = ArcSwap::from_pointee(frontend);
        Self { name, figures: Arc::default(), frontend, gate }
    }

    /// What is done with a connection that comes now.
    pub(super) fn proxy(&self) -> Arc<tcp::Proxy> {
        Arc::clone(&self.frontend.load().proxy)
    }

    /// Lets a connection in unless the process or the listener is at its cap.
    pub(super) fn admit(self: &Arc<Self>) -> Result<Permit, Rejection> {
        if !self.gate.admitted.increment_below(self.gate.cap) {
            return Err(Rejection::MaxSessions);
        }
        let cap = u64::from(self.frontend.load().max_sessions);
        if !self.figures.admitted.increment_below(cap) {
            self.gate.admitted.decrement();
            return Err(Rejection::MaxSessions);
        }
        Ok(Permit(Arc::clone(self)))
    }
}

/// A connection counted on its listener and the process, given back on drop.
#[derive(Debug)]
pub(super) struct Permit(Arc<Listener>);

impl Permit {
    pub(super) fn listener(&self) -> &Arc<Listener> {
        &self.0
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.figures.admitted.decrement();
        self.0.gate.admitted.decrement();
    }
}
