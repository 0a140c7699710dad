//! What a pool says about requests, held against the listeners that use it: some of it cannot hold
//! for connections and datagrams that are not read, some is idle without any request, and some is
//! for sessions only.

use super::carried::Carried;
use super::read::Section;
use super::retry;
use super::value::Value;
use super::{HashKey, Policy, Pool};

/// Refuses what cannot hold, and warns of what does nothing. `carried` is what the listeners bring.
pub(super) fn check(section: &Section<'_>, pool: &Pool, carried: Carried) {
    let unread = match carried {
        Carried { tcp: true, .. } => Some("tcp"),
        Carried { udp: true, .. } => Some("udp"),
        _ => None,
    };
    if let Some(protocol) = unread {
        needs_requests(section, pool, protocol);
    }
    if carried.http {
        for_sessions(section, pool);
    } else if !carried.nothing() {
        idle(section, carried);
    }
}

/// Refuses what is known of requests only.
fn needs_requests(section: &Section<'_>, pool: &Pool, protocol: &str) {
    let refuse = |value: &Value<'_>, what: &str| {
        let message = format!(
            "is about requests, which a {protocol} listener that uses this pool does not read"
        );
        value.refuse(&message, what);
    };
    if let Some(value) = section.section("sticky").value("cookie").filter(|_| pool.cookie.is_some())
    {
        let way_out = "write client_ip = true, or give the listeners of http a pool of their own";
        refuse(&value, way_out);
    }
    if let Policy::ConsistentHash { key, .. } = &pool.policy
        && matches!(key, HashKey::Header(_) | HashKey::Cookie(_) | HashKey::Path)
        && let Some(value) = section.section("balance").value("key")
    {
        let way_out = "write \"client-ip\", or give the listeners of http a pool of their own";
        refuse(&value, way_out);
    }
}

/// Refuses what is for sessions only.
fn for_sessions(section: &Section<'_>, pool: &Pool) {
    if let Some(value) = section.section("tls").value("starttls")
        && pool.tls.as_ref().is_some_and(|tls| tls.starttls.is_some())
    {
        let message = "is for databases, and a listener that uses this pool is http";
        value.refuse(message, "remove it, or give that listener a pool without it");
    }
}

/// Warns of what is never used, and refuses it where it could not be: datagrams are no requests.
fn idle(section: &Section<'_>, carried: Carried) {
    let rules = section.section("retry");
    let rules = retry::OF_REQUESTS.iter().filter_map(|key| rules.value(key));
    let own = ["response_timeout", "http"].into_iter().filter_map(|key| section.value(key));
    for value in own.chain(rules) {
        if carried.udp {
            let message = "is for http, and the listener that uses this pool is udp";
            value.refuse(message, "remove it");
        } else {
            let message = "has no effect: no http listener uses this pool";
            value.warn(message, "remove it, or set protocol = \"http\" of a listener");
        }
    }
}
