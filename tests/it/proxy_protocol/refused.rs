//! Whoever sends no header, a broken one, or none in time: nothing reaches a backend.

use std::io::Write;
use std::net::Shutdown;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::{binary, saying, v1, v2, v2_with};
use crate::harness::client::{End, connect, end_of, is_reset, ping, read_line, try_connect};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::unprobed;
use crate::harness::servers::{Server, entries};
use crate::harness::wait::{PATIENCE, eventually, until};

fn before(server: &Server, keys: &str) -> Evenkeel {
    let keys = format!("accept_proxy_protocol = true\n{keys}");
    Evenkeel::start(&unprobed(&entries(std::slice::from_ref(server)), &keys, ""))
}

#[test]
fn a_header_that_breaks_the_specification_ends_the_session() {
    let server = Server::greet("s");
    let proxy = before(&server, "handshake_timeout = \"1h\"");
    let (source, destination) = ("192.0.2.1:4000", "198.51.100.1:443");
    let mut newer = v2(source, destination);
    newer[12] = 0x31;
    let broken: [&[u8]; 14] = [
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 4000 443\nhello",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 4000 65536\r\nhello",
        b"PROXY TCP4 192.0.2.1 198.51.100.1 04000 443\r\nhello",
        b"PROXY TCP4 2001:db8::1 2001:db8::2 4000 443\r\nhello",
        b"PROXY TCP4 192.0.2.1  198.51.100.1 4000 443\r\nhello",
        &[&b"PROXY UNKNOWN "[..], &[b'x'; 100]].concat(),
        &newer,
        &binary(0x22, 0x11, &[1; 12]),
        &binary(0x21, 0x11, &[1; 11]),
        &binary(0x21, 0x51, &[1; 300]),
        &v2_with(source, destination, &[4, 0, 9, 1]),
        &v2_with(source, destination, &[3, 0, 4, 1, 2, 3, 4]),
    ];
    for bytes in &broken {
        let mut stream = saying(proxy.at(), bytes);
        assert_eq!(end_of(&mut stream), End::Reset, "{}", bytes.escape_ascii());
    }
    // Ended before it was complete.
    let mut half = saying(proxy.at(), &v1(source, destination)[..20]);
    half.shutdown(Shutdown::Write).unwrap();
    assert_eq!(end_of(&mut half), End::Reset);
    let count = broken.len() + 1;
    let lines = proxy.wait_access(count);
    assert!(lines.iter().all(|line| {
        line["outcome"] == "proxy-header" && line["backend"].is_null() && line["attempts"] == 0
    }));
    assert_eq!(lines.len(), count);
    eventually("each is counted", PATIENCE, || proxy.rejected("proxy-header") == count as u64);
    let metrics = proxy.metrics();
    assert_eq!(
        (metrics.count("rejected_total", &[]), metrics.count("sessions_total", &[])),
        (15, 0)
    );
    assert_eq!(server.accepted(), 0, "no backend has heard of them");
    let mut good = saying(proxy.at(), &v1(source, destination));
    assert_eq!(read_line(&mut good).unwrap(), "s");
}

#[test]
fn who_is_silent_or_slow_is_refused_when_the_time_is_over() {
    let server = Server::greet("s");
    let proxy = before(&server, "handshake_timeout = \"1s\"");
    let mut silent = connect(proxy.at());
    let mut half = saying(proxy.at(), &v1("192.0.2.1:4000", "198.51.100.1:443")[..20]);
    assert_eq!(end_of(&mut silent), End::Reset);
    assert_eq!(end_of(&mut half), End::Reset);
    // It sends something all the time, and would go on for an hour.
    let mut slow = saying(proxy.at(), &binary(0x21, 0x11, &[4; 65_535])[..16]);
    let began = Instant::now();
    until("the slow one is cut off", PATIENCE, || {
        std::thread::park_timeout(Duration::from_millis(20));
        slow.write_all(&[0]).err().filter(is_reset)
    });
    assert!(began.elapsed() < Duration::from_secs(15));
    eventually("each is counted", PATIENCE, || proxy.rejected("handshake-timeout") == 3);
    let lines = proxy.wait_access(3);
    assert!(lines.iter().all(|line| line["outcome"] == "handshake-timeout"));
    assert!(lines.iter().all(|line| line["duration_ms"].as_f64() >= Some(999.0)), "{lines:?}");
    assert_eq!((server.accepted(), proxy.rejected("proxy-header")), (0, 0));
}

#[test]
fn who_has_not_said_who_it_is_takes_a_place() {
    let server = Server::echo("s");
    let proxy = before(&server, "max_sessions = 3");
    let taken = || proxy.metrics().count("worker_sessions", &[]);
    let silent: Vec<_> = (0..3).map(|_| connect(proxy.at())).collect();
    eventually("all three have come in", PATIENCE, || taken() == 3);
    let header = v2("192.0.2.1:4000", "198.51.100.1:443");
    // The reset may come while it connects, or writes.
    let late = try_connect(proxy.at()).and_then(|mut late| {
        late.write_all(&header)?;
        Ok(late)
    });
    assert!(late.map_or_else(|error| is_reset(&error), |mut late| end_of(&mut late) == End::Reset));
    assert_eq!(proxy.rejected("max-sessions"), 1);
    drop(silent);
    eventually("their places are free", PATIENCE, || taken() == 0);
    let mut served = saying(proxy.at(), &header);
    ping(&mut served, "hello");
}

#[test]
fn a_stop_does_not_wait_for_who_never_speaks() {
    let server = Server::greet("s");
    let toml = unprobed(
        &entries(std::slice::from_ref(&server)),
        "accept_proxy_protocol = true\nhandshake_timeout = \"1h\"",
        "",
    );
    let mut proxy = Evenkeel::start(&format!("[process]\nshutdown_timeout = \"1s\"\n{toml}"));
    let mut silent = connect(proxy.at());
    proxy.signal(Signal::TERM);
    assert_eq!(end_of(&mut silent), End::Reset);
    assert_eq!(proxy.exit_code(PATIENCE), Some(0));
}
