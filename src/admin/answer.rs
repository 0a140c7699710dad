//! Answers as they go out, and the one shape of every answer that says no.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body_util::Full;
use hyper::body::{Bytes, Frame, SizeHint};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};
use serde::Serialize;

use crate::admin::events::Stream;
use crate::api::Problem;

/// An answer on its way out.
pub(super) type Answer = Response<Body>;

/// What follows an answer's head.
pub(super) enum Body {
    /// All of it.
    Whole(Full<Bytes>),
    /// What there is so far; more is to come.
    Stream(Stream),
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(body) => Pin::new(body).poll_frame(context),
            Self::Stream(stream) => stream.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(body) => body.is_end_stream(),
            Self::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(body) => body.size_hint(),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

/// Why something is not done. Whoever returns one has changed nothing.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    /// What is wrong and the way out.
    error: String,
    reasons: Box<[String]>,
    problems: Box<[String]>,
    field: Option<(HeaderName, &'static str)>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self {
            status,
            error: error.into(),
            reasons: Box::default(),
            problems: Box::default(),
            field: None,
        }
    }

    /// What was sent cannot be meant.
    pub(super) fn bad(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }

    /// What was named does not exist.
    pub(super) fn missing(error: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, error)
    }

    /// Not now.
    pub(super) fn unavailable(error: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error)
    }

    /// With each reason by itself.
    pub(super) fn because(self, reasons: Vec<String>) -> Self {
        Self { reasons: reasons.into(), ..self }
    }

    /// With what is wrong with a file.
    pub(super) fn about(self, problems: Vec<String>) -> Self {
        Self { problems: problems.into(), ..self }
    }

    /// Names the methods that would do.
    pub(super) fn allowing(self, methods: &'static str) -> Self {
        Self { field: Some((ALLOW, methods)), ..self }
    }

    /// Asks for the token.
    pub(super) fn asking_for_token(self) -> Self {
        Self { field: Some((WWW_AUTHENTICATE, "Bearer realm=\"evenkeel\"")), ..self }
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let Refusal { status, error, reasons, problems, field } = refusal;
        let (reasons, problems) = (reasons.into_vec(), problems.into_vec());
        let mut answer = json(status, &Problem { error, reasons, problems });
        if let Some((name, value)) = field {
            answer.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        answer
    }
}

pub(super) fn text(body: &'static str) -> Answer {
    whole(StatusCode::OK, "text/plain; charset=utf-8", body)
}

pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(body) => whole(status, "application/json", body),
        Err(error) => {
            tracing::error!(%error, "an admin answer could not be written as JSON");
            whole(StatusCode::INTERNAL_SERVER_ERROR, "application/json", "{}")
        }
    }
}

pub(super) fn whole(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    with_head(status, kind, Body::Whole(Full::new(body.into())))
}

/// An answer that goes on.
pub(super) fn stream(kind: &'static str, body: Body) -> Answer {
    with_head(StatusCode::OK, kind, body)
}

fn with_head(status: StatusCode, kind: &'static str, body: Body) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}
