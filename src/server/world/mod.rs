//! Builds the live things that a configuration describes, out of those of before where there are any.
//!
//! Nothing is changed here that serves already: what is new stands ready beside it.

mod inward;
mod outward;
mod proxies;

use std::sync::Arc;

use crate::admission::{Admission, Gate};
use crate::config::{self, Config};
use crate::listener::{Frontend, Handshake, Listener};
use crate::log::AccessLog;
use crate::net::Resolver;
use crate::pool::Pool;
use crate::server::{StartError, limits};
use crate::tls::{Challenges, Fresh};
pub(super) use inward::Terminating;
use outward::Outward;
use proxies::Carried;

/// The pools and listeners of one configuration, in its order.
#[derive(Debug)]
pub(super) struct World {
    pub(super) ways: Vec<Outward>,
    /// Pools of before whose backends may still have sessions: should one of them come back, those who
    /// wait there and those who leave have to know of each other.
    gone: Vec<Outward>,
    pub(super) listeners: Vec<Arc<Listener>>,
    /// By name, those at which TLS ends.
    pub(super) inbound: Vec<Terminating>,
    /// What authorities are shown that ask whether a name is ours.
    pub(super) challenges: Arc<Challenges>,
    /// Whom host names are asked of.
    pub(super) resolver: Resolver,
    /// Certificates to be shown once this world takes effect.
    pub(super) fresh: Vec<Fresh>,
}

impl World {
    /// Reads the files of `[listener.NAME.tls]` and `[pool.NAME.tls]`. `before` is what serves now.
    pub(super) fn build(
        config: &Config,
        before: Option<&Self>,
        access: Option<&AccessLog>,
        gate: &Arc<Gate>,
    ) -> Result<Self, StartError> {
        let way = |spec: &config::Pool| {
            let known = before.and_then(|before| before.way(&spec.name));
            let known = known.or_else(|| before.and_then(|before| before.gone(&spec.name)));
            Outward::build(spec, known)
        };
        let ways = config.pools.iter().map(way).collect::<Result<Vec<_>, _>>()?;
        let gone = before.map(|before| before.others(config)).unwrap_or_default();
        let challenges = before.map(|before| Arc::clone(&before.challenges)).unwrap_or_default();
        let known = before.map(|before| before.inbound.as_slice()).unwrap_or_default();
        let (inbound, fresh) = inward::build(config, &challenges, known)?;
        let resolver =
            match before.filter(|before| before.resolver.asks(&config.process.nameservers)) {
                Some(before) => before.resolver.clone(),
                None => Resolver::new(config.process.nameservers.clone()),
            };
        let mut world =
            Self { ways, gone, listeners: Vec::new(), inbound, challenges, resolver, fresh };
        let listener = |spec: &config::Listener| {
            let known = before.and_then(|before| before.listener(&spec.name));
            world.serving(config, spec, known, access, gate)
        };
        world.listeners = config.listeners.iter().filter_map(listener).collect();
        Ok(world)
    }

    /// In the order of the configuration.
    pub(super) fn pools(&self) -> impl Iterator<Item = &Arc<Pool>> {
        self.ways.iter().map(|way| &way.pool)
    }

    pub(super) fn listener(&self, name: &str) -> Option<&Arc<Listener>> {
        self.listeners.iter().find(|listener| *listener.name == *name)
    }

    fn way(&self, name: &str) -> Option<&Outward> {
        self.ways.iter().find(|way| **way.pool.name() == *name)
    }

    /// A pool of before, while there are sessions of then.
    fn gone(&self, name: &str) -> Option<&Outward> {
        self.gone.iter().find(|way| **way.pool.name() == *name && way.is_left())
    }

    /// Those that the configuration has no use for, as long as there are sessions.
    fn others(&self, config: &Config) -> Vec<Outward> {
        let gone = self.gone.iter().filter(|way| way.is_left());
        let is_named =
            |way: &&Outward| config.pools.iter().any(|spec| spec.name == *way.pool.name());
        self.ways.iter().chain(gone).filter(|way| !is_named(way)).cloned().collect()
    }

    /// The listener that a table describes; what the one of that name has counted so far goes on.
    fn serving(
        &self,
        config: &Config,
        spec: &config::Listener,
        known: Option<&Arc<Listener>>,
        access: Option<&AccessLog>,
        gate: &Arc<Gate>,
    ) -> Option<Arc<Listener>> {
        let name = Arc::clone(&spec.name);
        let cost = limits::cost(spec.protocol);
        let (cap, rate) = (spec.max_sessions, spec.connection_rate);
        // A place is given back as what it was taken.
        let like = known.filter(|known| known.admission.cost() == cost);
        let like = like.map(|known| &*known.admission);
        let admission = Admission::new(Arc::clone(gate), cap, cost, &spec.clients, rate, like);
        let gateway = |pool| outward::gateway(config, &self.ways, &name, pool);
        let tls = self.inbound.iter().find(|(of, _)| *of == name).map(|(_, tls)| Arc::clone(tls));
        let ends = (tls, Arc::clone(&self.challenges));
        let carried = Carried::of(known);
        let proxy = proxies::build(spec, gateway, ends, &admission, access.cloned(), &carried)?;
        let handshake = Arc::new(Handshake::new(spec));
        let frontend = Frontend { handshake, proxy };
        Some(Arc::new(Listener::new(name, frontend, admission)))
    }
}
