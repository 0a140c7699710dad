//! One HTTP request over a fresh connection, written by hand so that a test can say anything.

use std::io::{Read, Write};
use std::net::SocketAddr;

use super::client::connect;

/// An answer, read to the end of the connection.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// Status code.
    pub(crate) status: u16,
    /// Header lines, as they came.
    pub(crate) head: String,
    /// The body, with chunks joined.
    pub(crate) body: String,
}

impl Answer {
    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {}\n{}", self.head, self.body))
    }

    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }
}

/// `GET path` with the address as `Host`.
#[track_caller]
pub(crate) fn get(at: SocketAddr, path: &str) -> Answer {
    request(at, "GET", path, &at.to_string())
}

/// A request without a body.
#[track_caller]
pub(crate) fn request(at: SocketAddr, method: &str, path: &str, host: &str) -> Answer {
    exchange(&mut connect(at), method, path, host)
}

/// A request with header lines of its own and a body.
#[track_caller]
pub(crate) fn send(
    at: SocketAddr,
    method: &str,
    path: &str,
    fields: &[&str],
    body: &str,
) -> Answer {
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    let mut stream = connect(at);
    let (host, length) = (at, body.len());
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{fields}\
         content-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    parse(&String::from_utf8_lossy(&bytes))
}

/// A request over any stream.
#[track_caller]
pub(crate) fn exchange(
    stream: &mut (impl Read + Write),
    method: &str,
    path: &str,
    host: &str,
) -> Answer {
    let head = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    parse(&String::from_utf8_lossy(&bytes))
}

#[track_caller]
fn parse(text: &str) -> Answer {
    let (head, body) =
        text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP answer: {text:?}"));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let mut answer = Answer {
        status: status.unwrap_or_else(|| panic!("no status in {head:?}")),
        head: head.into(),
        body: body.into(),
    };
    if answer.header("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
        answer.body = join_chunks(body);
    }
    answer
}

fn join_chunks(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size.split(';').next().unwrap_or(size), 16).unwrap();
        whole.push_str(&rest[..size]);
        body = rest[size..].trim_start_matches("\r\n");
    }
    whole
}

/// Reads a request head, as far as it comes.
pub(crate) fn read_head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).is_ok() {
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// A whole answer with a status and a body.
pub(crate) fn answer(status: u16, body: &str) -> String {
    let len = body.len();
    format!("HTTP/1.1 {status} X\r\ncontent-length: {len}\r\nconnection: close\r\n\r\n{body}")
}
