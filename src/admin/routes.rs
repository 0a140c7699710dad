//! What is asked, and what it is answered.

use std::sync::Arc;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;

use crate::admin::{book, dashboard, host, metrics, readiness, status};
use crate::api::Problem;
use crate::metric::Counter;
use crate::server::Handle;

/// What the answers are made from.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) handle: Arc<Handle>,
    pub(super) access_dropped: Arc<Counter>,
    /// True if the interface is bound to a loopback address.
    pub(super) loopback: bool,
}

/// A whole answer.
pub(super) type Answer = Response<Full<Bytes>>;

/// Answers one request.
pub(super) fn answer<B>(site: &Site, request: &Request<B>) -> Answer {
    if site.loopback && !host::is_loopback(request) {
        let error = "this address serves loopback only: call it as localhost or by its address";
        return refusal(StatusCode::FORBIDDEN, error.to_owned());
    }
    let reading = matches!(*request.method(), Method::GET | Method::HEAD);
    match request.uri().path() {
        "/" if reading => dashboard::page(request),
        "/healthz" if reading => text(StatusCode::OK, "ok\n"),
        "/readyz" if reading => ready(site),
        "/metrics" if reading => exposition(site),
        "/api/v1/status" if reading => json(StatusCode::OK, &status::report(&site.handle)),
        path @ ("/" | "/healthz" | "/readyz" | "/metrics" | "/api/v1/status") => {
            let error = format!("{path} answers GET and HEAD, not {}", request.method());
            let mut answer = refusal(StatusCode::METHOD_NOT_ALLOWED, error);
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            answer
        }
        path => {
            let known = "/healthz, /readyz, /metrics and /api/v1/status";
            refusal(StatusCode::NOT_FOUND, format!("nothing at {path}; there are {known}"))
        }
    }
}

fn ready(site: &Site) -> Answer {
    let reasons = readiness::reasons(&site.handle);
    if reasons.is_empty() {
        return text(StatusCode::OK, "ready\n");
    }
    let error = format!("not ready: {}", reasons.join("; "));
    json(StatusCode::SERVICE_UNAVAILABLE, &Problem { error, reasons })
}

fn exposition(site: &Site) -> Answer {
    let text = metrics::render(&site.handle, &site.access_dropped);
    whole(StatusCode::OK, book::CONTENT_TYPE, text.into_bytes())
}

fn text(status: StatusCode, body: &'static str) -> Answer {
    whole(status, "text/plain; charset=utf-8", body)
}

fn refusal(status: StatusCode, error: String) -> Answer {
    json(status, &Problem { error, reasons: Vec::new() })
}

fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(body) => whole(status, "application/json", body),
        Err(error) => {
            tracing::error!(%error, "an admin answer could not be written as JSON");
            text(StatusCode::INTERNAL_SERVER_ERROR, "{}")
        }
    }
}

pub(super) fn whole(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}
