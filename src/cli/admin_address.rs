//! Where the commands find a running balancer: `--admin`, or what its file says.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use crate::config::AdminBind;

/// Reads the value of `--admin`.
pub(crate) fn parse(text: &str) -> Result<AdminBind, String> {
    if text == "off" {
        return Ok(AdminBind::Off);
    }
    if let Some(path) = text.strip_prefix("unix:") {
        // A relative path is meant from where the command is typed.
        let path = std::path::absolute(PathBuf::from(path));
        return path.map(AdminBind::Unix).map_err(|_| refuse(text));
    }
    let bare = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    if let Some(port) = bare.strip_prefix("localhost:") {
        let port = port.parse().map_err(|_| refuse(text))?;
        return Ok(AdminBind::Tcp(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)));
    }
    bare.parse().map(AdminBind::Tcp).map_err(|_| refuse(text))
}

fn refuse(text: &str) -> String {
    format!(
        "--admin: {text:?} is no address; \
         write \"127.0.0.1:9900\" or \"unix:/run/evenkeel/admin.sock\""
    )
}

/// The address to call; one that is bound to every address is called over loopback.
pub(crate) fn reachable(bound: SocketAddr) -> SocketAddr {
    let loopback = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        other => other,
    };
    SocketAddr::new(loopback, bound.port())
}

/// As the file writes it.
pub(crate) fn written(admin: &AdminBind) -> String {
    match admin {
        AdminBind::Tcp(address) => address.to_string(),
        AdminBind::Off | AdminBind::Unix(_) => shown(admin),
    }
}

/// As people call it.
pub(crate) fn shown(admin: &AdminBind) -> String {
    match admin {
        AdminBind::Off => "off".to_owned(),
        AdminBind::Tcp(address) => reachable(*address).to_string(),
        AdminBind::Unix(path) => format!("unix:{}", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        let tcp = |text: &str| AdminBind::Tcp(text.parse().unwrap());
        assert_eq!(parse("127.0.0.1:9900"), Ok(tcp("127.0.0.1:9900")));
        assert_eq!(parse("localhost:1"), Ok(tcp("127.0.0.1:1")));
        assert_eq!(parse("http://[::1]:9900/"), Ok(tcp("[::1]:9900")));
        assert_eq!(parse("unix:/run/a.sock"), Ok(AdminBind::Unix("/run/a.sock".into())));
        assert_eq!(parse("off"), Ok(AdminBind::Off));
        assert!(parse("9900").unwrap_err().contains("\"9900\""));
        assert!(parse("unix:").is_err());
    }

    #[test]
    fn a_wildcard_is_reached_over_loopback() {
        assert_eq!(shown(&parse("0.0.0.0:9900").unwrap()), "127.0.0.1:9900");
        assert_eq!(shown(&parse("[::]:9900").unwrap()), "[::1]:9900");
        assert_eq!(shown(&parse("192.0.2.1:9900").unwrap()), "192.0.2.1:9900");
    }
}
