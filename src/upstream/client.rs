//! The client that a backend is looked for, and how a backend is told of it.

use std::net::SocketAddr;
use std::task::{Context, Poll};
use std::time::Instant;

use crate::addr::ClientAddr;
use crate::config::{ProxyVersion, StartTls};
use crate::net::Socket;
use crate::pool::Claim;
use crate::record::TlsFacts;
use crate::tls::{Outbound, Session};
use crate::wire::client_hello::ClientHello;
use crate::wire::proxy_protocol::{Addresses, encode_v1, encode_v2};

/// As long as the name of an application protocol can be (RFC 7301, 3.1).
const LONGEST_PROTOCOL: usize = 255;

/// Whoever a backend is looked for.
pub trait Caller {
    /// Who it is.
    fn address(&self) -> ClientAddr;

    /// The address that it connected to.
    fn local(&self) -> SocketAddr;

    /// Ready once it has left, or ended its side: then it waits for nothing any more.
    fn poll_hangup(&self, cx: &Context<'_>) -> Poll<()>;

    /// What its request says to the pool that is asked, and to those behind it.
    fn claims(&self) -> &[Claim] {
        &[]
    }

    /// True if what it sends are requests: the connection is then one for http alone.
    fn sends_requests(&self) -> bool {
        false
    }

    /// The upgrade to TLS that a backend is asked for before anything else on its behalf; `outbound`
    /// is there if we speak TLS to the backend.
    fn upgrade(&self, outbound: Option<&Outbound>) -> Option<StartTls> {
        outbound.and_then(|outbound| outbound.starttls)
    }
}

/// The PROXY header that speaks for a caller.
pub(super) fn header(caller: &impl Caller, version: ProxyVersion) -> Vec<u8> {
    let ends = Addresses { source: caller.address().socket(), destination: caller.local() };
    match version {
        ProxyVersion::V1 => encode_v1(&ends),
        ProxyVersion::V2 => encode_v2(&ends),
    }
}

/// An accepted connection.
#[derive(Debug)]
pub struct Client {
    /// The connection.
    pub socket: Socket,
    /// Who it is: the peer, or whom the peer has named.
    pub address: ClientAddr,
    /// Where it connected to, if the peer has named that.
    pub named: Option<SocketAddr>,
    /// When it was accepted.
    pub since: Instant,
    /// Read from it while it was found out where it goes, and decrypted if `tls` is there: the first
    /// that a backend gets.
    pub ahead: Vec<u8>,
    /// What is spoken over the connection, if TLS ends here.
    pub tls: Option<Box<Session>>,
    /// The upgrade that is spoken where it came in: a backend that TLS is spoken to is asked for it,
    /// however the client came.
    pub spoken: Option<StartTls>,
    /// The upgrade by which it came to TLS.
    pub starttls: Option<StartTls>,
    /// What it has said of itself in its ClientHello.
    pub hello: Option<Box<ClientHello>>,
}

impl Client {
    /// A connection of which nothing is known but where it comes from.
    pub fn accepted(socket: Socket, address: ClientAddr, since: Instant) -> Self {
        Self {
            socket,
            address,
            named: None,
            since,
            ahead: Vec::new(),
            tls: None,
            spoken: None,
            starttls: None,
            hello: None,
        }
    }

    /// The address that the client connected to, never an IPv4 one mapped into IPv6.
    pub fn local(&self) -> SocketAddr {
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let local = self.named.or_else(|| self.socket.local()).unwrap_or(unknown);
        SocketAddr::new(local.ip().to_canonical(), local.port())
    }

    /// What is known of its TLS.
    pub fn facts(&self) -> Option<TlsFacts> {
        let text = |alpn: &[u8]| {
            String::from_utf8_lossy(alpn).chars().take(LONGEST_PROTOCOL).collect::<String>()
        };
        let hello = self.hello.as_deref()?;
        let ended = self.tls.as_deref();
        let alpn = match ended {
            Some(session) => session.alpn(),
            None => hello.alpn.first().map(Vec::as_slice),
        };
        Some(TlsFacts {
            sni: hello.server_name.clone(),
            version: ended.and_then(|session| Some(session.version()?.as_str())),
            alpn: alpn.map(text),
        })
    }
}

impl Caller for Client {
    fn address(&self) -> ClientAddr {
        self.address
    }

    fn local(&self) -> SocketAddr {
        Self::local(self)
    }

    fn poll_hangup(&self, cx: &Context<'_>) -> Poll<()> {
        self.socket.poll_hangup(cx)
    }

    fn upgrade(&self, outbound: Option<&Outbound>) -> Option<StartTls> {
        match outbound {
            Some(outbound) => outbound.starttls.or(self.spoken),
            // The client's own TLS goes through to the backend, and it has had its answer.
            None if self.tls.is_none() && self.hello.is_some() => self.starttls,
            None => None,
        }
    }
}
