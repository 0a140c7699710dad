//! Counters that the data path may touch: atomics and nothing else.
//!
//! Names, labels and exposition live in `admin::metrics`; this module never formats anything.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A count that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// The count so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A count that rises and falls; every rise has its fall, so it never goes below zero.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Adds one.
    pub fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes one away.
    pub fn decrement(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// The value now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Takes `n` away.
    pub fn subtract(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }

    /// Adds one unless the value has reached `cap`; 0 = no cap. True if it was added.
    ///
    /// Exact over all threads: the value never exceeds `cap`.
    pub fn increment_below(&self, cap: u64) -> bool {
        self.add_below(1, cap)
    }

    /// Adds `n` unless the value would exceed `cap`; 0 = no cap. True if it was added.
    ///
    /// Exact over all threads: the value never exceeds `cap`.
    pub fn add_below(&self, n: u64, cap: u64) -> bool {
        if cap == 0 {
            self.0.fetch_add(n, Ordering::Relaxed);
            return true;
        }
        let below = |now| (now + n <= cap).then_some(now + n);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, below).is_ok()
    }
}

/// Upper bounds in microseconds, for what takes a network round trip or two.
pub const LATENCY: &[u64] = &[
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000,
];

/// Upper bounds in microseconds, for sessions that may last from a millisecond to a day.
pub const LIFETIME: &[u64] = &[
    1_000,
    10_000,
    100_000,
    1_000_000,
    10_000_000,
    60_000_000,
    600_000_000,
    3_600_000_000,
    21_600_000_000,
    86_400_000_000,
];

/// Upper bounds in microseconds, for requests: from a file in memory to a report that takes minutes.
pub const REQUEST: &[u64] = &[
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
];

/// Durations sorted into fixed buckets.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    /// One more than `bounds`: the last takes what exceeds them all.
    buckets: Box<[Counter]>,
    sum_us: Counter,
}

impl Histogram {
    /// An empty histogram; `bounds` are rising microseconds.
    pub fn new(bounds: &'static [u64]) -> Self {
        let buckets = (0..=bounds.len()).map(|_| Counter::default()).collect();
        Self { bounds, buckets, sum_us: Counter::default() }
    }

    /// Counts one duration.
    pub fn record(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let slot = self.bounds.iter().position(|bound| us <= *bound).unwrap_or(self.bounds.len());
        if let Some(bucket) = self.buckets.get(slot) {
            bucket.increment();
        }
        self.sum_us.add(us);
    }

    /// Pairs of upper bound in seconds and the count at or below it; the last bound is infinite.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> + '_ {
        let bounds = self.bounds.iter().map(|us| *us as f64 / 1e6).chain([f64::INFINITY]);
        bounds.zip(&self.buckets).scan(0, |total, (bound, bucket)| {
            *total += bucket.get();
            Some((bound, *total))
        })
    }

    fn parts(&self) -> impl Iterator<Item = &Counter> {
        std::iter::once(&self.sum_us).chain(&self.buckets)
    }

    /// The sum of all durations, in seconds.
    pub fn sum(&self) -> f64 {
        self.sum_us.get() as f64 / 1e6
    }
}

/// A figure that only rises, wherever it is kept: what another process goes on with.
#[derive(Debug, Clone, Copy)]
pub enum Figure<'a> {
    /// A count.
    Count(&'a Counter),
    /// A count of which this process may only raise the second part: somebody draws conclusions from
    /// how fast the first one rises.
    Parts(&'a Counter, &'a Counter),
    /// Durations.
    Durations(&'a Histogram),
    /// Answers by status.
    Answers(&'a Codes),
}

impl Figure<'_> {
    /// Its numbers, in an order that stays.
    pub fn read(&self) -> Vec<u64> {
        match self {
            Self::Count(counter) => vec![counter.get()],
            Self::Parts(here, elsewhere) => vec![here.get() + elsewhere.get()],
            Self::Durations(histogram) => histogram.parts().map(Counter::get).collect(),
            Self::Answers(codes) => codes.read(),
        }
    }

    /// Adds what it has risen by elsewhere, in the order of [`Figure::read`]. What is beyond its own
    /// numbers is dropped.
    pub fn add(&self, growth: &[u64]) {
        let first = growth.first().copied().unwrap_or_default();
        match self {
            Self::Count(counter) | Self::Parts(_, counter) => counter.add(first),
            Self::Durations(histogram) => {
                histogram.parts().zip(growth).for_each(|(counter, more)| counter.add(*more));
            }
            Self::Answers(codes) => codes.add(growth),
        }
    }
}

/// Statuses of HTTP that begin with one digit.
const CLASS: usize = 100;

/// Answers of HTTP by their status, 100 to 999. Memory is taken with the first answer of each class.
#[derive(Debug, Default)]
pub struct Codes {
    classes: [OnceLock<Box<[Counter]>>; 9],
    /// Requests that got no answer.
    unanswered: Counter,
}

impl Codes {
    /// Counts an answer; `None` = there was none.
    pub fn count(&self, status: Option<u16>) {
        self.count_all(status, 1);
    }

    fn count_all(&self, status: Option<u16>, n: u64) {
        let Some(status) = status.map(usize::from) else { return self.unanswered.add(n) };
        let class = (status / CLASS).checked_sub(1).and_then(|class| self.classes.get(class));
        let Some(class) = class else { return };
        let codes = class.get_or_init(|| (0..CLASS).map(|_| Counter::default()).collect());
        if let Some(counter) = codes.get(status % CLASS) {
            counter.add(n);
        }
    }

    /// How often there was no answer, and then each status from 100 on, up to the highest seen.
    fn read(&self) -> Vec<u64> {
        let mut counts = vec![self.unanswered.get()];
        for (status, count) in self.seen() {
            let Some(status) = status else { continue };
            let place = usize::from(status) - CLASS + 1;
            counts.resize(counts.len().max(place + 1), 0);
            if let Some(place) = counts.get_mut(place) {
                *place = count;
            }
        }
        counts
    }

    fn add(&self, growth: &[u64]) {
        let statuses = std::iter::once(None).chain((CLASS as u16..).map(Some));
        for (status, count) in statuses.zip(growth).filter(|(_, count)| **count > 0) {
            self.count_all(status, *count);
        }
    }

    /// Those that there were.
    pub fn seen(&self) -> impl Iterator<Item = (Option<u16>, u64)> + '_ {
        let counted = self.classes.iter().zip(1..).flat_map(|(codes, class)| {
            let codes = codes.get().map(|codes| &**codes).unwrap_or_default();
            let first = class * CLASS as u16;
            codes.iter().zip(first..).map(|(counter, status)| (Some(status), counter.get()))
        });
        counted.chain([(None, self.unanswered.get())]).filter(|(_, count)| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_of_a_figure_and_added_to_another_makes_them_alike() {
        let [one, other] = [(); 2].map(|()| (Codes::default(), Histogram::new(LATENCY)));
        for status in [None, Some(200), Some(200), Some(100), Some(999), Some(404)] {
            one.0.count(status);
            one.1.record(Duration::from_millis(status.map_or(0, u64::from)));
        }
        Figure::Answers(&other.0).add(&Figure::Answers(&one.0).read());
        Figure::Durations(&other.1).add(&Figure::Durations(&one.1).read());
        assert_eq!(one.0.seen().collect::<Vec<_>>(), other.0.seen().collect::<Vec<_>>());
        assert_eq!(
            one.1.cumulative().collect::<Vec<_>>(),
            other.1.cumulative().collect::<Vec<_>>()
        );
        assert_eq!(one.1.sum(), other.1.sum());

        let (here, elsewhere) = (Counter::default(), Counter::default());
        here.add(3);
        let parts = Figure::Parts(&here, &elsewhere);
        parts.add(&[4]);
        assert_eq!((parts.read(), here.get()), (vec![7], 3));
    }

    #[test]
    fn a_histogram_counts_what_is_at_or_below_each_bound() {
        let histogram = Histogram::new(&[1_000, 10_000]);
        for us in [500, 1_000, 1_001, 20_000] {
            histogram.record(Duration::from_micros(us));
        }
        let counts: Vec<_> = histogram.cumulative().map(|(_, count)| count).collect();
        assert_eq!(counts, [2, 3, 4]);
        assert!((histogram.sum() - 0.022_501).abs() < 1e-9);
    }

    #[test]
    fn answers_are_counted_by_status_and_only_those_that_there_were_are_told() {
        let codes = Codes::default();
        for status in [200, 404, 200, 100, 999, 99, 1000] {
            codes.count(Some(status));
        }
        codes.count(None);
        let seen: Vec<_> = codes.seen().collect();
        let some = Some::<u16>;
        let expected = [(some(100), 1), (some(200), 2), (some(404), 1), (some(999), 1), (None, 1)];
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_capped_gauge_stops_at_its_cap() {
        let gauge = Gauge::default();
        assert!((0..3).all(|_| gauge.increment_below(3)));
        assert!(!gauge.increment_below(3));
        gauge.decrement();
        assert!(gauge.increment_below(3));
    }
}
