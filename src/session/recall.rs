//! Orders to end the sessions of a backend, shared by all who hold some: whose, why, how fast.
//!
//! An order is written once, by whoever judges the backend. Those who hold sessions ask it once a
//! second how many of theirs they may end. Time is an argument.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;

use crate::outcome::Outcome;

/// Told that orders have changed, heard by everybody who holds sessions: one load a look.
#[derive(Debug, Clone, Default)]
pub struct Bell(Arc<AtomicU64>);

impl Bell {
    /// Has everybody look at the orders.
    pub fn ring(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }

    /// How often it was rung.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// What one backend's sessions are told: nothing, or the order in force.
#[derive(Debug, Default)]
pub struct Recall {
    /// Orders so far. Those who were picked before the latest one are meant by it.
    epoch: AtomicU32,
    order: ArcSwapOption<Order>,
}

impl Recall {
    /// Changes with each order. A session remembers the one it was picked in.
    pub fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::Acquire)
    }

    /// True if there was an order since `epoch`: whoever was picked then is meant by the one in
    /// force, if there still is one.
    pub fn has_called(&self, epoch: u32) -> bool {
        epoch != self.epoch()
    }

    /// The order in force; it stays so after its time, for sessions that were still connecting.
    pub fn order(&self) -> Option<Arc<Order>> {
        self.order.load_full()
    }

    /// Puts an order in force, for all sessions picked until now.
    pub fn begin(&self, order: Arc<Order>) {
        self.order.store(Some(order));
        self.widen();
    }

    /// Has the order in force mean those too who were picked since it began.
    pub fn widen(&self) {
        self.epoch.fetch_add(1, Ordering::Release);
    }

    /// Ends no more sessions.
    pub fn stop(&self) {
        self.order.store(None);
    }

    /// The order that means a session which was picked in `epoch`.
    pub(super) fn order_for(&self, epoch: u32) -> Option<Arc<Order>> {
        if self.has_called(epoch) { self.order() } else { None }
    }
}

/// To end the sessions that a backend has, evenly over a time and idle ones first.
#[derive(Debug)]
pub struct Order {
    cause: Outcome,
    began: Instant,
    over: Duration,
    plan: Mutex<Plan>,
}

/// How far an order has come.
#[derive(Debug, Default)]
struct Plan {
    /// The latest second that has been planned.
    second: u64,
    /// How many may be closed until the end of that second.
    allowed: u64,
    /// The part of a session by which that falls short.
    carry: f64,
    closed: u64,
    /// Sessions still to be closed, as their holders last said.
    held: u64,
    /// How many of them moved nothing, as their holders last said.
    idle: u64,
}

/// What a holder says of the sessions it has.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Said {
    pub(super) held: u64,
    pub(super) idle: u64,
}

impl Order {
    /// An order that begins at `began` and has ended everybody after `over`; zero = at once.
    pub fn new(cause: Outcome, began: Instant, over: Duration) -> Self {
        Self { cause, began, over, plan: Mutex::default() }
    }

    /// How its sessions end.
    pub fn cause(&self) -> Outcome {
        self.cause
    }

    /// When nobody is left.
    pub fn end(&self) -> Instant {
        self.began + self.over
    }

    /// True if everybody it means is to be ended at once.
    pub fn is_over(&self, now: Instant) -> bool {
        self.passed(now) >= self.over
    }

    /// Sessions ended so far.
    pub fn closed(&self) -> u64 {
        self.plan().closed
    }

    /// Whole seconds since it began.
    pub(super) fn second(&self, now: Instant) -> u64 {
        self.passed(now).as_secs()
    }

    /// When there is something to do again.
    pub(super) fn next(&self, now: Instant) -> Instant {
        (self.began + Duration::from_secs(self.second(now) + 1)).min(self.end())
    }

    /// A holder says what it has now, and what it had said before. Gives how many idle ones the
    /// others have.
    pub(super) fn report(&self, says: Said, before: Said) -> u64 {
        let mut plan = self.plan();
        // Nobody takes back more than it gave.
        plan.held = (plan.held + says.held).saturating_sub(before.held);
        let others = plan.idle.saturating_sub(before.idle);
        plan.idle = others + says.idle;
        others
    }

    /// Takes up to `wanted` of what may be closed in this second.
    pub(super) fn take(&self, second: u64, wanted: u64) -> u64 {
        let mut plan = self.plan();
        plan.advance(second, self.seconds());
        let taken = wanted.min(plan.allowed.saturating_sub(plan.closed));
        plan.closed += taken;
        taken
    }

    /// Counts sessions that are ended after its time.
    pub(super) fn take_late(&self, count: u64) {
        self.plan().closed += count;
    }

    fn passed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.began)
    }

    /// Seconds that it takes, a begun one included.
    fn seconds(&self) -> u64 {
        self.over.as_secs() + u64::from(self.over.subsec_nanos() > 0)
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Plan {
    /// Whoever asks first in a second plans it for all: those who are left, spread evenly over the
    /// seconds that are left. Who left by itself changes the plan from the next second on.
    fn advance(&mut self, second: u64, seconds: u64) {
        if second <= self.second {
            return;
        }
        let left = (seconds.saturating_sub(second) + 1) as f64;
        let step = (self.held as f64 - self.carry).max(0.0) / left + self.carry;
        self.second = second;
        self.allowed = self.closed + step as u64;
        self.carry = step.fract();
    }
}
