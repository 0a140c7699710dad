//! What a monitor knows of a backend, as the process after an upgrade is told it.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::addr::BackendAddr;
use crate::config::{AdminState, Member};
use crate::pool::Health;

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
    /// What else was found of it, if it stands in no file.
    #[serde(default)]
    pub found: Option<Found>,
}

/// What is found of a backend besides its name, address and weight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Its cap on sessions.
    pub max_sessions: u32,
    /// It is used only while no other is up.
    pub backup: bool,
}

impl Known {
    /// The backend as it was found; `None` if it stood in a file.
    pub fn as_found(&self) -> Option<Member> {
        let Found { max_sessions, backup } = *self.found.as_ref()?;
        Some(Member {
            name: self.name.as_str().into(),
            address: BackendAddr::from_shown(&self.address)?,
            weight: self.file_weight,
            max_sessions,
            backup,
            state: AdminState::named(&self.file_state).unwrap_or_default(),
        })
    }

    /// True if it has been seen how the backend is: it need not be probed before it is used.
    pub(super) fn is_judged(&self) -> bool {
        let health = Health::named(&self.health);
        health.is_some_and(|health| !matches!(health, Health::Unknown | Health::Unresolved))
    }

    /// True if that is about this backend, and says how it is.
    pub(super) fn tells_of(&self, name: &str, address: &str) -> bool {
        self.name == name && self.address == address
    }
}
