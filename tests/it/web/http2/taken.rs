//! Frames that are unusual and allowed.

use super::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, OK, PADDED, PING, PRIORITY, SETTINGS,
    WHOLE, WINDOW_UPDATE, WITH_PRIORITY, frame, get, post, setting,
};
use super::{Heard, Peer, start};
use crate::harness::whoami::whoami;

#[test]
fn what_is_not_known_is_passed_over() {
    let server = whoami("b");
    let proxy = start(&server, "");
    for (what, bytes) in [
        ("a frame of no known kind", frame(0x16, 0, 0, b"hello")),
        ("one on a stream that nobody opened", frame(0x16, 0xff, 7, b"hello")),
        ("an unknown setting", frame(SETTINGS, 0, 0, &setting(0xff, 1))),
        ("flags that a PING has not", frame(PING, 0x16, 0, b"whatever")),
        ("an answer to no PING", frame(PING, 1, 0, b"whatever")),
        ("PRIORITY of an idle stream", frame(PRIORITY, 0, 9, &[0, 0, 0, 1, 0])),
        ("no settings at all", frame(SETTINGS, 0, 0, b"")),
        ("the reserved bit", frame(PING, 0, 1 << 31, b"whatever")),
    ] {
        let mut peer = Peer::open(proxy.at());
        peer.say(&bytes);
        peer.lives(what);
    }
}

#[test]
fn a_head_may_be_cut_and_padded_anywhere() {
    let server = whoami("b");
    let proxy = start(&server, "");
    let head = get();
    let pieces = |size: usize| {
        let mut frames = frame(HEADERS, END_STREAM, 1, b"");
        for piece in head.chunks(size) {
            frames.extend(frame(CONTINUATION, 0, 1, piece));
        }
        frames.extend(frame(CONTINUATION, END_HEADERS, 1, b""));
        frames
    };
    let padded = [&[4][..], &head, &[0; 4]].concat();
    let prior = [&[0, 0, 0, 0, 200][..], &head].concat();
    for (what, bytes) in [
        ("in one piece", frame(HEADERS, WHOLE, 1, &head)),
        ("in pieces of 20", pieces(20)),
        ("in pieces of 40", pieces(40)),
        ("with padding", frame(HEADERS, WHOLE | PADDED, 1, &padded)),
        ("with a priority", frame(HEADERS, WHOLE | WITH_PRIORITY, 1, &prior)),
    ] {
        let mut peer = Peer::open(proxy.at());
        peer.say(&bytes);
        peer.answered(what, 1, OK);
    }
    proxy.wait_idle();
}

#[test]
fn a_body_waits_for_the_window_of_whoever_takes_it() {
    let body = "x".repeat(100);
    let server = crate::harness::whoami::answering("b", move |_| body.clone());
    let proxy = start(&server, "");
    let mut peer = Peer::open(proxy.at());
    peer.say(&frame(SETTINGS, 0, 0, &setting(4, 10)));
    peer.lives("the setting is heard");
    peer.say(&frame(HEADERS, WHOLE, 1, &get()));
    let mut taken = 0;
    while taken < 100 {
        let heard = peer.until("a piece of the body", |heard| {
            matches!(heard, Heard::Frame(frame) if frame.kind == DATA && !frame.payload.is_empty())
        });
        let Heard::Frame(piece) = heard else { unreachable!() };
        taken += piece.payload.len();
        assert!(
            taken % 10 == 0 && piece.payload.len() <= 10,
            "{} bytes at once",
            piece.payload.len()
        );
        // Were it not to wait, the rest would be here before the answer to this.
        peer.lives("the rest has to wait");
        peer.say(&frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 10]));
    }
    proxy.wait_outcome("ok", 1);
}

#[test]
fn a_window_that_is_lowered_under_what_was_sent_is_owed_for() {
    let body = "x".repeat(100);
    let server = crate::harness::whoami::answering("b", move |_| body.clone());
    let proxy = start(&server, "");
    let mut peer = Peer::open(proxy.at());
    peer.say(&frame(SETTINGS, 0, 0, &setting(4, 50)));
    peer.lives("the setting is heard");
    peer.say(&frame(HEADERS, WHOLE, 1, &get()));
    let piece = |heard: &Heard| matches!(heard, Heard::Frame(frame) if frame.kind == DATA);
    let length = |heard: Heard| match heard {
        Heard::Frame(frame) => frame.payload.len(),
        Heard::End => 0,
    };
    let first = peer.until("the first half", piece);
    assert_eq!(length(first), 50);
    // 50 below zero, and 30 above that is still nothing.
    peer.say(&frame(SETTINGS, 0, 0, &setting(4, 0)));
    peer.say(&frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 30]));
    peer.lives("nothing more may come");
    peer.say(&frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 40]));
    let second = peer.until("what the window allows", piece);
    assert_eq!(length(second), 20);
}

#[test]
fn streams_are_answered_in_whatever_order_they_end() {
    let server = whoami("b");
    let proxy = start(&server, "");
    let mut peer = Peer::open(proxy.at());
    for stream in [1, 3, 5] {
        peer.say(&frame(HEADERS, END_HEADERS, stream, &post()));
    }
    peer.say(&frame(HEADERS, WHOLE, 7, &get()));
    peer.answered("the last one first", 7, OK);
    peer.lives("the others wait");
}
