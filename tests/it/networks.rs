//! `allow` and `deny`: who is not let in is turned away at the door.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::harness::client::{End, end_of, is_reset, try_connect_from, who_from};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::unprobed;
use crate::harness::servers::{Server, entries};
use crate::harness::udp;
use crate::harness::wait::{PATIENCE, eventually};

fn local(last: u8) -> IpAddr {
    [127, 0, 0, last].into()
}

/// Whether it is reset, while it connects or after.
#[track_caller]
fn is_turned_away(source: IpAddr, at: SocketAddr) -> bool {
    match try_connect_from(source, at) {
        Ok(mut stream) => end_of(&mut stream) == End::Reset,
        Err(error) => is_reset(&error),
    }
}

#[test]
fn deny_wins_and_an_allow_list_admits_nothing_else() {
    let server = Server::greet("s");
    let keys = "allow = [\"127.0.0.8/29\", \"127.0.0.1\"]\ndeny = [\"127.0.0.10/32\"]";
    let proxy = Evenkeel::start(&unprobed(&entries(std::slice::from_ref(&server)), keys, ""));
    for (last, is_in) in [(1, true), (2, false), (8, true), (10, false), (15, true), (16, false)] {
        if is_in {
            assert_eq!(who_from(local(last), proxy.at()), "s");
        } else {
            assert!(is_turned_away(local(last), proxy.at()), "{last}");
        }
    }
    let labels = [("listener", "l"), ("reason", "denied")];
    eventually("they are counted", PATIENCE, || {
        proxy.metrics().count("rejected_total", &labels) == 3
    });
    assert_eq!(proxy.wait_access(3).len(), 3, "who is denied leaves no line");
    assert_eq!(server.accepted(), 3);
}

#[test]
fn a_long_list_is_searched_to_its_last_network() {
    let server = Server::greet("s");
    let mut nets: Vec<_> =
        (0..3000).map(|n| format!("\"10.{}.{}.0/24\"", n / 250, n % 250)).collect();
    nets.push("\"127.0.0.77\"".to_owned());
    let keys = format!("deny = [{}]", nets.join(", "));
    let proxy = Evenkeel::start(&unprobed(&entries(std::slice::from_ref(&server)), &keys, ""));
    assert!(is_turned_away(local(77), proxy.at()));
    assert_eq!(who_from(local(76), proxy.at()), "s");
}

#[test]
fn ipv6_has_networks_too() {
    let server = Server::greet("s");
    let list = entries(std::slice::from_ref(&server));
    let here = IpAddr::from(Ipv6Addr::LOCALHOST);
    for (keys, is_in) in [
        ("deny = [\"::/64\"]", false),
        ("allow = [\"::1\"]", true),
        ("allow = [\"127.0.0.0/8\", \"0.0.0.0/0\"]", false),
        ("deny = [\"0.0.0.0/0\"]", true),
    ] {
        let toml = unprobed(&list, keys, "").replacen("127.0.0.1:0", "[::1]:0", 1);
        let proxy = Evenkeel::start(&toml);
        if is_in {
            assert_eq!(who_from(here, proxy.at()), "s");
        } else {
            assert!(is_turned_away(here, proxy.at()), "{keys}");
        }
    }
}

#[test]
fn a_denied_datagram_is_dropped_and_each_one_counts() {
    let server = udp::Server::echo("s");
    let list = format!("[{}]", server.entry(""));
    let proxy = Evenkeel::start(&format!(
        "[listener.l]\nbind = \"127.0.0.1:0\"\nprotocol = \"udp\"\npool = \"p\"\nmax_sessions = 1\n\
         deny = [\"127.0.0.9\"]\n[pool.p]\nbackends = {list}\n"
    ));
    let (denied, client) =
        (udp::Client::from(local(9), proxy.at()), udp::Client::from(local(8), proxy.at()));
    for _ in 0..3 {
        denied.send("hello");
    }
    eventually("each is counted", PATIENCE, || proxy.rejected("denied") == 3);
    assert_eq!(client.ask("hello"), "hello", "who is denied has taken no place");
    // Caps come first.
    denied.send("hello");
    eventually("it is refused", PATIENCE, || proxy.rejected("max-sessions") == 1);
    assert_eq!((proxy.rejected("denied"), server.datagrams()), (3, 1));
    assert!(denied.is_empty() && proxy.access().is_empty());
}
