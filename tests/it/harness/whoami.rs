//! HTTP/1.1 over connections that are kept: a client, and servers that say who they are.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use super::client::try_connect;
use super::servers::Server;

/// A keep-alive connection.
pub(crate) struct Browser {
    stream: BufReader<TcpStream>,
}

/// An answer with a length.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) status: u16,
    pub(crate) body: String,
    /// The server has said that it ends the connection behind it.
    pub(crate) is_last: bool,
}

impl Browser {
    #[track_caller]
    pub(crate) fn open(to: SocketAddr) -> Self {
        Self::try_open(to).unwrap_or_else(|error| panic!("cannot connect to {to}: {error}"))
    }

    pub(crate) fn try_open(to: SocketAddr) -> io::Result<Self> {
        let stream = try_connect(to)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// The address that it comes from.
    pub(crate) fn local(&self) -> SocketAddr {
        self.stream.get_ref().local_addr().unwrap()
    }

    /// Sends a whole request and reads the whole answer.
    pub(crate) fn ask(&mut self, request: &str) -> io::Result<Told> {
        self.stream.get_mut().write_all(request.as_bytes())?;
        let mut head = read_head(&mut self.stream)?.ok_or(ErrorKind::UnexpectedEof)?;
        head.make_ascii_lowercase();
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let (Some(status), Some(Ok(length))) = (status, length.map(str::parse)) else {
            return Err(io::Error::other(head));
        };
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        let is_last = head.lines().any(|line| line == "connection: close");
        Ok(Told { status, is_last, body: String::from_utf8_lossy(&body).into_owned() })
    }
}

/// A `GET` with more lines of a head.
pub(crate) fn get(path: &str, fields: &str) -> String {
    let end = if fields.is_empty() { "" } else { "\r\n" };
    format!("GET {path} HTTP/1.1\r\nhost: shop.example\r\n{fields}{end}\r\n")
}

/// The backend that answers the next request.
#[track_caller]
pub(crate) fn who(browser: &mut Browser) -> String {
    let told = browser.ask(&get("/", "")).unwrap();
    assert_eq!(told.status, 200, "{told:?}");
    told.body
}

/// Answers every request with its name.
pub(crate) fn whoami(name: &str) -> Server {
    let own = name.to_owned();
    answering(name, move |_| own.clone())
}

/// Answers every request with a body that its head leads to.
pub(crate) fn answering(
    name: &str,
    answer: impl Fn(&str) -> String + Send + Sync + 'static,
) -> Server {
    Server::new(name, move |stream| drop(serve(stream, &answer)))
}

/// Answers the requests of one connection, none of which has a body.
pub(crate) fn serve(stream: TcpStream, answer: impl Fn(&str) -> String) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    while let Some(head) = read_head(&mut stream)? {
        let body = answer(&head);
        let length = body.len();
        let whole = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
        stream.get_mut().write_all(whole.as_bytes())?;
    }
    Ok(())
}

/// A head; `None` at the end of the connection.
fn read_head(stream: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut head = String::new();
    loop {
        let before = head.len();
        if stream.read_line(&mut head)? == 0 {
            return if head.is_empty() { Ok(None) } else { Err(ErrorKind::UnexpectedEof.into()) };
        }
        if &head[before..] == "\r\n" {
            return Ok(Some(head));
        }
    }
}
