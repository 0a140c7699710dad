//! Reads `[[listener.NAME.route]]`: what a route takes, and where it leads.

use std::sync::Arc;

use super::later;
use super::listener::pool_index;
use super::listener_tls;
use super::names;
use super::network;
use super::read::{Section, is_name};
use super::value::Value;
use super::words::quoted;
use super::{Leads, Matchers, NamePattern, Protocol, Route, Share};

pub(super) const KEYS: &[&str] = &["name", "sni", "alpn", "client", "pool", "split"];
pub(super) const SHARE_KEYS: &[&str] = &["pool", "weight"];

/// What a share weighs that says nothing.
pub(super) const WEIGHT: u32 = 1;

/// What the ways are called that are no routes.
const TAKEN: &[(&str, &str)] =
    &[("default", "the listener's own pool"), ("plain", "its plain_pool")];
/// What routes of http may do in place of leading to a pool.
const LATER_OUTCOMES: &[&str] = &["redirect", "respond"];

/// The routes of a listener, in their order.
pub(super) fn read(listener: &Section<'_>, protocol: Protocol, pools: &[&str]) -> Vec<Route> {
    let mut routes: Vec<Route> = Vec::new();
    for (number, item) in (1_usize..).zip(written(listener)) {
        let Some(section) = section(&item) else { continue };
        let section = match protocol {
            Protocol::Tcp | Protocol::Http => section.only(KEYS, later::ROUTE),
            Protocol::Udp => section.only(&udp_keys(), later::UDP_ROUTE),
        };
        let name = section.value("name");
        let named = name.as_ref().and_then(name_of).map(Arc::from);
        let route = Route {
            name: named.unwrap_or_else(|| number.to_string().into()),
            when: matchers(&section, protocol),
            leads: leads(&section, pools).unwrap_or_else(|| Leads::Split(Vec::new())),
            treatment: Box::default(),
        };
        if let Some(before) = routes.iter().position(|other| other.name == route.name) {
            let message = format!(
                "{}: the name {} is taken by route {}",
                section.title,
                quoted(&route.name),
                before + 1
            );
            let place = name.map_or(section.place, |value| value.node.place);
            let way_out = "give each its own; a route without a name is called by its position";
            section.report.error(place, message, way_out);
        }
        routes.push(route);
    }
    routes
}

/// The entries of the list as the file has them.
pub(super) fn written<'a>(listener: &Section<'a>) -> Vec<Value<'a>> {
    let Some(value) = listener.value("route") else { return Vec::new() };
    if value.is_table() {
        let message = "is one table and must be a list of them";
        value.refuse(message, &format!("write it in double brackets: [[{}]]", value.path));
        return Vec::new();
    }
    value.list("route")
}

fn section<'a>(item: &Value<'a>) -> Option<Section<'a>> {
    if !item.is_table() {
        item.wrong_type("a table", "{ sni = \"a.example.com\", pool = \"NAME\" }");
        return None;
    }
    Some(item.as_section(""))
}

/// What a route of datagrams may say.
fn udp_keys() -> Vec<&'static str> {
    let is_foreign = |key: &str| later::UDP_ROUTE.iter().any(|later| later.key == key);
    KEYS.iter().copied().filter(|key| !is_foreign(key)).collect()
}

fn name_of<'a>(value: &Value<'a>) -> Option<&'a str> {
    let name = value.filled()?;
    if !is_name(name) {
        value.refuse(&format!("{} is not valid", quoted(name)), "use letters, digits, -, _ and .");
        return None;
    }
    if let Some((_, way)) = TAKEN.iter().find(|(taken, _)| *taken == name) {
        value.refuse(&format!("{} is what {way} is called", quoted(name)), "write another name");
        return None;
    }
    Some(name)
}

fn matchers(section: &Section<'_>, protocol: Protocol) -> Matchers {
    let client = items(section, "client", "\"10.0.0.0/8\"");
    let client = client.iter().flat_map(network::read).collect();
    if protocol == Protocol::Udp {
        return Matchers { client, ..Matchers::default() };
    }
    let sni = items(section, "sni", "\"a.example.com\"");
    let alpn = items(section, "alpn", "\"h2\"");
    Matchers {
        sni: sni.iter().filter_map(pattern).collect(),
        alpn: alpn.iter().filter_map(listener_tls::protocol).collect(),
        client,
        ..Matchers::default()
    }
}

/// What any of may match. A matcher that nothing can match is a slip.
fn items<'a>(section: &Section<'a>, key: &str, example: &str) -> Vec<Value<'a>> {
    let Some(value) = section.value(key) else { return Vec::new() };
    let items = value.one_or_more();
    if value.is_list() && items.is_empty() {
        let way_out = format!("name at least one, as in {example}, or remove the key");
        value.refuse("is an empty list, which nothing matches", &way_out);
    }
    items
}

fn pattern(item: &Value<'_>) -> Option<NamePattern> {
    match names::pattern(item.filled()?) {
        Ok(pattern) => Some(pattern),
        Err(bad) => {
            item.refuse(&bad.message, &bad.suggestion);
            None
        }
    }
}

fn leads(section: &Section<'_>, pools: &[&str]) -> Option<Leads> {
    let (pool, split) = (section.value("pool"), section.value("split"));
    match (pool, split) {
        (Some(_), Some(split)) => {
            split.refuse("stands beside pool: a route leads one way", "remove one of them");
            None
        }
        (Some(pool), None) => pool_index(&pool, pools).map(Leads::Pool),
        (None, Some(value)) => self::split(&value, pools).map(Leads::Split),
        (None, None) => {
            // That the key is refused is enough to say.
            if LATER_OUTCOMES.iter().all(|key| section.value(key).is_none()) {
                let message = format!("{} leads nowhere", section.title);
                let way_out =
                    "write pool = \"NAME\", or split = [{ pool = \"NAME\", weight = 9 }, …]";
                section.report.absence(section.place, message, way_out);
            }
            None
        }
    }
}

fn split(value: &Value<'_>, pools: &[&str]) -> Option<Vec<Share>> {
    let items = value.list("share");
    if value.is_list() && items.is_empty() {
        let way_out = "name pools, as in [{ pool = \"stable\", weight = 95 }, …]";
        value.refuse("is an empty list", way_out);
    }
    let shares: Option<Vec<Share>> = items.iter().map(|item| share(item, pools)).collect();
    let shares = shares.filter(|shares| !shares.is_empty())?;
    if shares.iter().all(|share| share.weight == 0) {
        value.refuse("has no weight above 0, so that it leads nowhere", "give one a weight");
        return None;
    }
    Some(shares)
}

fn share(item: &Value<'_>, pools: &[&str]) -> Option<Share> {
    if !item.is_table() {
        item.wrong_type("a table", "{ pool = \"NAME\", weight = 1 }");
        return None;
    }
    let section = item.as_section("").only(SHARE_KEYS, &[]);
    let weight = section.integer("weight", 0..=u32::MAX, WEIGHT);
    let pool = section.required("pool", "\"NAME\"").and_then(|value| pool_index(&value, pools))?;
    Some(Share { pool, weight })
}
