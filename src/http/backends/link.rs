//! What a request has of a connection to a backend.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::{Request, Response};

use crate::http::backends::idle::{Counted, Shelf};
use crate::http::backends::lost::Unanswered;
use crate::http::backends::serial::Serial;
use crate::http::backends::shared::Seat;
use crate::http::body::Upload;
use crate::http::stream::Parts;

/// A connection to a backend, or a place on one, for one request. Dropped, it is kept for the next
/// request if it can carry one, and else closed: the body of the answer must have been dropped
/// before.
#[derive(Debug)]
pub(in crate::http) struct Link {
    way: Way,
    shelf: Rc<Shelf>,
    is_reused: bool,
}

#[derive(Debug)]
enum Way {
    Alone(Box<Counted<Serial>>),
    Shared(Seat),
    Gone,
}

impl Link {
    pub(super) fn alone(serial: Box<Counted<Serial>>, shelf: &Rc<Shelf>, is_reused: bool) -> Self {
        Self { way: Way::Alone(serial), shelf: Rc::clone(shelf), is_reused }
    }

    pub(super) fn shared(seat: Seat, shelf: &Rc<Shelf>, is_reused: bool) -> Self {
        Self { way: Way::Shared(seat), shelf: Rc::clone(shelf), is_reused }
    }

    /// True if other requests have gone over the connection before. A backend may close one that is
    /// kept at any time, so that its failure says nothing about the backend.
    pub(in crate::http) fn is_reused(&self) -> bool {
        self.is_reused
    }

    /// Sends a request, and waits for the head of the answer. The request is as HTTP/1.1 has it: its
    /// target is a path, and whom it is for stands in `Host`.
    ///
    /// To be called once.
    ///
    /// # Errors
    /// Why there is no answer.
    pub(in crate::http) async fn send(
        &mut self,
        request: Request<Upload>,
    ) -> Result<Response<Incoming>, Unanswered> {
        match &mut self.way {
            Way::Alone(serial) => serial.link.send(request).await,
            Way::Shared(seat) => seat.send(request).await,
            Way::Gone => std::future::pending().await,
        }
    }

    /// The next part of the answer's body. What is still to be sent of the request is sent
    /// meanwhile.
    pub(in crate::http) fn poll_frame(
        &mut self,
        body: &mut Incoming,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.way {
            Way::Alone(serial) => serial.link.poll_frame(body, cx),
            Way::Shared(_) | Way::Gone => Pin::new(body).poll_frame(cx),
        }
    }

    /// True if a request for another protocol can be sent that is not an upgrade (RFC 8441).
    pub(in crate::http) fn takes_protocols(&self) -> bool {
        matches!(&self.way, Way::Shared(seat) if seat.takes_protocols())
    }

    /// The bare connection, after the backend has agreed to speak another protocol over it. `None`:
    /// it is shared with others.
    pub(in crate::http) fn into_parts(mut self) -> Option<Bare> {
        match std::mem::replace(&mut self.way, Way::Gone) {
            Way::Alone(mut serial) => {
                let parts = serial.link.take_parts()?;
                Some(Bare { parts, _counted: serial })
            }
            Way::Shared(_) | Way::Gone => None,
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Way::Alone(serial) = std::mem::replace(&mut self.way, Way::Gone) {
            self.shelf.put(serial);
        }
    }
}

/// A connection without http on it, which goes on being counted.
pub(in crate::http) struct Bare {
    pub(in crate::http) parts: Parts,
    _counted: Box<Counted<Serial>>,
}
