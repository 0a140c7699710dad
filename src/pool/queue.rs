//! Those who wait while every backend is at its cap: first in, first out over all workers.
//!
//! Nobody is handed a place. Whoever gives one back wakes the head of the queue, and only the head
//! may pick; when it leaves, whatever came of it, it wakes the next. No wake-up is lost: who waits
//! first leaves word where to be woken and then tries to pick, who gives back first gives back and
//! then looks whether anybody waits, all in one order (`SeqCst`).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use crossbeam_utils::CachePadded;

use crate::config;
use crate::metric::{Counter, Histogram, LATENCY};

/// The queue of a pool. Of size 0 nobody can enter it.
///
/// A pool with other settings is another queue in the same line: who came before a reload is served
/// before those who come after it.
#[derive(Debug)]
pub struct Queue {
    rules: config::Queue,
    line: Arc<Line>,
    /// How long those waited who got a place, or waited until the timeout.
    pub wait: Arc<Histogram>,
    /// Those who left while they waited.
    pub abandoned: Arc<Counter>,
}

/// Those who wait, under whatever rules they came.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// As many as stand in `order`: whoever ends a session looks here, and nearly always goes on.
    length: CachePadded<AtomicUsize>,
    order: Mutex<Order>,
    /// Nobody is served from it any more.
    is_over: AtomicBool,
}

/// Numbers rise, so the first is the head. A waker that was used is gone until its task is back.
#[derive(Debug, Default)]
struct Order {
    next: u64,
    waiting: BTreeMap<u64, Option<Waker>>,
}

impl Order {
    fn is_head(&self, number: u64) -> bool {
        self.waiting.first_key_value().is_some_and(|(head, _)| *head == number)
    }

    fn take_head(&mut self) -> Option<Waker> {
        self.waiting.first_entry()?.get_mut().take()
    }
}

impl Queue {
    /// A queue in the line of the one `before`, or in one of its own.
    pub(super) fn new(rules: config::Queue, before: Option<&Self>) -> Self {
        let Some(before) = before else {
            let wait = Arc::new(Histogram::new(LATENCY));
            return Self { rules, line: Arc::default(), wait, abandoned: Arc::default() };
        };
        let (wait, abandoned) = (Arc::clone(&before.wait), Arc::clone(&before.abandoned));
        Self { rules, line: Arc::clone(&before.line), wait, abandoned }
    }

    /// Where those stand who wait in it.
    pub(super) fn line(&self) -> &Arc<Line> {
        &self.line
    }

    /// How long each may wait.
    pub fn timeout(&self) -> Duration {
        self.rules.timeout
    }

    /// How many wait now.
    pub fn len(&self) -> usize {
        self.line.len()
    }

    /// True if nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True if anybody may ever wait in it.
    pub(super) fn is_open(&self) -> bool {
        self.rules.size > 0
    }

    /// True if one more could wait.
    pub(super) fn has_room(&self) -> bool {
        self.len() < self.rules.size as usize
    }

    /// A place at its end; `None` if it is full.
    pub fn enter(self: &Arc<Self>) -> Option<Ticket> {
        // A crowd that is refused must not hold up those who wait.
        if !self.has_room() {
            return None;
        }
        let mut order = self.line.order();
        if order.waiting.len() >= self.rules.size as usize {
            return None;
        }
        let number = order.next;
        order.next += 1;
        order.waiting.insert(number, None);
        self.line.length.store(order.waiting.len(), Ordering::SeqCst);
        Some(Ticket { queue: Arc::clone(self), number })
    }

    /// From now on nobody is served from it: whoever waits is to leave.
    pub fn end(&self) {
        self.line.is_over.store(true, Ordering::SeqCst);
        self.line.call_all();
    }

    /// True once it was ended.
    pub fn is_over(&self) -> bool {
        self.line.is_over.load(Ordering::SeqCst)
    }

    /// True if whoever holds `ticket`, or comes without one, is next.
    pub(super) fn admits(&self, ticket: Option<&Ticket>) -> bool {
        match ticket.filter(|ticket| Arc::ptr_eq(&ticket.queue.line, &self.line)) {
            Some(ticket) => self.line.order().is_head(ticket.number),
            None => self.is_empty(),
        }
    }
}

impl Line {
    fn len(&self) -> usize {
        self.length.load(Ordering::SeqCst)
    }

    /// A place may have come free: the head is to look.
    pub(super) fn call(&self) {
        if self.len() == 0 {
            return;
        }
        let head = self.order().take_head();
        if let Some(waker) = head {
            waker.wake();
        }
    }

    /// There may be a place for anybody, somewhere else: all are to look.
    pub(super) fn call_all(&self) {
        if self.len() == 0 {
            return;
        }
        let wakers: Vec<_> = self.order().waiting.values_mut().filter_map(Option::take).collect();
        wakers.into_iter().for_each(Waker::wake);
    }

    fn order(&self) -> MutexGuard<'_, Order> {
        // Each change is whole before the lock is given back.
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in a queue, given back on drop.
#[derive(Debug)]
pub struct Ticket {
    queue: Arc<Queue>,
    pub(super) number: u64,
}

impl Ticket {
    /// Has `waker` woken when it may be this one's turn. To be called before each try to pick.
    pub fn wake_with(&self, waker: &Waker) {
        if let Some(known) = self.queue.line.order().waiting.get_mut(&self.number)
            && known.as_ref().is_none_or(|known| !known.will_wake(waker))
        {
            *known = Some(waker.clone());
        }
    }

    /// Where it is.
    pub fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let line = &self.queue.line;
        let mut order = line.order();
        let was_head = order.is_head(self.number);
        let own = order.waiting.remove(&self.number);
        line.length.store(order.waiting.len(), Ordering::SeqCst);
        let next = if was_head { order.take_head() } else { None };
        drop(order);
        // Wakers of other threads: what they do on drop is theirs, not to be done under the lock.
        drop(own);
        if let Some(waker) = next {
            waker.wake();
        }
    }
}
