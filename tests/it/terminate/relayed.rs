//! The bytes behind a handshake: all of them, counted as payload, each end passed on as what it was.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use super::client::{Secured, both, modern, shake};
use super::{entry, file};
use crate::harness::authority::Authority;
use crate::harness::client::{End, end_of, is_reset, is_timeout, reset};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::pattern::Pattern;
use crate::harness::servers::{Server, entries};
use crate::harness::wait::PATIENCE;

const UP: u64 = 3;
const DOWN: u64 = 4;

fn proxy_for(authority: &Authority, server: &Server, listener: &str) -> Evenkeel {
    let certificate = entry(authority, "db", &authority.sign(&["db.example"]));
    let backends = entries(std::slice::from_ref(server));
    Evenkeel::start(&file(&[certificate], &backends, listener, ""))
}

/// Says that nothing more comes, and keeps listening.
fn end(stream: &mut Secured) {
    stream.conn.send_close_notify();
    stream.flush().unwrap();
    stream.sock.shutdown(Shutdown::Write).unwrap();
}

#[test]
fn fifty_megabytes_up_and_then_down_arrive_whole_through_half_closes() {
    const TOTAL: usize = 50_000_000;
    let authority = Authority::new();
    let (tell, told) = channel();
    let server = Server::new("d", move |mut stream| {
        tell.send(Pattern::new(UP).expect(&mut stream).unwrap()).unwrap();
        Pattern::new(DOWN).send(&mut stream, TOTAL, 1 << 20).unwrap();
    });
    let proxy = proxy_for(&authority, &server, "");
    for (n, config) in both(&authority).into_iter().enumerate() {
        let mut stream = shake(proxy.at(), &Arc::new(config), "db.example").unwrap();
        Pattern::new(UP).send(&mut stream, TOTAL, 100_000).unwrap();
        end(&mut stream);
        // An end without close_notify would be an error here.
        assert_eq!(Pattern::new(DOWN).expect(&mut stream).unwrap(), TOTAL);
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), TOTAL);
        drop(stream);
        proxy.wait_outcome("ok", n as u64 + 1);
    }
    for line in proxy.wait_access(2) {
        let bytes = (line["bytes_in"].as_u64(), line["bytes_out"].as_u64());
        assert_eq!(bytes, (Some(TOTAL as u64), Some(TOTAL as u64)));
    }
}

#[test]
fn a_backend_that_does_not_read_stops_the_client() {
    let authority = Authority::new();
    let (go_on, going) = channel::<()>();
    let going = std::sync::Mutex::new(going);
    let server = Server::new("s", move |_stream| going.lock().unwrap().recv().unwrap_or_default());
    let proxy = proxy_for(&authority, &server, "");
    let config = Arc::new(modern(&authority));
    let mut stream = shake(proxy.at(), &config, "db.example").unwrap();
    stream.sock.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut sent = 0;
    let stopped = loop {
        match stream.write(&[7; 16 * 1024]) {
            Ok(n) => sent += n,
            // By a process that was stopped and goes on.
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => break error,
        }
        assert!(sent < 100_000_000, "nobody reads, and yet {sent} bytes were taken");
    };
    assert!(is_timeout(&stopped), "{stopped}");
    drop(go_on);
}

#[test]
fn a_client_that_leaves_without_close_notify_is_a_reset_to_the_backend() {
    const TOTAL: usize = 3_000_000;
    let authority = Authority::new();
    let (tell, told) = channel();
    let server = Server::new("s", move |mut stream| {
        let mut got = vec![0; TOTAL];
        stream.read_exact(&mut got).unwrap();
        Pattern::new(UP).check(0, &got);
        tell.send(end_of(&mut stream)).unwrap();
    });
    let proxy = proxy_for(&authority, &server, "");
    for (n, config) in both(&authority).into_iter().enumerate() {
        let mut stream = shake(proxy.at(), &Arc::new(config), "db.example").unwrap();
        Pattern::new(UP).send(&mut stream, TOTAL, 50_000).unwrap();
        stream.sock.shutdown(Shutdown::Write).unwrap();
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), End::Reset);
        proxy.wait_outcome("client-reset", n as u64 + 1);
    }
    assert_eq!(proxy.wait_access(2)[0]["bytes_in"].as_u64(), Some(TOTAL as u64));
}

#[test]
fn the_reset_of_a_backend_is_no_close_notify() {
    let authority = Authority::new();
    let server = Server::new("r", |mut stream| {
        drop(stream.read(&mut [0]));
        reset(stream);
    });
    let proxy = proxy_for(&authority, &server, "");
    for (n, config) in both(&authority).into_iter().enumerate() {
        let mut stream = shake(proxy.at(), &Arc::new(config), "db.example").unwrap();
        stream.write_all(b"x").unwrap();
        let ended: io::Error = stream.read(&mut [0; 10]).unwrap_err();
        assert!(is_reset(&ended), "{ended}");
        proxy.wait_outcome("backend-reset", n as u64 + 1);
    }
}

#[test]
fn an_idle_session_ends_with_close_notify() {
    let authority = Authority::new();
    let (tell, told) = channel();
    let server = Server::new("s", move |mut stream| tell.send(end_of(&mut stream)).unwrap());
    let proxy = proxy_for(&authority, &server, "idle_timeout = \"500ms\"");
    for (n, config) in both(&authority).into_iter().enumerate() {
        let mut stream = shake(proxy.at(), &Arc::new(config), "db.example").unwrap();
        assert_eq!(stream.read(&mut [0; 10]).unwrap(), 0);
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), End::Fin);
        proxy.wait_outcome("idle", n as u64 + 1);
    }
}
