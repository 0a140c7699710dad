//! Decides what the kernel's errors mean: for a listener, and for a backend that was not reached.
//!
//! A client can make `accept` fail at will and a full descriptor table fails it in a tight loop, so
//! neither may end the listener nor spin it. Retrying is the caller's business.

use rustix::io::Errno;

use crate::outcome::ConnectFailure;

/// What to do after a failed `accept`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcceptError {
    /// Nobody is waiting.
    Empty,
    /// That connection is gone; the next may be fine.
    Skip,
    /// Descriptors or memory are short: wait a little.
    Pause,
    /// The listening socket itself is broken.
    Fatal,
}

impl From<Errno> for AcceptError {
    fn from(error: Errno) -> Self {
        match error {
            Errno::AGAIN => Self::Empty,
            error if is_own_shortage(error) => Self::Pause,
            Errno::BADF | Errno::INVAL | Errno::NOTSOCK | Errno::OPNOTSUPP | Errno::FAULT => {
                Self::Fatal
            }
            // accept(2) also reports network errors that are already pending on the new connection.
            _ => Self::Skip,
        }
    }
}

/// True for errors that are about our own resources and say nothing about the peer.
pub fn is_own_shortage(error: Errno) -> bool {
    is_exhaustion(error) || error == Errno::ADDRNOTAVAIL
}

/// True if descriptors or memory have run out: the same call may succeed in a moment.
pub fn is_exhaustion(error: Errno) -> bool {
    matches!(error, Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
}

/// The word for an error of a connect, or of a datagram's sending.
pub fn connect_failure(error: Errno) -> ConnectFailure {
    match error {
        Errno::CONNREFUSED => ConnectFailure::Refused,
        Errno::TIMEDOUT => ConnectFailure::Timeout,
        Errno::CONNRESET | Errno::PIPE => ConnectFailure::Reset,
        Errno::HOSTUNREACH | Errno::NETUNREACH | Errno::HOSTDOWN | Errno::NETDOWN => {
            ConnectFailure::Unreachable
        }
        _ => ConnectFailure::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_descriptor_table_pauses_and_an_aborted_client_does_not() {
        assert_eq!(AcceptError::from(Errno::MFILE), AcceptError::Pause);
        assert_eq!(AcceptError::from(Errno::CONNABORTED), AcceptError::Skip);
        assert_eq!(AcceptError::from(Errno::INTR), AcceptError::Skip);
        assert_eq!(AcceptError::from(Errno::BADF), AcceptError::Fatal);
    }
}
