//! The coarse clock of one worker, and time limits that hang on it instead of on timers.

use std::cell::{Cell, RefCell};
use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use slab::Slab;

/// Milliseconds since the worker started, as coarse as the clock is moved.
pub type Tick = u64;

/// A time limit ran out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overdue;

/// Time as the worker's sessions see it: it stands still between two calls of `advance`.
#[derive(Debug, Default)]
pub struct Clock {
    now: Cell<Tick>,
    waiting: RefCell<Slab<(Tick, Waker)>>,
    /// Nothing waits any more: all limits count as reached.
    over: Cell<bool>,
    /// When its worker started; without it, it goes by what it is told alone.
    origin: Option<Instant>,
}

impl Clock {
    /// A clock that starts now.
    pub fn starting() -> Self {
        Self { origin: Some(Instant::now()), ..Self::default() }
    }

    /// Moves the clock to the time that has really passed since its start.
    pub fn catch_up(&self) {
        if let Some(origin) = self.origin {
            self.advance(origin.elapsed());
        }
    }

    /// Now to the millisecond, rounded up: a limit must not end early because the tick is old.
    pub fn exact(&self) -> Tick {
        self.origin.map_or_else(|| self.now.get(), |origin| ticks(origin.elapsed()) + 1)
    }

    /// The present tick.
    pub fn now(&self) -> Tick {
        self.now.get()
    }

    /// Moves the clock to `now` since the worker's start and wakes those whose limit is reached.
    pub fn advance(&self, now: Duration) {
        let now = ticks(now);
        self.now.set(now);
        self.wake_until(now);
    }

    /// From now on every limit counts as reached, so that nothing is waited for.
    pub fn finish(&self) {
        self.over.set(true);
        self.wake_until(Tick::MAX);
    }

    /// Wakes all who wait, whatever for: something has changed that they look at too.
    pub fn rouse(&self) {
        self.wake_until(Tick::MAX);
    }

    fn wake_until(&self, now: Tick) {
        for (_, (limit, waker)) in self.waiting.borrow().iter() {
            if *limit <= now {
                waker.wake_by_ref();
            }
        }
    }

    /// How long it is from now until the first limit that is not reached yet.
    pub fn next_limit(&self) -> Option<Duration> {
        let now = self.now.get();
        let waiting = self.waiting.borrow();
        let limits = waiting.iter().map(|(_, (limit, _))| *limit).filter(|limit| *limit > now);
        limits.min().map(|limit| Duration::from_millis(limit - now))
    }

    fn is_reached(&self, limit: Tick) -> bool {
        self.over.get() || self.now.get() >= limit
    }

    /// Waits for `pause`, and as much longer as [`limit`](Self::limit) does.
    pub async fn sleep(self: &Rc<Self>, pause: Duration) {
        // Nothing else can come out of work that never ends.
        self.limit(pause, pending::<()>()).await.ok();
        if self.over.get() {
            // Whoever tries again after each pause must still let the others end.
            tokio::task::yield_now().await;
        }
    }

    /// Runs `work` for at most `limit`, and up to two steps of the clock longer; a limit of a step
    /// or more is announced by [`next_limit`](Self::next_limit), and who moves the clock can be on
    /// time for it.
    ///
    /// # Errors
    /// `Overdue` if the limit was reached first; the work is then dropped.
    pub async fn limit<F: Future>(
        self: &Rc<Self>,
        limit: Duration,
        work: F,
    ) -> Result<F::Output, Overdue> {
        let until = self.exact() + ticks(limit);
        let mut waiting = Waiting { clock: self, until, key: None };
        let mut work = pin!(work);
        poll_fn(|cx| {
            if let Poll::Ready(output) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            if self.is_reached(waiting.until) {
                return Poll::Ready(Err(Overdue));
            }
            waiting.register(cx.waker());
            Poll::Pending
        })
        .await
    }
}

/// A time limit that one task moves about as long as it lives, instead of one timer after the other.
#[derive(Debug)]
pub struct Alarm {
    clock: Rc<Clock>,
    until: Cell<Tick>,
    key: Cell<Option<usize>>,
}

impl Alarm {
    /// One that is not set.
    pub fn new(clock: &Rc<Clock>) -> Self {
        Self { clock: Rc::clone(clock), until: Cell::new(Tick::MAX), key: Cell::new(None) }
    }

    /// Goes off after `limit`, at most two steps of the clock later; `None` = never. What was set
    /// before holds no more.
    pub fn set(&self, limit: Option<Duration>) {
        let until = limit.map_or(Tick::MAX, |limit| self.clock.exact() + ticks(limit));
        self.until.set(until);
        let mut waiting = self.clock.waiting.borrow_mut();
        if let Some(place) = self.key.get().and_then(|key| waiting.get_mut(key)) {
            place.0 = until;
        }
    }

    /// Ready once it has gone off, or nothing may be waited for any more. The task is also woken by
    /// [`Clock::rouse`].
    pub fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        if self.clock.is_reached(self.until.get()) {
            return Poll::Ready(());
        }
        let mut waiting = self.clock.waiting.borrow_mut();
        match self.key.get().and_then(|key| waiting.get_mut(key)) {
            Some((_, waker)) if waker.will_wake(cx.waker()) => {}
            Some((_, waker)) => *waker = cx.waker().clone(),
            None => {
                let key = waiting.insert((self.until.get(), cx.waker().clone()));
                self.key.set(Some(key));
            }
        }
        Poll::Pending
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(key) = self.key.get() {
            self.clock.waiting.borrow_mut().remove(key);
        }
    }
}

/// A place among those who wait, given back on drop.
struct Waiting<'a> {
    clock: &'a Clock,
    until: Tick,
    key: Option<usize>,
}

impl Waiting<'_> {
    fn register(&mut self, waker: &Waker) {
        if self.key.is_none() {
            let place = (self.until, waker.clone());
            self.key = Some(self.clock.waiting.borrow_mut().insert(place));
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.clock.waiting.borrow_mut().remove(key);
        }
    }
}

pub(super) fn ticks(time: Duration) -> Tick {
    Tick::try_from(time.as_millis()).unwrap_or(Tick::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll<F: Future>(work: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        work.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn work_is_given_up_when_its_limit_is_reached() {
        let clock = Rc::new(Clock::default());
        let mut work = pin!(clock.limit(Duration::from_millis(200), pending::<()>()));
        assert!(poll(work.as_mut()).is_pending());
        clock.advance(Duration::from_millis(199));
        assert!(poll(work.as_mut()).is_pending());
        clock.advance(Duration::from_millis(200));
        assert_eq!(poll(work.as_mut()), Poll::Ready(Err(Overdue)));
    }

    #[test]
    fn the_next_limit_is_told_until_it_is_reached() {
        let clock = Rc::new(Clock::default());
        assert_eq!(clock.next_limit(), None);
        let mut sooner = pin!(clock.limit(Duration::from_millis(150), pending::<()>()));
        let mut later = pin!(clock.limit(Duration::from_millis(400), pending::<()>()));
        assert!(poll(later.as_mut()).is_pending() && poll(sooner.as_mut()).is_pending());
        clock.advance(Duration::from_millis(100));
        assert_eq!(clock.next_limit(), Some(Duration::from_millis(50)));
        clock.advance(Duration::from_millis(151));
        assert_eq!(clock.next_limit(), Some(Duration::from_millis(249)));
    }

    #[test]
    fn a_finished_clock_lets_nobody_wait() {
        let clock = Rc::new(Clock::default());
        clock.finish();
        let mut work = pin!(clock.limit(Duration::from_secs(9), pending::<()>()));
        assert_eq!(poll(work.as_mut()), Poll::Ready(Err(Overdue)));
        let mut done = pin!(clock.limit(Duration::from_secs(9), async { 7 }));
        assert_eq!(poll(done.as_mut()), Poll::Ready(Ok(7)));
    }
}
