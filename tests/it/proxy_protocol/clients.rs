//! The named address is the client's wherever one counts.

use std::io::Write;
use std::net::{IpAddr, SocketAddr, TcpStream};

use super::{binary, saying, v1, v2};
use crate::harness::client::{End, close, end_of, read_line, who_from};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::unprobed;
use crate::harness::servers::{Server, entries};
use crate::harness::wait::{PATIENCE, eventually};

/// One who is named and has come in, or how it ended.
fn named(at: SocketAddr, client: &str) -> Result<(String, TcpStream), End> {
    let mut stream = saying(at, &v2(&format!("{client}:9"), "198.51.100.1:443"));
    match read_line(&mut stream) {
        Ok(greeting) => Ok((greeting, stream)),
        Err(_) => Err(End::Reset),
    }
}

#[test]
fn networks_and_rates_are_those_of_the_named_client() {
    let server = Server::greet("s");
    let keys = "accept_proxy_protocol = true\nallow = [\"192.0.2.0/24\", \"127.0.0.0/8\"]\n\
                deny = \"192.0.2.64/26\"\nconnection_rate = { rate = \"1/h\", burst = 2 }";
    let proxy = Evenkeel::start(&unprobed(&entries(std::slice::from_ref(&server)), keys, ""));
    for client in ["198.51.100.1", "192.0.2.64", "192.0.2.127"] {
        assert_eq!(named(proxy.at(), client).unwrap_err(), End::Reset, "{client}");
    }
    // Who is denied uses up nothing of its rate, and each named client has its own.
    for client in ["192.0.2.1", "192.0.2.2"] {
        for _ in 0..2 {
            close(named(proxy.at(), client).unwrap().1);
        }
        assert_eq!(named(proxy.at(), client).unwrap_err(), End::Reset);
    }
    // Who names nobody is the peer.
    let mut own = saying(proxy.at(), &binary(0x20, 0, b""));
    assert_eq!(read_line(&mut own).unwrap(), "s");
    close(own);
    assert_eq!((proxy.rejected("denied"), proxy.rejected("rate")), (3, 2));
    assert_eq!(proxy.wait_access(5).len(), 5, "who is refused for what it is leaves no line");
    assert_eq!(server.accepted(), 5);
}

#[test]
fn the_peer_may_be_denied_as_a_client_and_still_speak_for_others() {
    let server = Server::greet("s");
    let keys = "accept_proxy_protocol = [\"127.0.0.1\"]\ndeny = [\"127.0.0.0/8\"]";
    let proxy = Evenkeel::start(&unprobed(&entries(std::slice::from_ref(&server)), keys, ""));
    assert_eq!(named(proxy.at(), "192.0.2.1").unwrap().0, "s");
    let mut own = saying(proxy.at(), b"PROXY UNKNOWN\r\n");
    assert_eq!(end_of(&mut own), End::Reset);
    eventually("it is counted", PATIENCE, || proxy.rejected("denied") == 1);
}

#[test]
fn the_hash_is_of_the_named_client() {
    let servers: Vec<_> = ["a", "b", "c"].map(Server::greet).into();
    let toml = unprobed(&entries(&servers), "", "balance = \"consistent-hash\"")
        + "[listener.m]\nbind = \"127.0.0.1:0\"\npool = \"p\"\naccept_proxy_protocol = true\n";
    let proxy = Evenkeel::start(&toml);
    let mut seen = std::collections::BTreeSet::new();
    for last in 1..=20 {
        let client = IpAddr::from([127, 0, 0, last]);
        let direct = who_from(client, proxy.at());
        let (through, stream) = named(proxy.address("m"), &client.to_string()).unwrap();
        close(stream);
        assert_eq!(direct, through, "{client}");
        seen.insert(direct);
    }
    assert_eq!(seen.len(), 3);
}

#[test]
fn two_in_a_row_hand_the_client_on() {
    let server = Server::greet("s");
    let keys = "accept_proxy_protocol = true";
    let inner = Evenkeel::start(&unprobed(&entries(std::slice::from_ref(&server)), keys, ""));
    for (count, version) in [(1, "v1"), (2, "v2")] {
        let list = format!("[\"{}\"]", inner.at());
        let send = format!("send_proxy_protocol = \"{version}\"");
        let outer = Evenkeel::start(&unprobed(&list, keys, &send));
        let header = v1("[2001:db8::1]:5", "[2001:db8::2]:6");
        let mut stream = saying(outer.at(), &header);
        assert_eq!(read_line(&mut stream).unwrap(), "s");
        stream.write_all(b"hello").unwrap();
        close(stream);
        for proxy in [&outer, &inner] {
            let at = if std::ptr::eq(proxy, &outer) { 1 } else { count };
            let line = proxy.wait_access(at).remove(at - 1);
            assert_eq!(
                (&line["client"], &line["local"]),
                (&"[2001:db8::1]:5".into(), &"[2001:db8::2]:6".into())
            );
            assert_eq!((&line["bytes_in"], &line["bytes_out"]), (&5.into(), &7.into()), "{line}");
        }
    }
}
