//! Datagrams pass whole, in order, each by itself, and answers come from where they were asked.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use super::before;
use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::unprobed;
use crate::harness::pattern::Pattern;
use crate::harness::udp::{Client, LARGEST, Server, socket_on};
use crate::harness::wait::{PATIENCE, eventually};

/// A payload that differs from every other, as far as its length allows.
fn payload(number: usize, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len);
    Pattern::new(number as u64).send(&mut bytes, len, len.max(1)).unwrap();
    bytes
}

/// A listener on `bind` before an echoing server on `ip`.
fn bound(bind: &str, ip: &str) -> (Server, Evenkeel) {
    let server = Server::echo_on(ip.parse().unwrap(), "s");
    let toml = unprobed(&format!("[{}]", server.entry("")), "protocol = \"udp\"", "");
    let proxy = Evenkeel::start(&toml.replace("127.0.0.1:0", bind));
    (server, proxy)
}

#[test]
fn payloads_of_every_size_come_back_as_they_went() {
    for (bind, ip) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1"), ("127.0.0.1:0", "::1")] {
        let (server, proxy) = bound(bind, ip);
        let client = Client::to(proxy.at());
        for (number, size) in [0, 1, 1200, 1472, 9000, LARGEST, 0, 3].into_iter().enumerate() {
            let sent = payload(number, size);
            client.send(&sent);
            assert!(client.receive() == sent, "{size} bytes through {bind} to {ip}");
        }
        assert_eq!((server.peers().len(), proxy.flows()), (1, 1), "all of it is one flow");
        let metrics = proxy.metrics();
        for direction in ["in", "out"] {
            let labels = [("listener", "l"), ("direction", direction)];
            assert_eq!(metrics.count("udp_datagrams_total", &labels), 8, "{direction}");
        }
        assert_eq!(metrics.count("udp_dropped_total", &[]), 0);
    }
}

#[test]
fn bursts_come_through_whole_and_in_order() {
    let server = Server::echo("s");
    let proxy = before(&server, "");
    let equal: Vec<_> = (0..64).map(|i| payload(i, 1200)).collect();
    let mixed: Vec<_> = [1200, 1200, 700, 700, 700, 1, 0, 1200, 1200, 1200, 40, 1400, 1400, 0, 0]
        .into_iter()
        .enumerate()
        .map(|(i, len)| payload(100 + i, len))
        .collect();
    // A run of equal sizes that a shorter one ends goes as one; a longer one begins anew.
    let rising: Vec<_> = (0..40).map(|i| payload(200 + i, 10 + i * 25)).collect();
    let large: Vec<_> = (0..20).map(|i| payload(300 + i, 9000)).collect();
    let two = [Client::to(proxy.at()), Client::to(proxy.at())];
    for burst in [&equal, &mixed, &rising, &large] {
        // What waits for a balancer that stands still reaches it as one batch, both flows in turn.
        proxy.frozen(|| {
            for datagram in burst {
                two.iter().for_each(|client| client.send(datagram));
            }
        });
        for client in &two {
            for (place, sent) in burst.iter().enumerate() {
                let came = client.receive();
                assert!(came == *sent, "place {place}: {} of {}", came.len(), sent.len());
            }
        }
    }
    assert!(two.iter().all(Client::is_empty), "nothing comes twice");
    assert_eq!(server.peers().len(), 2);
}

/// Asks from one socket at each of these addresses; each must answer from just there.
#[track_caller]
fn answers_come_from(addresses: &[&str], client: &UdpSocket, port: u16) {
    let mut buffer = [0; 64];
    for round in 0..3 {
        for ip in addresses {
            let asked = SocketAddr::new(ip.parse().unwrap(), port);
            let word = format!("{ip} {round}");
            client.send_to(word.as_bytes(), asked).unwrap();
            let (len, from) = client.recv_from(&mut buffer).unwrap();
            assert_eq!((&buffer[..len], from), (word.as_bytes(), asked));
        }
    }
}

#[test]
fn answers_come_from_the_address_that_was_asked_also_on_a_wildcard() {
    let (server, proxy) = bound("0.0.0.0:0", "127.0.0.1");
    let port = proxy.at().port();
    let asked = ["127.0.0.1", "127.0.0.2", "127.0.0.3"];
    let client = socket_on("127.0.0.1".parse().unwrap());
    answers_come_from(&asked, &client, port);
    assert_eq!(server.peers().len(), 3, "to another local address is another flow");
    eventually("three flows", PATIENCE, || proxy.flows() == 3);

    let (_server, proxy) = bound("[::]:0", "::1");
    let client = socket_on("::1".parse().unwrap());
    answers_come_from(&["::1"], &client, proxy.at().port());
}

#[test]
fn a_burst_to_two_addresses_of_a_wildcard_is_two_flows() {
    let server = Server::echo("s");
    let toml = super::datagrams(std::slice::from_ref(&server), "idle_timeout = \"1s\"", "");
    let proxy = Evenkeel::start(&toml.replace("127.0.0.1:0", "0.0.0.0:0"));
    let client = socket_on("127.0.0.1".parse().unwrap());
    let asked = ["127.0.0.1", "127.0.0.2"]
        .map(|ip| SocketAddr::new(ip.parse::<IpAddr>().unwrap(), proxy.at().port()));
    proxy.frozen(|| {
        for at in asked {
            client.send_to(at.to_string().as_bytes(), at).unwrap();
        }
    });
    let mut buffer = [0; 64];
    for _ in asked {
        let (len, from) = client.recv_from(&mut buffer).unwrap();
        assert_eq!(String::from_utf8_lossy(&buffer[..len]), from.to_string());
    }
    let lines = proxy.wait_access(2);
    let mut locals: Vec<_> = lines.iter().map(|line| line["local"].as_str().unwrap()).collect();
    locals.sort_unstable();
    assert_eq!(locals, asked.map(|at| at.to_string()));
    let client = client.local_addr().unwrap().to_string();
    assert!(lines.iter().all(|line| line["client"] == client.as_str()));
}
