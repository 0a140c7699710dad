//! What a header says holds, and what is behind it is payload to the last byte.

use std::io::{Read, Write};
use std::net::Shutdown;

use super::{binary, saying, v1, v2, v2_with};
use crate::harness::client::{close, connect, connect_from, ping, read_line};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::unprobed;
use crate::harness::servers::{Server, entries};

const ACCEPT: &str = "accept_proxy_protocol = true";

fn before(server: &Server, keys: &str) -> Evenkeel {
    Evenkeel::start(&unprobed(&entries(std::slice::from_ref(server)), keys, ""))
}

#[test]
fn the_header_names_the_client_and_the_address_it_asked() {
    let server = Server::greet("s");
    let proxy = before(&server, ACCEPT);
    let headers = [
        (v1("192.0.2.1:4000", "198.51.100.1:443"), ["192.0.2.1:4000", "198.51.100.1:443"]),
        (v2("192.0.2.2:1", "198.51.100.2:65535"), ["192.0.2.2:1", "198.51.100.2:65535"]),
        (v1("[2001:db8::1]:5", "[2001:db8::2]:6"), ["[2001:db8::1]:5", "[2001:db8::2]:6"]),
        (v2("[2001:db8::3]:7", "[2001:db8::4]:8"), ["[2001:db8::3]:7", "[2001:db8::4]:8"]),
        // IPv4 that is mapped into IPv6 is IPv4.
        (v1("[::ffff:192.0.2.9]:5", "[::ffff:192.0.2.8]:6"), ["192.0.2.9:5", "192.0.2.8:6"]),
        (v2("[::ffff:192.0.2.7]:5", "[::ffff:192.0.2.6]:6"), ["192.0.2.7:5", "192.0.2.6:6"]),
    ];
    for (at, (header, [client, local])) in headers.into_iter().enumerate() {
        let mut stream = saying(proxy.at(), &[&header[..], b"hello"].concat());
        assert_eq!(read_line(&mut stream).unwrap(), "s");
        let mut back = [0; 5];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"hello", "what is behind the header, and no more");
        ping(&mut stream, "again");
        close(stream);
        let line = proxy.wait_access(at + 1).remove(at);
        assert_eq!((line["client"].as_str(), line["local"].as_str()), (Some(client), Some(local)));
        assert_eq!((line["bytes_in"].as_u64(), line["outcome"].as_str()), (Some(10), Some("ok")));
    }
    assert_eq!(proxy.metrics().count("bytes_total", &[("direction", "in")]), 60);
}

#[test]
fn it_may_come_byte_by_byte_and_with_much_behind_it() {
    let server = Server::echo("s");
    let proxy = before(&server, ACCEPT);
    let much: Vec<u8> = (0..1_000_000_u32).map(|at| (at % 251) as u8).collect();
    for header in [v1("192.0.2.1:4000", "198.51.100.1:443"), v2("[2001:db8::3]:7", "[::1]:8")] {
        let mut stream = connect(proxy.at());
        stream.set_nodelay(true).unwrap();
        for byte in &header {
            stream.write_all(&[*byte]).unwrap();
        }
        ping(&mut stream, "hello");
        close(stream);
        let whole = [&header[..], &much].concat();
        let mut reading = connect(proxy.at());
        let mut writing = reading.try_clone().unwrap();
        let writer = std::thread::spawn(move || {
            writing.write_all(&whole).unwrap();
            writing.shutdown(Shutdown::Write).unwrap();
        });
        let mut back = Vec::new();
        reading.read_to_end(&mut back).unwrap();
        writer.join().unwrap();
        assert!(back == much, "{} bytes came back", back.len());
    }
}

#[test]
fn a_client_that_has_ended_behind_its_header_is_still_served() {
    let server = Server::greet("s");
    let proxy = before(&server, ACCEPT);
    let mut stream = saying(proxy.at(), &v2("192.0.2.1:4000", "198.51.100.1:443"));
    stream.shutdown(Shutdown::Write).unwrap();
    let mut back = String::new();
    stream.read_to_string(&mut back).unwrap();
    assert_eq!(back, "s\n");
    proxy.wait_outcome("ok", 1);
}

#[test]
fn further_facts_are_skipped_however_many_there_are() {
    let server = Server::echo("s");
    let proxy = before(&server, ACCEPT);
    let (source, destination) = ("192.0.2.1:4000", "198.51.100.1:443");
    let fact = |length: u16| [&[0xe0][..], &length.to_be_bytes(), &vec![7; length.into()]].concat();
    for (facts, piece) in [(fact(20_000), 20_100), (fact(20_000), 900), (fact(65_520), 7_000)] {
        let whole = [v2_with(source, destination, &facts), b"hello".to_vec()].concat();
        let mut stream = connect(proxy.at());
        for piece in whole.chunks(piece) {
            stream.write_all(piece).unwrap();
        }
        let mut back = [0; 5];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"hello");
        close(stream);
    }
    assert!(proxy.wait_access(3).iter().all(|line| line["client"] == source));
}

#[test]
fn a_header_that_names_nobody_leaves_the_addresses_of_the_connection() {
    let server = Server::echo("s");
    let proxy = before(&server, ACCEPT);
    let local = binary(0x20, 0, b"");
    let addressed = binary(0x20, 0x11, &[9; 40]);
    let datagrams = binary(0x21, 0x12, &[9; 12]);
    let unix = binary(0x21, 0x31, &[9; 216]);
    let headers: [&[u8]; 6] = [
        b"PROXY UNKNOWN\r\n",
        b"PROXY UNKNOWN 192.0.2.1 192.0.2.2 1 2\r\n",
        &local,
        &addressed,
        &datagrams,
        &unix,
    ];
    for (at, header) in headers.into_iter().enumerate() {
        let mut stream = saying(proxy.at(), header);
        let client = stream.local_addr().unwrap().to_string();
        ping(&mut stream, "hello");
        close(stream);
        let line = proxy.wait_access(at + 1).remove(at);
        assert_eq!(
            (&line["client"], &line["local"]),
            (&client.into(), &proxy.at().to_string().into())
        );
    }
}

#[test]
fn from_other_networks_such_bytes_are_payload_and_claim_nothing() {
    let server = Server::echo("s");
    let proxy = before(&server, "accept_proxy_protocol = [\"127.0.0.2/32\", \"10.0.0.0/8\"]");
    let header = String::from_utf8(v1("192.0.2.1:4000", "198.51.100.1:443")).unwrap();
    let mut stranger = connect_from([127, 0, 0, 3].into(), proxy.at());
    let address = stranger.local_addr().unwrap().to_string();
    ping(&mut stranger, &header);
    close(stranger);
    assert_eq!(proxy.wait_access(1)[0]["client"], address);
    let mut known = connect_from([127, 0, 0, 2].into(), proxy.at());
    known.write_all(header.as_bytes()).unwrap();
    ping(&mut known, "hello");
    close(known);
    assert_eq!(proxy.wait_access(2)[1]["client"], "192.0.2.1:4000");
}
