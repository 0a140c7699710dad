//! A handshake is a part of the attempt: bounded with it, tried elsewhere, and counted.

use std::io::{Read, Write};
use std::time::Duration;

use super::authority::Authority;
use super::backend::Backend;
use super::{complaints, failures, file, refused};
use crate::harness::client::{reset, who};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::servers::Server;
use crate::harness::wait::{PATIENCE, until};

/// The file with a backend ahead of it that speaks no TLS.
fn behind(first: &Server, backend: &Backend, tls: &str, pool: &str) -> String {
    let entries = format!("{}, {}", first.entry(""), backend.entry());
    file(&[backend], tls, pool).replace(&backend.entry(), &entries)
}

const FIRST: &str = "balance = \"first\"";

#[test]
fn a_handshake_that_hangs_is_given_up_and_another_backend_is_tried() {
    let authority = Authority::new();
    let backend = Backend::start("b", &authority.sign(&["127.0.0.1"]));
    let silent = Server::silent("silent");
    // Long enough for a good handshake on a machine that stalls.
    let pool = "balance = \"first\"\nconnect_timeout = \"2s\"\nretry = { window = \"30s\" }";
    let proxy = Evenkeel::start(&behind(&silent, &backend, &authority.ca(), pool));
    assert_eq!(who(proxy.at()), "b");
    let metrics = proxy.metrics();
    let timeout = [("backend", "silent"), ("reason", "timeout")];
    assert_eq!(metrics.count("connect_failures_total", &timeout), 1);
    assert_eq!(metrics.count("retries_total", &[]), 1);
    assert_eq!(complaints(&proxy, "connect failed"), ["timed out in the tls handshake"]);
    let line = proxy.wait_access(1).remove(0);
    assert_eq!(line["attempts"], 2);
    assert!(line["connect_ms"].as_f64().unwrap() >= 1999.0, "{line}");
}

#[test]
fn a_backend_that_speaks_something_else_costs_an_attempt_and_a_word() {
    let authority = Authority::new();
    let backend = Backend::start("b", &authority.sign(&["127.0.0.1"]));
    let plain = Server::greet("plain");
    let proxy = Evenkeel::start(&behind(&plain, &backend, &authority.ca(), FIRST));
    for _ in 0..3 {
        assert_eq!(who(proxy.at()), "b");
    }
    assert_eq!(failures(&proxy, "other"), 3);
    let why = "tls: what it answered is not tls";
    assert_eq!(complaints(&proxy, "connect failed"), [why; 3]);
    assert_eq!(complaints(&proxy, "no tls with a backend"), [why]);
}

#[test]
fn a_backend_that_ends_or_resets_during_the_handshake_is_left() {
    let authority = Authority::new();
    let backend = Backend::start("b", &authority.sign(&["127.0.0.1"]));
    // It reads before it ends, so that its end is a FIN.
    let closing = Server::new("closing", |mut stream| {
        drop(stream.read(&mut [0; 16 * 1024]));
    });
    let proxy = Evenkeel::start(&behind(&closing, &backend, &authority.ca(), FIRST));
    assert_eq!(who(proxy.at()), "b");
    assert_eq!(failures(&proxy, "other"), 1);
    let why = "it closed the connection in the tls handshake";
    assert_eq!(complaints(&proxy, "connect failed"), [why]);

    let resetting = Server::new("resetting", |mut stream| {
        drop(stream.read(&mut [0; 1]));
        reset(stream);
    });
    let proxy = Evenkeel::start(&behind(&resetting, &backend, &authority.ca(), FIRST));
    assert_eq!(who(proxy.at()), "b");
    assert_eq!(failures(&proxy, "reset"), 1);
}

#[test]
fn a_backend_without_tls_is_ejected_like_one_that_refuses() {
    let authority = Authority::new();
    let backend = Backend::start("b", &authority.sign(&["127.0.0.1"]));
    let plain = Server::new("plain", |mut stream| {
        drop(stream.write_all(b"220 not what you think\r\n"));
        drop(stream.read(&mut [0; 16 * 1024]));
    });
    let passive = "passive = { window = \"10m\", eject_for = \"20m\" }";
    let toml = behind(&plain, &backend, &authority.ca(), FIRST);
    let proxy = Evenkeel::start(&toml.replace("passive = { failures = 0 }", passive));
    until("it is ejected", PATIENCE, || {
        assert_eq!(who(proxy.at()), "b");
        (!proxy.backend("plain")["ejected_until"].is_null()).then_some(())
    });
    let told = proxy.events().into_iter().find(|event| event["to"] == "ejected").unwrap();
    let reason = told["reason"].as_str().unwrap();
    assert!(reason.contains("failed in tls"), "{reason}");
}

#[test]
fn with_one_backend_the_window_bounds_all_handshakes() {
    let authority = Authority::new();
    let backend = Backend::start("b", &authority.sign(&["127.0.0.1"]));
    let silent = Server::silent("silent");
    let pool = "connect_timeout = \"1s\"\nretry = { attempts = 100, window = \"3s\" }";
    let toml =
        file(&[&backend], &authority.ca(), pool).replace(&backend.entry(), &silent.entry(""));
    let proxy = Evenkeel::start(&toml);
    refused(&proxy, "timed out in the tls handshake");
    let line = proxy.wait_access(1).remove(0);
    assert_eq!(line["outcome"], "refused");
    // A machine that stalls has time for fewer.
    assert!((2..=4).contains(&line["attempts"].as_u64().unwrap()), "{line}");
    assert!(line["duration_ms"].as_f64().unwrap() < Duration::from_secs(15).as_millis() as f64);
}
