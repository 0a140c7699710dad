//! Sockets: binding, readiness, and what the kernel's errors mean.

mod bind;
mod connect;
mod datagram;
mod datagram_bind;
mod drops;
mod errors;
mod exchange;
mod lookup;
mod reactor;
mod resolver;
mod socket;
mod ticker;

pub use bind::{BindError, bind_beside, bind_listener, is_taken, set_keepalive};
pub use connect::{connect, connect_datagram};
pub use datagram::{Arrivals, Destination, Intake, Outlet, Run, Sent, merge_arrivals, open_flow};
pub use datagram_bind::bind_datagrams;
pub use drops::{KernelDrops, inode};
pub use errors::{AcceptError, connect_failure, is_exhaustion, is_own_shortage};
pub use exchange::exchange;
pub use lookup::{Lookup, Resolved};
pub use reactor::{Queue, Reactor};
pub use resolver::{Resolver, Service, Services};
pub use socket::{Socket, reset_on_close};
pub use ticker::Ticker;
