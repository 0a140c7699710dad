//! HTTP/2: many requests at a time over one connection, each in a task of its own.

use std::cell::Cell;
use std::error::Error;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;

use crate::http::account;
use crate::http::connection::streams::Streams;
use crate::http::connection::{Connection, LAST_CALL, exchange, left, parting};
use crate::http::stream::{Stream, put};
use crate::net::Socket;
use crate::outcome::{Abuse, Outcome, Rejection};
use crate::session::{Alarm, Clock};
use crate::wire::http1::LONGEST_HEAD;
use crate::wire::http2::{Flood, GO_AWAY, Meter};

/// How much of a request body may be on its way on one stream, and on all of a connection.
const WINDOWS: (u32, u32) = (256 * 1024, 1024 * 1024);
/// How much of an answer is buffered for a client that does not take it.
const SEND_BUFFER: usize = 64 * 1024;
/// Streams that the client has reset and nobody has looked at yet, and errors of the client's that are
/// answered by a reset: beyond them the connection ends. The meter, which counts, comes before them.
const RESETS: (usize, usize) = (128, 128);
/// How long a client may take to see that a connection ends on which nothing goes on.
const GOODBYE: Duration = Duration::from_secs(2);
/// How often in `idle_timeout` it is looked whether something stands still.
const LOOKS: u32 = 4;

/// Serves the connection to its end.
pub(super) async fn serve(stream: Stream, socket: Rc<Socket>, on: Rc<Connection>, since: Instant) {
    let streams = Streams::new(&on);
    let pulse = Rc::<Pulse>::default();
    let clock = Rc::clone(on.tools.sessions.clock());
    let wire = Wire { stream, meter: Meter::default(), clock, pulse: Rc::clone(&pulse) };
    let alarm = Alarm::new(on.tools.sessions.clock());
    let (first, phase, is_ending) = (Some(since), Phase::Waiting, false);
    let mut watch = Watch { on: Rc::clone(&on), streams, pulse, alarm, first, phase, is_ending };
    watch.alarm.set(watch.limit());
    let end = watch.converse(wire).await;
    let outcome = if let End::Cut(outcome) = end { outcome } else { Outcome::ClientReset };
    watch.streams.end_all(outcome);
    poll_fn(|cx| watch.streams.poll_empty(cx)).await;
    match end {
        End::Done => parting::part_from(&on, &socket).await,
        End::Late => {}
        End::Cut(_) => socket.reset_on_close(),
    }
}

/// How a connection ends.
#[derive(Debug)]
enum End {
    /// Both sides have said so, or one has broken the protocol and has been told.
    Done,
    /// The client does not answer our goodbye.
    Late,
    /// In the middle of requests.
    Cut(Outcome),
}

/// What goes on, as far as time limits are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// No request is there.
    Waiting,
    /// Some are.
    Working,
    /// The client takes nothing at all.
    Stuck,
}

/// Whoever stands beside the library and sees to it that nothing takes for ever.
struct Watch {
    on: Rc<Connection>,
    streams: Streams,
    pulse: Rc<Pulse>,
    alarm: Alarm,
    /// No request has come; since when one is waited for.
    first: Option<Instant>,
    phase: Phase,
    /// The client has been told that the connection ends with the requests that are there.
    is_ending: bool,
}

/// What follows from a look.
enum Look {
    Wait,
    /// The client is told that the connection ends.
    Close,
    End(End),
}

impl Watch {
    async fn converse(&mut self, wire: Wire) -> End {
        let (on, streams) = (Rc::clone(&self.on), self.streams.clone());
        let service =
            service_fn(move |request| exchange::serve(request, Rc::clone(&on), streams.begin()));
        let mut library = Builder::new(self.streams.clone());
        library
            .max_concurrent_streams(self.on.proxy.rules.max_streams)
            .max_header_list_size(LONGEST_HEAD as u32)
            .initial_stream_window_size(WINDOWS.0)
            .initial_connection_window_size(WINDOWS.1)
            .max_send_buf_size(SEND_BUFFER)
            .max_pending_accept_reset_streams(RESETS.0)
            .max_local_error_reset_streams(RESETS.1)
            .enable_connect_protocol();
        let mut talk = Box::pin(library.serve_connection(wire, service));
        poll_fn(|cx| {
            loop {
                self.pulse.is_stuck.set(false);
                if let Poll::Ready(done) = talk.as_mut().poll(cx) {
                    return Poll::Ready(self.done(done));
                }
                match self.look(cx) {
                    Look::Wait => return Poll::Pending,
                    Look::Close => talk.as_mut().graceful_shutdown(),
                    Look::End(end) => return Poll::Ready(end),
                }
            }
        })
        .await
    }

    fn done(&self, done: Result<(), hyper::Error>) -> End {
        if let Err(why) = done {
            let library = why.source().and_then(|why| why.downcast_ref::<h2::Error>());
            let flood = self.pulse.flood.get().and_then(|flood| Abuse::of(flood.as_str()));
            let is_theirs = library.is_some_and(|why| why.is_library() && why.is_go_away());
            if let Some(kind) = flood.or_else(|| is_theirs.then_some(Abuse::Protocol)) {
                self.on.figures().abuse(kind);
            }
            tracing::debug!(client = %self.on.client, %why, "a connection has failed");
        }
        End::Done
    }

    fn look(&mut self, cx: &Context<'_>) -> Look {
        let has_begun = self.streams.take_begun();
        if has_begun {
            self.first = None;
        }
        self.pulse.answered.set(self.pulse.answered.get() + self.streams.take_answered());
        self.pulse.given.set(self.pulse.given.get() + self.on.given.replace(0));
        let has_moved = self.pulse.has_moved.replace(false);
        let phase = match (self.pulse.is_stuck.get(), self.streams.is_empty()) {
            (true, _) => Phase::Stuck,
            (false, true) => Phase::Waiting,
            (false, false) => Phase::Working,
        };
        let has_changed = phase != self.phase || (has_begun && phase == Phase::Waiting);
        if has_changed || (has_moved && phase == Phase::Stuck) {
            self.phase = phase;
            self.alarm.set(self.limit());
        }
        if self.on.is_closing() && !self.is_ending {
            return self.close();
        }
        if self.alarm.poll(cx).is_pending() { Look::Wait } else { self.overdue() }
    }

    fn close(&mut self) -> Look {
        self.is_ending = true;
        self.alarm.set(self.limit());
        Look::Close
    }

    fn limit(&self) -> Option<Duration> {
        let idle = self.on.proxy.idle_timeout;
        match (self.phase, self.first) {
            (Phase::Waiting, Some(_)) if self.is_ending => Some(LAST_CALL),
            (Phase::Waiting, None) if self.is_ending => Some(GOODBYE),
            (Phase::Waiting, Some(since)) => Some(left(self.on.proxy.rules.header_timeout, since)),
            (Phase::Waiting, None) | (Phase::Stuck, _) => idle,
            (Phase::Working, _) => idle.map(|idle| idle / LOOKS),
        }
    }

    fn overdue(&mut self) -> Look {
        if self.on.is_over() {
            return Look::End(End::Cut(Outcome::Shutdown));
        }
        match self.phase {
            Phase::Waiting if self.is_ending => Look::End(End::Late),
            Phase::Waiting => {
                if self.first.take().is_some() {
                    account::unread(&self.on, None, Rejection::HandshakeTimeout);
                }
                self.close()
            }
            Phase::Working => {
                // The first look may have come right behind what moved last.
                self.streams.end_stalled(LOOKS + 1);
                self.alarm.set(self.limit());
                Look::Wait
            }
            Phase::Stuck => {
                self.on.figures().abuse(Abuse::SlowRead);
                Look::End(End::Cut(Outcome::Idle))
            }
        }
    }
}

/// What is known of a connection of HTTP/2 outside of the library that drives it.
#[derive(Debug, Default)]
struct Pulse {
    /// The client took nothing.
    is_stuck: Cell<bool>,
    /// It took something since the last look.
    has_moved: Cell<bool>,
    /// Requests that were answered since the last read.
    answered: Cell<u32>,
    /// Bytes of answers since then: what else is sent, the client has caused.
    given: Cell<usize>,
    /// What there was too much of.
    flood: Cell<Option<Flood>>,
}

/// A client's connection as the library sees it, past the meter.
struct Wire {
    stream: Stream,
    meter: Meter,
    clock: Rc<Clock>,
    pulse: Rc<Pulse>,
}

impl Wire {
    /// Takes note of what became of a write.
    fn written(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Pending => self.pulse.is_stuck.set(true),
            Poll::Ready(_) => self.pulse.has_moved.set(true),
        }
        written
    }
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut room: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, meter, clock, pulse } = &mut *self;
        for _ in 0..pulse.answered.replace(0) {
            meter.answered();
        }
        meter.sent(pulse.given.replace(0));
        let mut flood = None;
        let read = stream.poll_take(cx, room.remaining(), |payload| {
            let given = put(payload, &mut room);
            let given = payload.get(..given).unwrap_or_default();
            flood = meter.pass(given, clock.now()).err();
            given.len()
        });
        if let Some(flood) = flood {
            pulse.flood.set(Some(flood));
            // Where a frame is half sent already, it only makes the end a less polite one.
            stream.write_all(cx, &GO_AWAY)?;
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::QuotaExceeded, flood.as_str())));
        }
        read.map_ok(drop)
    }
}

impl Write for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.written(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, pieces);
        self.written(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if flushed.is_pending() {
            self.pulse.is_stuck.set(true);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
