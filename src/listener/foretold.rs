//! What would become of a session or a request, for a dry run: the same routes and the same pools are
//! asked, and nothing is changed by it.

use std::net::IpAddr;
use std::sync::Arc;

use ::http::header::LOCATION;
use ::http::{HeaderMap, Response, Uri};

use crate::http::{self, Destination};
use crate::listener::Proxy;
use crate::pool::{Ask, Entrance, Preview};
use crate::route::{Flight, Heading, Illegible, Miss, Routes, Way};
use crate::wire::client_hello;

/// What somebody asks for that does not exist.
#[derive(Debug)]
pub struct Asked<'a> {
    /// The server name of its hello.
    pub sni: Option<&'a str>,
    /// The application protocols that it offers.
    pub alpn: &'a [Vec<u8>],
    /// The method of its request.
    pub method: &'a str,
    /// Path and query of its request.
    pub uri: &'a Uri,
    /// The headers of its request, the host among them.
    pub headers: &'a HeaderMap,
}

/// What would become of a session or a request.
#[derive(Debug)]
pub struct Foretold {
    /// The routes that would not take it, up to the one that would, and what keeps it from each.
    pub passed: Vec<(Arc<str>, Miss)>,
    /// How it would go on.
    pub fate: Fate,
}

/// How a session or a request would go on.
#[derive(Debug)]
pub enum Fate {
    /// No route takes it, and there is no pool.
    Nowhere,
    /// It asks for nothing that could be led anywhere.
    Illegible(Illegible),
    /// The route answers by itself.
    Answered {
        /// The name of the route.
        route: Arc<str>,
        /// The status.
        status: u16,
        /// Where the client is sent.
        location: Option<String>,
    },
    /// It goes to a pool.
    Led {
        /// The name of the route.
        route: Arc<str>,
        /// The name of the pool.
        pool: Arc<str>,
        /// What the pool would do with it.
        preview: Preview,
        /// Path and query that a backend would be asked for.
        target: Option<String>,
    },
}

/// Asks what stands behind a listener.
pub(super) fn foretell(proxy: &Proxy, ask: &Ask<'_>, asked: &Asked<'_>) -> Foretold {
    let sni = asked.sni.and_then(|name| client_hello::host_name(name.as_bytes()));
    let (client, alpn) = (ask.client.ip(), asked.alpn);
    let flight = Flight { client, sni: sni.as_deref(), alpn, request: None };
    match proxy {
        Proxy::Tcp(proxy) => of_session(&proxy.routes, ask, &flight, |way| &way.entrance),
        Proxy::Udp(proxy) => of_session(&proxy.routes, ask, &flight, |way| way),
        Proxy::Http(proxy) => of_request(proxy, ask, client, asked),
    }
}

/// Another chance than the one that a backend is drawn by.
fn chance(ask: &Ask<'_>) -> u64 {
    ask.chance.rotate_left(32)
}

fn of_session<T>(
    routes: &Routes<Arc<T>>,
    ask: &Ask<'_>,
    flight: &Flight<'_>,
    entrance: impl Fn(&T) -> &Entrance,
) -> Foretold {
    let way = routes.find(flight, chance(ask), |_| false);
    let fate = way.map_or(Fate::Nowhere, |way| led(way, entrance(&way.to), ask, None));
    Foretold { passed: routes.passed(flight), fate }
}

fn of_request(proxy: &http::Proxy, ask: &Ask<'_>, client: IpAddr, asked: &Asked<'_>) -> Foretold {
    let heading = match Heading::of(asked.method, asked.uri, asked.headers) {
        Ok(heading) => heading,
        Err(why) => return Foretold { passed: Vec::new(), fate: Fate::Illegible(why) },
    };
    let flight = Flight { client, sni: None, alpn: &[], request: Some(&heading) };
    let way = proxy.routes.find(&flight, chance(ask), |lane| lane.has_kept(asked.headers));
    let fate = way.map_or(Fate::Nowhere, |way| match &way.to.to {
        Destination::Pool(gateway) => {
            let target = way.to.treatment.target(&heading, asked.uri.path());
            let target = target.map_or_else(|| asked.uri.to_string(), |target| target.to_string());
            let claims = gateway.entrance.claims(&heading.path, asked.headers);
            led(way, &gateway.entrance, &Ask { claims: &claims, ..*ask }, Some(target))
        }
        Destination::Redirect(elsewhere) => {
            elsewhere.answer(&heading).map_or_else(Fate::Illegible, |answer| answered(way, &answer))
        }
        Destination::Respond(fixed) => answered(way, &fixed.answer()),
    });
    Foretold { passed: proxy.routes.passed(&flight), fate }
}

fn led<T>(way: &Way<T>, entrance: &Entrance, ask: &Ask<'_>, target: Option<String>) -> Fate {
    let (route, pool) = (Arc::clone(&way.route.name), Arc::clone(entrance.pool().name()));
    Fate::Led { route, pool, preview: entrance.preview(ask), target }
}

fn answered<T, B>(way: &Way<T>, answer: &Response<B>) -> Fate {
    let location = answer.headers().get(LOCATION).and_then(|to| to.to_str().ok());
    Fate::Answered {
        route: Arc::clone(&way.route.name),
        status: answer.status().as_u16(),
        location: location.map(str::to_owned),
    }
}
