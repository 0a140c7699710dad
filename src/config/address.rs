//! Addresses as the file writes them, and what to write instead when they are not.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::addr::BackendAddr;

use super::words::quoted;

/// What name servers listen on.
const DNS_PORT: u16 = 53;

/// Why a text is no address, with the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BadAddress {
    pub(super) message: String,
    pub(super) suggestion: String,
}

/// An address to listen on: an IP address and a port, 0 included.
pub(super) fn bind(text: &str) -> Result<SocketAddr, BadAddress> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(unmapped(address));
    }
    let text = text.trim();
    for scheme in ["tcp://", "udp://", "http://", "https://"] {
        if let Some(rest) = text.strip_prefix(scheme) {
            return Err(bad(text, "is a URL", &format!("write \"{rest}\"")));
        }
    }
    if text.parse::<u16>().is_ok() {
        return Err(bad(text, "has no address", &format!("write \"0.0.0.0:{text}\"")));
    }
    if let Some(port) = text.strip_prefix("*:").or_else(|| text.strip_prefix(':'))
        && port.parse::<u16>().is_ok()
    {
        return Err(bad(text, "has no address", &format!("write \"0.0.0.0:{port}\"")));
    }
    Err(not_an_address(text, "5432", "listen on an IP address, as in \"0.0.0.0:5432\""))
}

/// Where a backend is: an IP address or a host name, with a port.
pub(super) fn backend(text: &str) -> Result<BackendAddr, BadAddress> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        if address.port() == 0 {
            return Err(bad(text, "has port 0", "write the port that the backend listens on"));
        }
        return Ok(BackendAddr::Ip(unmapped(address)));
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        let rest = rest.trim_end_matches('/');
        let port = if scheme == "https" { "443" } else { "80" };
        let rest = if rest.contains(':') { rest.to_owned() } else { format!("{rest}:{port}") };
        return Err(bad(text, "is a URL", &format!("write \"{rest}\"")));
    }
    if let Some((host, port)) = text.rsplit_once(':')
        && is_host(host)
        && let Ok(port) = port.parse::<u16>()
    {
        if port == 0 {
            return Err(bad(text, "has port 0", "write the port that the backend listens on"));
        }
        return Ok(BackendAddr::Host(Arc::from(host), port));
    }
    Err(not_an_address(text, "8080", "write host:port, as in \"10.0.0.7:8080\""))
}

/// A name server: an IP address, its port 53 if there is none.
pub(super) fn nameserver(text: &str) -> Result<SocketAddr, BadAddress> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let parsed = match bare.parse::<IpAddr>() {
        Ok(ip) => Some(SocketAddr::new(ip, DNS_PORT)),
        Err(_) => text.parse().ok(),
    };
    match parsed.map(unmapped) {
        Some(address) if address.port() == 0 => {
            Err(bad(text, "has port 0", "write the port that the name server listens on"))
        }
        Some(address) if address.ip().is_unspecified() => {
            Err(bad(text, "is no single address", "write that of the name server"))
        }
        Some(address) => Ok(address),
        None => Err(bad(
            text,
            "is not an IP address",
            "write it as in \"10.0.0.2\" or \"127.0.0.1:5353\"",
        )),
    }
}

/// A host or an IP address without a port, brackets removed.
pub(super) fn host(text: &str) -> Result<String, BadAddress> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(address.to_canonical().to_string());
    }
    if is_host(text) {
        return Ok(text.to_owned());
    }
    if let Ok(address) = backend(text) {
        let way_out =
            format!("write address = \"{}\" and port = {}", address.host(), address.port());
        return Err(bad(text, "has a port", &way_out));
    }
    Err(bad(text, "is neither an IP address nor a host name", "write it as in \"10.0.0.7\""))
}

fn not_an_address(text: &str, port: &str, otherwise: &str) -> BadAddress {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    match bare.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => {
            let text_has_port =
                bare == text && !text.ends_with(':') && text.matches(':').count() > 2;
            let way_out = match text.rsplit_once(':') {
                // "::1:80" is a whole address to the rules and most likely not to its writer.
                Some((front, last)) if text_has_port && looks_like_port(front, last) => {
                    format!("write \"[{front}]:{last}\", or \"[{address}]:{port}\"")
                }
                _ => format!("write \"[{address}]:{port}\""),
            };
            bad(text, "has no port", &way_out)
        }
        Ok(IpAddr::V4(address)) => bad(text, "has no port", &format!("write \"{address}:{port}\"")),
        Err(_) if is_host(text) && port == "8080" => {
            bad(text, "has no port", &format!("write \"{text}:{port}\""))
        }
        Err(_) => match text.rsplit_once(':') {
            Some((front, last)) if front.parse::<std::net::Ipv6Addr>().is_ok() => {
                bad(text, "needs brackets", &format!("write \"[{front}]:{last}\""))
            }
            Some((front, last)) if !front.contains(':') && last.parse::<u16>().is_err() => {
                let front_is_fine = is_host(front);
                let what = if front_is_fine { "has an invalid port" } else { "is not an address" };
                bad(text, what, "write a port from 1 to 65535 behind the last colon")
            }
            _ => bad(text, "is not an address", otherwise),
        },
    }
}

fn looks_like_port(front: &str, last: &str) -> bool {
    last.parse::<u16>().is_ok() && front.parse::<std::net::Ipv6Addr>().is_ok()
}

/// Whether a host name could be looked up. What looks like an IPv4 address must be one.
pub(super) fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    let numeric =
        name.rsplit('.').next().is_some_and(|last| last.chars().all(|c| c.is_ascii_digit()));
    name.len() <= 253 && !numeric && name.split('.').all(label)
}

/// An IPv4 address mapped into IPv6 is that IPv4 address.
fn unmapped(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        // The scope of a link-local address must survive.
        IpAddr::V6(_) => address,
    }
}

fn bad(text: &str, message: &str, suggestion: &str) -> BadAddress {
    BadAddress {
        message: format!("{} {message}", quoted(text)),
        suggestion: suggestion.chars().take(200).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_offered() {
        let offered = |text| bind(text).unwrap_err().suggestion;
        assert_eq!(offered("5432"), "write \"0.0.0.0:5432\"");
        assert_eq!(offered(":80"), "write \"0.0.0.0:80\"");
        assert_eq!(offered("*:80"), "write \"0.0.0.0:80\"");
        assert_eq!(offered("10.0.0.7"), "write \"10.0.0.7:5432\"");
        assert_eq!(offered("tcp://10.0.0.7:1"), "write \"10.0.0.7:1\"");
        assert_eq!(offered("fe80::1:2:3:4:5:6:80"), "write \"[fe80::1:2:3:4:5:6]:80\"");
        assert!(offered("localhost:80").contains("IP address"));
        assert_eq!(backend("10.0.0.7").unwrap_err().suggestion, "write \"10.0.0.7:8080\"");
        assert_eq!(backend("db1").unwrap_err().suggestion, "write \"db1:8080\"");
        assert!(backend("::1").unwrap_err().suggestion.contains("[::1]:8080"));
        assert_eq!(backend("http://web").unwrap_err().suggestion, "write \"web:80\"");
    }

    #[test]
    fn port_zero_is_for_listeners_only() {
        assert_eq!(bind("0.0.0.0:0").unwrap().port(), 0);
        assert!(backend("10.0.0.7:0").is_err());
        assert!(backend("db:0").is_err());
    }

    #[test]
    fn backends_are_addresses_or_names() {
        assert_eq!(backend("[::1]:80").unwrap().to_string(), "[::1]:80");
        assert_eq!(backend("[::ffff:10.0.0.1]:80").unwrap().to_string(), "10.0.0.1:80");
        assert_eq!(
            backend("db_1.internal.:80").unwrap(),
            BackendAddr::Host("db_1.internal.".into(), 80)
        );
        for text in [
            "",
            ":80",
            "a b:80",
            "10.0.0.256:80",
            "1.2.3:80",
            "-a:80",
            "a..b:80",
            "a:99999",
            "é:80",
        ] {
            assert!(backend(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn probe_hosts_carry_no_port() {
        assert_eq!(host("[::1]").unwrap(), "::1");
        assert_eq!(host("check.internal").unwrap(), "check.internal");
        assert!(host("10.0.0.1:80").unwrap_err().suggestion.contains("port = 80"));
    }
}
