//! Names that are looked up: hosts in `backends`, and backends that discovery finds.

mod discovery;
mod files;
mod hosts;
mod load;

use crate::harness::client::who;
use crate::harness::dns::Dns;
use crate::harness::evenkeel::{Evenkeel, by_name};
use crate::harness::servers::Server;
use crate::harness::wait::{PATIENCE, eventually};

/// A pool `p` behind a listener `l`, probed often; names are asked of `dns`.
fn file(dns: &Dns, pool: &str) -> String {
    format!(
        "[process]\n{}\n[listener.l]\nbind = \"127.0.0.1:0\"\npool = \"p\"\n[pool.p]\n{pool}\n\
         [pool.p.health]\ninterval = \"100ms\"\n",
        dns.key()
    )
}

/// The names of the pool's backends that are up, in order.
fn up(proxy: &Evenkeel) -> Vec<String> {
    let status = proxy.status();
    let pool = by_name(&status["pools"], "p");
    let all = pool["backends"].as_array().unwrap();
    let up = all.iter().filter(|backend| backend["health"] == "up");
    let mut names: Vec<_> = up.map(|it| it["name"].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

/// Waits until these servers, by their addresses, are all that is up.
#[track_caller]
fn wait_up(proxy: &Evenkeel, servers: &[&Server]) {
    let mut names: Vec<_> = servers.iter().map(|server| server.address().to_string()).collect();
    names.sort();
    eventually(&format!("{names:?} are up"), PATIENCE, || up(proxy) == names);
}

/// What discovery says of the pool.
fn discovery(proxy: &Evenkeel) -> serde_json::Value {
    let status = proxy.status();
    by_name(&status["pools"], "p")["discover"].clone()
}

/// Lines of the log that say this.
fn said(proxy: &Evenkeel, part: &str) -> usize {
    let has =
        |event: &&serde_json::Value| event["message"].as_str().is_some_and(|it| it.contains(part));
    proxy.events().iter().filter(has).count()
}

/// Which server a new client comes to.
#[track_caller]
fn whom(proxy: &Evenkeel) -> String {
    who(proxy.at())
}
