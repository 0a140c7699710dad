//! The open-file limit: raised as far as it goes, and what follows from it for sessions.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::admission::{Cost, Gate};
use crate::config::{Config, Protocol};

/// Descriptors kept back for everything that is not a session.
const KEPT_BACK: u64 = 128;

/// Descriptors kept back for each worker: listening sockets, pipes, its epoll sets.
const KEPT_BACK_A_WORKER: u64 = 16;

/// What a session of a listener costs.
pub(super) fn cost(protocol: Protocol) -> Cost {
    match protocol {
        Protocol::Tcp | Protocol::Http => Cost::Pair,
        Protocol::Udp => Cost::Flow,
    }
}

/// The cap over all listeners that a configuration asks for, or that follows from the limits.
pub(super) fn gate(config: &Config, open_files: u64, workers: usize) -> Gate {
    match config.process.max_sessions {
        0 => Gate::of_descriptors(descriptors_for(open_files, workers)),
        cap => Gate::of_sessions(u64::from(cap)),
    }
}

/// Descriptors with this number and above are not for pipes: half of what sessions leave.
pub(super) fn pipe_ceiling(open_files: u64, workers: usize) -> u64 {
    open_files - kept_back(open_files, workers) / 2
}

fn kept_back(open_files: u64, workers: usize) -> u64 {
    let wanted = KEPT_BACK + KEPT_BACK_A_WORKER * workers as u64;
    wanted.min(open_files / 4)
}

/// Raises the open-file limit to its hard limit and gives what holds now.
pub fn raise_open_files() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: maximum, maximum };
    // Refused only if the hard limit shrank meanwhile; the old one then goes on holding.
    let now = if setrlimit(Resource::Nofile, raised).is_ok() { maximum } else { current };
    now.unwrap_or(u64::MAX)
}

/// The limit that [`raise_open_files`] would raise to, with nothing raised.
pub fn hard_limit_of_open_files() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)
}

/// The descriptors that sessions may take of `open_files`, with so many workers; at least those of
/// one.
pub fn descriptors_for(open_files: u64, workers: usize) -> u64 {
    (open_files - kept_back(open_files, workers)).max(Cost::Pair.descriptors())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_descriptors_are_kept_back_but_never_more_than_a_quarter() {
        assert_eq!(descriptors_for(20_000, 2), 20_000 - 160);
        assert_eq!(descriptors_for(100, 2), 75);
        assert_eq!(descriptors_for(1, 2), 2);
    }
}
