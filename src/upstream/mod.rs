//! Reaching a backend: pick, dial, and try elsewhere while the rules allow it.

mod client;
mod dial;
mod gateway;
mod seek;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::net::{Reactor, Socket};
use crate::outcome::{ConnectFailure, Rejection, Unserved};
use crate::pool::{Lease, Picked, Pool};
use crate::session::Clock;
use crate::tls::{Outbound, Session};
pub use client::{Caller, Client};
use dial::DialError;
pub use dial::Dialed;
pub use gateway::Gateway;
use seek::Seeker;

/// What a worker lends to those who connect.
#[derive(Debug, Clone)]
pub struct Dialer {
    /// Watches the new sockets.
    pub reactor: Rc<Reactor>,
    /// Limits the attempts.
    pub clock: Rc<Clock>,
    /// Set when a connect waits for descriptors or memory: what can be spared should be given up.
    pub is_short: Rc<Cell<bool>>,
}

/// A connected backend with the session counted on it.
///
/// The lease must outlive the relay, so this has no `Drop` of its own: the socket can be moved out
/// while the lease stays.
#[derive(Debug)]
pub struct Server {
    /// The connection.
    pub socket: Socket,
    /// What is spoken over it, if it is TLS.
    pub tls: Option<Box<Secured>>,
    /// The place on the backend.
    pub lease: Lease,
    /// The name of the pool in which the backend was picked.
    pub pool: Arc<str>,
    /// Connects that were tried, this one included.
    pub attempts: u32,
    /// A reset before its first byte and before then is a failure of the backend.
    pub on_trial_until: Instant,
}

/// A TLS connection to a backend, after the handshake.
#[derive(Debug)]
pub struct Secured {
    /// The connection.
    pub session: Session,
    /// What the backend has said already, decrypted: it came with the last of the handshake.
    pub ahead: Vec<u8>,
}

/// Why no backend was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreached {
    /// The word for it.
    pub why: Unserved,
    /// Connects that were tried.
    pub attempts: u32,
}

/// Picks a backend and connects to it; on failure picks another as `[retry]` allows. While all are
/// at their caps it waits, as `[queue]` allows.
///
/// # Errors
/// Nobody could be picked, every attempt failed, or the client has left.
pub async fn connect(
    gateway: &Gateway,
    client: &Client,
    dialer: &Dialer,
) -> Result<Server, Unreached> {
    let mut search = Search::new(gateway, client, dialer);
    loop {
        let Picked { lease, pool, .. } = search.place().await?;
        if let Some(Dialed { socket, tls }) = search.dial(pool, &lease).await {
            lease.tally().connected.increment();
            let on_trial_until = Instant::now() + pool.connecting.timeout;
            let (pool, attempts) = (Arc::clone(pool.name()), search.attempts);
            return Ok(Server { socket, tls, lease, pool, attempts, on_trial_until });
        }
        search.go_on(lease).await?;
    }
}

/// A search for a backend that serves: place after place, as `[retry]` of the pool allows.
pub struct Search<'a, C> {
    gateway: &'a Gateway,
    caller: &'a C,
    dialer: &'a Dialer,
    seeker: Seeker<'a, C>,
    window: Window,
    /// Places taken so far.
    pub attempts: u32,
    /// Why the latest connect failed.
    pub failure: Option<ConnectFailure>,
    /// How long the latest connect took that came about, until somebody takes note of it.
    pub connected: Option<Duration>,
}

impl<'a, C: Caller> Search<'a, C> {
    /// A search that has not begun.
    pub fn new(gateway: &'a Gateway, caller: &'a C, dialer: &'a Dialer) -> Self {
        let retry = gateway.entrance.pool().connecting.retry;
        let seeker = Seeker::new(&gateway.entrance, caller, dialer);
        let window = Window { began: None, length: retry.window };
        Self {
            gateway,
            caller,
            dialer,
            seeker,
            window,
            attempts: 0,
            failure: None,
            connected: None,
        }
    }

    /// Takes the next place; where all are full it waits for one.
    ///
    /// # Errors
    /// There is none to be had, or the client has left.
    pub async fn place(&mut self) -> Result<Picked<'a>, Unreached> {
        let attempts = self.attempts;
        let found = self.seeker.find(attempts).await;
        let (picked, waited) = found.map_err(|why| Unreached { why, attempts })?;
        self.window.leave_out(waited);
        if attempts > 0 {
            picked.pool.retries.increment();
        }
        self.attempts += 1;
        Ok(picked)
    }

    /// Connects to the place that was taken, TLS included; what it took is counted on the backend, and
    /// not that there is a session. `None` = it failed.
    pub async fn dial(&mut self, pool: &Pool, lease: &Lease) -> Option<Dialed> {
        let outbound = self.gateway.outbound(pool);
        let (left, began) = (self.window.left(), Instant::now());
        match attempt(self.dialer, pool, outbound, lease, self.caller, left).await {
            Ok(dialed) => {
                self.connected = Some(began.elapsed());
                Some(dialed)
            }
            Err((began, why)) => {
                self.window.begin(began);
                self.failure = Some(why);
                None
            }
        }
    }

    /// True if there may be another attempt.
    pub fn may_go_on(&self) -> bool {
        let retry = self.gateway.entrance.pool().connecting.retry;
        self.attempts < retry.attempts && retry.backoff < self.window.left()
    }

    /// An attempt that began then has come to nothing, though a connect came about.
    pub fn began(&mut self, at: Instant) {
        self.window.begin(at);
    }

    /// Gives up the place on which an attempt failed, and waits until the next one may begin.
    ///
    /// # Errors
    /// There is none any more.
    pub async fn go_on(&mut self, lease: Lease) -> Result<(), Unreached> {
        let over = Unreached { why: Rejection::Refused.into(), attempts: self.attempts };
        if !self.may_go_on() {
            return Err(over);
        }
        self.seeker.tried.push(Arc::clone(lease.backend()));
        drop(lease);
        let backoff = self.gateway.entrance.pool().connecting.retry.backoff;
        if !backoff.is_zero() {
            self.dialer.clock.sleep(backoff).await;
            // A pause may last a little longer: an attempt without time would blame the backend.
            if self.window.left().is_zero() {
                return Err(over);
            }
        }
        Ok(())
    }
}

/// The time in which all attempts of a session must lie: it begins with the first.
struct Window {
    began: Option<Instant>,
    length: Duration,
}

impl Window {
    fn begin(&mut self, at: Instant) {
        self.began.get_or_insert(at);
    }

    fn left(&self) -> Duration {
        self.began.map_or(self.length, |at| self.length.saturating_sub(at.elapsed()))
    }

    /// Time spent in a queue does not count.
    fn leave_out(&mut self, waited: Duration) {
        self.began = self.began.map(|at| at + waited);
    }
}

/// One connect, TLS included, counted on its backend. On failure gives the time at which it
/// began, and why.
async fn attempt(
    dialer: &Dialer,
    pool: &Pool,
    outbound: Option<&Outbound>,
    lease: &Lease,
    caller: &impl Caller,
    left: Duration,
) -> Result<Dialed, (Instant, ConnectFailure)> {
    let rules = &pool.connecting;
    let limit = rules.timeout.min(left);
    let began = Instant::now();
    let way = dial::Way {
        lease,
        source: rules.source(lease.address()),
        keepalive: rules.keepalive,
        header: rules.proxy_header.map(|version| client::header(caller, version)),
        upgrade: caller.upgrade(outbound),
        outbound,
        http: caller.sends_requests().then_some(rules.http.version),
    };
    let dialed = dial::dial(dialer, &way, limit).await;
    let (took, now) = (began.elapsed(), dialer.clock.now());
    match dialed {
        Ok(dialed) => {
            lease.backend().connected(took, now);
            Ok(dialed)
        }
        Err(error) => {
            // Whoever had less time than a connect may take has not failed.
            let is_cut = error.is_late() && limit < rules.timeout.min(rules.retry.window);
            let cost = error.cost(rules.timeout).filter(|_| !is_cut);
            failed(pool, lease, &error, cost, now);
            Err((began, error.reason()))
        }
    }
}

/// Counts a failed connect on its backend, and says what failed.
fn failed(pool: &Pool, lease: &Lease, error: &DialError, cost: Option<Duration>, now: u64) {
    let (backend, address) = (lease.backend(), lease.address());
    let name = &**backend.name();
    if error.is_tls() {
        backend.tls_failed(cost, now);
        // A probe that does not speak TLS goes on saying that all is well.
        if backend.may_complain(now) {
            tracing::warn!(pool = &**pool.name(), backend = name, %address, %error,
                "no tls with a backend");
        }
    } else {
        backend.connect_failed(error.reason(), cost, now);
    }
    tracing::debug!(pool = &**pool.name(), backend = name, %address, %error, "connect failed");
}
