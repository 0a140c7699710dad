//! What is done with what comes to each listener.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use crate::addr::Networks;
use crate::admission::Admission;
use crate::config::{self, Protocol, RateLimit, Redirect};
use crate::http::{Destination, Lane, Limit, Requests};
use crate::listener::{Listener, Proxy};
use crate::log::AccessLog;
use crate::route::{self, Fixed, Redirection, Routes, Signpost, Target, Treatment, Way};
use crate::tls::{Challenges, Inbound};
use crate::upstream::Gateway;
use crate::{http, tcp, udp};

/// How often routes may be gone, by their names.
type Limits = HashMap<Arc<str>, Arc<Limit>>;

/// What goes on of the listener of the same name, whatever stood behind it.
#[derive(Debug, Default)]
pub(super) struct Carried {
    signposts: Vec<Arc<Signpost>>,
    requests: Vec<Arc<Requests>>,
    limits: Limits,
}

impl Carried {
    pub(super) fn of(known: Option<&Arc<Listener>>) -> Self {
        known.map_or_else(Self::default, |known| Self {
            signposts: known.signposts(),
            requests: known.requests(),
            limits: known.limits(),
        })
    }

    /// How often a route may be gone: who has gone it counts, if the limit is the same.
    fn limit(&self, route: &Arc<str>, spec: &RateLimit) -> Arc<Limit> {
        let known = self.limits.get(route).filter(|known| known.is_of(spec)).cloned();
        known.unwrap_or_else(|| Arc::new(Limit::new(spec)))
    }

    fn durations(&self, route: &str) -> Arc<crate::metric::Histogram> {
        let is_of = |known: &&Arc<Requests>| known.route.as_deref() == Some(route);
        let known = self.requests.iter().find(is_of).map(|known| Arc::clone(&known.duration));
        known.unwrap_or_else(http::durations)
    }

    fn unrouted(&self) -> Arc<Requests> {
        let known = self.requests.iter().find(|known| known.route.is_none()).cloned();
        known.unwrap_or_else(Requests::unrouted)
    }
}

/// What is done with what comes to a listener.
pub(super) fn build(
    spec: &config::Listener,
    gateway: impl Fn(usize) -> Option<Gateway>,
    (tls, challenges): (Option<Arc<Inbound>>, Arc<Challenges>),
    admission: &Arc<Admission>,
    access: Option<AccessLog>,
    carried: &Carried,
) -> Option<Proxy> {
    let listener = Arc::clone(&spec.name);
    let idle_timeout = spec.idle_timeout;
    match spec.protocol {
        Protocol::Tcp => {
            let max_lifetime = spec.max_lifetime;
            let shared = |pool| gateway(pool).map(Arc::new);
            let led = |_: Option<&_>, target: Target<'_>| target.pool().and_then(shared);
            let routes = Routes::after(&carried.signposts, &spec.routes, spec.pool, led);
            let plain = spec.plain_pool.and_then(shared);
            let plain = plain
                .map(|to| Way { route: Signpost::after(&carried.signposts, route::PLAIN), to });
            let proxy =
                tcp::Proxy { listener, routes, plain, tls, idle_timeout, max_lifetime, access };
            Some(Proxy::Tcp(Arc::new(proxy)))
        }
        Protocol::Udp => {
            let shared = |pool| gateway(pool).map(|gateway| Arc::new(gateway.entrance));
            let led = |_: Option<&_>, target: Target<'_>| target.pool().and_then(shared);
            let routes = Routes::after(&carried.signposts, &spec.routes, spec.pool, led);
            let (responses, admission) = (spec.responses, Arc::clone(admission));
            let proxy = udp::Proxy { listener, routes, idle_timeout, responses, admission, access };
            Some(Proxy::Udp(Arc::new(proxy)))
        }
        Protocol::Http => {
            let counted = RefCell::default();
            let limits = limits(spec, carried);
            let lanes = lanes(spec, gateway, (&counted, &limits), carried);
            let routes = Routes::after(&carried.signposts, &spec.routes, spec.pool, lanes);
            let (unrouted, led) = (carried.unrouted(), counted.into_inner().into());
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
                limits,
                access,
            };
            Some(Proxy::Http(Arc::new(proxy)))
        }
    }
}

/// The limits of the routes that have one.
fn limits(spec: &config::Listener, carried: &Carried) -> Limits {
    let limit = |route: &config::Route| {
        let limit = carried.limit(&route.name, route.treatment.rate_limit.as_ref()?);
        Some((Arc::clone(&route.name), limit))
    };
    spec.routes.iter().filter_map(limit).collect()
}

/// What the routes of an http listener lead to; what is counted of their requests is added to
/// `counted`. The ways of a split share what their route does.
fn lanes(
    spec: &config::Listener,
    gateway: impl Fn(usize) -> Option<Gateway>,
    (counted, limits): (&RefCell<Vec<Arc<Requests>>>, &Limits),
    carried: &Carried,
) -> impl Fn(Option<&config::Route>, Target<'_>) -> Option<Arc<Lane>> {
    let shared = |route: &config::Route| {
        let limit = limits.get(&route.name).cloned();
        let treatment = Arc::new(Treatment::new(&route.treatment));
        (Arc::clone(&route.name), (treatment, limit, carried.durations(&route.name)))
    };
    let shared: HashMap<_, _> = spec.routes.iter().map(shared).collect();
    let (own, own_durations) = (Arc::from(route::DEFAULT), carried.durations(route::DEFAULT));
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
        let requests = Requests::carried(requests, &carried.requests);
        counted.borrow_mut().extend(requests.iter().cloned());
        Some(Arc::new(Lane { to, treatment, limit, requests }))
    }
}
