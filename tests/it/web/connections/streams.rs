//! Connections of HTTP/2: how they begin, how long they may take, how they end.

use std::io::{Read, Write};
use std::sync::Mutex;
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::Signal;

use super::{abuse, backend};
use crate::harness::client::connect;
use crate::harness::servers::Server;
use crate::harness::wait::{PATIENCE, eventually};
use crate::web::http2::frames::{
    DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, OK, RST_STREAM, SETTINGS, WHOLE, field, frame,
    get, post,
};
use crate::web::http2::{Heard, Peer, start};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What the code of a GOAWAY says: nothing is wrong.
const NO_ERROR: u32 = 0;
const ENHANCE_YOUR_CALM: u32 = 11;

fn goes_away(heard: &Heard) -> bool {
    matches!(heard, Heard::Frame(frame) if frame.kind == GOAWAY)
}

#[track_caller]
fn leaves(peer: &mut Peer, code: u32) {
    let Heard::Frame(last) = peer.until("GOAWAY", goes_away) else { unreachable!() };
    assert_eq!(last.code(), Some(code));
    peer.until("the end", |heard| matches!(heard, Heard::End));
}

#[test]
fn the_preface_may_come_in_any_pieces() {
    let server = backend(|_| {});
    let proxy = start(&server, "");
    let mut stream = connect(proxy.at());
    stream.set_nodelay(true).unwrap();
    for byte in [PREFACE, &frame(SETTINGS, 0, 0, b"")].concat() {
        stream.write_all(&[byte]).unwrap();
    }
    let mut head = [0; 9];
    stream.read_exact(&mut head).unwrap();
    assert_eq!(head[3], SETTINGS);
}

#[test]
fn one_that_asks_nothing_is_told_to_go() {
    let server = backend(|_| {});
    let proxy = start(&server, "header_timeout = \"1s\"\nidle_timeout = \"1s\"");
    let mut silent = Peer::open(proxy.at());
    leaves(&mut silent, NO_ERROR);
    assert_eq!(proxy.rejected("handshake-timeout"), 1);
    let mut idle = Peer::open(proxy.at());
    idle.say(&frame(HEADERS, WHOLE, 1, &get()));
    idle.answered("a request", 1, OK);
    leaves(&mut idle, NO_ERROR);
    assert_eq!(proxy.rejected("handshake-timeout"), 1);
}

#[test]
fn a_body_that_stands_still_and_an_answer_that_is_not_taken_end_alone() {
    let server = Server::new("b", |mut stream| {
        let head = crate::harness::http::read_head(&mut stream);
        if head.starts_with("POST") {
            drop(std::io::copy(&mut stream, &mut std::io::sink()));
            return;
        }
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n"));
        drop(stream.write_all(&vec![b'x'; 1_000_000]));
    });
    let proxy = start(&server, "idle_timeout = \"2s\"");
    let mut peer = Peer::open(proxy.at());
    // The window of the answer is 65535, and is never opened.
    peer.say(&frame(HEADERS, WHOLE, 1, &get()));
    peer.say(&frame(HEADERS, END_HEADERS, 3, &post()));
    peer.say(&frame(DATA, 0, 3, b"hello"));
    let mut ended = Vec::new();
    while ended.len() < 2 {
        match peer.next() {
            Heard::Frame(frame) if frame.kind == RST_STREAM => ended.push(frame.stream),
            Heard::Frame(frame) if frame.kind == HEADERS && frame.stream == 3 => {
                assert_ne!(frame.payload.first(), Some(&OK));
                ended.push(3);
            }
            Heard::Frame(_) => {}
            Heard::End => panic!("only {ended:?} should have ended"),
        }
    }
    ended.sort_unstable();
    assert_eq!(ended, [1, 3]);
    eventually("both are counted", PATIENCE, || {
        (abuse(&proxy, "slow-read"), abuse(&proxy, "slow-body")) == (1, 1)
    });
    proxy.wait_outcome("idle", 2);
    proxy.wait_idle();
}

#[test]
fn at_a_stop_what_runs_is_answered_and_then_it_goes() {
    let (go, goes) = mpsc::channel::<()>();
    let goes = Mutex::new(goes);
    let (come, comes) = mpsc::channel();
    let come = Mutex::new(come);
    let server = backend(move |_| {
        come.lock().unwrap().send(()).ok();
        goes.lock().unwrap().recv_timeout(PATIENCE).ok();
    });
    let mut proxy = start(&server, "");
    let mut idle = Peer::open(proxy.at());
    let mut busy = Peer::open(proxy.at());
    busy.say(&frame(HEADERS, WHOLE, 1, &get()));
    comes.recv_timeout(PATIENCE).unwrap();
    proxy.signal(Signal::TERM);
    busy.until("GOAWAY", goes_away);
    idle.until("GOAWAY", goes_away);
    go.send(()).unwrap();
    busy.answered("what ran", 1, OK);
    assert_eq!(proxy.exit_code(PATIENCE), Some(0));
}

#[test]
fn a_flood_is_told_to_calm_down() {
    let server = backend(|_| {});
    let proxy = start(&server, "");
    let mut peer = Peer::open(proxy.at());
    let pings = frame(6, 0, 0, b"12345678").repeat(3000);
    peer.say(&pings);
    eventually("it is counted", PATIENCE, || abuse(&proxy, "ping") == 1);
    // The GOAWAY may be lost with what it was flooded by; that it is over is not.
    peer.until("the end", |heard| {
        let calm = Some(ENHANCE_YOUR_CALM);
        matches!(heard, Heard::Frame(frame) if frame.code() == calm) || matches!(heard, Heard::End)
    });
}

#[test]
fn a_client_that_vanishes_leaves_nothing_behind() {
    let server = Server::silent("b");
    let proxy = start(&server, "");
    let before = proxy.descriptors();
    let mut peer = Peer::open(proxy.at());
    for stream in [1, 3, 5, 7] {
        peer.say(&frame(HEADERS, WHOLE, stream, &get()));
    }
    eventually("all have reached the backend", PATIENCE, || server.open() == 4);
    drop(peer);
    proxy.wait_outcome("client-reset", 4);
    proxy.wait_idle();
    eventually("all is closed", Duration::from_secs(20), || proxy.descriptors() <= before);
}

#[test]
fn a_head_of_too_many_fields_is_431_and_the_others_go_on() {
    let server = backend(|_| {});
    let proxy = start(&server, "");
    let mut peer = Peer::open(proxy.at());
    let many = [get(), field("x", "y").repeat(101)].concat();
    peer.say(&frame(HEADERS, WHOLE, 1, &many));
    let heard = peer.until(
        "an answer",
        |heard| matches!(heard, Heard::Frame(frame) if frame.kind == HEADERS && frame.stream == 1),
    );
    let Heard::Frame(told) = heard else { unreachable!() };
    // `:status` with a literal value.
    assert!(told.payload.windows(3).any(|three| three == b"431") || told.payload[0] & 0x80 == 0);
    peer.say(&frame(HEADERS, END_HEADERS | END_STREAM, 3, &get()));
    peer.answered("the next", 3, OK);
    assert_eq!(abuse(&proxy, "header-bomb"), 1);
}
