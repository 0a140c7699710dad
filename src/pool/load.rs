//! How many sessions a backend has, in a form in which a picker can tell what happened between two
//! looks.

use std::sync::atomic::{AtomicU64, Ordering};

/// Sessions on a backend and, in the upper half of the same word, how many have ever left it.
///
/// The upper half lets a picker see that somebody left between two looks, even if somebody else
/// came in the meantime: least-connections needs that to be exact.
#[derive(Debug, Default)]
pub(super) struct Load(AtomicU64);

/// One reading of a [`Load`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen(u64);

impl Seen {
    pub(super) fn sessions(self) -> u32 {
        (self.0 & u64::from(u32::MAX)) as u32
    }

    /// How many have ever left, up to where the count starts anew.
    pub(super) fn departures(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The fewest sessions there can have been between this reading and the later one.
    pub(super) fn fewest_until(self, later: Self) -> u32 {
        let left = later.departures().wrapping_sub(self.departures());
        self.sessions().saturating_sub(left)
    }
}

impl Load {
    // All orderings are sequential: a picker's claim that nobody had fewer sessions rests on one
    // order of all readings and changes over all backends of the pool.

    pub(super) fn seen(&self) -> Seen {
        Seen(self.0.load(Ordering::SeqCst))
    }

    /// Takes a place if the load is still what was seen.
    pub(super) fn take_if(&self, seen: Seen) -> bool {
        let next = seen.0 + 1;
        self.0.compare_exchange(seen.0, next, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Takes a place unless `cap` sessions are there; 0 = no cap.
    pub(super) fn take_below(&self, cap: u32) -> bool {
        loop {
            let seen = self.seen();
            if cap != 0 && seen.sessions() >= cap {
                return false;
            }
            if self.take_if(seen) {
                return true;
            }
        }
    }

    pub(super) fn give_back(&self) {
        // One less below, one more above, in one step.
        self.0.fetch_add((1 << 32) - 1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_tells_how_few_there_can_have_been_between_two_looks() {
        let load = Load::default();
        assert!(load.take_below(0) && load.take_below(0));
        let before = load.seen();
        load.give_back();
        assert!(load.take_below(2) && !load.take_below(2));
        let after = load.seen();
        assert_eq!((before.sessions(), after.sessions()), (2, 2));
        assert_eq!(before.fewest_until(after), 1);
        assert!(!load.take_if(before));
    }
}
