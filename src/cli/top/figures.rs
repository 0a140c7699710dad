//! Counters of successive reports as rates, and what the charts show.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use crate::api;

/// A rate is taken over so long: bytes of running sessions come in steps of a second.
const WINDOW: Duration = Duration::from_secs(3);

/// Points of a chart that are kept: a wide terminal's worth.
const KEPT: usize = 240;

/// What is counted of a listener or a backend.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) sessions: u64,
    pub(super) connected: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
}

impl From<&api::ListenerStatus> for Counts {
    fn from(of: &api::ListenerStatus) -> Self {
        let (sessions, connected) = (of.sessions, of.sessions_total);
        Self { sessions, connected, bytes_in: of.bytes_in, bytes_out: of.bytes_out }
    }
}

impl From<&api::BackendStatus> for Counts {
    fn from(of: &api::BackendStatus) -> Self {
        let (sessions, connected) = (of.sessions, of.sessions_total);
        Self { sessions, connected, bytes_in: of.bytes_in, bytes_out: of.bytes_out }
    }
}

impl std::iter::Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, one| Self {
            sessions: sum.sessions + one.sessions,
            connected: sum.connected + one.connected,
            bytes_in: sum.bytes_in + one.bytes_in,
            bytes_out: sum.bytes_out + one.bytes_out,
        })
    }
}

/// By how much counters rise in a second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Rates {
    pub(super) fresh: f64,
    pub(super) bytes_in: f64,
    pub(super) bytes_out: f64,
}

/// The last few reports of one thing.
#[derive(Debug, Default)]
struct Meter(VecDeque<(Instant, Counts)>);

impl Meter {
    fn add(&mut self, at: Instant, counts: Counts) {
        // It fell: another process answers now.
        if self.0.back().is_some_and(|(_, last)| counts.connected < last.connected) {
            self.0.clear();
        }
        self.0.push_back((at, counts));
        // The oldest that stays is the youngest of those outside the window.
        while self.0.get(1).is_some_and(|(then, _)| at.duration_since(*then) >= WINDOW) {
            self.0.pop_front();
        }
    }

    fn rates(&self) -> Rates {
        let (Some((then, first)), Some((now, last))) = (self.0.front(), self.0.back()) else {
            return Rates::default();
        };
        let seconds = now.duration_since(*then).as_secs_f64();
        if seconds == 0.0 {
            return Rates::default();
        }
        let rate = |from: u64, to: u64| to.saturating_sub(from) as f64 / seconds;
        Rates {
            fresh: rate(first.connected, last.connected),
            bytes_in: rate(first.bytes_in, last.bytes_in),
            bytes_out: rate(first.bytes_out, last.bytes_out),
        }
    }
}

/// The points of the charts, oldest first.
#[derive(Debug, Default)]
pub(super) struct Charts {
    pub(super) sessions: VecDeque<u64>,
    pub(super) fresh: VecDeque<u64>,
    pub(super) bytes_in: VecDeque<u64>,
    pub(super) bytes_out: VecDeque<u64>,
}

fn point(chart: &mut VecDeque<u64>, value: u64) {
    if chart.len() == KEPT {
        chart.pop_front();
    }
    chart.push_back(value);
}

/// Figures of everything in the reports.
#[derive(Debug, Default)]
pub(super) struct Figures {
    all: Meter,
    listeners: BTreeMap<String, Meter>,
    backends: BTreeMap<(String, String), Meter>,
    pub(super) charts: Charts,
}

impl Figures {
    /// Takes in a report that came at `at`.
    pub(super) fn add(&mut self, at: Instant, status: &api::Status) {
        let names: Vec<_> = status.listeners.iter().map(|one| &one.name).collect();
        self.listeners.retain(|name, _| names.contains(&name));
        for listener in &status.listeners {
            self.listeners.entry(listener.name.clone()).or_default().add(at, listener.into());
        }
        let mut before = std::mem::take(&mut self.backends);
        for pool in &status.pools {
            for backend in &pool.backends {
                let key = (pool.name.clone(), backend.name.clone());
                let mut meter = before.remove(&key).unwrap_or_default();
                meter.add(at, backend.into());
                self.backends.insert(key, meter);
            }
        }
        let all: Counts = status.listeners.iter().map(Counts::from).sum();
        self.all.add(at, all);
        let rates = self.all.rates();
        point(&mut self.charts.sessions, all.sessions);
        // Tenths, so that one session in ten seconds shows.
        point(&mut self.charts.fresh, (rates.fresh * 10.0) as u64);
        point(&mut self.charts.bytes_in, rates.bytes_in as u64);
        point(&mut self.charts.bytes_out, rates.bytes_out as u64);
    }

    pub(super) fn all(&self) -> Rates {
        self.all.rates()
    }

    pub(super) fn listener(&self, name: &str) -> Rates {
        self.listeners.get(name).map(Meter::rates).unwrap_or_default()
    }

    pub(super) fn backend(&self, pool: &str, name: &str) -> Rates {
        let key = (pool.to_owned(), name.to_owned());
        self.backends.get(&key).map(Meter::rates).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(connected: u64) -> Counts {
        Counts { sessions: 0, connected, bytes_in: connected * 100, bytes_out: 0 }
    }

    #[test]
    fn a_rate_is_over_the_window_and_begins_anew_when_a_counter_falls() {
        let start = Instant::now();
        let mut meter = Meter::default();
        meter.add(start, counts(10));
        assert_eq!(meter.rates(), Rates::default());
        for second in 1..=10 {
            // Ten a second from the fifth second on.
            let seen = 10 + 10 * second.max(4) - 40;
            meter.add(start + Duration::from_secs(second), counts(seen));
        }
        let rates = meter.rates();
        assert!((rates.fresh - 10.0).abs() < 0.01 && (rates.bytes_in - 1000.0).abs() < 1.0);
        meter.add(start + Duration::from_secs(11), counts(1));
        assert_eq!(meter.rates(), Rates::default());
    }
}
