//! A backend that keeps every byte that it is sent, and answers each whole request.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};

use crate::harness::servers::Server;

/// A request that came whole.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Heard {
    /// The values of a field.
    pub(super) fn values(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(':'));
        fields.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim()).collect()
    }
}

#[derive(Default)]
struct Kept {
    heard: Vec<Heard>,
    raw: Vec<u8>,
}

/// The backend.
pub(super) struct Recorder {
    pub(super) server: Server,
    kept: Arc<Mutex<Kept>>,
}

impl Recorder {
    pub(super) fn start() -> Self {
        let kept: Arc<Mutex<Kept>> = Arc::default();
        let keeper = Arc::clone(&kept);
        let server = Server::new("a", move |stream| {
            serve(stream, &keeper);
        });
        Self { server, kept }
    }

    /// The whole requests, in the order in which they ended.
    pub(super) fn heard(&self) -> Vec<Heard> {
        self.kept.lock().unwrap().heard.clone()
    }

    /// All bytes of all connections.
    pub(super) fn raw(&self) -> String {
        String::from_utf8_lossy(&self.kept.lock().unwrap().raw).into_owned()
    }
}

/// A connection whose bytes are kept as they come.
struct Wire<'a> {
    stream: TcpStream,
    kept: &'a Mutex<Kept>,
}

impl Wire<'_> {
    fn byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        self.stream.read_exact(&mut byte).ok()?;
        self.kept.lock().unwrap().raw.push(byte[0]);
        Some(byte[0])
    }

    fn bytes(&mut self, length: usize) -> Option<Vec<u8>> {
        (0..length).map(|_| self.byte()).collect()
    }

    /// All up to and with this end.
    fn up_to(&mut self, end: &[u8]) -> Option<String> {
        let mut read = Vec::new();
        while !read.ends_with(end) {
            read.push(self.byte()?);
        }
        Some(String::from_utf8_lossy(&read).into_owned())
    }

    /// A chunked body, and what is behind it.
    fn chunks(&mut self) -> Option<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let size = self.up_to(b"\r\n")?;
            let size = usize::from_str_radix(size.trim().split(';').next()?, 16).ok()?;
            if size == 0 {
                while self.up_to(b"\r\n")? != "\r\n" {}
                return Some(body);
            }
            body.extend(self.bytes(size)?);
            self.bytes(2)?;
        }
    }
}

/// Answers requests until the connection ends or makes no sense.
fn serve(stream: TcpStream, kept: &Mutex<Kept>) -> Option<()> {
    let mut wire = Wire { stream, kept };
    loop {
        let head = wire.up_to(b"\r\n\r\n")?;
        let mut words = head.split(' ');
        let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
        let mut heard = Heard { method, target, head: head.clone(), body: Vec::new() };
        if !heard.values("transfer-encoding").is_empty() {
            heard.body = wire.chunks()?;
        } else if let [length] = heard.values("content-length")[..] {
            let length = length.parse().ok()?;
            heard.body = wire.bytes(length)?;
        }
        kept.lock().unwrap().heard.push(heard);
        wire.stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").ok()?;
    }
}
