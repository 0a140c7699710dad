//! Listening sockets: one for each worker on the same address, bound first and opened later.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};

/// An address that could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {}", self.advice())]
pub struct BindError {
    /// The address as the file says it.
    pub address: SocketAddr,
    /// Why.
    #[source]
    pub source: io::Error,
}

impl BindError {
    /// True if the kernel does not know such addresses at all, as one without IPv6.
    pub fn is_foreign_family(&self) -> bool {
        self.source.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error())
    }

    /// The reason together with the way out.
    fn advice(&self) -> String {
        match self.source.kind() {
            io::ErrorKind::AddrInUse => format!(
                "the address is in use by another program, maybe a second evenkeel; stop that one \
                 or choose another port (`ss -lntup sport = :{}` shows who has it)",
                self.address.port()
            ),
            io::ErrorKind::PermissionDenied => format!(
                "permission denied; ports below 1024 need root or CAP_NET_BIND_SERVICE: start as \
                 root with `process.user` set, or choose a port above 1023 instead of {}",
                self.address.port()
            ),
            io::ErrorKind::AddrNotAvailable => format!(
                "no interface of this host has the address {}; use one that `ip address` shows, or \
                 0.0.0.0 for all of them",
                self.address.ip()
            ),
            _ => self.source.to_string(),
        }
    }
}

/// Binds `count` sockets to one address without listening yet; gives the address as bound, in
/// which port 0 has become a free one.
///
/// Accepted connections inherit `TCP_NODELAY` and the keepalive idle time.
///
/// # Errors
/// Anyone else on the address, a second evenkeel included, is an error: the kernel would otherwise
/// let any process of the same user share it.
pub fn bind_listener(
    address: SocketAddr,
    count: usize,
    keepalive: Option<Duration>,
) -> Result<(SocketAddr, Vec<OwnedFd>), BindError> {
    let refused = |source| BindError { address, source };
    if address.port() != 0 && is_taken(address).map_err(refused)? {
        return Err(refused(io::ErrorKind::AddrInUse.into()));
    }
    bind_beside(address, count, keepalive)
}

/// As [`bind_listener`], at an address that one of our own takes in or is taken in by: `0.0.0.0` and
/// `127.0.0.1`, at one port.
///
/// # Errors
/// What the kernel says.
pub fn bind_beside(
    address: SocketAddr,
    count: usize,
    keepalive: Option<Duration>,
) -> Result<(SocketAddr, Vec<OwnedFd>), BindError> {
    let refused = |source| BindError { address, source };
    let mut actual = address;
    let mut sockets = Vec::with_capacity(count);
    for _ in 0..count {
        let socket = bind_one(actual, keepalive).map_err(refused)?;
        if actual.port() == 0 {
            actual.set_port(local_port(&socket).map_err(refused)?);
        }
        sockets.push(socket.into());
    }
    Ok((actual, sockets))
}

/// True if somebody listens on the address: found out by binding without sharing.
pub fn is_taken(address: SocketAddr) -> io::Result<bool> {
    let socket = new_socket(address)?;
    match socket.bind(&SockAddr::from(address)) {
        Ok(()) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(true),
        Err(error) => Err(error),
    }
}

fn bind_one(address: SocketAddr, keepalive: Option<Duration>) -> io::Result<Socket> {
    let socket = new_socket(address)?;
    socket.set_reuse_port(true)?;
    socket.set_tcp_nodelay(true)?;
    if let Some(idle) = keepalive {
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle))?;
    }
    socket.bind(&SockAddr::from(address))?;
    Ok(socket)
}

/// Sets the keepalive idle time that accepted connections inherit; `None` = off.
///
/// # Errors
/// What the kernel says.
pub fn set_keepalive(socket: impl AsFd, keepalive: Option<Duration>) -> io::Result<()> {
    let socket = SockRef::from(&socket);
    match keepalive {
        Some(idle) => socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle)),
        None => socket.set_keepalive(false),
    }
}

fn new_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // Connections of an earlier run in TIME_WAIT must not keep us from starting.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

pub(super) fn local_port(socket: &Socket) -> io::Result<u16> {
    let address = socket.local_addr()?.as_socket();
    address.map(|address| address.port()).ok_or_else(|| io::ErrorKind::AddrNotAvailable.into())
}
