//! Consistent hashing: the same client goes to the same backend, and only those move that must.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use crate::harness::client::who_from;
use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::file;
use crate::harness::servers::Server;

const POLICY: &str = "balance = \"consistent-hash\"";
const CLIENTS: u8 = 120;

fn servers(names: &[&str]) -> Vec<Server> {
    names.iter().map(|name| Server::greet(name)).collect()
}

fn list<'a>(servers: impl IntoIterator<Item = &'a Server>) -> String {
    let entries: Vec<_> = servers.into_iter().map(|server| server.entry("")).collect();
    format!("[{}]", entries.join(", "))
}

/// Which backend each of many client addresses reaches.
fn placement(proxy: &Evenkeel) -> BTreeMap<IpAddr, String> {
    let at = proxy.at();
    let clients = (1..=CLIENTS).map(|i| IpAddr::V4(Ipv4Addr::new(127, 0, i % 3, i)));
    clients.map(|client| (client, who_from(client, at))).collect()
}

#[test]
fn two_balancers_send_the_same_client_to_the_same_backend_whatever_the_order_of_the_file() {
    let servers = servers(&["a", "b", "c", "d"]);
    let one = Evenkeel::start(&file(&list(&servers), "", POLICY));
    let two = Evenkeel::start(&file(&list(servers.iter().rev()), "", POLICY));
    let first = placement(&one);
    assert_eq!(first, placement(&one), "the same balancer, asked twice");
    assert_eq!(first, placement(&two), "another balancer");
    for server in &servers {
        let share = first.values().filter(|name| **name == server.name).count();
        assert!((12..=54).contains(&share), "{} has {share} of {CLIENTS} clients", server.name);
    }
}

#[test]
fn only_the_clients_of_a_dead_backend_move_and_it_gets_exactly_its_own_back() {
    let servers = servers(&["a", "b", "c", "d"]);
    let proxy = Evenkeel::start(&file(&list(&servers), "", POLICY));
    let before = placement(&proxy);
    servers[1].stop();
    proxy.wait_health("b", "down");
    let without = placement(&proxy);
    for (client, name) in &before {
        if name == "b" {
            assert_ne!(without[client], "b");
        } else {
            assert_eq!(&without[client], name, "{client} moved without need");
        }
    }
    let heirs = without.iter().filter(|(client, _)| before[client] == "b");
    let mut heirs: Vec<_> = heirs.map(|(_, name)| name).collect();
    heirs.sort();
    heirs.dedup();
    assert!(heirs.len() > 1, "all clients of the dead backend went to {heirs:?}");
    servers[1].start();
    proxy.wait_health("b", "up");
    assert_eq!(before, placement(&proxy));
}

#[test]
fn one_more_backend_takes_about_its_share_and_no_more() {
    let servers = servers(&["a", "b", "c", "d"]);
    let three = Evenkeel::start(&file(&list(&servers[..3]), "", POLICY));
    let four = Evenkeel::start(&file(&list(&servers), "", POLICY));
    let (before, after) = (placement(&three), placement(&four));
    let moved = before.iter().filter(|(client, name)| after[client] != **name).count();
    // A quarter is 30; a table of another size moves a little more, a plain modulo three quarters.
    assert!(moved <= 50, "{moved} of {CLIENTS} clients moved");
}

#[test]
fn weights_shift_the_shares() {
    let servers = servers(&["heavy", "light"]);
    let entries =
        format!("[{}, {}]", servers[0].entry("weight = 9"), servers[1].entry("weight = 1"));
    let proxy = Evenkeel::start(&file(&entries, "", POLICY));
    let light = placement(&proxy).values().filter(|name| *name == "light").count();
    assert!((2..=30).contains(&light), "{light} of {CLIENTS} for a tenth of the weight");
}

#[test]
fn the_port_may_be_part_of_the_key() {
    let servers = servers(&["a", "b", "c", "d"]);
    let policy = "balance = { policy = \"consistent-hash\", key = \"client-ip-port\" }";
    let proxy = Evenkeel::start(&file(&list(&servers), "", policy));
    let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut seen: Vec<_> = (0..40).map(|_| who_from(client, proxy.at())).collect();
    seen.sort();
    seen.dedup();
    assert!(seen.len() > 1, "forty ports of one client all went to {seen:?}");
}
