//! HTTP: a client's connection on this page, each of its requests in [`forward`].
//!
//! The library speaks the protocol on both sides; which way a request goes, who answers it, and what
//! becomes of it when a backend fails is decided here. Everything of a connection lives on its
//! worker's thread.

mod answer;
mod attempt;
mod backends;
mod body;
mod exchange;
mod fetched;
mod forward;
mod headers;
mod limit;
mod retry;
mod stream;
mod tunnel;
mod upgrade;
mod upload;
mod way;

use std::cell::{Cell, OnceCell, RefCell};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use tokio::task::spawn_local;

use crate::addr::{ClientAddr, Networks};
use crate::admission::Admission;
use crate::config;
use crate::log::AccessLog;
use crate::net::Socket;
use crate::outcome::{Outcome, Unserved};
use crate::pool::Pool;
use crate::relay::Lent;
use crate::route::{Fixed, Redirection, Routes, Treatment};
use crate::session::Table;
use crate::tls::Inbound;
use crate::upstream::{Client, Dialer, Gateway};
pub use answer::TLS_REQUIRED;
use backends::Backends;
pub use limit::Limit;
use stream::{Parts, Scratch, Stream};

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
    /// Where requests leave their line; `None` = nowhere.
    pub access: Option<AccessLog>,
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
        let scratch = Rc::default();
        let backends = Backends::new(&dialer.clock, &scratch);
        Self { dialer, lent, sessions, closing, backends, scratch }
    }

    /// Closes connections to backends that should not be kept any longer; to be called at least once
    /// a second.
    pub fn sweep(&self) {
        self.backends.sweep();
    }

    /// Closes connections to backends that no request uses just now.
    pub fn release(&self) {
        self.backends.release();
    }

    /// Keeps no connection to a backend from here on.
    pub fn close(&self) {
        self.backends.close();
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
    /// Connections to backends that are told of this client, and so serve nobody else.
    own_backends: OnceCell<Rc<Backends>>,
    takeover: RefCell<Option<Takeover>>,
}

/// What goes on over a connection once http is over on it.
type Takeover = Box<dyn FnOnce(Parts) -> Pin<Box<dyn Future<Output = ()>>>>;

impl Connection {
    /// How a request has ended whose future, or whose answer, is dropped before its end.
    fn end(&self) -> Outcome {
        Outcome::ClientReset
    }

    /// Has `takeover` go on with the connection after an answer of 101. HTTP/1 only.
    fn switch(&self, takeover: Takeover) {
        *self.takeover.borrow_mut() = Some(takeover);
    }

    /// Where connections to the backends of `pool` are kept.
    fn backends(&self, pool: &Pool) -> &Backends {
        let shared = &self.tools.backends;
        if pool.connecting.proxy_header.is_none() {
            return shared;
        }
        self.own_backends.get_or_init(|| shared.for_one_client())
    }
}

/// Serves one connection to its end.
pub async fn serve(client: Client, proxy: Arc<Proxy>, tools: Rc<Tools>) {
    let (address, local) = (client.address, client.local());
    let is_h2 = client.tls.as_ref().and_then(|tls| tls.alpn()) == Some(b"h2");
    let socket = Rc::new(client.socket);
    let stream = Stream::new(Rc::clone(&socket), client.tls, client.ahead, &tools.scratch);
    let socket = (!is_h2).then_some(socket);
    let own_backends = OnceCell::new();
    let takeover = RefCell::default();
    let connection = Rc::new(Connection {
        client: address,
        local,
        proxy,
        tools,
        socket,
        own_backends,
        takeover,
    });
    let on = Rc::clone(&connection);
    let service =
        service_fn(move |request| Box::pin(forward::serve(request, Rc::clone(&connection))));
    let served = if is_h2 {
        http2::Builder::new(Local).enable_connect_protocol().serve_connection(stream, service).await
    } else {
        let mut talk = http1::Builder::new().half_close(true).serve_connection(stream, service);
        let done = poll_fn(|cx| talk.poll_without_shutdown(cx)).await;
        let parts = talk.into_parts();
        if let Some(takeover) = on.takeover.take() {
            let mut ours = parts.io.into_parts();
            ours.ahead.splice(..0, parts.read_buf);
            takeover(ours).await;
        }
        done
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
