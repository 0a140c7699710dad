//! Why a datagram goes nowhere, and what an error of its sending means.

use rustix::io::Errno;

use crate::admission::Dropped;
use crate::net::connect_failure;
use crate::outcome::{ConnectFailure, Rejection};
use crate::udp::Led;
use crate::udp::opening::Unopened;

/// Why a datagram goes nowhere.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It has been counted.
    Counted,
    /// It leaves no line.
    AtTheDoor(Rejection),
    /// It was let in, and there was no way for it, or no backend could be had on that.
    Inside { way: Option<Led>, why: Rejection, attempts: u32 },
}

impl Refusal {
    pub(super) fn of(unopened: Unopened, way: Led) -> Self {
        let (why, attempts) = match unopened {
            Unopened::Failed { why, attempts } => (why, attempts),
            Unopened::Short { attempts } => (Rejection::Refused, attempts),
            Unopened::NowhereElse => (Rejection::NoBackend, 0),
        };
        Self::Inside { way: Some(way), why, attempts }
    }
}

/// True if the network says that nobody is there.
pub(super) fn is_lost(errno: Errno) -> bool {
    matches!(connect_failure(errno), ConnectFailure::Refused | ConnectFailure::Unreachable)
}

pub(super) fn why_dropped(errno: Errno, full: Dropped) -> Dropped {
    if errno == Errno::MSGSIZE { Dropped::TooBig } else { full }
}
