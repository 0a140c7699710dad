//! How a pool's backends are connected to.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use crate::config;

/// The number of the next manner.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// How a pool's backends are connected to.
#[derive(Debug)]
pub struct Connecting {
    /// Pools with the same number open connections alike: what one has opened serves the other. A
    /// later manner has a higher one.
    pub manner: u64,
    /// Bound of one attempt.
    pub timeout: Duration,
    /// How long the head of an answer may take; `None` = as long as it likes.
    pub response_timeout: Option<Duration>,
    /// TCP keepalive idle time; `None` = off.
    pub keepalive: Option<Duration>,
    /// Further attempts after a failed one.
    pub retry: config::Retry,
    /// The PROXY header that goes ahead of the client's bytes.
    pub proxy_header: Option<config::ProxyVersion>,
    /// How http is spoken to them.
    pub http: config::PoolHttp,
    sources: Box<[IpAddr]>,
    turn: AtomicUsize,
}

impl Connecting {
    /// As the file says it, in the manner of `before` unless that was another one.
    pub(super) fn new(spec: &config::Pool, before: Option<&Self>) -> Self {
        let is_alike = |before: &&Self| {
            before.keepalive == spec.keepalive
                && before.proxy_header == spec.send_proxy_protocol
                && before.http.version == spec.http.version
                && *before.sources == *spec.source
        };
        Self {
            manner: before.filter(is_alike).map_or_else(next, |before| before.manner),
            timeout: spec.connect_timeout,
            response_timeout: spec.response_timeout,
            keepalive: spec.keepalive,
            retry: spec.retry,
            proxy_header: spec.send_proxy_protocol,
            http: spec.http,
            sources: spec.source.clone().into(),
            turn: AtomicUsize::new(0),
        }
    }

    /// From now on connections are opened in another manner, for reasons that are not seen here.
    pub(super) fn set_apart(&mut self) {
        self.manner = next();
    }

    /// The local address to connect to `to` from: those of its family in turn, else the kernel's.
    pub fn source(&self, to: SocketAddr) -> Option<IpAddr> {
        if self.sources.is_empty() {
            return None;
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let fitting = || self.sources.iter().filter(|source| source.is_ipv4() == to.is_ipv4());
        fitting().nth(turn % fitting().count().max(1)).copied()
    }
}

fn next() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}
