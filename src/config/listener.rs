//! Reads `[listener.NAME]`.

use std::net::SocketAddr;

use ipnet::IpNet;

use super::acme;
use super::address;
use super::later;
use super::listener_tls;
use super::network;
use super::problem::Place;
use super::read::Section;
use super::routes;
use super::tree::Kind;
use super::value::Value;
use super::words::{did_you_mean, quoted};
use super::{AcceptProxy, Clients, Http, Listener, Pool, Protocol, Rate, units};

pub(super) const KEYS: &[&str] = &[
    "bind",
    "protocol",
    "pool",
    "idle_timeout",
    "max_lifetime",
    "keepalive",
    "max_sessions",
    "backlog",
    "responses",
    "connection_rate",
    "allow",
    "deny",
    "accept_proxy_protocol",
    "handshake_timeout",
    "tls",
    "plain_pool",
    "header_timeout",
    "tunnel_timeout",
    "trusted_proxies",
    "max_streams",
    "debug_headers",
    "route",
];
pub(super) const RATE_KEYS: &[&str] = &["rate", "burst"];

pub(super) const PROTOCOLS: &[(&str, Protocol)] =
    &[("tcp", Protocol::Tcp), ("udp", Protocol::Udp), ("http", Protocol::Http)];

/// Streams above this would be bounded by the backends anyway.
pub(super) const MOST_STREAMS: u32 = 100_000;

/// A listener with what later checks need to point at.
pub(super) struct Read {
    pub(super) listener: Listener,
    /// One for each of `bind`.
    pub(super) bound_at: Vec<Place>,
    /// Where challenges are answered over http, which other listeners may do there too.
    pub(super) answers_at: Vec<(SocketAddr, Place)>,
}

pub(super) fn read(name: &str, section: Section<'_>, pools: &[&str]) -> Read {
    let written = section.value("protocol");
    let known = written.as_ref().and_then(|value| value.choice(PROTOCOLS));
    let protocol = known.unwrap_or_default();
    // With a word that was refused nobody knows what the other keys are for.
    let is_known = known.is_some() || written.is_none();
    let foreign = if is_known { later::of_listener(protocol) } else { &[] };
    let not_in_routes = if is_known { later::of_route(protocol) } else { &[] };
    let section = section.only(&later::without(KEYS, foreign), foreign);
    let (bind, bound_at) = binds(&section).into_iter().unzip();
    let pool = match section.value("pool") {
        Some(value) => pool_index(&value, pools),
        None => {
            led_nowhere(&section);
            None
        }
    };
    let unset = Listener::unset(name, protocol, bind, pool.unwrap_or_default());
    let listener = Listener {
        pool,
        routes: routes::read(&section, protocol, not_in_routes, pools),
        max_sessions: section.integer("max_sessions", 0..=u32::MAX, 0),
        connection_rate: connection_rate(&section),
        clients: Clients { allow: networks(&section, "allow"), deny: networks(&section, "deny") },
        ..unset
    };
    let listener = match protocol {
        Protocol::Tcp => Listener {
            max_lifetime: section.some_duration("max_lifetime"),
            plain_pool: plain_pool(&section, pools),
            ..of_connections(listener, &section)
        },
        Protocol::Http => {
            Listener { http: Some(http(&section)), ..of_connections(listener, &section) }
        }
        Protocol::Udp => Listener {
            idle_timeout: section.switchable("idle_timeout", listener.idle_timeout),
            responses: section.integer("responses", 0..=u32::MAX, listener.responses),
            ..listener
        },
    };
    let acme = listener.tls.as_ref().and_then(|tls| tls.acme.as_ref());
    let answers_at = acme.map(|acme| acme::bound_at(&section, acme)).unwrap_or_default();
    Read { listener, bound_at, answers_at }
}

/// Notes that a listener without a pool has no routes either.
fn led_nowhere(section: &Section<'_>) {
    let routes = section.value("route");
    if routes.is_none_or(|value| matches!(&value.node.kind, Kind::List(all) if all.is_empty())) {
        let message = format!("{} has no pool and no routes", section.title);
        section.report.absence(section.place, message, "write pool = \"NAME\"");
    }
}

fn of_connections(unset: Listener, section: &Section<'_>) -> Listener {
    Listener {
        idle_timeout: section.switchable("idle_timeout", unset.idle_timeout),
        keepalive: section.switchable("keepalive", unset.keepalive),
        backlog: section.integer("backlog", 1..=i32::MAX.unsigned_abs(), unset.backlog),
        accept_proxy_protocol: section
            .value("accept_proxy_protocol")
            .map_or(AcceptProxy::Off, |value| accept_proxy(&value)),
        handshake_timeout: section.duration("handshake_timeout", unset.handshake_timeout),
        tls: listener_tls::read(section, unset.protocol),
        ..unset
    }
}

/// What only listeners of http have.
fn http(section: &Section<'_>) -> Http {
    let default = Http::default();
    Http {
        header_timeout: section.duration("header_timeout", default.header_timeout),
        tunnel_timeout: section.switchable("tunnel_timeout", default.tunnel_timeout),
        trusted_proxies: networks(section, "trusted_proxies"),
        max_streams: section.integer("max_streams", 1..=MOST_STREAMS, default.max_streams),
        debug_headers: section.flag("debug_headers", default.debug_headers),
    }
}

fn plain_pool(section: &Section<'_>, pools: &[&str]) -> Option<usize> {
    let value = section.value("plain_pool")?;
    if section.value("tls").is_none() {
        value.refuse(
            "is for clients that do not speak TLS, and nobody is asked to: there is no tls table",
            "write it as pool, or add the table",
        );
    }
    pool_index(&value, pools)
}

fn connection_rate(section: &Section<'_>) -> Option<Rate> {
    section.value("connection_rate")?.table()?;
    rate(&section.section("connection_rate").only(RATE_KEYS, &[]), "\"50/s\"")
}

/// `rate` and `burst` of a table.
pub(super) fn rate(section: &Section<'_>, example: &str) -> Option<Rate> {
    let value = section.required("rate", example)?;
    match units::rate(value.text()?) {
        Ok((count, per)) => {
            let burst = section.integer("burst", 1..=u32::MAX, count);
            Some(Rate { count, per, burst })
        }
        Err(bad) => {
            value.refuse(&bad.message, &bad.suggestion);
            None
        }
    }
}

fn networks(section: &Section<'_>, key: &str) -> Vec<IpNet> {
    section.value(key).map(|value| network::read(&value)).unwrap_or_default()
}

fn accept_proxy(value: &Value<'_>) -> AcceptProxy {
    match &value.node.kind {
        Kind::Flag(true) => AcceptProxy::All,
        Kind::Flag(false) => AcceptProxy::Off,
        Kind::List(_) | Kind::Text(_) => match network::read(value) {
            networks if networks.is_empty() => AcceptProxy::Off,
            networks => AcceptProxy::From(networks),
        },
        _ => {
            value.refuse(
                "is neither a boolean nor a list of networks",
                "write true, false, or a list as in [\"10.0.0.0/8\"]",
            );
            AcceptProxy::Off
        }
    }
}

fn binds(section: &Section<'_>) -> Vec<(SocketAddr, Place)> {
    let Some(value) = section.required("bind", "\"0.0.0.0:5432\"") else { return Vec::new() };
    let items = value.one_or_more();
    if items.is_empty() {
        value.refuse("is an empty list", "name at least one address, as in \"0.0.0.0:5432\"");
    }
    let address = |item: &Value<'_>| match address::bind(item.text()?) {
        Ok(address) => Some((address, item.node.place)),
        Err(bad) => {
            item.refuse(&bad.message, &bad.suggestion);
            None
        }
    };
    items.iter().filter_map(address).collect()
}

/// The pool that a value names.
pub(super) fn pool_index(value: &Value<'_>, pools: &[&str]) -> Option<usize> {
    let name = value.filled()?;
    let found = pools.iter().position(|pool| *pool == name);
    if found.is_none() {
        let way_out = match pools {
            [] => format!("add [pool.{name}] with its backends"),
            _ => did_you_mean(name, "pools", pools.iter().copied()),
        };
        value.refuse(&format!("{} is not a pool of this file", quoted(name)), &way_out);
    }
    found
}

/// Keeps the name of a pool beside its index in messages.
pub(super) fn pool_name(pools: &[Pool], index: usize) -> &str {
    pools.get(index).map_or("", |pool| &pool.name)
}
