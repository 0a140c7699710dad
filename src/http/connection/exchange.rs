//! One request as its connection sees it: what it waits for, and what ends it before its time.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::{Request, Response, StatusCode, Version};

use crate::http::account::Account;
use crate::http::answer::{self, Form};
use crate::http::body::Download;
use crate::http::{Connection, forward};
use crate::outcome::{Abuse, Outcome, Rejection};
use crate::wire::http1::MOST_FIELDS;

/// How far a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Progress {
    /// There is none.
    #[default]
    None,
    /// It has no answer yet.
    Asked,
    /// Its answer is on its way.
    Answered,
}

/// Why a request ends before its time, and what it is answered if it has no answer yet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Verdict {
    pub(super) status: StatusCode,
    pub(super) outcome: Outcome,
}

/// A request on its way, between its connection and whoever serves it. One of them serves all
/// requests of a connection of HTTP/1, one after the other.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    progress: Cell<Progress>,
    /// It has begun since the last look.
    has_begun: Cell<bool>,
    verdict: Cell<Option<Verdict>>,
    cut: Cell<Option<Outcome>>,
    /// All of its answer was given.
    is_complete: Cell<bool>,
    /// More of the request is wanted, and has not come.
    is_wanting: Cell<bool>,
    /// A part of the answer was given, and the next not asked for.
    is_offering: Cell<bool>,
    /// Something of either came since the last look.
    has_moved: Cell<bool>,
    /// Looks in a row that have found nothing of the kind.
    still: Cell<u32>,
    /// Of the task that serves it, if it has its own.
    waker: RefCell<Option<Waker>>,
}

/// What a request waits for that only its client can give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stalled {
    /// The rest of the request.
    Upload,
    /// Room for the rest of the answer.
    Download,
}

impl Exchange {
    /// How far it is.
    pub(super) fn progress(&self) -> Progress {
        self.progress.get()
    }

    /// True if one has begun since the last call.
    pub(super) fn take_begun(&self) -> bool {
        self.has_begun.replace(false)
    }

    /// Ends it.
    pub(super) fn judge(&self, verdict: Verdict) {
        self.verdict.set(Some(verdict));
        self.wake();
    }

    /// What was said of it.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        self.verdict.get()
    }

    /// True if all of its answer was given.
    pub(super) fn is_complete(&self) -> bool {
        self.is_complete.get()
    }

    /// Has it dropped, whatever it is about.
    pub(super) fn cut(&self, outcome: Outcome) {
        self.cut.set(Some(outcome));
        self.wake();
    }

    /// Why the task that polls this is to drop it, if it is; else it is told when.
    pub(super) fn cut_by(&self, cx: &Context<'_>) -> Option<Outcome> {
        let mut waker = self.waker.borrow_mut();
        if waker.as_ref().is_none_or(|known| !known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        self.cut.get()
    }

    fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// What it waits for, if nothing has moved over so many looks, of which this is one.
    pub(super) fn stalled(&self, looks: u32) -> Option<Stalled> {
        let still = if self.has_moved.replace(false) { 0 } else { self.still.get() + 1 };
        self.still.set(still);
        if still < looks {
            return None;
        }
        if self.is_offering.get() {
            Some(Stalled::Download)
        } else {
            self.is_wanting.get().then_some(Stalled::Upload)
        }
    }

    fn begin(&self) {
        self.progress.set(Progress::Asked);
        self.has_begun.set(true);
        self.verdict.set(None);
        self.is_wanting.set(false);
        self.is_offering.set(false);
        self.has_moved.set(true);
    }
}

/// Serves a request, unless the connection says first how it ends.
pub(super) async fn serve(
    request: Request<Incoming>,
    on: Rc<Connection>,
    exchange: Rc<Exchange>,
) -> Result<Response<Answer>, Infallible> {
    exchange.begin();
    let has_a_last = request.version() < Version::HTTP_2;
    let account = Account::begin(&on, &request);
    let form = Form::of(request.method(), request.headers());
    let response = match refusal(&request, &on) {
        Some(status) => {
            account.rejected(Rejection::BadRequest);
            answer::plain(status)
        }
        None => {
            let request = request.map(|body| Inflow { body, exchange: Rc::clone(&exchange) });
            let mut serving = pin!(forward::serve(request, Rc::clone(&on), Rc::clone(&account)));
            poll_fn(|cx| match exchange.verdict() {
                Some(Verdict { status, outcome }) => {
                    on.ends_by(outcome);
                    account.ended(outcome);
                    Poll::Ready(if has_a_last {
                        answer::last(status)
                    } else {
                        answer::plain(status)
                    })
                }
                None => serving.as_mut().poll(cx).map(|served| {
                    let Ok(answer) = served;
                    answer
                }),
            })
            .await
        }
    };
    on.end.set(None);
    exchange.progress.set(Progress::Answered);
    let response = form.fill(response);
    account.answered(response.status(), response.body().own_length());
    Ok(response.map(|body| Answer { body, exchange, on, _account: account }))
}

/// What a request is answered that is not looked at any further.
fn refusal(request: &Request<Incoming>, on: &Connection) -> Option<StatusCode> {
    if request.headers().len() > MOST_FIELDS {
        on.proxy.admission.figures.abuse(Abuse::HeaderBomb);
        return Some(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }
    on.is_misdirected(request).then_some(StatusCode::MISDIRECTED_REQUEST)
}

/// The body of a request, as it comes from the client.
#[derive(Debug)]
pub(in crate::http) struct Inflow {
    body: Incoming,
    exchange: Rc<Exchange>,
}

impl Body for Inflow {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        self.exchange.is_wanting.set(frame.is_pending());
        if frame.is_ready() {
            self.exchange.has_moved.set(true);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Inflow {
    fn drop(&mut self) {
        self.exchange.is_wanting.set(false);
    }
}

/// The body of an answer, on its way to the client.
pub(super) struct Answer {
    body: Download,
    exchange: Rc<Exchange>,
    on: Rc<Connection>,
    /// Told with the last byte, after how it has ended.
    _account: Rc<Account>,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = <Download as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        self.exchange.is_offering.set(frame.is_ready());
        self.exchange.has_moved.set(true);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(data) = frame.data_ref()
        {
            self.on.given.set(self.on.given.get() + data.len());
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.exchange.is_complete.set(self.body.is_end_stream());
        self.exchange.progress.set(Progress::None);
        self.exchange.is_offering.set(false);
    }
}
