//! Reads `[listener.NAME]`.

use std::net::SocketAddr;
use std::sync::Arc;

use super::address;
use super::defaults;
use super::later;
use super::problem::Place;
use super::read::Section;
use super::value::Value;
use super::words::{did_you_mean, quoted};
use super::{Listener, Pool, Protocol};

pub(super) const KEYS: &[&str] = &[
    "bind",
    "protocol",
    "pool",
    "idle_timeout",
    "max_lifetime",
    "keepalive",
    "max_sessions",
    "backlog",
];

/// A listener with what later checks need to point at.
pub(super) struct Read {
    pub(super) listener: Listener,
    /// One for each of `bind`.
    pub(super) bound_at: Vec<Place>,
    /// The index is only good where this says so.
    pub(super) has_pool: bool,
}

pub(super) fn read(name: &str, section: Section<'_>, pools: &[&str]) -> Read {
    let section = section.only(KEYS, later::LISTENER);
    protocol(&section);
    let (bind, bound_at) = binds(&section).into_iter().unzip();
    let pool = match section.value("pool") {
        // Routes will do in the place of a pool; that they are refused is enough to say.
        None if section.value("route").is_some() => None,
        _ => section.required("pool", "\"NAME\"").and_then(|value| pool_index(&value, pools)),
    };
    let listener = Listener {
        name: Arc::from(name),
        bind,
        pool: pool.unwrap_or_default(),
        idle_timeout: section.switchable("idle_timeout", Some(defaults::IDLE_TIMEOUT)),
        max_lifetime: section.some_duration("max_lifetime"),
        keepalive: section.switchable("keepalive", Some(defaults::KEEPALIVE)),
        max_sessions: section.integer("max_sessions", 0..=u32::MAX, 0),
        backlog: section.integer("backlog", 1..=i32::MAX.unsigned_abs(), defaults::BACKLOG),
        protocol: Protocol::Tcp,
        responses: 0,
        connection_rate: None,
    };
    Read { listener, bound_at, has_pool: pool.is_some() }
}

fn protocol(section: &Section<'_>) {
    let Some(value) = section.value("protocol") else { return };
    match value.text() {
        None | Some("tcp") => {}
        Some(other @ ("udp" | "http")) => {
            let message =
                format!("\"{other}\" is not available in this version: it is not built yet");
            value.refuse(&message, "use \"tcp\", which relays http as well, unread");
        }
        Some(other) => {
            let way_out = did_you_mean(other, "valid values", ["tcp", "udp", "http"]);
            value.refuse(&format!("{} is not a valid value", quoted(other)), &way_out);
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
