//! The tables of a pool about failing, waiting and staying, as the file writes them.

use schemars::JsonSchema;
use serde::Serialize;

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

/// A client goes to the backend that it had last.
#[derive(Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Sticky {
    /// True knows clients by their address; false is off.
    client_ip: bool,
    /// How long after the start of its latest session a client is remembered.
    #[schemars(default = "schema::sticky_ttl")]
    ttl: Time,
    /// Clients that are remembered at most.
    #[schemars(default = "schema::sticky_entries", range(min = 1))]
    max_entries: u32,
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
    pub(super) fn of(sticky: config::Sticky) -> Self {
        Self { client_ip: true, ttl: Time(sticky.ttl), max_entries: sticky.max_entries }
    }
}

default_as_read!(Passive, Queue, Close);
