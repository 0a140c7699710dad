//! What stands behind a listener now.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::addr::ClientAddr;
use crate::admission::{Admission, Place};
use crate::listener::handshake::{Greeting, Handshake};
use crate::outcome::Rejection;
use crate::pool::{Ask, Entrance, Preview};
use crate::route::{Flight, Miss, Routes, Signpost};
use crate::wire::client_hello;
use crate::{http, tcp, udp};

/// What is done with what comes to a listener.
#[derive(Debug, Clone)]
pub enum Proxy {
    /// Connections are relayed.
    Tcp(Arc<tcp::Proxy>),
    /// Datagrams are forwarded.
    Udp(Arc<udp::Proxy>),
    /// Requests are answered.
    Http(Arc<http::Proxy>),
}

impl Proxy {
    fn preview(&self, ask: &Ask<'_>, flight: &Flight<'_>) -> Foretold {
        match self {
            Self::Tcp(proxy) => foretell(&proxy.routes, ask, flight, |way| Some(&way.entrance)),
            Self::Udp(proxy) => foretell(&proxy.routes, ask, flight, |way| Some(way)),
            Self::Http(proxy) => foretell(&proxy.routes, ask, flight, |way| match &way.to {
                http::Destination::Pool(gateway) => Some(&gateway.entrance),
                http::Destination::Redirect(_) | http::Destination::Respond(_) => None,
            }),
        }
    }
}

/// What would become of a session.
#[derive(Debug)]
pub struct Foretold {
    /// The routes that would not take it, up to the one that would, and what keeps it from each.
    pub passed: Vec<(Arc<str>, Miss)>,
    /// Where it would go; `None` = nowhere.
    pub led: Option<ForetoldWay>,
}

/// Where a session would go.
#[derive(Debug)]
pub struct ForetoldWay {
    /// The name of the route.
    pub route: Arc<str>,
    /// The name of the pool that it leads to.
    pub pool: Arc<str>,
    /// What the pool would do with it.
    pub preview: Preview,
}

fn foretell<T>(
    routes: &Routes<Arc<T>>,
    ask: &Ask<'_>,
    flight: &Flight<'_>,
    entrance: impl Fn(&T) -> Option<&Entrance>,
) -> Foretold {
    // Another chance than the one that a backend is drawn by.
    let chance = ask.chance.rotate_left(32);
    let led = routes.find(flight, chance, |_| false).and_then(|way| {
        let entrance = entrance(&way.to)?;
        let (route, pool) = (Arc::clone(&way.route.name), Arc::clone(entrance.pool().name()));
        Some(ForetoldWay { route, pool, preview: entrance.preview(ask) })
    });
    Foretold { passed: routes.passed(flight), led }
}

/// What stands behind a listener: replaced whole by a reload.
#[derive(Debug)]
pub struct Frontend {
    /// What it wants to hear first.
    pub handshake: Arc<Handshake>,
    /// What is done with a connection or a datagram.
    pub proxy: Proxy,
}

/// A named listener: who is let in, and what is behind it.
#[derive(Debug)]
pub struct Listener {
    /// Its name.
    pub name: Arc<str>,
    /// Who is let in, and the counters.
    pub admission: Arc<Admission>,
    frontend: ArcSwap<Frontend>,
}

impl Listener {
    /// A listener that is not bound to anything by itself.
    pub fn new(name: Arc<str>, frontend: Frontend, admission: Arc<Admission>) -> Self {
        Self { name, admission, frontend: ArcSwap::from_pointee(frontend) }
    }

    /// What is done with what comes now.
    pub(super) fn proxy(&self) -> Proxy {
        self.frontend.load().proxy.clone()
    }

    /// What would become of a session that comes now, and asks for this server name and for one of
    /// these protocols. Nothing is changed by it.
    pub fn preview(&self, ask: &Ask<'_>, sni: Option<&str>, alpn: &[Vec<u8>]) -> Foretold {
        let sni = sni.and_then(|name| client_hello::host_name(name.as_bytes()));
        let client = ask.client.ip();
        let flight = Flight { client, sni: sni.as_deref(), alpn, request: None };
        self.frontend.load().proxy.preview(ask, &flight)
    }

    /// Its routes, the ways to its own pools among them.
    pub fn signposts(&self) -> Vec<Arc<Signpost>> {
        match &self.frontend.load().proxy {
            Proxy::Tcp(proxy) => {
                let plain = proxy.plain.iter().map(|way| &way.route);
                proxy.routes.signposts().chain(plain).cloned().collect()
            }
            Proxy::Udp(proxy) => proxy.routes.signposts().cloned().collect(),
            Proxy::Http(proxy) => proxy.routes.signposts().cloned().collect(),
        }
    }

    /// Lets a connection in, or says why not. Whoever must send a header first is screened by what it
    /// names, once that has come.
    pub(super) fn admit(self: &Arc<Self>, peer: ClientAddr) -> Result<Admitted, Rejection> {
        let place = self.admission.enter()?;
        let frontend = self.frontend.load();
        let greeting = frontend.handshake.greeting(peer.ip());
        if !greeting.as_ref().is_some_and(|greeting| greeting.is_introduced) {
            self.admission.screen(peer)?;
        }
        let permit = Permit { listener: Arc::clone(self), _place: place };
        Ok(Admitted { permit, proxy: frontend.proxy.clone(), greeting })
    }
}

/// A connection that was let in, and what the frontend of that moment has for it.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) permit: Permit,
    pub(super) proxy: Proxy,
    /// What it has to say first; `None` = it is taken as it comes.
    pub(super) greeting: Option<Greeting>,
}

/// A connection counted on its listener and the process, given back on drop.
#[derive(Debug)]
pub(super) struct Permit {
    listener: Arc<Listener>,
    _place: Place,
}

impl Permit {
    pub(super) fn listener(&self) -> &Arc<Listener> {
        &self.listener
    }
}
