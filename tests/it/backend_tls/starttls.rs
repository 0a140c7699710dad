//! Backends that are asked for an upgrade to TLS first, as PostgreSQL wants it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::backend::{Backend, Plan};
use super::{failures, file, refused};
use crate::harness::authority::{Authority, Signed};
use crate::harness::client::{connect, who};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::servers::Server;

/// PostgreSQL's `SSLRequest`.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

fn request(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut request = vec![0; 8];
    stream.read_exact(&mut request).map(|()| request)
}

/// A backend that answers the request as it should, and remembers it.
fn willing(signed: &Signed) -> Plan<'_> {
    Plan {
        prelude: |stream| {
            let request = request(stream)?;
            stream.write_all(b"S")?;
            Ok(request)
        },
        ..Plan::new("b", signed)
    }
}

fn upgrading(authority: &Authority) -> String {
    format!("{}\nstarttls = \"postgres\"", authority.ca())
}

#[test]
fn the_request_goes_first_and_the_handshake_follows_the_answer() {
    let authority = Authority::new();
    let signed = authority.sign(&["127.0.0.1"]);
    let backend = willing(&signed).start();
    let proxy = Evenkeel::start(&file(&[&backend], &upgrading(&authority), ""));
    assert_eq!(who(proxy.at()), "b");
    assert_eq!(backend.seen().ahead, SSL_REQUEST);
}

#[test]
fn a_listener_that_upgrades_says_what_its_backends_speak_however_a_client_comes() {
    let authority = Authority::new();
    let signed = authority.sign(&["127.0.0.1"]);
    let backend = willing(&signed).start();
    let (cert, key) = authority.write("l", &signed);
    let (cert, key) = (cert.display(), key.display());
    let pool = file(&[&backend], &authority.ca(), "");
    let listener = pool.replace("pool = \"p\"\n", "pool = \"p\"\nplain_pool = \"p\"\n");
    let ends = format!("certificates = [{{ cert = \"{cert}\", key = \"{key}\" }}]");
    let proxy =
        Evenkeel::start(&format!("{listener}[listener.l.tls]\nstarttls = \"postgres\"\n{ends}\n"));
    let greeted = |stream: &mut dyn Read| {
        let mut greeting = [0; 2];
        stream.read_exact(&mut greeting).unwrap();
        assert_eq!((&greeting, backend.seen().ahead), (b"b\n", SSL_REQUEST.to_vec()));
    };
    // In cleartext, as far as the listener.
    let mut plain = connect(proxy.at());
    plain.write_all(b"\0\0\0\x08\0\x03\0\0").unwrap();
    greeted(&mut plain);
    // In TLS from the first byte, and after an upgrade.
    for upgrades in [false, true] {
        let mut stream = connect(proxy.at());
        if upgrades {
            stream.write_all(&SSL_REQUEST).unwrap();
            stream.read_exact(&mut [0]).unwrap();
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(authority.roots())
            .with_no_client_auth();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        greeted(&mut StreamOwned::new(connection, stream));
    }
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
