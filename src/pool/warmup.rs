//! Slow start: a backend that comes back gets its weight over a time, in steps.

use std::time::Duration;

use crate::config::AdminState;
use crate::pool::standing::{Health, Standing};

/// Steps to the full weight: each is a list to be published.
const STEPS: u8 = 20;

/// Where it starts: a tenth, so that it gets something to warm up with.
const FIRST: u8 = 2;

/// How much of its weight a backend has by now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Warmth(u8);

impl Warmth {
    /// All of it.
    pub const FULL: Self = Self(STEPS);

    /// The whole weight in the unit in which parts of a weight are whole numbers.
    pub(super) const UNIT: u32 = STEPS as u32;

    /// What is there of `weight`, in that unit.
    pub(super) fn part_of(self, weight: u16) -> u32 {
        u32::from(self.0) * u32::from(weight)
    }
}

impl Default for Warmth {
    fn default() -> Self {
        Self::FULL
    }
}

/// The slow start of one backend. Times are the age of its monitor.
#[derive(Debug)]
pub struct Warmup {
    /// How long it takes; zero = none.
    over: Duration,
    /// It has been down or out since it was last seen to work.
    was_out: bool,
    /// When it came back, while it warms up.
    since: Option<Duration>,
}

impl Warmup {
    /// A backend that comes back gets its weight over this time, zero for at once. The first verdict
    /// of all brings it in with its full weight.
    pub fn new(over: Duration) -> Self {
        Self { over, was_out: false, since: None }
    }

    /// Takes so long from now on; who warms up already has got as far as that makes it.
    pub fn set_over(&mut self, over: Duration) {
        self.over = over;
    }

    /// Takes in where it stands from now on.
    pub fn observe(&mut self, standing: Standing, now: Duration) {
        let is_lost = matches!(standing.health, Health::Down | Health::Unresolved);
        if is_lost || standing.ejected || standing.admin == AdminState::Maintenance {
            self.was_out = true;
            self.since = None;
        } else if standing.health.is_healthy() && std::mem::take(&mut self.was_out) {
            // A replica that becomes primary has been at work meanwhile.
            self.since = (standing.health == Health::Up && !self.over.is_zero()).then_some(now);
        }
    }

    /// How much of its weight it has.
    pub fn warmth(&mut self, now: Duration) -> Warmth {
        let Some(since) = self.since else { return Warmth::FULL };
        let (age, over) = (now.saturating_sub(since).as_nanos(), self.over.as_nanos());
        if age >= over {
            self.since = None;
            return Warmth::FULL;
        }
        let steps = (age * u128::from(STEPS)).checked_div(over).unwrap_or_default();
        Warmth(u8::try_from(steps).unwrap_or(STEPS).clamp(FIRST, STEPS))
    }

    /// True while it has not got its full weight.
    pub fn is_warming(&self) -> bool {
        self.since.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ready(health: Health) -> Standing {
        Standing { health, ..Standing::default() }
    }

    #[test]
    fn the_first_verdict_brings_the_full_weight_and_a_return_a_rising_one() {
        let mut warmup = Warmup::new(SECOND * 10);
        warmup.observe(ready(Health::Unknown), Duration::ZERO);
        warmup.observe(ready(Health::Up), Duration::ZERO);
        assert_eq!(warmup.warmth(Duration::ZERO), Warmth::FULL);
        warmup.observe(ready(Health::Down), SECOND);
        warmup.observe(ready(Health::Up), SECOND * 2);
        let mut at = |tenths: u32| warmup.warmth(SECOND * 2 + SECOND * tenths / 10).part_of(1);
        assert_eq!([at(0), at(9), at(15), at(50), at(99), at(100)], [2, 2, 3, 10, 19, 20]);
        assert!(!warmup.is_warming());
    }

    #[test]
    fn who_was_ejected_or_in_maintenance_or_without_address_warms_up_and_a_new_primary_does_not() {
        let ejected = Standing { ejected: true, ..ready(Health::Up) };
        let hidden = Standing { admin: AdminState::Maintenance, ..Standing::default() };
        let drained = Standing { admin: AdminState::Drain, ..ready(Health::Up) };
        let warms = |before: &[Standing]| {
            let mut warmup = Warmup::new(SECOND);
            before.iter().for_each(|standing| warmup.observe(*standing, Duration::ZERO));
            warmup.observe(ready(Health::Up), SECOND);
            warmup.is_warming()
        };
        assert!(warms(&[ejected]));
        assert!(warms(&[hidden, ready(Health::Unknown)]));
        assert!(warms(&[ready(Health::Unresolved), ready(Health::Unknown)]));
        assert!(!warms(&[drained]));
        assert!(!warms(&[ready(Health::Down), ready(Health::Standby)]));
        let mut off = Warmup::new(Duration::ZERO);
        off.observe(ready(Health::Down), Duration::ZERO);
        off.observe(ready(Health::Up), Duration::ZERO);
        assert_eq!(off.warmth(Duration::ZERO), Warmth::FULL);
    }
}
