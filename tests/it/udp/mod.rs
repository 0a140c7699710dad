//! UDP listeners: datagrams, flows, caps, failure, stopping and floods.

mod balance;
mod basics;
mod caps;
mod failure;
mod floods;
mod flows;
mod interfaces;
mod probes;
mod routes;
mod stop;

use std::slice::from_ref;

use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::unprobed;
use crate::harness::udp::{Server, entries};

/// One udp listener `l` on one pool `p` without probes, with more keys for each.
fn datagrams(servers: &[Server], listener: &str, pool: &str) -> String {
    unprobed(&entries(servers), &format!("protocol = \"udp\"\n{listener}"), pool)
}

/// The balancer before one server.
#[track_caller]
fn before(server: &Server, listener: &str) -> Evenkeel {
    Evenkeel::start(&datagrams(from_ref(server), listener, ""))
}

/// Servers `s0`, `s1` and so on, which answer with their name.
fn named(count: usize) -> Vec<Server> {
    (0..count).map(|i| Server::named(&format!("s{i}"))).collect()
}

/// The name before the colon of an answer.
fn name_in(answer: &str) -> &str {
    answer.split(':').next().unwrap()
}
