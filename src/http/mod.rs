//! HTTP: a client's connection on this page, each of its requests in [`forward`].
//!
//! The library speaks the protocol on both sides; which way a request goes, who answers it, and what
//! becomes of it when a backend fails is decided here. Everything of a connection lives on its
//! worker's thread.

mod account;
mod answer;
mod backends;
mod body;
mod fetched;
mod figures;
mod forward;
mod limit;
mod stream;
mod way;

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::HeaderMap;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use tokio::task::spawn_local;

use crate::addr::{ClientAddr, Networks};
use crate::admission::Admission;
use crate::config;
use crate::log::AccessLog;
use crate::net::Socket;
use crate::outcome::Unserved;
use crate::record::TlsFacts;
use crate::relay::Lent;
use crate::route::{Fixed, Redirection, Routes, Treatment};
use crate::session::Table;
use crate::tls::Inbound;
use crate::upstream::{Client, Dialer, Gateway};
pub use answer::TLS_REQUIRED;
use backends::Backends;
pub use figures::{Requests, durations};
pub use limit::Limit;
use stream::{Scratch, Stream};

/// What is done with the requests of one listener.
#[derive(Debug)]
pub struct Proxy {
    /// The listener's name.
    pub listener: Arc<str>,
    /// Where its requests go.
    pub routes: Routes<Arc<Lane>>,
    /// What ends TLS here; `None` = cleartext.
    pub tls: Option<Arc<Inbound>>,
    /// No request for so long ends a connection, and a body that stands still ends a request;
    /// `None` = never.
    pub idle_timeout: Option<Duration>,
    /// What else the file says.
    pub rules: config::Http,
    /// Whose `X-Forwarded-*` is believed.
    pub trusted: Networks,
    /// Who is let in, and what is counted.
    pub admission: Arc<Admission>,
    /// What is counted of requests that no route took, and of the others.
    pub requests: Counted,
    /// Where requests leave their line; `None` = nowhere.
    pub access: Option<AccessLog>,
}

/// What is counted of a listener's requests.
#[derive(Debug)]
pub struct Counted {
    /// Those that came to no route.
    pub unrouted: Arc<Requests>,
    /// Those of its lanes.
    pub led: Box<[Arc<Requests>]>,
}

impl Counted {
    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Requests>> {
        self.led.iter().chain([&self.unrouted])
    }
}

/// What a route leads to, and what it does besides.
#[derive(Debug)]
pub struct Lane {
    /// Who answers.
    pub to: Destination,
    /// What else is done, by all ways of a route alike.
    pub treatment: Arc<Treatment>,
    /// How often it may be gone, by all ways of a route together; `None` = as often as it comes.
    pub limit: Option<Arc<Limit>>,
    /// What is counted of its requests: of its pool first, then of those that it falls back on.
    pub requests: Box<[Arc<Requests>]>,
}

impl Lane {
    /// True if the cookie of a request names a backend of the lane's pool.
    pub fn has_kept(&self, headers: &HeaderMap) -> bool {
        match &self.to {
            Destination::Pool(gateway) => gateway.entrance.has_kept(headers),
            Destination::Redirect(_) | Destination::Respond(_) => false,
        }
    }

    /// What is counted of the requests that went to this pool, one of its own.
    fn requests_of(&self, pool: &Arc<str>) -> Option<&Arc<Requests>> {
        let of_pool = |requests: &&Arc<Requests>| requests.pool.as_ref() == Some(pool);
        self.requests.iter().find(of_pool).or_else(|| self.requests.first())
    }
}

/// Who answers a request.
#[derive(Debug)]
pub enum Destination {
    /// A backend.
    Pool(Box<Gateway>),
    /// Somebody else, whom the client is to ask.
    Redirect(Redirection),
    /// We do.
    Respond(Fixed),
}

/// What a worker lends to its connections.
#[derive(Debug)]
pub struct Tools {
    /// Connects to backends.
    pub dialer: Dialer,
    /// Buffer and pipes of upgraded connections.
    pub lent: Rc<Lent>,
    /// The live sessions.
    pub sessions: Rc<Table>,
    /// True once the worker takes nothing new; those who wait are roused then.
    pub closing: Rc<Cell<bool>>,
    backends: Backends,
    scratch: Rc<RefCell<Scratch>>,
}

impl Tools {
    /// Tools without a connection to any backend yet.
    pub fn new(
        dialer: Dialer,
        lent: Rc<Lent>,
        sessions: Rc<Table>,
        closing: Rc<Cell<bool>>,
    ) -> Self {
        let (backends, scratch) = (Backends::default(), Rc::default());
        Self { dialer, lent, sessions, closing, backends, scratch }
    }
}

/// What the requests of a connection have in common.
struct Connection {
    client: ClientAddr,
    local: SocketAddr,
    proxy: Arc<Proxy>,
    tools: Rc<Tools>,
    /// Where its end is seen; `None` = the library tells each request of it.
    socket: Option<Rc<Socket>>,
    /// What is known of its TLS, for those who write it down.
    tls: Option<Box<TlsFacts>>,
}

/// Serves one connection to its end.
pub async fn serve(client: Client, proxy: Arc<Proxy>, tools: Rc<Tools>) {
    let (address, local) = (client.address, client.local());
    let is_h2 = client.tls.as_ref().and_then(|tls| tls.alpn()) == Some(b"h2");
    let socket = Rc::new(client.socket);
    let stream = Stream::new(Rc::clone(&socket), client.tls, client.ahead, &tools.scratch);
    let socket = (!is_h2).then_some(socket);
    let connection =
        Rc::new(Connection { client: address, local, proxy, tools, socket, tls: None });
    let service =
        service_fn(move |request| Box::pin(forward::serve(request, Rc::clone(&connection))));
    let served = if is_h2 {
        http2::Builder::new(Local).serve_connection(stream, service).await
    } else {
        http1::Builder::new().half_close(true).serve_connection(stream, service).await
    };
    if let Err(why) = served {
        tracing::debug!(client = %address, %why, "a connection has failed");
    }
}

/// Leaves the line of a client whose connection never came to a request.
pub fn refuse(_client: &Client, _proxy: &Proxy, _why: Unserved) {}

/// Runs what the library wants to run beside a connection, on the same thread.
#[derive(Debug, Clone, Copy)]
struct Local;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, work: F) {
        spawn_local(work);
    }
}
