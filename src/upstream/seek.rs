//! Finding a backend for a session: a pick, or a wait in the queue of a pool that is full.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::outcome::{Rejection, Unserved};
use crate::pool::{Ask, Backend, Entrance, Picked, Queue, Ticket, Unpicked};
use crate::session::Overdue;
use crate::upstream::{Caller, Dialer};

/// A session that looks for a backend, over all its attempts.
pub(super) struct Seeker<'a, C> {
    entrance: &'a Entrance,
    caller: &'a C,
    dialer: &'a Dialer,
    /// Backends that have failed it: others are preferred.
    pub(super) tried: Vec<Arc<Backend>>,
    /// In queues, so far.
    waited: Duration,
}

/// How a wait in one queue ended, unless by its time limit.
enum Stay<'a> {
    Placed(Picked<'a>),
    /// The rules now lead to another full pool.
    Moved(&'a Arc<Queue>),
    /// There is nobody left to wait for.
    Hopeless,
    /// A stop has come to its deadline.
    Over,
    ClientGone,
}

impl<'a, C: Caller> Seeker<'a, C> {
    pub(super) fn new(entrance: &'a Entrance, caller: &'a C, dialer: &'a Dialer) -> Self {
        Self { entrance, caller, dialer, tried: Vec::new(), waited: Duration::ZERO }
    }

    /// A place on a backend, and how long it was waited for, after `attempts` that failed.
    pub(super) async fn find(&mut self, attempts: u32) -> Result<(Picked<'a>, Duration), Unserved> {
        match self.entrance.pick(&self.ask()) {
            Ok(picked) => Ok((picked, Duration::ZERO)),
            Err(none @ Unpicked::NoBackend) => Err(none.rejection(attempts).into()),
            Err(Unpicked::Full(queue)) => self.wait(queue, attempts).await,
        }
    }

    fn ask(&self) -> Ask<'_> {
        Ask {
            client: self.caller.address(),
            claims: self.caller.claims(),
            chance: fastrand::u64(..),
            now: self.dialer.clock.now(),
            tried: &self.tried,
        }
    }

    /// Waits at the end of `queue`, and of another one if the rules lead there meanwhile. All waits
    /// of a session together are bounded by the timeout.
    async fn wait(
        &mut self,
        mut queue: &'a Arc<Queue>,
        attempts: u32,
    ) -> Result<(Picked<'a>, Duration), Unserved> {
        let before = self.waited;
        loop {
            let ticket = queue.enter().ok_or(Rejection::QueueFull)?;
            let (began, left) = (Instant::now(), queue.timeout().saturating_sub(self.waited));
            let stay = poll_fn(|cx| self.poll_stay(cx, &ticket));
            let ended = self.dialer.clock.limit(left, stay).await;
            self.waited += began.elapsed();
            let waited = self.waited - before;
            match ended {
                Ok(Stay::Placed(picked)) => {
                    queue.wait.record(waited);
                    return Ok((picked, waited));
                }
                Ok(Stay::Moved(other)) => queue = other,
                Ok(Stay::Hopeless) => return Err(Unpicked::NoBackend.rejection(attempts).into()),
                Ok(Stay::ClientGone) => {
                    queue.abandoned.increment();
                    return Err(Unserved::ClientGone);
                }
                Ok(Stay::Over) | Err(Overdue) => {
                    queue.wait.record(waited);
                    return Err(Rejection::QueueTimeout.into());
                }
            }
        }
    }

    fn poll_stay(&self, cx: &Context<'_>, ticket: &Ticket) -> Poll<Stay<'a>> {
        if self.caller.poll_hangup(cx).is_ready() {
            return Poll::Ready(Stay::ClientGone);
        }
        // First word where to be woken, then the try: what comes free in between is not missed.
        ticket.wake_with(cx.waker());
        // The sessions that are cut then leave places behind: these are for nobody.
        if ticket.queue().is_over() {
            return Poll::Ready(Stay::Over);
        }
        match self.entrance.pick_in_turn(&self.ask(), ticket) {
            Ok(picked) => Poll::Ready(Stay::Placed(picked)),
            Err(Unpicked::NoBackend) => Poll::Ready(Stay::Hopeless),
            Err(Unpicked::Full(queue)) if Arc::ptr_eq(queue, ticket.queue()) => Poll::Pending,
            Err(Unpicked::Full(queue)) => Poll::Ready(Stay::Moved(queue)),
        }
    }
}
