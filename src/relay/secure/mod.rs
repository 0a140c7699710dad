//! Bytes both ways where at least one side speaks TLS.
//!
//! Records are opened and sealed in buffers of the worker, as many at once as a read has brought;
//! a session keeps only a part of a record, and what a slow socket has not taken. The ends of the
//! streams stay what they are: close_notify is an end, a FIN without it a cut.

mod buffers;
mod end;
mod half;

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use crate::outcome::Outcome;
use crate::relay::{Lent, Side};
use crate::session::{Direction, Live};
pub(in crate::relay) use buffers::Buffers;
use end::{End, Fault};
use half::{Failure, Half};

/// [`crate::relay::run`] for such sides.
pub(super) async fn run(client: Side<'_>, server: Side<'_>, live: &Live, lent: &Lent) -> Outcome {
    let Some(mut relay) = Relay::new(client, server) else { return Outcome::Error };
    poll_fn(|cx| relay.poll(cx, live, lent.secure.borrow_mut().get_or_insert_default())).await
}

struct Relay<'a> {
    client: End<'a>,
    server: End<'a>,
    up: Half,
    down: Half,
}

/// How a relay ends, and how its ends are left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Parting {
    outcome: Outcome,
    client: Manner,
    server: Manner,
}

/// How an end is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// It has been told all it must know.
    Close,
    /// It is told that nothing more comes.
    Dismiss,
    /// Nobody may take its stream for a whole one.
    Reset,
}

impl Parting {
    fn alike(outcome: Outcome, manner: Manner) -> Self {
        Self { outcome, client: manner, server: manner }
    }

    /// One end is left like this, the other is reset.
    fn unlike(outcome: Outcome, failed: Direction, manner: Manner) -> Self {
        let (client, server) = match failed {
            Direction::In => (manner, Manner::Reset),
            Direction::Out => (Manner::Reset, manner),
        };
        Self { outcome, client, server }
    }
}

impl<'a> Relay<'a> {
    /// `None` if what was read ahead cannot be sealed.
    fn new(client: Side<'a>, server: Side<'a>) -> Option<Self> {
        let mut ours = End::new(client.socket, client.tls, Direction::Out);
        let mut theirs = End::new(server.socket, server.tls, Direction::In);
        if theirs.begin_with(client.ahead).and_then(|()| ours.begin_with(server.ahead)).is_err() {
            ours.reset();
            theirs.reset();
            return None;
        }
        let (up, down) = (Half::new(ours.has_ended()), Half::new(theirs.has_ended()));
        Some(Self { client: ours, server: theirs, up, down })
    }

    fn poll(&mut self, cx: &Context<'_>, live: &Live, buffers: &mut Buffers) -> Poll<Outcome> {
        let parting = match live.poll_end(cx) {
            Poll::Ready(cause) => self.ended(cause),
            Poll::Pending => ready!(self.poll_halves(cx, live, buffers)),
        };
        self.client.leave(parting.client, cx, live, buffers);
        self.server.leave(parting.server, cx, live, buffers);
        Poll::Ready(parting.outcome)
    }

    fn poll_halves(
        &mut self,
        cx: &Context<'_>,
        live: &Live,
        buffers: &mut Buffers,
    ) -> Poll<Parting> {
        let Self { client, server, up, down } = self;
        if let Some(failure) = forward(up, down, cx, (client, server), live, buffers) {
            return Poll::Ready(self.failed(failure, Direction::In));
        }
        if let Some(failure) = forward(down, up, cx, (server, client), live, buffers) {
            return Poll::Ready(self.failed(failure, Direction::Out));
        }
        if self.up.is_done() && self.down.is_done() {
            return Poll::Ready(Parting::alike(Outcome::Ok, Manner::Close));
        }
        // Opening may have made something to say back, and the way there may be at rest.
        let flushed = [self.client.poll_flush(cx, live), self.server.poll_flush(cx, live)];
        for (flushed, direction) in flushed.into_iter().zip([Direction::Out, Direction::In]) {
            if let Poll::Ready(Err(error)) = flushed {
                return Poll::Ready(self.failed(Failure::sink(error), direction));
            }
        }
        let broken = self.broken().map(|outcome| Parting::alike(outcome, Manner::Reset));
        broken.map_or(Poll::Pending, Poll::Ready)
    }

    /// Somebody else ends it.
    fn ended(&self, cause: Outcome) -> Parting {
        // With bytes still on their way an end would pass a cut stream off as a whole one.
        let is_clean = !self.client.holds_bytes() && !self.server.holds_bytes();
        let manner = match cause {
            Outcome::Idle if is_clean => Manner::Dismiss,
            _ => Manner::Reset,
        };
        Parting::alike(cause, manner)
    }

    fn failed(&self, Failure { broken, fault }: Failure, direction: Direction) -> Parting {
        let (source, other) = match direction {
            Direction::In => (&self.client, &self.down),
            Direction::Out => (&self.server, &self.up),
        };
        match fault {
            // Whoever has been told that nothing more comes may leave without a word; whoever
            // still listens there must not take that for the end.
            Fault::Cut if other.is_done() && !source.has_failed() => {
                Parting::unlike(Outcome::Ok, direction, Manner::Close)
            }
            // Neither side is to blame, unless what cannot be sealed is for one that broke its own.
            Fault::Worn if !other.is_failing() => Parting::alike(Outcome::Error, Manner::Reset),
            // The alert must arrive, and tells that this is no end.
            Fault::Broken => Parting::unlike(broken.blame(direction), direction, Manner::Dismiss),
            _ => Parting::alike(broken.blame(direction), Manner::Reset),
        }
    }

    /// A reset that no read or write will meet, since both wait for the side that is still there.
    fn broken(&self) -> Option<Outcome> {
        if self.client.has_failed() && (self.up.is_done() || self.up.is_stuck()) {
            return Some(Outcome::ClientReset);
        }
        let server = self.server.has_failed() && (self.down.is_done() || self.down.is_stuck());
        server.then_some(Outcome::BackendReset)
    }
}

/// Moves what can be moved one way; passes the end on once it is reached.
fn forward(
    half: &mut Half,
    other: &Half,
    cx: &Context<'_>,
    (from, to): (&mut End<'_>, &mut End<'_>),
    live: &Live,
    buffers: &mut Buffers,
) -> Option<Failure> {
    if half.is_done() {
        return None;
    }
    match half.poll(cx, (from, to), live, buffers) {
        Poll::Pending => None,
        Poll::Ready(Ok(())) => {
            // If the other way has ended too, closing sends the FIN as well.
            if !other.is_done() {
                to.end_writing();
            }
            None
        }
        Poll::Ready(Err(failure)) => Some(failure),
    }
}

#[cfg(test)]
mod tests;
