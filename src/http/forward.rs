//! One request on one page: who asks, its route, a backend, the answer.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Body;
use hyper::header::{HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_KEY, SET_COOKIE};
use hyper::http::response::Parts;
use hyper::http::uri::PathAndQuery;
use hyper::{Request, Response, StatusCode, Uri, Version};

use crate::addr::ClientAddr;
use crate::http::account::Account;
use crate::http::answer::Form;
use crate::http::attempt::{self, Answered, Held, Tried};
use crate::http::body::{Download, Inflow, Served};
use crate::http::fetched::Fetched;
use crate::http::headers::{self, Origin};
use crate::http::retry::{Errand, Miss};
use crate::http::session::Session;
use crate::http::upgrade::{self, Ask};
use crate::http::way::{self, Led};
use crate::http::{Connection, Destination, Lane};
use crate::outcome::{Outcome, Rejection, Unserved};
use crate::pool::{Claim, Picked, Pool};
use crate::session::Alarm;
use crate::upstream::{Caller, Gateway, Search, Unreached};

/// Serves a request: whatever comes of it, there is an answer.
pub(super) async fn serve(request: Request<Inflow>, on: Rc<Connection>) -> Served {
    let account = Account::begin(&on, &request);
    let asked = Asked::of(&request, &on);
    account.asked_by(asked.client, &asked.id);
    let mut answer = answer_to(request, &asked, &on, &account).await;
    let own = match answer.body() {
        Download::Own(body) => body.size_hint().exact(),
        Download::Fetched(_) => None,
    };
    if own.is_some() {
        answer.headers_mut().insert(headers::REQUEST_ID, asked.id);
    }
    account.answered(answer.status(), own);
    Ok(answer)
}

/// Who asks, as far as we believe it.
struct Asked {
    client: ClientAddr,
    /// The name of the request.
    id: HeaderValue,
    /// How it wants to be answered by us.
    form: Form,
    /// Of its WebSocket handshake.
    key: Option<HeaderValue>,
}

impl Asked {
    fn of(request: &Request<Inflow>, on: &Connection) -> Self {
        let headers = request.headers();
        let id = headers::request_id(headers);
        let mut form = Form::of(request.method(), headers);
        form.id = Some(id.clone());
        let client = headers::believed(headers, on.client, &on.proxy.trusted);
        Self { client, id, form, key: headers.get(SEC_WEBSOCKET_KEY).cloned() }
    }
}

/// Leads a request to whoever answers it.
async fn answer_to(
    mut request: Request<Inflow>,
    asked: &Asked,
    on: &Rc<Connection>,
    account: &Rc<Account>,
) -> Response<Download> {
    let Ok(ask) = Ask::of(&mut request) else {
        return asked.form.answer(StatusCode::METHOD_NOT_ALLOWED);
    };
    let parts = (request.method().as_str(), request.uri(), request.headers());
    let (way, target, claims) = match way::lead(parts, asked.client.ip(), &on.proxy) {
        Led::Onward(way, target, claims) => (way, target, claims),
        Led::Answered(way, answer) => {
            account.led(&way.to);
            return answer.map(|body| Download::Own(Full::new(body)));
        }
        Led::Limited(way, seconds) => {
            account.led(&way.to);
            account.rejected(Rejection::Rate);
            let mut answer = asked.form.answer(StatusCode::TOO_MANY_REQUESTS);
            answer.headers_mut().insert(RETRY_AFTER, seconds.into());
            return answer;
        }
        Led::Illegible(why) => {
            tracing::debug!(client = %asked.client, %why, "a request that goes nowhere");
            account.rejected(Rejection::BadRequest);
            return asked.form.answer(StatusCode::BAD_REQUEST);
        }
        Led::Nowhere => {
            account.rejected(Rejection::NoRoute);
            return asked.form.answer(StatusCode::NOT_FOUND);
        }
    };
    account.led(&way.to);
    let Destination::Pool(gateway) = &way.to.to else {
        return asked.form.answer(StatusCode::NOT_FOUND);
    };
    let length = request.body().size_hint().exact().unwrap_or_default();
    if way.to.treatment.max_body.is_some_and(|most| length > most) {
        return asked.form.answer(StatusCode::PAYLOAD_TOO_LARGE);
    }
    make_ready(&mut request, target, asked, &ask, on);
    way.to.treatment.treat_request(request.headers_mut());
    let job = Job::new((on, account, asked), ask, &way.to, gateway);
    bounded(&job, forward(request, &job, &claims)).await
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
        is_trusted: on.proxy.trusted.contain(on.client.ip()),
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
    pub(super) account: &'a Rc<Account>,
    asked: &'a Asked,
    pub(super) ask: RefCell<Ask>,
    lane: &'a Lane,
    gateway: &'a Gateway,
    /// How long the head of an answer may take.
    pub(super) response_timeout: Option<Duration>,
    /// Its session, while it has one.
    pub(super) present: RefCell<Weak<Session>>,
    attempts: Cell<u32>,
}

impl<'a> Job<'a> {
    fn new(
        (on, account, asked): (&'a Rc<Connection>, &'a Rc<Account>, &'a Asked),
        ask: Ask,
        lane: &'a Lane,
        gateway: &'a Gateway,
    ) -> Self {
        let response_timeout = gateway.entrance.pool().connecting.response_timeout;
        let (ask, present, attempts) = (RefCell::new(ask), RefCell::default(), Cell::new(0));
        Self { on, account, asked, ask, lane, gateway, response_timeout, present, attempts }
    }
}

/// Has a backend answer the request, with as many attempts as it takes and `[retry]` allows.
async fn forward(request: Request<Inflow>, job: &Job<'_>, claims: &[Claim]) -> Response<Download> {
    let (on, pool) = (job.on, job.gateway.entrance.pool());
    pool.budget.request(on.tools.dialer.clock.now());
    let most = job.lane.treatment.max_body;
    let mut errand = Errand::new(request, &pool.connecting.retry.http, most);
    let asker = Asker { on, client: job.asked.client, claims };
    let mut search = Search::new(job.gateway, &asker, &on.tools.dialer);
    let mut last = None;
    loop {
        let Picked { lease, pool, cookie } = match search.place().await {
            Ok(picked) => picked,
            Err(unreached) => return job.unreached(unreached, last),
        };
        job.tries(pool, search.attempts);
        // Boxed, since it is larger than all the rest together.
        let tried = Box::pin(attempt::attempt(&mut errand, &mut search, (pool, lease), job)).await;
        let (held, miss) = match tried {
            Tried::Refused(status) => return job.asked.form.answer(status),
            Tried::Missed(held, miss) => (held, miss),
            Tried::Answered(answered) => match Miss::said(answered.answer.status()) {
                Some(miss) => (Held::Answer(answered), miss),
                None => return job.pass_on(answered, errand, (pool, cookie)),
            },
        };
        job.failed(&held, miss);
        if !job.may_retry(&search, &errand, miss) {
            return match held {
                Held::Answer(answered) => job.pass_on(answered, errand, (pool, cookie)),
                held => job.give_up(&held, miss),
            };
        }
        last = Some(miss);
        let Some(lease) = held.release() else { return job.asked.form.answer(miss.status()) };
        if let Err(unreached) = search.go_on(lease).await {
            return job.unreached(unreached, last);
        }
    }
}

/// The pool that has answered, and the cookie that the client is to come back with.
type Of<'a> = (&'a Pool, Option<&'a HeaderValue>);

impl Job<'_> {
    /// A place was taken in this pool.
    fn tries(&self, pool: &Pool, attempts: u32) {
        self.attempts.set(attempts);
        self.account.tries(self.lane, pool.name(), attempts);
    }

    /// Counts what speaks against a backend.
    fn failed(&self, held: &Held, miss: Miss) {
        if let Some((backend, why)) = held.backend().zip(miss.failure()) {
            // However quick it was: quickness of that kind must not draw requests.
            let took = held.since().map_or(Duration::ZERO, |since| since.elapsed());
            let cost = took.max(self.gateway.entrance.pool().connecting.timeout);
            backend.request_failed(why, cost, self.on.tools.dialer.clock.now());
        }
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
        self.account.rejected(unreached.why);
        self.asked.form.answer(match (unreached.why, last) {
            (Unserved::Rejected(Rejection::Refused), Some(miss)) => miss.status(),
            (Unserved::Rejected(Rejection::Refused), None) => StatusCode::BAD_GATEWAY,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        })
    }

    /// The last attempt has brought no answer.
    fn give_up(&self, held: &Held, miss: Miss) -> Response<Download> {
        match held {
            Held::Lease(_) => self.account.rejected(Rejection::Refused),
            Held::Session(session) | Held::Answer(Answered { session, .. }) => {
                session.settle();
                session.ends_as(miss.outcome());
            }
        }
        self.asked.form.answer(miss.status())
    }

    /// A backend's answer becomes the client's.
    fn pass_on(&self, answered: Answered, errand: Errand, of: Of<'_>) -> Response<Download> {
        let Answered { answer, session, .. } = &answered;
        session.settle();
        self.account.heard();
        if let Some(backend) = session.backend() {
            backend.answered(session.since().elapsed(), self.on.tools.dialer.clock.now());
        }
        if upgrade::is_agreed(answer) {
            return self.switch(answered, &errand, of);
        }
        let Answered { answer, link, session } = answered;
        let (mut head, body) = answer.into_parts();
        self.treat(&mut head, &session, of, false);
        if let Some(limit) = self.lane.treatment.request_timeout {
            session.limit(limit.saturating_sub(self.account.since().elapsed()));
        }
        let (upload, on, is_whole) = (errand.into_source(), Rc::clone(self.on), false);
        let fetched = Fetched { body, link, upload, session, on, is_whole };
        Response::from_parts(head, Download::Fetched(Box::new(fetched)))
    }

    /// A backend has agreed to speak another protocol.
    fn switch(&self, answered: Answered, errand: &Errand, of: Of<'_>) -> Response<Download> {
        let session = Rc::clone(&answered.session);
        let joined = errand.is_sent().then(|| {
            let ask = self.ask.replace(Ask::Nothing);
            upgrade::join(ask, self.asked.key.as_ref(), answered, self.on)
        });
        let Some(Some(answer)) = joined else {
            // Nobody has asked for it, or not for this.
            session.ends_as(Outcome::BackendReset);
            return self.asked.form.answer(StatusCode::BAD_GATEWAY);
        };
        let (mut head, body) = answer.into_parts();
        let is_upgrade = head.status == StatusCode::SWITCHING_PROTOCOLS;
        self.treat(&mut head, &session, of, is_upgrade);
        Response::from_parts(head, body)
    }

    /// Makes the head of a backend's answer the one that the client gets.
    fn treat(&self, head: &mut Parts, session: &Session, of: Of<'_>, is_upgrade: bool) {
        let (pool, cookie) = of;
        headers::of_answer(&mut head.headers, &self.asked.id, is_upgrade);
        if self.on.proxy.rules.debug_headers
            && let Some(backend) = session.backend()
        {
            let attempts = self.attempts.get();
            headers::debug(&mut head.headers, pool.name(), backend.name(), attempts);
        }
        if let Some(cookie) = cookie {
            head.headers.append(SET_COOKIE, cookie.clone());
        }
        self.lane.treatment.treat_answer(&mut head.headers);
        // What the library makes of it depends on what the client speaks.
        head.version = Version::HTTP_11;
    }
}

/// Ends a request that takes longer than it may, whatever it waits for.
async fn bounded(
    job: &Job<'_>,
    work: impl Future<Output = Response<Download>>,
) -> Response<Download> {
    let Some(limit) = job.lane.treatment.request_timeout else { return work.await };
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
            (None, 0) => job.account.rejected(Rejection::QueueTimeout),
            (None, _) => job.account.rejected(Rejection::Refused),
        }
        return job.asked.form.answer(StatusCode::GATEWAY_TIMEOUT);
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
