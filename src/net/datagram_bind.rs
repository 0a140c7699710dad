//! Sockets for datagrams: those that listen, one for each worker, and one for each flow.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{Ipv4PacketInfo, Ipv6RecvPacketInfo, RcvBufForce};
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ipv6_mtu_discover,
};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::net::BindError;
use crate::net::bind::local_port;

/// What waits for a worker that is busy: the kernel's default holds less than a hundred large
/// datagrams.
const LISTENER_BUFFER: usize = 4 << 20;

/// Binds `count` sockets to one address, which the kernel spreads clients over; gives the address
/// as bound, in which port 0 has become a free one. Datagrams queue up from now on.
///
/// # Errors
/// Anyone else on the address, a second evenkeel included, is an error.
pub fn bind_datagrams(
    address: SocketAddr,
    count: usize,
) -> Result<(SocketAddr, Vec<OwnedFd>), BindError> {
    let refused = |source| BindError { address, source };
    let actual = try_alone(address).map_err(refused)?;
    let bind = |_| bind_one(actual).map(OwnedFd::from);
    let sockets = (0..count).map(bind).collect::<io::Result<_>>().map_err(refused)?;
    Ok((actual, sockets))
}

/// Binds without sharing, for a moment: fails if anybody has the address, and never gives a port
/// that others share.
fn try_alone(address: SocketAddr) -> io::Result<SocketAddr> {
    let socket = new_socket(address)?;
    socket.bind(&SockAddr::from(address))?;
    Ok(SocketAddr::new(address.ip(), local_port(&socket)?))
}

fn bind_one(address: SocketAddr) -> io::Result<Socket> {
    let socket = new_socket(address)?;
    socket.set_reuse_port(true)?;
    widen(&socket, LISTENER_BUFFER)?;
    // As much may wait on its way out; the kernel gives what its limit allows.
    socket.set_send_buffer_size(LISTENER_BUFFER)?;
    if address.ip().is_unspecified() {
        // Replies must leave from the address the client sent to.
        if address.is_ipv4() {
            setsockopt(&socket, Ipv4PacketInfo, &true)?;
        } else {
            setsockopt(&socket, Ipv6RecvPacketInfo, &true)?;
        }
    }
    socket.bind(&SockAddr::from(address))?;
    Ok(socket)
}

pub(super) fn new_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    // Large datagrams go in fragments rather than not at all: don't-fragment is the sender's wish,
    // and a socket cannot see it.
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
        set_ipv6_mtu_discover(&socket, Ipv6PathMtuDiscovery::DONT)?;
    } else {
        set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::DONT)?;
    }
    Ok(socket)
}

/// Raises the receive buffer to `bytes`, beyond the kernel's limit where we may.
pub(super) fn widen(socket: &Socket, bytes: usize) -> io::Result<()> {
    match setsockopt(socket, RcvBufForce, &bytes) {
        Ok(()) => Ok(()),
        Err(_) => socket.set_recv_buffer_size(bytes),
    }
}
