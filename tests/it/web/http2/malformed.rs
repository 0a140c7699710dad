//! Requests that are well framed and mean nothing, or two things: none reaches a backend.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::frames::{
    BAD_REQUEST, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, OK, RST_STREAM, WHOLE, fields,
    frame, get,
};
use super::{Heard, Peer, start};
use crate::harness::servers::Server;
use crate::harness::whoami::answering;

fn counting() -> (Server, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let server = answering("b", move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        "b".to_owned()
    });
    (server, asked)
}

/// The fields of a `GET`, but for those that are changed: `None` leaves one out.
fn changed(changes: &[(&str, Option<&str>)], more: &[(&str, &str)]) -> Vec<u8> {
    let usual =
        [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "x.example")];
    let mut all = Vec::new();
    for (name, value) in usual {
        let change = changes.iter().find(|(other, _)| *other == name);
        all.extend(
            change.map_or(Some((name, value)), |(_, value)| value.map(|value| (name, value))),
        );
    }
    all.extend(more);
    fields(&all)
}

#[test]
fn a_request_with_fields_that_mean_nothing_is_refused() {
    let (server, asked) = counting();
    let proxy = start(&server, "");
    let more = |more: &[(&str, &str)]| changed(&[], more);
    let without = |name: &'static str| changed(&[(name, None)], &[]);
    for (what, head) in [
        ("no method", without(":method")),
        ("no scheme", without(":scheme")),
        ("no path", without(":path")),
        ("no host", without(":authority")),
        ("an empty path", changed(&[(":path", Some(""))], &[])),
        ("a path without a slash", changed(&[(":path", Some("x"))], &[])),
        ("a space in the path", changed(&[(":path", Some("/a b"))], &[])),
        ("a method that is no token", changed(&[(":method", Some("G T"))], &[])),
        ("two methods", more(&[(":method", "GET")])),
        ("two paths", more(&[(":path", "/b")])),
        ("two schemes", more(&[(":scheme", "http")])),
        ("two hosts", more(&[(":authority", "y.example")])),
        ("another host in a field", more(&[("host", "y.example")])),
        ("a field that only answers have", more(&[(":status", "200")])),
        ("a field with a colon that nobody knows", more(&[(":own", "x")])),
        (":method behind others", [fields(&[("x", "y")]), get()].concat()),
        ("upper case", more(&[("X-Upper", "1")])),
        ("an empty name", more(&[("", "1")])),
        ("a line feed in a value", more(&[("x-own", "1\nhost: y")])),
        ("a carriage return in a value", more(&[("x-own", "1\rhost: y")])),
        ("a NUL in a value", more(&[("x-own", "1\0")])),
        ("a line feed in a name", more(&[("x\nhost", "y")])),
        ("a space in a name", more(&[("x own", "y")])),
        ("a colon in a name", more(&[("x:own", "y")])),
        ("connection", more(&[("connection", "keep-alive")])),
        ("proxy-connection", more(&[("proxy-connection", "keep-alive")])),
        ("keep-alive", more(&[("keep-alive", "1")])),
        ("transfer-encoding", more(&[("transfer-encoding", "chunked")])),
        ("upgrade", more(&[("upgrade", "websocket")])),
        ("te other than trailers", more(&[("te", "trailers, deflate")])),
        ("a length of nothing that is something", more(&[("content-length", "5")])),
        ("two lengths", more(&[("content-length", "0"), ("content-length", "1")])),
        ("a length that is no number", more(&[("content-length", "+0")])),
    ] {
        let mut peer = Peer::open(proxy.at());
        peer.say(&frame(HEADERS, WHOLE, 1, &head));
        let heard = peer.until(what, |heard| match heard {
            Heard::Frame(frame) => [HEADERS, RST_STREAM, GOAWAY].contains(&frame.kind),
            Heard::End => true,
        });
        // A stream or connection that is ended, or an answer that says so.
        if let Heard::Frame(frame) = heard
            && frame.kind == HEADERS
        {
            assert_eq!(frame.payload.first(), Some(&BAD_REQUEST), "{what}: {frame:?}");
        }
    }
    assert_eq!(asked.load(Ordering::SeqCst), 0, "some of it reached the backend");
    let mut peer = Peer::open(proxy.at());
    peer.say(&frame(HEADERS, WHOLE, 1, &get()));
    peer.answered("one that is well", 1, OK);
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    proxy.wait_idle();
}

#[test]
fn a_body_that_is_not_as_long_as_it_was_said_is_no_request() {
    let (server, _asked) = counting();
    let proxy = start(&server, "");
    let head = fields(&[
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", "x.example"),
        ("content-length", "5"),
    ]);
    for (what, bodies) in [
        ("too short", vec![frame(DATA, END_STREAM, 1, b"four")]),
        ("too long", vec![frame(DATA, END_STREAM, 1, b"sixsix")]),
        ("too long in two", vec![frame(DATA, 0, 1, b"five!"), frame(DATA, END_STREAM, 1, b"x")]),
    ] {
        let mut peer = Peer::open(proxy.at());
        peer.say(&[frame(HEADERS, END_HEADERS, 1, &head), bodies.concat()].concat());
        let heard = peer.until(what, |heard| match heard {
            Heard::Frame(frame) => [HEADERS, RST_STREAM, GOAWAY].contains(&frame.kind),
            Heard::End => true,
        });
        if let Heard::Frame(frame) = heard
            && frame.kind == HEADERS
        {
            assert_eq!(frame.payload.first(), Some(&BAD_REQUEST), "{what}: {frame:?}");
        }
    }
    proxy.wait_idle();
}
