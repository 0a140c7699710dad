//! Clients: plain sockets with a read timeout, so that a hang fails a test instead of stopping it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use super::wait::PATIENCE;

/// Connects; fails the test when that does not work.
#[track_caller]
pub(crate) fn connect(to: SocketAddr) -> TcpStream {
    try_connect(to).unwrap_or_else(|error| panic!("cannot connect to {to}: {error}"))
}

/// Connects.
pub(crate) fn try_connect(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Connects from a given local address.
#[track_caller]
pub(crate) fn connect_from(source: IpAddr, to: SocketAddr) -> TcpStream {
    try_connect_from(source, to).unwrap_or_else(|error| panic!("cannot connect to {to}: {error}"))
}

/// As [`connect_from`], for who may be reset while it connects.
pub(crate) fn try_connect_from(source: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(source, 0).into())?;
    socket.connect_timeout(&to.into(), PATIENCE)?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// A connection that a greeting server has answered: who answered, and the connection.
pub(crate) struct Held {
    /// The greeting: the backend's name.
    pub(crate) backend: String,
    /// The connection.
    pub(crate) stream: TcpStream,
}

/// Connects and reads the greeting.
pub(crate) fn try_hold(to: SocketAddr) -> io::Result<Held> {
    let mut stream = try_connect(to)?;
    let backend = read_line(&mut stream)?;
    Ok(Held { backend, stream })
}

/// Connects and reads the greeting; fails the test when there is none.
#[track_caller]
pub(crate) fn hold(to: SocketAddr) -> Held {
    try_hold(to).unwrap_or_else(|error| panic!("no greeting through {to}: {error}"))
}

/// The backend that answers one connection, which is closed in order before this returns.
#[track_caller]
pub(crate) fn who(to: SocketAddr) -> String {
    let held = hold(to);
    close(held.stream);
    held.backend
}

/// As [`who`], from a given local address.
#[track_caller]
pub(crate) fn who_from(source: IpAddr, to: SocketAddr) -> String {
    let mut stream = connect_from(source, to);
    let name = read_line(&mut stream).unwrap();
    close(stream);
    name
}

/// Ends the sending side and waits for the other side's end.
#[track_caller]
pub(crate) fn close(mut stream: TcpStream) {
    stream.shutdown(Shutdown::Write).unwrap();
    io::copy(&mut stream, &mut io::sink()).unwrap();
}

/// Ends the connection with a reset.
pub(crate) fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

/// Reads up to a line feed, which is dropped. The end before it is `UnexpectedEof`.
pub(crate) fn read_line(stream: &mut impl Read) -> io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        stream.read_exact(&mut byte)?;
        if byte[0] == b'\n' {
            return Ok(String::from_utf8_lossy(&line).into_owned());
        }
        line.push(byte[0]);
    }
}

/// Sends a word to an echoing server and checks that it comes back.
#[track_caller]
pub(crate) fn ping(stream: &mut TcpStream, word: &str) {
    stream.write_all(word.as_bytes()).unwrap();
    let mut back = vec![0; word.len()];
    stream.read_exact(&mut back).unwrap();
    assert_eq!(back, word.as_bytes());
}

/// How a connection ended, read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// The other side closed.
    Fin,
    /// The other side reset.
    Reset,
    /// Neither, within the read timeout.
    Open,
}

/// Reads until the connection ends, and says how.
#[track_caller]
pub(crate) fn end_of(stream: &mut TcpStream) -> End {
    match io::copy(stream, &mut io::sink()) {
        Ok(_) => End::Fin,
        Err(error) if is_reset(&error) => End::Reset,
        Err(error) if is_timeout(&error) => End::Open,
        Err(error) => panic!("an end of a kind nobody expected: {error}"),
    }
}

/// Whether the connection was reset, at whichever call that showed: a read, a write or a shutdown.
pub(crate) fn is_reset(error: &io::Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionReset, NotConnected};
    matches!(error.kind(), ConnectionReset | BrokenPipe | NotConnected)
}

/// Whether a read timeout ran out.
pub(crate) fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}
