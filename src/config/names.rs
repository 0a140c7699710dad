//! Server names as the file writes them, and what to write instead when they are none.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use super::NamePattern;
use super::address::is_host;
use super::words::quoted;

/// Why a text is no server name, with the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BadName {
    pub(super) message: String,
    pub(super) suggestion: String,
}

/// A pattern of a route: a name, `"*.example.com"`, or `"*"`.
pub(super) fn pattern(text: &str) -> Result<NamePattern, BadName> {
    if text == "*" {
        return Ok(NamePattern::Any);
    }
    let Some(parent) = text.strip_prefix("*.") else {
        return name(text).map(|name| NamePattern::Exact(name.into()));
    };
    if parent.is_empty() {
        return Err(bad(text, "has no name behind the *.", "write \"*\" for any name"));
    }
    name(parent)
        .map(|parent| NamePattern::Below(Arc::from(parent)))
        .map_err(|why| BadName { message: why.message.replace(parent, text), ..why })
}

/// A pattern for hosts that requests name, which may be addresses: those stand alone.
pub(super) fn host(text: &str) -> Result<NamePattern, BadName> {
    match text.parse::<IpAddr>() {
        Ok(address) if address.is_ipv4() => Ok(NamePattern::Exact(text.into())),
        Ok(_) => Err(bad(text, "is an IPv6 address", &format!("write \"[{text}]\""))),
        Err(_) => match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(inner) if inner.parse::<Ipv6Addr>().is_ok() => {
                Ok(NamePattern::Exact(text.to_ascii_lowercase().into()))
            }
            _ => pattern(text),
        },
    }
}

/// One name, in lower case and without a dot at the end.
pub(super) fn name(text: &str) -> Result<String, BadName> {
    if let Some((_, rest)) = text.split_once("://") {
        let host = rest.split(['/', ':']).next().unwrap_or_default();
        return Err(bad(text, "is a URL", &format!("write \"{host}\"")));
    }
    if let Some((host, _)) = text.split_once('/') {
        return Err(bad(text, "has a path", &format!("write \"{host}\"")));
    }
    if text.contains('*') {
        let way_out = "a * stands for one whole label, and only for the first: \"*.example.com\"";
        return Err(bad(text, "has a * in the wrong place", way_out));
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if bare.parse::<IpAddr>().is_ok() {
        let way_out = "write a name: clients that connect to an address send none";
        return Err(bad(text, "is an IP address", way_out));
    }
    if let Some((host, port)) = text.rsplit_once(':')
        && port.parse::<u16>().is_ok()
    {
        return Err(bad(text, "has a port", &format!("write \"{host}\"")));
    }
    if !text.is_ascii() {
        let way_out = "write it as it goes over the wire, as in \"xn--bcher-kva.example\"";
        return Err(bad(text, "has letters that no server name has", way_out));
    }
    if !is_host(text) {
        let way_out = "write letters, digits, - and _ between dots, as in \"db.example.com\"";
        return Err(bad(text, "is not a server name", way_out));
    }
    Ok(text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase())
}

fn bad(text: &str, message: &str, suggestion: &str) -> BadName {
    BadName {
        message: format!("{} {message}", quoted(text)),
        suggestion: suggestion.chars().take(200).collect(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_are_written_in_one_way() {
        for (text, shown) in [
            ("*", "*"),
            ("A.Example.COM.", "a.example.com"),
            ("*.Example.com.", "*.example.com"),
            ("db_1.internal", "db_1.internal"),
            ("localhost", "localhost"),
            ("*.com", "*.com"),
        ] {
            assert_eq!(pattern(text).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_pattern_is_told_what_to_write() {
        for (text, message, way_out) in [
            ("*.", "has no name behind", "\"*\""),
            ("a.*.b", "has a * in the wrong place", "*.example.com"),
            ("*a.b", "has a * in the wrong place", "*.example.com"),
            ("*.*.b", "has a * in the wrong place", "*.example.com"),
            ("**", "has a * in the wrong place", "*.example.com"),
            ("a.example:443", "has a port", "write \"a.example\""),
            ("*.example.com:443", "\"*.example.com:443\" has a port", "write \"example.com\""),
            ("10.0.0.1", "is an IP address", "send none"),
            ("::1", "is an IP address", "send none"),
            ("[::1]", "is an IP address", "send none"),
            ("https://a.example/x", "is a URL", "write \"a.example\""),
            ("a.example/x", "has a path", "write \"a.example\""),
            ("bücher.example", "letters that no server name has", "xn--"),
            ("a b", "is not a server name", "letters"),
            (".a", "is not a server name", "letters"),
            ("a..b", "is not a server name", "letters"),
            ("", "is not a server name", "letters"),
            (".", "is not a server name", "letters"),
            ("1.2.3", "is not a server name", "letters"),
        ] {
            let why = pattern(text).unwrap_err();
            assert!(why.message.contains(message), "{text}: {why:?}");
            assert!(why.suggestion.contains(way_out), "{text}: {why:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_reads_back_the_same(text in "(\\*\\.)?[a-zA-Z0-9_.-]{1,12}|\\PC{0,20}") {
            if let Ok(read) = pattern(&text) {
                prop_assert_eq!(pattern(&read.to_string()), Ok(read));
            }
        }
    }
}
