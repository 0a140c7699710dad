//! Pools and servers with vices, for the tests of this module.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::task::JoinSet;

use crate::addr::BackendAddr;
use crate::config::{Health, Member, Pool, Probe};

/// Long enough for any step of a test on a busy machine.
pub(super) const LONG: Duration = Duration::from_secs(20);
/// Short enough to wait for.
pub(super) const SHORT: Duration = Duration::from_millis(100);

pub(super) fn pool(addresses: impl IntoIterator<Item = BackendAddr>, probe: Probe) -> Pool {
    Pool {
        health: Health {
            probe,
            interval: Duration::from_millis(20),
            timeout: LONG,
            ..Health::default()
        },
        ..Pool::unset("db", addresses.into_iter().map(Member::unset).collect())
    }
}

/// An address that refuses connections, and keeps doing so while the socket lives.
pub(super) fn refusing() -> (SocketAddr, socket2::Socket) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    (socket.local_addr().unwrap().as_socket().unwrap(), socket)
}

/// An address that refuses datagrams, and keeps doing so while the socket lives: it hears one peer
/// alone, which never speaks.
pub(super) fn refusing_datagrams() -> (SocketAddr, std::net::UdpSocket) {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect("127.0.0.2:9").unwrap();
    (socket.local_addr().unwrap(), socket)
}

/// A server that does `serve` with every connection, until it is dropped.
pub(super) async fn server<F>(
    serve: impl Fn(TcpStream) -> F + Send + 'static,
) -> (SocketAddr, JoinSet<()>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (address, on(listener, serve))
}

/// A server that accepts and never says a word.
pub(super) async fn silent() -> (SocketAddr, JoinSet<()>) {
    server(|stream| async move {
        let _held = stream;
        std::future::pending().await
    })
    .await
}

/// Does `serve` with every connection to a socket that listens already.
pub(super) fn on<F>(
    listener: TcpListener,
    serve: impl Fn(TcpStream) -> F + Send + 'static,
) -> JoinSet<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut sessions = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            sessions.spawn(serve(stream));
        }
    });
    tasks
}

/// Reads a request head.
pub(super) async fn head(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut seen).await.unwrap_or(0) == 0 {
            break;
        }
    }
    String::from_utf8(seen).unwrap()
}

/// A server that reads a request head, answers with `bytes` and closes.
pub(super) async fn answering(bytes: impl Into<Vec<u8>>) -> (SocketAddr, JoinSet<()>) {
    let bytes = bytes.into();
    server(move |mut stream| {
        let bytes = bytes.clone();
        async move {
            head(&mut stream).await;
            stream.write_all(&bytes).await.ok();
        }
    })
    .await
}

/// A server that says what `serve` makes of each datagram and of its number, from 1.
pub(super) async fn answering_datagrams(
    serve: impl Fn(&[u8], usize) -> Vec<Vec<u8>> + Send + 'static,
) -> (SocketAddr, JoinSet<()>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let mut heard = vec![0; 2048];
        for turn in 1.. {
            let Ok((length, from)) = socket.recv_from(&mut heard).await else { return };
            for said in serve(&heard[..length], turn) {
                socket.send_to(&said, from).await.ok();
            }
        }
    });
    (address, tasks)
}

/// Comes back once `holds`, looking again and again.
pub(super) async fn until(mut holds: impl FnMut() -> bool) {
    let looking = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(LONG, looking).await.expect("it never came to hold");
}
