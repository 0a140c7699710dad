//! Connections of clients: what they may say in how many pieces, how long they may take for it, and how
//! they end.

mod deadlines;
mod endings;
mod heads;
mod streams;

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::harness::client::{connect, is_reset};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::http::read_head;
use crate::harness::servers::Server;

const GET: &str = "GET / HTTP/1.1\r\nhost: a.example\r\n\r\n";

/// A backend that answers each request of a connection with `hello`, once `may` lets it.
fn backend(may: impl Fn(&str) + Send + Sync + 'static) -> Server {
    Server::new("b", move |mut stream| {
        loop {
            let head = read_head(&mut stream);
            if !head.ends_with("\r\n\r\n") {
                return;
            }
            may(&head);
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length = length.map_or(0, |length| length.parse().unwrap());
            if stream.read_exact(&mut vec![0; length]).is_err() {
                return;
            }
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
            if stream.write_all(answer).is_err() {
                return;
            }
        }
    })
}

/// Sends `bytes` over a new connection.
#[track_caller]
fn say(proxy: &Evenkeel, bytes: impl AsRef<[u8]>) -> TcpStream {
    let mut stream = connect(proxy.at());
    stream.write_all(bytes.as_ref()).unwrap();
    stream
}

/// All that comes until the other side has ended; `None` = it was reset.
#[track_caller]
fn hear(stream: &mut TcpStream) -> Option<String> {
    let mut heard = Vec::new();
    match stream.read_to_end(&mut heard) {
        Ok(_) => Some(String::from_utf8_lossy(&heard).into_owned()),
        Err(error) if is_reset(&error) => None,
        Err(error) => {
            panic!("it did not end ({error}) after {:?}", String::from_utf8_lossy(&heard))
        }
    }
}

/// The statuses in a row of answers.
fn statuses(heard: &str) -> Vec<&str> {
    heard.match_indices("HTTP/1.1 ").map(|(at, found)| &heard[at + found.len()..][..3]).collect()
}

/// One answer of `hello`, which is not the last on its connection.
#[track_caller]
fn answered(stream: &mut TcpStream) {
    let head = read_head(stream);
    assert!(head.starts_with("HTTP/1.1 200 "), "{head:?}");
    let mut body = [0; 5];
    stream.read_exact(&mut body).unwrap();
    assert_eq!(&body, b"hello");
}

/// How often clients were counted for this.
fn abuse(proxy: &Evenkeel, kind: &str) -> u64 {
    proxy.metrics().count("http_abuse_total", &[("kind", kind)])
}
