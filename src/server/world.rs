//! Builds the live things that a configuration describes.

use std::sync::Arc;

use crate::admission::{Admission, Gate};
use crate::config::{self, Config, Protocol};
use crate::listener::{Frontend, Handshake, Listener, Proxy};
use crate::log::AccessLog;
use crate::pool::{Entrance, Pool};
use crate::route::{self, Routes, Way};
use crate::server::limits;
use crate::upstream::Gateway;
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
            let cost = limits::cost(spec.protocol);
            let (cap, rate) = (spec.max_sessions, spec.connection_rate);
            let admission = Admission::new(Arc::clone(gate), cap, cost, &spec.clients, rate);
            let gateway = |pool| gateway(config, &pools, &name, pool);
            let proxy = proxy(spec, gateway, &admission, access.cloned())?;
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
    gateway: impl Fn(usize) -> Option<Gateway>,
    admission: &Arc<Admission>,
    access: Option<AccessLog>,
) -> Option<Proxy> {
    let listener = Arc::clone(&spec.name);
    let idle_timeout = spec.idle_timeout;
    match spec.protocol {
        Protocol::Tcp => {
            let max_lifetime = spec.max_lifetime;
            let shared = |pool| gateway(pool).map(Arc::new);
            let routes = Routes::new(&spec.routes, spec.pool, shared);
            let plain = spec.plain_pool.and_then(shared);
            let plain = plain.map(|to| Way { route: route::DEFAULT.into(), to });
            let proxy = tcp::Proxy { listener, routes, plain, idle_timeout, max_lifetime, access };
            Some(Proxy::Tcp(Arc::new(proxy)))
        }
        Protocol::Udp => {
            let entrance = gateway(spec.pool?)?.entrance;
            let route = route::DEFAULT.into();
            let (responses, admission) = (spec.responses, Arc::clone(admission));
            let proxy = udp::Proxy {
                listener,
                entrance,
                route,
                idle_timeout,
                responses,
                admission,
                access,
            };
            Some(Proxy::Udp(Arc::new(proxy)))
        }
    }
}

/// The way of a listener to a pool.
fn gateway(
    config: &Config,
    pools: &[Arc<Pool>],
    listener: &Arc<str>,
    index: usize,
) -> Option<Gateway> {
    Some(Gateway::new(entrance(config, pools, listener, index)?, Vec::new()))
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
