//! A bound address: accepting, admission, and the way to the proxy behind it.

mod accept;
mod crew;
mod figures;
mod frontend;
mod worker;

pub use crew::{Crew, Door};
pub use figures::Figures;
pub use frontend::{Frontend, Gate, Listener};
use worker::Worker;
pub use worker::{Order, Pace, Plan, run};
