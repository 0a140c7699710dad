//! When to speak of a certificate that ends: once it has little time left, when it is over, and then
//! once a day.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use tokio::time::Instant;

use crate::tls::{Certified, Source};

/// A day.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// So much time is little: whoever renews by hand has to begin.
const LITTLE: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// How far a certificate is from its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    /// Nothing to speak of.
    Plenty,
    /// So many whole days.
    Days(u64),
    /// It has expired.
    Nothing,
}

impl Left {
    /// What `certified` has left at `now`.
    pub(super) fn of(certified: &Certified, now: SystemTime) -> Self {
        let little = match certified.source {
            Source::Files(_) => LITTLE,
            // It is renewed by itself, well before; some live for a few days in all.
            Source::Acme => {
                let whole = certified.not_after.duration_since(certified.not_before);
                LITTLE.min(whole.unwrap_or_default() / 4)
            }
            // Nobody trusts it anyway, and it makes room for a better one.
            Source::SelfSigned => return Self::Plenty,
        };
        match certified.not_after.duration_since(now) {
            Err(_) => Self::Nothing,
            Ok(left) if left < little => Self::Days(left.as_secs() / DAY.as_secs()),
            Ok(_) => Self::Plenty,
        }
    }
}

/// What was said of one certificate.
#[derive(Debug, Default)]
pub(super) struct Reminder {
    /// Of which end, whether it was over, and when it was said.
    said: Option<(SystemTime, bool, Instant)>,
}

impl Reminder {
    /// True if there is something to say: it is new, or has not been said for a day. It counts as
    /// said then.
    pub(super) fn is_due(&mut self, left: Left, not_after: SystemTime, now: Instant) -> bool {
        if left == Left::Plenty {
            self.said = None;
            return false;
        }
        let is_over = left == Left::Nothing;
        let was_said = self
            .said
            .is_some_and(|(of, over, when)| of == not_after && over == is_over && now < when + DAY);
        if !was_said {
            self.said = Some((not_after, is_over, now));
        }
        !was_said
    }
}

/// The day of a moment, as `2026-11-21`, UTC.
pub(super) fn day(moment: SystemTime) -> String {
    // Beyond what a calendar holds is no day that anybody waits for.
    let known = Timestamp::try_from(moment).unwrap_or(Timestamp::MAX);
    known.strftime("%Y-%m-%d").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Identity;
    use crate::tls::self_signed;

    fn certified(source: Source, begun: Duration, left: Duration, now: SystemTime) -> Certified {
        let made = self_signed(&["a.example".to_owned()]).unwrap();
        Certified { source, not_before: now - begun, not_after: now + left, ..made }
    }

    fn files() -> Source {
        Source::Files(Identity { cert: "c".into(), key: "k".into() })
    }

    #[test]
    fn fourteen_days_are_little_and_none_are_the_end() {
        let now = SystemTime::now();
        let left = |left| Left::of(&certified(files(), DAY, left, now), now);
        assert_eq!(left(DAY * 14), Left::Plenty);
        assert_eq!(left(DAY * 14 - Duration::from_secs(1)), Left::Days(13));
        assert_eq!(left(Duration::from_secs(60)), Left::Days(0));
        let past = certified(files(), DAY, Duration::ZERO, now);
        assert_eq!(Left::of(&past, now + Duration::from_secs(1)), Left::Nothing);
        let ours = certified(Source::SelfSigned, DAY, Duration::ZERO, now);
        assert_eq!(Left::of(&ours, now + Duration::from_secs(1)), Left::Plenty);
    }

    #[test]
    fn one_that_renews_itself_may_live_for_a_week() {
        let now = SystemTime::now();
        let left = |begun, left| Left::of(&certified(Source::Acme, begun, left, now), now);
        assert_eq!(left(DAY, DAY * 6), Left::Plenty);
        assert_eq!(left(DAY * 6, DAY), Left::Days(1));
        assert_eq!(left(DAY * 77, DAY * 13), Left::Days(13));
    }

    #[test]
    fn one_is_reminded_once_a_day_and_at_once_of_what_is_new() {
        let (start, end) = (Instant::now(), SystemTime::now());
        let mut reminder = Reminder::default();
        assert!(!reminder.is_due(Left::Plenty, end, start));
        assert!(reminder.is_due(Left::Days(1), end, start));
        assert!(!reminder.is_due(Left::Days(0), end, start + DAY / 2));
        assert!(reminder.is_due(Left::Days(0), end, start + DAY));
        assert!(reminder.is_due(Left::Nothing, end, start + DAY));
        assert!(!reminder.is_due(Left::Nothing, end, start + DAY));
        // Another certificate that is short of time too.
        assert!(reminder.is_due(Left::Nothing, end + DAY, start + DAY));
        assert!(!reminder.is_due(Left::Plenty, end + DAY, start + DAY));
    }

    #[test]
    fn a_day_is_written_as_the_calendar_has_it() {
        assert_eq!(day(SystemTime::UNIX_EPOCH + DAY * 365), "1971-01-01");
    }
}
