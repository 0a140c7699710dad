//! What goes to the client as the body of an answer.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body, Frame, SizeHint};

pub(super) use crate::http::connection::Inflow;
use crate::http::fetched::Fetched;
pub(super) use crate::http::upload::Upload;
use crate::outcome::Outcome;

/// What goes to the client.
pub(super) enum Download {
    /// An answer of ours.
    Own(Full<Bytes>),
    /// A backend's.
    Fetched(Box<Fetched>),
}

impl Download {
    /// No body.
    pub(super) fn none() -> Self {
        Self::Own(Full::default())
    }
}

/// Why an answer does not come to its end: its client must not take it for whole.
#[derive(Debug)]
pub(super) enum Cut {
    /// The backend has not sent all of it.
    Backend(hyper::Error),
    /// We have ended it.
    Ended(Outcome),
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backend(_) => f.write_str("the backend has not sent all of its answer"),
            Self::Ended(outcome) => write!(f, "ended as {}", outcome.as_str()),
        }
    }
}

impl std::error::Error for Cut {
    /// The library passes on the reason for which a stream was reset, if it finds it here.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Backend(why) => Some(why),
            Self::Ended(_) => None,
        }
    }
}

impl Download {
    /// How long it is, if it is an answer of ours.
    pub(super) fn own_length(&self) -> Option<u64> {
        match self {
            Self::Own(body) => body.size_hint().exact(),
            Self::Fetched(_) => None,
        }
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        match &mut *self {
            Self::Own(body) => Pin::new(body).poll_frame(cx).map_err(|never| match never {}),
            Self::Fetched(body) => body.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Own(body) => body.is_end_stream(),
            Self::Fetched(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Own(body) => body.size_hint(),
            Self::Fetched(body) => body.size_hint(),
        }
    }
}

/// An answer, which there always is.
pub(super) type Served = Result<hyper::Response<Download>, Infallible>;
