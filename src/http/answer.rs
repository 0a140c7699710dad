//! Answers of our own, all from one place.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

use crate::http::body::Download;

/// What a client is told that speaks cleartext where TLS is spoken.
pub const TLS_REQUIRED: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\n\
content-length: 27\r\nconnection: close\r\n\r\nthis address speaks https.\n";

/// An answer that says no more than its status.
pub(super) fn plain(status: StatusCode) -> Response<Download> {
    let words = status.canonical_reason().unwrap_or("error");
    let body = Bytes::from(format!("{} {words}\n", status.as_u16()));
    let mut answer = Response::new(Download::Own(Full::new(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    answer
}
