//! One attempt to find out whether a backend works: what is asked, and the answer in words.

mod datagram;
mod dns;
mod exec;
mod grpc;
mod handshake;
mod http;
mod http2;
mod send_expect;
mod tcp;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::config::{self, ClientTls, HttpVersion, Member, Probe, ProxyVersion};
use crate::health::StartError;
use crate::net;
use crate::pool::Verdict;
use crate::tls;
use crate::wire::proxy_protocol;
use handshake::Handshake;

/// A probe that was answered.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Not `Failed`.
    pub(super) verdict: Verdict,
    /// What was seen.
    pub(super) reason: String,
}

impl Answer {
    fn up(reason: impl Into<String>) -> Self {
        Self { verdict: Verdict::Up, reason: reason.into() }
    }
}

/// A probe without the right answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Miss {
    /// The backend did not answer as it should.
    Failed(String),
    /// We could not even ask: our own descriptors, ports or memory are short.
    Short(String),
}

/// Where a probe goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    /// Local address to connect from.
    pub(super) source: Option<IpAddr>,
    /// The PROXY header that goes first where a connection is made.
    pub(super) header: Option<ProxyVersion>,
}

/// What is asked of one backend.
#[derive(Debug)]
pub(in crate::health) enum Prober {
    Tcp,
    Tls(Box<Handshake>),
    Http(Box<http::Request>),
    Grpc(Box<grpc::Check>),
    SendExpect(send_expect::Dialogue),
    Dns(dns::Query),
    Exec(exec::Run),
}

impl Prober {
    /// One for each member, in their order; `None` for `probe = "none"`. Reads the files of
    /// `[pool.NAME.health.tls]`.
    pub(super) fn of_all(spec: &config::Pool) -> Result<Option<Vec<Arc<Self>>>, StartError> {
        let settings = settings(spec)?;
        let handshake = |member| {
            let made = settings.as_ref().map(|(tls, config)| Handshake::new(member, tls, config));
            made.transpose().map_err(|why| useless(spec, why))
        };
        let prober = |member| Self::of(spec, member, handshake(member)?);
        let probers = spec.members.iter().map(prober);
        probers.map(|prober| Ok(prober?.map(Arc::new))).collect()
    }

    /// `handshake` is there for probes over TLS.
    fn of(
        spec: &config::Pool,
        member: &Member,
        handshake: Option<Handshake>,
    ) -> Result<Option<Self>, StartError> {
        Ok(Some(match &spec.health.probe {
            Probe::None => return Ok(None),
            Probe::Tcp => Self::Tcp,
            Probe::Tls(_) => handshake.map_or(Self::Tcp, |shaken| Self::Tls(Box::new(shaken))),
            Probe::Http(http) => {
                let version = version(spec);
                let request = http::Request::new(&spec.name, member, http, version, handshake)?;
                Self::Http(Box::new(request))
            }
            Probe::Grpc { service, .. } => {
                let check = grpc::Check::new(member, service, handshake);
                Self::Grpc(Box::new(check.map_err(|why| StartError::Request {
                    pool: Arc::clone(&spec.name),
                    key: "service",
                    value: service.clone(),
                    why,
                })?))
            }
            Probe::Dns(dns) => Self::Dns(dns::Query::new(&spec.name, dns)?),
            Probe::SendExpect { send, expect, over } => {
                Self::SendExpect(send_expect::Dialogue::new(send, expect, *over))
            }
            Probe::Exec(argv) => Self::Exec(exec::Run::new(&spec.name, member, argv)),
        }))
    }

    /// Asks once, for at most `limit`. Dropping the future ends whatever it has begun.
    pub(super) async fn ask(&self, peer: Peer, limit: Duration) -> Result<Answer, Miss> {
        let until = Instant::now() + limit;
        let asked = async {
            match self {
                Self::Tcp => tcp::ask(peer).await,
                Self::Tls(handshake) => handshake.ask(peer, until).await,
                Self::Http(request) => request.ask(peer).await,
                Self::Grpc(check) => check.ask(peer).await,
                Self::SendExpect(dialogue) => dialogue.ask(peer, until).await,
                Self::Dns(query) => query.ask(peer, until).await,
                Self::Exec(run) => run.ask(peer).await,
            }
        };
        let late = |_| Err(Miss::Failed(format!("timed out after {limit:?}")));
        tokio::time::timeout_at(until, asked).await.unwrap_or_else(late)
    }
}

/// The version that an http probe speaks: the pool's, since a backend may know no other; and the
/// usual one where the probe goes elsewhere.
fn version(spec: &config::Pool) -> HttpVersion {
    match (&spec.health.port, &spec.health.address) {
        (None, None) => spec.http.version,
        _ => HttpVersion::V1,
    }
}

/// What a probe speaks TLS by, and what was made of it; `None` for one that does not.
fn settings(spec: &config::Pool) -> Result<Option<(&ClientTls, Arc<ClientConfig>)>, StartError> {
    let (tls, alpn): (_, &[&[u8]]) = match &spec.health.probe {
        Probe::Tls(tls) => (Some(tls), &[]),
        Probe::Http(http) => match version(spec) {
            HttpVersion::V1 => (http.tls.as_ref(), &[b"http/1.1"]),
            HttpVersion::V2 => (http.tls.as_ref(), &[http2::ALPN]),
        },
        Probe::Grpc { tls, .. } => (tls.as_ref(), &[http2::ALPN]),
        _ => (None, &[]),
    };
    let Some(tls) = tls else { return Ok(None) };
    let config = tls::client(tls, alpn).map_err(|why| useless(spec, why))?;
    Ok(Some((tls, config)))
}

fn useless(spec: &config::Pool, why: tls::Error) -> StartError {
    StartError::Tls { pool: Arc::clone(&spec.name), why: Box::new(why) }
}

/// What a probe of bytes reads from and writes to.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

async fn connect(peer: Peer) -> Result<TcpStream, Miss> {
    let connected = net::connect(peer.address, peer.source).await;
    let mut stream = connected.map_err(|error| match shortage(&error) {
        Some(miss) => miss,
        None => Miss::Failed(why_not_connected(peer.address, &error)),
    })?;
    if let Some(version) = peer.header {
        // A probe speaks for nobody but us.
        let header = match version {
            ProxyVersion::V1 => proxy_protocol::UNKNOWN,
            ProxyVersion::V2 => proxy_protocol::LOCAL,
        };
        let sent = stream.write_all(header).await;
        sent.map_err(|error| Miss::Failed(why_broken(&error)))?;
    }
    Ok(stream)
}

/// The miss that an error means if it is about our own resources.
fn shortage(error: &io::Error) -> Option<Miss> {
    let errno = Errno::from_io_error(error)?;
    net::is_own_shortage(errno).then(|| Miss::Short(error.to_string()))
}

fn why_not_connected(address: SocketAddr, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => format!("connection refused by {address}"),
        io::ErrorKind::ConnectionReset => format!("connection reset by {address}"),
        io::ErrorKind::TimedOut => format!("no answer from {address}"),
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            format!("no way to {address}: {error}")
        }
        _ => format!("cannot connect to {address}: {error}"),
    }
}

/// A stream that broke after the connect, in words.
fn why_broken(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            "the connection was reset before the answer".to_owned()
        }
        _ => format!("the connection broke: {error}"),
    }
}

/// Ends a connection with FIN where that is possible: a close with unread bytes would be a reset.
async fn hang_up(mut stream: TcpStream) {
    stream.shutdown().await.ok();
    let mut rest = [0; 4096];
    // Only what is here already: nobody waits for more.
    while matches!(stream.try_read(&mut rest), Ok(1..)) {}
}

#[cfg(test)]
mod tests;
