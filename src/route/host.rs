//! The host that a request names, in the one form in which hosts are compared.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};

use crate::route::Illegible;

/// The host of an authority (RFC 3986, 3.2): in lower case, without port and without a dot at the
/// end; an IPv6 address is in brackets and written in the one way of RFC 5952. `None` = it names
/// none.
///
/// # Errors
/// It is no authority, or names a user.
pub(super) fn of(authority: &str) -> Result<Option<Cow<'_, str>>, Illegible> {
    let (host, port) = split(authority)?;
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Illegible::Host);
    }
    if host.starts_with('[') {
        return address(host).map(|host| Some(Cow::Owned(host)));
    }
    let mut is_lower = true;
    for byte in host.bytes() {
        match byte {
            b'A'..=b'Z' => is_lower = false,
            _ if stands_in_a_name(byte) => {}
            _ => return Err(Illegible::Host),
        }
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    Ok(match (host.is_empty(), is_lower) {
        (true, _) => None,
        (false, true) => Some(Cow::Borrowed(host)),
        (false, false) => Some(Cow::Owned(host.to_ascii_lowercase())),
    })
}

/// A host as the file names it, in the same form; one that is none stays as it is.
pub(super) fn of_pattern(name: &str) -> String {
    match name.parse::<IpAddr>() {
        Ok(IpAddr::V6(ip)) => format!("[{ip}]"),
        _ => of(name).ok().flatten().map_or_else(|| name.to_owned(), Cow::into_owned),
    }
}

/// True if two authorities of one request may be the same place: the ports are equal where both
/// name one.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    let known = |authority| Some((of(authority).ok()?, split(authority).ok()?.1));
    one.eq_ignore_ascii_case(other)
        || known(one).zip(known(other)).is_some_and(|((one, port), (other, its))| {
            one == other && (port == its || port.is_empty() || its.is_empty())
        })
}

/// Host and port, which is empty where there is none.
fn split(authority: &str) -> Result<(&str, &str), Illegible> {
    let end = match authority.strip_prefix('[') {
        Some(rest) => rest.find(']').ok_or(Illegible::Host)? + 2,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    let (host, port) = authority.split_at_checked(end).ok_or(Illegible::Host)?;
    match port.strip_prefix(':') {
        Some(port) => Ok((host, port)),
        None if port.is_empty() => Ok((host, port)),
        None => Err(Illegible::Host),
    }
}

fn address(host: &str) -> Result<String, Illegible> {
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let ip = inner.and_then(|inner| inner.parse::<Ipv6Addr>().ok());
    ip.map(|ip| format!("[{ip}]")).ok_or(Illegible::Host)
}

/// What RFC 3986 has in a name besides capitals.
fn stands_in_a_name(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'%' | b'!' | b'$'
        | b'&'..=b',' | b';' | b'=')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts_are_told_without_case_port_and_dot() {
        for (authority, host) in [
            ("a.example", Some("a.example")),
            ("A.Example.COM.:443", Some("a.example.com")),
            ("a:", Some("a")),
            ("192.0.2.7:80", Some("192.0.2.7")),
            ("[2001:DB8:0::1]:8080", Some("[2001:db8::1]")),
            ("[::1]", Some("[::1]")),
            ("", None),
            (":80", None),
            (".", None),
        ] {
            assert_eq!(of(authority).unwrap().as_deref(), host, "{authority}");
        }
        for wrong in [
            "a b",
            "a/b",
            "a?b",
            "a#b",
            "user@a",
            "a:8x",
            "a:1:2",
            "[::1",
            "[::1]x",
            "[::g]",
            "::1",
            "a\\b",
            "\"a\"",
            "ä.example",
            "a\r",
            "[fe80::1%25eth0]",
        ] {
            assert_eq!(of(wrong), Err(Illegible::Host), "{wrong}");
        }
        assert!(matches!(of("a.example:80"), Ok(Some(Cow::Borrowed(_)))), "nothing is copied");
    }

    #[test]
    fn patterns_have_the_same_form() {
        for (text, pattern) in [("::1", "[::1]"), ("[0:0::1]", "[::1]"), ("A.b.", "a.b")] {
            assert_eq!(of_pattern(text), pattern);
        }
    }

    #[test]
    fn two_names_are_one_place_unless_host_or_port_differ() {
        for (one, other, same) in [
            ("a", "A", true),
            ("a:80", "a", true),
            ("a.", "a:443", true),
            ("[::1]", "[0::1]:1", true),
            ("a:80", "a:81", false),
            ("a", "b", false),
            ("a", "a b", false),
            ("a", "", false),
        ] {
            assert_eq!(is_same(one, other), same, "{one} {other}");
            assert_eq!(is_same(other, one), same, "{other} {one}");
        }
    }

    proptest! {
        #[test]
        fn no_host_has_what_ends_one(authority in "([a-zA-Z0-9.:\\[\\]@/?#%\r\n -]|\\PC){0,16}") {
            if let Ok(Some(host)) = of(&authority) {
                prop_assert!(host.bytes().all(|byte| byte.is_ascii_graphic()));
                prop_assert!(!host.contains(['/', '?', '#', '@', '\\', 'A', 'Z', '"']));
                prop_assert_eq!(of(&host), Ok(Some(Cow::Borrowed(&*host))));
            }
        }
    }
}
