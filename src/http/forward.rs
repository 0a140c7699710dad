//! One request on one page: who asks, its route, a backend, the answer.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Body;
use hyper::header::{HOST, HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_KEY, SET_COOKIE};
use hyper::http::response::Parts;
use hyper::http::uri::PathAndQuery;
use hyper::{Request, Response, StatusCode, Uri, Version};

use crate::addr::ClientAddr;
use crate::http::account::Account;
use crate::http::attempt::{self, Answered, Held, Tried};
use crate::http::body::{Download, Inflow, Served};
use crate::http::fetched::Fetched;
use crate::http::headers::{self, Origin};
use crate::http::retry::{Errand, Miss};
use crate::http::session::Session;
use crate::http::upgrade::{self, Ask};
use crate::http::way::{self, Led};
use crate::http::{Connection, Destination, Lane, answer, challenge};
use crate::outcome::{Outcome, Rejection, Unserved};
use crate::pool::{Claim, Picked, Pool};
use crate::route::Treatment;
use crate::session::Alarm;
use crate::upstream::{Caller, Gateway, Search, Unreached};

/// Serves a request: whatever comes of it, there is an answer.
pub(super) async fn serve(
    request: Request<Inflow>,
    on: Rc<Connection>,
    account: Rc<Account>,
) -> Served {
    let asked = Asked::of(&request, &on, account);
    asked.account.asked_by(asked.client, &asked.id);
    let mut answer = match challenge::answer(&request, &asked.account.proxy) {
        Some(shown) => shown,
        None => answer_to(request, &asked, &on).await,
    };
    if let Download::Own(_) = answer.body() {
        answer.headers_mut().insert(headers::REQUEST_ID, asked.id);
    }
    Ok(answer)
}

/// Who asks, as far as we believe it.
pub(super) struct Asked {
    pub(super) client: ClientAddr,
    /// The name of the request.
    pub(super) id: HeaderValue,
    /// Of its WebSocket handshake.
    key: Option<HeaderValue>,
    /// What is told of it in the end.
    pub(super) account: Rc<Account>,
}

impl Asked {
    fn of(request: &Request<Inflow>, on: &Connection, account: Rc<Account>) -> Self {
        let headers = request.headers();
        Self {
            client: headers::believed(headers, on.client, &account.proxy.trusted),
            id: headers::request_id(headers),
            key: headers.get(SEC_WEBSOCKET_KEY).cloned(),
            account,
        }
    }
}

/// Leads a request to whoever answers it.
async fn answer_to(
    mut request: Request<Inflow>,
    asked: &Asked,
    on: &Rc<Connection>,
) -> Response<Download> {
    let account = &asked.account;
    let Ok(ask) = Ask::of(&mut request) else {
        account.rejected(Rejection::BadRequest);
        return answer::plain(StatusCode::METHOD_NOT_ALLOWED);
    };
    // Only HTTP/1.0 knows requests that are for nobody by name.
    let is_named = request.uri().authority().is_some() || request.headers().contains_key(HOST);
    if !is_named && request.version() > Version::HTTP_10 {
        account.rejected(Rejection::BadRequest);
        return answer::plain(StatusCode::BAD_REQUEST);
    }
    let parts = (request.method().as_str(), request.uri(), request.headers());
    let (way, target, claims) = match way::lead(parts, asked.client.ip(), &account.proxy) {
        Led::Onward(way, target, claims) => (way, target, claims),
        Led::Answered(way, answer) => {
            account.led(&way.to);
            // Whatever its status, it is what the route is there for.
            account.ended(Outcome::Ok);
            return answer.map(|body| Download::Own(Full::new(body)));
        }
        Led::Limited(way, seconds) => {
            account.led(&way.to);
            account.rejected(Rejection::Rate);
            let mut answer = answer::plain(StatusCode::TOO_MANY_REQUESTS);
            answer.headers_mut().insert(RETRY_AFTER, seconds.into());
            return answer;
        }
        Led::Illegible(why) => {
            tracing::debug!(client = %asked.client, %why, "a request that goes nowhere");
            account.rejected(Rejection::BadRequest);
            return answer::plain(StatusCode::BAD_REQUEST);
        }
        Led::Nowhere => {
            account.rejected(Rejection::NoRoute);
            return answer::plain(StatusCode::NOT_FOUND);
        }
    };
    let (lane, treatment) = (&*way.to, &*way.to.treatment);
    let Destination::Pool(gateway) = &lane.to else {
        return answer::plain(StatusCode::NOT_FOUND);
    };
    let length = request.body().size_hint().exact().unwrap_or_default();
    account.led(lane);
    if treatment.max_body.is_some_and(|most| length > most) {
        account.rejected(Rejection::BadRequest);
        return answer::plain(StatusCode::PAYLOAD_TOO_LARGE);
    }
    make_ready(&mut request, target, asked, &ask, on);
    treatment.treat_request(request.headers_mut());
    let job = Job::new((on, asked), ask, lane, gateway, &claims);
    bounded(&job, forward(request, &job)).await
}

/// Makes a request the one that a backend gets.
fn make_ready(
    request: &mut Request<Inflow>,
    target: Option<PathAndQuery>,
    asked: &Asked,
    ask: &Ask,
    on: &Connection,
) {
    let origin = Origin {
        peer: on.client,
        local: on.local,
        is_secure: on.proxy.tls.is_some(),
        is_trusted: asked.account.proxy.trusted.contain(on.client.ip()),
    };
    let uri = std::mem::take(request.uri_mut());
    let headers = request.headers_mut();
    headers::of_request(headers, uri.authority(), &origin, &asked.id, ask.protocol());
    ask.sign(headers);
    *request.uri_mut() = match target.or_else(|| uri.path_and_query().cloned()) {
        Some(target) => Uri::from(target),
        None => uri,
    };
}

/// What there is to do for a request, over all attempts.
pub(super) struct Job<'a> {
    pub(super) on: &'a Rc<Connection>,
    pub(super) asked: &'a Asked,
    pub(super) ask: RefCell<Ask>,
    lane: &'a Lane,
    gateway: &'a Gateway,
    treatment: &'a Treatment,
    /// What it says of where it belongs.
    claims: &'a [Claim],
    /// What its client is to be told, so that it comes to the same backend again.
    cookie: RefCell<Option<HeaderValue>>,
    /// How long the head of an answer may take.
    pub(super) response_timeout: Option<Duration>,
    /// Its session, while it has one.
    pub(super) present: RefCell<Weak<Session>>,
    attempts: Cell<u32>,
}

impl<'a> Job<'a> {
    fn new(
        (on, asked): (&'a Rc<Connection>, &'a Asked),
        ask: Ask,
        lane: &'a Lane,
        gateway: &'a Gateway,
        claims: &'a [Claim],
    ) -> Self {
        Self {
            on,
            asked,
            ask: RefCell::new(ask),
            lane,
            gateway,
            treatment: &lane.treatment,
            claims,
            cookie: RefCell::default(),
            response_timeout: gateway.entrance.pool().connecting.response_timeout,
            present: RefCell::default(),
            attempts: Cell::new(0),
        }
    }
}

/// Has a backend answer the request, with as many attempts as it takes and `[retry]` allows.
async fn forward(request: Request<Inflow>, job: &Job<'_>) -> Response<Download> {
    let (on, pool) = (job.on, job.gateway.entrance.pool());
    pool.budget.request(on.tools.dialer.clock.now());
    let mut errand = Errand::new(request, &pool.connecting.retry.http, job.treatment.max_body);
    let asker = Asker { on, client: job.asked.client, claims: job.claims };
    let mut search = Search::new(job.gateway, &asker, &on.tools.dialer);
    let mut last = None;
    loop {
        let Picked { lease, pool, cookie } = match search.place().await {
            Ok(picked) => picked,
            Err(unreached) => return job.unreached(unreached, last),
        };
        job.attempts.set(search.attempts);
        job.cookie.replace(cookie);
        job.asked.account.tries(job.lane, pool.name(), search.attempts);
        // Boxed, since it is larger than all the rest together.
        let tried = Box::pin(attempt::attempt(&mut errand, &mut search, (pool, lease), job)).await;
        let (held, miss) = match tried {
            Tried::Refused(status) => return answer::plain(status),
            Tried::Missed(held, miss) => (held, miss),
            Tried::Answered(answered) => match Miss::said(answered.answer.status()) {
                Some(miss) => (Held::Answer(answered), miss),
                None => return job.pass_on(answered, errand, pool),
            },
        };
        job.failed(&held, miss, pool);
        if !job.may_retry(&search, &errand, miss) {
            return match held {
                Held::Answer(answered) => job.pass_on(answered, errand, pool),
                held => job.give_up(&held, miss),
            };
        }
        last = Some(miss);
        let Some(lease) = held.release() else { return answer::plain(miss.status()) };
        if let Err(unreached) = search.go_on(lease).await {
            return job.unreached(unreached, last);
        }
    }
}

impl Job<'_> {
    /// Counts what speaks against a backend, which is then as slow as one may be.
    fn failed(&self, held: &Held, miss: Miss, pool: &Pool) {
        let Some((backend, why)) = held.backend().zip(miss.failure()) else { return };
        let slowest = self.response_timeout.unwrap_or(pool.connecting.timeout);
        backend.request_failed(why, slowest, self.on.tools.dialer.clock.now());
    }

    fn may_retry(&self, search: &Search<'_, Asker<'_>>, errand: &Errand, miss: Miss) -> bool {
        let pool = self.gateway.entrance.pool();
        let now = || self.on.tools.dialer.clock.now();
        search.may_go_on()
            && errand.is_there()
            && miss.is_worth_another(&pool.connecting.retry.http, errand.can_repeat())
            && (!miss.has_cost() || pool.budget.retry(now()))
    }

    /// Nobody could be picked, or nobody any more.
    fn unreached(&self, unreached: Unreached, last: Option<Miss>) -> Response<Download> {
        self.asked.account.rejected(unreached.why);
        answer::plain(match (unreached.why, last) {
            (Unserved::Rejected(Rejection::Refused), Some(miss)) => miss.status(),
            (Unserved::Rejected(Rejection::Refused), None) => StatusCode::BAD_GATEWAY,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        })
    }

    /// The last attempt has brought no answer.
    fn give_up(&self, held: &Held, miss: Miss) -> Response<Download> {
        match held {
            Held::Lease(_) => self.asked.account.rejected(Rejection::Refused),
            Held::Session(session) | Held::Answer(Answered { session, .. }) => {
                session.settle();
                session.ends_as(miss.outcome());
            }
        }
        answer::plain(miss.status())
    }

    /// A backend's answer becomes the client's.
    fn pass_on(&self, answered: Answered, errand: Errand, pool: &Pool) -> Response<Download> {
        let Answered { answer, session, .. } = &answered;
        session.settle();
        if upgrade::is_agreed(answer) {
            return self.switch(answered, &errand, pool);
        }
        let Answered { answer, link, session } = answered;
        let (mut head, body) = answer.into_parts();
        self.treat(&mut head, &session, pool, false);
        if let Some(limit) = self.treatment.request_timeout {
            session.limit(limit.saturating_sub(self.asked.account.since().elapsed()));
        }
        let (upload, on, is_whole) = (errand.into_source(), Rc::clone(self.on), false);
        let fetched = Fetched { body, link, upload, session, on, is_whole };
        Response::from_parts(head, Download::Fetched(Box::new(fetched)))
    }

    /// A backend has agreed to speak another protocol.
    fn switch(&self, answered: Answered, errand: &Errand, pool: &Pool) -> Response<Download> {
        let session = Rc::clone(&answered.session);
        let joined = errand.is_sent().then(|| {
            let ask = self.ask.replace(Ask::Nothing);
            upgrade::join(ask, self.asked.key.as_ref(), answered, self.on)
        });
        let Some(Some(answer)) = joined else {
            // Nobody has asked for it, or not for this.
            session.ends_as(Outcome::BackendReset);
            return answer::plain(StatusCode::BAD_GATEWAY);
        };
        let (mut head, body) = answer.into_parts();
        let is_upgrade = head.status == StatusCode::SWITCHING_PROTOCOLS;
        self.treat(&mut head, &session, pool, is_upgrade);
        Response::from_parts(head, body)
    }

    /// Makes the head of a backend's answer the one that the client gets.
    fn treat(&self, head: &mut Parts, session: &Session, pool: &Pool, is_upgrade: bool) {
        headers::of_answer(&mut head.headers, &self.asked.id, is_upgrade);
        if self.asked.account.proxy.rules.debug_headers
            && let Some(backend) = session.backend()
        {
            let attempts = self.attempts.get();
            headers::debug(&mut head.headers, pool.name(), backend.name(), attempts);
        }
        self.treatment.treat_answer(&mut head.headers);
        if let Some(cookie) = self.cookie.take() {
            head.headers.append(SET_COOKIE, cookie);
        }
        // What the library makes of it depends on what the client speaks.
        head.version = Version::HTTP_11;
    }
}

/// Ends a request that takes longer than it may, whatever it waits for.
async fn bounded(
    job: &Job<'_>,
    work: impl Future<Output = Response<Download>>,
) -> Response<Download> {
    let Some(limit) = job.treatment.request_timeout else { return work.await };
    let alarm = Alarm::new(&job.on.tools.dialer.clock);
    alarm.set(Some(limit));
    let mut work = Box::pin(work);
    let ended = poll_fn(|cx| match work.as_mut().poll(cx) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending => alarm.poll(cx).map(|()| None),
    });
    let Some(answer) = ended.await else {
        let present = job.present.borrow().upgrade();
        match (present, job.attempts.get()) {
            (Some(session), _) => {
                session.settle();
                session.ends_as(Outcome::RequestTimeout);
            }
            (None, 0) => job.asked.account.rejected(Rejection::QueueTimeout),
            (None, _) => job.asked.account.rejected(Rejection::Refused),
        }
        return answer::plain(StatusCode::GATEWAY_TIMEOUT);
    };
    answer
}

/// The client of a request, for those who look for a backend.
pub(super) struct Asker<'a> {
    on: &'a Connection,
    client: ClientAddr,
    claims: &'a [Claim],
}

impl Caller for Asker<'_> {
    fn address(&self) -> ClientAddr {
        self.client
    }

    fn local(&self) -> SocketAddr {
        self.on.local
    }

    fn claims(&self) -> &[Claim] {
        self.claims
    }

    fn sends_requests(&self) -> bool {
        true
    }

    fn poll_hangup(&self, cx: &Context<'_>) -> Poll<()> {
        self.on.socket.as_ref().map_or(Poll::Pending, |socket| socket.poll_hangup(cx))
    }
}
