//! The tables of a pool about failing, waiting and staying, as the file writes them.

use schemars::JsonSchema;
use serde::Serialize;

use super::fill::shown;
use super::schema::{self, Time};
use crate::config::{self, failure, units};

/// Ejecting backends that fail under real traffic.
#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(default)]
pub(super) struct Passive {
    /// Failures within `window` that eject; 0 = never.
    #[schemars(range(max = 1000))]
    failures: u32,
    /// How far back failures count.
    window: Time,
    /// How long the first ejection lasts; each repeat lasts twice as long.
    eject_for: Time,
    /// The longest ejection, and how long without one until doubling starts anew; not below
    /// `eject_for`.
    eject_max: Time,
    /// Never more of the pool's backends than this share, rounded down.
    #[schemars(schema_with = "schema::percent")]
    max_ejected: String,
}

/// Sessions that wait while every backend is at its cap.
#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(default)]
pub(super) struct Queue {
    /// How many may wait; 0 = none.
    size: u32,
    /// How long each may wait.
    timeout: Time,
}

/// For each cause: "keep", "now", or a time over which the sessions are ended.
#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(default)]
pub(super) struct Close {
    /// Probes found the backend down.
    #[schemars(schema_with = "schema::closing")]
    down: String,
    /// It lost the role it is probed for.
    #[schemars(schema_with = "schema::closing")]
    role: String,
    /// An operator drains it.
    #[schemars(schema_with = "schema::closing")]
    drain: String,
    /// It is gone from the file.
    #[schemars(schema_with = "schema::closing")]
    removed: String,
    /// An operator took it out.
    #[schemars(schema_with = "schema::closing")]
    maintenance: String,
}

/// A client goes to the backend that it had last, by its address or by a cookie.
#[derive(Default, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Sticky {
    /// True knows clients by their address; false is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_ip: Option<bool>,
    /// client_ip: clients that are remembered at most, by default 100000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    max_entries: Option<u32>,
    /// http: the name of the cookie that a client is known by.
    #[serde(skip_serializing_if = "Option::is_none")]
    cookie: Option<String>,
    /// cookie: it comes back over https only; by default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    secure: Option<bool>,
    /// cookie: scripts do not see it; by default true.
    #[serde(skip_serializing_if = "Option::is_none")]
    http_only: Option<bool>,
    /// cookie: whether it comes along from pages of other sites; left to the browser by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default, schema_with = "schema::same_site")]
    same_site: Option<&'static str>,
    /// client_ip: how long after the start of its latest session a client is remembered, by default
    /// "30m". cookie: how long it lasts, by default as long as the browser runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<Time>,
    /// cookie: file whose first line keys its values, so that nobody can make one up.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret_file: Option<String>,
}

impl Passive {
    pub(super) fn of(passive: &config::Passive) -> Self {
        Self {
            failures: passive.failures,
            window: Time(passive.window),
            eject_for: Time(passive.eject_for),
            eject_max: Time(passive.eject_max),
            max_ejected: units::write_percent(passive.max_ejected),
        }
    }
}

impl Queue {
    pub(super) fn of(queue: &config::Queue) -> Self {
        Self { size: queue.size, timeout: Time(queue.timeout) }
    }
}

impl Close {
    pub(super) fn of(close: &config::Close) -> Self {
        Self {
            down: failure::write_closing(close.down),
            role: failure::write_closing(close.role),
            drain: failure::write_closing(close.drain),
            removed: failure::write_closing(close.removed),
            maintenance: failure::write_closing(close.maintenance),
        }
    }
}

impl Sticky {
    pub(super) fn of(pool: &config::Pool) -> Option<Self> {
        let by_address = |sticky: config::Sticky| Self {
            client_ip: Some(true),
            ttl: Some(Time(sticky.ttl)),
            max_entries: Some(sticky.max_entries),
            ..Self::default()
        };
        let by_cookie = |cookie: &config::StickyCookie| Self {
            cookie: Some(cookie.name.to_string()),
            secure: Some(cookie.secure),
            http_only: Some(cookie.http_only),
            same_site: cookie.same_site.map(config::SameSite::as_str),
            ttl: cookie.ttl.map(Time),
            secret_file: cookie.secret_file.as_deref().map(shown),
            ..Self::default()
        };
        pool.sticky.map(by_address).or_else(|| pool.cookie.as_ref().map(by_cookie))
    }
}

default_as_read!(Passive, Queue, Close);
