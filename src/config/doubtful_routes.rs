//! Routes that are valid and seldom meant: those that nothing can come to, and TLS within TLS.

use ipnet::IpNet;

use super::doubtful_answers;
use super::listener;
use super::listener::pool_name;
use super::read::Section;
use super::routes;
use super::value::Value;
use super::{Field, Leads, Listener, Matchers, NamePattern, PathPattern, Pool};

/// Whatever is doubtful about the ways from one listener of the file.
pub(super) fn of_listener(section: &Section<'_>, read: &listener::Read, pools: &[Pool]) {
    let listener = &read.listener;
    let written = routes::written(section);
    if written.len() != listener.routes.len() {
        return;
    }
    unreachable(section, &written, listener);
    for (number, (route, value)) in listener.routes.iter().zip(&written).enumerate() {
        let earlier = listener.routes.get(..number).unwrap_or_default();
        doubtful_answers::of_route(value, route, earlier, listener);
    }
    twice_in_tls(section, &written, listener, pools);
}

/// An earlier route takes everything that a later one would.
fn unreachable(section: &Section<'_>, written: &[Value<'_>], listener: &Listener) {
    let earlier = |number: usize, when: &Matchers| {
        let before = listener.routes.iter().take(number);
        before.filter(|route| takes_all_of(&route.when, when)).map(|route| &route.name).next()
    };
    for (number, (route, value)) in listener.routes.iter().zip(written).enumerate() {
        if let Some(name) = earlier(number, &route.when) {
            let message = format!("can never match: route \"{name}\" takes all that it would");
            value.warn(&message, "put it before that one, or remove it");
        }
    }
    if let Some(value) = section.value("pool")
        && let Some(name) = earlier(listener.routes.len(), &Matchers::default())
    {
        let message = format!("is never used: route \"{name}\" has no matcher and takes all");
        value.warn(&message, "give that route a matcher, or remove one of them");
    }
}

/// True if whatever `later` matches is matched by `earlier`, as far as their texts show.
fn takes_all_of(earlier: &Matchers, later: &Matchers) -> bool {
    let wider = IpNet::aggregate(&earlier.client);
    let contains = |network: &IpNet| wider.iter().any(|other| other.contains(network));
    covers(&earlier.sni, &later.sni, is_within)
        && covers(&earlier.alpn, &later.alpn, |one, other| one == other)
        && (earlier.client.is_empty()
            || !later.client.is_empty() && later.client.iter().all(contains))
        && covers(&earlier.host, &later.host, is_within)
        && covers(&earlier.path, &later.path, is_under)
        && covers(&earlier.method, &later.method, |one, other| one == other)
        && are_implied(&earlier.header, &later.header)
        && are_implied(&earlier.query, &later.query)
}

/// True if each of `later` is within one of `earlier`; an empty list takes all.
fn covers<T>(earlier: &[T], later: &[T], is_within: impl Fn(&T, &T) -> bool) -> bool {
    let covered = |one: &T| earlier.iter().any(|other| is_within(one, other));
    earlier.is_empty() || !later.is_empty() && later.iter().all(covered)
}

/// True if `other` takes every path that `pattern` does.
fn is_under(pattern: &PathPattern, other: &PathPattern) -> bool {
    let beneath = |path: &str, front: &str| {
        path.strip_prefix(front).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    match (pattern, other) {
        (PathPattern::Exact(path), PathPattern::Exact(other)) => path == other,
        (PathPattern::Exact(path) | PathPattern::Under(path), PathPattern::Under(front)) => {
            beneath(path, front)
        }
        (PathPattern::Under(_), PathPattern::Exact(_)) => false,
    }
}

/// True if a request that has all of `later` has all of `earlier`.
fn are_implied(earlier: &[Field], later: &[Field]) -> bool {
    let implies = |one: &Field, asked: &Field| {
        let is_one = |value| asked.values.contains(value);
        one.name == asked.name
            && (asked.values.is_empty() || !one.values.is_empty() && one.values.iter().all(is_one))
    };
    earlier.iter().all(|asked| later.iter().any(|one| implies(one, asked)))
}

/// True if `other` matches every name that `pattern` does.
fn is_within(pattern: &NamePattern, other: &NamePattern) -> bool {
    match (pattern, other) {
        (_, NamePattern::Any) => true,
        (NamePattern::Exact(name), _) => other.matches(name),
        (NamePattern::Below(parent), NamePattern::Below(whole)) => parent == whole,
        _ => false,
    }
}

/// What is passed through is TLS already, and its pool would wrap it once more.
fn twice_in_tls(section: &Section<'_>, written: &[Value<'_>], listener: &Listener, pools: &[Pool]) {
    if listener.tls.as_ref().is_some_and(super::ListenerTls::terminates) {
        return;
    }
    let warn = |value: &Value<'_>, pool: usize| {
        let message = format!(
            "leads TLS that is passed through to pool \"{}\", which speaks TLS itself: backends \
             would get TLS within TLS",
            pool_name(pools, pool)
        );
        value.warn(&message, "remove the tls table of the pool, or end TLS at the listener");
    };
    let in_tls = |pool: &usize| pools.get(*pool).is_some_and(|pool| pool.tls.is_some());
    for (route, value) in listener.routes.iter().zip(written) {
        let mut led = match &route.leads {
            Leads::Pool(pool) => vec![*pool],
            Leads::Split(shares) => shares.iter().map(|share| share.pool).collect(),
            Leads::Redirect(_) | Leads::Respond(_) => Vec::new(),
        };
        led.retain(in_tls);
        if let Some(pool) = led.first().filter(|_| route.when.need_hello()) {
            warn(value, *pool);
        }
    }
    // With an upgrade alone nothing but TLS comes to the listener's own pool.
    let own = listener.pool.filter(|_| listener.tls.is_some()).filter(in_tls);
    if let (Some(pool), Some(value)) = (own, section.value("pool")) {
        warn(&value, pool);
    }
}
