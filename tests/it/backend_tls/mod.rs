//! TLS to backends: whom it is spoken to, who is believed, and what a backend without it costs.

mod attempts;
mod backend;
mod first_bytes;
mod identity;
mod probes;
mod resumption;
mod starttls;
mod verification;

use crate::harness::authority;
use crate::harness::client::try_hold;
use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::unprobed;
use crate::harness::wait::{PATIENCE, eventually};
use backend::Backend;

/// A pool `p` of these backends without probes and ejections, with these lines of `[pool.p.tls]`.
fn file(backends: &[&Backend], tls: &str, pool: &str) -> String {
    let list: Vec<_> = backends.iter().map(|backend| backend.entry()).collect();
    // Long enough for a good handshake on a machine that stalls.
    let patient = if pool.contains("connect_timeout") { "" } else { "connect_timeout = \"5s\"" };
    let keys = format!("passive = {{ failures = 0 }}\n{patient}\n{pool}");
    let log = "[log]\nlevel = \"debug\"\nformat = \"json\"\naccess = \"{dir}/access.log\"\n";
    let file = unprobed(&format!("[{}]", list.join(", ")), "", &keys);
    format!("{log}{file}[pool.p.tls]\n{tls}\n")
}

/// What the log says of failed connects to a backend so far.
fn complaints(proxy: &Evenkeel, message: &str) -> Vec<String> {
    let events = proxy.events().into_iter();
    let said = events.filter(|event| event["message"] == message);
    said.map(|event| event["error"].as_str().unwrap_or_default().to_owned()).collect()
}

/// A client is refused, and the log says why.
#[track_caller]
fn refused(proxy: &Evenkeel, why: &str) {
    assert!(try_hold(proxy.at()).is_err(), "it was served: {why}");
    eventually(why, PATIENCE, || complaints(proxy, "connect failed").iter().any(|it| it == why));
}

fn failures(proxy: &Evenkeel, reason: &str) -> u64 {
    proxy.metrics().count("connect_failures_total", &[("reason", reason)])
}
