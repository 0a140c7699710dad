//! Who says too much, too little, or nothing: bounded in memory and in time, and counted.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::{answered, before};
use crate::harness::client::{End, connect, end_of, is_reset, reset};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::hello::{by_hand, message, real, records};
use crate::harness::servers::Server;
use crate::harness::wait::{PATIENCE, eventually, until};

/// As much as is read of a first flight.
const LONGEST: usize = 64 * 1024;

fn refusing(keys: &str) -> (Server, Evenkeel) {
    let server = Server::greet("a");
    let proxy = before(std::slice::from_ref(&server), keys, &["sni = \"a.example\"\npool = \"a\""]);
    (server, proxy)
}

/// A message that says it is as long as a flight may be, in small records.
fn endless() -> Vec<u8> {
    let [_, length @ ..] = 60_000_u32.to_be_bytes();
    records(&[&[1][..], &length, &[3; 60_000]].concat(), 10)
}

/// Writes until it is done or the other side has had enough.
fn pour(mut stream: TcpStream, bytes: &[u8]) -> End {
    match stream.write_all(bytes) {
        Err(error) if is_reset(&error) => End::Reset,
        written => {
            written.unwrap();
            end_of(&mut stream)
        }
    }
}

#[test]
fn a_megabyte_of_garbage_is_refused_and_not_kept() {
    let (server, proxy) = refusing("handshake_timeout = \"1h\"");
    let garbage: Vec<u8> = (0..1_000_000_u32)
        .map(|i| (i.wrapping_mul(2_654_435_761) >> 11).to_le_bytes()[0])
        .collect();
    let as_tls = [&[22, 3, 1, 0x3f, 0xff, 1, 0, 0x3f, 0xfb][..], &garbage].concat();
    let mut count = 0;
    for bytes in [&garbage, &as_tls, &endless()] {
        for _ in 0..5 {
            assert_eq!(pour(connect(proxy.at()), bytes), End::Reset);
            count += 1;
        }
    }
    eventually("each is counted", PATIENCE, || proxy.rejected("no-route") == count);
    assert_eq!(server.accepted(), 0);
    assert_eq!(answered(proxy.at(), &real("a.example", &[])), "a");
}

#[test]
fn five_hundred_who_stay_silent_and_as_many_who_stop_short_are_closed_at_the_deadline() {
    let (server, proxy) = refusing("handshake_timeout = \"3s\"\nbacklog = 4096");
    let idle = proxy.resident_kib();
    let most = &endless()[..LONGEST - 100];
    let mut streams = Vec::new();
    for number in 0..1_000 {
        let mut stream = connect(proxy.at());
        if number % 2 == 0 {
            // Whoever is refused in the meantime may say so.
            drop(stream.write_all(most));
        }
        streams.push(stream);
    }
    let peak = proxy.resident_kib();
    // What was read of all of them at most, and as much again for everything else.
    let bound = 500 * (LONGEST as u64 / 1024) * 2;
    assert!(peak.saturating_sub(idle) < bound, "{idle} KiB became {peak} KiB");
    for mut stream in streams {
        assert_eq!(end_of(&mut stream), End::Reset);
    }
    eventually("each is counted", PATIENCE, || proxy.rejected("handshake-timeout") == 1_000);
    let lines = proxy.wait_access(1_000);
    assert!(lines.iter().all(|line| line["outcome"] == "handshake-timeout"));
    assert_eq!((lines.len(), server.accepted()), (1_000, 0));
    assert_eq!(proxy.metrics().count("worker_sessions", &[]), 0);
}

#[test]
fn the_deadline_is_not_renewed_by_each_byte() {
    let (server, proxy) = refusing("pool = \"a\"\nhandshake_timeout = \"1s\"");
    let flight = records(message(&real("a.example", &[])), 1);
    let mut slow = connect(proxy.at());
    let (began, mut bytes) = (Instant::now(), flight.iter());
    until("the slow one is cut off", PATIENCE, || {
        std::thread::park_timeout(Duration::from_millis(20));
        let byte = bytes.next().expect("ten thousand bytes take longer");
        slow.write_all(&[*byte]).err().filter(is_reset)
    });
    assert!(began.elapsed() < Duration::from_secs(15));
    eventually("it is counted", PATIENCE, || proxy.rejected("handshake-timeout") == 1);
    let line = proxy.wait_access(1).pop().unwrap();
    assert!(line["duration_ms"].as_f64() >= Some(999.0), "{line}");
    assert_eq!(server.accepted(), 0, "silence is not sent to a pool");
}

#[test]
fn who_leaves_without_a_word_is_gone_and_who_breaks_off_is_counted() {
    let (server, proxy) = refusing("pool = \"a\"\nhandshake_timeout = \"1h\"");
    // As a check does that only wants to know whether somebody listens.
    drop(connect(proxy.at()));
    reset(connect(proxy.at()));
    let lines = proxy.wait_access(2);
    assert!(lines.iter().all(|line| line["outcome"] == "client-gone" && line["pool"].is_null()));
    assert_eq!(proxy.metrics().count("rejected_total", &[]), 0);
    let whole = by_hand(Some(b"a.example"));
    let mut half = connect(proxy.at());
    half.write_all(&whole[..30]).unwrap();
    half.shutdown(Shutdown::Write).unwrap();
    assert_eq!(end_of(&mut half), End::Reset);
    eventually("it is counted", PATIENCE, || proxy.rejected("tls") == 1);
    assert_eq!(proxy.wait_access(3)[2]["outcome"], "tls");
    assert_eq!(server.accepted(), 0);
}

#[test]
fn a_stop_does_not_wait_for_a_hello() {
    let server = Server::greet("a");
    let toml = super::file(
        "handshake_timeout = \"1h\"",
        &super::route("sni = \"a.example\"\npool = \"a\""),
        &[server],
    );
    let mut proxy = Evenkeel::start(&format!("[process]\nshutdown_timeout = \"1s\"\n{toml}"));
    let mut silent = connect(proxy.at());
    silent.write_all(&[22, 3]).unwrap();
    proxy.signal(rustix::process::Signal::TERM);
    assert_eq!(end_of(&mut silent), End::Reset);
    assert_eq!(proxy.exit_code(PATIENCE), Some(0));
}
