//! Why a connection may stay longer than a question takes.

use std::sync::atomic::{AtomicBool, Ordering};

/// What a connection is there for, as far as those must know who would end it.
#[derive(Debug, Default)]
pub(super) struct Stay {
    /// It carries a stream of events, which have a bound of their own.
    pub(super) streams: AtomicBool,
    /// It waits for a command to be carried out, of which there is a bounded number.
    pub(super) waits: AtomicBool,
}

impl Stay {
    /// True while it carries a stream of events.
    pub(super) fn is_stream(&self) -> bool {
        self.streams.load(Ordering::Relaxed)
    }

    /// True while it may not be ended to make room, or because of its age.
    pub(super) fn has_reason(&self) -> bool {
        self.is_stream() || self.waits.load(Ordering::Relaxed)
    }

    /// It waits until the guard is dropped.
    pub(super) fn wait(&self) -> Waiting<'_> {
        self.waits.store(true, Ordering::Relaxed);
        Waiting(self)
    }
}

/// A connection waits for a command.
pub(super) struct Waiting<'a>(&'a Stay);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waits.store(false, Ordering::Relaxed);
    }
}
