//! Reads `[[listener.NAME.route]]`: what a route takes, and where it leads.

use std::sync::Arc;

use super::answers;
use super::later::{self, Later};
use super::listener::pool_index;
use super::listener_tls;
use super::names;
use super::network;
use super::read::{Section, is_name};
use super::request_matchers;
use super::treatment;
use super::value::Value;
use super::words::quoted;
use super::{Leads, Matchers, NamePattern, Protocol, Route, Share};

/// What any route may say, and beside it what [`treatment`] reads.
const OWN_KEYS: &[&str] = &[
    "name", "sni", "alpn", "client", "host", "path", "method", "header", "query", "pool", "split",
    "redirect", "respond",
];
pub(super) const SHARE_KEYS: &[&str] = &["pool", "weight"];

/// What a share weighs that says nothing.
pub(super) const WEIGHT: u32 = 1;

/// What the ways are called that are no routes.
const TAKEN: &[(&str, &str)] =
    &[("default", "the listener's own pool"), ("plain", "its plain_pool")];
/// The ways that a route can lead.
const OUTCOMES: &[&str] = &["pool", "split", "redirect", "respond"];

pub(super) fn keys() -> Vec<&'static str> {
    [OWN_KEYS, treatment::KEYS].concat()
}

/// The routes of a listener, in their order; keys in `foreign` are not for it.
pub(super) fn read(
    listener: &Section<'_>,
    protocol: Protocol,
    foreign: &[Later],
    pools: &[&str],
) -> Vec<Route> {
    let keys = later::without(&keys(), foreign);
    let mut routes: Vec<Route> = Vec::new();
    for (number, item) in (1_usize..).zip(written(listener)) {
        let Some(section) = section(&item) else { continue };
        let section = section.only(&keys, foreign);
        let name = section.value("name");
        let named = name.as_ref().and_then(name_of).map(Arc::from);
        let route = Route {
            name: named.unwrap_or_else(|| number.to_string().into()),
            when: matchers(&section, protocol),
            leads: leads(&section, protocol, pools).unwrap_or_else(|| Leads::Split(Vec::new())),
            treatment: match protocol {
                Protocol::Http => Box::new(treatment::read(&section)),
                Protocol::Tcp | Protocol::Udp => Box::default(),
            },
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
    match protocol {
        Protocol::Udp => Matchers { client, ..Matchers::default() },
        Protocol::Http => Matchers { client, ..request_matchers::read(section) },
        Protocol::Tcp => {
            let sni = items(section, "sni", "\"a.example.com\"");
            let alpn = items(section, "alpn", "\"h2\"");
            Matchers {
                sni: sni.iter().filter_map(pattern).collect(),
                alpn: alpn.iter().filter_map(listener_tls::protocol).collect(),
                client,
                ..Matchers::default()
            }
        }
    }
}

/// What any of may match. A matcher that nothing can match is a slip.
pub(super) fn items<'a>(section: &Section<'a>, key: &str, example: &str) -> Vec<Value<'a>> {
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

fn leads(section: &Section<'_>, protocol: Protocol, pools: &[&str]) -> Option<Leads> {
    let mut written =
        OUTCOMES.iter().filter_map(|key| section.value(key).map(|value| (*key, value)));
    let Some((key, value)) = written.next() else {
        led_nowhere(section, protocol);
        return None;
    };
    let is_answer = |key| matches!(key, "redirect" | "respond");
    // That an answer is not for this protocol is said already.
    if let Some((_, beside)) =
        written.find(|(other, _)| protocol == Protocol::Http || !is_answer(other))
    {
        let message = format!("stands beside {key}: a route leads one way");
        beside.refuse(&message, "remove one of them");
        return None;
    }
    match key {
        "pool" => pool_index(&value, pools).map(Leads::Pool),
        "split" => split(&value, pools).map(Leads::Split),
        _ if protocol != Protocol::Http => None,
        "redirect" => answers::redirect(&value).map(Leads::Redirect),
        _ => answers::respond(&value).map(Leads::Respond),
    }
}

fn led_nowhere(section: &Section<'_>, protocol: Protocol) {
    let message = format!("{} leads nowhere", section.title);
    let more = match protocol {
        Protocol::Http => ", redirect = \"https\", or respond = { status = 503 }",
        Protocol::Tcp | Protocol::Udp => "",
    };
    let way_out =
        format!("write pool = \"NAME\", or split = [{{ pool = \"NAME\", weight = 9 }}, …]{more}");
    section.report.absence(section.place, message, way_out);
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
