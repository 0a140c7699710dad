//! What backends answer that is odd, broken, or cut off.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use super::{all, file};
use crate::harness::client::connect;
use crate::harness::evenkeel::Evenkeel;
use crate::harness::http;
use crate::harness::servers::Server;
use crate::harness::wait::{PATIENCE, eventually};

const GET: &str = "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";

/// Says this to every request, and closes if `is_last`.
fn saying(words: &'static str, is_last: bool) -> Server {
    Server::new("one", move |mut stream| {
        loop {
            let head = http::read_head(&mut stream);
            let said = stream.write_all(words.as_bytes());
            if head.is_empty() || said.is_err() || is_last {
                return;
            }
        }
    })
}

#[track_caller]
fn status_of(answer: &str) -> u16 {
    let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    code.unwrap_or_else(|| panic!("no answer: {answer:?}"))
}

#[test]
fn an_answer_that_means_two_things_is_none_and_its_connection_is_not_used_again() {
    let doubtful = [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: +3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\ncontent-length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nx: a\r\n b\r\ncontent-length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nx : a\r\ncontent-length: 3\r\n\r\nabc",
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
        "HTTP/2 200 OK\r\ncontent-length: 3\r\n\r\nabc",
        "hello there, this is no http\r\n\r\n",
        "220 mail.example ESMTP\r\n",
    ];
    for words in doubtful {
        let server = saying(words, false);
        let proxy = Evenkeel::start(&file(std::slice::from_ref(&server), ""));
        let (answer, _) = all(proxy.at(), GET);
        assert_eq!(status_of(&answer), 502, "{words:?} gave {answer:?}");
        assert!(!answer.contains("abc"), "{answer:?}");
        eventually("its connection is closed", PATIENCE, || server.open() == 0);
    }
}

#[test]
fn an_answer_without_a_body_leaves_its_connection_free_for_the_next() {
    let bare = [
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", 204),
        ("GET", "HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n", 304),
        ("HEAD", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", 200),
        ("GET", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 200),
        ("GET", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n", 200),
        (
            "GET",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n\
             HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na",
            200,
        ),
    ];
    for (method, words, status) in bare {
        let server = saying(words, false);
        let file = file(std::slice::from_ref(&server), "");
        let proxy = Evenkeel::start(&format!("[process]\nthreads = 1\n{file}"));
        for _ in 0..3 {
            let (answer, end) = all(proxy.at(), &GET.replace("GET", method));
            assert_eq!(status_of(&answer), status, "{words:?} gave {answer:?}");
            end.unwrap();
        }
        assert_eq!(server.accepted(), 1, "{words:?}");
    }
}

#[test]
fn an_answer_up_to_the_end_of_its_connection_is_whole_and_the_connection_used_once() {
    let ending = [
        "HTTP/1.1 200 OK\r\n\r\nabc",
        "HTTP/1.0 200 OK\r\ncontent-length: 3\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc",
    ];
    for words in ending {
        let server = saying(words, true);
        let proxy = Evenkeel::start(&file(std::slice::from_ref(&server), ""));
        for accepted in 1..=3 {
            let (answer, end) = all(proxy.at(), GET);
            assert_eq!(status_of(&answer), 200, "{words:?} gave {answer:?}");
            assert!(end.is_ok() && answer.contains("abc"), "{answer:?}");
            assert_eq!(server.accepted(), accepted, "{words:?}");
        }
    }
}

#[test]
fn an_answer_that_breaks_off_is_seen_to_break_off() {
    let cut = [
        "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabc",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\nz\r\n",
    ];
    for words in cut {
        let server = saying(words, true);
        let proxy = Evenkeel::start(&file(std::slice::from_ref(&server), ""));
        let (answer, end) = all(proxy.at(), GET);
        // Nothing may say that this was all: not the length, not a last chunk.
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let is_short = answer.contains("content-length: 10") && body.len() < 10;
        let has_no_end = answer.contains("chunked") && !body.contains("0\r\n\r\n");
        let is_nothing = answer.is_empty();
        assert!(
            end.is_err() || is_nothing || is_short || has_no_end,
            "{words:?} gave {answer:?}, {end:?}"
        );
    }
}

#[test]
fn an_answer_to_a_request_that_the_backend_does_not_want_whole_reaches_the_client() {
    const LARGE: usize = 4 << 20;
    let server = Server::new("one", |mut stream| {
        if http::read_head(&mut stream).is_empty() {
            return;
        }
        drop(stream.read(&mut [0; 1000]));
        drop(stream.write_all(b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nbig"));
        // Closed with unread bytes, so that the rest of the request is answered with a reset.
    });
    let proxy = Evenkeel::start(&file(std::slice::from_ref(&server), ""));
    for _ in 0..20 {
        let mut stream = connect(proxy.at());
        let head = format!("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {LARGE}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut reader = stream.try_clone().unwrap();
        let answer = thread::spawn(move || read_until(&mut reader, "big"));
        // It may be told to stop at any time.
        for _ in 0..LARGE / 65536 {
            if stream.write_all(&[b'x'; 65536]).is_err() {
                break;
            }
        }
        let answer = answer.join().unwrap();
        assert_eq!(status_of(&answer), 413, "{answer:?}");
    }
}

fn read_until(stream: &mut TcpStream, end: &str) -> String {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut said = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(len @ 1..) = stream.read(&mut buffer) {
        said.extend_from_slice(&buffer[..len]);
        if said.ends_with(end.as_bytes()) {
            break;
        }
    }
    String::from_utf8_lossy(&said).into_owned()
}
