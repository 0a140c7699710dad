//! What stands behind a listener now.

use std::collections::HashMap;
use std::sync::Arc;

use crate::addr::ClientAddr;
use crate::admission::{Admission, Place};
use crate::listener::Post;
use crate::listener::foretold::{Asked, Foretold, foretell};
use crate::listener::handshake::{Greeting, Handshake};
use crate::outcome::Rejection;
use crate::pool::Ask;
use crate::route::Signpost;
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

/// What stands behind a listener.
#[derive(Debug)]
pub struct Frontend {
    /// What it wants to hear first.
    pub handshake: Arc<Handshake>,
    /// What is done with a connection or a datagram.
    pub proxy: Proxy,
}

/// A named listener: who is let in, and what is behind it. A reload makes another one.
#[derive(Debug)]
pub struct Listener {
    /// Its name.
    pub name: Arc<str>,
    /// Who is let in, and the counters.
    pub admission: Arc<Admission>,
    frontend: Frontend,
}

impl Listener {
    /// A listener that is not bound to anything by itself.
    pub fn new(name: Arc<str>, frontend: Frontend, admission: Arc<Admission>) -> Self {
        Self { name, admission, frontend }
    }

    /// What is done with what comes.
    pub(super) fn proxy(&self) -> &Proxy {
        &self.frontend.proxy
    }

    /// What would become of what comes now and asks for this. Nothing is changed by it.
    pub fn preview(&self, ask: &Ask<'_>, asked: &Asked<'_>) -> Foretold {
        foretell(&self.frontend.proxy, ask, asked)
    }

    /// Its routes, the ways to its own pools among them.
    pub fn signposts(&self) -> Vec<Arc<Signpost>> {
        match &self.frontend.proxy {
            Proxy::Tcp(proxy) => {
                let plain = proxy.plain.iter().map(|way| &way.route);
                proxy.routes.signposts().chain(plain).cloned().collect()
            }
            Proxy::Udp(proxy) => proxy.routes.signposts().cloned().collect(),
            Proxy::Http(proxy) => proxy.routes.signposts().cloned().collect(),
        }
    }

    /// What is counted of its requests, if it takes any.
    pub fn requests(&self) -> Vec<Arc<http::Requests>> {
        match &self.frontend.proxy {
            Proxy::Tcp(_) | Proxy::Udp(_) => Vec::new(),
            Proxy::Http(proxy) => proxy.requests.all().cloned().collect(),
        }
    }

    /// How often its routes may be gone, by their names.
    pub fn limits(&self) -> HashMap<Arc<str>, Arc<http::Limit>> {
        match &self.frontend.proxy {
            Proxy::Tcp(_) | Proxy::Udp(_) => HashMap::new(),
            Proxy::Http(proxy) => proxy.limits.clone(),
        }
    }

    /// Lets a connection in, or says why not. Whoever must send a header first is screened by what it
    /// names, once that has come.
    pub(super) fn admit(
        self: &Arc<Self>,
        post: &Arc<Post>,
        peer: ClientAddr,
    ) -> Result<Admitted, Rejection> {
        let place = self.admission.enter()?;
        let Frontend { handshake, proxy } = &self.frontend;
        let greeting = handshake.greeting(peer.ip());
        if !greeting.as_ref().is_some_and(|greeting| greeting.is_introduced) {
            self.admission.screen(peer)?;
        }
        let (listener, post) = (Arc::clone(self), Arc::clone(post));
        let permit = Permit { listener, post, _place: place };
        Ok(Admitted { permit, proxy: proxy.clone(), greeting })
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
    post: Arc<Post>,
    _place: Place,
}

impl Permit {
    pub(super) fn listener(&self) -> &Arc<Listener> {
        &self.listener
    }

    /// Where it came in.
    pub(super) fn post(&self) -> &Arc<Post> {
        &self.post
    }
}
