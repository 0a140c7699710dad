//! HTTP/1: one request after the other over one connection, all of it in one task.
//!
//! The library drives the protocol while something goes on; between requests there is only a socket.
//! What the client may take how long for is seen from outside of the library, by what it asks of the
//! stream.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper::{Response, StatusCode};

use crate::http::account;
use crate::http::connection::exchange::{self, Progress, Verdict};
use crate::http::connection::input::{Input, Pulse};
use crate::http::connection::{Connection, HALF_CLOSED, LAST_CALL, left, parting};
use crate::http::stream::Stream;
use crate::net::Socket;
use crate::outcome::{Abuse, Outcome, Rejection};
use crate::session::Alarm;
use crate::wire::http1::{LONGEST_HEAD, Stage};

/// Nothing for so long, and the library's buffers are given back.
const PARK: Duration = Duration::from_secs(1);
/// What the library buffers each way: more than a head, so that it is never the one to refuse it.
const BUFFER: usize = 2 * LONGEST_HEAD;

/// Serves the connection to its end.
pub(super) async fn serve(stream: Stream, socket: Rc<Socket>, on: Rc<Connection>, since: Instant) {
    let alarm = Alarm::new(on.tools.sessions.clock());
    let pulse = Rc::<Pulse>::default();
    let mut input = Input::new(stream, Rc::clone(&pulse));
    let (first, phase, is_parked, close) = (Some(since), Phase::Waiting, false, None);
    let mut watch = Watch { on, pulse, alarm, socket, first, phase, is_parked, close };
    loop {
        if let Err(end) = watch.wait(&input).await {
            return watch.finish(input, end).await;
        }
        match watch.converse(input).await {
            (Some(back), End::Parked) => input = back,
            (Some(back), end) => return watch.finish(back, end).await,
            (None, _) => return,
        }
    }
}

/// What goes on, as far as time limits are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing, between requests.
    Waiting,
    /// A head comes.
    Head,
    /// A body is wanted.
    Reading,
    /// An answer is not taken.
    Writing,
    /// A backend is waited for, or everything flows.
    Working,
    /// The client has ended its side, and may be gone.
    HalfClosed,
}

/// How a conversation ends.
#[derive(Debug)]
enum End {
    /// Not at all; there is just nothing to do.
    Parked,
    /// The library is done: all that could be answered has been.
    Done,
    /// An answer was cut, or could not be sent.
    Broken,
    /// Between requests.
    Quiet,
    /// Nothing was ever said.
    Silent,
    /// A head did not come to its end.
    SlowHead,
    /// In the middle of a request.
    Cut(Outcome),
}

/// What follows from a look.
#[derive(Debug)]
enum Look {
    /// Nothing.
    Wait,
    /// The library gets another turn.
    Again,
    /// The library is told that the connection ends with the requests that it has.
    Close,
    End(End),
}

/// Whoever stands beside the library and sees to it that nothing takes for ever.
struct Watch {
    on: Rc<Connection>,
    pulse: Rc<Pulse>,
    alarm: Alarm,
    socket: Rc<Socket>,
    /// No request has come; since when its head is waited for.
    first: Option<Instant>,
    phase: Phase,
    /// The library's buffers have been given back.
    is_parked: bool,
    /// We stop.
    close: Option<Close>,
}

/// What has been done about our stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Close {
    /// The client may still send its first request.
    LastCall,
    /// The library was told.
    Told,
}

impl Watch {
    /// Waits between requests until something comes.
    async fn wait(&mut self, input: &Input) -> Result<(), End> {
        if !input.is_empty() {
            return Ok(());
        }
        self.phase = Phase::Waiting;
        self.alarm.set(self.limit());
        poll_fn(|cx| {
            if input.poll_readable(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            if self.on.is_closing() && !self.may_still_ask() {
                return Poll::Ready(Err(End::Quiet));
            }
            self.alarm.poll(cx).map(|()| Err(self.late()))
        })
        .await
    }

    /// Has the library serve requests until there is none for a while, or never will be.
    async fn converse(&mut self, input: Input) -> (Option<Input>, End) {
        self.is_parked = false;
        let (on, pulse) = (Rc::clone(&self.on), Rc::clone(&self.pulse));
        let service = service_fn(move |request| {
            let answer = exchange::serve(request, Rc::clone(&on), Rc::clone(&pulse.exchange));
            told_of_the_end(answer, Rc::clone(&on))
        });
        let mut library = Builder::new();
        library.half_close(true).max_buf_size(BUFFER);
        let mut talk = library.serve_connection(input, service);
        let end = poll_fn(|cx| {
            loop {
                self.pulse.begin_turn();
                if let Poll::Ready(done) = Pin::new(&mut talk).poll(cx) {
                    return Poll::Ready(self.done(done));
                }
                match self.look(cx) {
                    Look::Wait => return Poll::Pending,
                    Look::Again => {}
                    Look::Close => Pin::new(&mut talk).graceful_shutdown(),
                    Look::End(end) => return Poll::Ready(end),
                }
            }
        })
        .await;
        if let End::Cut(outcome) = end {
            self.on.ends_by(outcome);
        }
        let parts = talk.into_parts();
        let takeover = self.on.takeover.take();
        let Some(takeover) = takeover.filter(|_| matches!(end, End::Done)) else {
            return (Some(parts.io), end);
        };
        let mut input = parts.io;
        if input.stream().flush().await.is_ok() {
            takeover(input.into_parts(&parts.read_buf)).await;
        }
        (None, end)
    }

    fn done(&self, done: Result<(), hyper::Error>) -> End {
        match done {
            Ok(()) => End::Done,
            Err(why) => {
                tracing::debug!(client = %self.on.client, %why, "a connection has failed");
                End::Broken
            }
        }
    }

    /// Looks at what has become of the connection in the library's turn.
    fn look(&mut self, cx: &Context<'_>) -> Look {
        let has_begun = self.pulse.exchange.take_begun();
        if has_begun {
            self.first = None;
        }
        let (has_moved, mut phase) = (self.pulse.take_moved(), self.present());
        if self.is_asked() && self.socket.poll_hangup(cx).is_ready() {
            if self.socket.has_failed() {
                return Look::End(End::Cut(Outcome::ClientReset));
            }
            phase = Phase::HalfClosed;
        }
        if has_begun || phase != self.phase || (has_moved && phase.is_renewed()) {
            self.phase = phase;
            self.alarm.set(self.limit());
        }
        if self.on.is_closing() && self.close != Some(Close::Told) && !self.may_still_ask() {
            self.close = Some(Close::Told);
            return Look::Close;
        }
        if self.alarm.poll(cx).is_pending() { Look::Wait } else { self.overdue() }
    }

    /// True if a request is on its way.
    fn is_asked(&self) -> bool {
        self.pulse.exchange.progress() != Progress::None
    }

    fn present(&self) -> Phase {
        let (stage, is_asked) = (self.pulse.stage(), self.is_asked());
        if self.pulse.is_stuck() {
            Phase::Writing
        } else if is_asked {
            let is_wanting = stage == Stage::Body && self.pulse.is_wanting();
            if is_wanting { Phase::Reading } else { Phase::Working }
        } else if stage == Stage::Head {
            Phase::Head
        } else {
            Phase::Waiting
        }
    }

    /// How long it may stay as it is.
    fn limit(&self) -> Option<Duration> {
        let (idle, head) = (self.on.proxy.idle_timeout, self.on.proxy.rules.header_timeout);
        match (self.phase, self.first) {
            (Phase::Waiting, Some(since)) if self.close.is_some() => {
                Some(left(head, since).min(LAST_CALL))
            }
            (Phase::Waiting | Phase::Head, Some(since)) => Some(left(head, since)),
            (Phase::Head, None) => Some(head),
            (Phase::Waiting, None) if self.is_parked => idle.map(|idle| idle.saturating_sub(PARK)),
            (Phase::Waiting, None) => Some(idle.map_or(PARK, |idle| idle.min(PARK))),
            (Phase::Reading | Phase::Writing, _) => idle,
            (Phase::HalfClosed, _) => Some(HALF_CLOSED),
            (Phase::Working, _) => None,
        }
    }

    /// At a stop: true if the client has begun to ask, or has just come and may do so for a moment; or
    /// if there is no haste.
    fn may_still_ask(&mut self) -> bool {
        match (self.phase, self.first) {
            (Phase::Waiting, _) if !self.on.is_hasty() => true,
            (Phase::Head, _) => true,
            (Phase::Waiting, Some(_)) => {
                if self.close.is_none() {
                    self.close = Some(Close::LastCall);
                    self.alarm.set(self.limit());
                }
                true
            }
            _ => false,
        }
    }

    /// The time is over between requests.
    fn late(&self) -> End {
        let is_silent = self.first.is_some() && self.close.is_none() && !self.on.is_over();
        if is_silent { End::Silent } else { End::Quiet }
    }

    /// The time is over, whatever for.
    fn overdue(&mut self) -> Look {
        if self.on.is_over() {
            let end = if self.is_asked() { End::Cut(Outcome::Shutdown) } else { End::Quiet };
            return Look::End(end);
        }
        Look::End(match self.phase {
            Phase::Waiting if self.first.is_some() => self.late(),
            Phase::Waiting if self.on.proxy.idle_timeout.is_some_and(|idle| idle <= PARK) => {
                End::Quiet
            }
            Phase::Waiting => {
                self.is_parked = true;
                End::Parked
            }
            Phase::Head => End::SlowHead,
            Phase::Reading => {
                self.on.figures().abuse(Abuse::SlowBody);
                if self.pulse.exchange.progress() == Progress::Asked {
                    let (status, outcome) = (StatusCode::REQUEST_TIMEOUT, Outcome::Idle);
                    self.pulse.exchange.judge(Verdict { status, outcome });
                    return Look::Again;
                }
                End::Cut(Outcome::Idle)
            }
            Phase::Writing => {
                self.on.figures().abuse(Abuse::SlowRead);
                End::Cut(Outcome::Idle)
            }
            Phase::HalfClosed => End::Cut(Outcome::ClientReset),
            Phase::Working => return Look::Wait,
        })
    }

    /// Ends the connection.
    async fn finish(self, mut input: Input, end: End) {
        let (on, stream) = (&self.on, input.stream());
        let refusal = self.pulse.refusal();
        if let Some(kind) = refusal.and_then(|refusal| Abuse::of(refusal.kind)) {
            on.figures().abuse(kind);
        }
        match end {
            End::Done => match refusal.filter(|_| self.pulse.stage() != Stage::Body) {
                Some(refusal) => {
                    let status = StatusCode::from_u16(refusal.status);
                    let status = status.unwrap_or(StatusCode::BAD_REQUEST);
                    tracing::debug!(client = %on.client, why = refusal.why, "a request is refused");
                    account::unread(on, Some(status), Rejection::BadRequest);
                    parting::tell(on, stream, status).await;
                }
                None => parting::part(on, stream).await,
            },
            End::Quiet | End::Parked => parting::part(on, stream).await,
            End::Silent => parting::unsaid(on, stream, parting::Unsaid::Silent).await,
            End::SlowHead => parting::too_slow(on, stream, self.first.is_some()).await,
            End::Broken | End::Cut(_) => self.socket.reset_on_close(),
        }
    }
}

/// An answer that is the last one here says so, also if it is ready at once.
async fn told_of_the_end<B, E>(
    answer: impl Future<Output = Result<Response<B>, E>>,
    on: Rc<Connection>,
) -> Result<Response<B>, E> {
    let mut answer = answer.await?;
    if on.is_closing() && answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(answer)
}

impl Phase {
    /// True if its time begins anew with every byte.
    fn is_renewed(self) -> bool {
        matches!(self, Self::Reading | Self::Writing | Self::HalfClosed)
    }
}
