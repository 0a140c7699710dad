//! What is told of one request when it is over: its counts, and its line in the access log.
//!
//! Whoever serves a request tells its account what happens; the account speaks when the last of them
//! lets go of it, which is when the last byte of the answer has gone. So nothing that a request can
//! come to is forgotten, and nothing is told twice.

use std::cell::{Cell, OnceCell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use hyper::header::{HOST, HeaderValue, USER_AGENT};
use hyper::{Request, StatusCode, Version};

use crate::addr::ClientAddr;
use crate::http::connection::InForce;
use crate::http::{Connection, Lane, Proxy, Requests};
use crate::outcome::{Outcome, Rejection, Unserved};
use crate::record::{Record, RequestFacts, WayIn};
use crate::session::{Direction, Live};
use crate::upstream::Client;

/// Bytes of a method, a name, a path that are written down.
const LONGEST: (usize, usize, usize) = (32, 256, 2048);

/// One request, from the end of its head on.
pub(super) struct Account {
    on: Rc<Connection>,
    /// What was in force when it began, and is for it to its end.
    pub(super) proxy: Rc<InForce>,
    since: Instant,
    /// Where it counts; unset = with those that no route took.
    requests: RefCell<Option<Arc<Requests>>>,
    status: Cell<Option<StatusCode>>,
    is_tunnel: Cell<bool>,
    outcome: OnceCell<&'static str>,
    /// Boxed away: mostly there is none.
    line: Option<Box<RefCell<Record>>>,
}

impl Account {
    /// Of a request whose head has come.
    pub(super) fn begin<B>(on: &Rc<Connection>, request: &Request<B>) -> Rc<Self> {
        let proxy = on.in_force();
        let line = proxy.access.is_some().then(|| {
            let mut record = begun(on, &proxy);
            record.request = Some(Box::new(facts(request)));
            Box::new(RefCell::new(record))
        });
        Rc::new(Self {
            on: Rc::clone(on),
            proxy,
            since: Instant::now(),
            requests: RefCell::default(),
            status: Cell::default(),
            is_tunnel: Cell::default(),
            outcome: OnceCell::new(),
            line,
        })
    }

    /// When its head had come.
    pub(super) fn since(&self) -> Instant {
        self.since
    }

    /// Who asks, as far as that is believed, and what the request is called.
    pub(super) fn asked_by(&self, client: ClientAddr, id: &HeaderValue) {
        self.note(|record| {
            record.client = client;
            if let Some(request) = &mut record.request {
                request.request_id = Some(text(id.as_bytes(), LONGEST.1));
            }
        });
    }

    /// The way that it goes.
    pub(super) fn led(&self, lane: &Lane) {
        self.counts_with(lane.requests.first());
    }

    /// A backend is tried: whose place it has now, in which pool, and how many there have been.
    pub(super) fn tries(&self, lane: &Lane, pool: &Arc<str>, attempts: u32) {
        self.note(|record| record.attempts = attempts);
        // It is the lane's own but where the pool falls back on another.
        if self.requests.borrow().as_ref().is_none_or(|known| known.pool.as_ref() != Some(pool)) {
            self.counts_with(lane.requests_of(pool));
        }
    }

    /// A connect to a backend for it has come about.
    pub(super) fn connected(&self, took: Duration) {
        self.note(|record| record.connect = Some(took));
    }

    /// It is this backend's: it has answered, or it is the last that was asked.
    pub(super) fn settled(&self, backend: &Arc<str>) {
        self.note(|record| record.backend = Some(Arc::clone(backend)));
    }

    /// The head of the backend's answer is there.
    pub(super) fn heard(&self) {
        let took = self.since.elapsed();
        self.note(|record| record.first_byte = Some(took));
    }

    /// What the client is answered, with how many bytes of our own if it is ours.
    pub(super) fn answered(&self, status: StatusCode, own: Option<u64>) {
        if self.outcome.get().is_some_and(|outcome| *outcome == Unserved::ClientGone.as_str()) {
            // There is nobody to read it.
            return;
        }
        self.status.set(Some(status));
        if let Some(own) = own {
            self.note(|record| record.bytes_out = own);
        }
    }

    /// It has become a tunnel, which may last for days.
    pub(super) fn becomes_tunnel(&self) {
        self.is_tunnel.set(true);
    }

    /// It never reached a backend: counts the reason.
    pub(super) fn rejected(&self, why: impl Into<Unserved>) {
        let why = why.into();
        if self.outcome.set(why.as_str()).is_ok()
            && let Unserved::Rejected(why) = why
        {
            self.proxy.admission.figures.reject(why);
        }
    }

    /// How it has ended, unless somebody has said so before.
    pub(super) fn ended(&self, outcome: Outcome) {
        // Whoever comes later saw only what the first has caused.
        self.outcome.set(outcome.as_str()).ok();
    }

    /// The bytes of its bodies that were handed on.
    pub(super) fn moved(&self, live: &Live) {
        self.note(|record| {
            record.bytes_in = live.bytes(Direction::In);
            record.bytes_out = live.bytes(Direction::Out);
        });
    }

    /// How it has ended if nobody has said so: a client that has no answer has left, unless we have
    /// dropped it, and what we have answered by ourselves is as it should be.
    fn presumed(&self) -> &'static str {
        match (self.status.get(), self.on.end()) {
            (Some(status), _) if status.is_server_error() => Outcome::Error.as_str(),
            (Some(_), _) => Outcome::Ok.as_str(),
            (None, Outcome::ClientReset) => Unserved::ClientGone.as_str(),
            (None, outcome) => outcome.as_str(),
        }
    }

    fn counts_with(&self, requests: Option<&Arc<Requests>>) {
        self.note(|record| {
            record.route = requests.and_then(|requests| requests.route.clone());
            record.pool = requests.and_then(|requests| requests.pool.clone());
        });
        *self.requests.borrow_mut() = requests.cloned();
    }

    fn note(&self, note: impl FnOnce(&mut Record)) {
        if let Some(line) = &self.line {
            note(&mut line.borrow_mut());
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let (status, took) = (self.status.get(), self.since.elapsed());
        let outcome = *self.outcome.get_or_init(|| self.presumed());
        let requests = self.requests.take();
        let requests = requests.as_ref().unwrap_or(&self.proxy.requests.unrouted);
        requests.ended(status, Some(took).filter(|_| !self.is_tunnel.get()));
        let (Some(access), Some(line)) = (&self.proxy.access, self.line.take()) else { return };
        let mut record = line.into_inner();
        (record.time, record.duration, record.outcome) = (SystemTime::now(), took, outcome);
        if let Some(request) = &mut record.request {
            request.status = status.map(|status| status.as_u16());
        }
        access.write(&record);
    }
}

/// Counts and tells of a client that did not come to a request, or to none that can be read; `None` =
/// it was told nothing.
pub(super) fn unread(on: &Connection, status: Option<StatusCode>, why: Rejection) {
    let proxy = &on.proxy;
    proxy.admission.figures.reject(why);
    if status.is_some() {
        proxy.requests.unrouted.ended(status, None);
    }
    let Some(access) = &proxy.access else { return };
    let mut record = begun(on, proxy);
    record.outcome = why.as_str();
    let status = status.map(|status| status.as_u16());
    record.request = Some(Box::new(RequestFacts { status, ..RequestFacts::default() }));
    access.write(&record);
}

/// Leaves the line of a client that was turned away before its connection spoke http.
pub fn refuse(client: &Client, proxy: &Proxy, why: Unserved) {
    let Some(access) = &proxy.access else { return };
    let mut record = begun_by(proxy, client.address, client.local());
    record.tls = client.facts().map(Box::new);
    record.request = Some(Box::default());
    record.outcome = why.as_str();
    access.write(&record);
}

fn begun(on: &Connection, proxy: &Proxy) -> Record {
    let mut record = begun_by(proxy, on.client, on.local);
    record.tls.clone_from(&on.tls);
    record
}

fn begun_by(proxy: &Proxy, client: ClientAddr, local: SocketAddr) -> Record {
    let listener = &proxy.listener;
    let way_in = WayIn { listener, protocol: "http", client, local, way: None };
    Record::begun(way_in, SystemTime::now())
}

fn facts<B>(request: &Request<B>) -> RequestFacts {
    let (method, name, path) = LONGEST;
    let headers = request.headers();
    RequestFacts {
        method: Some(text(request.method().as_str().as_bytes(), method)),
        host: host(request).map(|host| text(host, name)),
        path: Some(text(request.uri().path().as_bytes(), path)),
        status: None,
        request_id: None,
        user_agent: headers.get(USER_AGENT).map(|agent| text(agent.as_bytes(), name)),
        version: match request.version() {
            Version::HTTP_10 => Some("1.0"),
            Version::HTTP_11 => Some("1.1"),
            Version::HTTP_2 => Some("2"),
            _ => None,
        },
    }
}

fn host<B>(request: &Request<B>) -> Option<&[u8]> {
    let authority = request.uri().authority().map(|authority| authority.as_str().as_bytes());
    authority.or_else(|| request.headers().get(HOST).map(HeaderValue::as_bytes))
}

/// What a client said, cut where it gets longer than `most` bytes.
fn text(said: &[u8], most: usize) -> String {
    let head = said.get(..most).unwrap_or(said);
    let mut text = String::from_utf8_lossy(head).into_owned();
    if head.len() < said.len() {
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_says_is_cut_where_it_gets_long() {
        assert_eq!(text(b"abc", 3), "abc");
        assert_eq!(text(b"abcd", 3), "abc…");
        assert_eq!(text(b"a\xff", 3), "a\u{fffd}");
        assert_eq!(text("aä".as_bytes(), 2), "a\u{fffd}…");
    }

    #[test]
    fn the_path_is_told_without_its_query_and_the_host_wherever_it_stands() {
        let request = Request::get("/a%20b/..?token=1").header(HOST, "A.example:81").body(());
        let facts = facts(&request.unwrap());
        assert_eq!(facts.path.as_deref(), Some("/a%20b/.."));
        assert_eq!(facts.host.as_deref(), Some("A.example:81"));
        let request = Request::get("https://b.example/").version(Version::HTTP_2).body(());
        let facts = super::facts(&request.unwrap());
        assert_eq!((facts.host.as_deref(), facts.version), (Some("b.example"), Some("2")));
    }
}
