//! Finding a backend for a flow: pick, open a socket, and try elsewhere while the rules allow it.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;

use crate::addr::ClientAddr;
use crate::net::{Queue, Socket, connect_failure, is_own_shortage, open_flow};
use crate::outcome::Rejection;
use crate::pool::{Ask, Backend, Lease, Picked};
use crate::udp::flow::Course;
use crate::udp::{Led, Tools};

/// Why no flow could be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unopened {
    /// There is only the backend that it is to leave.
    NowhereElse,
    /// We are out of descriptors, ports or memory.
    Short {
        /// Backends that were tried.
        attempts: u32,
    },
    /// Nobody could be picked, or reached.
    Failed {
        /// The word for it.
        why: Rejection,
        /// Backends that were tried.
        attempts: u32,
    },
}

/// What a flow is opened with.
pub(super) struct Opening<'a> {
    pub(super) way: &'a Led,
    pub(super) tools: &'a Tools,
    pub(super) queue: &'a Rc<Queue>,
    pub(super) client: ClientAddr,
    /// A backend that the flow comes from: others are preferred.
    pub(super) left: Option<&'a Arc<Backend>>,
}

impl Opening<'_> {
    /// Picks a backend and opens a socket towards it, which reports under `tag`.
    ///
    /// Nothing goes over the network here: only a way that the host itself knows to be closed, and
    /// a shortage of our own, make an attempt fail.
    pub(super) fn run(&self, tag: usize) -> Result<Course, Unopened> {
        let mut tried: Vec<Arc<Backend>> = self.left.cloned().into_iter().collect();
        let entrance = &self.way.to;
        let most = entrance.pool().connecting.retry.attempts;
        let now = self.tools.clock.now();
        let mut attempts = 0;
        loop {
            let ask = Ask { tried: &tried, ..Ask::of(self.client, fastrand::u64(..), now) };
            let picked = entrance
                .pick(&ask)
                .map_err(|none| Unopened::Failed { why: none.rejection(attempts), attempts })?;
            if self.left.is_some_and(|left| Arc::ptr_eq(left, picked.lease.backend())) {
                return Err(Unopened::NowhereElse);
            }
            if attempts > 0 {
                picked.pool.retries.increment();
            }
            attempts += 1;
            match self.open(&picked, tag) {
                Ok(socket) => {
                    let Picked { lease, pool, .. } = picked;
                    lease.tally().connected.increment();
                    let (way, pool) = (self.way.clone(), Arc::clone(pool.name()));
                    return Ok(Course::new(socket, lease, way, pool, attempts));
                }
                Err(errno) => {
                    failed(&picked.lease, errno, picked.pool.connecting.timeout, now);
                    if is_own_shortage(errno) {
                        return Err(Unopened::Short { attempts });
                    }
                    if attempts >= most {
                        return Err(Unopened::Failed { why: Rejection::Refused, attempts });
                    }
                    tried.push(Arc::clone(picked.lease.backend()));
                }
            }
        }
    }

    fn open(&self, picked: &Picked<'_>, tag: usize) -> Result<Socket, Errno> {
        let to = picked.lease.address();
        let source: Option<IpAddr> = picked.pool.connecting.source(to);
        open_flow(&self.tools.reactor, to, source, self.queue, tag)
    }
}

/// Counts against the backend what the network said of it.
pub(super) fn failed(lease: &Lease, errno: Errno, slowest: Duration, now: u64) {
    let cost = (!is_own_shortage(errno)).then_some(slowest);
    lease.backend().connect_failed(connect_failure(errno), cost, now);
    tracing::debug!(backend = &**lease.backend().name(), address = %lease.address(), %errno,
        "a flow's backend cannot be reached");
}
