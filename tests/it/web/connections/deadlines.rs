//! How long a client may take for what it says and for what it is told.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use super::{GET, abuse, answered, backend, hear, say, statuses};
use crate::harness::client::{connect, try_connect};
use crate::harness::servers::Server;
use crate::harness::wait::{PATIENCE, eventually, pace, throughout};
use crate::web::http2::start;

#[test]
fn a_client_that_never_asks_is_closed_without_a_word() {
    let server = backend(|_| {});
    let proxy = start(&server, "header_timeout = \"1s\"");
    let mut stream = connect(proxy.at());
    assert_eq!(hear(&mut stream).as_deref(), Some(""));
    assert_eq!(proxy.rejected("handshake-timeout"), 1);
    assert_eq!(proxy.wait_access(1)[0]["outcome"], "handshake-timeout");
}

#[test]
fn a_head_that_does_not_come_to_its_end_is_408() {
    let server = backend(|_| {});
    let proxy = start(&server, "header_timeout = \"1s\"");
    let mut first = say(&proxy, "GET / HTTP/1.1\r\n");
    assert_eq!(statuses(&hear(&mut first).unwrap()), ["408"]);
    // What could still be the preface of HTTP/2.
    let mut preface = say(&proxy, "PRI * HTTP");
    assert_eq!(statuses(&hear(&mut preface).unwrap()), ["408"]);
    let mut later = say(&proxy, GET);
    answered(&mut later);
    later.write_all(b"GET").unwrap();
    assert_eq!(statuses(&hear(&mut later).unwrap()), ["408"]);
    assert_eq!(abuse(&proxy, "slow-head"), 3);
}

#[test]
fn the_time_for_a_head_is_not_renewed_by_each_byte() {
    let server = backend(|_| {});
    let proxy = start(&server, "header_timeout = \"1s\"");
    let mut stream = say(&proxy, "GET / HTTP/1.1\r\nx: ");
    let mut writing = stream.try_clone().unwrap();
    let dribbling = thread::spawn(move || {
        let began = Instant::now();
        while began.elapsed() < PATIENCE && writing.write_all(b"y").is_ok() {
            thread::park_timeout(Duration::from_millis(50));
        }
    });
    assert_eq!(statuses(&hear(&mut stream).unwrap()), ["408"]);
    drop(stream);
    dribbling.join().unwrap();
}

#[test]
fn between_requests_the_time_is_another_one() {
    let server = backend(|_| {});
    let proxy = start(&server, "header_timeout = \"1s\"\nidle_timeout = \"6s\"");
    let mut stream = say(&proxy, GET);
    answered(&mut stream);
    // Longer than for a head, and longer than buffers are kept for the next request.
    let still = |stream: &TcpStream| {
        stream.set_nonblocking(true).unwrap();
        let alive = stream
            .peek(&mut [0])
            .is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        stream.set_nonblocking(false).unwrap();
        alive
    };
    throughout("it is kept", Duration::from_secs(3), || still(&stream));
    stream.write_all(GET.as_bytes()).unwrap();
    answered(&mut stream);
    let began = Instant::now();
    assert_eq!(hear(&mut stream).as_deref(), Some(""));
    assert!(began.elapsed() > Duration::from_secs(4));
    assert_eq!(proxy.rejected("handshake-timeout"), 0);
}

#[test]
fn a_body_that_stands_still_is_408() {
    let server = backend(|_| {});
    let proxy = start(&server, "idle_timeout = \"1s\"");
    let mut stream = say(&proxy, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nhello");
    assert_eq!(statuses(&hear(&mut stream).unwrap()), ["408"]);
    assert_eq!(abuse(&proxy, "slow-body"), 1);
    proxy.wait_outcome("idle", 1);
    eventually("the backend has been left", PATIENCE, || server.open() == 0);
}

#[test]
fn an_answer_that_is_not_taken_ends_with_a_reset() {
    let server = Server::new("b", |mut stream| {
        crate::harness::http::read_head(&mut stream);
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n";
        let mut sent = stream.write_all(head);
        while sent.is_ok() {
            sent = stream.write_all(&[b'x'; 65536]);
        }
    });
    let proxy = start(&server, "idle_timeout = \"1s\"");
    let mut stream = say(&proxy, GET);
    proxy.wait_outcome("idle", 1);
    assert_eq!(abuse(&proxy, "slow-read"), 1);
    assert_eq!(hear(&mut stream), None);
    proxy.wait_idle();
}

#[test]
fn a_backend_may_take_longer_than_anybody_may_be_idle() {
    let server = backend(|_| pace(Instant::now() + Duration::from_secs(3)));
    let proxy = start(&server, "idle_timeout = \"1s\"\nheader_timeout = \"1s\"");
    let mut stream = say(&proxy, GET);
    answered(&mut stream);
}

#[test]
fn hundreds_of_slow_clients_keep_nobody_else_from_being_served() {
    let server = backend(|_| {});
    let proxy = start(&server, "header_timeout = \"3s\"");
    let before = proxy.descriptors();
    let slow: Vec<_> = (0..400).map(|_| say(&proxy, "GET / HTTP/1.1\r\nx: ")).collect();
    let mut held = say(&proxy, GET);
    answered(&mut held);
    let mut ends: Vec<_> = slow.into_iter().map(Some).collect();
    eventually("all slow ones are gone", PATIENCE, || {
        for slot in &mut ends {
            if slot.as_mut().is_some_and(|stream| stream.write_all(b"y").is_err()) {
                *slot = None;
            }
        }
        let mut other = try_connect(proxy.at()).unwrap();
        other.write_all(GET.as_bytes()).unwrap();
        answered(&mut other);
        ends.iter().all(Option::is_none)
    });
    assert_eq!(abuse(&proxy, "slow-head"), 400);
    drop(held);
    eventually("their descriptors are free", PATIENCE, || proxy.descriptors() <= before + 20);
    proxy.wait_idle();
}
