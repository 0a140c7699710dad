//! Answers of our own, all from one place.

use http_body_util::Full;
use hyper::header::{
    ACCEPT, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue,
};
use hyper::{Method, Response, StatusCode};

use crate::http::body::Download;
use crate::http::headers::REQUEST_ID;

/// What a client is told that speaks cleartext where TLS is spoken.
pub const TLS_REQUIRED: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\n\
content-length: 27\r\nconnection: close\r\n\r\nthis address speaks https.\n";

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// How a request wants to be answered: kept of it while it is on its way.
#[derive(Debug, Default)]
pub(super) struct Form {
    accept: Option<HeaderValue>,
    is_head: bool,
}

/// Marks an answer whose words are still to be found.
#[derive(Debug, Clone, Copy)]
struct Wordless;

impl Form {
    /// Of a request.
    pub(super) fn of(method: &Method, headers: &HeaderMap) -> Self {
        Self { accept: headers.get(ACCEPT).cloned(), is_head: method == Method::HEAD }
    }

    /// Gives an answer of ours its words, in the form that the request wants.
    pub(super) fn fill(&self, mut answer: Response<Download>) -> Response<Download> {
        if answer.extensions_mut().remove::<Wordless>().is_none() {
            return answer;
        }
        let is_json = self.accept.as_ref().is_some_and(prefers_json);
        let id = answer.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
        let status = answer.status();
        let (kind, words) =
            if is_json { (JSON, json(status, id)) } else { (TEXT, text(status, id)) };
        let headers = answer.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(words.len()));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if !self.is_head {
            *answer.body_mut() = Download::Own(Full::new(words.into()));
        }
        answer
    }
}

/// An answer that says no more than its status; its words are found once its request is known
/// ([`Form::fill`]).
pub(super) fn plain(status: StatusCode) -> Response<Download> {
    let mut answer = Response::new(Download::Own(Full::default()));
    *answer.status_mut() = status;
    answer.extensions_mut().insert(Wordless);
    answer
}

/// The last answer on its connection.
pub(super) fn last(status: StatusCode) -> Response<Download> {
    let mut answer = plain(status);
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// The last answer on a connection of HTTP/1, for a request that nobody could read.
pub(super) fn raw(status: StatusCode) -> Vec<u8> {
    let words = text(status, None);
    let (reason, length) = (reason(status), words.len());
    format!(
        "HTTP/1.1 {} {reason}\r\ncontent-type: {TEXT}\r\ncontent-length: {length}\r\n\
         cache-control: no-store\r\nconnection: close\r\n\r\n{words}",
        status.as_u16()
    )
    .into_bytes()
}

fn reason(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or("Error")
}

fn text(status: StatusCode, id: Option<&str>) -> String {
    let (code, reason) = (status.as_u16(), reason(status));
    match id {
        Some(id) => format!("{code} {reason}\nrequest id: {id}\n"),
        None => format!("{code} {reason}\n"),
    }
}

fn json(status: StatusCode, id: Option<&str>) -> String {
    let (code, error) = (status.as_u16(), reason(status).to_lowercase());
    let mut fields = serde_json::json!({ "error": error, "status": code });
    if let (Some(id), Some(fields)) = (id, fields.as_object_mut()) {
        fields.insert("request_id".into(), id.into());
    }
    format!("{fields}\n")
}

/// True if JSON is named, and no kind of text is wanted more (RFC 9110, 12.5.1).
fn prefers_json(accept: &HeaderValue) -> bool {
    let (mut json, mut text) = (0.0_f32, 0.0_f32);
    for range in accept.to_str().unwrap_or_default().split(',') {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let quality = parts.find_map(|part| part.strip_prefix("q="));
        let quality = quality.map_or(1.0, |quality| quality.parse().unwrap_or(0.0));
        if kind == JSON || (kind.starts_with("application/") && kind.ends_with("+json")) {
            json = json.max(quality);
        } else if kind.starts_with("text/") {
            text = text.max(quality);
        }
    }
    json > 0.0 && json >= text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_for_those_who_name_it_and_want_no_text_more() {
        let prefers = |accept| prefers_json(&HeaderValue::from_static(accept));
        assert!(prefers("application/json"));
        assert!(prefers("application/json, text/plain, */*"));
        assert!(prefers("text/html;q=0.5, application/problem+json"));
        assert!(!prefers("*/*") && !prefers("") && !prefers("application/json;q=0"));
        assert!(!prefers("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"));
        assert!(!prefers("text/html, application/json; q=0.9"));
    }

    #[test]
    fn the_length_is_that_of_the_words() {
        let told = raw(StatusCode::BAD_REQUEST);
        for told in [TLS_REQUIRED, &told] {
            let told = std::str::from_utf8(told).unwrap();
            let (head, words) = told.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("content-length: {}\r\n", words.len())), "{told}");
        }
    }

    #[test]
    fn an_answer_to_head_has_the_length_and_nothing_else() {
        let form = Form::of(&Method::HEAD, &HeaderMap::new());
        let answer = form.fill(plain(StatusCode::SERVICE_UNAVAILABLE));
        assert_eq!(answer.headers()[CONTENT_LENGTH], "24");
        assert!(hyper::body::Body::is_end_stream(answer.body()));
    }

    #[test]
    fn the_request_is_named_where_it_is_known() {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let form = Form::of(&Method::GET, &headers);
        let mut answer = plain(StatusCode::NOT_FOUND);
        answer.headers_mut().insert(REQUEST_ID, HeaderValue::from_static("a\"b"));
        let answer = form.fill(answer);
        assert_eq!(answer.headers()[CONTENT_TYPE], JSON);
        let words = r#"{"error":"not found","request_id":"a\"b","status":404}"#;
        assert_eq!(json(StatusCode::NOT_FOUND, Some("a\"b")).trim_end(), words);
        assert_eq!(text(StatusCode::NOT_FOUND, Some("a")), "404 Not Found\nrequest id: a\n");
    }

    #[test]
    fn an_answer_that_has_words_keeps_them() {
        let own = Response::new(Download::Own(Full::new("closed".into())));
        let answer = Form::default().fill(own);
        assert!(!answer.headers().contains_key(CONTENT_TYPE));
    }
}
