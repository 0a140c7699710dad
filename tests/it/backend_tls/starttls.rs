//! Backends that are asked for an upgrade to TLS first, as PostgreSQL wants it.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::backend::{Backend, Plan};
use super::{failures, file, refused};
use crate::harness::authority::Authority;
use crate::harness::client::who;
use crate::harness::evenkeel::Evenkeel;
use crate::harness::servers::Server;

/// PostgreSQL's `SSLRequest`.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

fn request(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut request = vec![0; 8];
    stream.read_exact(&mut request).map(|()| request)
}

fn upgrading(authority: &Authority) -> String {
    format!("{}\nstarttls = \"postgres\"", authority.ca())
}

#[test]
fn the_request_goes_first_and_the_handshake_follows_the_answer() {
    let authority = Authority::new();
    let signed = authority.sign(&["127.0.0.1"]);
    let plan = Plan {
        prelude: |stream| {
            let request = request(stream)?;
            stream.write_all(b"S")?;
            Ok(request)
        },
        ..Plan::new("b", &signed)
    };
    let backend = plan.start();
    let proxy = Evenkeel::start(&file(&[&backend], &upgrading(&authority), ""));
    assert_eq!(who(proxy.at()), "b");
    assert_eq!(backend.seen().ahead, SSL_REQUEST);
}

#[test]
fn whatever_is_not_the_answer_is_a_failed_attempt() {
    let authority = Authority::new();
    let backend = Backend::start("b", &authority.sign(&["127.0.0.1"]));
    for (answer, why) in [
        (b"N".as_slice(), "it does not speak tls: it refused the SSLRequest"),
        (b"E\0\0\0\x05\0", "it answered the SSLRequest with an error"),
        (b"HTTP/1.1 400\r\n", "what answered the SSLRequest is no postgres server"),
        (b"", "it closed the connection after the SSLRequest"),
        // What comes in the clear behind the answer must not count as encrypted.
        (b"SC\0\0\0\x0eSELECT 1\0", "tls: what it answered is not tls"),
    ] {
        let postgres = Server::new("p", move |mut stream| {
            drop(request(&mut stream));
            drop(stream.write_all(answer));
            if !answer.is_empty() {
                drop(stream.read_to_end(&mut Vec::new()));
            }
        });
        let toml = file(&[&backend], &upgrading(&authority), "retry = { attempts = 1 }");
        let proxy = Evenkeel::start(&toml.replace(&backend.entry(), &postgres.entry("")));
        refused(&proxy, why);
        assert_eq!(failures(&proxy, "other"), 1, "{why}");
    }
}
