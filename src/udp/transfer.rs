//! Flows that go over to another process: out of this one, into that one, none of them ended.
//!
//! The sockets go along, so that backends see the same source port and replies on their way are still
//! received, by whoever reads next. While the address is paused nobody does.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::addr::ClientAddr;
use crate::metric::Gauge;
use crate::outcome::Outcome;
use crate::udp::Led;
use crate::udp::flow::{Course, Voyage};
use crate::udp::forwarder::Forwarder;
use crate::udp::table::{Key, Past};

/// A flow as another process has to know it, without its socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    client: SocketAddr,
    /// The address it sent to, where the socket has many.
    local: Option<IpAddr>,
    /// Its route, and the pool that led to.
    route: String,
    led: String,
    /// Where the backend was picked.
    pool: String,
    backend: String,
    address: SocketAddr,
    voyage: Voyage,
    past: Past,
}

/// Flows of one socket from some place on.
#[derive(Debug, Default)]
pub struct Exported {
    /// Their places, what they are, and their sockets.
    pub flows: Vec<(usize, Carried, OwnedFd)>,
    /// Flows whose sockets could not be had twice: out of descriptors.
    pub short: usize,
    /// Where to go on; `None` = that was all.
    pub next: Option<usize>,
}

/// Flows for a forwarder.
pub type Import = Vec<(usize, Carried, OwnedFd)>;

/// What a forwarder is asked.
#[derive(Debug)]
pub enum Request {
    /// To show flows from this place on, at most so many. For as long as its address is paused they
    /// stay as they are.
    Export(usize, usize, oneshot::Sender<Exported>),
    /// To take flows; it tells the places of those it cannot take.
    Import(Import, oneshot::Sender<Vec<usize>>),
    /// To end flows, by their places: the other process could not take them.
    End(Vec<usize>, oneshot::Sender<()>),
}

impl Forwarder {
    /// Does what it was asked.
    pub(super) fn answer(&mut self) {
        for request in self.switch.requests() {
            // Whoever asked may be gone: then nothing has to be told.
            match request {
                Request::Export(from, most, reply) => drop(reply.send(self.export(from, most))),
                Request::Import(flows, reply) => drop(reply.send(self.import(flows))),
                Request::End(slots, reply) => {
                    slots.into_iter().for_each(|slot| self.end(slot, Outcome::Removed));
                    reply.send(()).ok();
                }
            }
        }
    }

    fn export(&mut self, from: usize, most: usize) -> Exported {
        let now = self.now;
        let mut exported = Exported::default();
        for (slot, flow) in self.table.iter_mut().filter(|(slot, _)| *slot >= from) {
            if exported.flows.len() + exported.short >= most {
                exported.next = Some(slot);
                break;
            }
            flow.load.fold();
            let Ok(fd) = flow.load.socket.as_fd().try_clone_to_owned() else {
                exported.short += 1;
                continue;
            };
            flow.load.socket.share();
            exported.flows.push((slot, carried(flow.key, &flow.load, flow.past(now)), fd));
        }
        exported
    }

    fn import(&mut self, flows: Import) -> Vec<usize> {
        let mut refused = Vec::new();
        for (place, carried, fd) in flows {
            if self.resume(carried, fd).is_none() {
                refused.push(place);
            }
        }
        refused
    }

    /// Goes on with a flow where another process left it; `None` if its backend is gone, or we are
    /// out of memory. No cap keeps it out: it was let in before.
    fn resume(&mut self, carried: Carried, fd: OwnedFd) -> Option<()> {
        let way = self.way_of(&carried)?;
        let (pool, lease) = way.to.readmit(&carried.pool, &carried.backend, carried.address)?;
        let slot = self.table.next_slot();
        let socket = self.tools.reactor.watch_queued(fd, &self.queue, slot).ok()?;
        // The process before may not have ended yet.
        socket.share();
        let mut course = Course::new(socket, lease, way, pool, 1);
        course.resume(carried.voyage);
        course.place = Some(self.proxy.admission.readmit());
        self.load(Gauge::increment);
        let key = Key { client: carried.client, local: carried.local };
        self.table.resume(self.now, key, course, carried.past);
        Some(())
    }

    /// The way that it went, or the one that it would go now if that leads to its pool.
    fn way_of(&self, carried: &Carried) -> Option<Led> {
        let routes = &self.proxy.routes;
        let named = routes.named(&carried.route, |to| **to.pool().name() == *carried.led);
        let found = || self.find_way(ClientAddr::new(carried.client)).ok();
        named.cloned().or_else(found)
    }

    /// Its flows belong to another process: nothing is ended, and nothing is counted.
    pub(super) fn leave(mut self) {
        let slots: Vec<usize> = self.table.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            self.table.remove(slot);
            self.load(Gauge::decrement);
        }
    }
}

fn carried(key: Key, course: &Course, past: Past) -> Carried {
    Carried {
        client: key.client,
        local: key.local,
        route: course.way.route.name.to_string(),
        led: course.way.to.pool().name().to_string(),
        pool: course.pool.to_string(),
        backend: course.lease.backend().name().to_string(),
        address: course.lease.address(),
        voyage: course.past(),
        past,
    }
}
