//! One attempt at a request: a connection, the request over it, the head of the answer.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};

use crate::config::HttpVersion;
use crate::http::backends::{Link, Lost, Unanswered};
use crate::http::body::Upload;
use crate::http::forward::{Asker, Job};
use crate::http::retry::{Errand, Miss};
use crate::http::session::Session;
use crate::http::upload::{Fault, Source, Waits};
use crate::outcome::{ConnectFailure, Outcome};
use crate::pool::{Backend, Lease, Pool};
use crate::session::Alarm;
use crate::upstream::Search;

/// A backend's answer, and what it came over.
pub(super) struct Answered {
    /// Dropped before what it comes over.
    pub(super) answer: Response<Incoming>,
    pub(super) link: Link,
    pub(super) session: Rc<Session>,
}

/// What became of an attempt.
pub(super) enum Tried {
    /// There is an answer.
    Answered(Answered),
    /// There was none.
    Missed(Held, Miss),
    /// The client has not sent what it should, and is told this.
    Refused(StatusCode),
}

/// What is held of the backend that failed.
pub(super) enum Held {
    /// A place.
    Lease(Lease),
    /// A session.
    Session(Rc<Session>),
    /// An answer that says that there is none.
    Answer(Answered),
}

impl Held {
    /// The backend.
    pub(super) fn backend(&self) -> Option<Arc<Backend>> {
        match self {
            Self::Lease(lease) => Some(Arc::clone(lease.backend())),
            Self::Session(session) | Self::Answer(Answered { session, .. }) => session.backend(),
        }
    }

    /// The place alone: what happened there counts no more.
    pub(super) fn release(self) -> Option<Lease> {
        match self {
            Self::Lease(lease) => Some(lease),
            Self::Session(session) | Self::Answer(Answered { session, .. }) => session.retract(),
        }
    }
}

/// Kept connections that may prove to be dead, one after the other, before it is held against the
/// backend.
const MOST_STALE: u32 = 3;

/// Tries one place that was taken. A connection that was kept and proves to be dead is no attempt: a new
/// one to the same backend takes its place.
pub(super) async fn attempt(
    errand: &mut Errand,
    search: &mut Search<'_, Asker<'_>>,
    (pool, mut lease): (&Arc<Pool>, Lease),
    job: &Job<'_>,
) -> Tried {
    let backends = job.on.backends(pool);
    let (mut surely, mut stale) = (!errand.can_repeat(), 0);
    loop {
        let Some(mut link) = backends.reach(search, pool, &lease, surely).await else {
            return Tried::Missed(Held::Lease(lease), Miss::Unconnected(search.failure));
        };
        let is_reused = link.is_reused();
        let (began, account) = (Instant::now(), &job.asked.account);
        if let Some(took) = search.connected.take() {
            account.connected(took);
        }
        let session = Session::enter(lease, job.on, account);
        job.present.replace(Rc::downgrade(&session));
        // Of a connection that many share it may come back when it has been given away.
        let is_shared = pool.connecting.http.version == HttpVersion::V2;
        let kept = (errand.is_repeatable() || is_shared) && (is_reused || search.may_go_on());
        let mut request = errand.next(kept);
        job.ask.borrow().fit(&mut request, &link);
        let miss = match send(&mut link, request, &session, Patience::new(errand, job, began)).await
        {
            Sent::Answered(answer) => {
                account.heard();
                if let Some(backend) = session.backend() {
                    backend.answered(began.elapsed(), job.on.tools.dialer.clock.now());
                }
                return Tried::Answered(Answered { answer, link, session });
            }
            Sent::Refused(fault) => {
                session.settle();
                session.ends_as(Outcome::ClientReset);
                return Tried::Refused(status(fault));
            }
            Sent::Unsent(request) => {
                errand.take_back(request);
                // It never left: whatever it asks for, it can be sent again.
                let unreached = Miss::Unconnected(Some(ConnectFailure::Reset));
                (!is_reused || stale == MOST_STALE || !errand.is_there()).then_some(unreached)
            }
            // It was closed while the request was on its way, as a server may at any time.
            Sent::Missed(Miss::Reset) if is_reused && stale < MOST_STALE && errand.can_repeat() => {
                None
            }
            Sent::Missed(miss) => Some(miss),
        };
        if let Some(miss) = miss {
            search.began(began);
            return Tried::Missed(Held::Session(session), miss);
        }
        match session.retract() {
            Some(place) => (lease, surely, stale) = (place, true, stale + 1),
            None => return Tried::Missed(Held::Session(session), Miss::Reset),
        }
    }
}

/// What became of a request that was given to a connection.
enum Sent {
    Answered(Response<Incoming>),
    /// The backend has not looked at it.
    Unsent(Option<Request<Upload>>),
    Missed(Miss),
    Refused(Fault),
}

/// Sends a request, and waits for the head of its answer.
async fn send(
    link: &mut Link,
    request: Request<Upload>,
    session: &Rc<Session>,
    mut patience: Patience<'_>,
) -> Sent {
    let source = patience.source;
    if let Some(source) = source {
        source.count_on(session);
    }
    let mut sending = pin!(link.send(request));
    poll_fn(|cx| {
        match session.poll_cut(cx) {
            Poll::Pending => {}
            // The connection of the client is reset, and nothing is answered.
            Poll::Ready(Outcome::Shutdown) => return Poll::Pending,
            Poll::Ready(cause) => return Poll::Ready(Sent::Missed(Miss::Recalled(cause))),
        }
        match sending.as_mut().poll(cx) {
            Poll::Ready(Ok(answer)) => Poll::Ready(Sent::Answered(answer)),
            Poll::Ready(Err(failed)) => Poll::Ready(unanswered(failed, source)),
            Poll::Pending => patience.poll(cx).map(|()| Sent::Missed(Miss::Late)),
        }
    })
    .await
}

fn unanswered(failed: Unanswered, source: Option<&Source>) -> Sent {
    if let Some(fault) = source.and_then(Source::fault) {
        return Sent::Refused(fault);
    }
    tracing::debug!(why = %failed.error, "no answer from a backend");
    match failed.why {
        Lost::Unsent => Sent::Unsent(failed.request),
        Lost::Reset => Sent::Missed(Miss::Reset),
        Lost::Invalid => Sent::Missed(Miss::Invalid),
        Lost::Upload => Sent::Refused(Fault::Client),
    }
}

fn status(fault: Fault) -> StatusCode {
    match fault {
        Fault::Client => StatusCode::BAD_REQUEST,
        Fault::TooLong => StatusCode::PAYLOAD_TOO_LARGE,
    }
}

/// How long the head of an answer is waited for: from the end of the request, or from where the backend
/// has taken no more of it. The time that a client takes for its part is not the backend's.
struct Patience<'a> {
    source: Option<&'a Source>,
    limit: Option<Duration>,
    /// When the request was sent.
    since: Instant,
    alarm: Option<Alarm>,
}

impl<'a> Patience<'a> {
    fn new(errand: &'a Errand, job: &Job<'_>, since: Instant) -> Self {
        let alarm = job.response_timeout.map(|limit| {
            let alarm = Alarm::new(&job.on.tools.dialer.clock);
            alarm.set(Some(limit));
            alarm
        });
        Self { source: errand.source.as_deref(), limit: job.response_timeout, since, alarm }
    }

    fn poll(&mut self, cx: &Context<'_>) -> Poll<()> {
        let (Some(limit), Some(alarm)) = (self.limit, &self.alarm) else { return Poll::Pending };
        if alarm.poll(cx).is_pending() {
            return Poll::Pending;
        }
        // Something may have moved since it was set.
        let quiet = match self.source.map(Source::waits) {
            None => self.since.elapsed(),
            Some((Waits::Client, _)) => Duration::ZERO,
            Some((Waits::Backend, quiet)) => quiet,
        };
        let left = limit.saturating_sub(quiet);
        if !left.is_zero() {
            alarm.set(Some(left));
            return alarm.poll(cx);
        }
        Poll::Ready(())
    }
}
