//! Reads `[pool.NAME]` with its backends.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use crate::addr::BackendAddr;

use super::address;
use super::balance;
use super::carried::Carried;
use super::credentials;
use super::defaults;
use super::failure;
use super::health;
use super::later;
use super::listener::pool_index;
use super::pending;
use super::pool_http;
use super::read::{Section, is_name};
use super::retry;
use super::sticky;
use super::value::Value;
use super::words::quoted;
use super::{AdminState, HEAVIEST, Member, Pool};

pub(super) const KEYS: &[&str] = &[
    "backends",
    "balance",
    "connect_timeout",
    "keepalive",
    "fallback",
    "fail_open",
    "max_sessions",
    "source",
    "slow_start",
    "send_proxy_protocol",
    "max_failover",
    "retry",
    "health",
    "passive",
    "queue",
    "close",
    "sticky",
    "tls",
    "response_timeout",
    "http",
];
pub(super) const BACKEND_KEYS: &[&str] =
    &["address", "name", "weight", "max_sessions", "backup", "state"];

pub(super) const STATES: &[(&str, AdminState)] = &[
    ("ready", AdminState::Ready),
    ("drain", AdminState::Drain),
    ("maintenance", AdminState::Maintenance),
];

impl AdminState {
    /// The word of the file.
    pub fn as_str(self) -> &'static str {
        STATES.iter().find(|(_, state)| *state == self).map_or("", |(word, _)| word)
    }

    /// The state that this word of the file means.
    pub fn named(word: &str) -> Option<Self> {
        STATES.iter().find(|(known, _)| *known == word).map(|(_, state)| *state)
    }
}

pub(super) fn read(name: &str, section: Section<'_>, pools: &[&str], carried: Carried) -> Pool {
    let section = section.only(KEYS, later::POOL);
    let max_sessions = section.integer("max_sessions", 0..=u32::MAX, 0);
    let unset = Pool::unset(name, members(&section, max_sessions));
    let tls = credentials::of_pool(&section);
    let sticky = sticky::read(&section);
    let policy = section.value("balance").and_then(|value| balance::read(&value));
    Pool {
        policy: policy.unwrap_or(unset.policy),
        connect_timeout: section.duration("connect_timeout", unset.connect_timeout),
        keepalive: section.switchable("keepalive", unset.keepalive),
        fallback: section.value("fallback").and_then(|value| pool_index(&value, pools)),
        fail_open: section.flag("fail_open", unset.fail_open),
        max_sessions,
        source: section.value("source").map(|value| sources(&value)).unwrap_or_default(),
        retry: retry::read(&section.section("retry")),
        health: health::read(section.section("health"), carried, tls.as_ref()),
        passive: failure::passive(&section.section("passive")),
        queue: failure::queue(&section.section("queue")),
        close: failure::close(&section.section("close")),
        sticky: sticky.sticky,
        cookie: sticky.cookie,
        response_timeout: section.some_duration("response_timeout"),
        http: pool_http::read(&section.section("http")),
        slow_start: section.switchable("slow_start", None).unwrap_or_default(),
        send_proxy_protocol: section
            .value("send_proxy_protocol")
            .and_then(|value| value.choice(failure::PROXY_VERSIONS)),
        tls,
        max_failover: section.some_duration("max_failover"),
        ..unset
    }
}

fn members(section: &Section<'_>, max_sessions: u32) -> Vec<Member> {
    // What `discover` would have brought is not missing: the key itself is refused.
    if section.value("discover").is_some() && section.value("backends").is_none() {
        return Vec::new();
    }
    let example = "[\"10.0.0.11:5432\", \"10.0.0.12:5432\"]";
    let Some(value) = section.required("backends", example) else { return Vec::new() };
    let items = value.list("backend");
    if value.is_list() && items.is_empty() {
        value.refuse("is an empty list", &format!("name at least one, as in {example}"));
    }
    let mut members: Vec<Member> = Vec::new();
    let mut names = HashSet::new();
    for item in items {
        let Some(member) = member(&item, max_sessions) else { continue };
        if let BackendAddr::Host(host, _) = &member.address {
            let what = format!("{}, backend {}", section.title, quoted(&member.name));
            pending::host(section.report, item.node.place, &what, host);
        }
        if !names.insert(Arc::clone(&member.name)) {
            let message = format!("the name {} is taken by another backend", quoted(&member.name));
            item.refuse(&message, "give each its own name: { address = \"…\", name = \"…\" }");
        }
        members.push(member);
    }
    members
}

fn member(item: &Value<'_>, max_sessions: u32) -> Option<Member> {
    if !item.is_table() {
        let text = item.text()?;
        return match address::backend(text) {
            Ok(address) => {
                Some(Member { name: Arc::from(text), max_sessions, ..Member::unset(address) })
            }
            Err(bad) => {
                item.refuse(&format!("address {}", bad.message), &bad.suggestion);
                None
            }
        };
    }
    let section = item.as_section("").only(BACKEND_KEYS, &[]);
    let weight = section.integer("weight", 0..=u32::from(HEAVIEST), u32::from(defaults::WEIGHT));
    let name = section.value("name").and_then(|value| member_name(&value));
    let max_sessions = section.integer("max_sessions", 0..=u32::MAX, max_sessions);
    let backup = section.flag("backup", false);
    let state = section.choice("state", STATES, AdminState::default());
    let value = section.required("address", "\"10.0.0.7:8080\"")?;
    let text = value.text()?;
    match address::backend(text) {
        Ok(address) => Some(Member {
            name: Arc::from(name.unwrap_or(text)),
            address,
            weight: u16::try_from(weight).unwrap_or_default(),
            max_sessions,
            backup,
            state,
        }),
        Err(bad) => {
            value.refuse(&bad.message, &bad.suggestion);
            None
        }
    }
}

/// A name by the rules, or the address that a backend without a name is called by.
fn member_name<'a>(value: &Value<'a>) -> Option<&'a str> {
    let name = value.filled()?;
    if is_name(name) || address::backend(name).is_ok() {
        return Some(name);
    }
    value.refuse(&format!("{} is not valid", quoted(name)), "use letters, digits, -, _ and .");
    None
}

fn sources(value: &Value<'_>) -> Vec<IpAddr> {
    let address = |item: &Value<'_>| {
        let text = item.text()?;
        let parsed = text.parse::<IpAddr>().map(|address| address.to_canonical());
        if parsed.is_err() {
            let message = format!("{} is not an IP address", quoted(text));
            item.refuse(&message, "write a local address without a port, as in \"10.0.0.1\"");
        }
        parsed.ok()
    };
    value.one_or_more().iter().filter_map(address).collect()
}
