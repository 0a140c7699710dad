//! Builds the live things that a configuration describes.

use std::sync::Arc;

use crate::admission::{Admission, Gate};
use crate::config::{self, Config, Protocol};
use crate::listener::{Frontend, Handshake, Listener, Proxy};
use crate::log::AccessLog;
use crate::pool::{Entrance, Pool};
use crate::server::limits;
use crate::{tcp, udp};

/// The pools and listeners of one configuration, in its order.
#[derive(Debug)]
pub(super) struct World {
    pub(super) pools: Vec<Arc<Pool>>,
    pub(super) listeners: Vec<Arc<Listener>>,
}

impl World {
    pub(super) fn build(config: &Config, access: Option<&AccessLog>, gate: &Arc<Gate>) -> Self {
        let pools: Vec<_> =
            config.pools.iter().map(|spec| Arc::new(Pool::new(spec, |_| None))).collect();
        let listener = |spec: &config::Listener| {
            let name = Arc::clone(&spec.name);
            let entrance = entrance(config, &pools, &name, spec.pool)?;
            let cost = limits::cost(spec.protocol);
            let (cap, rate) = (spec.max_sessions, spec.connection_rate);
            let admission = Admission::new(Arc::clone(gate), cap, cost, &spec.clients, rate);
            let proxy = proxy(spec, entrance, &admission, access.cloned());
            let frontend = Frontend { handshake: Handshake::new(spec), proxy };
            Some(Arc::new(Listener::new(name, frontend, admission)))
        };
        let listeners = config.listeners.iter().filter_map(listener).collect();
        Self { pools, listeners }
    }
}

/// What is done with what comes to a listener.
fn proxy(
    spec: &config::Listener,
    entrance: Entrance,
    admission: &Arc<Admission>,
    access: Option<AccessLog>,
) -> Proxy {
    let listener = Arc::clone(&spec.name);
    let idle_timeout = spec.idle_timeout;
    match spec.protocol {
        Protocol::Tcp => {
            let max_lifetime = spec.max_lifetime;
            let proxy = tcp::Proxy { listener, entrance, idle_timeout, max_lifetime, access };
            Proxy::Tcp(Arc::new(proxy))
        }
        Protocol::Udp => {
            let (responses, admission) = (spec.responses, Arc::clone(admission));
            let proxy =
                udp::Proxy { listener, entrance, idle_timeout, responses, admission, access };
            Proxy::Udp(Arc::new(proxy))
        }
    }
}

/// The entrance of a listener to a pool and, behind it, to the pools it falls back on.
///
/// `None` never happens: a checked configuration has no index without a pool.
fn entrance(
    config: &Config,
    pools: &[Arc<Pool>],
    listener: &Arc<str>,
    index: usize,
) -> Option<Entrance> {
    let fallback = config.pools.get(index)?.fallback;
    let fallback = fallback.and_then(|index| entrance(config, pools, listener, index));
    Some(Entrance::new(listener, Arc::clone(pools.get(index)?), fallback))
}
