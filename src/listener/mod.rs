//! A bound address: accepting, admission, what must be read first, and the way to the proxy behind it.

mod accept;
mod behind;
mod crew;
mod first_flight;
mod foretold;
mod frontend;
mod handshake;
mod introduction;
mod post;
mod running;
mod terminate;
mod worker;

pub use crew::{Crew, Door};
pub use foretold::{Asked, Fate, Foretold};
pub use frontend::{Frontend, Listener, Proxy};
pub use handshake::Handshake;
pub use post::{Gate, Post};
use worker::Worker;
pub use worker::{Order, Pace, Plan, run};
