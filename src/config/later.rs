//! Keys that are known and not acted on: not by this version, or not for this protocol.
//!
//! A key that is taken and ignored is worse than one that is refused: somebody would believe in TLS
//! that is not there. A value that switches the feature off asks for nothing and is taken.

use super::Protocol;
use super::problem::Report;
use super::tree::{Entry, Kind, Node};

/// One such key.
pub(super) struct Later {
    pub(super) key: &'static str,
    why: Why,
    pub(super) off: Off,
    /// What would happen without it, or what to do instead.
    instead: &'static str,
}

/// What stands in its way.
enum Why {
    /// What it needs is not built yet.
    Missing(&'static str),
    /// It is for other listeners than those of this protocol.
    Foreign(&'static str, Protocol),
}

/// Which value asks for nothing.
#[derive(Clone, Copy)]
pub(super) enum Off {
    Never,
    False,
    Zero,
    ZeroTime,
    EmptyList,
}

impl Off {
    pub(super) fn holds(self, value: &Node) -> bool {
        match (self, &value.kind) {
            (Self::False, Kind::Flag(flag)) => !flag,
            (Self::Zero, Kind::Integer(number)) => *number == 0,
            (Self::ZeroTime, Kind::Text(text)) => {
                super::units::duration(text).is_ok_and(|duration| duration.is_zero())
            }
            (Self::EmptyList, Kind::List(items)) => items.is_empty(),
            (Self::EmptyList, Kind::Flag(flag)) => !flag,
            _ => false,
        }
    }
}

impl Later {
    pub(super) fn refuse(&self, report: &Report, path: &str, entry: &Entry) {
        let message = match self.why {
            Why::Missing(what) => {
                format!("`{path}` is not available in this version: {what} not built yet")
            }
            Why::Foreign(owner, here) => {
                format!("`{path}` is for {owner}, and this listener is {}", here.as_str())
            }
        };
        report.error(entry.place, message, self.instead);
    }
}

/// `keys` without those that are in `later`.
pub(super) fn without(keys: &[&'static str], later: &[Later]) -> Vec<&'static str> {
    let is_later = |key: &str| later.iter().any(|later| later.key == key);
    keys.iter().copied().filter(|key| !is_later(key)).collect()
}

const fn later(key: &'static str, what: &'static str, off: Off, instead: &'static str) -> Later {
    Later { key, why: Why::Missing(what), off, instead }
}

/// Not with tcp.
const fn no_tcp(key: &'static str, owner: &'static str, off: Off, instead: &'static str) -> Later {
    Later { key, why: Why::Foreign(owner, Protocol::Tcp), off, instead }
}

/// Not with udp.
const fn no_udp(key: &'static str, owner: &'static str, off: Off) -> Later {
    Later { key, why: Why::Foreign(owner, Protocol::Udp), off, instead: REMOVE }
}

/// Not with http.
const fn no_http(key: &'static str, owner: &'static str, off: Off, instead: &'static str) -> Later {
    Later { key, why: Why::Foreign(owner, Protocol::Http), off, instead }
}

const REMOVE: &str = "remove the key";

const OR_HTTP: &str = "remove the key, or set protocol = \"http\"";

const TCP_LISTENER: &[Later] = &[
    no_tcp("responses", "udp", Off::Zero, "remove the key, or set protocol = \"udp\""),
    no_tcp("header_timeout", "http", Off::Never, OR_HTTP),
    no_tcp("tunnel_timeout", "http", Off::Never, OR_HTTP),
    no_tcp("trusted_proxies", "http", Off::EmptyList, OR_HTTP),
    no_tcp("max_streams", "http", Off::Never, OR_HTTP),
    no_tcp("debug_headers", "http", Off::False, OR_HTTP),
];

const HTTP_LISTENER: &[Later] = &[
    no_http("responses", "udp", Off::Zero, REMOVE),
    no_http(
        "max_lifetime",
        "tcp",
        Off::Never,
        "remove the key; a route bounds its requests with `request_timeout`",
    ),
    no_http("plain_pool", "tcp", Off::Never, "add a listener without tls for cleartext"),
];

/// Datagrams come without a connection, and unread.
const UDP_LISTENER: &[Later] = &[
    no_udp("keepalive", "tcp", Off::ZeroTime),
    no_udp("backlog", "tcp", Off::Never),
    no_udp("max_lifetime", "tcp", Off::Never),
    no_udp("handshake_timeout", "tcp", Off::Never),
    no_udp("tls", "tcp", Off::Never),
    no_udp("plain_pool", "tcp", Off::Never),
    no_udp("accept_proxy_protocol", "tcp", Off::EmptyList),
    no_udp("header_timeout", "http", Off::Never),
    no_udp("tunnel_timeout", "http", Off::Never),
    no_udp("trusted_proxies", "http", Off::EmptyList),
    no_udp("max_streams", "http", Off::Never),
    no_udp("debug_headers", "http", Off::False),
];

/// Keys of a listener that are not for its protocol.
pub(super) fn of_listener(protocol: Protocol) -> &'static [Later] {
    match protocol {
        Protocol::Tcp => TCP_LISTENER,
        Protocol::Udp => UDP_LISTENER,
        Protocol::Http => HTTP_LISTENER,
    }
}

const NARROWER: &str = "match by `sni`, `alpn` or `client`, or set protocol = \"http\"; without \
                        this key the route would take more";
const LEAD: &str = "lead the route to a pool with `pool`, or set protocol = \"http\"";
const LIMIT: &str =
    "limit clients with `connection_rate` of the listener, or set protocol = \"http\"";

/// Nothing is read of what goes through.
const TCP_ROUTE: &[Later] = &[
    no_tcp("host", "http", Off::Never, NARROWER),
    no_tcp("path", "http", Off::Never, NARROWER),
    no_tcp("method", "http", Off::Never, NARROWER),
    no_tcp("header", "http", Off::Never, NARROWER),
    no_tcp("query", "http", Off::Never, NARROWER),
    no_tcp("redirect", "http", Off::Never, LEAD),
    no_tcp("respond", "http", Off::Never, LEAD),
    no_tcp("strip_prefix", "http", Off::Never, OR_HTTP),
    no_tcp("add_prefix", "http", Off::Never, OR_HTTP),
    no_tcp("set_request_headers", "http", Off::Never, OR_HTTP),
    no_tcp("set_response_headers", "http", Off::Never, OR_HTTP),
    no_tcp("remove_request_headers", "http", Off::EmptyList, OR_HTTP),
    no_tcp("remove_response_headers", "http", Off::EmptyList, OR_HTTP),
    no_tcp("rate_limit", "http", Off::Never, LIMIT),
    no_tcp("request_timeout", "http", Off::Never, OR_HTTP),
    no_tcp("max_body", "http", Off::Never, OR_HTTP),
];

const UDP_ROUTE: &[Later] = &[
    no_udp("sni", "tcp", Off::Never),
    no_udp("alpn", "tcp", Off::Never),
    no_udp("host", "http", Off::Never),
    no_udp("path", "http", Off::Never),
    no_udp("method", "http", Off::Never),
    no_udp("header", "http", Off::Never),
    no_udp("query", "http", Off::Never),
    no_udp("redirect", "http", Off::Never),
    no_udp("respond", "http", Off::Never),
    no_udp("strip_prefix", "http", Off::Never),
    no_udp("add_prefix", "http", Off::Never),
    no_udp("set_request_headers", "http", Off::Never),
    no_udp("set_response_headers", "http", Off::Never),
    no_udp("remove_request_headers", "http", Off::EmptyList),
    no_udp("remove_response_headers", "http", Off::EmptyList),
    no_udp("rate_limit", "http", Off::Never),
    no_udp("request_timeout", "http", Off::Never),
    no_udp("max_body", "http", Off::Never),
];

/// One connection may carry requests for several hosts, whatever its handshake named.
const HTTP_ROUTE: &[Later] = &[
    no_http("sni", "tcp", Off::Never, "match the name that is asked for with `host`"),
    no_http("alpn", "tcp", Off::Never, "remove the key; requests match by host, path and the like"),
];

/// Keys of a route that are not for the protocol of its listener.
pub(super) fn of_route(protocol: Protocol) -> &'static [Later] {
    match protocol {
        Protocol::Tcp => TCP_ROUTE,
        Protocol::Udp => UDP_ROUTE,
        Protocol::Http => HTTP_ROUTE,
    }
}

pub(super) const POOL: &[Later] = &[later(
    "single_writer",
    "holding back sessions while two backends claim a role is",
    Off::False,
    "remove the key; sessions would otherwise go to either of two primaries",
)];

const TCP_OR_EXEC: &str = "use probe = \"tcp\", \"send-expect\" or \"exec\"";

pub(super) const HEALTH: &[Later] = &[
    later(
        "max_lag",
        "measuring how far a replica lags is",
        Off::Never,
        "remove the key, and let an http check judge the lag",
    ),
    later("user", "logging in for a probe is", Off::Never, TCP_OR_EXEC),
    later("database", "logging in for a probe is", Off::Never, TCP_OR_EXEC),
    later("password_file", "logging in for a probe is", Off::Never, TCP_OR_EXEC),
];

/// Probes that a later version has.
pub(super) const PROBES: &[&str] = &["postgres", "mysql", "redis"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_list_names_a_key_twice() {
        let protocols = [Protocol::Tcp, Protocol::Udp, Protocol::Http];
        let foreign = protocols.into_iter().flat_map(|it| [of_listener(it), of_route(it)]);
        for list in foreign.chain([POOL, HEALTH]) {
            let mut keys: Vec<_> = list.iter().map(|later| later.key).collect();
            keys.sort_unstable();
            let all = keys.len();
            keys.dedup();
            assert_eq!(keys.len(), all);
        }
    }
}
