//! What the file says about TLS and about routes: a part of [`Config`](super::Config).

use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;

use super::{Field, PathPattern, Redirect, Respond, Treatment};

/// `[listener.NAME.tls]`. Paths are absolute or relative to the working directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerTls {
    /// Picked by server name; the first is for everybody else. May be empty.
    pub certificates: Vec<Identity>,
    /// Certificates that are asked for and renewed by themselves.
    pub acme: Option<Acme>,
    /// Nothing older is spoken.
    pub min_version: TlsVersion,
    /// Application protocols offered, preferred first.
    pub alpn: Vec<String>,
    /// Who must or may show a certificate; `None` = nobody is asked.
    pub client_auth: Option<ClientAuth>,
    /// The protocol whose own upgrade to TLS is answered first.
    pub starttls: Option<StartTls>,
}

impl ListenerTls {
    /// False for a table that only says `starttls`: TLS then goes on to the backends unread.
    pub fn terminates(&self) -> bool {
        !self.certificates.is_empty() || self.acme.is_some()
    }
}

/// A certificate chain and its key, both PEM.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The chain, the server's own certificate first.
    pub cert: PathBuf,
    /// The key of the first certificate.
    pub key: PathBuf,
}

/// The versions of TLS that are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    V1_2,
    /// TLS 1.3 (RFC 8446).
    V1_3,
}

impl TlsVersion {
    /// As the file, metrics and the access log write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1_2 => "1.2",
            Self::V1_3 => "1.3",
        }
    }
}

/// `client_ca` and `client_auth`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientAuth {
    /// PEM bundle of the authorities that sign clients.
    pub ca: PathBuf,
    /// False lets clients in that show none; one that is shown must be good in any case.
    pub required: bool,
}

/// A protocol that begins in cleartext and upgrades.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartTls {
    /// PostgreSQL's `SSLRequest`.
    Postgres,
}

impl StartTls {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
        }
    }
}

/// `[listener.NAME.tls.acme]`: certificates by RFC 8555.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acme {
    /// Names in the certificate, at least one, no wildcard.
    pub domains: Vec<String>,
    /// Where the authority writes to; `None` = nowhere.
    pub contact: Vec<String>,
    /// URL of the directory.
    pub directory: String,
    /// PEM bundle that the directory's own certificate is checked with; `None` = the system's.
    pub directory_ca: Option<PathBuf>,
    /// How the names are proven.
    pub challenge: Challenge,
    /// Folder for account, key and certificate.
    pub storage: PathBuf,
}

/// How a name is proven to be ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// In the handshake of the listener itself (RFC 8737).
    TlsAlpn01,
    /// Over plain http at these addresses (RFC 8555, 8.3), which answer nothing else unless an http
    /// listener is bound there.
    Http01(Vec<std::net::SocketAddr>),
}

/// `[pool.NAME.tls]` and `[pool.NAME.health.tls]`: TLS towards backends. Paths are absolute or
/// relative to the working directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientTls {
    /// Name asked for and verified; `None` = the backend's host.
    pub server_name: Option<String>,
    /// PEM bundle of trusted authorities; `None` = the system's.
    pub ca: Option<PathBuf>,
    /// Client certificate and key, PEM.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// False takes any certificate.
    pub verify: bool,
    /// The protocol whose own upgrade to TLS is asked for first; `None` = TLS from the first byte,
    /// unless the client came by such an upgrade.
    pub starttls: Option<StartTls>,
}

impl ClientTls {
    /// True if its settings stand in files of their own.
    pub fn names_files(&self) -> bool {
        self.identity.is_some() || (self.verify && self.ca.is_some())
    }
}

/// `[[listener.NAME.route]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Its name, or its position from `"1"`.
    pub name: Arc<str>,
    /// What it takes: every matcher that is not empty must match.
    pub when: Matchers,
    /// Where it leads.
    pub leads: Leads,
    /// http: what else is done; all of it is off elsewhere.
    pub treatment: Box<Treatment>,
}

/// What a route takes. An empty list is no matcher; of a list any may match.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Matchers {
    /// tcp: server names of the ClientHello.
    pub sni: Vec<NamePattern>,
    /// tcp: application protocols that the client offers, compared byte by byte.
    pub alpn: Vec<String>,
    /// Client networks.
    pub client: Vec<IpNet>,
    /// http: names of the host that is asked for.
    pub host: Vec<NamePattern>,
    /// http: paths.
    pub path: Vec<PathPattern>,
    /// http: methods, compared byte by byte.
    pub method: Vec<String>,
    /// http: headers, each of which must match.
    pub header: Vec<Field>,
    /// http: keys of the query, each of which must match.
    pub query: Vec<Field>,
}

impl Matchers {
    /// True if only a ClientHello can tell whether it matches.
    pub fn need_hello(&self) -> bool {
        !self.sni.is_empty() || !self.alpn.is_empty()
    }
}

/// A pattern for host names: lower case, no port, no dot at the end.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum NamePattern {
    /// `"*"`: any name.
    Any,
    /// This name.
    Exact(Arc<str>),
    /// `"*.example.com"`: one label before this name; without the `*.`.
    Below(Arc<str>),
}

impl NamePattern {
    /// True if `name`, in lower case and without a dot at the end, is meant.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exact(exact) => **exact == *name,
            Self::Below(parent) => name
                .split_once('.')
                .is_some_and(|(label, rest)| !label.is_empty() && *rest == **parent),
        }
    }
}

impl std::fmt::Display for NamePattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(name) => f.write_str(name),
            Self::Below(parent) => write!(f, "*.{parent}"),
        }
    }
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq)]
pub enum Leads {
    /// Index into [`Config::pools`](super::Config::pools).
    Pool(usize),
    /// Drawn for each session; http: for each request.
    Split(Vec<Share>),
    /// http: elsewhere.
    Redirect(Redirect),
    /// http: to an answer of ours.
    Respond(Respond),
}

impl Leads {
    /// Indices of the pools, in their order.
    pub fn pools(&self) -> impl Iterator<Item = usize> + '_ {
        let (one, more) = match self {
            Self::Pool(pool) => (Some(*pool), None),
            Self::Split(shares) => (None, Some(shares.iter().map(|share| share.pool))),
            Self::Redirect(_) | Self::Respond(_) => (None, None),
        };
        one.into_iter().chain(more.into_iter().flatten())
    }
}

/// One entry of `split`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Index into [`Config::pools`](super::Config::pools).
    pub pool: usize,
    /// Its part of the sum; the sum is above 0.
    pub weight: u32,
}
