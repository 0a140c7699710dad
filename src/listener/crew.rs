//! The workers as they see each other: who has how many sessions, and how to hand one over.
//!
//! The kernel spreads connections over the workers' sockets by a hash. With few and long sessions
//! that can leave one worker with all of them; so whoever has clearly more than the least busy
//! worker hands what it has just accepted to that one.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_utils::CachePadded;
use tokio::sync::mpsc;

use crate::listener::frontend::Admitted;
use crate::metric::Gauge;
use crate::session::Bell;

/// Connections on their way to one worker. A worker that is behind by so many gets no more.
const WAITING: usize = 64;

/// A connection that was accepted and let in.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) fd: OwnedFd,
    pub(super) from: SocketAddr,
    pub(super) since: Instant,
    pub(super) admitted: Admitted,
}

/// All workers of the process.
#[derive(Debug)]
pub struct Crew {
    loads: Arc<[CachePadded<Gauge>]>,
    doors: Box<[mpsc::Sender<Accepted>]>,
    bell: Bell,
}

/// Where a worker takes what others hand to it.
#[derive(Debug)]
pub struct Door(pub(super) mpsc::Receiver<Accepted>);

impl Crew {
    /// A crew of `workers`, with the door of each.
    pub fn new(workers: usize) -> (Arc<Self>, Vec<Door>) {
        let loads = (0..workers).map(|_| CachePadded::default()).collect();
        let (doors, inside): (Vec<_>, Vec<_>) =
            (0..workers).map(|_| mpsc::channel(WAITING)).unzip();
        let crew = Self { loads, doors: doors.into(), bell: Bell::default() };
        (Arc::new(crew), inside.into_iter().map(Door).collect())
    }

    /// Live sessions of each worker.
    pub fn loads(&self) -> &Arc<[CachePadded<Gauge>]> {
        &self.loads
    }

    /// Has all workers look at the orders to end sessions.
    pub fn bell(&self) -> &Bell {
        &self.bell
    }

    pub(super) fn load(&self, worker: usize) -> Option<&Gauge> {
        self.loads.get(worker).map(|load| &**load)
    }

    /// Hands the connection to the least busy worker if `worker` has clearly more; else gives it
    /// back.
    pub(super) fn hand_over(&self, worker: usize, accepted: Accepted) -> Option<Accepted> {
        let own = self.load(worker).map_or(0, Gauge::get);
        let loads = self.loads.iter().map(|load| load.get()).enumerate();
        let Some((least, its)) = loads.min_by_key(|(_, load)| *load) else {
            return Some(accepted);
        };
        if least == worker || !is_clearly_more(own, its) {
            return Some(accepted);
        }
        let Some(door) = self.doors.get(least) else { return Some(accepted) };
        door.try_send(accepted).err().map(|full| match full {
            mpsc::error::TrySendError::Full(accepted)
            | mpsc::error::TrySendError::Closed(accepted) => accepted,
        })
    }
}

/// A hand-over costs a wake-up across threads, so chance differences of many sessions are let be.
fn is_clearly_more(own: u64, least: u64) -> bool {
    if least == 0 { own > 0 } else { own > least + 1 + least / 4 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_worker_gets_the_second_session_and_small_differences_are_let_be() {
        assert!(!is_clearly_more(0, 0));
        assert!(is_clearly_more(1, 0));
        assert!(!is_clearly_more(3, 2));
        assert!(is_clearly_more(4, 2));
        assert!(!is_clearly_more(120, 100));
    }
}
