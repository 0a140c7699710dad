//! The policies choose for each flow; a flow stays where it is.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use super::{datagrams, name_in, named};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::unprobed;
use crate::harness::udp::Client;

#[test]
fn round_robin_takes_flows_in_exact_turn() {
    let servers = named(3);
    let proxy = Evenkeel::start(&datagrams(&servers, "", "balance = \"round-robin\""));
    let clients: Vec<_> = (0..9).map(|_| Client::to(proxy.at())).collect();
    for round in 0..2 {
        for (turn, client) in clients.iter().enumerate() {
            assert_eq!(client.ask("who"), format!("s{}:who", turn % 3), "round {round}");
        }
    }
    assert!(servers.iter().all(|server| server.peers().len() == 3));
}

#[test]
fn consistent_hash_keeps_a_client_address_on_its_backend() {
    let servers = named(3);
    let proxy = Evenkeel::start(&datagrams(&servers, "", "balance = \"consistent-hash\""));
    let mut used = BTreeMap::new();
    for last in 1..=30 {
        let ip: IpAddr = Ipv4Addr::new(127, 0, 9, last).into();
        let first = Client::from(ip, proxy.at()).ask("who");
        for _ in 0..3 {
            assert_eq!(Client::from(ip, proxy.at()).ask("who"), first);
        }
        *used.entry(first).or_insert(0) += 1;
    }
    assert_eq!(used.len(), 3, "{used:?}");
}

#[test]
fn least_connections_counts_flows() {
    let servers = named(3);
    let proxy = Evenkeel::start(&datagrams(&servers, "", "balance = \"least-connections\""));
    let held: Vec<_> = (0..12).map(|_| Client::to(proxy.at())).collect();
    for client in &held {
        client.ask("who");
    }
    assert!(servers.iter().all(|server| server.peers().len() == 4));
    for server in &servers {
        assert_eq!(proxy.backend(&server.name)["sessions"], 4);
    }
}

#[test]
fn a_backend_that_drains_in_the_file_takes_no_flow() {
    let servers = named(2);
    let list = format!("[{}, {}]", servers[0].entry("state = \"drain\""), servers[1].entry(""));
    let toml = unprobed(&list, "protocol = \"udp\"", "balance = \"round-robin\"");
    let proxy = Evenkeel::start(&toml);
    for _ in 0..6 {
        assert_eq!(name_in(&Client::to(proxy.at()).ask("who")), "s1");
    }
    assert_eq!(servers[0].datagrams(), 0);
}
