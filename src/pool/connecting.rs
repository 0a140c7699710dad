//! How a pool's backends are connected to.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::config;

/// How a pool's backends are connected to.
#[derive(Debug)]
pub struct Connecting {
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
    pub(super) fn new(spec: &config::Pool) -> Self {
        Self {
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
