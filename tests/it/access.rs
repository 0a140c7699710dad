//! The access log: one line for each session, true in every field.

use crate::harness::client::{close, connect, hold, ping, reset};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::unprobed;
use crate::harness::servers::{Server, entries};
use crate::harness::wait::{PATIENCE, eventually};

fn greeter() -> (Server, String) {
    let server = Server::greet("s");
    let list = entries(std::slice::from_ref(&server));
    (server, unprobed(&list, "", ""))
}

#[test]
fn a_finished_session_is_one_line_with_every_field() {
    let (_server, toml) = greeter();
    let proxy = Evenkeel::start(&toml);
    let mut held = hold(proxy.at());
    let (client, local) = (held.stream.local_addr().unwrap(), held.stream.peer_addr().unwrap());
    ping(&mut held.stream, "hello");
    assert!(proxy.access().is_empty(), "a line comes when the session has ended");
    close(held.stream);
    let line = proxy.wait_access(1).remove(0);
    for (field, value) in [
        ("listener", "l"),
        ("protocol", "tcp"),
        ("pool", "p"),
        ("backend", "s"),
        ("outcome", "ok"),
        ("client", &client.to_string()),
        ("local", &local.to_string()),
    ] {
        assert_eq!(line[field].as_str(), Some(value), "{field} in {line}");
    }
    for (field, value) in [("attempts", 1), ("bytes_in", 5), ("bytes_out", 7)] {
        assert_eq!(line[field].as_u64(), Some(value), "{field} in {line}");
    }
    for field in ["duration_ms", "connect_ms", "first_byte_ms"] {
        assert!(line[field].is_number(), "{field} in {line}");
    }
    assert!(line["first_byte_ms"].as_f64() <= line["duration_ms"].as_f64(), "{line}");
    let time = line["time"].as_str().unwrap();
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000Z");
}

#[test]
fn every_session_leaves_exactly_one_line() {
    let (_server, toml) = greeter();
    let proxy = Evenkeel::start(&toml);
    let at = proxy.at();
    let client = move || {
        for i in 0..24 {
            let held = hold(at);
            if i % 2 == 0 { close(held.stream) } else { reset(held.stream) }
        }
    };
    let clients: Vec<_> = (0..8).map(|_| std::thread::spawn(client)).collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    proxy.wait_idle();
    let lines = proxy.wait_access(192);
    assert_eq!(lines.len(), 192);
    let metrics = proxy.metrics();
    for outcome in ["ok", "client-reset"] {
        let said = lines.iter().filter(|line| line["outcome"] == outcome).count();
        assert_eq!(said, 96, "{outcome}");
        assert_eq!(metrics.count("sessions_total", &[("outcome", outcome)]), 96, "{outcome}");
    }
    assert_eq!(metrics.count("access_log_dropped_total", &[]), 0);
}

#[test]
fn the_access_log_may_go_to_standard_output() {
    let (_server, toml) = greeter();
    let log = "[log]\nformat = \"json\"\naccess = \"stdout\"\n";
    let proxy = Evenkeel::start(&(toml + log));
    close(hold(proxy.at()).stream);
    eventually("a line with an outcome", PATIENCE, || {
        proxy.events().iter().any(|event| event["outcome"] == "ok")
    });
}

#[test]
fn without_being_asked_for_there_is_no_access_log() {
    let (_server, toml) = greeter();
    let proxy = Evenkeel::start(&(toml + "[log]\nformat = \"json\"\n"));
    close(hold(proxy.at()).stream);
    proxy.wait_outcome("ok", 1);
    assert!(!proxy.log().contains("outcome"), "{}", proxy.log());
}

#[test]
fn a_session_without_a_byte_from_the_backend_has_no_first_byte_time() {
    let server = Server::silent("s");
    let proxy = Evenkeel::start(&unprobed(&entries(std::slice::from_ref(&server)), "", ""));
    close(connect(proxy.at()));
    let line = proxy.wait_access(1).remove(0);
    assert!(line.get("first_byte_ms").is_none_or(serde_json::Value::is_null), "{line}");
    assert_eq!(line["outcome"], "ok");
}
