//! One upstream address with its live counters. It survives reloads; weights and caps do not.

mod figures;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use crossbeam_utils::CachePadded;

use crate::addr::BackendAddr;
use crate::metric::{Counter, Histogram, LATENCY};
use crate::outcome::{ConnectFailure, RequestFailure};
use crate::pool::failure::{Failure, Failures, Marks};
use crate::pool::latency::PeakEwma;
use crate::pool::links::Links;
use crate::pool::load::Load;
use crate::pool::queue::Line;
use crate::pool::standing::Standing;
use crate::session::{Recall, Tally};

/// Milliseconds from one complaint about a backend to the next.
const COMPLAINTS: u64 = 10_000;

/// The number of the next backend.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// One upstream address. Identity is pool, name and address.
#[derive(Debug)]
pub struct Backend {
    id: u64,
    name: Arc<str>,
    address: BackendAddr,
    load: CachePadded<Load>,
    latency: PeakEwma,
    failures: Failures,
    standing: AtomicU8,
    recall: Arc<Recall>,
    /// Replaced whole when a listener comes; there are few.
    tallies: ArcSwap<Vec<(Arc<str>, Arc<Tally>)>>,
    /// It belongs to its pool no more.
    is_removed: AtomicBool,
    /// Those who wait for a place in its pool.
    line: OnceLock<Arc<Line>>,
    /// When it was last complained of.
    complained: AtomicU64,
    /// The connections that carry requests to it.
    pub links: CachePadded<Links>,
    /// Figures for reports.
    pub stats: Stats,
}

/// What is counted about a backend, whoever sent the session.
#[derive(Debug)]
pub struct Stats {
    /// How long successful connects took.
    pub connect_duration: Histogram,
    /// Probes that succeeded.
    pub probes_ok: Counter,
    /// Probes that failed.
    pub probes_failed: Counter,
    /// How long probes took.
    pub probe_duration: Histogram,
    /// The latest probe.
    pub last_probe: ArcSwapOption<LastProbe>,
    /// Times that it was ejected.
    pub ejections: Counter,
    /// The latest ejection; in force while the standing says so.
    pub last_ejection: ArcSwapOption<LastEjection>,
    connect_failures: [Counter; ConnectFailure::ALL.len()],
}

/// What the latest probe said.
#[derive(Debug, Clone)]
pub struct LastProbe {
    /// Whether the backend answered as it should.
    pub ok: bool,
    /// Why, in words.
    pub reason: String,
    /// How long it took.
    pub took: Duration,
    /// When it ended.
    pub at: Instant,
}

/// What the latest ejection was for.
#[derive(Debug, Clone)]
pub struct LastEjection {
    /// When it is to end, by the wall clock.
    pub until: SystemTime,
    /// Why, in words.
    pub reason: String,
}

impl Stats {
    fn new() -> Self {
        Self {
            connect_duration: Histogram::new(LATENCY),
            probes_ok: Counter::default(),
            probes_failed: Counter::default(),
            probe_duration: Histogram::new(LATENCY),
            last_probe: ArcSwapOption::empty(),
            ejections: Counter::default(),
            last_ejection: ArcSwapOption::empty(),
            connect_failures: Default::default(),
        }
    }

    /// Failed connects so far, by reason.
    pub fn connect_failures(&self) -> impl Iterator<Item = (ConnectFailure, u64)> + '_ {
        ConnectFailure::ALL.into_iter().zip(self.connect_failures.iter().map(Counter::get))
    }
}

impl Backend {
    /// A backend that nobody has probed or used yet.
    pub fn new(name: Arc<str>, address: BackendAddr) -> Self {
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            name,
            address,
            load: CachePadded::new(Load::default()),
            latency: PeakEwma::default(),
            failures: Failures::new(),
            standing: AtomicU8::new(Standing::default().to_bits()),
            recall: Arc::default(),
            tallies: ArcSwap::default(),
            is_removed: AtomicBool::new(false),
            line: OnceLock::new(),
            complained: AtomicU64::new(0),
            links: CachePadded::default(),
            stats: Stats::new(),
        }
    }

    /// Its number: no other backend of this process ever has it.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Its name, unique in its pool.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Its address as the file says it.
    pub fn address(&self) -> &BackendAddr {
        &self.address
    }

    /// Sessions that have picked it and not ended.
    pub fn sessions(&self) -> u32 {
        self.load.seen().sessions()
    }

    /// What its pool's monitor last judged.
    pub fn standing(&self) -> Standing {
        Standing::from_bits(self.standing.load(Ordering::Acquire))
    }

    /// Written by the pool's monitor alone.
    pub fn judge(&self, standing: Standing) {
        if standing.is_usable() && !self.standing().is_usable() {
            // What it cost before it came back says nothing about it now.
            self.latency.forget();
        }
        // Whoever reads it sees the list that was published before it, too.
        self.standing.store(standing.to_bits(), Ordering::Release);
    }

    /// True if it has left its pool: it takes nothing new, and may have sessions still.
    pub fn is_removed(&self) -> bool {
        self.is_removed.load(Ordering::Relaxed)
    }

    /// It has left its pool, or is back. Written by the pool's monitor alone.
    pub fn set_removed(&self, is_removed: bool) {
        self.is_removed.store(is_removed, Ordering::Relaxed);
    }

    /// Whoever waits there is called when a session leaves. A backend has one pool in its life, and
    /// the pool one line.
    pub(super) fn called_for(&self, line: &Arc<Line>) {
        self.line.get_or_init(|| Arc::clone(line));
    }

    /// What its sessions are told; ordered by the pool's monitor alone.
    pub fn recall(&self) -> &Arc<Recall> {
        &self.recall
    }

    /// The counters of one listener's sessions with this backend, made at the first call.
    pub fn tally(&self, listener: &Arc<str>) -> Arc<Tally> {
        if let Some(tally) = find(&self.tallies.load(), listener) {
            return tally;
        }
        let fresh = Arc::new(Tally::of(Arc::clone(&self.recall)));
        self.tallies.rcu(|known| {
            let mut tallies = Vec::clone(known);
            if find(known, listener).is_none() {
                tallies.push((Arc::clone(listener), Arc::clone(&fresh)));
            }
            tallies
        });
        // Whoever else made one at the same time may have been first.
        find(&self.tallies.load(), listener).unwrap_or(fresh)
    }

    /// The counters of all listeners, with their names.
    pub fn tallies(&self) -> Vec<(Arc<str>, Arc<Tally>)> {
        Vec::clone(&self.tallies.load())
    }

    /// Counts a connect that took `took`; `now` is milliseconds on any steady clock.
    pub fn connected(&self, took: Duration, now: u64) {
        self.stats.connect_duration.record(took);
        self.latency.observe(took, now);
    }

    /// Counts how long an answer took to begin: the first one to a datagram, or the head of one to a
    /// request.
    pub fn answered(&self, took: Duration, now: u64) {
        self.latency.observe(took, now);
    }

    /// Counts a failed connect, which is to weigh like one that took `cost`: a refusal is quick,
    /// but quickness of that kind must not draw sessions. No cost: it was not the backend's fault.
    pub fn connect_failed(&self, why: ConnectFailure, cost: Option<Duration>, now: u64) {
        self.failed(why, Failure::of_connect(why), cost, now);
    }

    /// Counts a connect that came about, and then no TLS; otherwise as
    /// [`connect_failed`](Self::connect_failed).
    pub fn tls_failed(&self, cost: Option<Duration>, now: u64) {
        self.failed(ConnectFailure::Other, Some(Failure::Tls), cost, now);
    }

    fn failed(
        &self,
        why: ConnectFailure,
        failure: Option<Failure>,
        cost: Option<Duration>,
        now: u64,
    ) {
        if let Some(counter) = self.stats.connect_failures.get(why as usize) {
            counter.increment();
        }
        let Some(cost) = cost else { return };
        self.latency.observe(cost, now);
        if let Some(failure) = failure {
            self.failures.count(failure);
        }
    }

    /// True for one caller in ten seconds: for a warning that every session has a reason for. `now`
    /// as in [`connected`](Self::connected).
    pub fn may_complain(&self, now: u64) -> bool {
        let last = self.complained.load(Ordering::Relaxed);
        // Nobody has complained at 0; who comes in the first millisecond complains twice at worst.
        let is_time = last == 0 || now.abs_diff(last) >= COMPLAINTS;
        let order = Ordering::Relaxed;
        is_time && self.complained.compare_exchange(last, now.max(1), order, order).is_ok()
    }

    /// Counts a reset by the backend soon after the connect and before its first byte.
    pub fn reset_early(&self) {
        self.failures.count(Failure::EarlyReset);
    }

    /// Counts a request that it failed, which is to weigh like an answer that took `cost`; `now` as in
    /// [`connected`](Self::connected).
    pub fn request_failed(&self, why: RequestFailure, cost: Duration, now: u64) {
        self.latency.observe(cost, now);
        self.failures.count(Failure::of_request(why));
    }

    /// Requests that it failed so far, by reason.
    pub fn request_failures(&self) -> impl Iterator<Item = (RequestFailure, u64)> {
        let marks = self.failures.reported();
        RequestFailure::ALL.into_iter().map(move |why| (why, marks.of(Failure::of_request(why))))
    }

    /// The failures so far that speak against it; they only rise.
    pub fn marks(&self) -> Marks {
        self.failures.marks()
    }

    /// Who is to be woken by [`Backend::alarm_at`].
    pub fn watched_by(&self, monitor: Waker) {
        self.failures.watched_by(monitor);
    }

    /// Wakes the monitor, once, when there are `total` failures; `None`: never.
    pub fn alarm_at(&self, total: Option<u64>) {
        self.failures.alarm_at(total);
    }

    pub(super) fn load(&self) -> &Load {
        &self.load
    }

    pub(super) fn latency(&self, now: u64) -> f32 {
        self.latency.at(now)
    }
}

fn find(tallies: &[(Arc<str>, Arc<Tally>)], listener: &Arc<str>) -> Option<Arc<Tally>> {
    let known = tallies.iter().find(|(name, _)| name == listener);
    known.map(|(_, tally)| Arc::clone(tally))
}

/// A session counted on a backend; given back on drop.
#[derive(Debug)]
pub struct Lease {
    backend: Arc<Backend>,
    tally: Arc<Tally>,
    address: SocketAddr,
    epoch: u32,
}

impl Lease {
    /// Wraps a place that was already taken on the backend's load.
    pub(super) fn of_taken(backend: Arc<Backend>, tally: Arc<Tally>, address: SocketAddr) -> Self {
        tally.active.increment();
        let epoch = backend.recall.epoch();
        Self { backend, tally, address, epoch }
    }

    /// Whom it counts on.
    pub fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }

    /// The counters of this listener with this backend.
    pub fn tally(&self) -> &Arc<Tally> {
        &self.tally
    }

    /// Where to connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// When it was taken, in the count of the backend's [`Recall`].
    pub fn epoch(&self) -> u32 {
        self.epoch
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.tally.active.decrement();
        self.backend.load.give_back();
        if let Some(line) = self.backend.line.get() {
            line.call();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_its_fault_does_not_speak_against_a_backend() {
        let backend = Backend::new("b".into(), BackendAddr::Host("b.example".into(), 1));
        let cost = Some(Duration::from_secs(1));
        backend.connect_failed(ConnectFailure::Timeout, None, 0);
        backend.connect_failed(ConnectFailure::Other, cost, 0);
        assert_eq!(backend.marks(), Marks::default());
        backend.connect_failed(ConnectFailure::Timeout, cost, 0);
        backend.reset_early();
        assert_eq!(backend.marks().to_string(), "1 timed out, 1 reset before its first byte");
        let counted: u64 = backend.stats.connect_failures().map(|(_, count)| count).sum();
        assert_eq!(counted, 3);
    }

    #[test]
    fn a_failed_request_speaks_against_a_backend_and_is_as_slow_as_it_costs() {
        let backend = Backend::new("b".into(), BackendAddr::Host("b.example".into(), 1));
        backend.answered(Duration::from_millis(1), 0);
        for why in RequestFailure::ALL {
            backend.request_failed(why, Duration::from_secs(1), 0);
        }
        assert!(backend.latency(0) > 999_000.0, "{}", backend.latency(0));
        assert!(backend.request_failures().all(|(_, count)| count == 1));
        assert_eq!(
            backend.marks().to_string(),
            "1 not answered in time, 1 reset before its answer, 1 answered 502, 503 or 504"
        );
    }

    #[test]
    fn a_backend_that_does_not_come_to_tls_has_failed_and_is_complained_of_now_and_then() {
        let backend = Backend::new("b".into(), BackendAddr::Host("b.example".into(), 1));
        backend.tls_failed(Some(Duration::from_secs(1)), 0);
        backend.tls_failed(None, 0);
        assert_eq!(backend.marks().to_string(), "1 failed in tls");
        let other = backend.stats.connect_failures().find(|(why, _)| *why == ConnectFailure::Other);
        assert_eq!(other, Some((ConnectFailure::Other, 2)));
        let times = [0, 5, 9_999, 10_002, 10_003, 20_001, 20_002];
        let said = times.map(|now| backend.may_complain(now));
        assert_eq!(said, [true, false, false, true, false, false, true]);
    }
}
