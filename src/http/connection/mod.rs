//! A client's connection: which protocol it speaks, how long it may take for what, how it ends.

mod exchange;
mod http1;
mod http2;
mod input;
mod parting;
mod streams;

use std::cell::{Cell, OnceCell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use hyper::Request;
use hyper::body::Incoming;
use hyper::header::HOST;
use hyper::rt::Executor;

use crate::addr::ClientAddr;
use crate::admission::Figures;
use crate::http::backends::Backends;
use crate::http::stream::{Parts, Stream};
use crate::http::{Proxy, Tools};
use crate::net::Socket;
use crate::outcome::Outcome;
use crate::pool::Pool;
use crate::record::TlsFacts;
use crate::session::{Alarm, Desk};
use crate::upstream::Client;
use crate::wire::http2::PREFACE;
pub(super) use exchange::Inflow;
use streams::{Streams, Tasks};

/// A client that has ended its side may still read its answer, if that gets on: this long without a
/// byte either way, and it is taken for gone.
const HALF_CLOSED: Duration = Duration::from_secs(2);
/// At a stop, a client that has just come may still send its request for so long.
const LAST_CALL: Duration = Duration::from_secs(1);

/// What the requests of a connection have in common.
pub(super) struct Connection {
    pub(super) client: ClientAddr,
    pub(super) local: SocketAddr,
    /// What was in force when it came: its own limits stay those.
    pub(super) proxy: Arc<Proxy>,
    /// Where it came in.
    desk: Arc<dyn Desk<Proxy>>,
    /// What was in force at its latest request.
    latest: RefCell<Rc<InForce>>,
    pub(super) tools: Rc<Tools>,
    /// Where its end is seen; `None` = the library tells each request of it.
    pub(super) socket: Option<Rc<Socket>>,
    /// The server name of its TLS.
    pub(super) sni: Option<Box<str>>,
    /// What is known of its TLS, for those who write it down.
    pub(super) tls: Option<Box<TlsFacts>>,
    /// How the request that is dropped now has ended.
    end: Cell<Option<Outcome>>,
    /// Bytes of answers since somebody looked.
    given: Cell<usize>,
    takeover: RefCell<Option<Takeover>>,
    /// Connections to backends that are told of this client, and so serve nobody else.
    own_backends: OnceCell<Rc<Backends>>,
    tasks: Tasks,
}

/// What is in force for a request. Requests of a connection share it by a count of their own thread: the
/// one of what is inside would go back and forth between all workers.
pub(super) struct InForce(Arc<Proxy>);

impl std::ops::Deref for InForce {
    type Target = Proxy;

    fn deref(&self) -> &Proxy {
        &self.0
    }
}

/// What goes on over a connection once http is over on it.
pub(super) type Takeover = Box<dyn FnOnce(Parts) -> Pin<Box<dyn Future<Output = ()>>>>;

impl Connection {
    /// How a request has ended whose future, or whose answer, is dropped before its end.
    pub(super) fn end(&self) -> Outcome {
        self.end.get().unwrap_or(Outcome::ClientReset)
    }

    /// Requests that are dropped from now on have ended so.
    fn ends_by(&self, outcome: Outcome) {
        self.end.set(Some(outcome));
    }

    /// Has `takeover` go on with the connection after an answer of 101. HTTP/1 only.
    pub(super) fn switch(&self, takeover: Takeover) {
        *self.takeover.borrow_mut() = Some(takeover);
    }

    /// Runs something beside the connection, which is not over before it is.
    pub(super) fn spawn(self: &Rc<Self>, work: impl Future<Output = ()> + 'static) {
        Streams::new(self).execute(work);
    }

    /// Where connections to the backends of `pool` are kept.
    pub(super) fn backends(&self, pool: &Pool) -> &Backends {
        let shared = &self.tools.backends;
        if pool.connecting.proxy_header.is_none() {
            return shared;
        }
        self.own_backends.get_or_init(|| shared.for_one_client())
    }

    /// What is in force for a request that begins now.
    pub(super) fn in_force(&self) -> Rc<InForce> {
        let mut latest = self.latest.borrow_mut();
        if let Some(newer) = self.desk.newer(&latest.0) {
            *latest = Rc::new(InForce(newer));
        }
        Rc::clone(&latest)
    }

    fn figures(&self) -> &Figures {
        &self.proxy.admission.figures
    }

    /// True if the client asks for a name that it was not shown the certificate of, though there is
    /// one: it should not have used this connection (RFC 9110, 15.5.20).
    fn is_misdirected(&self, request: &Request<Incoming>) -> bool {
        let (Some(sni), Some(tls)) = (&self.sni, &self.proxy.tls) else { return false };
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        let authority = request.uri().authority().map(|authority| authority.as_str()).or(host);
        let Some(authority) = authority else { return false };
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
        let host = host.strip_suffix('.').unwrap_or(host);
        !host.eq_ignore_ascii_case(sni) && tls.certificates.tells_apart(sni, host)
    }
}

/// A connection counted on its listener.
struct Counted(Arc<crate::admission::Admission>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.figures.http_connections.decrement();
    }
}

/// Serves a connection to its end.
pub(super) async fn serve(
    client: Client,
    desk: Arc<dyn Desk<Proxy>>,
    proxy: Arc<Proxy>,
    tools: Rc<Tools>,
) {
    proxy.admission.figures.http_connections.increment();
    let _counted = Counted(Arc::clone(&proxy.admission));
    let (address, local) = (client.address, client.local());
    // The time for the first head runs from the end of the handshake, where there is one.
    let since = if client.tls.is_some() { Instant::now() } else { client.since };
    let facts = proxy.access.is_some().then(|| client.facts().map(Box::new)).flatten();
    let sni = client.tls.as_ref().and(client.hello.as_ref());
    let sni = sni.and_then(|hello| hello.server_name.as_deref()).map(Box::from);
    let agreed = client.tls.as_ref().and_then(|tls| tls.alpn()).map(|alpn| alpn == b"h2");
    let socket = Rc::new(client.socket);
    let mut stream = Stream::new(Rc::clone(&socket), client.tls, client.ahead, &tools.scratch);
    let mut connection = Connection {
        client: address,
        local,
        latest: RefCell::new(Rc::new(InForce(Arc::clone(&proxy)))),
        proxy,
        desk,
        tools,
        socket: Some(Rc::clone(&socket)),
        sni,
        tls: facts,
        end: Cell::new(None),
        given: Cell::new(0),
        takeover: RefCell::default(),
        own_backends: OnceCell::new(),
        tasks: Tasks::default(),
    };
    let is_h2 = match agreed {
        Some(is_h2) => is_h2,
        None => match begins_with_preface(&connection, &mut stream, since).await {
            Ok(is_h2) => is_h2,
            Err(begun) => return parting::unsaid(&connection, &mut stream, begun).await,
        },
    };
    if is_h2 {
        connection.socket = None;
        http2::serve(stream, socket, Rc::new(connection), since).await;
    } else {
        http1::serve(stream, socket, Rc::new(connection), since).await;
    }
}

/// Reads until it is clear which version the client speaks.
///
/// # Errors
/// It took too long, left, or we stop: true if it had begun to say something.
async fn begins_with_preface(
    on: &Connection,
    stream: &mut Stream,
    since: Instant,
) -> Result<bool, parting::Unsaid> {
    let alarm = Alarm::new(on.tools.sessions.clock());
    alarm.set(Some(left(on.proxy.rules.header_timeout, since)));
    let mut is_last_call = false;
    poll_fn(|cx| {
        loop {
            let said = stream.ahead();
            let is_silent = said.is_empty();
            let common = said.len().min(PREFACE.len());
            if said.get(..common) != PREFACE.get(..common) {
                return Poll::Ready(Ok(false));
            }
            if common == PREFACE.len() {
                return Poll::Ready(Ok(true));
            }
            match stream.poll_more(cx, FIRST_READ) {
                Poll::Ready(Ok(true)) => continue,
                Poll::Ready(_) => return Poll::Ready(Err(parting::Unsaid::Gone)),
                Poll::Pending => {}
            }
            if alarm.poll(cx).is_ready() {
                return Poll::Ready(Err(match (is_last_call || on.is_over(), is_silent) {
                    (true, _) => parting::Unsaid::Stopped,
                    (false, true) => parting::Unsaid::Silent,
                    (false, false) => parting::Unsaid::Begun,
                }));
            }
            if is_last_call || !on.is_closing() {
                return Poll::Pending;
            }
            is_last_call = true;
            alarm.set(Some(left(on.proxy.rules.header_timeout, since).min(LAST_CALL)));
        }
    })
    .await
}

/// Bytes of the first read: few heads are longer.
const FIRST_READ: usize = 8 * 1024;

impl Connection {
    /// True once nothing new is taken, by the worker or where it came in.
    fn is_closing(&self) -> bool {
        self.tools.closing.get() || self.desk.is_closed()
    }

    /// True if nobody is waited for who is silent: we stop. Where another process has taken over, or a
    /// reload has closed the address, a client that is about to ask must not find the connection
    /// closed: it is told with its next answer.
    fn is_hasty(&self) -> bool {
        self.tools.closing.get() && !self.desk.is_left()
    }

    /// True once all is ended that is still there.
    fn is_over(&self) -> bool {
        self.tools.sessions.is_over()
    }
}

/// What is left of `limit`.
fn left(limit: Duration, since: Instant) -> Duration {
    limit.saturating_sub(since.elapsed())
}
