//! The few socket and epoll calls that the load and the backends share.
//!
//! Level-triggered and one system call an event: what these processes burn, the proxy cannot have.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::{Errno, Result};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

/// Bytes moved by one call in a bulk transfer.
pub(crate) const CHUNK: usize = 256 * 1024;

/// A port of its own on loopback, listening.
pub(crate) fn listen() -> Result<(OwnedFd, SocketAddr)> {
    let socket = stream_socket(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    rustix::net::bind(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    rustix::net::listen(&socket, 4096)?;
    // Accepted sockets inherit it.
    sockopt::set_tcp_nodelay(&socket, true)?;
    let address = rustix::net::getsockname(&socket)?;
    Ok((socket, SocketAddr::try_from(address).map_err(|_| Errno::AFNOSUPPORT)?))
}

/// Blocks until connected: on loopback the handshake is done when the call returns.
///
/// The source port is left to `connect`. One bound beforehand would make the kernel's search skip
/// its bucket for the proxy's own connects, and that search would then be what is measured.
pub(crate) fn connect(target: SocketAddr) -> Result<OwnedFd> {
    let socket = stream_socket(SocketFlags::CLOEXEC)?;
    sockopt::set_tcp_nodelay(&socket, true)?;
    rustix::net::connect(&socket, &target)?;
    Ok(socket)
}

fn stream_socket(flags: SocketFlags) -> Result<OwnedFd> {
    rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)
}

/// Accepts what waits, or nothing.
pub(crate) fn accept(listener: impl AsFd) -> Option<OwnedFd> {
    rustix::net::accept_with(listener, SocketFlags::CLOEXEC).ok()
}

pub(crate) fn send_all(socket: impl AsFd, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        let sent = rustix::net::send(&socket, bytes, SendFlags::NOSIGNAL)?;
        bytes = &bytes[sent..];
    }
    Ok(())
}

/// Sends what fits now; none when nothing does.
pub(crate) fn send_some(socket: impl AsFd, bytes: &[u8]) -> Result<usize> {
    or_later(rustix::net::send(socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT))
}

/// What has arrived; the caller was told that there is something, so 0 is the end.
pub(crate) fn receive(socket: impl AsFd, buffer: &mut [u8]) -> Result<usize> {
    Ok(rustix::net::recv(socket, buffer, RecvFlags::empty())?.0)
}

/// Takes up to a chunk and lets the kernel drop it without a copy; none at the end.
pub(crate) fn discard(socket: impl AsFd, buffer: &mut [u8]) -> Result<Option<usize>> {
    match rustix::net::recv(socket, buffer, RecvFlags::TRUNC | RecvFlags::DONTWAIT) {
        Ok((_, 0)) => Ok(None),
        Ok((_, taken)) => Ok(Some(taken)),
        Err(Errno::AGAIN) => Ok(Some(0)),
        Err(error) => Err(error),
    }
}

fn or_later(result: Result<usize>) -> Result<usize> {
    match result {
        Err(Errno::AGAIN) => Ok(0),
        other => other,
    }
}

/// What a burst may pile up at either end: no datagram is to be lost before or behind the proxy.
const DATAGRAM_BUFFER: usize = 4 << 20;

/// A socket for datagrams: on a port of its own, at any address of this machine's loopback.
pub(crate) fn datagrams(from: Ipv4Addr) -> Result<(OwnedFd, SocketAddr)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None)?;
    sockopt::set_socket_recv_buffer_size(&socket, DATAGRAM_BUFFER)?;
    rustix::net::bind(&socket, &SocketAddr::from((from, 0)))?;
    let address = rustix::net::getsockname(&socket)?;
    Ok((socket, SocketAddr::try_from(address).map_err(|_| Errno::AFNOSUPPORT)?))
}

/// A flow: a socket for datagrams that speaks with one address only.
pub(crate) fn flow(from: Ipv4Addr, to: SocketAddr) -> Result<OwnedFd> {
    let (socket, _) = datagrams(from)?;
    rustix::net::connect(&socket, &to)?;
    Ok(socket)
}

/// Sends a datagram of a flow. What the kernel does not take counts as lost, like all that gets lost.
pub(crate) fn send_datagram(socket: impl AsFd, bytes: &[u8]) -> Result<()> {
    lost(rustix::net::send(socket, bytes, SendFlags::empty())).map(|_| ())
}

/// The next datagram of a flow, or none for now.
pub(crate) fn receive_datagram(socket: impl AsFd, buffer: &mut [u8]) -> Result<Option<usize>> {
    Ok(lost(rustix::net::recv(socket, buffer, RecvFlags::empty()))?.map(|(_, length)| length))
}

/// Gives the next datagram back to whoever sent it; false when there is none for now.
pub(crate) fn give_back(socket: impl AsFd, buffer: &mut [u8]) -> Result<bool> {
    let taken = lost(rustix::net::recvfrom(&socket, &mut *buffer, RecvFlags::empty()))?;
    let Some((_, length, Some(from))) = taken else { return Ok(false) };
    lost(rustix::net::sendto(&socket, &buffer[..length], SendFlags::empty(), &from))?;
    Ok(true)
}

/// Full, empty, or a port that nobody holds yet: no reason to stop.
fn lost<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Errno::AGAIN | Errno::NOBUFS | Errno::CONNREFUSED | Errno::INTR) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A level-triggered epoll whose events are numbers of the caller.
pub(crate) struct Readiness {
    epoll: OwnedFd,
    events: Vec<Event>,
}

impl Readiness {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)?, events: Vec::with_capacity(256) })
    }

    pub(crate) fn reads(&self, source: impl AsFd, token: usize) -> Result<()> {
        epoll::add(&self.epoll, source, EventData::new_u64(token as u64), EventFlags::IN)
    }

    pub(crate) fn writes(&self, source: impl AsFd, token: usize) -> Result<()> {
        epoll::add(&self.epoll, source, EventData::new_u64(token as u64), EventFlags::OUT)
    }

    pub(crate) fn turn_to_reads(&self, source: impl AsFd, token: usize) -> Result<()> {
        epoll::modify(&self.epoll, source, EventData::new_u64(token as u64), EventFlags::IN)
    }

    /// Waits for the next batch and writes its tokens.
    pub(crate) fn wait(&mut self, tokens: &mut Vec<usize>) -> Result<()> {
        self.wait_for(None, tokens)
    }

    /// The same, but no longer than so long: then there are no tokens.
    pub(crate) fn wait_at_most(&mut self, limit: Duration, tokens: &mut Vec<usize>) -> Result<()> {
        let (seconds, nanoseconds) = (limit.as_secs() as i64, limit.subsec_nanos().into());
        self.wait_for(Some(Timespec { tv_sec: seconds, tv_nsec: nanoseconds }), tokens)
    }

    fn wait_for(&mut self, limit: Option<Timespec>, tokens: &mut Vec<usize>) -> Result<()> {
        self.events.clear();
        let room = rustix::buffer::spare_capacity(&mut self.events);
        match epoll::wait(&self.epoll, room, limit.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        tokens.clear();
        tokens.extend(self.events.iter().map(|event| event.data.u64() as usize));
        Ok(())
    }
}
