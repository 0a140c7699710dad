//! Bodies both ways: as they come, to their end, and not beyond what they may be.

use std::io::{Read, Write};
use std::sync::Mutex;
use std::sync::mpsc;

use crate::harness::client::connect;
use crate::harness::evenkeel::Evenkeel;
use crate::harness::wait::PATIENCE;
use crate::harness::{files, http};
use crate::web::recorder::{Recorder, answer};

fn start(backend: &Recorder, pool: &str, route: &str) -> Evenkeel {
    let backends = format!("[{}]", backend.server.entry(""));
    let file = files::unprobed(&backends, "protocol = \"http\"\n", pool);
    Evenkeel::start(&format!("{file}\n[[listener.l.route]]\npool = \"p\"\n{route}\n"))
}

/// Writes, and reads until `end` has come.
fn talk(stream: &mut (impl Read + Write), said: &str, end: &str) -> String {
    stream.write_all(said.as_bytes()).unwrap();
    let mut heard = Vec::new();
    let mut byte = [0];
    while !heard.ends_with(end.as_bytes()) {
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&heard));
        heard.push(byte[0]);
    }
    String::from_utf8(heard).unwrap()
}

#[test]
fn trailers_go_both_ways() {
    let chunked = "HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n\
                   3\r\nabc\r\n0\r\nx-sum: 6\r\n\r\n";
    let backend = Recorder::new("b", move |_| chunked.into());
    let evenkeel = start(&backend, "", "");
    let said = "POST / HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: te\r\ntrailer: x-end\r\n\
                transfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-end: 1\r\n\r\n";
    let told = talk(&mut connect(evenkeel.at()), said, "x-sum: 6\r\n\r\n");
    assert!(told.contains("3\r\nabc\r\n0\r\n"), "{told}");
    let seen = &backend.seen()[0];
    assert_eq!(seen.all("te"), ["trailers"]);
    assert_eq!(seen.body, "2\r\nhi\r\n0\r\nx-end: 1\r\n\r\n");
}

#[test]
fn a_get_with_a_body_of_unknown_length_keeps_it() {
    let backend = Recorder::new("b", |_| answer(200, "", "ok"));
    let evenkeel = start(&backend, "", "");
    let said =
        "GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
    talk(&mut connect(evenkeel.at()), said, "\r\n\r\nok");
    assert_eq!(backend.seen()[0].body, "2\r\nhi\r\n0\r\n\r\n");
}

#[test]
fn answers_without_a_body_leave_the_connection_for_the_next() {
    let backend = Recorder::new("b", |seen| match seen.head.split(' ').nth(1).unwrap() {
        "/head" => "HTTP/1.1 200 X\r\ncontent-length: 5\r\n\r\n".into(),
        "/204" => "HTTP/1.1 204 X\r\n\r\n".into(),
        "/304" => "HTTP/1.1 304 X\r\netag: \"x\"\r\n\r\n".into(),
        _ => answer(200, "", "last"),
    });
    let evenkeel = start(&backend, "", "");
    let said = "HEAD /head HTTP/1.1\r\nhost: a\r\n\r\nGET /204 HTTP/1.1\r\nhost: a\r\n\r\n\
                GET /304 HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n";
    let told = talk(&mut connect(evenkeel.at()), said, "\r\n\r\nlast");
    let heads: Vec<_> = told.split("HTTP/1.1 ").skip(1).collect();
    assert_eq!(heads.len(), 4, "{told}");
    assert!(heads[0].contains("content-length: 5\r\n") && heads[0].ends_with("\r\n\r\n"), "{told}");
    for head in &heads[1..3] {
        assert!(!head.contains("content-length") && !head.contains("transfer-encoding"), "{told}");
    }
    assert!(heads[2].contains("etag: \"x\""), "{told}");
    assert_eq!(backend.server.accepted(), 1);
}

#[test]
fn a_body_is_asked_for_where_the_client_waits_for_that() {
    let backend = Recorder::new("b", |_| answer(200, "", "ok"));
    let evenkeel = start(&backend, "", "");
    let mut client = connect(evenkeel.at());
    let said = "POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
    assert_eq!(talk(&mut client, said, "\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
    talk(&mut client, "hi", "\r\n\r\nok");
    let seen = &backend.seen()[0];
    assert_eq!((&*seen.body, seen.all("expect")), ("hi", vec![]));
}

#[test]
fn events_are_passed_on_as_they_happen() {
    let (go, goes) = mpsc::channel::<()>();
    let goes = Mutex::new(goes);
    let backend = Recorder::with("b", move |_, stream| {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                    transfer-encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        // The next is sent only when the client has the first.
        goes.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        stream.write_all(b"9\r\ndata: 2\n\n\r\n0\r\n\r\n").is_ok()
    });
    let evenkeel = start(&backend, "", "");
    let mut client = connect(evenkeel.at());
    talk(&mut client, "GET / HTTP/1.1\r\nhost: a\r\n\r\n", "data: 1\n\n\r\n");
    go.send(()).unwrap();
    talk(&mut client, "", "data: 2\n\n\r\n0\r\n\r\n");
}

#[test]
fn a_body_beyond_its_bound_is_refused() {
    let backend = Recorder::new("b", |_| answer(200, "", "ok"));
    let evenkeel = start(&backend, "", "max_body = \"10B\"");
    let told = http::send(evenkeel.at(), "POST", "/", &[], &"x".repeat(11));
    assert_eq!((told.status, backend.server.accepted()), (413, 0));
    let said = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n\
                8\r\n12345678\r\n8\r\n12345678\r\n0\r\n\r\n";
    let told = talk(&mut connect(evenkeel.at()), said, "\r\n\r\n");
    assert!(told.starts_with("HTTP/1.1 413 "), "{told}");
    assert!(backend.seen().is_empty(), "{:?}", backend.seen());
    let told = http::send(evenkeel.at(), "POST", "/", &[], &"x".repeat(10));
    assert_eq!((told.status, &*backend.seen()[0].body), (200, "xxxxxxxxxx"));
}

#[test]
fn an_answer_that_breaks_off_is_seen_to_break_off() {
    let backend = Recorder::with("b", |_, stream| {
        stream.write_all(b"HTTP/1.1 200 X\r\ncontent-length: 10\r\n\r\n12345").unwrap();
        false
    });
    let evenkeel = start(&backend, "", "");
    let mut client = connect(evenkeel.at());
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
    let mut heard = Vec::new();
    let ended = client.read_to_end(&mut heard);
    let heard = String::from_utf8_lossy(&heard).into_owned();
    assert!(ended.is_err() || !heard.contains("1234567890"), "{heard}");
    evenkeel.wait_outcome("backend-reset", 1);
    assert_eq!(backend.seen().len(), 1, "an answer that has begun is not asked for again");
}

#[test]
fn who_answers_too_late_is_not_waited_for() {
    let backend = Recorder::with("b", |_, stream| stream.read(&mut [0]).is_ok_and(|n| n > 0));
    let evenkeel =
        start(&backend, "response_timeout = \"200ms\"\n[pool.p.retry]\nattempts = 1", "");
    assert_eq!(http::send(evenkeel.at(), "GET", "/", &[], "").status, 504);
    evenkeel.wait_outcome("backend-reset", 1);
    let evenkeel = start(&backend, "", "request_timeout = \"200ms\"");
    assert_eq!(http::send(evenkeel.at(), "GET", "/", &[], "").status, 504);
    evenkeel.wait_outcome("request-timeout", 1);
    evenkeel.wait_idle();
}
