//! What lies under the library on the way to a backend: a stream, and what a link must know of it.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::rt::{Read, ReadBufCursor, Write};

use crate::http::body::Upload;
use crate::http::stream::{Parts, Stream};

/// What a link and the wire under it tell each other.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// Who is woken when there is something to do, in place of whom the library names.
    waker: RefCell<Option<Waker>>,
    /// Payload has been read that the library has not taken.
    pub(super) holds: Cell<bool>,
    /// The backend takes nothing more. What is written is lost, and what it has said before counts.
    pub(super) is_deaf: Cell<bool>,
    /// What was to be sent could not be had.
    pub(super) lacks_upload: Cell<bool>,
    /// Rises with each read that brought something.
    pub(super) heard: Cell<u32>,
}

impl Notes {
    /// From now on this task is woken.
    pub(super) fn wake(&self, task: &Waker) {
        let mut waker = self.waker.borrow_mut();
        if waker.as_ref().is_none_or(|known| !known.will_wake(task)) {
            *waker = Some(task.clone());
        }
    }

    /// Nobody is woken any more.
    pub(super) fn rest(&self) {
        self.waker.replace(None);
    }

    /// Calls with whoever is to be woken: the task that was named, else the library's choice.
    fn with<T>(&self, cx: &mut Context<'_>, call: impl FnOnce(&mut Context<'_>) -> T) -> T {
        match &*self.waker.borrow() {
            Some(task) => call(&mut Context::from_waker(task)),
            None => call(cx),
        }
    }
}

/// The connection to a backend, as the library has it.
#[derive(Debug)]
pub(super) struct Wire {
    stream: Stream,
    notes: Rc<Notes>,
    /// An answer may come although the backend takes no more of the request.
    forgives: bool,
}

impl Wire {
    /// A wire for one request at a time. A backend may answer a request and close before it has all
    /// of it: then what it says counts, not that it no longer listens.
    pub(super) fn in_turn(stream: Stream, notes: Rc<Notes>) -> Self {
        Self { stream, notes, forgives: true }
    }

    /// A wire for many.
    pub(super) fn shared(stream: Stream, notes: Rc<Notes>) -> Self {
        Self { stream, notes, forgives: false }
    }

    /// What it is made of.
    pub(super) fn into_parts(self) -> Parts {
        self.stream.into_parts()
    }

    /// What became of a write of `size` bytes.
    fn forgive<T>(&self, done: io::Result<T>, lost: T) -> io::Result<T> {
        match done {
            Err(_) if self.forgives => {
                self.notes.is_deaf.set(true);
                Ok(lost)
            }
            done => done,
        }
    }
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { stream, notes, .. } = &mut *self;
        let read = ready!(notes.with(cx, |cx| Pin::new(&mut *stream).poll_read(cx, buf)));
        notes.holds.set(stream.holds_payload());
        notes.heard.set(notes.heard.get().wrapping_add(1));
        Poll::Ready(read)
    }
}

impl Write for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.notes.is_deaf.get() {
            return Poll::Ready(Ok(buf.len()));
        }
        let Self { stream, notes, .. } = &mut *self;
        let written = ready!(notes.with(cx, |cx| Pin::new(stream).poll_write(cx, buf)));
        Poll::Ready(self.forgive(written, buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.notes.is_deaf.get() {
            return Poll::Ready(Ok(()));
        }
        let Self { stream, notes, .. } = &mut *self;
        let flushed = ready!(notes.with(cx, |cx| Pin::new(stream).poll_flush(cx)));
        Poll::Ready(self.forgive(flushed, ()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, notes, .. } = &mut *self;
        notes.with(cx, |cx| Pin::new(stream).poll_shutdown(cx))
    }
}

/// What is sent over a wire for one request at a time: it wakes the task that drives the wire.
#[derive(Debug)]
pub(super) struct Uplink {
    pub(super) upload: Upload,
    pub(super) notes: Rc<Notes>,
}

impl Body for Uplink {
    type Data = Bytes;
    type Error = <Upload as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Self { upload, notes } = &mut *self;
        let frame = ready!(notes.with(cx, |cx| Pin::new(upload).poll_frame(cx)));
        if matches!(frame, Some(Err(_))) {
            notes.lacks_upload.set(true);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.upload.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.upload.size_hint()
    }
}
