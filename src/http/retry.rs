//! A request over all its attempts: what is kept of it, and when it is tried again.

use std::rc::Rc;

use hyper::body::Body;
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode};

use crate::config::{RetryHttp, RetryOn};
use crate::http::body::{Inflow, Upload};
use crate::http::upload::Source;
use crate::outcome::{ConnectFailure, Outcome, RequestFailure};

/// What became of an attempt that brought no answer to be passed on, or one that is better not passed
/// on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Miss {
    /// The backend was not reached: nothing was sent.
    Unconnected(Option<ConnectFailure>),
    /// It ended the connection before the head of an answer.
    Reset,
    /// It sent something that is no answer.
    Invalid,
    /// No head of an answer came in time.
    Late,
    /// It answered that it cannot answer: 502, 503 or 504.
    Status(StatusCode),
    /// It was taken out of use, and its sessions with it.
    Recalled(Outcome),
}

impl Miss {
    /// What an answer with this status is, if it is one.
    pub(super) fn said(status: StatusCode) -> Option<Self> {
        RetryOn::STATUSES.contains(&status.as_u16()).then_some(Self::Status(status))
    }

    /// What a client is told after the last attempt.
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Unconnected(Some(ConnectFailure::Timeout)) | Self::Late => {
                StatusCode::GATEWAY_TIMEOUT
            }
            Self::Unconnected(_) | Self::Reset | Self::Invalid => StatusCode::BAD_GATEWAY,
            Self::Status(status) => status,
            Self::Recalled(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// What of it speaks against the backend, besides a connect that has been counted.
    pub(super) fn failure(self) -> Option<RequestFailure> {
        match self {
            Self::Reset | Self::Invalid => Some(RequestFailure::Reset),
            Self::Late => Some(RequestFailure::Timeout),
            Self::Status(_) => Some(RequestFailure::BackendError),
            Self::Unconnected(_) | Self::Recalled(_) => None,
        }
    }

    /// How a session ends that was connected.
    pub(super) fn outcome(self) -> Outcome {
        match self {
            Self::Recalled(cause) => cause,
            Self::Status(_) => Outcome::Ok,
            Self::Unconnected(_) | Self::Reset | Self::Invalid | Self::Late => {
                Outcome::BackendReset
            }
        }
    }

    /// True if another attempt may mend it; `can_repeat`: nobody minds if the request is served twice,
    /// and all of it is there.
    pub(super) fn is_worth_another(self, rules: &RetryHttp, can_repeat: bool) -> bool {
        match self {
            Self::Unconnected(_) => rules.on.connect,
            // Whoever stops waits for what is under way, and begins nothing.
            Self::Recalled(Outcome::Shutdown) => false,
            Self::Reset | Self::Invalid | Self::Recalled(_) => can_repeat && rules.on.reset,
            Self::Late => can_repeat && rules.on.timeout,
            Self::Status(status) => can_repeat && rules.on.has(status.as_u16()),
        }
    }

    /// True if another attempt after it takes from the budget.
    pub(super) fn has_cost(self) -> bool {
        !matches!(self, Self::Unconnected(_))
    }
}

/// True for methods that ask for the same when they ask twice (RFC 9110, 9.2.2).
fn is_idempotent(method: &Method) -> bool {
    const ALL: [Method; 6] =
        [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS, Method::TRACE];
    ALL.contains(method)
}

/// A request, for as many attempts as it takes.
pub(super) struct Errand {
    head: Parts,
    /// Its body, if it has one.
    pub(super) source: Option<Rc<Source>>,
    /// Nobody minds if it is served twice.
    is_repeatable: bool,
    /// Its head has not been given away.
    has_head: bool,
}

impl Errand {
    /// A request whose body may have `most` bytes.
    pub(super) fn new(request: Request<Inflow>, rules: &RetryHttp, most: Option<u64>) -> Self {
        let (head, body) = request.into_parts();
        let is_repeatable = rules.non_idempotent || is_idempotent(&head.method);
        let room = usize::try_from(rules.body).unwrap_or(usize::MAX);
        let has_body = !body.is_end_stream();
        let source = has_body.then(|| Source::new(body, is_repeatable.then_some(room), most));
        Self { head, source, is_repeatable, has_head: true }
    }

    /// True if it need not be given away before it has been answered.
    pub(super) fn is_repeatable(&self) -> bool {
        self.is_repeatable
    }

    /// What is sent next. It can be sent once more after that if it is to be `kept`.
    pub(super) fn next(&mut self, kept: bool) -> Request<Upload> {
        let upload = self.source.as_ref().map_or_else(Upload::none, Source::begin);
        let mut request = Request::new(upload);
        *request.method_mut() = self.head.method.clone();
        *request.uri_mut() = self.head.uri.clone();
        *request.headers_mut() = if kept {
            self.head.headers.clone()
        } else {
            self.has_head = false;
            std::mem::take(&mut self.head.headers)
        };
        request
    }

    /// Takes back what was never sent, where it is still there.
    pub(super) fn take_back(&mut self, unsent: Option<Request<Upload>>) {
        if let Some(unsent) = unsent {
            self.head.headers = unsent.into_parts().0.headers;
            self.has_head = true;
        }
    }

    /// True if all of it is there for another attempt.
    pub(super) fn is_there(&self) -> bool {
        self.has_head && self.source.as_ref().is_none_or(|source| source.is_whole())
    }

    /// True if all of its body has been sent.
    pub(super) fn is_sent(&self) -> bool {
        self.source.as_ref().is_none_or(|source| source.has_ended())
    }

    /// What is left of its body, for as long as its answer takes.
    pub(super) fn into_source(mut self) -> Option<Rc<Source>> {
        self.source.take()
    }

    /// True if it may be served twice, and all of it is there.
    pub(super) fn can_repeat(&self) -> bool {
        self.is_repeatable && self.is_there()
    }
}

impl Drop for Errand {
    fn drop(&mut self) {
        if let Some(source) = &self.source {
            source.give_up();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_been_served_is_repeated_only_if_nobody_minds() {
        let rules = RetryHttp::default();
        let refused = Miss::Unconnected(Some(ConnectFailure::Refused));
        let busy = Miss::Status(StatusCode::SERVICE_UNAVAILABLE);
        for miss in [refused, Miss::Reset, Miss::Late, busy, Miss::Recalled(Outcome::Down)] {
            assert!(miss.is_worth_another(&rules, true), "{miss:?}");
            assert_eq!(miss.is_worth_another(&rules, false), miss == refused, "{miss:?}");
            assert_eq!(miss.has_cost(), miss != refused);
        }
        assert!(!Miss::Status(StatusCode::NOT_FOUND).is_worth_another(&rules, true));
        assert!(!Miss::Recalled(Outcome::Shutdown).is_worth_another(&rules, true));
    }

    #[test]
    fn each_kind_of_miss_is_asked_for_by_its_own_word() {
        let statuses = [false, true, false];
        let on = RetryOn { connect: false, reset: false, timeout: false, statuses };
        let rules = RetryHttp { on, ..RetryHttp::default() };
        let status = |code| Miss::Status(StatusCode::from_u16(code).unwrap());
        for miss in [Miss::Unconnected(None), Miss::Reset, Miss::Late, status(502), status(504)] {
            assert!(!miss.is_worth_another(&rules, true), "{miss:?}");
        }
        assert!(status(503).is_worth_another(&rules, true));
    }

    #[test]
    fn methods_that_change_something_each_time_are_not_idempotent() {
        for method in [Method::POST, Method::PATCH, Method::CONNECT] {
            assert!(!is_idempotent(&method));
        }
        assert!(is_idempotent(&Method::GET) && is_idempotent(&Method::DELETE));
    }

    #[test]
    fn a_client_is_told_who_took_too_long() {
        let late = Miss::Unconnected(Some(ConnectFailure::Timeout));
        assert_eq!(
            (late.status(), Miss::Late.status()),
            (504.try_into().unwrap(), 504.try_into().unwrap())
        );
        assert_eq!(Miss::Unconnected(Some(ConnectFailure::Refused)).status(), 502);
        assert_eq!(
            (Miss::Reset.status().as_u16(), Miss::Recalled(Outcome::Down).status().as_u16()),
            (502, 503)
        );
    }
}
