//! One direction of a relay: read here, write there, never hold more than could not be written.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;

use crate::net::Socket;
use crate::outcome::Outcome;
use crate::relay::Lent;
use crate::relay::pipes::Pipe;
use crate::session::{Direction, Live};

/// Reads before the other sessions of the worker get their turn.
const TURNS: usize = 8;

/// A read of at least this much speaks for splicing, a smaller one against it.
const LARGE: usize = 16 * 1024;

/// Reads in a row that decide between copying and splicing.
const STREAK: u8 = 3;

/// Which side failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// The side that bytes come from.
    Source,
    /// The side that bytes go to.
    Sink,
}

impl Broken {
    /// Whose fault it is, seen from the direction it happened in.
    pub(super) fn blame(self, direction: Direction) -> Outcome {
        match (self, direction) {
            (Self::Source, Direction::In) | (Self::Sink, Direction::Out) => Outcome::ClientReset,
            (Self::Source, Direction::Out) | (Self::Sink, Direction::In) => Outcome::BackendReset,
        }
    }
}

/// The state of one direction: a few words while nothing is under way.
#[derive(Debug)]
pub(super) struct Half {
    direction: Direction,
    /// Read but not yet written: there only while the sink is slower than the source.
    stash: Option<Stash>,
    pipe: Option<Pipe>,
    splicing: bool,
    /// Reads in a row that spoke against the present way.
    streak: u8,
    ended: bool,
    /// It could have gone on, but others had to have their turn.
    yielded: bool,
}

/// Bytes on their way, and how many of them are written.
#[derive(Debug)]
struct Stash {
    bytes: Box<[u8]>,
    written: usize,
}

impl Half {
    /// `ahead` was read from the source already.
    pub(super) fn new(direction: Direction, ahead: Vec<u8>) -> Self {
        let stash = (!ahead.is_empty()).then(|| Stash { bytes: ahead.into(), written: 0 });
        Self {
            direction,
            stash,
            pipe: None,
            splicing: false,
            streak: 0,
            ended: false,
            yielded: false,
        }
    }

    /// True once everything up to the source's end has been written.
    pub(super) fn is_done(&self) -> bool {
        self.ended && self.stash.is_none() && self.pipe.is_none()
    }

    /// True if bytes were read that have not been written.
    pub(super) fn holds_bytes(&self) -> bool {
        self.stash.is_some() || self.pipe.as_ref().is_some_and(|pipe| pipe.held() > 0)
    }

    /// True if it waits for a socket: for something to read, or for room to write.
    pub(super) fn is_stuck(&self) -> bool {
        !self.yielded && !self.is_done()
    }

    /// Moves what can be moved. Ready once the source has ended and all of it is written.
    pub(super) fn poll(
        &mut self,
        cx: &Context<'_>,
        (from, to): (&Socket, &Socket),
        live: &Live,
        lent: &Lent,
    ) -> Poll<Result<(), Broken>> {
        self.yielded = false;
        for _ in 0..TURNS {
            ready!(self.poll_flush(cx, to, live)).map_err(|_| Broken::Sink)?;
            if self.ended {
                self.pipe = None;
                return Poll::Ready(Ok(()));
            }
            if self.splicing {
                ready!(self.poll_fill(cx, from, lent)).map_err(|_| Broken::Source)?;
            } else {
                ready!(self.poll_copy(cx, (from, to), live, lent))?;
            }
        }
        self.yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes what is held back. Ready once nothing is.
    fn poll_flush(
        &mut self,
        cx: &Context<'_>,
        to: &Socket,
        live: &Live,
    ) -> Poll<Result<(), Errno>> {
        while let Some(stash) = &mut self.stash {
            let rest = stash.bytes.get(stash.written..).unwrap_or_default();
            if rest.is_empty() {
                self.stash = None;
                break;
            }
            let n = ready!(to.poll_send(cx, rest))?;
            stash.written += n;
            live.moved(self.direction, n as u64);
        }
        while let Some(pipe) = self.pipe.as_mut().filter(|pipe| pipe.held() > 0) {
            let Some(exit) = pipe.exit() else { break };
            let n = ready!(to.poll_splice_out(cx, exit, pipe.held()))?;
            pipe.drained(n);
            live.moved(self.direction, n as u64);
        }
        Poll::Ready(Ok(()))
    }

    /// Reads into the worker's buffer and writes at once; keeps only what the sink does not take.
    fn poll_copy(
        &mut self,
        cx: &Context<'_>,
        (from, to): (&Socket, &Socket),
        live: &Live,
        lent: &Lent,
    ) -> Poll<Result<(), Broken>> {
        let mut buffer = lent.buffer.borrow_mut();
        let n = ready!(from.poll_recv(cx, &mut buffer)).map_err(|_| Broken::Source)?;
        if n == 0 {
            self.ended = true;
            return Poll::Ready(Ok(()));
        }
        let bytes = buffer.get(..n).unwrap_or_default();
        let sent = match to.poll_send(cx, bytes) {
            Poll::Ready(sent) => sent.map_err(|_| Broken::Sink)?,
            Poll::Pending => 0,
        };
        live.moved(self.direction, sent as u64);
        let rest = bytes.get(sent..).filter(|rest| !rest.is_empty());
        self.stash = rest.map(|rest| Stash { bytes: rest.into(), written: 0 });
        self.judge(n >= LARGE);
        Poll::Ready(Ok(()))
    }

    /// Moves bytes from the source into the pipe, which is empty.
    fn poll_fill(
        &mut self,
        cx: &Context<'_>,
        from: &Socket,
        lent: &Lent,
    ) -> Poll<Result<(), Errno>> {
        let Some(pipe) = self.pipe.take().or_else(|| Rc::clone(&lent.pipes).lend()) else {
            self.splicing = false;
            return Poll::Ready(Ok(()));
        };
        let pipe = self.pipe.insert(pipe);
        let Some((entry, capacity)) = pipe.entry() else { return Poll::Ready(Ok(())) };
        let Poll::Ready(n) = from.poll_splice_in(cx, entry, capacity) else {
            // The source pauses: somebody else may need the pipe.
            self.pipe = None;
            return Poll::Pending;
        };
        let n = n?;
        pipe.filled(n);
        self.ended = n == 0;
        self.judge(n < LARGE);
        Poll::Ready(Ok(()))
    }

    /// Changes the way after enough reads in a row that spoke for the other one.
    fn judge(&mut self, against: bool) {
        self.streak = if against { self.streak + 1 } else { 0 };
        if self.streak == STREAK {
            self.streak = 0;
            self.splicing = !self.splicing;
        }
    }
}
