//! Where a backend stands: what probes say of it, whether it is ejected, what the operator wants.

use crate::config::AdminState;

/// What probes say of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Health {
    /// Not probed yet; takes nothing.
    #[default]
    Unknown,
    /// Answers as it should.
    Up,
    /// Failed `fall` probes in a row.
    Down,
    /// Healthy, in the other role.
    Standby,
    /// Healthy, too far behind its primary.
    Lagging,
    /// Its host name has no address yet.
    Unresolved,
}

impl Health {
    const ALL: [Self; 6] =
        [Self::Unknown, Self::Up, Self::Down, Self::Standby, Self::Lagging, Self::Unresolved];

    /// The health that this word means.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.as_str() == word)
    }

    /// The word in status and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
            Self::Standby => "standby",
            Self::Lagging => "lagging",
            Self::Unresolved => "unresolved",
        }
    }

    /// True if the server works, whether or not it may be used.
    pub fn is_healthy(self) -> bool {
        matches!(self, Self::Up | Self::Standby | Self::Lagging)
    }
}

/// Every word that `backend_state` has a series for.
pub const STATES: [&str; 9] = [
    "up",
    "down",
    "unknown",
    "standby",
    "lagging",
    "unresolved",
    "ejected",
    "drain",
    "maintenance",
];

/// Health, ejection and the operator's wish together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// What probes say.
    pub health: Health,
    /// What the operator wants.
    pub admin: AdminState,
    /// It failed under traffic and is out for a while.
    pub ejected: bool,
}

impl Standing {
    /// The one word of [`STATES`] that holds: the operator's before an ejection before the probes'.
    pub fn state(self) -> &'static str {
        match self.admin {
            AdminState::Maintenance => "maintenance",
            AdminState::Drain => "drain",
            AdminState::Ready if self.ejected => "ejected",
            AdminState::Ready => self.health.as_str(),
        }
    }

    /// May take new sessions.
    pub fn is_usable(self) -> bool {
        self.admin == AdminState::Ready && self.health == Health::Up && !self.ejected
    }

    /// Takes those who have it already, and nobody else.
    pub fn is_draining(self) -> bool {
        self.admin == AdminState::Drain && self.health == Health::Up && !self.ejected
    }

    /// May be tried when nothing is usable and the pool fails open.
    pub fn is_last_resort(self) -> bool {
        let is_tried = match self.health {
            Health::Down | Health::Unknown => true,
            Health::Up => self.ejected,
            Health::Standby | Health::Lagging | Health::Unresolved => false,
        };
        self.admin == AdminState::Ready && is_tried
    }

    pub(super) fn to_bits(self) -> u8 {
        let health = match self.health {
            Health::Unknown => 0,
            Health::Up => 1,
            Health::Down => 2,
            Health::Standby => 3,
            Health::Lagging => 4,
            Health::Unresolved => 5,
        };
        let admin = match self.admin {
            AdminState::Ready => 0,
            AdminState::Drain => 1,
            AdminState::Maintenance => 2,
        };
        health | admin << 4 | u8::from(self.ejected) << 7
    }

    pub(super) fn from_bits(bits: u8) -> Self {
        let health = match bits & 0xf {
            1 => Health::Up,
            2 => Health::Down,
            3 => Health::Standby,
            4 => Health::Lagging,
            5 => Health::Unresolved,
            _ => Health::Unknown,
        };
        let admin = match bits >> 4 & 0x7 {
            1 => AdminState::Drain,
            2 => AdminState::Maintenance,
            _ => AdminState::Ready,
        };
        Self { health, admin, ejected: bits >> 7 == 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_comes_before_an_ejection_and_that_before_health() {
        let healths = [
            Health::Unknown,
            Health::Up,
            Health::Down,
            Health::Standby,
            Health::Lagging,
            Health::Unresolved,
        ];
        let admins = [AdminState::Ready, AdminState::Drain, AdminState::Maintenance];
        for (health, admin, ejected) in healths
            .into_iter()
            .flat_map(|health| admins.map(|admin| (health, admin)))
            .flat_map(|(health, admin)| [false, true].map(|ejected| (health, admin, ejected)))
        {
            let standing = Standing { health, admin, ejected };
            assert_eq!(Standing::from_bits(standing.to_bits()), standing);
            let word = match (admin, ejected) {
                (AdminState::Ready, true) => "ejected",
                (AdminState::Ready, false) => health.as_str(),
                (admin, _) => admin.as_str(),
            };
            assert_eq!(standing.state(), word);
            assert!(STATES.contains(&word));
            assert!(!standing.is_usable() || word == "up");
            assert!(!standing.is_last_resort() || ["down", "unknown", "ejected"].contains(&word));
        }
    }
}
