//! Datagrams both ways: flows, their backends, and one worker's share of a socket.
//!
//! [`Forwarder`] is the way in of a datagram on one page, `back` the way of its reply; [`table`] says
//! which flow it belongs to and who makes room, without sockets or clocks; `opening` finds a backend
//! for a new flow, `upkeep` ends those that are done, and `transfer` takes them to another process.

mod back;
mod flow;
mod forwarder;
mod opening;
mod refusal;
mod switch;
pub mod table;
mod transfer;
mod upkeep;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_utils::CachePadded;

use crate::admission::Admission;
use crate::log::AccessLog;
use crate::metric::Gauge;
use crate::net::Reactor;
use crate::pool::Entrance;
use crate::route::{Routes, Way};
use crate::session::{Bell, Clock};
pub use forwarder::Forwarder;
use switch::Stage;
pub use switch::Switch;
pub use transfer::{Carried, Exported, Import, Request};

/// The way of a flow to a pool, in which it stays whatever becomes of its backend.
type Led = Way<Arc<Entrance>>;

/// What is done with the datagrams of one listener.
#[derive(Debug)]
pub struct Proxy {
    /// The listener's name.
    pub listener: Arc<str>,
    /// Where its flows go.
    pub routes: Routes<Arc<Entrance>>,
    /// No datagram either way for so long ends a flow; `None` = never.
    pub idle_timeout: Option<Duration>,
    /// A flow ends once it has had this many replies for each of its datagrams; 0 = no such end.
    pub responses: u32,
    /// Who is let in.
    pub admission: Arc<Admission>,
    /// Where flows leave their line; `None` = nowhere.
    pub access: Option<AccessLog>,
}

/// What a worker lends to its forwarders.
#[derive(Debug, Clone)]
pub struct Tools {
    /// Watches the sockets.
    pub reactor: Rc<Reactor>,
    /// The worker's clock.
    pub clock: Rc<Clock>,
    /// Live sessions of each worker, and which of them is this one's.
    pub loads: (Arc<[CachePadded<Gauge>]>, usize),
    /// Flows at the forwarder's address, over all workers.
    pub flows: Arc<CachePadded<Gauge>>,
    /// How often limits of flows are checked and bytes counted.
    pub sweep: Duration,
    /// Says that there are new orders to end flows.
    pub bell: Bell,
}
