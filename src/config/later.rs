//! Keys that are known and not acted on: not by this version, or not for this protocol.
//!
//! A key that is taken and ignored is worse than one that is refused: somebody would believe in TLS
//! that is not there. A value that switches the feature off asks for nothing and is taken.

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
    /// It is for another protocol.
    Foreign(&'static str),
}

/// Which value asks for nothing.
#[derive(Clone, Copy)]
pub(super) enum Off {
    Never,
    False,
    ZeroTime,
    EmptyList,
}

impl Off {
    pub(super) fn holds(self, value: &Node) -> bool {
        match (self, &value.kind) {
            (Self::False, Kind::Flag(flag)) => !flag,
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
            Why::Foreign(owner) => format!("`{path}` is for {owner}, and this listener is udp"),
        };
        report.error(entry.place, message, self.instead);
    }
}

const fn later(key: &'static str, what: &'static str, off: Off, instead: &'static str) -> Later {
    Later { key, why: Why::Missing(what), off, instead }
}

const fn foreign(key: &'static str, owner: &'static str, off: Off) -> Later {
    Later { key, why: Why::Foreign(owner), off, instead: REMOVE }
}

const REMOVE: &str = "remove the key";
const HTTP: &str = "http listeners are";

pub(super) const PROCESS: &[Later] =
    &[later("upgrade_timeout", "replacing the running binary is", Off::Never, REMOVE)];

pub(super) const LISTENER: &[Later] = &[
    later("header_timeout", HTTP, Off::Never, REMOVE),
    later("tunnel_timeout", HTTP, Off::Never, REMOVE),
    later("trusted_proxies", HTTP, Off::EmptyList, REMOVE),
];

/// As [`LISTENER`], where datagrams are taken: they come without a connection, and unread.
pub(super) const UDP_LISTENER: &[Later] = &[
    foreign("keepalive", "tcp", Off::ZeroTime),
    foreign("backlog", "tcp", Off::Never),
    foreign("max_lifetime", "tcp", Off::Never),
    foreign("handshake_timeout", "tcp", Off::Never),
    foreign("tls", "tcp", Off::Never),
    foreign("plain_pool", "tcp", Off::Never),
    foreign("accept_proxy_protocol", "tcp", Off::EmptyList),
    foreign("header_timeout", "http", Off::Never),
    foreign("tunnel_timeout", "http", Off::Never),
    foreign("trusted_proxies", "http", Off::EmptyList),
];

const NARROWER: &str =
    "match by `sni`, `alpn` or `client`; without this key the route would take more";
const LEAD: &str = "give the route a pool with `pool`";

/// Keys of routes that need a request.
pub(super) const ROUTE: &[Later] = &[
    later("host", HTTP, Off::Never, NARROWER),
    later("path", HTTP, Off::Never, NARROWER),
    later("method", HTTP, Off::Never, NARROWER),
    later("header", HTTP, Off::Never, NARROWER),
    later("query", HTTP, Off::Never, NARROWER),
    later("redirect", HTTP, Off::Never, LEAD),
    later("respond", HTTP, Off::Never, LEAD),
    later("strip_prefix", HTTP, Off::Never, REMOVE),
    later("add_prefix", HTTP, Off::Never, REMOVE),
    later("set_request_headers", HTTP, Off::Never, REMOVE),
    later("set_response_headers", HTTP, Off::Never, REMOVE),
    later("remove_request_headers", HTTP, Off::EmptyList, REMOVE),
    later("remove_response_headers", HTTP, Off::EmptyList, REMOVE),
    later("rate_limit", HTTP, Off::Never, "limit clients with `connection_rate` of the listener"),
    later("request_timeout", HTTP, Off::Never, REMOVE),
    later("max_body", HTTP, Off::Never, REMOVE),
];

/// As [`ROUTE`], where datagrams are taken.
pub(super) const UDP_ROUTE: &[Later] = &[
    foreign("sni", "tcp", Off::Never),
    foreign("alpn", "tcp", Off::Never),
    foreign("host", "http", Off::Never),
    foreign("path", "http", Off::Never),
    foreign("method", "http", Off::Never),
    foreign("header", "http", Off::Never),
    foreign("query", "http", Off::Never),
    foreign("redirect", "http", Off::Never),
    foreign("respond", "http", Off::Never),
    foreign("strip_prefix", "http", Off::Never),
    foreign("add_prefix", "http", Off::Never),
    foreign("set_request_headers", "http", Off::Never),
    foreign("set_response_headers", "http", Off::Never),
    foreign("remove_request_headers", "http", Off::EmptyList),
    foreign("remove_response_headers", "http", Off::EmptyList),
    foreign("rate_limit", "http", Off::Never),
    foreign("request_timeout", "http", Off::Never),
    foreign("max_body", "http", Off::Never),
];

pub(super) const POOL: &[Later] = &[
    later("response_timeout", HTTP, Off::Never, REMOVE),
    later(
        "single_writer",
        "holding back sessions while two backends claim a role is",
        Off::False,
        "remove the key; sessions would otherwise go to either of two primaries",
    ),
    later(
        "discover",
        "looking up the backends of a pool is",
        Off::Never,
        "list them in `backends`; a host name there follows its DNS record",
    ),
    later("http", HTTP, Off::Never, "remove the table"),
];

const CLIENT_IP: &str = "remove the key; client_ip = true keeps a client address on one backend";

pub(super) const STICKY: &[Later] = &[
    later("cookie", HTTP, Off::Never, CLIENT_IP),
    later("secure", HTTP, Off::Never, CLIENT_IP),
    later("http_only", HTTP, Off::Never, CLIENT_IP),
    later("same_site", HTTP, Off::Never, CLIENT_IP),
];

pub(super) const RETRY: &[Later] = &[
    later("on", HTTP, Off::Never, REMOVE),
    later("non_idempotent", HTTP, Off::False, REMOVE),
    later("body", HTTP, Off::Never, REMOVE),
    later("budget", HTTP, Off::Never, REMOVE),
];

const TCP_OR_EXEC: &str = "use probe = \"tcp\", \"send-expect\" or \"exec\"";

pub(super) const HEALTH: &[Later] = &[
    later("service", "the grpc probe is", Off::Never, TCP_OR_EXEC),
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
pub(super) const PROBES: &[&str] = &["postgres", "mysql", "redis", "grpc"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_list_names_a_key_twice() {
        for list in [PROCESS, LISTENER, UDP_LISTENER, ROUTE, UDP_ROUTE, POOL, STICKY, RETRY, HEALTH]
        {
            let mut keys: Vec<_> = list.iter().map(|later| later.key).collect();
            keys.sort_unstable();
            let all = keys.len();
            keys.dedup();
            assert_eq!(keys.len(), all);
        }
    }
}
