//! Which way a session goes: the first route of a listener that matches, or its default.
//!
//! Nothing here knows what the ways lead to. Chance comes with each question, so a dry run can ask
//! the same one.

mod request;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use crate::addr::Networks;
use crate::config::{Leads, Matchers, NamePattern, Redirect, Respond, Route};
use crate::metric::Counter;
pub use request::Heading;
use request::Wanted;

/// The name of the way that a listener's own pool is.
pub const DEFAULT: &str = "default";
/// The name of the way to the pool of those who do not speak TLS.
pub const PLAIN: &str = "plain";

/// The routes of one listener, with what each leads to.
#[derive(Debug)]
pub struct Routes<T> {
    rules: Box<[Rule<T>]>,
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
    /// With the sum of the weights up to and including each.
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
#[derive(Debug)]
pub struct Signpost {
    /// Its name, [`DEFAULT`] for the listener's own pool, [`PLAIN`] for that of cleartext.
    pub name: Arc<str>,
    /// Sessions that it was taken for.
    pub sessions: Counter,
}

impl Signpost {
    /// Of a route that nobody has taken.
    pub fn new(name: impl Into<Arc<str>>) -> Arc<Self> {
        Arc::new(Self { name: name.into(), sessions: Counter::default() })
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
        let rule = |spec: &Route| {
            let route = Signpost::new(Arc::clone(&spec.name));
            let way = |target| Some(Way { route: Arc::clone(&route), to: to(Some(spec), target)? });
            let ways = match &spec.leads {
                Leads::Pool(pool) => Ways::One(way(Target::Pool(*pool))?),
                Leads::Redirect(redirect) => Ways::One(way(Target::Redirect(redirect))?),
                Leads::Respond(respond) => Ways::One(way(Target::Respond(respond))?),
                Leads::Split(shares) => {
                    let mut sum = 0;
                    let mut split = Vec::new();
                    for share in shares.iter().filter(|share| share.weight > 0) {
                        sum += u64::from(share.weight);
                        split.push((sum, way(Target::Pool(share.pool))?));
                    }
                    Ways::Split(split.into())
                }
            };
            Some(Rule { when: When::new(&spec.when), ways, route })
        };
        let own = |pool| to(None, Target::Pool(pool));
        let default =
            default.and_then(|pool| Some(Way { route: Signpost::new(DEFAULT), to: own(pool)? }));
        Self { rules: specs.iter().filter_map(rule).collect(), default }
    }

    /// The way that this session goes; `chance` decides where a route splits. `None` = no route
    /// takes it and there is no default.
    pub fn find(&self, flight: &Flight<'_>, chance: u64) -> Option<&Way<T>> {
        match self.rules.iter().find(|rule| rule.when.miss(flight).is_none()) {
            Some(rule) => rule.ways.draw(chance),
            None => self.default.as_ref(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Share;

    fn route(name: &str, sni: &[&str], alpn: &[&str], client: &[&str], leads: Leads) -> Route {
        let pattern = |text: &&str| match text.strip_prefix("*.") {
            _ if *text == "*" => NamePattern::Any,
            Some(parent) => NamePattern::Below(parent.into()),
            None => NamePattern::Exact((*text).into()),
        };
        let when = Matchers {
            sni: sni.iter().map(pattern).collect(),
            alpn: alpn.iter().map(|&name| name.to_owned()).collect(),
            client: client.iter().map(|network| network.parse().unwrap()).collect(),
            ..Matchers::default()
        };
        Route { name: name.into(), when, leads, treatment: Box::default() }
    }

    fn pool(_: Option<&Route>, target: Target<'_>) -> Option<usize> {
        target.pool()
    }

    fn found(routes: &Routes<usize>, sni: Option<&str>, alpn: &[&str], client: &str) -> String {
        let alpn: Vec<_> = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let flight = Flight { client: client.parse().unwrap(), sni, alpn: &alpn, request: None };
        let way = routes.find(&flight, 0);
        way.map_or_else(|| "nowhere".to_owned(), |way| format!("{} {}", way.route.name, way.to))
    }

    #[test]
    fn the_first_route_of_which_every_matcher_matches_takes_the_session() {
        let routes = [
            route("both", &["a.example", "b.example"], &["h2", "h3"], &[], Leads::Pool(1)),
            route("below", &["*.example"], &[], &[], Leads::Pool(2)),
            route("near", &[], &[], &["10.0.0.0/8", "2001:db8::/32"], Leads::Pool(3)),
            route("named", &["*"], &[], &[], Leads::Pool(4)),
        ];
        let routes = Routes::new(&routes, Some(9), pool);
        let far = "192.0.2.1";
        for (sni, alpn, client, taken) in [
            (Some("a.example"), &["x", "h3"][..], far, "both 1"),
            (Some("b.example"), &["h2"], far, "both 1"),
            (Some("a.example"), &["h1"], far, "below 2"),
            (Some("a.example"), &[], far, "below 2"),
            (Some("example"), &["h2"], far, "named 4"),
            (Some("a.b.example"), &[], far, "named 4"),
            (None, &["h2"], "10.1.2.3", "near 3"),
            (Some("x"), &[], "2001:db8::1", "near 3"),
            (None, &[], far, "default 9"),
        ] {
            assert_eq!(found(&routes, sni, alpn, client), taken, "{sni:?} {alpn:?} {client}");
        }
        let none = Routes::new(&[route("n", &["a"], &[], &[], Leads::Pool(1))], None, pool);
        assert_eq!(found(&none, Some("b"), &[], far), "nowhere");
    }

    #[test]
    fn a_split_is_drawn_by_weight_and_its_ways_are_one_route() {
        let share = |pool, weight| Share { pool, weight };
        let split = Leads::Split(vec![share(1, 3), share(2, 0), share(3, 1)]);
        let routes = Routes::new(&[route("s", &[], &[], &[], split)], None, pool);
        let flight = Flight { client: [192, 0, 2, 1].into(), sni: None, alpn: &[], request: None };
        let drawn: Vec<_> =
            (0..8).filter_map(|chance| routes.find(&flight, chance)).map(|way| way.to).collect();
        assert_eq!(drawn, [1, 1, 1, 3, 1, 1, 1, 3]);
        assert_eq!(routes.signposts().count(), 1);
    }

    #[test]
    fn what_keeps_a_session_from_each_route_before_its_own_can_be_told() {
        let routes = [
            route("a", &["a.example"], &["h2"], &[], Leads::Pool(1)),
            route("b", &["b.example"], &["h2"], &[], Leads::Pool(1)),
            route("c", &[], &[], &["10.0.0.0/8"], Leads::Pool(1)),
            route("d", &["b.example"], &[], &[], Leads::Pool(1)),
            route("e", &["a.example"], &[], &[], Leads::Pool(1)),
        ];
        let routes = Routes::new(&routes, None, pool);
        let client = [192, 0, 2, 1].into();
        let flight = Flight { client, sni: Some("b.example"), alpn: &[], request: None };
        let passed: Vec<_> =
            routes.passed(&flight).iter().map(|(name, miss)| format!("{name}: {miss}")).collect();
        assert_eq!(passed, ["a: sni", "b: alpn", "c: client"]);
    }
}
