//! A small server to stand behind the balancer: says who it is and echoes; answers HTTP too.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// A client that says nothing for so long is greeted first. An HTTP client always speaks first.
const SHY: Duration = Duration::from_millis(200);

/// Connections at once: it is a demo.
const MOST: usize = 1024;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 1024;

/// Pause after an accept that failed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a backend says to a client that is not HTTP.
pub(super) fn greeting(name: &str) -> String {
    format!("hello from {name}\n")
}

/// A backend of the demo. Dropping it stops it.
#[derive(Debug)]
pub(super) struct Backend {
    pub(super) name: &'static str,
    pub(super) address: SocketAddr,
    seat: Socket,
    running: Option<JoinSet<()>>,
}

impl Backend {
    /// Starts on `wanted`, or on a free port of the same address if that is taken. Must be called
    /// inside a runtime, on which it stays.
    pub(super) fn start(name: &'static str, wanted: SocketAddr) -> io::Result<Self> {
        let (seat, listener) = open(wanted).or_else(|_| open(SocketAddr::new(wanted.ip(), 0)))?;
        let address = listener.local_addr()?;
        Ok(Self { name, address, seat, running: Some(run(listener, name)) })
    }

    /// Stops as a process that is killed: nobody listens any more, every connection is closed.
    pub(super) fn stop(&mut self) {
        self.running = None;
    }

    /// Comes back at the same address.
    pub(super) fn revive(&mut self) -> io::Result<()> {
        let listener = listen(&self.seat, self.address)?;
        self.running = Some(run(listener, self.name));
        Ok(())
    }
}

/// A seat on an address, and a socket that listens there.
///
/// The seat is bound and never listens: connects are refused while the backend is stopped, and yet
/// nobody else, such as a second demo, can take the port that it comes back to.
fn open(at: SocketAddr) -> io::Result<(Socket, TcpListener)> {
    let seat = bound(at)?;
    let address = seat.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
    let listener = listen(&seat, address)?;
    Ok((seat, listener))
}

fn listen(seat: &Socket, address: SocketAddr) -> io::Result<TcpListener> {
    // It lets others in beside it for as long as that takes, and then nobody any more.
    seat.set_reuse_address(true)?;
    let socket = bound(address)?;
    socket.listen(BACKLOG)?;
    seat.set_reuse_address(false)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

fn bound(at: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, None)?;
    // Connections of an earlier demo in TIME_WAIT do not matter.
    socket.set_reuse_address(true)?;
    socket.bind(&at.into())?;
    Ok(socket)
}

fn run(listener: TcpListener, name: &'static str) -> JoinSet<()> {
    let mut task = JoinSet::new();
    task.spawn(serve(listener, name));
    task
}

async fn serve(listener: TcpListener, name: &'static str) {
    let mut clients = JoinSet::new();
    loop {
        while clients.len() >= MOST {
            clients.join_next().await;
        }
        match listener.accept().await {
            // How a client's connection ends is no news.
            Ok((stream, _)) => {
                drop(clients.spawn(async move { converse(stream, name).await.ok() }))
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
        while clients.try_join_next().is_some() {}
    }
}

async fn converse(mut stream: TcpStream, name: &str) -> io::Result<()> {
    let mut said = [0; 4096];
    let first = match timeout(SHY, stream.read(&mut said)).await {
        Ok(read) => read?,
        Err(_) => 0,
    };
    let first = said.get(..first).unwrap_or_default();
    if first.starts_with(b"GET ") || first.starts_with(b"HEAD ") {
        return answer(stream, name, first.starts_with(b"GET ")).await;
    }
    stream.write_all(greeting(name).as_bytes()).await?;
    stream.write_all(first).await?;
    loop {
        let n = stream.read(&mut said).await?;
        if n == 0 {
            return Ok(());
        }
        stream.write_all(said.get(..n).unwrap_or_default()).await?;
    }
}

async fn answer(mut stream: TcpStream, name: &str, with_body: bool) -> io::Result<()> {
    let body = greeting(name);
    let fields = "Content-Type: text/plain\r\nConnection: close";
    let head = format!("HTTP/1.1 200 OK\r\n{fields}\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await?;
    if with_body {
        stream.write_all(body.as_bytes()).await?;
    }
    stream.shutdown().await?;
    // Closing with bytes unread would reset the connection, and the answer might be lost with it.
    let mut rest = [0; 4096];
    while timeout(Duration::from_secs(1), stream.read(&mut rest)).await.is_ok_and(more) {}
    Ok(())
}

fn more(read: io::Result<usize>) -> bool {
    read.is_ok_and(|n| n > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend() -> Backend {
        Backend::start("alpha", "127.0.0.1:0".parse().unwrap()).unwrap()
    }

    async fn read_line(stream: &mut TcpStream) -> String {
        let mut line = Vec::new();
        while line.last() != Some(&b'\n') {
            line.push(stream.read_u8().await.unwrap());
        }
        String::from_utf8(line).unwrap()
    }

    #[tokio::test]
    async fn it_greets_and_echoes_and_speaks_http() {
        let backend = backend();
        let mut silent = TcpStream::connect(backend.address).await.unwrap();
        assert_eq!(read_line(&mut silent).await, "hello from alpha\n");
        silent.write_all(b"one\n").await.unwrap();
        assert_eq!(read_line(&mut silent).await, "one\n");

        let mut eager = TcpStream::connect(backend.address).await.unwrap();
        eager.write_all(b"two\n").await.unwrap();
        assert_eq!(read_line(&mut eager).await, "hello from alpha\n");
        assert_eq!(read_line(&mut eager).await, "two\n");

        // Without a pause between, in which the backend might take it for a shy one.
        let mut asks = std::net::TcpStream::connect(backend.address).unwrap();
        io::Write::write_all(&mut asks, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        asks.set_nonblocking(true).unwrap();
        let mut web = TcpStream::from_std(asks).unwrap();
        let mut answer = String::new();
        web.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("from alpha\n"));
    }

    #[tokio::test]
    async fn a_stopped_backend_cuts_its_clients_and_comes_back_where_it_was() {
        let mut backend = backend();
        let mut client = TcpStream::connect(backend.address).await.unwrap();
        assert_eq!(read_line(&mut client).await, "hello from alpha\n");
        backend.stop();
        let mut left = Vec::new();
        let end = timeout(Duration::from_secs(5), client.read_to_end(&mut left)).await;
        assert!(end.is_ok(), "the connection is cut");
        assert!(TcpStream::connect(backend.address).await.is_err());
        let other = Backend::start("beta", backend.address).unwrap();
        assert_ne!(other.address, backend.address, "its port is kept for it");
        assert!(std::net::TcpListener::bind(backend.address).is_err());
        backend.revive().unwrap();
        TcpStream::connect(backend.address).await.unwrap();
    }

    #[tokio::test]
    async fn a_taken_port_is_replaced_by_a_free_one() {
        let first = backend();
        let second = Backend::start("beta", first.address).unwrap();
        assert_ne!(first.address, second.address);
    }
}
