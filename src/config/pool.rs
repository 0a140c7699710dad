//! Reads `[pool.NAME]`.

use std::net::IpAddr;

use super::balance;
use super::carried::Carried;
use super::credentials;
use super::discover;
use super::failure;
use super::health;
use super::later;
use super::listener::pool_index;
use super::members;
use super::pool_http;
use super::read::Section;
use super::retry;
use super::sticky;
use super::value::Value;
use super::words::quoted;
use super::{AdminState, Pool};

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
    "discover",
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
    let unset = Pool::unset(name, members::read(&section, max_sessions));
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
        discover: discover::read(&section, max_sessions),
        ..unset
    }
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
