//! Builds the live things that a configuration describes.

use std::sync::Arc;

use crate::config::{self, Config};
use crate::listener::{Frontend, Gate, Listener};
use crate::log::AccessLog;
use crate::pool::{Entrance, Pool};
use crate::tcp;

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
            let proxy = tcp::Proxy {
                listener: Arc::clone(&name),
                entrance: entrance(config, &pools, &name, spec.pool)?,
                idle_timeout: spec.idle_timeout,
                max_lifetime: spec.max_lifetime,
                access: access.cloned(),
            };
            let frontend = Frontend { proxy: Arc::new(proxy), max_sessions: spec.max_sessions };
            Some(Arc::new(Listener::new(name, frontend, Arc::clone(gate))))
        };
        let listeners = config.listeners.iter().filter_map(listener).collect();
        Self { pools, listeners }
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
