//! One flow on its backend: its socket, its place, what has moved, and the line it leaves.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use crate::addr::ClientAddr;
use crate::admission::Place;
use crate::config::AdminState;
use crate::net::{Socket, merge_arrivals};
use crate::outcome::Outcome;
use crate::pool::{Health, Lease};
use crate::record::{Record, WayIn};
use crate::session::Direction;
use crate::udp::{Led, Proxy};

/// A flow's side towards its backend.
#[derive(Debug)]
pub(super) struct Course {
    pub(super) socket: Socket,
    pub(super) lease: Lease,
    /// Taken over by the flow that goes on where this one moved from.
    pub(super) place: Option<Place>,
    /// How it was led here.
    pub(super) way: Led,
    /// The name of the pool in which the backend was picked.
    pub(super) pool: Arc<str>,
    /// Backends that were tried, this one included.
    pub(super) attempts: u32,
    /// The network has said that nobody is there.
    pub(super) is_refused: bool,
    began: Instant,
    first_reply: Option<Duration>,
    bytes: [u64; 2],
    folded: [u64; 2],
    is_merging: bool,
}

/// What a flow has been through on its backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Voyage {
    attempts: u32,
    is_refused: bool,
    age: Duration,
    first_reply: Option<Duration>,
    bytes: [u64; 2],
    is_merging: bool,
}

impl Course {
    pub(super) fn new(
        socket: Socket,
        lease: Lease,
        way: Led,
        pool: Arc<str>,
        attempts: u32,
    ) -> Self {
        Self {
            socket,
            lease,
            place: None,
            way,
            pool,
            attempts,
            is_refused: false,
            began: Instant::now(),
            first_reply: None,
            bytes: [0; 2],
            folded: [0; 2],
            is_merging: false,
        }
    }

    /// What it has been through until now, without its socket.
    pub(super) fn past(&self) -> Voyage {
        Voyage {
            attempts: self.attempts,
            is_refused: self.is_refused,
            age: self.began.elapsed(),
            first_reply: self.first_reply,
            bytes: self.bytes,
            is_merging: self.is_merging,
        }
    }

    /// Goes on from what it was elsewhere; what moved there has been counted.
    pub(super) fn resume(&mut self, past: Voyage) {
        self.attempts = past.attempts;
        self.is_refused = past.is_refused;
        // A machine that was started after the flow began cannot be.
        self.began = self.began.checked_sub(past.age).unwrap_or(self.began);
        self.first_reply = past.first_reply;
        (self.bytes, self.folded) = (past.bytes, past.bytes);
        self.is_merging = past.is_merging;
    }

    /// Counts payload that was handed on; `now` is the pool's clock.
    pub(super) fn moved(&mut self, direction: Direction, bytes: u64, now: u64) {
        if direction == Direction::Out && self.first_reply.is_none() {
            let took = self.began.elapsed();
            self.first_reply = Some(took);
            self.lease.backend().answered(took, now);
        }
        if let Some(total) = self.bytes.get_mut(direction as usize) {
            *total += bytes;
        }
    }

    /// Has the kernel merge the backend's bursts from now on.
    pub(super) fn merge_arrivals(&mut self) {
        if !self.is_merging {
            self.is_merging = true;
            merge_arrivals(&self.socket);
        }
    }

    /// True if the backend has answered in bursts.
    pub(super) fn is_merging(&self) -> bool {
        self.is_merging
    }

    /// Adds what has moved since the last time to the counters others read.
    pub(super) fn fold(&mut self) {
        let tally = self.lease.tally();
        let totals = [&tally.bytes_in, &tally.bytes_out];
        for ((bytes, folded), total) in self.bytes.iter().zip(&mut self.folded).zip(totals) {
            if bytes > folded {
                total.add(bytes - *folded);
                *folded = *bytes;
            }
        }
    }

    /// True if the next datagram should go elsewhere.
    pub(super) fn must_move(&self) -> bool {
        self.is_refused || self.is_stranded()
    }

    /// True if it was picked before its backend's latest order to end sessions.
    pub(super) fn is_called(&self) -> bool {
        self.lease.tally().recall.has_called(self.lease.epoch())
    }

    /// True if its backend may have no flows any more.
    pub(super) fn is_stranded(&self) -> bool {
        let backend = self.lease.backend();
        let standing = backend.standing();
        let lost = matches!(standing.health, Health::Down | Health::Standby);
        lost || backend.is_removed() || standing.admin == AdminState::Maintenance
    }

    /// Counts the end, and leaves the access line.
    pub(super) fn end(mut self, proxy: &Proxy, key: Ends, outcome: Outcome) {
        self.fold();
        let took = self.began.elapsed();
        self.lease.tally().end(outcome, took);
        let Some(access) = &proxy.access else { return };
        access.write(&Record {
            pool: Some(self.pool),
            backend: Some(Arc::clone(self.lease.backend().name())),
            attempts: self.attempts,
            duration: took,
            first_byte: self.first_reply,
            bytes_in: self.bytes[Direction::In as usize],
            bytes_out: self.bytes[Direction::Out as usize],
            outcome: outcome.as_str(),
            ..begun(proxy, key, Some(&self.way))
        });
    }
}

/// The two ends of a flow as its line names them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ends {
    pub(super) client: ClientAddr,
    pub(super) local: SocketAddr,
}

/// The line of a datagram that began no flow.
pub(super) fn refused(
    proxy: &Proxy,
    ends: Ends,
    way: Option<&Led>,
    why: &'static str,
    attempts: u32,
) {
    if let Some(access) = &proxy.access {
        access.write(&Record { outcome: why, attempts, ..begun(proxy, ends, way) });
    }
}

fn begun(proxy: &Proxy, Ends { client, local }: Ends, way: Option<&Led>) -> Record {
    let way = way.map(|way| (&way.route.name, way.to.pool().name()));
    let way_in = WayIn { listener: &proxy.listener, protocol: "udp", client, local, way };
    Record::begun(way_in, SystemTime::now())
}
