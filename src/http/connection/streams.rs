//! The requests of a connection of HTTP/2: each has a task of its own, which ends before the
//! connection is counted as ended.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use hyper::StatusCode;
use hyper::rt::Executor;
use slab::Slab;
use tokio::task::spawn_local;

use crate::http::connection::Connection;
use crate::http::connection::exchange::{Exchange, Progress, Stalled, Verdict};
use crate::outcome::{Abuse, Outcome};

/// Starts the tasks of one connection.
#[derive(Clone)]
pub(super) struct Streams(Rc<Connection>);

/// The tasks of one connection.
#[derive(Default)]
pub(super) struct Tasks {
    /// Requests that run.
    open: RefCell<Slab<Rc<Exchange>>>,
    /// The request whose task is about to be started.
    next: RefCell<Option<Rc<Exchange>>>,
    /// All tasks, also those that are no request.
    running: Cell<usize>,
    /// One has begun since the last look.
    has_begun: Cell<bool>,
    /// Requests that were answered to their end, since the last look.
    answered: Cell<u32>,
    /// Of whoever waits for the last one.
    waker: RefCell<Option<Waker>>,
}

impl Streams {
    /// Those of `on`.
    pub(super) fn new(on: &Rc<Connection>) -> Self {
        Self(Rc::clone(on))
    }

    fn tasks(&self) -> &Tasks {
        &self.0.tasks
    }

    /// A request has come, whose task the library starts next.
    pub(super) fn begin(&self) -> Rc<Exchange> {
        let exchange = Rc::<Exchange>::default();
        *self.tasks().next.borrow_mut() = Some(Rc::clone(&exchange));
        self.tasks().has_begun.set(true);
        exchange
    }

    /// True if one has begun since the last call.
    pub(super) fn take_begun(&self) -> bool {
        self.tasks().has_begun.replace(false)
    }

    /// How many were answered to their end since the last call.
    pub(super) fn take_answered(&self) -> u32 {
        self.tasks().answered.replace(0)
    }

    /// True if there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.tasks().running.get() == 0
    }

    /// Ends those in which nothing has moved over so many calls, and that only their client could move.
    pub(super) fn end_stalled(&self, calls: u32) {
        for (_, exchange) in self.tasks().open.borrow().iter() {
            let Some(stalled) = exchange.stalled(calls) else { continue };
            self.0.figures().abuse(match stalled {
                Stalled::Upload => Abuse::SlowBody,
                Stalled::Download => Abuse::SlowRead,
            });
            if exchange.progress() == Progress::Asked {
                let (status, outcome) = (StatusCode::REQUEST_TIMEOUT, Outcome::Idle);
                exchange.judge(Verdict { status, outcome });
            } else {
                exchange.cut(Outcome::Idle);
            }
        }
    }

    /// Ends all.
    pub(super) fn end_all(&self, outcome: Outcome) {
        for (_, exchange) in self.tasks().open.borrow().iter() {
            exchange.cut(outcome);
        }
    }

    /// Ready once there is none.
    pub(super) fn poll_empty(&self, cx: &Context<'_>) -> Poll<()> {
        if self.is_empty() {
            return Poll::Ready(());
        }
        *self.tasks().waker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl<F: Future<Output = ()> + 'static> Executor<F> for Streams {
    fn execute(&self, work: F) {
        let task = Task::new(&self.0);
        spawn_local(async move {
            {
                let mut work = pin!(work);
                poll_fn(|cx| {
                    match task.exchange.as_ref().and_then(|exchange| exchange.cut_by(cx)) {
                        Some(outcome) => {
                            task.on.ends_by(outcome);
                            Poll::Ready(())
                        }
                        None => work.as_mut().poll(cx),
                    }
                })
                .await;
            }
            // What has just been dropped has seen it.
            task.on.end.set(None);
        });
    }
}

/// A task, counted until its end.
struct Task {
    on: Rc<Connection>,
    exchange: Option<Rc<Exchange>>,
    key: Option<usize>,
}

impl Task {
    fn new(on: &Rc<Connection>) -> Self {
        let Tasks { open, next, running, .. } = &on.tasks;
        let exchange = next.take();
        let key = exchange.as_ref().map(|new| open.borrow_mut().insert(Rc::clone(new)));
        running.set(running.get() + 1);
        Self { on: Rc::clone(on), exchange, key }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let Tasks { open, running, answered, waker, .. } = &self.on.tasks;
        if self.exchange.as_ref().is_some_and(|exchange| exchange.is_complete()) {
            answered.set(answered.get() + 1);
        }
        if let Some(key) = self.key {
            open.borrow_mut().remove(key);
        }
        running.set(running.get() - 1);
        if running.get() == 0
            && let Some(waker) = waker.take()
        {
            waker.wake();
        }
    }
}
