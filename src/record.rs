//! The one line that a session, or a request, leaves in the access log.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::addr::ClientAddr;

/// A finished session or request, or a client that was turned away after admission.
#[derive(Debug, Clone)]
pub struct Record {
    /// When it ended.
    pub time: SystemTime,
    /// The listener's name.
    pub listener: Arc<str>,
    /// `"tcp"`, `"udp"` or `"http"`.
    pub protocol: &'static str,
    /// The client.
    pub client: ClientAddr,
    /// The address the client connected to.
    pub local: SocketAddr,
    /// The name of the route that took it; `None` = none did.
    pub route: Option<Arc<str>>,
    /// The pool's name; that of the fallback pool if its backend was picked. `None` = it was led to
    /// none.
    pub pool: Option<Arc<str>>,
    /// The backend's name; `None` if none was reached.
    pub backend: Option<Arc<str>>,
    /// Connects that were tried.
    pub attempts: u32,
    /// From accept to end; of a request from the end of its head.
    pub duration: Duration,
    /// From accept to the backend's answer to the connect; of a request how long its connect took,
    /// `None` if it went over a connection that was there.
    pub connect: Option<Duration>,
    /// From accept to the backend's first byte, as exact as the relay's clock; of a request from the
    /// end of its head to the head of the backend's answer.
    pub first_byte: Option<Duration>,
    /// Payload from the client; of a request its body.
    pub bytes_in: u64,
    /// Payload for the client; of a request the body of its answer.
    pub bytes_out: u64,
    /// A word of the closed lists in [`crate::outcome`], or `client-gone`.
    pub outcome: &'static str,
    /// What is known of its TLS, ended here or passed through; `None` = it spoke none.
    pub tls: Option<Box<TlsFacts>>,
    /// What was asked for, where there are requests.
    pub request: Option<Box<RequestFacts>>,
}

/// What a request asked for, as far as anybody could read it, and what it got. What clients say is cut
/// where it gets long.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RequestFacts {
    /// The method.
    pub method: Option<String>,
    /// The host, as it was asked for.
    pub host: Option<String>,
    /// The path as it was asked for, without the query, in which there may be secrets.
    pub path: Option<String>,
    /// The status that the client got; `None` = no answer.
    pub status: Option<u16>,
    /// What the request is called, by its client or by us.
    pub request_id: Option<String>,
    /// What the client says that it is.
    pub user_agent: Option<String>,
    /// `"1.0"`, `"1.1"` or `"2"`.
    pub version: Option<&'static str>,
}

/// What a session's TLS was about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFacts {
    /// The server name that the client asked for.
    pub sni: Option<String>,
    /// `"1.2"` or `"1.3"`, if TLS ended here.
    pub version: Option<&'static str>,
    /// The application protocol agreed on; what the client offered first, if TLS was passed through.
    pub alpn: Option<String>,
}

impl Record {
    /// The line of a client of which nothing is known yet but where it came in.
    pub fn begun(way_in: WayIn<'_>, time: SystemTime) -> Self {
        let WayIn { listener, protocol, client, local, way } = way_in;
        Self {
            time,
            listener: Arc::clone(listener),
            protocol,
            client,
            local,
            route: way.map(|(route, _)| Arc::clone(route)),
            pool: way.map(|(_, pool)| Arc::clone(pool)),
            backend: None,
            attempts: 0,
            duration: Duration::ZERO,
            connect: None,
            first_byte: None,
            bytes_in: 0,
            bytes_out: 0,
            outcome: "",
            tls: None,
            request: None,
        }
    }
}

/// Where a client came in; the fields are those of [`Record`].
#[derive(Debug, Clone, Copy)]
pub struct WayIn<'a> {
    /// The listener's name.
    pub listener: &'a Arc<str>,
    /// The listener's protocol.
    pub protocol: &'static str,
    /// The client.
    pub client: ClientAddr,
    /// The address it asked.
    pub local: SocketAddr,
    /// The route and the pool that it is led to.
    pub way: Option<(&'a Arc<str>, &'a Arc<str>)>,
}
