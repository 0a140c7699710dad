//! How many retries a pool may make: a share of its requests, so that retries cannot bring down what
//! is left of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::metric::Counter;

/// Seconds that are looked back on, the present one included.
const SPAN: u32 = 10;

/// Retries that are always allowed in this time.
const FLOOR: u64 = 10;

/// Seconds of which there is a count: more than are looked back on, since the clocks of workers
/// differ a little.
const PLACES: usize = 16;

/// Requests and retries of the last ten seconds, over all workers.
#[derive(Debug)]
pub struct Budget {
    percent: u64,
    requests: Arc<Counts>,
    retries: Arc<Counts>,
    /// Retries that were refused.
    pub exhausted: Arc<Counter>,
}

impl Budget {
    /// Retries may be so many percent of the requests.
    pub fn new(percent: u8) -> Self {
        let percent = u64::from(percent);
        let (requests, retries) = (Arc::default(), Arc::default());
        Self { percent, requests, retries, exhausted: Arc::default() }
    }

    /// The same requests and retries, of which another share may be retries.
    pub(super) fn with(&self, percent: u8) -> Self {
        Self {
            percent: u64::from(percent),
            requests: Arc::clone(&self.requests),
            retries: Arc::clone(&self.retries),
            exhausted: Arc::clone(&self.exhausted),
        }
    }

    /// Counts a request; `now` is milliseconds on a steady clock that all callers share.
    pub fn request(&self, now: u64) {
        self.requests.add(second(now), 1);
    }

    /// Takes a retry, if one is left.
    pub fn retry(&self, now: u64) -> bool {
        let now = second(now);
        let allowed = FLOOR.max(self.requests.sum(now) * self.percent / 100);
        // Counted first: of two workers that come at once for the last one only one may have it.
        self.retries.add(now, 1);
        let is_allowed = self.retries.sum(now) <= allowed;
        if !is_allowed {
            self.retries.take_back(now);
            self.exhausted.increment();
        }
        is_allowed
    }
}

/// The second in which `now` lies, from 1: 0 stands for a count that nobody has begun.
fn second(now: u64) -> u32 {
    u32::try_from(now / 1000 + 1).unwrap_or(u32::MAX)
}

/// A count for each of the last seconds: which second it is in the upper half, the count in the lower.
#[derive(Debug, Default)]
struct Counts([AtomicU64; PLACES]);

impl Counts {
    fn place(&self, second: u32) -> Option<&AtomicU64> {
        self.0.get(second as usize % PLACES)
    }

    fn add(&self, second: u32, n: u64) {
        let Some(place) = self.place(second) else { return };
        let order = Ordering::Relaxed;
        let mut seen = place.load(order);
        loop {
            if of(seen) == second {
                place.fetch_add(n, order);
                return;
            }
            match place.compare_exchange_weak(seen, u64::from(second) << 32 | n, order, order) {
                Ok(_) => return,
                Err(other) => seen = other,
            }
        }
    }

    fn take_back(&self, second: u32) {
        let Some(place) = self.place(second) else { return };
        let order = Ordering::Relaxed;
        let less = |seen| (of(seen) == second && count(seen) > 0).then(|| seen - 1);
        // If its second is over, it no longer matters.
        place.fetch_update(order, order, less).ok();
    }

    fn sum(&self, now: u32) -> u64 {
        let counts = self.0.iter().map(|place| place.load(Ordering::Relaxed));
        counts.filter(|seen| now.abs_diff(of(*seen)) < SPAN).map(count).sum()
    }
}

fn of(seen: u64) -> u32 {
    (seen >> 32) as u32
}

fn count(seen: u64) -> u64 {
    seen & u64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn taken(budget: &Budget, now: u64) -> usize {
        (0..1000).take_while(|_| budget.retry(now)).count()
    }

    #[test]
    fn ten_are_always_allowed_and_beyond_that_a_share() {
        let budget = Budget::new(20);
        assert_eq!(taken(&budget, 0), 10);
        assert_eq!(taken(&budget, 9_999), 0);
        (0..100).for_each(|_| budget.request(500));
        assert_eq!(taken(&budget, 9_000), 10, "twenty of a hundred, of which ten are gone");
        assert_eq!(taken(&budget, 10_000), 0, "ten of then are still in sight, and no request is");
        assert_eq!(taken(&budget, 19_000), 10, "they are forgotten");
    }

    #[test]
    fn none_is_a_share_too() {
        let budget = Budget::new(0);
        (0..1000).for_each(|_| budget.request(1));
        assert_eq!(taken(&budget, 1), 10);
    }

    #[test]
    fn who_is_refused_takes_nothing() {
        let budget = Budget::new(20);
        assert_eq!((taken(&budget, 0), taken(&budget, 0)), (10, 0));
        (0..55).for_each(|_| budget.request(0));
        assert_eq!(taken(&budget, 0), 1, "eleven of fifty-five");
    }

    proptest! {
        #[test]
        fn no_ten_seconds_have_more_than_they_may(
            steps in prop::collection::vec((0_u64..4_000, 0_usize..40, 0_usize..40), 1..40),
        ) {
            let budget = Budget::new(20);
            let (mut now, mut requests, mut retries) = (0, Vec::new(), Vec::new());
            for (pause, asked, failed) in steps {
                now += pause;
                (0..asked).for_each(|_| budget.request(now));
                requests.extend(vec![now / 1000; asked]);
                for _ in 0..failed {
                    let in_sight = |all: &[u64]| {
                        all.iter().filter(|second| now / 1000 - **second < 10).count()
                    };
                    let may = in_sight(&retries) < 10.max(in_sight(&requests) / 5);
                    prop_assert_eq!(budget.retry(now), may);
                    retries.extend(may.then_some(now / 1000));
                }
            }
        }
    }
}
