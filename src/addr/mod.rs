//! Addresses by role, so that a client can never be handed where a backend is meant, and what is
//! asked for there, in the form in which it is compared.

mod networks;
mod path;

pub use networks::Networks;
pub use path::normal_path;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

/// The address of a client. An IPv4 address that arrived mapped into IPv6 is IPv4 here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientAddr(SocketAddr);

impl ClientAddr {
    /// Takes what the kernel reported and undoes the IPv4-in-IPv6 mapping.
    pub fn new(seen: SocketAddr) -> Self {
        Self(SocketAddr::new(seen.ip().to_canonical(), seen.port()))
    }

    /// The IP address, never a mapped one.
    pub fn ip(self) -> IpAddr {
        self.0.ip()
    }

    /// Address and port.
    pub fn socket(self) -> SocketAddr {
        self.0
    }
}

/// Why a text names no client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write an IP address, as in 192.0.2.7 or 192.0.2.7:51000")]
pub struct NoClient;

impl FromStr for ClientAddr {
    type Err = NoClient;

    /// An address with a port or, as port 0, without; one of IPv6 may stand in brackets.
    fn from_str(text: &str) -> Result<Self, NoClient> {
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        let alone = bare.parse().map(|ip| SocketAddr::new(ip, 0));
        alone.or_else(|_| text.parse()).map(Self::new).map_err(|_| NoClient)
    }
}

impl fmt::Display for ClientAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a backend is, as the file says it: an address, or a name that is looked up at run time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BackendAddr {
    /// An IP address and a port.
    Ip(SocketAddr),
    /// A host name and a port, never 0.
    Host(Arc<str>, u16),
}

impl BackendAddr {
    /// Reads what is written as it is shown; `None` if it is not.
    pub fn from_shown(text: &str) -> Option<Self> {
        if let Ok(address) = text.parse() {
            return Some(Self::Ip(address));
        }
        let (host, port) = text.rsplit_once(':')?;
        Some(Self::Host(Arc::from(host), port.parse().ok()?))
    }

    /// The port to connect to.
    pub fn port(&self) -> u16 {
        match self {
            Self::Ip(address) => address.port(),
            Self::Host(_, port) => *port,
        }
    }

    /// The host without the port: what a `Host` header or a server name would say.
    pub fn host(&self) -> String {
        match self {
            Self::Ip(address) => address.ip().to_string(),
            Self::Host(host, _) => host.to_string(),
        }
    }
}

impl fmt::Display for BackendAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Host(host, port) => write!(f, "{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backend_is_read_as_it_is_shown() {
        let addresses = [
            BackendAddr::Ip("192.0.2.7:80".parse().unwrap()),
            BackendAddr::Ip("[2001:db8::1]:80".parse().unwrap()),
            BackendAddr::Host("db.internal.".into(), 5432),
        ];
        for address in addresses {
            assert_eq!(BackendAddr::from_shown(&address.to_string()), Some(address));
        }
        assert!(["", "db", "db:x"].iter().all(|text| BackendAddr::from_shown(text).is_none()));
    }

    #[test]
    fn clients_are_named_with_a_port_or_without() {
        let parse = |text: &str| text.parse::<ClientAddr>().ok();
        let port = |text: &str| parse(text).map(|client| client.socket().port());
        assert_eq!([port("192.0.2.7"), port("192.0.2.7:80")], [Some(0), Some(80)]);
        assert_eq!([port("2001:db8::1"), port("[2001:db8::1]:80")], [Some(0), Some(80)]);
        assert_eq!(port("[2001:db8::1]"), Some(0));
        for wrong in ["", "localhost", "192.0.2.7:x", "192.0.2", "192.0.2.7:70000", "[::1"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
