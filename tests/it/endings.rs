//! Sessions that the balancer itself ends, and connects that it gives up on.

use std::time::{Duration, Instant};

use crate::harness::client::{End, connect, end_of, hold, ping, try_hold, who};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::unprobed;
use crate::harness::process::must;
use crate::harness::seat::{Blackhole, Seat};
use crate::harness::servers::{Server, entries};
use crate::harness::wait::{PATIENCE, eventually, throughout};
use std::io::{Read, Write};
use std::process::Command;
use std::sync::mpsc::channel;

fn greeter(listener: &str, pool: &str) -> (Server, Evenkeel) {
    let server = Server::greet("s");
    let proxy = Evenkeel::start(&unprobed(&entries(std::slice::from_ref(&server)), listener, pool));
    (server, proxy)
}

/// A server that reports how each of its connections ended.
fn reporting() -> (Server, std::sync::mpsc::Receiver<End>) {
    let (tell, told) = channel();
    let server = Server::new("s", move |mut stream| {
        stream.write_all(b"s\n").unwrap();
        tell.send(end_of(&mut stream)).unwrap();
    });
    (server, told)
}

#[test]
fn an_idle_session_ends_with_fin_on_both_sides() {
    let (server, told) = reporting();
    let list = entries(std::slice::from_ref(&server));
    let proxy = Evenkeel::start(&unprobed(&list, "idle_timeout = \"400ms\"", ""));
    let start = Instant::now();
    let mut held = hold(proxy.at());
    assert_eq!(end_of(&mut held.stream), End::Fin);
    assert!(start.elapsed() >= Duration::from_millis(400), "{:?}", start.elapsed());
    // Without the key it would be an hour.
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), End::Fin);
    proxy.wait_outcome("idle", 1);
    proxy.wait_idle();
}

#[test]
fn a_byte_in_either_direction_puts_the_idle_end_off() {
    // The limit is far above the pause, for a machine that stalls within one.
    let (_server, proxy) = greeter("idle_timeout = \"2s\"", "");
    let mut held = hold(proxy.at());
    let start = Instant::now();
    let mut next = Instant::now();
    while start.elapsed() < Duration::from_millis(4500) {
        next += Duration::from_millis(300);
        crate::harness::wait::pace(next);
        ping(&mut held.stream, "still here");
    }
    assert_eq!(end_of(&mut held.stream), End::Fin);
    proxy.wait_outcome("idle", 1);
}

#[test]
fn the_idle_timeout_bounds_half_closed_sessions_too() {
    let server = Server::new("s", |mut stream| {
        // Reads the client's end and then says nothing more.
        drop(stream.read(&mut [0; 8]));
        let start = Instant::now();
        while start.elapsed() < PATIENCE && stream.write_all(b"").is_ok() {
            if stream.peek(&mut [0; 1]).is_err() {
                return;
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
    });
    let list = entries(std::slice::from_ref(&server));
    let proxy = Evenkeel::start(&unprobed(&list, "idle_timeout = \"400ms\"", ""));
    let mut stream = connect(proxy.at());
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(end_of(&mut stream), End::Fin);
    proxy.wait_outcome("idle", 1);
}

#[test]
fn an_idle_timeout_of_zero_is_off() {
    let (_server, proxy) = greeter("idle_timeout = \"0s\"", "");
    let mut held = hold(proxy.at());
    throughout("the session goes on", Duration::from_millis(600), || proxy.sessions() == 1);
    ping(&mut held.stream, "still here");
}

#[test]
fn a_session_past_its_lifetime_is_reset_on_both_sides() {
    let (server, told) = reporting();
    let list = entries(std::slice::from_ref(&server));
    let proxy = Evenkeel::start(&unprobed(&list, "max_lifetime = \"1s\"", ""));
    let start = Instant::now();
    let mut held = hold(proxy.at());
    assert_eq!(end_of(&mut held.stream), End::Reset);
    let took = start.elapsed();
    assert!((Duration::from_millis(890)..Duration::from_secs(10)).contains(&took), "{took:?}");
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), End::Reset);
    proxy.wait_outcome("lifetime", 1);
}

#[test]
fn a_refused_connect_is_retried_on_another_backend() {
    let (dead, live) = (Seat::take(), Server::greet("live"));
    let list =
        format!("[{{ address = \"{}\", name = \"dead\" }}, {}]", dead.address(), live.entry(""));
    let proxy = Evenkeel::start(&unprobed(&list, "", "balance = \"round-robin\""));
    assert!((0..20).all(|_| who(proxy.at()) == "live"));
    let metrics = proxy.metrics();
    let failures = metrics.count("connect_failures_total", &[("backend", "dead")]);
    assert!(failures >= 1, "the dead backend was never tried");
    assert_eq!(metrics.count("connect_failures_total", &[("reason", "refused")]), failures);
    assert_eq!(metrics.count("retries_total", &[("pool", "p")]), failures);
    assert_eq!(metrics.count("sessions_total", &[("backend", "dead")]), 0);
    assert_eq!(proxy.backend("dead")["failures"], failures);
    let retried = proxy.wait_access(20).iter().filter(|line| line["attempts"] == 2).count();
    assert_eq!(retried as u64, failures);
}

#[test]
fn a_connect_that_hangs_is_given_up_and_retried_on_another_backend() {
    let (hole, live) = (Blackhole::open(), Server::greet("live"));
    let list =
        format!("[{{ address = \"{}\", name = \"hole\" }}, {}]", hole.address(), live.entry(""));
    let keys = "balance = \"first\"\nconnect_timeout = \"300ms\"";
    let proxy = Evenkeel::start(&unprobed(&list, "", keys));
    let start = Instant::now();
    assert_eq!(who(proxy.at()), "live");
    let took = start.elapsed();
    // The kernel alone would try for two minutes.
    assert!((Duration::from_millis(300)..Duration::from_secs(10)).contains(&took), "{took:?}");
    let labels = [("backend", "hole"), ("reason", "timeout")];
    assert_eq!(proxy.metrics().count("connect_failures_total", &labels), 1);
}

#[test]
fn a_single_backend_is_tried_again_within_the_window() {
    let server = Server::greet_later("s");
    let keys = "[pool.p.retry]\nattempts = 100\nbackoff = \"50ms\"\nwindow = \"10s\"";
    let list = entries(std::slice::from_ref(&server));
    let proxy = Evenkeel::start(&unprobed(&list, "", keys));
    let at = proxy.at();
    let client = std::thread::spawn(move || who(at));
    let tried = || proxy.metrics().count("connect_failures_total", &[]) >= 2;
    eventually("two connects were refused", PATIENCE, tried);
    server.start();
    assert_eq!(client.join().unwrap(), "s");
}

#[test]
fn the_backoff_lies_between_attempts_and_none_begins_after_the_window() {
    let seat = Seat::take();
    for (rules, attempts, least) in [
        ("backoff = \"300ms\"\nattempts = 3\nwindow = \"10s\"", 3, 600),
        ("backoff = \"10s\"\nattempts = 3\nwindow = \"9s\"", 1, 0),
    ] {
        let keys = format!("[pool.p.retry]\n{rules}");
        let proxy = Evenkeel::start(&unprobed(&format!("[\"{}\"]", seat.address()), "", &keys));
        let start = Instant::now();
        assert!(try_hold(proxy.at()).is_err());
        let took = start.elapsed();
        assert!(took >= Duration::from_millis(least), "{took:?}");
        assert!(took < Duration::from_secs(8), "{took:?}");
        let line = proxy.wait_access(1).remove(0);
        assert_eq!(
            (line["outcome"].as_str(), line["attempts"].as_u64()),
            (Some("refused"), Some(attempts))
        );
    }
}

#[test]
fn the_window_bounds_all_attempts_together() {
    let holes = [Blackhole::open(), Blackhole::open()];
    let list = format!("[\"{}\", \"{}\"]", holes[0].address(), holes[1].address());
    let keys = "connect_timeout = \"400ms\"\n[pool.p.retry]\nattempts = 100\nwindow = \"600ms\"";
    let proxy = Evenkeel::start(&unprobed(&list, "", keys));
    let start = Instant::now();
    assert!(try_hold(proxy.at()).is_err());
    let took = start.elapsed();
    // A hundred attempts would take 40 s.
    assert!((Duration::from_millis(580)..Duration::from_secs(10)).contains(&took), "{took:?}");
    assert_eq!(proxy.rejected("refused"), 1);
}

#[test]
fn a_client_that_leaves_while_the_connect_hangs_is_noticed() {
    let hole = Blackhole::open();
    let keys = "connect_timeout = \"2s\"\n[pool.p.retry]\nattempts = 1";
    let proxy = Evenkeel::start(&unprobed(&format!("[\"{}\"]", hole.address()), "", keys));
    let stream = connect(proxy.at());
    eventually("the session is being connected", PATIENCE, || proxy.sessions() == 1);
    crate::harness::client::reset(stream);
    let line = proxy.wait_access(1).remove(0);
    let outcome = line["outcome"].as_str().unwrap();
    assert!(outcome == "client-gone" || outcome == "refused", "{line}");
    proxy.wait_idle();
}

#[test]
fn both_sides_have_tcp_keepalive_as_configured() {
    if !std::path::Path::new("/usr/bin/ss").exists() {
        return eprintln!("skipped: ss not installed");
    }
    let (server, proxy) = greeter("keepalive = \"30s\"", "keepalive = \"40s\"");
    let held = hold(proxy.at());
    let client = held.stream.local_addr().unwrap();
    let (door, backend) = (proxy.at().to_string(), server.address().to_string());
    // Until the greeting is acknowledged, the timer shown is another one.
    eventually("one socket on each side has the timer", PATIENCE, || {
        let table = must(Command::new("ss").args(["-Htno", "state", "established"]));
        let with_timer = |one: &str, other: &str| {
            let line = |l: &&str| l.contains(one) && l.contains(other) && l.contains("(keepalive,");
            table.lines().filter(line).count()
        };
        with_timer(&door, &client.to_string()) == 1 && with_timer(&backend, "") == 1
    });
}

#[test]
fn sessions_leave_from_the_source_address_given() {
    let (tell, told) = channel();
    let server = Server::new("s", move |stream| {
        tell.send(stream.peer_addr().unwrap().ip().to_string()).unwrap();
    });
    let list = entries(std::slice::from_ref(&server));
    let keys = "source = [\"127.0.0.7\", \"127.0.0.8\"]";
    let proxy = Evenkeel::start(&unprobed(&list, "", keys));
    let mut seen = Vec::new();
    for _ in 0..4 {
        end_of(&mut connect(proxy.at()));
        seen.push(told.recv_timeout(PATIENCE).unwrap());
    }
    seen.sort();
    assert_eq!(seen, ["127.0.0.7", "127.0.0.7", "127.0.0.8", "127.0.0.8"]);
}
