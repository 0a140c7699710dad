//! What the file says about http: a part of [`Config`](super::Config).

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::Rate;

/// What only an http listener has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Http {
    /// Bound of a whole request head: from the accept or the end of the TLS handshake for the first,
    /// from its first byte for later ones.
    pub header_timeout: Duration,
    /// As `idle_timeout`, for upgraded connections; `None` = never.
    pub tunnel_timeout: Option<Duration>,
    /// Whose `X-Forwarded-*` is believed and added to.
    pub trusted_proxies: Vec<IpNet>,
    /// Requests that one HTTP/2 connection may have open at a time, at least 1.
    pub max_streams: u32,
    /// Answers name the backend and the attempts, for those who look for a fault.
    pub debug_headers: bool,
}

/// A `path` of a route, without a dot segment and with unreserved characters decoded.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PathPattern {
    /// This path.
    Exact(Arc<str>),
    /// `"/api/*"`: this path and everything under it; without the `/*`, so that `"/*"` is empty.
    Under(Arc<str>),
}

/// A header or query key that a route asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its name; that of a header in lower case.
    pub name: Arc<str>,
    /// Any of these values, compared exactly; empty = it only has to be there.
    pub values: Vec<Arc<str>>,
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => f.write_str(path),
            Self::Under(path) => write!(f, "{path}/*"),
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values = if self.values.is_empty() { "*".to_owned() } else { self.values.join(" or ") };
        write!(f, "{} = {values}", self.name)
    }
}

/// `redirect` of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redirect {
    /// 308 to the same URL over https, without a port.
    Https,
    /// Elsewhere.
    To {
        /// With `{host}`, `{path}` and `{query}` in it.
        to: Arc<str>,
        /// 301, 302, 303, 307 or 308.
        status: u16,
    },
}

/// `respond` of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Respond {
    /// 200 to 599.
    pub status: u16,
    /// As it is sent.
    pub body: Arc<str>,
    /// Its type.
    pub content_type: Arc<str>,
}

/// What a route does with requests and answers besides leading them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Treatment {
    /// Taken off the path, where it stands there on segment borders.
    pub strip_prefix: Option<Arc<str>>,
    /// Put before the path, after that.
    pub add_prefix: Option<Arc<str>>,
    /// Names in lower case, and values.
    pub set_request_headers: Vec<(Arc<str>, Arc<str>)>,
    /// Names in lower case, and values.
    pub set_response_headers: Vec<(Arc<str>, Arc<str>)>,
    /// Names in lower case.
    pub remove_request_headers: Vec<Arc<str>>,
    /// Names in lower case.
    pub remove_response_headers: Vec<Arc<str>>,
    /// Beyond it: 429.
    pub rate_limit: Option<RateLimit>,
    /// Bound of a whole request.
    pub request_timeout: Option<Duration>,
    /// Bytes of a body; beyond it: 413.
    pub max_body: Option<u64>,
}

/// `rate_limit` of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    /// How many requests of one key.
    pub rate: Rate,
    /// Who is counted apart.
    pub key: RateKey,
}

/// Who a rate limit tells apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RateKey {
    /// Client addresses: IPv4 addresses, and IPv6 networks of 64 bits.
    ClientIp,
    /// Values of this header, its name in lower case; requests without it by their address.
    Header(Arc<str>),
}

impl RateKey {
    /// The word for addresses.
    pub(super) const CLIENT_IP: &str = "client-ip";
}

impl fmt::Display for RateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClientIp => f.write_str(Self::CLIENT_IP),
            Self::Header(name) => write!(f, "header:{name}"),
        }
    }
}

/// `[pool.NAME.http]`: how http is spoken to the backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolHttp {
    /// The version spoken.
    pub version: HttpVersion,
    /// Idle connections to each backend that are kept, over all workers.
    pub keepalive: u32,
    /// How long they are kept.
    pub keepalive_timeout: Duration,
}

/// A version of http.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/1.1 (RFC 9112).
    V1,
    /// HTTP/2 (RFC 9113), without negotiation where there is no TLS.
    V2,
}

impl HttpVersion {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "1.1",
            Self::V2 => "2",
        }
    }

    /// Its name in TLS (RFC 7301, 6).
    pub fn alpn(self) -> &'static [u8] {
        match self {
            Self::V1 => b"http/1.1",
            Self::V2 => b"h2",
        }
    }
}

/// What `[pool.NAME.retry]` says about requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryHttp {
    /// What is worth another attempt.
    pub on: RetryOn,
    /// Methods that are not idempotent are repeated too.
    pub non_idempotent: bool,
    /// Bytes of a body that are kept for another attempt; beyond it there is none.
    pub body: u64,
    /// Retries of the requests of the last 10 s, in percent; 10 in 10 s are always allowed.
    pub budget: u8,
}

/// `on`: what is worth another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryOn {
    /// A connect that failed.
    pub connect: bool,
    /// A reset before the head of an answer.
    pub reset: bool,
    /// No head of an answer in time.
    pub timeout: bool,
    /// Answers with these: 502, 503, 504.
    pub statuses: [bool; 3],
}

impl RetryOn {
    /// The statuses that can be named.
    pub const STATUSES: [u16; 3] = [502, 503, 504];

    /// True if an answer with this status is worth another attempt.
    pub fn has(&self, status: u16) -> bool {
        Self::STATUSES.iter().zip(self.statuses).any(|(known, on)| on && *known == status)
    }
}

/// `[pool.NAME.sticky]` with `cookie`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StickyCookie {
    /// Its name, a token (RFC 6265, 4.1.1).
    pub name: Arc<str>,
    /// `Secure`.
    pub secure: bool,
    /// `HttpOnly`.
    pub http_only: bool,
    /// `SameSite`; `None` = left to the browser.
    pub same_site: Option<SameSite>,
    /// `Max-Age`; `None` = as long as the browser runs.
    pub ttl: Option<Duration>,
    /// File whose first line keys the values, so that nobody can make one up; `None` = they are
    /// only opaque.
    pub secret_file: Option<PathBuf>,
}

/// When a browser sends a cookie along to another site's page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameSite {
    /// Never.
    Strict,
    /// When a link is followed.
    Lax,
    /// Always.
    None,
}

impl SameSite {
    /// The word in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Lax => "lax",
            Self::None => "none",
        }
    }
}
