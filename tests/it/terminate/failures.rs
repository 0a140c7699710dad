//! Handshakes that fail or are never completed: what the client sees, and what is counted.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustls::ClientConnection;
use rustls::pki_types::ServerName;

use super::Scene;
use super::client::{ask, hello, modern, old, shake};
use crate::harness::client::{End, connect, end_of, is_reset, try_connect};
use crate::harness::hello::records;
use crate::harness::wait::{PATIENCE, eventually, pace};

#[test]
fn who_fails_hears_why_though_it_had_more_to_say() {
    let scene = Scene::new("", "min_version = \"1.3\"");
    let mut stream = connect(scene.proxy.at());
    stream.write_all(&hello(&Arc::new(old(&scene.authority)), "db.example")).unwrap();
    // A close with this unread would be a reset, and take the alert away.
    stream.write_all(&[0; 100_000]).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert_eq!((answer[0], &answer[3..]), (21, &[0, 2, 2, 70][..]), "{answer:?}");

    // Counted before it was told.
    assert_eq!(scene.proxy.rejected("tls"), 1);
    assert_eq!(scene.handshakes("none", "failed"), 1);
    let lines = scene.proxy.wait_access(1);
    assert_eq!((&lines[0]["outcome"], &lines[0]["sni"]), (&"tls".into(), &"db.example".into()));
    assert_eq!(lines[0]["backend"], serde_json::Value::Null);
    assert_eq!(scene.backend.accepted(), 0);
}

#[test]
fn what_an_attacker_can_cause_is_in_the_log_only_where_it_is_asked_for() {
    let scene = Scene::new("", "");
    for _ in 0..20 {
        let mut stream = connect(scene.proxy.at());
        let mut broken = hello(&Arc::new(modern(&scene.authority)), "db.example");
        // Its key share is no longer one.
        let end = broken.len();
        broken[end - 200..].fill(0xff);
        stream.write_all(&broken).unwrap();
        end_of(&mut stream);
    }
    eventually("all are counted", PATIENCE, || scene.proxy.rejected("tls") == 20);
    let loud =
        |event: &serde_json::Value| matches!(event["level"].as_str(), Some("WARN" | "ERROR"));
    let loud: Vec<_> = scene.proxy.events().into_iter().filter(loud).collect();
    assert!(loud.is_empty(), "{loud:?}");
}

#[test]
fn a_client_that_does_not_trust_the_certificate_is_counted_as_failed() {
    let scene = Scene::new("", "");
    let stranger = Arc::new(modern(&crate::harness::authority::Authority::new()));
    shake(scene.proxy.at(), &stranger, "db.example").unwrap_err();
    eventually("it is counted", PATIENCE, || scene.handshakes("1.3", "failed") == 1);
    eventually("it is rejected", PATIENCE, || scene.proxy.rejected("tls") == 1);
    assert_eq!(scene.backend.accepted(), 0);
}

#[test]
fn a_message_in_tiny_records_is_not_gathered_for_ever() {
    let scene = Scene::new("handshake_timeout = \"5m\"", "");
    let mut stream = connect(scene.proxy.at());
    stream.write_all(&hello(&Arc::new(old(&scene.authority)), "db.example")).unwrap();
    stream.read_exact(&mut [0; 5]).unwrap();
    // The longest message that there may be, of which a third comes, with the sixfold in frames.
    let message = [&[16, 0, 0xff, 0xff][..], &[0; 23_000]].concat();
    stream.write_all(&records(&message, 1)).ok();
    eventually("it is rejected", PATIENCE, || scene.proxy.rejected("tls") == 1);
}

#[test]
fn the_deadline_is_of_the_whole_handshake_and_not_renewed_by_each_byte() {
    let scene = Scene::new("handshake_timeout = \"1s\"", "");
    let config = Arc::new(modern(&scene.authority));
    let name = ServerName::try_from("db.example").unwrap();
    let mut connection = ClientConnection::new(config, name).unwrap();
    let mut socket = try_connect(scene.proxy.at()).unwrap();
    let begun = Instant::now();
    connection.write_tls(&mut socket).unwrap();
    while !connection.wants_write() {
        connection.read_tls(&mut socket).unwrap();
        connection.process_new_packets().unwrap();
    }
    let mut rest = Vec::new();
    connection.write_tls(&mut rest).unwrap();
    assert!(rest.len() > 60, "too few bytes to be slow with: {}", rest.len());
    // Ten bytes a second: whoever counts anew at each would wait six seconds and longer.
    let (mut next, mut sent) = (Instant::now(), 0);
    let failed = rest.chunks(1).find_map(|byte| {
        next += Duration::from_millis(100);
        pace(next);
        sent += 1;
        socket.write_all(byte).err()
    });
    assert!(is_reset(&failed.expect("it was let finish")));
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!(scene.proxy.rejected("handshake-timeout"), 1);
    assert_eq!(scene.handshakes("none", "timeout"), 1);
    assert!(sent > 1, "it was cut at once");
    // Who is quick is served.
    ask(scene.proxy.at(), &Arc::new(modern(&scene.authority)), "db.example").unwrap();
}

#[test]
fn five_hundred_half_open_handshakes_end_at_the_deadline_and_leave_nothing() {
    let scene = Scene::new("handshake_timeout = \"2s\"", "");
    let before = scene.proxy.descriptors();
    let hello = hello(&Arc::new(modern(&scene.authority)), "db.example");
    let half_open: Vec<_> = (0..500)
        .map(|_| {
            let mut stream = connect(scene.proxy.at());
            stream.write_all(&hello).unwrap();
            stream
        })
        .collect();
    let ends: Vec<_> = thread::scope(|scope| {
        let end = |mut stream| scope.spawn(move || end_of(&mut stream));
        let ends: Vec<_> = half_open.into_iter().map(end).collect();
        ends.into_iter().map(|end| end.join().unwrap()).collect()
    });
    assert!(ends.iter().all(|end| *end == End::Reset), "{ends:?}");
    assert_eq!(scene.proxy.rejected("handshake-timeout"), 500);
    let active = || scene.proxy.metrics().count("tls_handshakes_active", &[("listener", "l")]);
    assert_eq!(active(), 0);
    // A few are of the balancer's own and may have been opened since: each client had one.
    let back = || scene.proxy.descriptors() < before + 50;
    eventually("their descriptors are closed", PATIENCE, back);
    assert_eq!(scene.backend.accepted(), 0);
}

#[test]
fn an_end_in_the_middle_of_a_handshake_is_counted_as_failed() -> io::Result<()> {
    let scene = Scene::new("", "");
    let hello = hello(&Arc::new(modern(&scene.authority)), "db.example");
    let mut stream = connect(scene.proxy.at());
    stream.write_all(&hello)?;
    // The answer has come, so the handshake is under way.
    stream.read_exact(&mut [0; 5])?;
    drop(stream);
    eventually("it is counted", PATIENCE, || scene.handshakes("1.3", "failed") == 1);
    assert_eq!(scene.proxy.rejected("tls"), 1);
    Ok(())
}
