//! What a listener wants to hear before it leads a client anywhere: a PROXY header from those who
//! connect for others.
//!
//! No more is read than the header, so the relay finds the payload where the kernel has it.

use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;

use crate::addr::{ClientAddr, Networks};
use crate::admission::Admission;
use crate::config::{self, AcceptProxy};
use crate::net::Socket;
use crate::outcome::Rejection;
use crate::route::{Flight, Way};
use crate::session::{Clock, Overdue};
use crate::tcp::{self, Client, Proxy};
use crate::upstream::Gateway;
use crate::wire::proxy_protocol::{Addresses, Decoded, Invalid, decode};

/// Room made for a header in one go: whoever claims a long one has to send it before it costs more.
const STEP: usize = 4096;

/// What comes before the first routed byte.
#[derive(Debug)]
pub struct Handshake {
    /// Who must send a PROXY header.
    introduced: Introduced,
    /// Bound of all of it, from the accept.
    timeout: Duration,
}

#[derive(Debug)]
enum Introduced {
    Nobody,
    Everybody,
    From(Networks),
}

impl Handshake {
    /// As the file says it.
    pub fn new(spec: &config::Listener) -> Self {
        let introduced = match &spec.accept_proxy_protocol {
            AcceptProxy::Off => Introduced::Nobody,
            AcceptProxy::All => Introduced::Everybody,
            AcceptProxy::From(networks) => Introduced::From(Networks::new(networks)),
        };
        Self { introduced, timeout: spec.handshake_timeout }
    }

    /// The time within which whoever connects from here must have sent a PROXY header; `None` if it
    /// is taken as it comes.
    pub(super) fn header_within(&self, ip: IpAddr) -> Option<Duration> {
        let is_awaited = match &self.introduced {
            Introduced::Nobody => false,
            Introduced::Everybody => true,
            Introduced::From(networks) => networks.contain(ip),
        };
        is_awaited.then_some(self.timeout)
    }
}

/// Reads the header that must come within `limit` of the accept, gives the client the addresses that
/// it names, and lets it in or not by these. On an error the client's close will be a reset.
pub(super) async fn introduce(
    client: &mut Client,
    limit: Duration,
    proxy: &Proxy,
    admission: &Admission,
    clock: &Rc<Clock>,
) -> Result<(), Rejection> {
    let left = limit.saturating_sub(client.since.elapsed());
    let why = match clock.limit(left, header(&client.socket)).await {
        Ok(Ok(named)) => {
            if let Some(Addresses { source, destination }) = named {
                client.address = ClientAddr::new(source);
                client.named = Some(destination);
            }
            return admission
                .screen(client.address)
                .inspect_err(|_| client.socket.reset_on_close());
        }
        Ok(Err(broken)) => {
            tracing::debug!(listener = &*proxy.listener, peer = %client.address, %broken,
                "no valid PROXY header");
            Rejection::ProxyHeader
        }
        Err(Overdue) => Rejection::HandshakeTimeout,
    };
    tcp::refuse(client, proxy, why);
    Err(why)
}

/// The way that the client goes, by what is known of it. On an error the client's close will be a
/// reset.
pub(super) fn lead(client: &Client, proxy: &Proxy) -> Result<Way<Arc<Gateway>>, Rejection> {
    let hello = client.hello.as_deref();
    let flight = Flight {
        client: client.address.ip(),
        sni: hello.and_then(|hello| hello.server_name.as_deref()),
        alpn: hello.map(|hello| hello.alpn.as_slice()).unwrap_or_default(),
    };
    proxy.routes.find(&flight, fastrand::u64(..)).cloned().ok_or_else(|| {
        tcp::refuse(client, proxy, Rejection::NoRoute);
        Rejection::NoRoute
    })
}

/// What came instead of a header.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Invalid(#[from] Invalid),
    #[error("it ended before it was complete")]
    Cut,
    #[error(transparent)]
    Failed(#[from] Errno),
}

/// Reads a header, and nothing of what is behind it.
async fn header(socket: &Socket) -> Result<Option<Addresses>, Broken> {
    let mut bytes = Vec::with_capacity(128);
    loop {
        let more = match decode(&bytes)? {
            Decoded::Header { addresses, .. } => return Ok(addresses),
            Decoded::Incomplete { more } => more.min(STEP),
        };
        let known = bytes.len();
        bytes.resize(known + more, 0);
        let room = bytes.get_mut(known..).unwrap_or_default();
        let read = poll_fn(|cx| socket.poll_recv(cx, room)).await?;
        bytes.truncate(known + read);
        if read == 0 {
            return Err(Broken::Cut);
        }
    }
}
