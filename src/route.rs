//! Which way a session goes: the first route of a listener that matches, or its default.
//!
//! Nothing here knows what the ways lead to. Chance comes with each question, so a dry run can ask
//! the same one.

use std::net::IpAddr;
use std::sync::Arc;

use crate::addr::Networks;
use crate::config::{Leads, Matchers, NamePattern, Route};

/// The name of the way that a listener's own pool is.
pub const DEFAULT: &str = "default";

/// The routes of one listener, with what each leads to.
#[derive(Debug)]
pub struct Routes<T> {
    rules: Box<[Rule<T>]>,
    default: Option<Way<T>>,
}

#[derive(Debug)]
struct Rule<T> {
    when: When,
    ways: Ways<T>,
}

/// One or several ways of a route, of which one is drawn.
#[derive(Debug)]
enum Ways<T> {
    One(Way<T>),
    /// With the sum of the weights up to and including each.
    Split(Box<[(u64, Way<T>)]>),
}

/// A way that a session may go.
#[derive(Debug, Clone)]
pub struct Way<T> {
    /// The name of the route, [`DEFAULT`] for the listener's own pool.
    pub route: Arc<str>,
    /// What it leads to.
    pub to: T,
}

#[derive(Debug)]
struct When {
    sni: Box<[NamePattern]>,
    alpn: Box<[Box<[u8]>]>,
    /// Empty = any.
    client: Networks,
    is_from_networks: bool,
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
}

impl When {
    fn new(spec: &Matchers) -> Self {
        Self {
            sni: spec.sni.clone().into(),
            alpn: spec.alpn.iter().map(|protocol| protocol.as_bytes().into()).collect(),
            client: Networks::new(&spec.client),
            is_from_networks: !spec.client.is_empty(),
        }
    }

    fn matches(&self, flight: &Flight<'_>) -> bool {
        let named = |name| self.sni.iter().any(|pattern| pattern.matches(name));
        let offered = |wanted: &[u8]| flight.alpn.iter().any(|offer| **offer == *wanted);
        (self.sni.is_empty() || flight.sni.is_some_and(named))
            && (self.alpn.is_empty() || self.alpn.iter().any(|wanted| offered(wanted)))
            && (!self.is_from_networks || self.client.contain(flight.client))
    }
}

impl<T: Clone> Routes<T> {
    /// The routes of a listener in their order, and its own pool; `to` gives what a pool, by its
    /// index, is for this listener.
    pub fn new(specs: &[Route], default: Option<usize>, to: impl Fn(usize) -> Option<T>) -> Self {
        let rule = |spec: &Route| {
            let way = |pool| Some(Way { route: Arc::clone(&spec.name), to: to(pool)? });
            let ways = match &spec.leads {
                Leads::Pool(pool) => Ways::One(way(*pool)?),
                Leads::Split(shares) => {
                    let mut sum = 0;
                    let mut split = Vec::new();
                    for share in shares.iter().filter(|share| share.weight > 0) {
                        sum += u64::from(share.weight);
                        split.push((sum, way(share.pool)?));
                    }
                    Ways::Split(split.into())
                }
            };
            Some(Rule { when: When::new(&spec.when), ways })
        };
        let default = default.and_then(|pool| Some(Way { route: DEFAULT.into(), to: to(pool)? }));
        Self { rules: specs.iter().filter_map(rule).collect(), default }
    }

    /// The way that this session goes; `chance` decides where a route splits. `None` = no route
    /// takes it and there is no default.
    pub fn find(&self, flight: &Flight<'_>, chance: u64) -> Option<&Way<T>> {
        match self.rules.iter().find(|rule| rule.when.matches(flight)) {
            Some(rule) => rule.ways.draw(chance),
            None => self.default.as_ref(),
        }
    }
}

impl<T> Ways<T> {
    fn draw(&self, chance: u64) -> Option<&Way<T>> {
        match self {
            Self::One(way) => Some(way),
            Self::Split(split) => {
                let drawn = chance % split.last()?.0.max(1);
                split.iter().find(|(upto, _)| drawn < *upto).map(|(_, way)| way)
            }
        }
    }
}
