//! Probes of a pool that sends headers send one too, which speaks for nobody.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;

use super::binary;
use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::file;
use crate::harness::http::read_head;
use crate::harness::servers::{Server, entries};
use crate::harness::wait::PATIENCE;

fn headers() -> [(&'static str, Vec<u8>); 2] {
    [("v1", b"PROXY UNKNOWN\r\n".to_vec()), ("v2", binary(0x20, 0, b""))]
}

/// Takes the header off a connection, or says what came instead.
fn strip(stream: &mut TcpStream, header: &[u8]) -> Result<(), Vec<u8>> {
    let mut begin = vec![0; header.len()];
    stream.read_exact(&mut begin).map_err(|_| b"nothing".to_vec())?;
    if begin == header { Ok(()) } else { Err(begin) }
}

#[test]
fn a_tcp_probe_says_who_it_is_and_no_more() {
    for (version, header) in headers() {
        let (tell, told) = mpsc::channel();
        let server = Server::new("s", move |mut stream| {
            let mut heard = Vec::new();
            drop(stream.read_to_end(&mut heard));
            drop(tell.send(heard));
        });
        let send = format!("send_proxy_protocol = \"{version}\"");
        let proxy = Evenkeel::start(&file(&entries(std::slice::from_ref(&server)), "", &send));
        proxy.wait_health("s", "up");
        for _ in 0..2 {
            assert_eq!(told.recv_timeout(PATIENCE).unwrap(), header);
        }
    }
}

#[test]
fn a_server_that_insists_on_headers_is_up_for_an_http_probe() {
    for (version, header) in headers() {
        let server = Server::new("s", move |mut stream| {
            if strip(&mut stream, &header).is_ok() && read_head(&mut stream).starts_with("GET ") {
                drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
            }
        });
        let send = format!("send_proxy_protocol = \"{version}\"");
        let toml = file(&entries(std::slice::from_ref(&server)), "", &send);
        let proxy = Evenkeel::start(&(toml + "probe = \"http\"\n"));
        proxy.wait_health("s", "up");
    }
}
