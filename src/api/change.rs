//! What is said of reloads and upgrades.

use serde::{Deserialize, Serialize};

use crate::api::ConfigStatus;

/// Answer to `POST /api/v1/plan` and part of the answer to `POST /api/v1/reload`: what a new file
/// changes. Everything is called by its name, a backend as `pool/backend`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// Of the listeners; `changed` also if only addresses come or go.
    pub listeners: Sorted,
    /// Of the pools.
    pub pools: Sorted,
    /// Of the backends that the files name; those that are discovered are not among them.
    pub backends: Sorted,
    /// Changed keys of `[process]`, `[log]` and `[admin]` that take effect with the reload, with
    /// their values, as `log.level info -> debug`.
    #[serde(default)]
    pub settings: Vec<String>,
    /// Changed keys that take effect with a restart only, as `process.threads`.
    pub restart: Vec<String>,
}

/// What becomes of things of one kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sorted {
    /// In both files, and the same.
    pub kept: Vec<String>,
    /// In the new file only.
    pub added: Vec<String>,
    /// In both files, and different.
    pub changed: Vec<Altered>,
    /// In the old file only, with the sessions they have now.
    pub removed: Vec<Removed>,
}

/// Something that is in both files and differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Altered {
    /// Its name.
    pub name: String,
    /// Each difference in words, as `weight 1 -> 3` or `opens 0.0.0.0:5433`.
    pub what: Vec<String>,
}

/// Something that goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Removed {
    /// Its name.
    pub name: String,
    /// That it has now.
    pub sessions: u64,
    /// What becomes of them, in words.
    pub then: String,
}

/// Answer to `POST /api/v1/reload`: the new file has taken effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// What is in force now.
    pub config: ConfigStatus,
    /// What has changed.
    pub changes: Changes,
    /// What is questionable about the file.
    pub warnings: Vec<String>,
    /// Milliseconds until it goes back by itself unless it is confirmed; null = it stays.
    pub confirm_within_ms: Option<u64>,
}

/// Answer to `POST /api/v1/upgrade`: another process has taken over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgraded {
    /// The new process.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// Sessions that the old process still has.
    pub sessions: u64,
}
