//! When to probe whom: the first round at once, then each member on a grid of its own.
//!
//! The grids of all backends of all pools are shifted against each other by multiples of the
//! golden ratio, which keeps any number of points on a circle apart without knowing how many there
//! will be. Time is an argument: the age of the monitor.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// 2^64 divided by the golden ratio.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// The grid of one member: `offset`, `offset + interval`, and so on.
#[derive(Debug, Clone, Copy)]
struct Grid {
    ordinal: usize,
    offset: Duration,
}

/// Who is due when.
#[derive(Debug)]
pub(super) struct Schedule {
    interval: Duration,
    /// By the number of the member's backend.
    grids: HashMap<u64, Grid>,
    /// Of the next member.
    ordinal: usize,
    /// One entry at most for each member; none while it is being probed or not probed at all.
    due: BTreeSet<(Duration, u64)>,
}

impl Schedule {
    /// A schedule without members; `first` counts the backends of all pools before this one.
    pub(super) fn new(interval: Duration, first: usize) -> Self {
        let interval = interval.max(Duration::from_nanos(1));
        Self { interval, grids: HashMap::new(), ordinal: first, due: BTreeSet::new() }
    }

    /// The member has a grid from now on, and is not due yet.
    pub(super) fn add(&mut self, member: u64) {
        self.grids.insert(member, Grid::new(self.interval, self.ordinal));
        self.ordinal += 1;
    }

    /// The member is no more.
    pub(super) fn remove(&mut self, member: u64) {
        self.forget(member);
        self.grids.remove(&member);
    }

    /// Everybody has a grid of another interval, at the same part of it as before. Who is due is due
    /// at the next point of it.
    pub(super) fn pace(&mut self, interval: Duration, now: Duration) {
        let interval = interval.max(Duration::from_nanos(1));
        if interval == self.interval {
            return;
        }
        self.interval = interval;
        for grid in self.grids.values_mut() {
            *grid = Grid::new(interval, grid.ordinal);
        }
        for (_, member) in std::mem::take(&mut self.due) {
            self.ended(member, now, now);
        }
    }

    /// The member is due at the next point of its grid.
    pub(super) fn resume(&mut self, member: u64, now: Duration) {
        self.forget(member);
        self.ended(member, now, now);
    }

    /// The member is due at `now`, whatever its grid says.
    pub(super) fn at_once(&mut self, member: u64, now: Duration) {
        self.forget(member);
        self.due.insert((now, member));
    }

    /// The member is due no more.
    pub(super) fn forget(&mut self, member: u64) {
        self.due.retain(|(_, other)| *other != member);
    }

    /// Takes one member whose time has come, with the time it was due.
    pub(super) fn take_due(&mut self, now: Duration) -> Option<(u64, Duration)> {
        let (due, member) = *self.due.first()?;
        if due > now {
            return None;
        }
        self.due.remove(&(due, member));
        Some((member, due))
    }

    /// When somebody is due next.
    pub(super) fn next(&self) -> Option<Duration> {
        self.due.first().map(|(due, _)| *due)
    }

    /// A probe that was due at `due` has ended `now`: the member's next is the last point of its grid
    /// that has passed meanwhile, and so at once, or else the first that is to come.
    ///
    /// A probe that takes its whole timeout ends a moment late. Were the point missed by that moment
    /// left out, an interval no longer than the timeout would count twice.
    pub(super) fn ended(&mut self, member: u64, due: Duration, now: Duration) {
        if let Some(grid) = self.grids.get(&member) {
            let next = grid.next(self.interval, due, now);
            self.due.insert((next, member));
        }
    }
}

impl Grid {
    fn new(interval: Duration, ordinal: usize) -> Self {
        let turns = (ordinal as u64).wrapping_mul(GOLDEN);
        // In (0, 2^64]: the second probe never coincides with the first round.
        let phase = (1_u128 << 64) - u128::from(turns);
        let offset = (interval.as_nanos() * phase) >> 64;
        Self { ordinal, offset: nanos(offset.max(1)) }
    }

    fn next(self, interval: Duration, due: Duration, now: Duration) -> Duration {
        let (offset, interval) = (self.offset.as_nanos(), interval.as_nanos());
        let after_due = match due.as_nanos().checked_sub(offset) {
            Some(since) => since / interval + 1,
            None => 0,
        };
        let last_passed = now.as_nanos().saturating_sub(offset) / interval;
        nanos(offset + interval * after_due.max(last_passed))
    }
}

fn nanos(count: u128) -> Duration {
    Duration::from_nanos(u64::try_from(count).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(2);

    /// When the probes of `member` were due and when they started, each taking as long as `took`
    /// says.
    fn turns(ordinal: usize, took: &[Duration]) -> Vec<(Duration, Duration)> {
        let mut schedule = Schedule::new(INTERVAL, ordinal);
        schedule.add(0);
        schedule.at_once(0, Duration::ZERO);
        let (mut turns, mut now) = (Vec::new(), Duration::ZERO);
        for took in took {
            now = now.max(schedule.next().unwrap());
            let (member, due) = schedule.take_due(now).unwrap();
            assert_eq!(schedule.next(), None);
            turns.push((due, now));
            now += *took;
            schedule.ended(member, due, now);
        }
        turns
    }

    fn starts(ordinal: usize, took: &[Duration]) -> Vec<Duration> {
        turns(ordinal, took).into_iter().map(|(_, start)| start).collect()
    }

    #[test]
    fn a_first_round_at_once_and_the_second_within_one_interval() {
        for ordinal in 0..100 {
            let starts = starts(ordinal, &[Duration::ZERO; 3]);
            assert_eq!(starts[0], Duration::ZERO);
            assert!(starts[1] > Duration::ZERO && starts[1] <= INTERVAL);
            assert_eq!(starts[2] - starts[1], INTERVAL);
        }
    }

    #[test]
    fn a_probe_that_ends_on_the_next_point_does_not_skip_it() {
        let starts = starts(0, &[INTERVAL; 4]);
        assert_eq!(starts, [Duration::ZERO, INTERVAL, INTERVAL * 2, INTERVAL * 3]);
    }

    #[test]
    fn a_probe_that_ends_just_after_the_next_point_costs_no_interval() {
        let late = Duration::from_millis(2);
        let starts = starts(0, &[INTERVAL + late; 4]);
        assert_eq!(starts[3], (INTERVAL + late) * 3);
    }

    proptest! {
        #[test]
        fn probes_neither_overlap_nor_drift_nor_come_late(
            ordinal in 0_usize..100_000,
            took in prop::collection::vec((0_u64..7_000_000_000).prop_map(Duration::from_nanos), 2..40),
        ) {
            let turns = turns(ordinal, &took);
            for (pair, took) in turns.windows(2).zip(&took) {
                let ((one_due, one), (next_due, next)) = (pair[0], pair[1]);
                prop_assert!(next >= one + *took && next_due > one_due);
                prop_assert!(next <= (one + INTERVAL).max(one + *took));
                // Probes that a slow one has kept waiting are not made up for.
                prop_assert!(next - next_due < INTERVAL);
                let since_second = next_due.as_nanos() - turns[1].0.as_nanos();
                prop_assert_eq!(since_second % INTERVAL.as_nanos(), 0);
            }
        }

        #[test]
        fn no_short_stretch_holds_a_burst(first in 0_usize..10_000, members in 2_usize..300) {
            let mut offsets: Vec<_> =
                (first..first + members).map(|n| Grid::new(INTERVAL, n).offset).collect();
            offsets.sort();
            let around = offsets[0] + INTERVAL;
            let gaps = offsets.windows(2).map(|two| two[1] - two[0]);
            let smallest = gaps.chain([around - *offsets.last().unwrap()]).min().unwrap();
            // An even spread would have gaps of interval / members.
            prop_assert!(smallest * 3 > INTERVAL / u32::try_from(members).unwrap());
        }
    }
}
