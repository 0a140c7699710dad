//! The body of a request on its way to a backend: handed on as it comes, and kept as long as it may
//! have to be sent again.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::body::{Body, Frame, SizeHint};

use crate::http::body::Inflow;
use crate::http::session::Session;
use crate::session::Direction;

/// Why a body does not come to its end.
#[derive(Debug)]
pub(super) enum Broken {
    /// Its client has left, or breaks the protocol.
    Client(hyper::Error),
    /// It is longer than it may be.
    TooLong,
    /// The request goes another way, or has had its answer.
    GivenUp,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(why) => why.fmt(f),
            Self::TooLong => f.write_str("the body is too long"),
            Self::GivenUp => f.write_str("nobody waits for the body any more"),
        }
    }
}

impl std::error::Error for Broken {}

/// Whose fault it is that a body did not come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// It broke off, or broke the protocol.
    Client,
    /// It went on beyond what is allowed.
    TooLong,
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waits {
    /// For more of the body.
    Client,
    /// For the backend to take more of it, or to answer.
    Backend,
}

/// The body of a request, over all attempts.
pub(super) struct Source {
    body: RefCell<Inflow>,
    /// What was read from the client, as long as all of it is.
    kept: RefCell<Kept>,
    hint: SizeHint,
    most: u64,
    read: Cell<u64>,
    ended: Cell<bool>,
    fault: Cell<Option<Fault>>,
    waits: Cell<Waits>,
    /// When the client last sent something.
    moved: Cell<Instant>,
    /// Of the attempt that may read.
    turn: Cell<u32>,
    /// What the bytes are counted on.
    session: RefCell<Weak<Session>>,
    /// The task that reads.
    reader: RefCell<Option<Waker>>,
}

#[derive(Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    trailers: Option<HeaderMap>,
    /// `None` = more has come than is kept.
    room: Option<usize>,
}

impl Source {
    /// A body of which up to `room` bytes are kept, and that may have `most` bytes.
    pub(super) fn new(body: Inflow, room: Option<usize>, most: Option<u64>) -> Rc<Self> {
        let hint = body.size_hint();
        let kept = Kept { room, ..Kept::default() };
        Rc::new(Self {
            body: RefCell::new(body),
            kept: RefCell::new(kept),
            hint,
            most: most.unwrap_or(u64::MAX),
            read: Cell::new(0),
            ended: Cell::new(false),
            fault: Cell::new(None),
            waits: Cell::new(Waits::Backend),
            moved: Cell::new(Instant::now()),
            turn: Cell::new(0),
            session: RefCell::default(),
            reader: RefCell::new(None),
        })
    }

    /// Begins it from its first byte; what is under way ends.
    pub(super) fn begin(self: &Rc<Self>) -> Upload {
        self.give_up();
        let (source, turn) = (Rc::clone(self), self.turn.get());
        Upload(Some(Turn { source, turn, stage: Stage::Kept }))
    }

    /// Bytes that go to the backend are counted here from now on.
    pub(super) fn count_on(&self, session: &Rc<Session>) {
        self.session.replace(Rc::downgrade(session));
    }

    /// Nobody reads it any more.
    pub(super) fn give_up(&self) {
        self.turn.set(self.turn.get() + 1);
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// True if it can be sent from its first byte again.
    pub(super) fn is_whole(&self) -> bool {
        self.read.get() == 0 || self.kept.borrow().room.is_some()
    }

    /// True once the last of it was handed on.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.get()
    }

    /// Whose fault it is that it will not come to its end, if it will not.
    pub(super) fn fault(&self) -> Option<Fault> {
        self.fault.get()
    }

    /// Who is waited for, and for how long already.
    pub(super) fn waits(&self) -> (Waits, Duration) {
        (self.waits.get(), self.moved.get().elapsed())
    }

    fn read_by(&self, cx: &Context<'_>) {
        let mut reader = self.reader.borrow_mut();
        if !reader.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *reader = Some(cx.waker().clone());
        }
    }

    /// The next of it that nobody has read.
    fn poll_fresh(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let frame = Pin::new(&mut *self.body.borrow_mut()).poll_frame(cx);
        let Poll::Ready(frame) = frame else {
            self.waits.set(Waits::Client);
            return Poll::Pending;
        };
        self.waits.set(Waits::Backend);
        self.moved.set(Instant::now());
        match &frame {
            None => self.ended.set(true),
            Some(Err(_)) => self.fault.set(Some(Fault::Client)),
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                self.read.set(self.read.get() + length as u64);
                if self.read.get() > self.most {
                    self.fault.set(Some(Fault::TooLong));
                    return Poll::Ready(Some(Err(Broken::TooLong)));
                }
                self.kept.borrow_mut().keep(frame);
                self.ended.set(frame.is_trailers() || self.body.borrow().is_end_stream());
            }
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Broken::Client)))
    }
}

impl Kept {
    fn keep(&mut self, frame: &Frame<Bytes>) {
        let Some(room) = self.room else { return };
        if let Some(trailers) = frame.trailers_ref() {
            self.trailers = Some(trailers.clone());
        }
        let Some(data) = frame.data_ref() else { return };
        self.room = room.checked_sub(data.len());
        if self.room.is_some() {
            self.bytes.extend_from_slice(data);
        } else {
            self.bytes = Vec::new();
        }
    }
}

/// What one attempt sends to its backend.
pub(super) struct Upload(Option<Turn>);

struct Turn {
    source: Rc<Source>,
    turn: u32,
    stage: Stage,
}

/// What of a body comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// What an attempt before has read.
    Kept,
    /// What stood at its end.
    Trailers,
    /// What nobody has read.
    Fresh,
    Over,
}

impl Upload {
    /// No body.
    pub(super) fn none() -> Self {
        Self(None)
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("some", &self.0.is_some()).finish()
    }
}

impl Turn {
    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let source = Rc::clone(&self.source);
        if self.turn != source.turn.get() {
            return Poll::Ready(Some(Err(Broken::GivenUp)));
        }
        let kept = if self.stage == Stage::Fresh { None } else { self.again() };
        let frame = match (kept, self.stage) {
            (Some(frame), _) => Some(Ok(frame)),
            (None, Stage::Over) => None,
            (None, _) => {
                source.read_by(cx);
                let frame = ready!(source.poll_fresh(cx));
                if source.ended.get() {
                    self.stage = Stage::Over;
                }
                frame
            }
        };
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
            && let Some(session) = source.session.borrow().upgrade()
        {
            session.moved(Direction::In, data.len());
        }
        Poll::Ready(frame)
    }

    /// The next of what was read before: all bytes at once, then what came behind them.
    fn again(&mut self) -> Option<Frame<Bytes>> {
        let (kept, ended) = (self.source.kept.borrow(), self.source.ended.get());
        let after = |stage| if ended { Stage::Over } else { stage };
        match self.stage {
            Stage::Kept if !kept.bytes.is_empty() => {
                let is_all = kept.trailers.is_none();
                self.stage = if is_all { after(Stage::Fresh) } else { Stage::Trailers };
                Some(Frame::data(Bytes::copy_from_slice(&kept.bytes)))
            }
            Stage::Kept | Stage::Trailers => {
                self.stage = after(Stage::Fresh);
                kept.trailers.clone().map(Frame::trailers)
            }
            Stage::Fresh | Stage::Over => None,
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        self.0.as_mut().map_or(Poll::Ready(None), |turn| turn.poll_frame(cx))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|turn| turn.stage == Stage::Over)
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), |turn| turn.source.hint)
    }
}
