//! PROXY headers, from those in front and towards backends.

mod clients;
mod onward;
mod probes;
mod received;
mod refused;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};

use crate::harness::client::connect;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The line of version 1.
pub(crate) fn v1(source: &str, destination: &str) -> Vec<u8> {
    let (source, destination) = ends(source, destination);
    let kind = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (source.ip(), destination.ip());
    format!("PROXY {kind} {from} {to} {} {}\r\n", source.port(), destination.port()).into()
}

/// The header of version 2, with these facts behind the addresses.
fn v2_with(source: &str, destination: &str, facts: &[u8]) -> Vec<u8> {
    let (source, destination) = ends(source, destination);
    let mut block = Vec::new();
    for ip in [source.ip(), destination.ip()] {
        match ip {
            std::net::IpAddr::V4(ip) => block.extend(ip.octets()),
            std::net::IpAddr::V6(ip) => block.extend(ip.octets()),
        }
    }
    block.extend(source.port().to_be_bytes());
    block.extend(destination.port().to_be_bytes());
    block.extend(facts);
    binary(0x21, if source.is_ipv4() { 0x11 } else { 0x21 }, &block)
}

/// The header of version 2.
pub(crate) fn v2(source: &str, destination: &str) -> Vec<u8> {
    v2_with(source, destination, b"")
}

fn binary(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, block].concat()
}

fn ends(source: &str, destination: &str) -> (SocketAddr, SocketAddr) {
    (source.parse().unwrap(), destination.parse().unwrap())
}

/// Connects and says this first.
#[track_caller]
fn saying(to: SocketAddr, bytes: &[u8]) -> TcpStream {
    let mut stream = connect(to);
    stream.write_all(bytes).unwrap();
    stream
}
