//! A backend that keeps what it was sent, byte by byte, and answers what a test says.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use crate::harness::servers::Server;

/// A request as it came.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) head: String,
    /// As it was sent, chunks and trailers included.
    pub(super) body: String,
}

impl Seen {
    /// The values of a header.
    pub(super) fn all(&self, name: &str) -> Vec<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(key, _)| *key == name).map(|(_, value)| value).collect()
    }
}

/// A recording backend.
pub(super) struct Recorder {
    pub(super) server: Server,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// An answer with a length.
pub(super) fn answer(status: u16, fields: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\ncontent-length: {length}\r\n{fields}\r\n{body}")
}

impl Recorder {
    /// Answers every request with what `answer` says; nothing ends the connection.
    pub(super) fn new(
        name: &str,
        answer: impl Fn(&Seen) -> String + Send + Sync + 'static,
    ) -> Self {
        Self::with(name, move |seen, stream| {
            let answer = answer(seen);
            !answer.is_empty() && stream.write_all(answer.as_bytes()).is_ok()
        })
    }

    /// Does what `serve` does with each request; `false` ends the connection.
    pub(super) fn with(
        name: &str,
        serve: impl Fn(&Seen, &mut TcpStream) -> bool + Send + Sync + 'static,
    ) -> Self {
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let all = seen.clone();
        let server = Server::new(name, move |mut stream| {
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while let Some(request) = read(&mut reader) {
                all.lock().unwrap().push(request.clone());
                if !serve(&request, &mut stream) {
                    return;
                }
            }
        });
        Self { server, seen }
    }

    /// All that it was sent.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

fn read(from: &mut impl BufRead) -> Option<Seen> {
    let mut seen = Seen::default();
    while !seen.head.ends_with("\r\n\r\n") {
        if from.read_line(&mut seen.head).ok()? == 0 {
            return None;
        }
    }
    if let Some(length) = seen.all("content-length").first() {
        let mut body = vec![0; length.parse().unwrap()];
        from.read_exact(&mut body).ok()?;
        seen.body = String::from_utf8_lossy(&body).into_owned();
    } else if !seen.all("transfer-encoding").is_empty() {
        while !seen.body.ends_with("\r\n\r\n") {
            if from.read_line(&mut seen.body).ok()? == 0 {
                return None;
            }
        }
    }
    Some(seen)
}
