//! One attempt at a request: a connection, the request over it, the head of the answer.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::body::{Body, Incoming};
use hyper::{Request, Response, StatusCode};

use crate::http::backends::Link;
use crate::http::exchange::Exchange;
use crate::http::forward::{Asker, Job};
use crate::http::retry::{Errand, Miss};
use crate::http::stream::Stream;
use crate::http::upload::{Fault, Source, Upload, Waits};
use crate::http::{Connection, Tools};
use crate::outcome::{ConnectFailure, Outcome};
use crate::pool::{Backend, Lease, Pool};
use crate::session::Alarm;
use crate::upstream::{Dialed, Search};

/// A backend's answer, and what it came over.
pub(super) struct Answered {
    pub(super) answer: Response<Incoming>,
    pub(super) link: Link,
    pub(super) exchange: Rc<Exchange>,
}

/// What became of an attempt.
pub(super) enum Tried {
    Answered(Answered),
    /// There was no answer. With a session if the backend was connected.
    Missed(Held, Miss),
    /// The client has not sent what it should, and is told this.
    Refused(StatusCode),
}

/// What is held of the backend that failed.
pub(super) enum Held {
    /// A place.
    Lease(Lease),
    /// A session.
    Session(Rc<Exchange>),
    /// An answer that says that there is none.
    Answer(Answered),
}

impl Held {
    /// The backend.
    pub(super) fn backend(&self) -> Option<Arc<Backend>> {
        match self {
            Self::Lease(lease) => Some(Arc::clone(lease.backend())),
            Self::Session(exchange) | Self::Answer(Answered { exchange, .. }) => exchange.backend(),
        }
    }

    /// The place alone: what happened there counts no more.
    pub(super) fn release(self, tools: &Tools) -> Option<Lease> {
        match self {
            Self::Lease(lease) => Some(lease),
            Self::Session(exchange) => exchange.retract(),
            Self::Answer(Answered { answer, link, exchange }) => {
                let lease = exchange.retract()?;
                if answer.body().is_end_stream() {
                    tools.backends.give_back(lease.backend(), link);
                }
                Some(lease)
            }
        }
    }
}

/// Tries one place that was taken. A connection that was kept and proves to be dead is no attempt: a new
/// one to the same backend takes its place.
pub(super) async fn attempt(
    errand: &mut Errand,
    search: &mut Search<'_, Asker<'_>>,
    (pool, mut lease): (&Pool, Lease),
    job: &Job<'_>,
) -> Tried {
    let tools = &job.on.tools;
    let mut kept = tools.backends.take(lease.backend());
    loop {
        let is_kept = kept.is_some();
        let link = match kept.take() {
            Some(link) => Some(link),
            None => connect(search, pool, &lease, job.on).await,
        };
        let Some(mut link) = link else {
            return Tried::Missed(Held::Lease(lease), Miss::Unconnected(search.failure));
        };
        let began = Instant::now();
        let exchange = Exchange::enter(lease, &tools.sessions, job.asked.since);
        job.watch.begin(&exchange);
        let request = errand.next(is_kept || search.may_go_on());
        let sent = send(&mut link, request, &exchange, Patience::new(errand, job, began)).await;
        let miss = match sent {
            Sent::Answered(answer) => return Tried::Answered(Answered { answer, link, exchange }),
            Sent::Refused(status, outcome) => {
                exchange.settle();
                exchange.ends_as(outcome);
                return Tried::Refused(status);
            }
            Sent::Unsent(request) => {
                errand.take_back(request);
                // It never left: whatever it asks for, it can be sent again.
                (!is_kept).then_some(Miss::Unconnected(Some(ConnectFailure::Reset)))
            }
            // It was closed while the request was on its way, as a server may at any time.
            Sent::Missed(Miss::Reset) if is_kept && errand.can_repeat() => None,
            Sent::Missed(miss) => Some(miss),
        };
        if let Some(miss) = miss {
            search.began(began);
            return Tried::Missed(Held::Session(exchange), miss);
        }
        match exchange.retract() {
            Some(place) => lease = place,
            None => return Tried::Missed(Held::Session(exchange), Miss::Reset),
        }
    }
}

async fn connect(
    search: &mut Search<'_, Asker<'_>>,
    pool: &Pool,
    lease: &Lease,
    on: &Connection,
) -> Option<Link> {
    let Dialed { socket, tls } = search.dial(pool, lease).await?;
    let (tls, ahead) = match tls {
        Some(secured) => (Some(Box::new(secured.session)), secured.ahead),
        None => (None, Vec::new()),
    };
    Link::open(Stream::new(Rc::new(socket), tls, ahead, &on.tools.scratch)).await.ok()
}

/// What became of a request that was given to a connection.
enum Sent {
    Answered(Response<Incoming>),
    /// The connection was dead before any of it was sent.
    Unsent(Request<Upload>),
    Missed(Miss),
    Refused(StatusCode, Outcome),
}

/// Sends a request, and waits for the head of its answer.
async fn send(
    link: &mut Link,
    request: Request<Upload>,
    exchange: &Rc<Exchange>,
    mut patience: Patience<'_>,
) -> Sent {
    let source = patience.source;
    if let Some(source) = source {
        source.count_on(exchange);
    }
    let mut sending = pin!(link.send(request));
    poll_fn(|cx| {
        if let Poll::Ready(cause) = exchange.poll_cut(cx) {
            return Poll::Ready(Sent::Missed(Miss::Recalled(cause)));
        }
        match sending.as_mut().poll(cx) {
            Poll::Ready(Ok(answer)) => Poll::Ready(Sent::Answered(answer)),
            Poll::Ready(Err(mut failed)) => Poll::Ready(match failed.take_message() {
                Some(unsent) => Sent::Unsent(unsent),
                None => source.and_then(Source::fault).map_or(Sent::Missed(Miss::Reset), faulty),
            }),
            Poll::Pending => patience.poll(cx),
        }
    })
    .await
}

fn faulty(fault: Fault) -> Sent {
    let status = match fault {
        Fault::Client => StatusCode::BAD_REQUEST,
        Fault::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
    };
    Sent::Refused(status, Outcome::ClientReset)
}

/// How long an answer is waited for, and a body that stands still.
struct Patience<'a> {
    source: Option<&'a Source>,
    /// Of the backend, from the end of the request.
    response: Option<Duration>,
    /// Of a client that does not go on.
    body: Option<Duration>,
    /// When the request was sent.
    since: Instant,
    alarm: Alarm,
    /// For whom the alarm is set.
    set: Option<Waits>,
}

impl<'a> Patience<'a> {
    fn new(errand: &'a Errand, job: &Job<'_>, since: Instant) -> Self {
        Self {
            source: errand.source.as_deref(),
            response: job.response_timeout,
            body: job.on.proxy.idle_timeout,
            since,
            alarm: Alarm::new(&job.on.tools.dialer.clock),
            set: None,
        }
    }

    fn poll(&mut self, cx: &Context<'_>) -> Poll<Sent> {
        let uploading = self.source.filter(|source| !source.has_ended());
        let waits = uploading.map_or(Waits::Backend, |source| {
            source.watch(cx);
            source.waits().0
        });
        let limit = match waits {
            Waits::Client => self.body,
            Waits::Backend => self.response,
        };
        let Some(limit) = limit else { return Poll::Pending };
        if self.set.replace(waits) != Some(waits) {
            self.alarm.set(Some(limit));
        }
        if self.alarm.poll(cx).is_pending() {
            return Poll::Pending;
        }
        // Something may have moved since it was set.
        let quiet = self.source.map_or(self.since.elapsed(), |source| source.waits().1);
        let left = limit.saturating_sub(quiet);
        if left.is_zero() {
            return Poll::Ready(match waits {
                Waits::Client => Sent::Refused(StatusCode::REQUEST_TIMEOUT, Outcome::Idle),
                Waits::Backend => Sent::Missed(Miss::Late),
            });
        }
        self.alarm.set(Some(left));
        self.alarm.poll(cx).map(|()| Sent::Missed(Miss::Recalled(Outcome::Shutdown)))
    }
}
