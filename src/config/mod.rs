//! What the program believes: a [`Config`] in which every value is valid and every name resolved.
//!
//! The text of the file becomes a `Config` in one place (`load`), which is the only place that says
//! no; after it, no constructor fails for a reason that the text could have told.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::addr::BackendAddr;

mod acme;
mod address;
mod answers;
mod balance;
mod carried;
mod credentials;
mod datagrams;
mod defaults;
mod discover;
mod dns_probe;
mod doubtful_answers;
mod doubtful_routes;
mod doubts;
mod effective;
mod env;
mod explain;
mod failure;
mod fields;
mod file;
mod health;
mod http_probe;
mod include;
mod json;
mod later;
mod listener;
mod listener_tls;
mod load;
mod members;
mod names;
mod network;
mod pem;
mod pending;
mod pool;
mod pool_http;
mod probe;
mod problem;
mod process;
mod program;
mod read;
mod render;
mod request_matchers;
mod requests;
mod retry;
mod routes;
mod rules;
mod security;
mod sticky;
mod treatment;
mod tree;
mod twice;
pub mod units;
mod value;
mod web;
mod words;

pub use effective::{effective, effective_json, schema};
pub use explain::{Explained, explain};
pub use json::{json_text, parse_json};
pub use load::{Loaded, load, load_admin, load_trusting, parse};
pub use members::listed;
pub use pending::{Expiry, Judged, Lookup, Promise, Reread};
pub use probe::{BodyPattern, DnsProbe, Health, HttpProbe, Probe, Role};
pub use problem::{Problem, Refused};
pub use process::admin_token;
pub use program::{Access, Admin, AdminBind, Level, Log, LogFormat, Process};
pub use render::{json, json_explained, text};
pub use rules::{
    AcceptProxy, Clients, Close, Closing, Passive, ProxyVersion, Queue, Rate, Retry, Sticky,
};
pub use security::{
    Acme, Challenge, ClientAuth, ClientTls, Identity, Leads, ListenerTls, Matchers, NamePattern,
    Route, Share, StartTls, TlsVersion,
};
pub use sticky::cookie_secret;
pub use web::{
    Field, Http, HttpVersion, PathPattern, PoolHttp, RateKey, RateLimit, Redirect, Respond,
    RetryHttp, RetryOn, SameSite, StickyCookie, Treatment,
};

/// A checked file with every default filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `[process]`.
    pub process: Process,
    /// `[log]`.
    pub log: Log,
    /// `[admin]`.
    pub admin: Admin,
    /// `[listener.NAME]`, in file order, at least one.
    pub listeners: Vec<Listener>,
    /// `[pool.NAME]`, in file order.
    pub pools: Vec<Pool>,
    /// Where this came from.
    pub origin: Origin,
}

/// Where a configuration came from.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Origin {
    /// The main file as it was named; `None` for `evenkeel proxy` and `evenkeel demo`.
    pub file: Option<PathBuf>,
    /// Hash of the main file and all included ones, 16 hex digits.
    pub hash: String,
}

/// `[listener.NAME]`: addresses that take connections or datagrams for a pool.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// Unique among listeners.
    pub name: Arc<str>,
    /// At least one; port 0 picks a free one.
    pub bind: Vec<SocketAddr>,
    /// Where a session goes that no route takes: index into [`Config::pools`]. `None` = nowhere.
    pub pool: Option<usize>,
    /// In this order: the first that matches decides.
    pub routes: Vec<Route>,
    /// tcp and http: what is done about TLS; `None` = nothing, but for what routes of tcp ask of a
    /// ClientHello.
    pub tls: Option<ListenerTls>,
    /// tcp with `tls`: where clients go that do not speak TLS; `None` = they are refused.
    pub plain_pool: Option<usize>,
    /// No byte either way for so long ends the session; `None` = never.
    pub idle_timeout: Option<Duration>,
    /// A session ends after so long, give or take a tenth.
    pub max_lifetime: Option<Duration>,
    /// TCP keepalive idle time towards clients; `None` = off.
    pub keepalive: Option<Duration>,
    /// Cap for this listener; 0 = none.
    pub max_sessions: u32,
    /// Length of the listen queue.
    pub backlog: u32,
    /// What it takes.
    pub protocol: Protocol,
    /// udp: a flow ends once it has had this many replies for each of its datagrams; 0 = no such
    /// end.
    pub responses: u32,
    /// New sessions of one client address; `None` = no limit.
    pub connection_rate: Option<Rate>,
    /// Whose sessions are taken.
    pub clients: Clients,
    /// tcp: who must send a PROXY header.
    pub accept_proxy_protocol: AcceptProxy,
    /// tcp and http: for all that comes before the first routed byte.
    pub handshake_timeout: Duration,
    /// http: what else it has; `None` for the others.
    pub http: Option<Http>,
}

impl Listener {
    /// Every pool that it leads to, by route, by default or for want of TLS; a pool may come twice.
    pub fn pools(&self) -> impl Iterator<Item = usize> + '_ {
        let by_route = self.routes.iter().flat_map(|route| route.leads.pools());
        by_route.chain(self.pool).chain(self.plain_pool)
    }

    /// True if a session can only be led anywhere once its ClientHello has been read.
    pub fn needs_hello(&self) -> bool {
        self.tls.is_some() || self.routes.iter().any(|route| route.when.need_hello())
    }

    /// True if http comes here in cleartext: then it answers challenges of http-01 by itself.
    pub fn answers_challenges(&self) -> bool {
        self.protocol == Protocol::Http && self.tls.is_none()
    }
}

/// What a listener takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protocol {
    /// TCP connections.
    #[default]
    Tcp,
    /// UDP datagrams.
    Udp,
    /// HTTP requests.
    Http,
}

impl Protocol {
    /// The word in the file, status and access log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Http => "http",
        }
    }
}

/// `[pool.NAME]`: a set of backends and the rules for using them.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    /// Unique among pools.
    pub name: Arc<str>,
    /// In file order, names unique; at least one, unless others are looked up.
    pub members: Vec<Member>,
    /// How a backend is picked.
    pub policy: Policy,
    /// Bound of one connection attempt.
    pub connect_timeout: Duration,
    /// TCP keepalive idle time towards backends; `None` = off.
    pub keepalive: Option<Duration>,
    /// Index into [`Config::pools`] of the pool used while this one has no backend up. No cycles.
    pub fallback: Option<usize>,
    /// With no backend up and no fallback: try them all.
    pub fail_open: bool,
    /// `max_sessions` for backends that say none; 0 = none. Already applied to `members`.
    pub max_sessions: u32,
    /// Local addresses to connect from, used in turn; empty = the kernel's choice.
    pub source: Vec<IpAddr>,
    /// Further attempts after a failed connect.
    pub retry: Retry,
    /// How backends are checked.
    pub health: Health,
    /// How backends that fail under traffic are ejected.
    pub passive: Passive,
    /// Who waits while every backend is at its cap.
    pub queue: Queue,
    /// What happens to the sessions of a backend that leaves.
    pub close: Close,
    /// Client addresses that keep their backend; `None` = each session is placed anew.
    pub sticky: Option<Sticky>,
    /// http: clients that keep their backend by a cookie; never beside `sticky`.
    pub cookie: Option<StickyCookie>,
    /// http: to the head of an answer; `None` = as long as it takes.
    pub response_timeout: Option<Duration>,
    /// How http is spoken to the backends.
    pub http: PoolHttp,
    /// A backend that comes up gets its weight over this time; zero = at once.
    pub slow_start: Duration,
    /// The PROXY header that backends are sent; `None` = none.
    pub send_proxy_protocol: Option<ProxyVersion>,
    /// TLS to the backends; `None` = cleartext.
    pub tls: Option<ClientTls>,
    /// Asserted: clients are off a dead backend within this time.
    pub max_failover: Option<Duration>,
    /// Where further backends are looked up; `None` = `members` are all there are.
    pub discover: Option<Discover>,
}

/// `[pool.NAME.discover]`: backends that are looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Discover {
    /// Where.
    pub source: DiscoverSource,
    /// How often; `None` = as the records say, a file whenever it changes.
    pub refresh: Option<Duration>,
}

/// Where backends are looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiscoverSource {
    /// Every address of this name is one, at this port.
    Dns(Arc<str>, u16),
    /// Every SRV record of this name is one (RFC 2782).
    Srv(Arc<str>),
    /// They are listed in this JSON file.
    File(PathBuf),
}

/// One entry of `backends`.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// Unique within the pool; the address as written unless named.
    pub name: Arc<str>,
    /// Where it is.
    pub address: BackendAddr,
    /// 0 to 256; 0 takes nothing new but is still checked.
    pub weight: u16,
    /// Cap on sessions, the pool's where the backend says none; 0 = none.
    pub max_sessions: u32,
    /// Used only while no ordinary backend is up.
    pub backup: bool,
    /// What the operator wants of it.
    pub state: AdminState,
}

/// The heaviest weight of a backend.
pub const HEAVIEST: u16 = 256;

/// What an operator wants of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AdminState {
    /// In rotation.
    #[default]
    Ready,
    /// Takes nothing new, keeps what it has, is still probed.
    Drain,
    /// Takes nothing new and is not probed.
    Maintenance,
}

/// `balance`: how a pool picks a backend.
#[derive(Debug, Clone, PartialEq)]
pub enum Policy {
    /// Smooth weighted round robin, one sequence for all workers.
    RoundRobin,
    /// The smallest (sessions + 1) / weight, ties in turn.
    LeastConnections,
    /// Maglev over the key.
    ConsistentHash {
        /// What is hashed.
        key: HashKey,
        /// No backend takes more than this times the mean; at least 1.0; `None` = off.
        bounded_load: Option<f64>,
    },
    /// Weighted chance.
    Random,
    /// Two at random, the one with fewer sessions for its weight.
    PowerOfTwo,
    /// Two at random, the one with the lower peak-EWMA connect time.
    LeastLatency,
    /// The first in file order that is below its cap.
    First,
}

/// What `consistent-hash` hashes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashKey {
    /// The client's IP address.
    ClientIp,
    /// The client's IP address and port.
    ClientIpPort,
    /// The value of this header, its name in lower case; the client's IP address where it is missing.
    Header(Arc<str>),
    /// The value of this cookie; the client's IP address where it is missing.
    Cookie(Arc<str>),
    /// The path of the request.
    Path,
}

#[cfg(test)]
mod tests;
