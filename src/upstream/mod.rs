//! Reaching a backend: pick, dial, and try elsewhere while the rules allow it.

mod dial;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::addr::ClientAddr;
use crate::net::{Reactor, Socket};
use crate::outcome::Rejection;
use crate::pool::{Ask, Backend, Entrance, Lease, Picked, Pool};
use crate::session::Clock;
pub use dial::DialError;

/// What a worker lends to those who connect.
#[derive(Debug)]
pub struct Dialer {
    /// Watches the new sockets.
    pub reactor: Rc<Reactor>,
    /// Limits the attempts.
    pub clock: Rc<Clock>,
}

/// A connected backend with the session counted on it.
///
/// The lease must outlive the relay, so this has no `Drop` of its own: the socket can be moved out
/// while the lease stays.
#[derive(Debug)]
pub struct Server {
    /// The connection.
    pub socket: Socket,
    /// The place on the backend.
    pub lease: Lease,
    /// The name of the pool in which the backend was picked.
    pub pool: Arc<str>,
    /// Connects that were tried, this one included.
    pub attempts: u32,
    /// A reset before its first byte and before then is a failure of the backend.
    pub on_trial_until: Instant,
}

/// Why no backend was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unreached {
    /// The word for it.
    pub why: Rejection,
    /// Connects that were tried.
    pub attempts: u32,
}

/// Picks a backend and connects to it; on failure picks another as `[retry]` allows.
///
/// # Errors
/// Nobody could be picked, or every attempt failed.
pub async fn connect(
    entrance: &Entrance,
    client: ClientAddr,
    dialer: &Dialer,
) -> Result<Server, Unreached> {
    let retry = entrance.pool().connecting.retry;
    let mut tried: Vec<Arc<Backend>> = Vec::new();
    let mut began = None;
    let mut attempts = 0;
    loop {
        let chance = fastrand::u64(..);
        let ask = Ask { client, chance, now: dialer.clock.now(), tried: &tried };
        let Picked { lease, pool } = entrance
            .pick(&ask)
            .map_err(|none| Unreached { why: none.rejection(attempts), attempts })?;
        if attempts > 0 {
            pool.retries.increment();
        }
        attempts += 1;
        let left =
            began.map_or(retry.window, |at: Instant| retry.window.saturating_sub(at.elapsed()));
        match attempt(dialer, pool, &lease, left).await {
            Ok(socket) => {
                let on_trial_until = Instant::now() + pool.connecting.timeout;
                let pool = Arc::clone(pool.name());
                return Ok(Server { socket, lease, pool, attempts, on_trial_until });
            }
            Err(began_at) => {
                let spent = began.get_or_insert(began_at).elapsed();
                if attempts >= retry.attempts || spent + retry.backoff >= retry.window {
                    return Err(Unreached { why: Rejection::Refused, attempts });
                }
                tried.push(Arc::clone(lease.backend()));
            }
        }
        drop(lease);
        if !retry.backoff.is_zero() {
            dialer.clock.sleep(retry.backoff).await;
        }
    }
}

/// One connect, counted on its backend. On failure gives the time at which it began.
async fn attempt(
    dialer: &Dialer,
    pool: &Pool,
    lease: &Lease,
    left: Duration,
) -> Result<Socket, Instant> {
    let to: SocketAddr = lease.address();
    let rules = &pool.connecting;
    let limit = rules.timeout.min(left);
    let began = Instant::now();
    let dialed = dial::dial(dialer, to, rules.source(to), rules.keepalive, limit).await;
    let (took, now) = (began.elapsed(), dialer.clock.now());
    match dialed {
        Ok(socket) => {
            lease.backend().connected(took, now);
            lease.tally().connected.increment();
            Ok(socket)
        }
        Err(error) => {
            // Whoever had less time than a connect may take has not failed.
            let is_cut = error.errno.is_none() && limit < rules.timeout.min(rules.retry.window);
            let cost = error.cost(rules.timeout).filter(|_| !is_cut);
            lease.backend().connect_failed(error.reason, cost, now);
            tracing::debug!(pool = &**pool.name(), backend = &**lease.backend().name(), address = %to,
                %error, "connect failed");
            Err(began)
        }
    }
}
