//! What a monitor knows of a backend, as the process after an upgrade is told it.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What is known of one backend. A process that reads it may be of another version: words stand for
/// states, and a word it does not know means that nothing is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Known {
    /// Its name.
    pub name: String,
    /// Its address as the file says it.
    pub address: String,
    /// Where that is, if anybody knows.
    pub resolved: Option<SocketAddr>,
    /// What probes say of it.
    pub health: String,
    /// Results in a row that speak against that.
    pub streak: u32,
    /// What the operator wants of it.
    pub state: String,
    /// What the operator or the file gave it.
    pub weight: u16,
    /// What the file wants of it.
    pub file_state: String,
    /// What the file gave it.
    pub file_weight: u16,
    /// What is left of an ejection that is in force, and how long it was to last.
    pub ejection: Option<(Duration, Duration)>,
}

impl Known {
    /// True if that is about this backend, and says how it is.
    pub(super) fn tells_of(&self, name: &str, address: &str) -> bool {
        self.name == name && self.address == address
    }
}
