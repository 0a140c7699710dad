//! When a certificate is renewed, and how long to wait after a failure; time and chance are arguments.

use std::time::{Duration, SystemTime};

/// The first wait after a failure; each further one is twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(60);

/// The first wait while the authority cannot be reached: it has counted nothing against us, and
/// mostly it is our own network that is not there yet.
const FIRST_UNHEARD: Duration = Duration::from_secs(5);

/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(6 * 60 * 60);

/// No wait is shorter, however little time is left.
const SHORTEST_WAIT: Duration = Duration::from_secs(2);

/// A wait that an authority asks for counts at most so much: it may ask for a year by mistake.
const PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// From when until when a certificate holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Validity {
    /// Not before.
    pub(super) from: SystemTime,
    /// Not after.
    pub(super) until: SystemTime,
}

impl Validity {
    fn lifetime(&self) -> Duration {
        self.until.duration_since(self.from).unwrap_or_default()
    }

    /// True once it holds no more.
    pub(super) fn is_over(&self, now: SystemTime) -> bool {
        now >= self.until
    }

    /// When a successor is asked for: after two thirds of the lifetime, and up to a twentieth of it
    /// earlier, as `chance` from 0 to 1 says: not everybody who began together comes back together.
    pub(super) fn renewal(&self, chance: f64) -> SystemTime {
        let lifetime = self.lifetime();
        self.from + lifetime * 2 / 3 - lifetime.mul_f64(chance.clamp(0.0, 1.0) / 20.0)
    }

    /// The same for a certificate that has just come. Where the authority dated its beginning back
    /// so far that it would be due at once, its lifetime counts from `now`: else one order would
    /// follow the other.
    pub(super) fn renewal_of_new(&self, now: SystemTime, chance: f64) -> SystemTime {
        let due = self.renewal(chance);
        if due > now { due } else { Self { from: now, ..*self }.renewal(chance) }
    }
}

/// Failures in a row.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    /// Those in which the authority was not reached, which count apart.
    unheard: u32,
}

impl Backoff {
    /// It worked.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// How long to wait after one more failure, with up to a quarter less as `chance` says.
    ///
    /// While a certificate is `held` and good, it is never more than a quarter of the time that it
    /// has left, so that there are further tries before its end; `asked` is what the authority asks
    /// for, and goes before that.
    pub(super) fn wait(
        &mut self,
        held: Option<Validity>,
        now: SystemTime,
        asked: Option<Duration>,
        chance: f64,
    ) -> Duration {
        self.unheard = 0;
        let wait = hurried(doubled(FIRST_WAIT, &mut self.failures, chance), held, now);
        wait.max(asked.unwrap_or_default().min(PATIENCE))
    }

    /// The same where the authority was not reached.
    pub(super) fn wait_unheard(
        &mut self,
        held: Option<Validity>,
        now: SystemTime,
        chance: f64,
    ) -> Duration {
        hurried(doubled(FIRST_UNHEARD, &mut self.unheard, chance), held, now)
    }
}

fn doubled(first: Duration, row: &mut u32, chance: f64) -> Duration {
    let doubled = first * 2_u32.saturating_pow((*row).min(16));
    *row = row.saturating_add(1);
    doubled.min(LONGEST_WAIT).mul_f64(1.0 - chance.clamp(0.0, 1.0) / 4.0)
}

fn hurried(wait: Duration, held: Option<Validity>, now: SystemTime) -> Duration {
    match held {
        Some(held) if !held.is_over(now) => {
            let left = held.until.duration_since(now).unwrap_or_default();
            wait.min((left / 4).max(held.lifetime() / 100)).max(SHORTEST_WAIT)
        }
        _ => wait,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn validity(from: u64, until: u64) -> Validity {
        Validity { from: at(from), until: at(until) }
    }

    #[test]
    fn renewal_is_at_two_thirds_and_at_most_a_twentieth_earlier() {
        let of_90_days = Validity { from: at(0), until: at(0) + DAY * 90 };
        assert_eq!(of_90_days.renewal(0.0), at(0) + DAY * 60);
        assert_eq!(of_90_days.renewal(1.0), at(0) + DAY * 60 - DAY * 9 / 2);
        let middle = of_90_days.renewal(0.5);
        assert!(middle > of_90_days.renewal(1.0) && middle < of_90_days.renewal(0.0));
        assert_eq!(validity(1000, 1060).renewal(0.0), at(1040));
    }

    #[test]
    fn a_lifetime_that_never_was_is_due_at_its_beginning() {
        assert_eq!(validity(1000, 900).renewal(1.0), at(1000));
        assert!(validity(1000, 900).is_over(at(950)));
    }

    #[test]
    fn what_was_dated_back_is_not_asked_for_again_at_once() {
        let dated_back = validity(0, 3_700);
        assert!(dated_back.renewal(0.0) < at(3_600));
        assert_eq!(dated_back.renewal_of_new(at(3_600), 0.0), at(3_600) + DAY / 1296);
        assert_eq!(validity(0, 3_600).renewal_of_new(at(10), 0.0), at(2_400));
    }

    #[test]
    fn waits_double_up_to_six_hours_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::default();
        let mut next = |chance| backoff.wait(None, at(0), None, chance).as_secs();
        let waits: Vec<_> = (0..12).map(|_| next(0.0)).collect();
        assert_eq!(waits, [60, 120, 240, 480, 960, 1920, 3840, 7680, 15360, 21600, 21600, 21600]);
        assert_eq!(next(1.0), 16200);
        backoff.reset();
        assert_eq!(backoff.wait(None, at(0), None, 0.0), FIRST_WAIT);
        for _ in 0..100 {
            assert!(backoff.wait(None, at(0), None, 0.0) <= LONGEST_WAIT);
        }
    }

    #[test]
    fn an_authority_that_cannot_be_reached_is_tried_sooner() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> =
            (0..6).map(|_| backoff.wait_unheard(None, at(0), 0.0).as_secs()).collect();
        assert_eq!(waits, [5, 10, 20, 40, 80, 160]);
        // What it says once it is reached is its first word, and ends the row before it.
        assert_eq!(backoff.wait(None, at(0), None, 0.0), FIRST_WAIT);
        assert_eq!(backoff.wait_unheard(None, at(0), 0.0), FIRST_UNHEARD);
        for _ in 0..100 {
            assert!(backoff.wait_unheard(None, at(0), 0.0) <= LONGEST_WAIT);
        }
    }

    #[test]
    fn the_less_time_is_left_the_shorter_the_wait_but_never_nothing() {
        let first = |held, now| Backoff::default().wait(Some(held), now, None, 0.0);
        // A certificate of a minute, at its renewal, then close to its end.
        assert_eq!(first(validity(0, 60), at(40)), Duration::from_secs(5));
        assert_eq!(first(validity(0, 60), at(59)), SHORTEST_WAIT);
        // One of 90 days hurries nobody.
        let long = Validity { from: at(0), until: at(0) + DAY * 90 };
        assert_eq!(first(long, at(0) + DAY * 60), FIRST_WAIT);
        assert_eq!(first(long, long.until - SHORTEST_WAIT), FIRST_WAIT);
        // It is over: there is nothing left to hurry for.
        assert_eq!(first(validity(0, 60), at(60)), FIRST_WAIT);
    }

    #[test]
    fn what_the_authority_asks_for_goes_before_everything_but_not_for_ever() {
        let wait = |asked| {
            let held = Some(validity(0, 60));
            Backoff::default().wait(held, at(40), Some(Duration::from_secs(asked)), 0.0)
        };
        assert_eq!(wait(3_600), Duration::from_secs(3_600));
        assert_eq!(wait(1), Duration::from_secs(5));
        assert_eq!(wait(u64::MAX), PATIENCE);
    }
}
