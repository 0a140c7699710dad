//! Who may be named in `Host` when the interface is for this machine only.
//!
//! A web page can make a browser on this machine call a loopback address under a name of its own
//! (DNS rebinding). The name gives it away.

use std::net::IpAddr;

use hyper::Request;
use hyper::header::HOST;

/// True if every host that the request names is this machine itself.
///
/// A request that names none cannot come from a browser.
pub(super) fn is_loopback<B>(request: &Request<B>) -> bool {
    let in_target = request.uri().host();
    let mut in_fields = request.headers().get_all(HOST).iter();
    in_target.is_none_or(names_loopback)
        && in_fields
            .all(|field| field.to_str().is_ok_and(|host| names_loopback(without_port(host))))
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        // The last colon of a bare `[::1]` belongs to the address.
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn names_loopback(host: &str) -> bool {
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Ok(address) = bracketed.unwrap_or(host).parse::<IpAddr>() {
        return address.to_canonical().is_loopback();
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    name.eq_ignore_ascii_case("localhost")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(target: &str, hosts: &[&str]) -> bool {
        let mut request = Request::builder().uri(target);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        is_loopback(&request.body(()).unwrap())
    }

    #[test]
    fn names_of_this_machine_pass() {
        let good =
            ["localhost", "LocalHost:9900", "localhost.:1", "127.0.0.1:9900", "127.8.0.1", "[::1]"];
        for host in good.into_iter().chain(["[::1]:9900", "[::ffff:127.0.0.1]:80"]) {
            assert!(allowed("/", &[host]), "{host}");
        }
        assert!(allowed("/", &[]) && allowed("http://127.0.0.1/metrics", &["localhost"]));
    }

    #[test]
    fn any_other_name_does_not() {
        let bad = ["evil.example", "localhost.evil.example", "192.0.2.1", "[2001:db8::1]:80", ""];
        for host in bad.into_iter().chain(["127.0.0.1.nip.io", "evil:localhost", "[::1"]) {
            assert!(!allowed("/", &[host]), "{host}");
        }
        assert!(!allowed("/", &["localhost", "evil.example"]));
        assert!(!allowed("http://evil.example/metrics", &["localhost"]));
    }
}
