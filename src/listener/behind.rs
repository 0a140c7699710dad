//! What a handshake wants to know of what stands behind its listener, whatever is spoken there.

use std::sync::Arc;

use crate::config::StartTls;
use crate::http;
use crate::listener::Post;
use crate::listener::handshake::Refused;
use crate::outcome::{Rejection, Unserved};
use crate::route::{Flight, Way};
use crate::tcp;
use crate::tls::Inbound;
use crate::upstream::{Client, Gateway};
use crate::wire::postgres;

/// What connections are led to.
pub(super) trait Behind {
    /// Where one goes.
    type Way;

    /// The name of the listener.
    fn listener(&self) -> &Arc<str>;

    /// What ends TLS here.
    fn tls(&self) -> Option<&Inbound>;

    /// The way of those who do not speak TLS though it is asked of them.
    fn plain(&self) -> Option<Self::Way>;

    /// What they are told where there is none; may be empty.
    fn tls_required(&self, client: &Client) -> &'static [u8];

    /// The way that the client goes, by what is known of it.
    fn find(&self, client: &mut Client) -> Result<Self::Way, Refused>;

    /// Leaves the line of a client that is not served.
    fn refuse(&self, client: &Client, why: Unserved);
}

impl Behind for tcp::Proxy {
    type Way = Way<Arc<Gateway>>;

    fn listener(&self) -> &Arc<str> {
        &self.listener
    }

    fn tls(&self) -> Option<&Inbound> {
        self.tls.as_deref()
    }

    fn plain(&self) -> Option<Self::Way> {
        self.plain.clone()
    }

    fn tls_required(&self, client: &Client) -> &'static [u8] {
        match client.spoken {
            Some(StartTls::Postgres) if postgres::is_startup(&client.ahead) => {
                postgres::TLS_REQUIRED
            }
            _ => b"",
        }
    }

    fn find(&self, client: &mut Client) -> Result<Self::Way, Refused> {
        let hello = client.hello.as_deref();
        let flight = Flight {
            client: client.address.ip(),
            sni: hello.and_then(|hello| hello.server_name.as_deref()),
            alpn: hello.map(|hello| hello.alpn.as_slice()).unwrap_or_default(),
            request: None,
        };
        let way = self.routes.find(&flight, fastrand::u64(..), |_| false).cloned();
        if let Some(hello) = &mut client.hello {
            // The way is found, and a list may be long. Whether more than one is offered still counts.
            hello.alpn.truncate(2);
            hello.alpn.shrink_to_fit();
        }
        way.ok_or(Refused::Inside(Rejection::NoRoute))
    }

    fn refuse(&self, client: &Client, why: Unserved) {
        tcp::refuse(client, self, why);
    }
}

/// What a connection was let in to. It may be a while before it has said where it wants to go: its way
/// is found by what is in force then.
pub(super) struct Relaying<'a> {
    pub(super) proxy: &'a tcp::Proxy,
    pub(super) post: &'a Post,
}

impl Behind for Relaying<'_> {
    type Way = Way<Arc<Gateway>>;

    fn listener(&self) -> &Arc<str> {
        self.proxy.listener()
    }

    fn tls(&self) -> Option<&Inbound> {
        self.proxy.tls()
    }

    fn plain(&self) -> Option<Self::Way> {
        self.post.relaying().map_or_else(|| self.proxy.plain(), |latest| latest.plain())
    }

    fn tls_required(&self, client: &Client) -> &'static [u8] {
        self.proxy.tls_required(client)
    }

    fn find(&self, client: &mut Client) -> Result<Self::Way, Refused> {
        match self.post.relaying() {
            Some(latest) => latest.find(client),
            None => self.proxy.find(client),
        }
    }

    fn refuse(&self, client: &Client, why: Unserved) {
        self.proxy.refuse(client, why);
    }
}

/// Each request finds its own way.
impl Behind for http::Proxy {
    type Way = ();

    fn listener(&self) -> &Arc<str> {
        &self.listener
    }

    fn tls(&self) -> Option<&Inbound> {
        self.tls.as_deref()
    }

    fn plain(&self) -> Option<()> {
        None
    }

    fn tls_required(&self, _: &Client) -> &'static [u8] {
        http::TLS_REQUIRED
    }

    fn find(&self, _: &mut Client) -> Result<(), Refused> {
        Ok(())
    }

    fn refuse(&self, client: &Client, why: Unserved) {
        http::refuse(client, self, why);
    }
}
