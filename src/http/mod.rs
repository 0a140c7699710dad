//! HTTP: a client's connection in `connection`, each of its requests in `forward`.
//!
//! The library speaks the protocol on both sides; which way a request goes, who answers it, and what
//! becomes of it when a backend fails is decided here. Everything of a connection lives on its
//! worker's thread.

mod account;
mod answer;
mod attempt;
mod backends;
mod body;
mod challenge;
mod connection;
mod fetched;
mod figures;
mod forward;
mod headers;
mod limit;
mod retry;
mod session;
mod stream;
mod tunnel;
mod upgrade;
mod upload;
mod way;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::HeaderMap;
use tokio::task::spawn_local;

use crate::addr::Networks;
use crate::admission::Admission;
use crate::config;
use crate::log::AccessLog;
use crate::relay::Lent;
use crate::route::{Fixed, Redirection, Routes, Treatment};
use crate::session::{Desk, Table};
use crate::tls::{Challenges, Inbound};
use crate::upstream::{Client, Dialer, Gateway};
pub use account::refuse;
pub use answer::TLS_REQUIRED;
use backends::Backends;
use connection::Connection;
pub use figures::{Requests, durations};
pub use limit::Limit;
use stream::Scratch;

/// What is done with the requests of one listener.
#[derive(Debug)]
pub struct Proxy {
    /// The listener's name.
    pub listener: Arc<str>,
    /// Where its requests go.
    pub routes: Routes<Arc<Lane>>,
    /// What ends TLS here; `None` = cleartext.
    pub tls: Option<Arc<Inbound>>,
    /// What an authority is shown that asks in cleartext whether a name is ours.
    pub challenges: Arc<Challenges>,
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
    /// How often routes may be gone, by their names.
    pub limits: HashMap<Arc<str>, Arc<Limit>>,
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

/// Serves one connection to its end. It begins with `proxy`; each request asks at the `desk` what is in
/// force by then.
pub async fn serve(
    client: Client,
    desk: Arc<dyn Desk<Proxy>>,
    proxy: Arc<Proxy>,
    tools: Rc<Tools>,
) {
    connection::serve(client, desk, proxy, tools).await;
}

/// Runs what the library wants to run beside a connection, on the same thread.
#[derive(Debug, Clone, Copy)]
struct Local;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, work: F) {
        spawn_local(work);
    }
}
