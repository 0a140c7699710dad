//! Why a datagram goes nowhere, and what an error of its sending means.

use rustix::io::Errno;

use crate::admission::Dropped;
use crate::net::connect_failure;
use crate::outcome::{ConnectFailure, Rejection};
use crate::udp::opening::Unopened;

/// Why a datagram goes nowhere.
#[derive(Debug, Clone, Copy)]
pub(super) enum Refusal {
    /// It has been counted.
    Counted,
    /// It leaves no line.
    AtTheDoor(Rejection),
    /// It was let in, and no backend could be had.
    Inside { why: Rejection, attempts: u32 },
}

impl Refusal {
    pub(super) fn of(unopened: Unopened) -> Self {
        match unopened {
            Unopened::Failed { why, attempts } => Self::Inside { why, attempts },
            Unopened::Short { attempts } => Self::Inside { why: Rejection::Refused, attempts },
            Unopened::NowhereElse => Self::Inside { why: Rejection::NoBackend, attempts: 0 },
        }
    }
}

/// True if the network says that nobody is there.
pub(super) fn is_lost(errno: Errno) -> bool {
    matches!(connect_failure(errno), ConnectFailure::Refused | ConnectFailure::Unreachable)
}

pub(super) fn why_dropped(errno: Errno, full: Dropped) -> Dropped {
    if errno == Errno::MSGSIZE { Dropped::TooBig } else { full }
}
