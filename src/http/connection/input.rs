//! What a client says in HTTP/1, past the screen: the library behind it sees whole heads that have one
//! meaning, and of what is refused nothing.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use hyper::StatusCode;
use hyper::rt::{Read, ReadBufCursor, Write};

use crate::http::connection::exchange::{Exchange, Progress, Verdict};
use crate::http::stream::{Backlog, Parts, Stream, put};
use crate::outcome::Outcome;
use crate::wire::http1::{Refusal, Screen, Stage};

/// What is known of a connection of HTTP/1 outside of the library that drives it.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    /// The request that is on its way.
    pub(super) exchange: Rc<Exchange>,
    stage: Cell<Option<Stage>>,
    /// What the client is told when all before it has been answered.
    refusal: Cell<Option<Refusal>>,
    /// Bytes came or went since the last look.
    has_moved: Cell<bool>,
    /// More was asked of the client, and nothing was there.
    is_wanting: Cell<bool>,
    /// The client took nothing.
    is_stuck: Cell<bool>,
}

impl Pulse {
    /// Where the client is in what it says.
    pub(super) fn stage(&self) -> Stage {
        self.stage.get().unwrap_or(Stage::Idle)
    }

    /// Why the client is not listened to any longer.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.refusal.get()
    }

    /// True if bytes came or went since the last call.
    pub(super) fn take_moved(&self) -> bool {
        self.has_moved.replace(false)
    }

    /// True if the last turn asked for more than there was.
    pub(super) fn is_wanting(&self) -> bool {
        self.is_wanting.get()
    }

    /// True if the last turn could not write all of what it had.
    pub(super) fn is_stuck(&self) -> bool {
        self.is_stuck.get()
    }

    /// The library gets a turn.
    pub(super) fn begin_turn(&self) {
        self.is_wanting.set(false);
        self.is_stuck.set(false);
    }
}

/// A client's connection as the library sees it.
#[derive(Debug)]
pub(super) struct Input {
    stream: Stream,
    sieve: Sieve,
}

/// The screen, and what it holds back.
#[derive(Debug)]
struct Sieve {
    screen: Screen,
    /// What has come and may not be handed on yet.
    withheld: Vec<u8>,
    /// What may be, and did not fit.
    passed: Backlog,
    /// Another protocol was asked for, now or before.
    has_asked: bool,
    pulse: Rc<Pulse>,
}

impl Input {
    pub(super) fn new(stream: Stream, pulse: Rc<Pulse>) -> Self {
        let (withheld, passed) = (Vec::new(), Backlog::default());
        let screen = Screen::default();
        Self { stream, sieve: Sieve { screen, withheld, passed, has_asked: false, pulse } }
    }

    /// Ready if there is something to hand on, or a read would not have to wait.
    pub(super) fn poll_readable(&self, cx: &Context<'_>) -> Poll<()> {
        if self.sieve.passed.is_empty() { self.stream.poll_readable(cx) } else { Poll::Ready(()) }
    }

    /// True if nothing has come that is not handed on.
    pub(super) fn is_empty(&self) -> bool {
        let Sieve { withheld, passed, .. } = &self.sieve;
        withheld.is_empty() && passed.is_empty() && self.stream.ahead().is_empty()
    }

    /// The connection without the screen; `read` are bytes that the library has read and not used.
    pub(super) fn into_parts(self, read: &[u8]) -> Parts {
        let mut parts = self.stream.into_parts();
        let before = [read, self.sieve.passed.rest(), &self.sieve.withheld].concat();
        parts.ahead = [before, parts.ahead].concat();
        parts
    }

    /// What is under it.
    pub(super) fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }
}

impl Sieve {
    /// Looks at `fresh` bytes, and hands on what may be handed on.
    fn look(&mut self, fresh: &[u8], room: &mut ReadBufCursor<'_>) {
        let Self { screen, withheld, passed, has_asked, pulse } = self;
        let mut judge = |bytes: &[u8]| match screen.pass(bytes) {
            Ok(good) => good,
            Err((good, refusal)) => {
                pulse.refusal.set(Some(refusal));
                good
            }
        };
        if withheld.is_empty() {
            let good = judge(fresh);
            let (good, doubtful) = fresh.split_at_checked(good).unwrap_or((fresh, &[]));
            let given = put(good, room);
            if let Some(rest) = good.get(given..).filter(|rest| !rest.is_empty()) {
                passed.extend(rest);
            }
            withheld.extend_from_slice(doubtful);
        } else {
            withheld.extend_from_slice(fresh);
            let good = judge(withheld).min(withheld.len());
            passed.extend(withheld.get(..good).unwrap_or_default());
            withheld.drain(..good);
            passed.give(room);
            if withheld.is_empty() {
                *withheld = Vec::new();
            }
        }
        *has_asked |= screen.stage() == Stage::Upgrade;
        pulse.stage.set(Some(screen.stage()));
        pulse.has_moved.set(true);
    }

    /// What the library sees where the client is refused: in a body it is broken off; before a request
    /// the client seems to have ended, so that those before it are answered first.
    fn refuse(&self, refusal: Refusal) -> io::Result<()> {
        if self.screen.stage() != Stage::Body {
            return Ok(());
        }
        let exchange = &self.pulse.exchange;
        if exchange.progress() == Progress::Asked {
            let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::BAD_REQUEST);
            exchange.judge(Verdict { status, outcome: Outcome::ClientReset });
        }
        Err(io::Error::new(io::ErrorKind::InvalidData, refusal.why))
    }

    /// The library reads on behind a request that asked for another protocol, so it did not get it.
    fn go_on(&mut self, room: &mut ReadBufCursor<'_>) {
        self.screen.refused();
        let withheld = std::mem::take(&mut self.withheld);
        self.look(&withheld, room);
    }
}

impl Read for Input {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut room: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, sieve } = &mut *self;
        let before = room.remaining();
        sieve.passed.give(&mut room);
        match sieve.screen.stage() {
            Stage::Upgrade => sieve.go_on(&mut room),
            // Whatever follows, it is for nobody.
            Stage::Last => return Poll::Ready(Ok(())),
            _ => {}
        }
        while room.remaining() == before {
            if let Some(refusal) = sieve.pulse.refusal() {
                return Poll::Ready(sieve.refuse(refusal));
            }
            let read = stream.poll_take(cx, before, |payload| {
                sieve.look(payload, &mut room);
                payload.len()
            });
            match read {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(end) => return Poll::Ready(end.map(drop)),
                Poll::Pending => {
                    sieve.pulse.is_wanting.set(true);
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Input {
    /// Takes note of what became of a write.
    fn written<T>(&self, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let pulse = &self.sieve.pulse;
        match written {
            Poll::Pending => pulse.is_stuck.set(true),
            Poll::Ready(_) => pulse.has_moved.set(true),
        }
        written
    }
}

impl Write for Input {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let exchange = &self.sieve.pulse.exchange;
        let written = if self.sieve.has_asked && exchange.progress() == Progress::None {
            // Where another protocol was asked for, the library ends without a flush.
            Poll::Ready(self.stream.write_all(cx, bytes).map(|()| bytes.len()))
        } else {
            Pin::new(&mut self.stream).poll_write(cx, bytes)
        };
        self.written(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if flushed.is_pending() {
            self.sieve.pulse.is_stuck.set(true);
        }
        flushed
    }

    /// The library is done; how the connection ends is decided behind it.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}
