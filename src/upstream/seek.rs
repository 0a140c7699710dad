//! Finding a backend for a session: a pick, or a wait in the queue of a pool that is full.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::outcome::{Rejection, Unserved};
use crate::pool::{Ask, Backend, Entrance, Picked, Queue, Ticket, Unpicked};
use crate::session::Overdue;
use crate::upstream::{Client, Dialer};

/// A session that looks for a backend, over all its attempts.
pub(super) struct Seeker<'a> {
    entrance: &'a Entrance,
    client: &'a Client,
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
    ClientGone,
}

impl<'a> Seeker<'a> {
    pub(super) fn new(entrance: &'a Entrance, client: &'a Client, dialer: &'a Dialer) -> Self {
        Self { entrance, client, dialer, tried: Vec::new(), waited: Duration::ZERO }
    }

    /// A place on a backend, and how long it was waited for, after `attempts` that failed.
    pub(super) async fn find(&mut self, attempts: u32) -> Result<(Picked<'a>, Duration), Unserved> {
        match self.entrance.pick(&self.ask()) {
            Ok(picked) => Ok((picked, Duration::ZERO)),
            Err(none @ Unpicked::NoBackend) => Err(none.rejection(attempts).into()),
            Err(Unpicked::Full(queue)) => {
                let before = self.waited;
                let picked = self.wait(queue, attempts).await?;
                Ok((picked, self.waited - before))
            }
        }
    }

    fn ask(&self) -> Ask<'_> {
        Ask {
            client: self.client.address,
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
    ) -> Result<Picked<'a>, Unserved> {
        loop {
            let ticket = queue.enter().ok_or(Rejection::QueueFull)?;
            let (began, left) = (Instant::now(), queue.timeout().saturating_sub(self.waited));
            let stay = poll_fn(|cx| self.poll_stay(cx, &ticket));
            let ended = self.dialer.clock.limit(left, stay).await;
            self.waited += began.elapsed();
            match ended {
                Ok(Stay::Placed(picked)) => {
                    queue.wait.record(self.waited);
                    return Ok(picked);
                }
                Ok(Stay::Moved(other)) => queue = other,
                Ok(Stay::Hopeless) => return Err(Unpicked::NoBackend.rejection(attempts).into()),
                Ok(Stay::ClientGone) => {
                    queue.abandoned.increment();
                    return Err(Unserved::ClientGone);
                }
                // Also when a stop has come to its deadline.
                Err(Overdue) => {
                    queue.wait.record(self.waited);
                    return Err(Rejection::QueueTimeout.into());
                }
            }
        }
    }

    fn poll_stay(&self, cx: &Context<'_>, ticket: &Ticket) -> Poll<Stay<'a>> {
        if self.client.socket.poll_hangup(cx).is_ready() {
            return Poll::Ready(Stay::ClientGone);
        }
        // Whoever is cut off leaves places behind: who is cut off too could not connect any more, and
        // its backend would be blamed for that.
        if self.dialer.clock.is_over() {
            return Poll::Pending;
        }
        // First word where to be woken, then the try: what comes free in between is not missed.
        ticket.wake_with(cx.waker());
        match self.entrance.pick_in_turn(&self.ask(), ticket) {
            Ok(picked) => Poll::Ready(Stay::Placed(picked)),
            Err(Unpicked::NoBackend) => Poll::Ready(Stay::Hopeless),
            Err(Unpicked::Full(queue)) if Arc::ptr_eq(queue, ticket.queue()) => Poll::Pending,
            Err(Unpicked::Full(queue)) => Poll::Ready(Stay::Moved(queue)),
        }
    }
}
