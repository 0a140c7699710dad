//! Which way a session or request goes: the first route of a listener that matches, or its default;
//! and what its route does to it.
//!
//! Nothing here knows what the ways lead to. Chance comes with each question, so a dry run can ask
//! the same one.

mod answer;
mod host;
mod index;
mod onward;
mod query;
mod request;
mod treatment;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::addr::Networks;
use crate::config::{Leads, Matchers, NamePattern, Redirect, Respond, Route};
use crate::metric::Counter;
pub use answer::{Fixed, Redirection};
use index::{Index, WORTHWHILE};
use request::Wanted;
pub use request::{Heading, Illegible};
pub use treatment::Treatment;

/// The name of the way that a listener's own pool is.
pub const DEFAULT: &str = "default";
/// The name of the way to the pool of those who do not speak TLS.
pub const PLAIN: &str = "plain";

/// The routes of one listener, with what each leads to.
#[derive(Debug)]
pub struct Routes<T> {
    rules: Box<[Rule<T>]>,
    /// By the names they ask for; `None` = there are too few of them.
    index: Option<(Asked, Index)>,
    default: Option<Way<T>>,
}

#[derive(Debug)]
struct Rule<T> {
    route: Arc<Signpost>,
    when: When,
    ways: Ways<T>,
}

/// One or several ways of a route, of which one is drawn.
#[derive(Debug)]
enum Ways<T> {
    One(Way<T>),
    /// With the sum of the weights up to and including each; one of weight 0 is never drawn, and
    /// still keeps whom it has.
    Split(Box<[(u64, Way<T>)]>),
}

/// A way that a session may go.
#[derive(Debug, Clone)]
pub struct Way<T> {
    /// The route.
    pub route: Arc<Signpost>,
    /// What it leads to.
    pub to: T,
}

/// What a route leads to.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    /// A pool, by its index.
    Pool(usize),
    /// Elsewhere.
    Redirect(&'a Redirect),
    /// An answer of ours.
    Respond(&'a Respond),
}

impl Target<'_> {
    /// The index of the pool, if it is one.
    pub fn pool(self) -> Option<usize> {
        match self {
            Self::Pool(index) => Some(index),
            Self::Redirect(_) | Self::Respond(_) => None,
        }
    }
}

/// What reports say of a route.
#[derive(Debug, Default)]
pub struct Signpost {
    /// Its name, [`DEFAULT`] for the listener's own pool, [`PLAIN`] for that of cleartext.
    pub name: Arc<str>,
    /// Sessions that it was taken for; of http: requests.
    pub sessions: Counter,
    /// Requests that came faster than it lets them.
    pub limited: Counter,
}

impl Signpost {
    /// Of a route that nobody has taken.
    pub fn new(name: impl Into<Arc<str>>) -> Arc<Self> {
        Arc::new(Self { name: name.into(), ..Self::default() })
    }

    /// The one of this name among those `before`, or else a new one.
    pub fn after(before: &[Arc<Self>], name: &str) -> Arc<Self> {
        let known = before.iter().find(|known| *known.name == *name).cloned();
        known.unwrap_or_else(|| Self::new(name))
    }
}

/// What keeps a session from a route: the first of its matchers that does not match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Miss {
    /// It asks for another server name, or for none.
    Sni,
    /// It does not offer the protocol.
    Alpn,
    /// It comes from elsewhere.
    Client,
    /// It asks for another host, or for none.
    Host,
    /// It asks for another path.
    Path,
    /// It has another method.
    Method,
    /// It lacks a header, or has another value there.
    Header,
    /// It lacks a key of the query, or has another value there.
    Query,
}

impl fmt::Display for Miss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sni => "sni",
            Self::Alpn => "alpn",
            Self::Client => "client",
            Self::Host => "host",
            Self::Path => "path",
            Self::Method => "method",
            Self::Header => "header",
            Self::Query => "query",
        })
    }
}

/// What an index is of: server names, or hosts of requests.
#[derive(Debug, Clone, Copy)]
enum Asked {
    Server,
    Host,
}

#[derive(Debug)]
struct When {
    sni: Box<[NamePattern]>,
    alpn: Box<[Box<[u8]>]>,
    /// Empty = any.
    client: Networks,
    is_from_networks: bool,
    /// What is asked of a request; `None` = nothing.
    request: Option<Box<Wanted>>,
}

/// What is known of a session before it is led anywhere.
#[derive(Debug, Clone, Copy)]
pub struct Flight<'a> {
    /// The client's address.
    pub client: IpAddr,
    /// The server name it asked for, in lower case and without a dot at the end; `None` = none, or
    /// it does not speak TLS.
    pub sni: Option<&'a str>,
    /// The application protocols that it offers.
    pub alpn: &'a [Vec<u8>],
    /// The head of the request, where there are requests.
    pub request: Option<&'a Heading<'a>>,
}

impl Flight<'_> {
    fn name(&self, asked: Asked) -> Option<&str> {
        match asked {
            Asked::Server => self.sni,
            Asked::Host => self.request?.host.as_deref(),
        }
    }
}

impl When {
    fn new(spec: &Matchers) -> Self {
        Self {
            sni: spec.sni.clone().into(),
            alpn: spec.alpn.iter().map(|protocol| protocol.as_bytes().into()).collect(),
            client: Networks::new(&spec.client),
            is_from_networks: !spec.client.is_empty(),
            request: Wanted::of(spec).map(Box::new),
        }
    }

    /// The names that it asks for; empty = any, and none.
    fn names(&self, asked: Asked) -> &[NamePattern] {
        match asked {
            Asked::Server => &self.sni,
            Asked::Host => self.request.as_ref().map(|wanted| wanted.hosts()).unwrap_or_default(),
        }
    }

    fn miss(&self, flight: &Flight<'_>) -> Option<Miss> {
        let named = |name| self.sni.iter().any(|pattern| pattern.matches(name));
        let offered = |wanted: &[u8]| flight.alpn.iter().any(|offer| **offer == *wanted);
        if !self.sni.is_empty() && !flight.sni.is_some_and(named) {
            return Some(Miss::Sni);
        }
        if !self.alpn.is_empty() && !self.alpn.iter().any(|wanted| offered(wanted)) {
            return Some(Miss::Alpn);
        }
        if self.is_from_networks && !self.client.contain(flight.client) {
            return Some(Miss::Client);
        }
        self.request.as_ref().and_then(|wanted| wanted.miss(flight.request))
    }
}

impl<T: Clone> Routes<T> {
    /// The routes of a listener in their order, and its own pool; `to` gives what a target is for
    /// this listener, on the route that leads there; without a route it is its own pool.
    pub fn new(
        specs: &[Route],
        default: Option<usize>,
        to: impl Fn(Option<&Route>, Target<'_>) -> Option<T>,
    ) -> Self {
        Self::after(&[], specs, default, to)
    }

    /// The same, where there were routes `before`: those of the same name go on being counted.
    pub fn after(
        before: &[Arc<Signpost>],
        specs: &[Route],
        default: Option<usize>,
        to: impl Fn(Option<&Route>, Target<'_>) -> Option<T>,
    ) -> Self {
        let rule = |spec: &Route| {
            let route = Signpost::after(before, &spec.name);
            let way = |target| Some(Way { route: Arc::clone(&route), to: to(Some(spec), target)? });
            let ways = match &spec.leads {
                Leads::Pool(pool) => Ways::One(way(Target::Pool(*pool))?),
                Leads::Redirect(redirect) => Ways::One(way(Target::Redirect(redirect))?),
                Leads::Respond(respond) => Ways::One(way(Target::Respond(respond))?),
                Leads::Split(shares) => {
                    let mut sum = 0;
                    let mut split = Vec::new();
                    for share in shares {
                        sum += u64::from(share.weight);
                        split.push((sum, way(Target::Pool(share.pool))?));
                    }
                    Ways::Split(split.into())
                }
            };
            Some(Rule { when: When::new(&spec.when), ways, route })
        };
        let own = |pool| to(None, Target::Pool(pool));
        let default = default
            .and_then(|pool| Some(Way { route: Signpost::after(before, DEFAULT), to: own(pool)? }));
        let rules: Box<[_]> = specs.iter().filter_map(rule).collect();
        let index = (rules.len() >= WORTHWHILE).then(|| {
            let asked = match rules.iter().any(|rule| !rule.when.names(Asked::Host).is_empty()) {
                true => Asked::Host,
                false => Asked::Server,
            };
            (asked, Index::new(rules.iter().map(|rule| rule.when.names(asked))))
        });
        Self { rules, index, default }
    }

    /// A way of the route of this name, or of the default, for which `is_it` says yes.
    pub fn named(&self, route: &str, is_it: impl Fn(&T) -> bool) -> Option<&Way<T>> {
        let rules = self.rules.iter().filter(|rule| *rule.route.name == *route);
        let ways = rules.flat_map(|rule| rule.ways.all());
        let own = self.default.iter().filter(|way| *way.route.name == *route);
        ways.chain(own).find(|way| is_it(&way.to))
    }

    /// The way that this session goes; where a route splits it is the first that has `kept` the
    /// client, else the one that `chance` draws. `None` = no route takes it and there is no default.
    pub fn find(
        &self,
        flight: &Flight<'_>,
        chance: u64,
        kept: impl Fn(&T) -> bool,
    ) -> Option<&Way<T>> {
        match self.taking(flight) {
            Some(rule) => rule.ways.draw(chance, kept),
            None => self.default.as_ref(),
        }
    }

    fn taking(&self, flight: &Flight<'_>) -> Option<&Rule<T>> {
        let takes = |rule: &&Rule<T>| rule.when.miss(flight).is_none();
        match &self.index {
            None => self.rules.iter().find(takes),
            Some((asked, index)) => {
                let rule = |number| self.rules.get(number as usize);
                index.of(flight.name(*asked)).filter_map(rule).find(takes)
            }
        }
    }

    /// The routes that come before the one that takes this session, with what keeps it from each.
    pub fn passed(&self, flight: &Flight<'_>) -> Vec<(Arc<str>, Miss)> {
        let missed = |rule: &Rule<T>| Some((Arc::clone(&rule.route.name), rule.when.miss(flight)?));
        self.rules.iter().map_while(missed).collect()
    }

    /// All routes, the default among them.
    pub fn signposts(&self) -> impl Iterator<Item = &Arc<Signpost>> {
        let default = self.default.iter().map(|way| &way.route);
        self.rules.iter().map(|rule| &rule.route).chain(default)
    }
}

impl<T> Ways<T> {
    fn all(&self) -> impl Iterator<Item = &Way<T>> {
        let (one, split) = match self {
            Self::One(way) => (Some(way), &[][..]),
            Self::Split(split) => (None, &**split),
        };
        one.into_iter().chain(split.iter().map(|(_, way)| way))
    }

    fn draw(&self, chance: u64, kept: impl Fn(&T) -> bool) -> Option<&Way<T>> {
        match self {
            Self::One(way) => Some(way),
            Self::Split(split) => {
                let drawn = chance % split.last()?.0.max(1);
                let own = split.iter().find(|(_, way)| kept(&way.to));
                let way = own.or_else(|| split.iter().find(|(upto, _)| drawn < *upto));
                way.map(|(_, way)| way)
            }
        }
    }
}

#[cfg(test)]
mod tests;
