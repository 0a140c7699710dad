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
use super::{AcceptProxy, Clients, Listener, Pool, Protocol, Rate, units};

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
    "route",
];
pub(super) const RATE_KEYS: &[&str] = &["rate", "burst"];

pub(super) const PROTOCOLS: &[(&str, Protocol)] = &[("tcp", Protocol::Tcp), ("udp", Protocol::Udp)];

/// A listener with what later checks need to point at.
pub(super) struct Read {
    pub(super) listener: Listener,
    /// One for each of `bind`.
    pub(super) bound_at: Vec<Place>,
    /// Where challenges are answered over http, which other listeners may do there too.
    pub(super) answers_at: Vec<(SocketAddr, Place)>,
}

pub(super) fn read(name: &str, section: Section<'_>, pools: &[&str]) -> Read {
    let protocol = protocol(&section);
    let section = match protocol {
        Protocol::Tcp | Protocol::Http => section.only(KEYS, later::LISTENER),
        Protocol::Udp => section.only(&udp_keys(), later::UDP_LISTENER),
    };
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
        routes: routes::read(&section, protocol, pools),
        max_sessions: section.integer("max_sessions", 0..=u32::MAX, 0),
        connection_rate: rate(&section),
        clients: Clients { allow: networks(&section, "allow"), deny: networks(&section, "deny") },
        ..unset
    };
    let listener = match protocol {
        Protocol::Tcp | Protocol::Http => of_connections(listener, &section, pools),
        Protocol::Udp => of_datagrams(listener, &section),
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

fn of_connections(unset: Listener, section: &Section<'_>, pools: &[&str]) -> Listener {
    if let Some(value) = section.value("responses")
        && value.integer(0..=u32::MAX).is_some_and(|responses| responses > 0)
        && section.value("protocol").is_none_or(|value| value.text() == Some("tcp"))
    {
        value
            .refuse("is for udp, and this listener is tcp", "remove it, or set protocol = \"udp\"");
    }
    Listener {
        idle_timeout: section.switchable("idle_timeout", unset.idle_timeout),
        max_lifetime: section.some_duration("max_lifetime"),
        keepalive: section.switchable("keepalive", unset.keepalive),
        backlog: section.integer("backlog", 1..=i32::MAX.unsigned_abs(), unset.backlog),
        accept_proxy_protocol: section
            .value("accept_proxy_protocol")
            .map_or(AcceptProxy::Off, |value| accept_proxy(&value)),
        handshake_timeout: section.duration("handshake_timeout", unset.handshake_timeout),
        plain_pool: plain_pool(section, pools),
        tls: listener_tls::read(section),
        ..unset
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

fn of_datagrams(unset: Listener, section: &Section<'_>) -> Listener {
    Listener {
        idle_timeout: section.switchable("idle_timeout", unset.idle_timeout),
        responses: section.integer("responses", 0..=u32::MAX, unset.responses),
        ..unset
    }
}

/// What a listener of datagrams may say.
fn udp_keys() -> Vec<&'static str> {
    let is_foreign = |key: &str| later::UDP_LISTENER.iter().any(|later| later.key == key);
    KEYS.iter().copied().filter(|key| !is_foreign(key)).collect()
}

fn protocol(section: &Section<'_>) -> Protocol {
    let Some(value) = section.value("protocol") else { return Protocol::Tcp };
    if let Kind::Text(text) = &value.node.kind
        && text == "http"
    {
        let message = "\"http\" is not available in this version: it is not built yet";
        value.refuse(message, "use \"tcp\", which relays http as well, unread");
        return Protocol::Tcp;
    }
    value.choice(PROTOCOLS).unwrap_or_default()
}

fn rate(section: &Section<'_>) -> Option<Rate> {
    section.value("connection_rate")?.table()?;
    let section = section.section("connection_rate").only(RATE_KEYS, &[]);
    let value = section.required("rate", "\"50/s\"")?;
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
