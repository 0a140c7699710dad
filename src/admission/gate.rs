//! The cap over all listeners: in sessions as the file says it, else in descriptors.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crossbeam_utils::CachePadded;

use crate::metric::Gauge;

/// What a session holds for as long as it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// A TCP connection pair: two descriptors.
    Pair,
    /// A UDP flow: one descriptor.
    Flow,
}

impl Cost {
    /// Descriptors that one session takes.
    pub fn descriptors(self) -> u64 {
        match self {
            Self::Pair => 2,
            Self::Flow => 1,
        }
    }
}

/// The cap over all listeners. A reload may turn it while sessions are inside.
#[derive(Debug)]
pub struct Gate {
    sessions: CachePadded<Gauge>,
    descriptors: CachePadded<Gauge>,
    cap: AtomicU64,
    in_descriptors: AtomicBool,
}

impl Gate {
    /// A gate that lets `cap` sessions in at once, of whatever kind; 0 = all.
    pub fn of_sessions(cap: u64) -> Self {
        Self::of(cap, false)
    }

    /// A gate that lets in whoever finds room in `cap` descriptors; 0 = all.
    pub fn of_descriptors(cap: u64) -> Self {
        Self::of(cap, true)
    }

    fn of(cap: u64, in_descriptors: bool) -> Self {
        Self {
            sessions: CachePadded::default(),
            descriptors: CachePadded::default(),
            cap: AtomicU64::new(cap),
            in_descriptors: AtomicBool::new(in_descriptors),
        }
    }

    /// Goes by the cap of another one from now on. Who is inside stays, also beyond it.
    pub fn turn_to(&self, other: &Self) {
        self.in_descriptors.store(other.in_descriptors.load(Ordering::Relaxed), Ordering::Relaxed);
        self.cap.store(other.cap.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    pub(super) fn enter(&self, cost: Cost) -> bool {
        let cap = self.cap.load(Ordering::Relaxed);
        let (of_sessions, of_descriptors) =
            if self.in_descriptors.load(Ordering::Relaxed) { (0, cap) } else { (cap, 0) };
        if !self.sessions.add_below(1, of_sessions) {
            return false;
        }
        let is_in = self.descriptors.add_below(cost.descriptors(), of_descriptors);
        if !is_in {
            self.sessions.subtract(1);
        }
        is_in
    }

    /// Lets in whatever the cap.
    pub(super) fn readmit(&self, cost: Cost) {
        self.sessions.add_below(1, 0);
        self.descriptors.add_below(cost.descriptors(), 0);
    }

    /// True if one more would be let in now.
    pub(super) fn has_room(&self, cost: Cost) -> bool {
        let (used, more) = if self.in_descriptors.load(Ordering::Relaxed) {
            (self.descriptors.get(), cost.descriptors())
        } else {
            (self.sessions.get(), 1)
        };
        let cap = self.cap.load(Ordering::Relaxed);
        cap == 0 || used + more <= cap
    }

    pub(super) fn leave(&self, cost: Cost) {
        self.sessions.subtract(1);
        self.descriptors.subtract(cost.descriptors());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_takes_twice_the_descriptors_of_a_flow_and_one_session_of_a_cap() {
        let gate = Gate::of_descriptors(5);
        assert!(gate.enter(Cost::Pair) && gate.enter(Cost::Pair));
        assert!(!gate.enter(Cost::Pair), "one descriptor is left");
        assert!(gate.enter(Cost::Flow));
        assert!(!gate.enter(Cost::Flow));
        let gate = Gate::of_sessions(2);
        assert!(gate.enter(Cost::Pair) && gate.enter(Cost::Flow) && !gate.enter(Cost::Flow));
        gate.leave(Cost::Pair);
        assert!(gate.enter(Cost::Flow));
    }
    #[test]
    fn a_gate_that_is_turned_counts_who_is_inside() {
        let gate = Gate::of_sessions(0);
        assert!(gate.enter(Cost::Pair) && gate.enter(Cost::Flow));
        gate.turn_to(&Gate::of_sessions(2));
        assert!(!gate.enter(Cost::Flow));
        gate.turn_to(&Gate::of_descriptors(4));
        assert!(!gate.enter(Cost::Pair), "three of four descriptors are taken");
        assert!(gate.enter(Cost::Flow) && !gate.enter(Cost::Flow));
        gate.leave(Cost::Pair);
        assert!(gate.enter(Cost::Pair));
    }
}
