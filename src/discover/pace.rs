//! When to look again: pure, with the time as an argument.

use std::time::Duration;

use tokio::time::Instant;

/// However much somebody hurries, two look-ups are so far apart.
pub(super) const CLOSEST: Duration = Duration::from_secs(1);

/// After a failure the pause doubles up to this, or up to the pause after a success if that is longer.
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// The longest pause between two look-ups in a hurry of which nothing comes.
const LONGEST_HURRY: Duration = Duration::from_secs(5);

/// When to look again.
#[derive(Debug)]
pub(super) struct Pace {
    /// The pause that the file sets.
    refresh: Option<Duration>,
    began: Instant,
    due: Instant,
    /// In a row.
    failures: u32,
    /// The pause until somebody in a hurry is obeyed.
    patience: Duration,
    is_hurried: bool,
}

impl Pace {
    /// At once, at first.
    pub(super) fn new(refresh: Option<Duration>, now: Instant) -> Self {
        let (patience, is_hurried) = (CLOSEST, false);
        Self { refresh, began: now, due: now, failures: 0, patience, is_hurried }
    }

    /// A look-up begins.
    pub(super) fn begin(&mut self, now: Instant) {
        self.began = now;
        // A backend that stays dead would have its name looked up every second for ever.
        if std::mem::take(&mut self.is_hurried) {
            self.patience = (self.patience * 2).min(LONGEST_HURRY);
        }
    }

    /// Something new was found.
    pub(super) fn changed(&mut self) {
        self.patience = CLOSEST;
    }

    /// It went well, and what it found holds so long.
    pub(super) fn succeeded(&mut self, holds: Duration, now: Instant) {
        self.failures = 0;
        self.due = now + self.refresh.unwrap_or(holds).max(CLOSEST);
    }

    /// It failed.
    pub(super) fn failed(&mut self, now: Instant) {
        let doubled = CLOSEST.saturating_mul(1 << self.failures.min(10));
        let longest = self.refresh.unwrap_or_default().max(LONGEST_BACKOFF);
        self.failures = self.failures.saturating_add(1);
        self.due = now + doubled.min(longest);
    }

    /// Somebody is in a hurry.
    pub(super) fn hurry(&mut self) {
        let soon = self.began + self.patience;
        if soon < self.due {
            self.due = soon;
            self.is_hurried = true;
        }
    }

    pub(super) fn due(&self) -> Instant {
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn an_answer_holds_as_long_as_it_says_or_as_the_file_does() {
        let now = Instant::now();
        let due = |refresh, holds| {
            let mut pace = Pace::new(refresh, now);
            assert_eq!(pace.due(), now);
            pace.succeeded(holds, now);
            pace.due() - now
        };
        assert_eq!(due(None, SECOND * 60), SECOND * 60);
        assert_eq!(due(None, Duration::ZERO), SECOND);
        assert_eq!(due(Some(SECOND * 5), SECOND * 60), SECOND * 5);
    }

    #[test]
    fn failures_make_it_slower_up_to_half_a_minute_and_a_success_ends_that() {
        let now = Instant::now();
        let mut pace = Pace::new(None, now);
        let waits = |pace: &mut Pace| {
            pace.failed(now);
            (pace.due() - now).as_secs()
        };
        let seen: Vec<_> = (0..7).map(|_| waits(&mut pace)).collect();
        assert_eq!(seen, [1, 2, 4, 8, 16, 30, 30]);
        pace.succeeded(SECOND, now);
        assert_eq!(waits(&mut pace), 1);
        let mut slow = Pace::new(Some(SECOND * 100), now);
        assert_eq!((0..8).map(|_| waits(&mut slow)).last(), Some(100));
    }

    #[test]
    fn who_hurries_waits_a_second_after_the_last_time() {
        let now = Instant::now();
        let mut pace = Pace::new(None, now);
        pace.begin(now);
        pace.succeeded(SECOND * 60, now + SECOND / 2);
        pace.hurry();
        assert_eq!(pace.due(), now + SECOND);
        pace.hurry();
        assert_eq!(pace.due(), now + SECOND);
    }

    #[test]
    fn a_hurry_of_which_nothing_comes_cools_down() {
        let now = Instant::now();
        let mut pace = Pace::new(None, now);
        let wait = |pace: &mut Pace| {
            pace.begin(now);
            pace.succeeded(SECOND * 60, now);
            pace.hurry();
            (pace.due() - now).as_secs()
        };
        assert_eq!((0..5).map(|_| wait(&mut pace)).collect::<Vec<_>>(), [1, 2, 4, 5, 5]);
        pace.changed();
        pace.begin(now);
        pace.changed();
        assert_eq!(wait(&mut pace), 1);
    }
}
