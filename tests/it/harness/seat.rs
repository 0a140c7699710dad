//! A port that a test owns while nobody listens on it.
//!
//! A bound socket that does not listen answers connects with a reset and keeps the kernel from
//! giving the port away, and with `SO_REUSEADDR` a listener may come and go beside it. So a backend
//! can be dead, come back on the same port, and no test running in parallel takes its place.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

/// A reserved port.
pub(crate) struct Seat {
    address: SocketAddr,
    _reservation: Socket,
}

impl Seat {
    /// On 127.0.0.1.
    pub(crate) fn take() -> Self {
        Self::on(Ipv4Addr::LOCALHOST.into())
    }

    /// On a given local address.
    pub(crate) fn on(ip: IpAddr) -> Self {
        Self::at(SocketAddr::new(ip, 0)).unwrap()
    }

    /// On a given address and port, unless somebody listens there.
    ///
    /// Unlike a bind with `TcpListener` to see whether a port is free, this is never in the way of
    /// whoever is about to listen there.
    pub(crate) fn at(address: SocketAddr) -> io::Result<Self> {
        let reservation = bound(address)?;
        let address = reservation.local_addr()?.as_socket().unwrap();
        Ok(Self { address, _reservation: reservation })
    }

    /// Where it is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its port.
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Starts to listen; the seat stays reserved when the listener is dropped.
    pub(crate) fn listen(&self) -> TcpListener {
        let socket = bound(self.address).unwrap();
        socket.listen(4096).unwrap();
        socket.into()
    }
}

fn bound(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// A port whose SYNs go unanswered: its listen queue is full and nobody accepts.
pub(crate) struct Blackhole {
    address: SocketAddr,
    _listener: Socket,
    _fill: Vec<TcpStream>,
}

impl Blackhole {
    /// Fills the queue until a connect hangs.
    pub(crate) fn open() -> Self {
        let listener = bound(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        listener.listen(0).unwrap();
        let address = listener.local_addr().unwrap().as_socket().unwrap();
        let mut fill = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
            fill.push(stream);
            assert!(fill.len() < 16, "a listen queue of 0 takes connection after connection");
        }
        Self { address, _listener: listener, _fill: fill }
    }

    /// Where it is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}
