//! The http connections to one backend, counted over all workers.

use crate::metric::Gauge;

/// How many http connections there are to a backend, and how many of them nobody uses.
#[derive(Debug, Default)]
pub struct Links {
    open: Gauge,
    idle: Gauge,
}

impl Links {
    /// A connection has come about.
    pub fn opened(&self) {
        self.open.increment();
    }

    /// A connection that was in use is gone.
    pub fn closed(&self) {
        self.open.decrement();
    }

    /// Takes a place among the idle ones, of which there are to be at most `most`. `false`: there is
    /// none.
    pub fn rest(&self, most: u32) -> bool {
        most > 0 && self.idle.increment_below(u64::from(most))
    }

    /// Gives that place back: the connection is used again, or about to be closed.
    pub fn rouse(&self) {
        self.idle.decrement();
    }

    /// Connections that nobody uses now.
    pub fn idle(&self) -> u64 {
        self.idle.get()
    }

    /// Connections that carry a request now.
    pub fn active(&self) -> u64 {
        self.open.get().saturating_sub(self.idle())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_rest_than_may_and_the_others_are_active() {
        let links = Links::default();
        (0..3).for_each(|_| links.opened());
        assert!(!links.rest(0) && links.rest(2) && links.rest(2) && !links.rest(2));
        assert_eq!((links.idle(), links.active()), (2, 1));
        links.rouse();
        assert!(links.rest(2));
        links.rouse();
        links.closed();
        assert_eq!((links.idle(), links.active()), (1, 1));
    }
}
