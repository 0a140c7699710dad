//! What the program believes of health checks: a part of [`Config`](super::Config).

use std::time::Duration;

use super::{ClientTls, Protocol};

/// `[pool.NAME.health]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Health {
    /// What is asked.
    pub probe: Probe,
    /// From start to start.
    pub interval: Duration,
    /// Bound of one probe.
    pub timeout: Duration,
    /// Consecutive good results that bring a backend up, at least 1.
    pub rise: u32,
    /// Consecutive bad results that take it down, at least 1.
    pub fall: u32,
    /// Host or address probed instead of the backend's.
    pub address: Option<String>,
    /// Port probed instead of the backend's.
    pub port: Option<u16>,
}

/// What a probe asks of a backend.
#[derive(Debug, Clone, PartialEq)]
pub enum Probe {
    /// Nothing: every backend counts as up.
    None,
    /// A TCP connect.
    Tcp,
    /// A TLS handshake.
    Tls(ClientTls),
    /// An HTTP request, over TLS if `tls` is there.
    Http(Box<HttpProbe>),
    /// Bytes sent, bytes awaited.
    SendExpect {
        /// Sent after the connect; may be empty.
        send: Vec<u8>,
        /// Must turn up in the first 64 KiB of the answer; may be empty.
        expect: Vec<u8>,
        /// Whether they go as datagrams or over a connection.
        over: Protocol,
    },
    /// A DNS query (RFC 1035) that must be answered with an accepted code.
    Dns(DnsProbe),
    /// The standard health service of gRPC, over TLS if `tls` is there.
    Grpc {
        /// The name asked for; empty = the server as a whole.
        service: String,
        /// How TLS is spoken.
        tls: Option<ClientTls>,
    },
    /// A command that exits with 0; at least one word.
    Exec(Vec<String>),
}

impl Probe {
    /// True if files are read to set it up.
    pub fn reads_files(&self) -> bool {
        match self {
            Self::Tls(tls) => tls.names_files(),
            Self::Http(http) => http.tls.as_ref().is_some_and(ClientTls::names_files),
            Self::Grpc { tls, .. } => tls.as_ref().is_some_and(ClientTls::names_files),
            Self::None | Self::Tcp | Self::SendExpect { .. } | Self::Dns(_) | Self::Exec(_) => {
                false
            }
        }
    }
}

/// `probe = "http"` or `"https"`.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpProbe {
    /// Path and query, starting with `/`.
    pub path: String,
    /// `Host` header; `None` = the backend's own.
    pub host: Option<String>,
    /// Request method.
    pub method: String,
    /// Further request headers.
    pub headers: Vec<(String, String)>,
    /// Inclusive ranges of status codes that count as good, at least one.
    pub expect_status: Vec<(u16, u16)>,
    /// Must match in the first 64 KiB of the body.
    pub expect_body: Option<BodyPattern>,
    /// With a role, an unexpected status means `standby` and only silence is a failure.
    pub role: Option<Role>,
    /// For `https`.
    pub tls: Option<ClientTls>,
}

/// What a body must match.
#[derive(Debug, Clone)]
pub struct BodyPattern(pub regex::bytes::Regex);

/// Equal if they are written alike.
impl PartialEq for BodyPattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

/// `probe = "dns"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DnsProbe {
    /// The name asked for, at most 253 characters.
    pub query: String,
    /// The type asked for, as a number (NS = 2).
    pub query_type: u16,
    /// The codes that count as good (NOERROR = 0), at least one.
    pub expect_rcode: Vec<u8>,
    /// How it is asked.
    pub over: Protocol,
}

/// The role a pool wants of its backends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Takes writes.
    Primary,
    /// Follows a primary.
    Replica,
}
