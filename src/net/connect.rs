//! A connection or a connected UDP socket on a tokio runtime, for what is not a session: health
//! probes.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::{TcpSocket, TcpStream, UdpSocket};

use crate::net::socket::bind_source;

/// Connects to `address`, from `source` if given, with small writes sent at once.
///
/// # Errors
/// What the kernel says of the attempt; there is no time limit but the kernel's.
pub async fn connect(address: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_nodelay(true)?;
    if let Some(source) = source {
        bind_source(&socket, source)?;
    }
    socket.connect(address).await
}

/// A UDP socket that speaks with `address` alone, from `source` if given.
///
/// # Errors
/// What the kernel says of the source, or of the way to the address; nothing is sent.
pub async fn connect_datagram(
    address: SocketAddr,
    source: Option<IpAddr>,
) -> io::Result<UdpSocket> {
    let any: IpAddr =
        if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((source.unwrap_or(any), 0)).await?;
    socket.connect(address).await?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_source_is_where_the_connection_comes_from() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let source: IpAddr = "127.0.0.9".parse().unwrap();
        let ours = connect(listener.local_addr().unwrap(), Some(source)).await.unwrap();
        let (_, from) = listener.accept().await.unwrap();
        assert_eq!((from.ip(), from), (source, ours.local_addr().unwrap()));
        assert!(ours.nodelay().unwrap());
    }

    #[tokio::test]
    async fn datagrams_come_from_the_source_too() {
        let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let source: IpAddr = "127.0.0.9".parse().unwrap();
        let ours = connect_datagram(server.local_addr().unwrap(), Some(source)).await.unwrap();
        ours.send(b"hello").await.unwrap();
        let mut heard = [0; 9];
        let (length, from) = server.recv_from(&mut heard).await.unwrap();
        assert_eq!((&heard[..length], from), (&b"hello"[..], ours.local_addr().unwrap()));
        assert_eq!(from.ip(), source);
    }
}
