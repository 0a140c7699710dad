//! Listeners that end TLS, and clients that do not speak it.

use std::fs;
use std::io::{Read, Write};

use tempfile::TempDir;

use super::{answered, file, route, through};
use crate::harness::client::{End, connect, end_of};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::hello::by_hand;
use crate::harness::servers::Server;
use crate::harness::wait::{PATIENCE, eventually};

/// A table that ends TLS, with a certificate that stays as long as the folder.
fn ending() -> (TempDir, String) {
    let dir = TempDir::new().unwrap();
    let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    fs::write(&cert, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let table = format!(
        "[listener.l.tls]\ncertificates = [{{ cert = \"{}\", key = \"{}\" }}]\n",
        cert.display(),
        key.display()
    );
    (dir, table)
}

fn two() -> [Server; 2] {
    ["a", "d"].map(Server::greet)
}

#[test]
fn who_does_not_speak_tls_goes_to_the_plain_pool() {
    let servers = two();
    let (_dir, table) = ending();
    let routes = table + &route("sni = \"a.example\"\npool = \"a\"");
    let proxy = Evenkeel::start(&file("plain_pool = \"d\"", &routes, &servers));
    for flight in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"x", b"\0\0\0\x08"] {
        assert_eq!(answered(proxy.at(), flight), "d");
    }
    let lines = proxy.wait_access(3);
    assert!(lines.iter().all(|line| line["route"] == "plain" && line["pool"] == "d"), "{lines:?}");
    assert!(lines.iter().all(|line| line["sni"].is_null() && line["tls_version"].is_null()));
    assert_eq!(proxy.metrics().count("route_sessions_total", &[("route", "plain")]), 3);
}

#[test]
fn without_a_plain_pool_who_does_not_speak_tls_is_refused() {
    let servers = two();
    let (_dir, table) = ending();
    let proxy = Evenkeel::start(&file("pool = \"d\"", &table, &servers));
    let mut plain = connect(proxy.at());
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(end_of(&mut plain), End::Reset);
    // Who begins as TLS does and goes on otherwise is told in its terms.
    let mut broken = connect(proxy.at());
    broken.write_all(b"\x16\x03\x01\0\x05hello").unwrap();
    let mut said = Vec::new();
    broken.read_to_end(&mut said).unwrap();
    assert_eq!(said, [21, 3, 3, 0, 2, 2, 50], "a fatal alert, and then the end");
    drop(broken);
    eventually("both are counted", PATIENCE, || proxy.rejected("tls") == 2);
    let lines = proxy.wait_access(2);
    assert!(lines.iter().all(|line| line["outcome"] == "tls" && line["pool"].is_null()));
    assert_eq!(servers.iter().map(Server::accepted).sum::<usize>(), 0);
}

#[test]
fn a_broken_hello_is_not_cleartext() {
    let servers = two();
    let (_dir, table) = ending();
    let keys = "plain_pool = \"d\"\npool = \"a\"";
    let proxy = Evenkeel::start(&file(keys, &table, &servers));
    let mut stream = connect(proxy.at());
    let mut flight = by_hand(Some(b"a.example"));
    // The length of the extensions.
    flight[50] ^= 1;
    stream.write_all(&flight).unwrap();
    let mut said = Vec::new();
    stream.read_to_end(&mut said).unwrap();
    assert_eq!(said.first(), Some(&21));
    eventually("it is counted", PATIENCE, || proxy.rejected("tls") == 1);
    let mut plain = connect(proxy.at());
    plain.write_all(b"hello").unwrap();
    assert_eq!(through(plain, b"hello"), "d");
}
