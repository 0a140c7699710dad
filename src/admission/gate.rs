//! The cap over all listeners: in sessions as the file says it, else in descriptors.

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

/// The cap over all listeners.
#[derive(Debug)]
pub struct Gate {
    used: CachePadded<Gauge>,
    cap: u64,
    in_descriptors: bool,
}

impl Gate {
    /// A gate that lets `cap` sessions in at once, of whatever kind; 0 = all.
    pub fn of_sessions(cap: u64) -> Self {
        Self { used: CachePadded::default(), cap, in_descriptors: false }
    }

    /// A gate that lets in whoever finds room in `cap` descriptors; 0 = all.
    pub fn of_descriptors(cap: u64) -> Self {
        Self { used: CachePadded::default(), cap, in_descriptors: true }
    }

    pub(super) fn enter(&self, cost: Cost) -> bool {
        self.used.add_below(self.units(cost), self.cap)
    }

    /// Lets in whatever the cap.
    pub(super) fn readmit(&self, cost: Cost) {
        self.used.add_below(self.units(cost), 0);
    }

    /// True if one more would be let in now.
    pub(super) fn has_room(&self, cost: Cost) -> bool {
        self.cap == 0 || self.used.get() + self.units(cost) <= self.cap
    }

    pub(super) fn leave(&self, cost: Cost) {
        self.used.subtract(self.units(cost));
    }

    fn units(&self, cost: Cost) -> u64 {
        if self.in_descriptors { cost.descriptors() } else { 1 }
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
}
