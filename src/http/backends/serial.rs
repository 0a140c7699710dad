//! HTTP/1.1 to a backend: one request after another, driven by the task of the request that it
//! carries.
//!
//! The library tells itself over channels what it has to do next, and each word wakes whoever polls
//! it. Here that is always the task that is being polled already, so these words need no wake-up:
//! the library gets a waker that only takes a note, and is polled again while there is one. Who
//! really has to be woken, by the socket or by the client's body, is told apart from it.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::client::conn::http1;
use hyper::header::UPGRADE;
use hyper::{Request, Response, StatusCode};

use crate::http::backends::lost::{Lost, Unanswered, in_words};
use crate::http::backends::wire::{Notes, Uplink, Wire};
use crate::http::body::Upload;
use crate::http::stream::{Parts, Stream};
use crate::net::Socket;
use crate::session::Tick;
use crate::wire::http1::{LONGEST_HEAD, MOST_FIELDS, doubt};

/// How often the library is polled in a row before others get their turn.
const TURNS: usize = 8;

/// What the library keeps of an answer that nobody takes, and the longest head with it.
const BUFFER: usize = 2 * LONGEST_HEAD;

/// A connection that carries one request at a time.
#[derive(Debug)]
pub(super) struct Serial {
    sender: http1::SendRequest<Uplink>,
    /// `None` once it is over.
    wire: Option<Box<http1::Connection<Wire, Uplink>>>,
    is_over: bool,
    socket: Rc<Socket>,
    notes: Rc<Notes>,
    latch: Arc<Latch>,
    waker: Waker,
    /// When it came to rest.
    pub(super) since: Tick,
    /// When it was opened, in the count of the backend's recalls.
    pub(super) epoch: u32,
}

/// Takes note that somebody was to be woken.
#[derive(Debug, Default)]
struct Latch(AtomicBool);

impl Wake for Latch {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Serial {
    /// Speaks HTTP/1.1 over a connection.
    pub(super) async fn open(
        stream: Stream,
        socket: Rc<Socket>,
        epoch: u32,
    ) -> Result<Self, hyper::Error> {
        let notes = Rc::new(Notes::default());
        let wire = Wire::in_turn(stream, Rc::clone(&notes));
        let mut speaker = http1::Builder::new();
        speaker.max_headers(MOST_FIELDS).max_buf_size(BUFFER);
        let (sender, wire) = speaker.handshake(wire).await?;
        let latch = Arc::new(Latch::default());
        let waker = Waker::from(Arc::clone(&latch));
        let (wire, is_over) = (Some(Box::new(wire)), false);
        Ok(Self { sender, wire, is_over, socket, notes, latch, waker, since: 0, epoch })
    }

    /// Sends a request, and waits for the head of the answer.
    pub(super) async fn send(
        &mut self,
        request: Request<Upload>,
    ) -> Result<Response<Incoming>, Unanswered> {
        let asks = request.headers().contains_key(UPGRADE);
        let notes = Rc::clone(&self.notes);
        let request = request.map(|upload| Uplink { upload, notes });
        let mut answer = pin!(self.sender.try_send_request(request));
        let mut drive = Drive { wire: &mut self.wire, is_over: &mut self.is_over };
        let (notes, latch, waker) = (&self.notes, &self.latch, &self.waker);
        let answered = poll_fn(|cx| {
            notes.wake(cx.waker());
            let own = &mut Context::from_waker(waker);
            for _ in 0..TURNS {
                latch.0.store(false, Ordering::Relaxed);
                drive.poll(own);
                if let Poll::Ready(answered) = answer.as_mut().poll(own) {
                    return Poll::Ready(answered);
                }
                if drive.let_go() {
                    // Whoever waited for an answer hears now that there is none.
                    continue;
                }
                if !latch.0.load(Ordering::Relaxed) {
                    return Poll::Pending;
                }
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        });
        let mut failed = match answered.await {
            Ok(answer) => {
                let Some(flaw) = flaw(&answer, asks) else { return Ok(answer) };
                self.is_over = true;
                return Err(Unanswered { why: Lost::Invalid, request: None, error: flaw.into() });
            }
            Err(failed) => failed,
        };
        let request = failed.take_message().map(|request| request.map(|body| body.upload));
        let error = failed.into_error();
        let why = match &request {
            Some(_) => Lost::Unsent,
            None if self.notes.lacks_upload.get() => Lost::Upload,
            None => Lost::of(&error),
        };
        Err(Unanswered { why, request, error: in_words(&error) })
    }

    /// The next part of the answer's body. What is still to be sent is sent meanwhile.
    pub(super) fn poll_frame(
        &mut self,
        body: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.notes.wake(cx.waker());
        let own = &mut Context::from_waker(&self.waker);
        let mut drive = Drive { wire: &mut self.wire, is_over: &mut self.is_over };
        let mut frame = Pin::new(&mut *body).poll_frame(own);
        for _ in 0..TURNS {
            if frame.is_ready() {
                return frame;
            }
            self.latch.0.store(false, Ordering::Relaxed);
            drive.poll(own);
            frame = Pin::new(&mut *body).poll_frame(own);
            if frame.is_pending() && drive.let_go() {
                // Whoever waits for more of it hears now that there is none.
                frame = Pin::new(&mut *body).poll_frame(own);
            }
            if frame.is_pending() && !self.latch.0.load(Ordering::Relaxed) {
                return Poll::Pending;
            }
        }
        if frame.is_pending() {
            cx.waker().wake_by_ref();
        }
        frame
    }

    fn step(&mut self) {
        let own = &mut Context::from_waker(&self.waker);
        Drive { wire: &mut self.wire, is_over: &mut self.is_over }.poll(own);
    }

    /// True if it can carry another request. Nobody waits for it from here on.
    pub(super) fn rest(&mut self, now: Tick) -> bool {
        self.notes.rest();
        self.socket.let_rest();
        self.since = now;
        self.is_free()
    }

    /// True if it can carry another request, as far as that is known without asking the kernel.
    pub(super) fn is_free(&mut self) -> bool {
        if self.is_over || self.notes.is_deaf.get() {
            return false;
        }
        // Whatever has come, nobody has asked for; the library looks what it is.
        if !self.sender.is_ready() || self.notes.holds.get() || !self.socket.is_quiet() {
            self.step();
        }
        !self.is_over
            && self.sender.is_ready()
            && !self.notes.holds.get()
            && !self.socket.has_failed()
    }

    /// As [`is_free`](Self::is_free), and the kernel knows nothing to the contrary.
    pub(super) fn is_free_now(&mut self) -> bool {
        self.is_free() && self.socket.is_quiet_now()
    }

    /// What it is made of, for another protocol.
    pub(super) fn take_parts(&mut self) -> Option<Parts> {
        self.is_over = true;
        let http1::Parts { io, read_buf, .. } = self.wire.take()?.into_parts();
        let mut parts = io.into_parts();
        parts.ahead.splice(..0, read_buf);
        Some(parts)
    }
}

/// Why an answer is refused: it might end elsewhere for somebody else, or speaks another protocol
/// although the request did not ask (`asks`) for one. Its connection is not used again.
fn flaw(answer: &Response<Incoming>, asks: bool) -> Option<&'static str> {
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS && !asks {
        return Some("another protocol that nobody has asked for");
    }
    doubt(answer.version(), answer.status(), answer.headers())
}

/// The library's part of a connection.
struct Drive<'a> {
    wire: &'a mut Option<Box<http1::Connection<Wire, Uplink>>>,
    is_over: &'a mut bool,
}

impl Drive<'_> {
    fn poll(&mut self, own: &mut Context<'_>) {
        if let Some(wire) = self.wire.as_mut().filter(|_| !*self.is_over) {
            *self.is_over = Pin::new(&mut **wire).poll(own).is_ready();
        }
    }

    /// Lets go of a connection that is over. True if that was not done before.
    fn let_go(&mut self) -> bool {
        *self.is_over && self.wire.take().is_some()
    }
}
