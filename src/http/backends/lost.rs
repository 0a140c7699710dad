//! Why a request that went to a backend has no answer.

use std::error::Error;

use h2::Reason;
use hyper::Request;

use crate::http::body::Upload;

/// A request without an answer.
#[derive(Debug)]
pub(in crate::http) struct Unanswered {
    /// Why, in a word.
    pub(in crate::http) why: Lost,
    /// The request, where it was never begun to be sent.
    pub(in crate::http) request: Option<Request<Upload>>,
    /// Why, in more words.
    pub(in crate::http) error: String,
}

/// The library's words, down to the cause.
pub(super) fn in_words(error: &hyper::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

/// True if the backend has said that it takes no more requests over the connection.
pub(super) fn is_farewell(error: &hyper::Error) -> bool {
    of_h2(error).is_some_and(h2::Error::is_go_away)
}

fn of_h2(error: &hyper::Error) -> Option<&h2::Error> {
    error.source()?.downcast_ref()
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Lost {
    /// It was not sent, or the backend says that it has not looked at it: whatever it asks for, it
    /// may be sent again. Of a connection that was kept, this says nothing about the backend.
    Unsent,
    /// The connection ended or broke before the head of an answer had come whole.
    Reset,
    /// What came is no answer, or one that means different things to different readers.
    Invalid,
    /// What was to be sent could not be had from the client.
    Upload,
}

impl Lost {
    /// What the library's word means.
    pub(super) fn of(error: &hyper::Error) -> Self {
        if error.is_parse() || error.is_parse_too_large() || error.is_parse_status() {
            return Self::Invalid;
        }
        of_h2(error).map_or(Self::Reset, Self::of_h2)
    }

    fn of_h2(error: &h2::Error) -> Self {
        // Of a GOAWAY only those streams hear that lie beyond what the backend has looked at (RFC
        // 9113, 6.8), and of a refusal those that it has not looked at (8.7).
        let is_untouched = error.is_go_away()
            || (error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM));
        match (error.is_remote(), error.is_library()) {
            (true, _) if is_untouched => Self::Unsent,
            (_, true) => Self::Invalid,
            _ => Self::Reset,
        }
    }
}
