//! The live sessions of one worker: who they belong to, when they last moved, what ends them.
//!
//! The table is touched by its own worker alone, so its cells need no lock. One sweep a second does
//! idle limits and byte counts for all sessions; no session keeps a timer of its own. Lifetimes, which
//! few sessions have, stand in their order and are looked at with every step of the clock: sessions
//! that were spread over a tenth of a short lifetime must not end together at the next sweep.

mod clock;
mod desk;
mod recall;
mod roll;
mod tally;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use slab::Slab;

use crate::outcome::Outcome;
use clock::ticks;
pub use clock::{Alarm, Clock, Overdue, Tick};
pub use desk::Desk;
pub use recall::{Bell, Order, Recall};
pub use roll::{Called, Roll};
pub use tally::Tally;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the backend.
    In,
    /// From the backend to the client.
    Out,
}

/// The limits a session began with; a reload does not change them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// No byte either way for so long ends the session; `None` = never.
    pub idle: Option<Duration>,
    /// The session ends after so long; `None` = never.
    pub lifetime: Option<Duration>,
}

/// One live session, shared between its task and the table.
#[derive(Debug)]
pub struct Live {
    tally: Arc<Tally>,
    /// Of its backend's orders, when it was picked.
    epoch: u32,
    /// It came or bytes moved since the last sweep.
    active: Cell<bool>,
    /// The last sweep that found it active: never before it really was, however old the clock's
    /// reading had become by then.
    last: Cell<Tick>,
    idle: Option<Tick>,
    deadline: Option<Tick>,
    bytes: [Cell<u64>; 2],
    folded: [Cell<u64>; 2],
    first_byte: Cell<Option<Instant>>,
    end: Cell<Option<Outcome>>,
    waker: RefCell<Option<Waker>>,
}

impl Live {
    /// Counts payload handed on and marks the session as active.
    pub fn moved(&self, direction: Direction, n: u64) {
        let bytes = &self.bytes[direction as usize];
        if bytes.get() == 0 && direction == Direction::Out {
            self.first_byte.set(Some(Instant::now()));
        }
        bytes.set(bytes.get() + n);
        self.active.set(true);
    }

    /// When the backend's first byte was handed on.
    pub fn first_byte(&self) -> Option<Instant> {
        self.first_byte.get()
    }

    /// Payload handed on so far.
    pub fn bytes(&self, direction: Direction) -> u64 {
        self.bytes[direction as usize].get()
    }

    /// Ready once somebody has decided that this session ends, with the cause.
    ///
    /// The waker of the first call is kept: all calls must come from the session's own task.
    pub fn poll_end(&self, cx: &Context<'_>) -> Poll<Outcome> {
        if let Some(cause) = self.end.get() {
            return Poll::Ready(cause);
        }
        self.waker.borrow_mut().get_or_insert_with(|| cx.waker().clone());
        Poll::Pending
    }

    /// Ends the session for `cause`, unless it is ending already.
    fn end(&self, cause: Outcome) {
        if self.end.get().is_none() {
            self.end.set(Some(cause));
            if let Some(waker) = self.waker.take() {
                waker.wake();
            }
        }
    }

    /// Adds what has moved since the last time to the counters others read.
    fn fold(&self) {
        let totals = [&self.tally.bytes_in, &self.tally.bytes_out];
        for ((bytes, folded), total) in self.bytes.iter().zip(&self.folded).zip(totals) {
            let fresh = bytes.get() - folded.replace(bytes.get());
            if fresh > 0 {
                total.add(fresh);
            }
        }
    }

    /// Takes note of what has moved since the last look.
    fn look(&self, now: Tick) {
        if self.active.replace(false) {
            self.last.set(now);
        }
    }

    /// True if it was picked before its backend's latest order, and is not ending yet.
    fn is_called(&self) -> bool {
        self.tally.recall.has_called(self.epoch) && self.end.get().is_none()
    }

    fn overdue(&self, now: Tick) -> Option<Outcome> {
        self.look(now);
        let is_idle = self.idle.is_some_and(|idle| now >= self.last.get() + idle);
        is_idle.then_some(Outcome::Idle)
    }
}

/// A session's place in the table, given back on drop.
#[derive(Debug)]
pub struct Entry {
    live: Rc<Live>,
    slot: usize,
    table: Rc<Table>,
}

impl std::ops::Deref for Entry {
    type Target = Live;

    fn deref(&self) -> &Live {
        &self.live
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.live.fold();
        self.table.slots.borrow_mut().remove(self.slot);
        if let Some(deadline) = self.live.deadline {
            self.table.deadlines.borrow_mut().remove(&(deadline, self.slot));
        }
    }
}

/// All live sessions of one worker.
#[derive(Debug, Default)]
pub struct Table {
    slots: RefCell<Slab<Rc<Live>>>,
    /// Of those that have one, with their slot.
    deadlines: RefCell<BTreeSet<(Tick, usize)>>,
    /// Why all were ended, and whoever enters later is: a connect may succeed in that very moment.
    over: Cell<Option<Outcome>>,
    clock: Rc<Clock>,
    roll: RefCell<Roll>,
}

impl Table {
    /// An empty table with a clock that starts now, which hears of orders by `bell`.
    pub fn starting(bell: Bell) -> Self {
        let (clock, roll) = (Rc::new(Clock::starting()), RefCell::new(Roll::new(bell)));
        Self { clock, roll, ..Self::default() }
    }

    /// Enters a session that is about to relay and was picked in this epoch of its backend's
    /// [`Recall`]; it leaves when the entry is dropped.
    pub fn enter(self: &Rc<Self>, tally: Arc<Tally>, epoch: u32, limits: Limits) -> Entry {
        let late = || self.roll.borrow_mut().late(&tally.recall, epoch);
        let end = self.over.get().or_else(late);
        let live = Rc::new(Live {
            tally,
            epoch,
            active: Cell::new(true),
            last: Cell::new(0),
            idle: limits.idle.map(ticks),
            deadline: limits.lifetime.map(|lifetime| self.clock.exact() + ticks(lifetime)),
            bytes: Default::default(),
            folded: Default::default(),
            first_byte: Cell::new(None),
            end: Cell::new(end),
            waker: RefCell::new(None),
        });
        let slot = self.slots.borrow_mut().insert(Rc::clone(&live));
        if let Some(deadline) = live.deadline {
            self.deadlines.borrow_mut().insert((deadline, slot));
        }
        Entry { live, slot, table: Rc::clone(self) }
    }

    /// The clock that all its sessions go by.
    pub fn clock(&self) -> &Rc<Clock> {
        &self.clock
    }

    /// Sessions in the table.
    pub fn len(&self) -> usize {
        self.slots.borrow().len()
    }

    /// True if no session is in the table.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends whose lifetime is over by the clock, which has just been moved.
    pub fn expire(&self) {
        let (now, slots) = (self.clock.now(), self.slots.borrow());
        let mut deadlines = self.deadlines.borrow_mut();
        while let Some((_, slot)) = deadlines.first().copied().filter(|(at, _)| *at <= now) {
            deadlines.pop_first();
            if let Some(live) = slots.get(slot) {
                live.end(Outcome::Lifetime);
            }
        }
    }

    /// Folds byte counts and ends what is idle by the clock, which has just been moved.
    pub fn sweep(&self) {
        let now = self.clock.now();
        for (_, live) in self.slots.borrow().iter() {
            live.fold();
            if let Some(cause) = live.overdue(now) {
                live.end(cause);
            }
        }
    }

    /// Ends whom the orders of backends mean, where orders have changed or are due. The clock has
    /// just been moved.
    pub fn obey(&self, now: Instant) {
        let mut roll = self.roll.borrow_mut();
        if !roll.is_due(|| now) {
            return;
        }
        let (tick, slots) = (self.clock.now(), self.slots.borrow());
        let called = slots.iter().filter(|(_, live)| live.is_called()).map(|(slot, live)| {
            live.look(tick);
            Called { recall: &live.tally.recall, last: live.last.get(), slot }
        });
        for (slot, cause) in roll.call(called.collect(), now, tick) {
            if let Some(live) = slots.get(slot) {
                live.end(cause);
            }
        }
    }

    /// True once all sessions were ended: nothing may be waited for any more.
    pub fn is_over(&self) -> bool {
        self.over.get().is_some()
    }

    /// Ends every session for `cause`, those that are still to come included, and every time limit.
    pub fn end_all(&self, cause: Outcome) {
        self.over.set(Some(cause));
        self.clock.finish();
        for (_, live) in self.slots.borrow().iter() {
            live.end(cause);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn enter(table: &Rc<Table>, limits: Limits) -> (Entry, Arc<Tally>) {
        let tally = Arc::new(Tally::default());
        (table.enter(Arc::clone(&tally), tally.recall.epoch(), limits), tally)
    }

    fn sweep_at(table: &Table, seconds: u64) {
        table.clock().advance(Duration::from_secs(seconds));
        table.expire();
        table.sweep();
    }

    fn end_of(entry: &Entry) -> Poll<Outcome> {
        entry.poll_end(&Context::from_waker(Waker::noop()))
    }

    #[test]
    fn bytes_reach_the_tally_while_the_session_runs_and_once_only() {
        let table = Rc::new(Table::default());
        let (entry, tally) = enter(&table, Limits::default());
        entry.moved(Direction::In, 5);
        sweep_at(&table, 1);
        assert_eq!(tally.bytes_in.get(), 5);
        entry.moved(Direction::In, 2);
        entry.moved(Direction::Out, 9);
        drop(entry);
        assert_eq!((tally.bytes_in.get(), tally.bytes_out.get()), (7, 9));
        assert!(table.is_empty());
    }

    #[test]
    fn an_idle_session_ends_and_an_active_one_does_not() {
        let table = Rc::new(Table::default());
        let limits = Limits { idle: Some(Duration::from_secs(2)), lifetime: None };
        let (quiet, _quiet) = enter(&table, limits);
        let (busy, _busy) = enter(&table, limits);
        sweep_at(&table, 1);
        busy.moved(Direction::Out, 1);
        sweep_at(&table, 2);
        assert_eq!(end_of(&quiet), Poll::Pending, "it may have come just before the first sweep");
        busy.moved(Direction::Out, 1);
        sweep_at(&table, 3);
        assert_eq!(end_of(&quiet), Poll::Ready(Outcome::Idle));
        assert_eq!(end_of(&busy), Poll::Pending);
    }

    #[test]
    fn a_worker_that_stood_still_ends_nobody_early() {
        let table = Rc::new(Table::starting(Bell::default()));
        while table.clock().exact() < 20 {
            std::hint::spin_loop();
        }
        let short = Some(Duration::from_millis(10));
        let (mortal, _mortal) = enter(&table, Limits { idle: None, lifetime: short });
        table.clock().advance(Duration::from_millis(20));
        table.expire();
        assert_eq!(end_of(&mortal), Poll::Pending, "it came when the clock was 20 ms old");
        sweep_at(&table, 9);
        assert_eq!(end_of(&mortal), Poll::Ready(Outcome::Lifetime));

        let limits = Limits { idle: Some(Duration::from_secs(2)), lifetime: None };
        let (quiet, _quiet) = enter(&table, limits);
        sweep_at(&table, 10);
        quiet.moved(Direction::In, 1);
        sweep_at(&table, 20);
        sweep_at(&table, 21);
        assert_eq!(end_of(&quiet), Poll::Pending, "it may have moved a second ago");
        sweep_at(&table, 22);
        assert_eq!(end_of(&quiet), Poll::Ready(Outcome::Idle));
    }

    #[test]
    fn lifetimes_end_one_by_one_and_not_at_the_next_sweep() {
        let table = Rc::new(Table::default());
        let lives = |seconds| Limits { idle: None, lifetime: Some(Duration::from_secs(seconds)) };
        let [(first, _first), (gone, _gone), (last, _last)] =
            [1, 2, 3].map(|seconds| enter(&table, lives(seconds)));
        drop(gone);
        let (in_its_place, _) = enter(&table, Limits::default());
        table.clock().advance(Duration::from_secs(1));
        table.expire();
        assert_eq!(end_of(&first), Poll::Ready(Outcome::Lifetime));
        table.clock().advance(Duration::from_secs(2));
        table.expire();
        assert_eq!((end_of(&in_its_place), end_of(&last)), (Poll::Pending, Poll::Pending));
        table.clock().advance(Duration::from_secs(3));
        table.expire();
        assert_eq!(end_of(&last), Poll::Ready(Outcome::Lifetime));
        assert!(table.deadlines.borrow().is_empty());
    }

    #[test]
    fn the_first_cause_of_an_end_stays() {
        let table = Rc::new(Table::default());
        let limits = Limits { idle: None, lifetime: Some(Duration::from_secs(1)) };
        let (entry, _tally) = enter(&table, limits);
        sweep_at(&table, 1);
        table.end_all(Outcome::Shutdown);
        assert_eq!(end_of(&entry), Poll::Ready(Outcome::Lifetime));
    }

    #[test]
    fn an_order_ends_those_that_were_picked_before_it_and_late_ones_as_they_enter() {
        let bell = Bell::default();
        let table = Rc::new(Table::starting(bell.clone()));
        let (early, tally) = enter(&table, Limits::default());
        let (of_another, _tally) = enter(&table, Limits::default());
        let connecting = tally.recall.epoch();
        let now = Instant::now();
        tally.recall.begin(Arc::new(Order::new(Outcome::Down, now, Duration::ZERO)));
        bell.ring();
        table.obey(now);
        assert_eq!(end_of(&early), Poll::Ready(Outcome::Down));
        let late = table.enter(Arc::clone(&tally), connecting, Limits::default());
        assert_eq!(end_of(&late), Poll::Ready(Outcome::Down));
        let after = table.enter(Arc::clone(&tally), tally.recall.epoch(), Limits::default());
        table.obey(Instant::now());
        assert_eq!((end_of(&after), end_of(&of_another)), (Poll::Pending, Poll::Pending));
    }

    #[test]
    fn a_late_session_has_what_is_left_of_an_order_that_runs() {
        let bell = Bell::default();
        let table = Rc::new(Table::starting(bell.clone()));
        let (_early, tally) = enter(&table, Limits::default());
        let (connecting, began) = (tally.recall.epoch(), Instant::now());
        let minute = Duration::from_secs(60);
        tally.recall.begin(Arc::new(Order::new(Outcome::Down, began, minute)));
        bell.ring();
        let late = table.enter(Arc::clone(&tally), connecting, Limits::default());
        table.obey(began);
        assert_eq!(end_of(&late), Poll::Pending);
        table.obey(began + minute);
        assert_eq!(end_of(&late), Poll::Ready(Outcome::Down));
    }

    #[test]
    fn whoever_enters_after_the_end_of_all_is_ended_too() {
        let table = Rc::new(Table::default());
        table.end_all(Outcome::Shutdown);
        let (late, _tally) = enter(&table, Limits::default());
        assert_eq!(end_of(&late), Poll::Ready(Outcome::Shutdown));
    }
}
