//! Frames that end the connection, or the stream they are about.

use super::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PADDED, PING, PRIORITY,
    PUSH_PROMISE, RST_STREAM, SETTINGS, WHOLE, WINDOW_UPDATE, frame, get, post, setting,
};
use super::{Heard, Peer, start};
use crate::harness::whoami::whoami;

const PROTOCOL: u32 = 1;
const FLOW_CONTROL: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE: u32 = 6;
const REFUSED: u32 = 7;
const COMPRESSION: u32 = 9;

/// What is sent, and the code that must follow: as the RFC has it, or the one that it keeps for errors
/// without a closer word, which the library takes for most.
struct Case {
    what: &'static str,
    bytes: Vec<u8>,
    code: u32,
}

fn case(what: &'static str, frames: &[Vec<u8>], code: u32) -> Case {
    Case { what, bytes: frames.concat(), code }
}

/// Each is an error of the connection: it is taken leave of with the code, or ended.
#[track_caller]
fn all_end(cases: Vec<Case>) {
    let server = whoami("b");
    let proxy = start(&server, "");
    for Case { what, bytes, code } in cases {
        let mut peer = Peer::open(proxy.at());
        peer.say(&bytes);
        let heard = peer.until(what, |heard| match heard {
            Heard::Frame(frame) => frame.kind == GOAWAY && frame.code() != Some(0),
            Heard::End => true,
        });
        if let Heard::Frame(frame) = heard {
            let allowed = [code, PROTOCOL].map(Some);
            assert!(allowed.contains(&frame.code()), "{what}: {frame:?}");
            peer.until(what, |heard| matches!(heard, Heard::End));
        }
    }
    // Nobody else is any the worse for it.
    Peer::open(proxy.at()).lives("another connection");
    proxy.wait_idle();
}

/// Each is an error of one stream: that is reset with the code, or all of the connection is ended by it.
#[track_caller]
fn all_reset(cases: Vec<Case>) {
    let server = whoami("b");
    let proxy = start(&server, "");
    for Case { what, bytes, code } in cases {
        let mut peer = Peer::open(proxy.at());
        peer.say(&bytes);
        let heard = peer.until(what, |heard| match heard {
            Heard::Frame(frame) => frame.code().is_some_and(|code| code != 0),
            Heard::End => true,
        });
        if let Heard::Frame(frame) = heard {
            let allowed = [code, PROTOCOL].map(Some);
            assert!(allowed.contains(&frame.code()), "{what}: {frame:?}");
            if frame.kind == RST_STREAM {
                peer.lives(what);
            }
        }
    }
    proxy.wait_idle();
}

/// A head that goes on in other frames.
fn open_head(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_STREAM, stream, &get())
}

fn whole(stream: u32) -> Vec<u8> {
    frame(HEADERS, WHOLE, stream, &get())
}

#[test]
fn a_frame_on_the_wrong_stream_ends_the_connection() {
    all_end(vec![
        case("DATA on stream 0", &[frame(DATA, END_STREAM, 0, b"x")], PROTOCOL),
        case("HEADERS on stream 0", &[frame(HEADERS, WHOLE, 0, &get())], PROTOCOL),
        case("PRIORITY on stream 0", &[frame(PRIORITY, 0, 0, &[0, 0, 0, 1, 0])], PROTOCOL),
        case("RST_STREAM on stream 0", &[frame(RST_STREAM, 0, 0, &[0, 0, 0, 8])], PROTOCOL),
        case("SETTINGS on a stream", &[frame(SETTINGS, 0, 1, b"")], PROTOCOL),
        case("PING on a stream", &[frame(PING, 0, 1, &[0; 8])], PROTOCOL),
        case("GOAWAY on a stream", &[frame(GOAWAY, 0, 1, &[0; 8])], PROTOCOL),
        case("CONTINUATION on stream 0", &[frame(CONTINUATION, END_HEADERS, 0, &get())], PROTOCOL),
        case("DATA on an idle stream", &[frame(DATA, END_STREAM, 1, b"x")], PROTOCOL),
        case("RST_STREAM on an idle stream", &[frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])], PROTOCOL),
        case(
            "WINDOW_UPDATE on an idle stream",
            &[frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 9])],
            PROTOCOL,
        ),
        case("CONTINUATION on an idle stream", &[frame(CONTINUATION, 4, 1, &get())], PROTOCOL),
        case("a stream with an even number", &[whole(2)], PROTOCOL),
        case("a stream with a lower number", &[whole(5), whole(3)], PROTOCOL),
        case("a promise of a client", &[frame(PUSH_PROMISE, 4, 1, &[0, 0, 0, 2])], PROTOCOL),
    ]);
}

#[test]
fn a_frame_of_the_wrong_size_ends_the_connection() {
    all_end(vec![
        case("RST_STREAM of 3 bytes", &[whole(1), frame(RST_STREAM, 0, 1, &[0; 3])], FRAME_SIZE),
        case("SETTINGS of 3 bytes", &[frame(SETTINGS, 0, 0, &[0; 3])], FRAME_SIZE),
        case("an acknowledgment with settings", &[frame(SETTINGS, ACK, 0, &[0; 6])], FRAME_SIZE),
        case("PING of 6 bytes", &[frame(PING, 0, 0, &[0; 6])], FRAME_SIZE),
        case("WINDOW_UPDATE of 3 bytes", &[frame(WINDOW_UPDATE, 0, 0, &[0; 3])], FRAME_SIZE),
        case(
            "HEADERS above the largest frame",
            &[frame(HEADERS, WHOLE, 1, &vec![0; 16_385])],
            FRAME_SIZE,
        ),
    ]);
}

#[test]
fn settings_and_windows_out_of_range_end_the_connection() {
    let set = |key, value| frame(SETTINGS, 0, 0, &setting(key, value));
    all_end(vec![
        case("ENABLE_PUSH of 2", &[set(2, 2)], PROTOCOL),
        case("INITIAL_WINDOW_SIZE of 2^31", &[set(4, 1 << 31)], FLOW_CONTROL),
        case("MAX_FRAME_SIZE of 16383", &[set(5, 16_383)], PROTOCOL),
        case("MAX_FRAME_SIZE of 2^24", &[set(5, 1 << 24)], PROTOCOL),
        case("an increment of 0", &[frame(WINDOW_UPDATE, 0, 0, &[0; 4])], PROTOCOL),
        case(
            "a window above 2^31 - 1",
            &[frame(WINDOW_UPDATE, 0, 0, &0x7fff_ffff_u32.to_be_bytes())],
            FLOW_CONTROL,
        ),
    ]);
}

#[test]
fn a_head_that_is_interrupted_or_cannot_be_unpacked_ends_the_connection() {
    all_end(vec![
        case("no such entry of the table", &[frame(HEADERS, WHOLE, 1, &[0x80])], COMPRESSION),
        case(
            "a string that goes on behind the head",
            &[frame(HEADERS, WHOLE, 1, &[0, 0x7f, 0xff])],
            COMPRESSION,
        ),
        case("HEADERS of another stream inside", &[open_head(1), whole(3)], PROTOCOL),
        case("PRIORITY inside", &[open_head(1), frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 0])], PROTOCOL),
        case("DATA inside", &[open_head(1), frame(DATA, 0, 1, b"x")], PROTOCOL),
        case("a frame of no known kind inside", &[open_head(1), frame(0x42, 0, 1, b"")], PROTOCOL),
        case(
            "CONTINUATION of another stream",
            &[open_head(1), frame(CONTINUATION, END_HEADERS, 3, b"")],
            PROTOCOL,
        ),
        case(
            "CONTINUATION behind a whole head",
            &[whole(1), frame(CONTINUATION, 4, 1, b"")],
            PROTOCOL,
        ),
        case(
            "padding that is longer than its frame",
            &[frame(HEADERS, WHOLE | PADDED, 1, &[&[0xff][..], &get()].concat())],
            PROTOCOL,
        ),
        case(
            "padding that is longer than its body",
            &[
                frame(HEADERS, END_HEADERS, 1, &post()),
                frame(DATA, END_STREAM | PADDED, 1, &[6, b'x', b'y']),
            ],
            PROTOCOL,
        ),
    ]);
}

#[test]
fn what_is_wrong_with_one_stream_ends_that_stream() {
    let posting = |stream| frame(HEADERS, END_HEADERS, stream, &post());
    all_reset(vec![
        case("a body behind its end", &[whole(1), frame(DATA, END_STREAM, 1, b"x")], STREAM_CLOSED),
        case("a head behind the end", &[whole(1), whole(1)], STREAM_CLOSED),
        case("an increment of 0", &[posting(1), frame(WINDOW_UPDATE, 0, 1, &[0; 4])], PROTOCOL),
        case(
            "a window above 2^31 - 1",
            &[posting(1), frame(WINDOW_UPDATE, 0, 1, &0x7fff_ffff_u32.to_be_bytes())],
            FLOW_CONTROL,
        ),
        case(
            "DATA above the largest frame",
            &[posting(1), frame(DATA, END_STREAM, 1, &vec![0; 16_385])],
            FRAME_SIZE,
        ),
        case("PRIORITY of 4 bytes", &[posting(1), frame(PRIORITY, 0, 1, &[0; 4])], FRAME_SIZE),
        case("trailers that are not the end", &[posting(1), posting(1)], PROTOCOL),
    ]);
}

#[test]
fn a_stream_too_many_is_refused_and_the_others_go_on() {
    let server = whoami("b");
    let proxy = start(&server, "max_streams = 2");
    let mut peer = Peer::open(proxy.at());
    for stream in [1, 3, 5] {
        peer.say(&frame(HEADERS, END_HEADERS, stream, &post()));
    }
    let refused = |heard: &Heard| {
        matches!(heard, Heard::Frame(frame) if frame.kind == RST_STREAM
            && frame.stream == 5 && frame.code() == Some(REFUSED))
    };
    peer.until("the third is refused", refused);
    for stream in [1, 3] {
        peer.say(&frame(DATA, END_STREAM, stream, b""));
    }
    peer.lives("after that");
}
