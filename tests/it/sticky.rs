//! Client addresses that keep their backend.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use crate::harness::client::{connect_from, read_line, who_from};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::unprobed;
use crate::harness::servers::{Server, entries};
use crate::harness::udp;
use crate::harness::wait::throughout;

fn ip(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 8, last).into()
}

fn servers(count: usize) -> Vec<Server> {
    (0..count).map(|i| Server::greet(&format!("s{i}"))).collect()
}

fn sticky(servers: &[Server], keys: &str) -> Evenkeel {
    let keys = format!("balance = \"round-robin\"\n[pool.p.sticky]\nclient_ip = true\n{keys}");
    let toml = unprobed(&entries(servers), "", &keys);
    Evenkeel::start(&format!("[process]\nthreads = 4\n{toml}"))
}

#[test]
fn an_address_keeps_its_backend_whatever_worker_and_policy() {
    let servers = servers(3);
    let proxy = sticky(&servers, "");
    let homes: Vec<_> = (1..=9).map(|last| who_from(ip(last), proxy.at())).collect();
    assert_eq!(homes.iter().collect::<BTreeSet<_>>().len(), 3, "{homes:?}");
    for _ in 0..10 {
        for (home, last) in homes.iter().zip(1..) {
            assert_eq!(who_from(ip(last), proxy.at()), *home);
        }
    }
    assert_eq!(proxy.metrics().count("sticky_entries", &[("pool", "p")]), 9);
}

#[test]
fn an_address_whose_backend_cannot_be_reached_is_placed_anew_and_stays() {
    let servers = servers(2);
    let proxy = sticky(&servers, "");
    assert_eq!(who_from(ip(1), proxy.at()), "s0");
    servers[0].stop();
    assert_eq!(who_from(ip(1), proxy.at()), "s1");
    servers[0].start();
    assert!((0..6).all(|_| who_from(ip(1), proxy.at()) == "s1"));
    assert_eq!(proxy.metrics().count("retries_total", &[]), 1);
}

#[test]
fn an_address_whose_backend_is_full_goes_elsewhere_this_once() {
    let servers = servers(2);
    let list = format!("[{}, {}]", servers[0].entry("max_sessions = 1"), servers[1].entry(""));
    let keys = "balance = \"round-robin\"\n[pool.p.sticky]\nclient_ip = true";
    let proxy = Evenkeel::start(&unprobed(&list, "", keys));
    let mut held = connect_from(ip(1), proxy.at());
    assert_eq!(read_line(&mut held).unwrap(), "s0");
    assert!((0..3).all(|_| who_from(ip(1), proxy.at()) == "s1"));
    drop(held);
    proxy.wait_idle();
    assert!((0..3).all(|_| {
        proxy.wait_idle();
        who_from(ip(1), proxy.at()) == "s0"
    }));
}

#[test]
fn the_memory_holds_so_many_and_the_oldest_makes_room() {
    let servers = servers(2);
    let proxy = sticky(&servers, "max_entries = 2");
    let homes: Vec<_> = (1..=3).map(|last| who_from(ip(last), proxy.at())).collect();
    assert_eq!(homes, ["s0", "s1", "s0"]);
    // The first has been forgotten, so it is its turn; that makes the second the oldest.
    assert_eq!(who_from(ip(1), proxy.at()), "s1");
    assert_eq!(who_from(ip(3), proxy.at()), "s0");
    let metrics = proxy.metrics();
    assert_eq!(metrics.count("sticky_evicted_total", &[("pool", "p")]), 2);
    assert_eq!(metrics.count("sticky_entries", &[("pool", "p")]), 2);
}

#[test]
fn an_address_is_forgotten_when_its_time_is_over() {
    let servers = servers(2);
    let proxy = sticky(&servers, "ttl = \"300ms\"");
    assert_eq!(who_from(ip(1), proxy.at()), "s0");
    throughout("the balancer runs", Duration::from_secs(1), || proxy.descriptors() > 0);
    assert_eq!(who_from(ip(1), proxy.at()), "s1");
    assert_eq!(proxy.metrics().count("sticky_evicted_total", &[]), 0);
}

#[test]
fn flows_of_one_address_keep_their_backend_too() {
    let servers: Vec<_> = (0..3).map(|i| udp::Server::named(&format!("s{i}"))).collect();
    let keys = "balance = \"round-robin\"\n[pool.p.sticky]\nclient_ip = true";
    let toml = unprobed(&udp::entries(&servers), "protocol = \"udp\"", keys);
    let proxy = Evenkeel::start(&toml);
    let ask = |last| udp::Client::from(ip(last), proxy.at()).ask("who");
    let homes: Vec<_> = (1..=3).map(ask).collect();
    assert_eq!(homes.iter().collect::<BTreeSet<_>>().len(), 3, "{homes:?}");
    for _ in 0..5 {
        assert!((1..=3).zip(&homes).all(|(last, home)| ask(last) == *home));
    }
}
