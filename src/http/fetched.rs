//! The body of a backend's answer, with all that must last until its last byte: the connection, the
//! place on the backend, the session.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::http::Connection;
use crate::http::backends::Link;
use crate::http::body::Cut;
use crate::http::session::Session;
use crate::http::upload::Source;
use crate::outcome::Outcome;
use crate::session::Direction;

/// A backend's answer on its way to the client.
pub(super) struct Fetched {
    pub(super) body: Incoming,
    /// What it comes over; dropped after it.
    pub(super) link: Link,
    /// What still goes the other way.
    pub(super) upload: Option<Rc<Source>>,
    pub(super) session: Rc<Session>,
    pub(super) on: Rc<Connection>,
    /// Its last frame has come.
    pub(super) is_whole: bool,
}

impl Fetched {
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if let Poll::Ready(cause) = self.session.poll_cut(cx) {
            self.reset();
            return Poll::Ready(Some(Err(Cut::Ended(cause))));
        }
        Poll::Ready(match ready!(self.link.poll_frame(&mut self.body, cx)) {
            Some(Ok(frame)) => Some(Ok(self.hand_on(frame))),
            Some(Err(why)) => Some(Err(self.broken(why))),
            None => {
                self.is_whole = true;
                None
            }
        })
    }

    fn hand_on(&mut self, frame: Frame<Bytes>) -> Frame<Bytes> {
        if let Some(data) = frame.data_ref() {
            self.session.moved(Direction::Out, data.len());
        }
        self.is_whole = frame.is_trailers() || self.body.is_end_stream();
        frame
    }

    /// The answer breaks off, because the backend has left, or its client has.
    fn broken(&mut self, why: hyper::Error) -> Cut {
        let is_clients = self.upload.as_ref().is_some_and(|upload| upload.fault().is_some());
        self.session.ends_as(if is_clients { Outcome::ClientReset } else { Outcome::BackendReset });
        self.reset();
        Cut::Backend(why)
    }

    /// The end of the client's connection must not look like the end of the answer.
    fn reset(&self) {
        if let Some(socket) = &self.on.socket {
            socket.reset_on_close();
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Fetched {
    fn drop(&mut self) {
        let is_whole = self.is_whole || self.body.is_end_stream();
        if is_whole {
            self.session.ends_as(Outcome::Ok);
        }
        // With its answer a request is over: what is left of its body is for nobody.
        if let Some(upload) = self.upload.take() {
            upload.give_up();
        }
    }
}
