//! Other protocols over http.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::harness::client::{End, connect, end_of};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::servers::echo;
use crate::harness::wait::{PATIENCE, eventually};
use crate::harness::{files, http};
use crate::web::recorder::{Recorder, answer};

const ASK: &str =
    "GET /chat HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n";
const YES: &str = "HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nhello";

fn start(backend: &Recorder, listener: &str) -> Evenkeel {
    let backends = format!("[{}]", backend.server.entry(""));
    let listener = format!("protocol = \"http\"\n{listener}\n");
    Evenkeel::start(&files::unprobed(&backends, &listener, ""))
}

/// Agrees, says hello at once, and echoes.
fn agreeing() -> Recorder {
    Recorder::with("b", |_, stream| {
        stream.write_all(YES.as_bytes()).unwrap();
        drop(echo(stream.try_clone().unwrap()));
        false
    })
}

fn read(stream: &mut TcpStream, bytes: usize) -> String {
    let mut heard = vec![0; bytes];
    stream.read_exact(&mut heard).unwrap();
    String::from_utf8(heard).unwrap()
}

#[test]
fn an_upgraded_connection_is_a_session_until_it_ends() {
    let backend = agreeing();
    let evenkeel = start(&backend, "");
    let mut client = connect(evenkeel.at());
    client.write_all(ASK.as_bytes()).unwrap();
    let head = http::read_head(&mut client);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains("connection: upgrade\r\n"), "{head}");
    assert!(head.contains("upgrade: websocket\r\n"), "{head}");
    assert_eq!(read(&mut client, 5), "hello");
    for word in ["one", "two"] {
        client.write_all(word.as_bytes()).unwrap();
        assert_eq!(read(&mut client, 3), word);
    }
    let seen = &backend.seen()[0];
    assert_eq!((seen.all("connection"), seen.all("upgrade")), (vec!["upgrade"], vec!["websocket"]));
    assert_eq!(evenkeel.sessions(), 1);
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(end_of(&mut client), End::Fin);
    evenkeel.wait_outcome("ok", 1);
    evenkeel.wait_idle();
    let line = &evenkeel.wait_access(1)[0];
    assert_eq!(
        (&line["status"], &line["bytes_in"], &line["bytes_out"]),
        (&101.into(), &6.into(), &11.into())
    );
}

#[test]
fn a_quiet_tunnel_ends_in_time() {
    let backend = agreeing();
    let evenkeel = start(&backend, "tunnel_timeout = \"1s\"");
    let mut client = connect(evenkeel.at());
    client.write_all(ASK.as_bytes()).unwrap();
    http::read_head(&mut client);
    assert_eq!(read(&mut client, 5), "hello");
    evenkeel.wait_outcome("idle", 1);
    eventually("the backend is left", PATIENCE, || backend.server.open() == 0);
}

#[test]
fn http_goes_on_where_a_backend_does_not_agree() {
    let backend = Recorder::new("b", |_| answer(200, "", "no"));
    let evenkeel = start(&backend, "");
    let mut client = connect(evenkeel.at());
    for _ in 0..2 {
        client.write_all(ASK.as_bytes()).unwrap();
        let head = http::read_head(&mut client);
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!(read(&mut client, 2), "no");
    }
    assert_eq!(backend.server.accepted(), 1);
}

#[test]
fn nobody_gets_past_us_by_cleartext_http2_or_by_connect() {
    let backend = Recorder::new("b", |_| answer(200, "", "ok"));
    let evenkeel = start(&backend, "");
    let fields =
        ["connection: upgrade, http2-settings", "upgrade: h2c", "http2-settings: AAMAAABk"];
    assert_eq!(http::send(evenkeel.at(), "GET", "/", &fields, "").status, 200);
    let seen = &backend.seen()[0];
    assert!(seen.all("upgrade").is_empty() && seen.all("http2-settings").is_empty());
    let mut client = connect(evenkeel.at());
    client.write_all(b"CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\n\r\n").unwrap();
    let head = http::read_head(&mut client);
    assert!(head.starts_with("HTTP/1.1 4"), "{head}");
    assert_eq!(backend.seen().len(), 1);
}

#[test]
fn an_agreement_that_nobody_has_asked_for_is_no_answer() {
    let backend = agreeing();
    let evenkeel = start(&backend, "");
    assert_eq!(http::send(evenkeel.at(), "POST", "/", &[], "").status, 502);
}
