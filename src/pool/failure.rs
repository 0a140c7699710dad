//! What speaks against a backend under traffic: kinds of failure, and how many of each there were.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;

use arc_swap::ArcSwapOption;

use crate::metric::{Counter, Figure};
use crate::outcome::{ConnectFailure, RequestFailure};

/// A failure that passive health counts. A shortage of our own is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The connect was refused.
    Refused,
    /// The connect had no answer in time.
    Timeout,
    /// The connect was reset.
    Reset,
    /// There was no way to the backend.
    Unreachable,
    /// The connect came about and TLS did not.
    Tls,
    /// The backend reset the session soon after the connect and before its first byte.
    EarlyReset,
    /// A request had no answer in time.
    Unanswered,
    /// The backend ended the connection before the head of an answer.
    CutShort,
    /// It answered 502, 503 or 504.
    BackendError,
}

impl Failure {
    /// All of them, in the order of their index.
    pub const ALL: [Self; 9] = [
        Self::Refused,
        Self::Timeout,
        Self::Reset,
        Self::Unreachable,
        Self::Tls,
        Self::EarlyReset,
        Self::Unanswered,
        Self::CutShort,
        Self::BackendError,
    ];

    /// What a failed connect counts as; `None`: nobody knows whose fault it was.
    pub fn of_connect(why: ConnectFailure) -> Option<Self> {
        match why {
            ConnectFailure::Refused => Some(Self::Refused),
            ConnectFailure::Timeout => Some(Self::Timeout),
            ConnectFailure::Reset => Some(Self::Reset),
            ConnectFailure::Unreachable => Some(Self::Unreachable),
            ConnectFailure::Other => None,
        }
    }

    /// What a failed request counts as.
    pub fn of_request(why: RequestFailure) -> Self {
        match why {
            RequestFailure::Timeout => Self::Unanswered,
            RequestFailure::Reset => Self::CutShort,
            RequestFailure::BackendError => Self::BackendError,
        }
    }

    /// As it stands behind a number.
    fn words(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Timeout => "timed out",
            Self::Reset => "reset at the connect",
            Self::Unreachable => "unreachable",
            Self::Tls => "failed in tls",
            Self::EarlyReset => "reset before its first byte",
            Self::Unanswered => "not answered in time",
            Self::CutShort => "reset before its answer",
            Self::BackendError => "answered 502, 503 or 504",
        }
    }
}

/// The failures of one backend so far. Sessions count, the pool's monitor reads, and is woken when
/// there are as many as it waits for: the next client must not have to find out as well.
#[derive(Debug)]
pub(super) struct Failures {
    counts: [Counter; Failure::ALL.len()],
    /// What another process counted: reported, and no reason for an ejection by this one.
    elsewhere: [Counter; Failure::ALL.len()],
    alarm_at: AtomicU64,
    monitor: ArcSwapOption<Waker>,
}

/// More failures than there will be.
const NEVER: u64 = u64::MAX;

impl Failures {
    pub(super) fn new() -> Self {
        Self {
            counts: Default::default(),
            elsewhere: Default::default(),
            alarm_at: AtomicU64::new(NEVER),
            monitor: ArcSwapOption::empty(),
        }
    }

    pub(super) fn count(&self, failure: Failure) {
        if let Some(counter) = self.counts.get(failure as usize) {
            counter.increment();
        }
        // Two workers that count different kinds at once may both miss the alarm. The monitor looks
        // anyhow, a little later.
        let is_time = self.marks().total() >= self.alarm_at.load(Ordering::Relaxed);
        if is_time && self.alarm_at.swap(NEVER, Ordering::Relaxed) != NEVER {
            self.monitor.load().iter().for_each(|monitor| monitor.wake_by_ref());
        }
    }

    pub(super) fn marks(&self) -> Marks {
        Marks(self.counts.each_ref().map(Counter::get))
    }

    /// With what another process counted.
    pub(super) fn reported(&self) -> Marks {
        self.marks().and(Marks(self.elsewhere.each_ref().map(Counter::get)))
    }

    /// Shows each count by a name that stays.
    pub(super) fn figures(&self, see: &mut dyn FnMut(&str, Figure<'_>)) {
        let counts = self.counts.iter().zip(&self.elsewhere);
        for (failure, (here, elsewhere)) in Failure::ALL.into_iter().zip(counts) {
            see(&format!("failure {failure:?}"), Figure::Parts(here, elsewhere));
        }
    }

    pub(super) fn watched_by(&self, monitor: Waker) {
        self.monitor.store(Some(Arc::new(monitor)));
    }

    pub(super) fn alarm_at(&self, total: Option<u64>) {
        self.alarm_at.store(total.unwrap_or(NEVER), Ordering::Relaxed);
    }
}

/// How many failures of each kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Marks([u64; Failure::ALL.len()]);

impl Marks {
    /// Failures of one kind.
    pub fn of(&self, failure: Failure) -> u64 {
        self.0.get(failure as usize).copied().unwrap_or_default()
    }

    /// Failures of all kinds.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// What was added since `earlier`.
    pub fn since(mut self, earlier: Self) -> Self {
        for (mark, before) in self.0.iter_mut().zip(earlier.0) {
            *mark = mark.saturating_sub(before);
        }
        self
    }

    /// Both together.
    pub fn and(mut self, other: Self) -> Self {
        for (mark, more) in self.0.iter_mut().zip(other.0) {
            *mark += more;
        }
        self
    }
}

impl FromIterator<Failure> for Marks {
    fn from_iter<I: IntoIterator<Item = Failure>>(failures: I) -> Self {
        let mut marks = Self::default();
        for failure in failures {
            if let Some(mark) = marks.0.get_mut(failure as usize) {
                *mark += 1;
            }
        }
        marks
    }
}

/// Each kind that there was: `2 refused, 1 reset before its first byte`.
impl fmt::Display for Marks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seen = Failure::ALL.into_iter().filter(|failure| self.of(*failure) > 0);
        for (place, failure) in seen.enumerate() {
            let comma = if place > 0 { ", " } else { "" };
            write!(f, "{comma}{} {}", self.of(failure), failure.words())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_say_what_there_was_of_each_kind() {
        let before = Marks::from_iter([Failure::Timeout]);
        let all =
            before.and(Marks::from_iter([Failure::EarlyReset, Failure::Refused, Failure::Refused]));
        let news = all.since(before);
        assert_eq!((news.total(), news.of(Failure::Refused)), (3, 2));
        assert_eq!(news.to_string(), "2 refused, 1 reset before its first byte");
    }
}
