//! The body of a backend's answer, with all that must last until its last byte: the connection, the
//! place on the backend, the session.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use crate::http::Tools;
use crate::http::backends::Link;
use crate::outcome::Outcome;
use crate::pool::Lease;
use crate::session::{Direction, Entry};

/// A backend's answer on its way to the client.
pub(super) struct Fetched {
    pub(super) body: Incoming,
    /// What it comes over; given back when it has come whole.
    pub(super) link: Option<Link>,
    pub(super) live: Option<Entry>,
    pub(super) lease: Lease,
    pub(super) tools: Rc<Tools>,
    pub(super) since: Instant,
}

impl Fetched {
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut frame = Pin::new(&mut self.body).poll_frame(cx);
        if frame.is_pending()
            && let Some(link) = &mut self.link
        {
            link.drive(cx);
            frame = Pin::new(&mut self.body).poll_frame(cx);
        }
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let (Some(data), Some(live)) = (frame.data_ref(), &self.live)
        {
            live.moved(Direction::Out, data.len() as u64);
        }
        frame
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
        let is_whole = self.body.is_end_stream();
        drop(self.live.take());
        let outcome = if is_whole { Outcome::Ok } else { Outcome::ClientReset };
        self.lease.tally().end(outcome, self.since.elapsed());
        if let Some(link) = self.link.take().filter(|_| is_whole) {
            self.tools.backends.give_back(self.lease.backend(), link);
        }
    }
}
