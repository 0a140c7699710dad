//! One question or wish to a running balancer over its admin interface, and the answer.
//!
//! A command asks once and ends, so plain blocking sockets with time limits do.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::admin_address::{reachable, shown};
use crate::api;
use crate::config::AdminBind;

/// For the connect.
const CONNECT: Duration = Duration::from_secs(3);

/// For the whole answer to a question.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks at the clock while a command is carried out.
const TICK: Duration = Duration::from_secs(1);

/// Between two signs of life of a stream, which come every 15 s.
const QUIET: Duration = Duration::from_secs(45);

/// A status of many thousand backends has room in this.
const LARGEST: usize = 64 << 20;

/// What came back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

/// Asks with `GET path`. The error names the address and the way out.
pub(crate) fn get(admin: &AdminBind, path: &str) -> Result<Answer, String> {
    send(admin, &format!("GET {path}"), "", &Wait::questions())
}

/// How long an answer may take, and what is to be done meanwhile.
pub(crate) struct Wait<'a> {
    pub(crate) patience: Duration,
    /// Told every second for how long it has been.
    pub(crate) meanwhile: &'a dyn Fn(Duration),
}

impl Wait<'_> {
    fn questions() -> Wait<'static> {
        Wait { patience: PATIENCE, meanwhile: &|_| () }
    }
}

/// Has a command carried out with `POST path`; `body` is JSON or empty.
pub(crate) fn post(
    admin: &AdminBind,
    path: &str,
    token: Option<&str>,
    body: &str,
    wait: &Wait<'_>,
) -> Result<Answer, String> {
    send(admin, &format!("POST {path}"), &carrying(token, body), wait)
}

/// The fields of a request with a body, and the body.
fn carrying(token: Option<&str>, body: &str) -> String {
    let token = token.map(|token| format!("Authorization: Bearer {token}\r\n"));
    let (token, length) = (token.unwrap_or_default(), body.len());
    format!("{token}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// Writes a line on the terminal of standard error, in place of the one that is there.
pub(crate) fn rewrite(line: &str) {
    let mut out = io::stderr().lock();
    // Nobody may be looking.
    write!(out, "\r\x1b[K{line}").and_then(|()| out.flush()).ok();
}

/// Has `path` changed as `change` says, and gives what then holds.
pub(crate) fn patch<T: DeserializeOwned>(
    admin: &AdminBind,
    path: &str,
    token: Option<&str>,
    change: &impl Serialize,
) -> Result<T, String> {
    let body = serde_json::to_string(change).map_err(|error| error.to_string())?;
    let rest = carrying(token, &body);
    let answer = send(admin, &format!("PATCH {path}"), &rest, &Wait::questions())?;
    understood(admin, &answer)
}

/// What a balancer's answer says; or why it refused, and who did.
pub(crate) fn understood<T: DeserializeOwned>(
    admin: &AdminBind,
    answer: &Answer,
) -> Result<T, String> {
    if answer.status != 200 {
        let problem = serde_json::from_slice::<api::Problem>(&answer.body);
        let problem = problem.map_err(|_| stranger(admin))?;
        return Err(format!("{} refused: {}", shown(admin), problem.error));
    }
    serde_json::from_slice(&answer.body).map_err(|_| stranger(admin))
}

/// A name as part of a path or a query.
pub(crate) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// Sends a request: its method and path, and what follows the usual fields, from further fields on.
fn send(admin: &AdminBind, what: &str, rest: &str, wait: &Wait<'_>) -> Result<Answer, String> {
    let silent = |error: io::Error| {
        format!(
            "nothing answers at {}: {error}; is evenkeel running? name its admin address with \
             --admin ADDR, or its file with -c FILE",
            shown(admin)
        )
    };
    if *admin == AdminBind::Off {
        return Err("the admin interface is off: there is nothing to ask; \
                    give [admin] a `bind` and restart evenkeel"
            .to_owned());
    }
    let (stream, host) = connect(admin, TICK).map_err(silent)?;
    let raw = exchange(stream, what, &host, rest, wait).map_err(silent)?;
    if raw.is_empty() {
        return Err(format!("{} ended the connection before it answered", shown(admin)));
    }
    parse(&raw).ok_or_else(|| stranger(admin))
}

/// Begins to read what `GET path` streams, which ends with the connection.
pub(crate) fn stream(admin: &AdminBind, path: &str) -> io::Result<Box<dyn Channel>> {
    let (mut stream, host) = connect(admin, QUIET)?;
    // As 1.0, so that what comes is the text itself, without chunks.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    Ok(stream)
}

/// A connection of either kind.
pub(crate) trait Channel: Read + Write {}

impl<T: Read + Write> Channel for T {}

/// Connects, for reads that take up to `quiet` each; gives the connection and what to call its host.
fn connect(admin: &AdminBind, quiet: Duration) -> io::Result<(Box<dyn Channel>, String)> {
    match admin {
        AdminBind::Off => Err(io::ErrorKind::NotConnected.into()),
        AdminBind::Tcp(bound) => {
            let address = reachable(*bound);
            let stream = TcpStream::connect_timeout(&address, CONNECT)?;
            stream.set_read_timeout(Some(quiet))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok((Box::new(stream), address.to_string()))
        }
        AdminBind::Unix(file) => {
            let stream = UnixStream::connect(file)?;
            stream.set_read_timeout(Some(quiet))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok((Box::new(stream), "localhost".to_owned()))
        }
    }
}

/// What to say when the answer is none of ours.
pub(crate) fn stranger(admin: &AdminBind) -> String {
    format!("what answers at {} is not evenkeel; name its admin address with --admin", shown(admin))
}

fn exchange(
    mut stream: Box<dyn Channel>,
    what: &str,
    host: &str,
    rest: &str,
    wait: &Wait<'_>,
) -> io::Result<Vec<u8>> {
    let fields = "Accept: application/json\r\nConnection: close";
    let rest = if rest.is_empty() { "\r\n" } else { rest };
    let request = format!("{what} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n{rest}");
    stream.write_all(request.as_bytes())?;
    let since = Instant::now();
    let mut answer = Vec::new();
    let mut chunk = [0; 16 * 1024];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return Ok(answer),
            Ok(n) => answer.extend_from_slice(chunk.get(..n).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                (wait.meanwhile)(since.elapsed());
            }
            Err(error) => return Err(error),
        }
        if since.elapsed() > wait.patience || answer.len() > LARGEST {
            return Err(io::ErrorKind::TimedOut.into());
        }
    }
}

/// Takes the answer apart; `None` if it is not one of ours, which always say their length.
fn parse(raw: &[u8]) -> Option<Answer> {
    let end = raw.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(raw.get(..end)?).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let lengths = lines.filter_map(|line| line.split_once(':'));
    let length = lengths
        .filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .find_map(|(_, value)| value.trim().parse::<usize>().ok())?;
    let body = raw.get(end + 4..)?;
    (body.len() == length).then(|| Answer { status, body: body.to_vec() })
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;

    #[test]
    fn an_answer_is_taken_apart() {
        let raw = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(parse(raw), Some(Answer { status: 503, body: b"{}".to_vec() }));
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{}"), None);
        assert_eq!(parse(b"220 mail.example ESMTP\r\n"), None);
    }

    #[test]
    fn silence_is_said_with_the_address() {
        // Bound and silent: were it let go of, a test beside this one might answer there.
        let seat =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        seat.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let address = seat.local_addr().unwrap().as_socket().unwrap();
        let error = get(&AdminBind::Tcp(address), "/healthz").unwrap_err();
        assert!(error.contains(&address.to_string()) && error.contains("--admin"), "{error}");
        assert!(get(&AdminBind::Off, "/healthz").unwrap_err().contains("off"));
    }
}
