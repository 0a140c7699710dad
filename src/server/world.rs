//! Builds the live things that a configuration describes.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::sync::Arc;

use crate::addr::Networks;
use crate::admission::{Admission, Gate};
use crate::config::{self, Config, Protocol, Redirect};
use crate::http::{Destination, Lane, Requests};
use crate::listener::{Frontend, Handshake, Listener, Proxy};
use crate::log::AccessLog;
use crate::net::Resolver;
use crate::pool::{Entrance, Pool};
use crate::route::{self, Fixed, Redirection, Routes, Signpost, Target, Treatment, Way};
use crate::server::{StartError, limits};
use crate::tls::{self, Challenges, Inbound, Outbound};
use crate::upstream::Gateway;
use crate::{http, tcp, udp};

/// The pools and listeners of one configuration, in its order.
#[derive(Debug)]
pub(super) struct World {
    pub(super) pools: Vec<Arc<Pool>>,
    pub(super) listeners: Vec<Arc<Listener>>,
    /// By name, those at which TLS ends.
    pub(super) inbound: Vec<Terminating>,
    /// What authorities are shown that ask whether a name is ours.
    pub(super) challenges: Arc<Challenges>,
    /// Whom host names are asked of.
    pub(super) resolver: Resolver,
}

/// A listener's name, and what ends TLS at it.
type Terminating = (Arc<str>, Arc<Inbound>);

impl World {
    /// Reads the files of `[listener.NAME.tls]` and `[pool.NAME.tls]`.
    pub(super) fn build(
        config: &Config,
        access: Option<&AccessLog>,
        gate: &Arc<Gate>,
    ) -> Result<Self, StartError> {
        let ways = config.pools.iter().map(Outward::build).collect::<Result<Vec<_>, _>>()?;
        let challenges = Arc::<Challenges>::default();
        let inbound = inbound(config, &challenges)?;
        let listener = |spec: &config::Listener| {
            let name = Arc::clone(&spec.name);
            let cost = limits::cost(spec.protocol);
            let (cap, rate) = (spec.max_sessions, spec.connection_rate);
            let admission = Admission::new(Arc::clone(gate), cap, cost, &spec.clients, rate);
            let gateway = |pool| gateway(config, &ways, &name, pool);
            let tls = inbound.iter().find(|(of, _)| *of == name).map(|(_, tls)| Arc::clone(tls));
            let ends = (tls, Arc::clone(&challenges));
            let proxy = proxy(spec, gateway, ends, &admission, access.cloned())?;
            let handshake = Arc::new(Handshake::new(spec));
            let frontend = Frontend { handshake, proxy };
            Some(Arc::new(Listener::new(name, frontend, admission)))
        };
        let listeners = config.listeners.iter().filter_map(listener).collect();
        let pools = ways.into_iter().map(|way| way.pool).collect();
        let resolver = Resolver::new(config.process.nameservers.clone());
        Ok(Self { pools, listeners, inbound, challenges, resolver })
    }
}

/// What ends TLS at the listeners that do.
fn inbound(config: &Config, challenges: &Arc<Challenges>) -> Result<Vec<Terminating>, StartError> {
    let ending = config.listeners.iter().filter_map(|spec| {
        let tls = spec.tls.as_ref().filter(|tls| tls.terminates())?;
        Some((&spec.name, tls))
    });
    let build = |(name, tls): (&Arc<str>, _)| match Inbound::new(tls, challenges, None) {
        Ok(inbound) => Ok((Arc::clone(name), Arc::new(inbound))),
        Err(why) => Err(StartError::ListenerTls { listener: Arc::clone(name), why: Box::new(why) }),
    };
    ending.map(build).collect()
}

/// A pool, and how its backends are spoken to: the same for all listeners, so that a TLS session is
/// resumed whoever began it.
struct Outward {
    pool: Arc<Pool>,
    tls: Option<Arc<Outbound>>,
}

impl Outward {
    fn build(spec: &config::Pool) -> Result<Self, StartError> {
        let outbound = |tls| Outbound::new(tls, &spec.members, spec.http.version);
        let tls = spec.tls.as_ref().map(outbound).transpose();
        let refused =
            |why: tls::Error| StartError::Tls { pool: Arc::clone(&spec.name), why: Box::new(why) };
        let tls = tls.map_err(refused)?.map(Arc::new);
        let pool = with_secret(Pool::new(spec, None), spec.cookie.as_ref())?;
        Ok(Self { pool: Arc::new(pool), tls })
    }
}

/// The pool with the values of its cookie keyed, if there is a file with a secret.
fn with_secret(pool: Pool, cookie: Option<&config::StickyCookie>) -> Result<Pool, StartError> {
    let Some((cookie, file)) = cookie.and_then(|rules| Some((rules, rules.secret_file.as_ref()?)))
    else {
        return Ok(pool);
    };
    let refused = |why| {
        let (pool, file) = (Arc::clone(pool.name()), file.clone());
        StartError::CookieSecret { pool, file, why }
    };
    let bytes = fs::read(file).map_err(|error| refused(error.to_string()))?;
    let secret = config::cookie_secret(&bytes).map_err(|why| refused(why.to_owned()))?;
    Ok(pool.with_secret(cookie, secret.as_bytes()))
}

/// What is done with what comes to a listener.
fn proxy(
    spec: &config::Listener,
    gateway: impl Fn(usize) -> Option<Gateway>,
    (tls, challenges): (Option<Arc<Inbound>>, Arc<Challenges>),
    admission: &Arc<Admission>,
    access: Option<AccessLog>,
) -> Option<Proxy> {
    let listener = Arc::clone(&spec.name);
    let idle_timeout = spec.idle_timeout;
    match spec.protocol {
        Protocol::Tcp => {
            let max_lifetime = spec.max_lifetime;
            let shared = |pool| gateway(pool).map(Arc::new);
            let led = |_: Option<&_>, target: Target<'_>| target.pool().and_then(shared);
            let routes = Routes::new(&spec.routes, spec.pool, led);
            let plain = spec.plain_pool.and_then(shared);
            let plain = plain.map(|to| Way { route: Signpost::new(route::PLAIN), to });
            let proxy =
                tcp::Proxy { listener, routes, plain, tls, idle_timeout, max_lifetime, access };
            Some(Proxy::Tcp(Arc::new(proxy)))
        }
        Protocol::Udp => {
            let shared = |pool| gateway(pool).map(|gateway| Arc::new(gateway.entrance));
            let led = |_: Option<&_>, target: Target<'_>| target.pool().and_then(shared);
            let routes = Routes::new(&spec.routes, spec.pool, led);
            let (responses, admission) = (spec.responses, Arc::clone(admission));
            let proxy = udp::Proxy { listener, routes, idle_timeout, responses, admission, access };
            Some(Proxy::Udp(Arc::new(proxy)))
        }
        Protocol::Http => {
            let counted = RefCell::default();
            let routes = Routes::new(&spec.routes, spec.pool, lanes(spec, gateway, &counted));
            let (unrouted, led) = (Requests::unrouted(), counted.into_inner().into());
            let requests = http::Counted { unrouted, led };
            let rules = spec.http.clone()?;
            let trusted = Networks::new(&rules.trusted_proxies);
            let admission = Arc::clone(admission);
            let proxy = http::Proxy {
                listener,
                routes,
                tls,
                challenges,
                idle_timeout,
                rules,
                trusted,
                admission,
                requests,
                access,
            };
            Some(Proxy::Http(Arc::new(proxy)))
        }
    }
}

/// What the routes of an http listener lead to; what is counted of their requests is added to
/// `counted`. The ways of a split share what their route does.
fn lanes(
    spec: &config::Listener,
    gateway: impl Fn(usize) -> Option<Gateway>,
    counted: &RefCell<Vec<Arc<Requests>>>,
) -> impl Fn(Option<&config::Route>, Target<'_>) -> Option<Arc<Lane>> {
    let shared = |route: &config::Route| {
        let limit = route.treatment.rate_limit.as_ref();
        let limit = limit.map(|limit| Arc::new(http::Limit::new(limit)));
        let treatment = Arc::new(Treatment::new(&route.treatment));
        (Arc::clone(&route.name), (treatment, limit, http::durations()))
    };
    let shared: HashMap<_, _> = spec.routes.iter().map(shared).collect();
    let (own, own_durations) = (Arc::from(route::DEFAULT), http::durations());
    move |route, target| {
        let to = match target {
            Target::Pool(pool) => Destination::Pool(Box::new(gateway(pool)?)),
            Target::Redirect(redirect) => Destination::Redirect(Redirection::new(redirect)),
            Target::Respond(respond) => Destination::Respond(Fixed::new(respond)),
        };
        let name = route.map_or(&own, |route| &route.name);
        let common = shared.get(name).filter(|_| route.is_some()).cloned();
        let (treatment, limit, durations) =
            common.unwrap_or_else(|| (Arc::default(), None, Arc::clone(&own_durations)));
        let requests = match (&to, target) {
            (Destination::Pool(gateway), _) => Requests::led(name, &gateway.entrance, &durations),
            (_, Target::Respond(respond)) => Requests::answered(name, respond.status, &durations),
            (_, Target::Redirect(Redirect::To { status, .. })) => {
                Requests::answered(name, *status, &durations)
            }
            (_, Target::Redirect(Redirect::Https) | Target::Pool(_)) => {
                Requests::answered(name, 308, &durations)
            }
        };
        counted.borrow_mut().extend(requests.iter().cloned());
        Some(Arc::new(Lane { to, treatment, limit, requests }))
    }
}

/// The way of a listener to a pool.
fn gateway(
    config: &Config,
    ways: &[Outward],
    listener: &Arc<str>,
    index: usize,
) -> Option<Gateway> {
    let mut outbound = Vec::new();
    let entrance = entrance(config, ways, listener, index, &mut outbound)?;
    Some(Gateway::new(entrance, outbound))
}

/// The entrance of a listener to a pool and, behind it, to the pools it falls back on; those of them
/// that TLS is spoken to are added to `outbound`.
///
/// `None` never happens: a checked configuration has no index without a pool.
fn entrance(
    config: &Config,
    ways: &[Outward],
    listener: &Arc<str>,
    index: usize,
    outbound: &mut Vec<(Arc<str>, Arc<Outbound>)>,
) -> Option<Entrance> {
    let Outward { pool, tls } = ways.get(index)?;
    outbound.extend(tls.iter().map(|tls| (Arc::clone(pool.name()), Arc::clone(tls))));
    let fallback = config.pools.get(index)?.fallback;
    let fallback = fallback.and_then(|index| entrance(config, ways, listener, index, outbound));
    Some(Entrance::new(listener, Arc::clone(pool), fallback))
}
