//! A small server to stand behind the balancer: says who it is and echoes, over TCP and UDP; answers
//! HTTP too.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
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

/// Ports tried until one is free for both protocols.
const TRIES: usize = 20;

/// Never speaks. A socket connected to it hears nobody, so that datagrams to its port are refused.
const NOBODY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)), 9);

/// What a backend says to a client that is not HTTP.
pub(super) fn greeting(name: &str) -> String {
    format!("hello from {name}\n")
}

/// A backend of the demo. Dropping it stops it.
#[derive(Debug)]
pub(super) struct Backend {
    pub(super) name: &'static str,
    pub(super) address: SocketAddr,
    seat: Seat,
    running: Option<JoinSet<()>>,
}

impl Backend {
    /// Starts on `wanted`, or on a free port of the same address if that is taken. Must be called
    /// inside a runtime, on which it stays.
    pub(super) fn start(name: &'static str, wanted: SocketAddr) -> io::Result<Self> {
        let anywhere = SocketAddr::new(wanted.ip(), 0);
        let mut seat = Seat::take(wanted);
        for _ in 0..TRIES {
            seat = seat.or_else(|_| Seat::take(anywhere));
        }
        let seat = seat?;
        Ok(Self { name, address: seat.address, running: Some(seat.serve(name)?), seat })
    }

    /// Stops as a process that is killed: nobody listens any more, every connection is closed.
    pub(super) fn stop(&mut self) {
        self.running = None;
    }

    /// Comes back at the same address.
    pub(super) fn revive(&mut self) -> io::Result<()> {
        self.running = Some(self.seat.serve(self.name)?);
        Ok(())
    }
}

/// A port, held for both protocols.
///
/// Its sockets are bound and hear nobody: clients are refused while the backend is stopped, and yet
/// nobody else, such as a second demo, can take the port that it comes back to.
#[derive(Debug)]
struct Seat {
    address: SocketAddr,
    stream: Socket,
    datagram: Socket,
}

impl Seat {
    fn take(at: SocketAddr) -> io::Result<Self> {
        let stream = bound(at, Type::STREAM)?;
        let address = stream.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let datagram = bound(address, Type::DGRAM)?;
        datagram.connect(&NOBODY.into())?;
        for socket in [&stream, &datagram] {
            socket.set_reuse_address(false)?;
        }
        Ok(Self { address, stream, datagram })
    }

    fn serve(&self, name: &'static str) -> io::Result<JoinSet<()>> {
        let listener = beside(&self.stream, self.address, Type::STREAM, |socket| {
            socket.listen(BACKLOG)?;
            TcpListener::from_std(socket.into())
        })?;
        let datagrams = beside(&self.datagram, self.address, Type::DGRAM, |socket| {
            UdpSocket::from_std(socket.into())
        })?;
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, name));
        tasks.spawn(reply(datagrams, name));
        Ok(tasks)
    }
}

/// Another socket on the address of `seat`, made to hear by `open`.
fn beside<T>(
    seat: &Socket,
    address: SocketAddr,
    kind: Type,
    open: impl FnOnce(Socket) -> io::Result<T>,
) -> io::Result<T> {
    // It lets others in beside it for as long as that takes, and then nobody any more.
    seat.set_reuse_address(true)?;
    let socket = bound(address, kind)?;
    socket.set_nonblocking(true)?;
    let opened = open(socket);
    seat.set_reuse_address(false)?;
    opened
}

fn bound(at: SocketAddr, kind: Type) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(at), kind, None)?;
    // Connections of an earlier demo in TIME_WAIT do not matter.
    socket.set_reuse_address(true)?;
    socket.bind(&at.into())?;
    Ok(socket)
}

/// Answers each datagram with who it is, and the datagram.
async fn reply(socket: UdpSocket, name: &str) {
    let mut said = vec![0; 64 * 1024];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut said).await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let text = said.get(..length).unwrap_or_default();
        // A client that is gone already is no news.
        socket.send_to(&[greeting(name).as_bytes(), text].concat(), from).await.ok();
    }
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

    /// What a datagram to `address` comes back as, or why it does not.
    async fn asked(address: SocketAddr, text: &[u8]) -> io::Result<String> {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(address).await.unwrap();
        socket.send(text).await.unwrap();
        let mut heard = [0; 100];
        let length = timeout(Duration::from_secs(20), socket.recv(&mut heard)).await.unwrap()?;
        Ok(String::from_utf8(heard[..length].to_vec()).unwrap())
    }

    #[tokio::test]
    async fn it_answers_datagrams_while_it_runs() {
        let mut backend = backend();
        let hello = "hello from alpha\n";
        assert_eq!(asked(backend.address, b"one\n").await.unwrap(), format!("{hello}one\n"));
        assert_eq!(asked(backend.address, b"").await.unwrap(), hello);
        let mut running = backend.running.take().unwrap();
        running.shutdown().await;
        let refused = asked(backend.address, b"two\n").await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        assert!(std::net::UdpSocket::bind(backend.address).is_err(), "its port is kept for it");
        backend.revive().unwrap();
        assert_eq!(asked(backend.address, b"two\n").await.unwrap(), format!("{hello}two\n"));
    }

    #[tokio::test]
    async fn a_taken_port_is_replaced_by_a_free_one() {
        let first = backend();
        let second = Backend::start("beta", first.address).unwrap();
        assert_ne!(first.address, second.address);
        let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let taken = datagrams.local_addr().unwrap();
        assert_ne!(Backend::start("beta", taken).unwrap().address, taken);
    }
}
