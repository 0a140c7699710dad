//! Datagrams in batches: received many at a call, sent on as runs of equal size where the kernel
//! segments them itself (UDP_SEGMENT), one by one where it does not.
//!
//! quinn-udp makes the system calls that take control messages; what it sets up for QUIC, the
//! don't-fragment bit among it, is set on a socket that nobody uses.

use std::io::IoSliceMut;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::{array, io};

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::UdpGroSegment;
use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use rustix::io::Errno;
use rustix::net::{self, SendFlags};
use socket2::SockAddr;

use crate::net::datagram_bind::{new_socket, widen};
use crate::net::socket::bind_source;
use crate::net::{Queue, Reactor, Socket};

/// Room for one datagram, or for as many as the kernel merges into one. A little more than 64 KiB:
/// slots that begin at multiples of a large power of two would fight for the same cache lines.
const SLOT: usize = 65_536 + 17 * 64;

/// The most that one call sends: what fits into an IPv4 packet.
const LONGEST_RUN: usize = 65_507;

/// Segments of one call that every kernel with UDP_SEGMENT takes.
const MOST_SEGMENTS: usize = 64;

/// Segments larger than this are sent one by one: the kernel refuses to segment into what must be
/// fragmented.
const WIDEST_SEGMENT: usize = 1_472;

/// What waits for us in the socket of one flow.
const FLOW_BUFFER: usize = 1 << 20;

/// Opens a socket for one flow, connected to `to`, which reports to `queue` under `tag`.
///
/// # Errors
/// What the kernel says.
pub fn open_flow(
    reactor: &Rc<Reactor>,
    to: SocketAddr,
    source: Option<IpAddr>,
    queue: &Rc<Queue>,
    tag: usize,
) -> Result<Socket, Errno> {
    let open = || -> io::Result<Socket> {
        let socket = new_socket(to)?;
        widen(&socket, FLOW_BUFFER)?;
        if let Some(source) = source {
            bind_source(&socket, source)?;
        }
        socket.connect(&SockAddr::from(to)).map_err(|error| match error.kind() {
            // What the kernel says of a datagram socket when all ports are taken.
            io::ErrorKind::WouldBlock => Errno::ADDRNOTAVAIL.into(),
            _ => error,
        })?;
        reactor.watch_queued(socket.into(), queue, tag)
    };
    open().map_err(|error| errno_of(&error))
}

fn errno_of(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

/// Buffers into which one task receives.
#[derive(Debug)]
pub struct Intake {
    slots: Box<[u8]>,
    meta: [RecvMeta; BATCH_SIZE],
}

/// What the last call received.
#[derive(Debug, Clone, Copy)]
pub struct Arrivals<'a> {
    slots: &'a [u8],
    meta: &'a [RecvMeta],
}

impl Intake {
    /// Datagrams that one call takes at most.
    pub const MOST: usize = BATCH_SIZE;

    /// Buffers for the largest datagrams there are; pages that nothing is received into cost
    /// nothing.
    pub fn new() -> Self {
        Self {
            slots: vec![0; SLOT * BATCH_SIZE].into_boxed_slice(),
            meta: [RecvMeta::default(); BATCH_SIZE],
        }
    }

    /// Receives up to `most` datagrams (or merged runs of them), at most [`Intake::MOST`].
    ///
    /// A socket of which fewer came is drained.
    ///
    /// # Errors
    /// `EAGAIN` if there is none, or what the kernel has been told of the peer.
    pub fn receive(
        &mut self,
        state: &Outlet,
        socket: &Socket,
        most: usize,
    ) -> Result<Arrivals<'_>, Errno> {
        let mut rest = self.slots.chunks_exact_mut(SLOT);
        let mut buffers: [IoSliceMut<'_>; BATCH_SIZE] =
            array::from_fn(|_| IoSliceMut::new(rest.next().unwrap_or_default()));
        let most = most.clamp(1, BATCH_SIZE);
        let Some(buffers) = buffers.get_mut(..most) else { return Err(Errno::INVAL) };
        let received = state.state.recv(UdpSockRef::from(socket), buffers, &mut self.meta);
        match received {
            Ok(count) => {
                if count < most {
                    socket.clear_readable();
                }
                let meta = self.meta.get(..count).unwrap_or_default();
                Ok(Arrivals { slots: &self.slots, meta })
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                socket.clear_readable();
                Err(Errno::AGAIN)
            }
            Err(error) => Err(errno_of(&error)),
        }
    }
}

impl Default for Intake {
    fn default() -> Self {
        Self::new()
    }
}

/// Datagrams of one sender to one local address that came in a row: of one size, but for the last,
/// which may be shorter.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// Who sent them.
    pub from: SocketAddr,
    /// The address they were sent to, where the socket has many.
    pub local: Option<IpAddr>,
    size: usize,
    arrivals: Arrivals<'a>,
}

impl<'a> Arrivals<'a> {
    /// Datagrams, or merged runs of them.
    pub fn len(&self) -> usize {
        self.meta.len()
    }

    /// True if nothing came.
    pub fn is_empty(&self) -> bool {
        self.meta.is_empty()
    }

    /// The datagrams as runs, in the order in which they came.
    pub fn runs(self) -> impl Iterator<Item = Run<'a>> {
        let mut rest = self;
        std::iter::from_fn(move || {
            let first = rest.meta.first()?;
            let length = run_length(rest.meta);
            let (meta, left) = rest.meta.split_at(length);
            let (slots, behind) = rest.slots.split_at((length * SLOT).min(rest.slots.len()));
            rest = Arrivals { slots: behind, meta: left };
            let arrivals = Arrivals { slots, meta };
            Some(Run { from: first.addr, local: first.dst_ip, size: first.stride, arrivals })
        })
    }

    /// Buffers with what they hold.
    fn filled(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let slots = self.slots.chunks(SLOT).zip(self.meta);
        slots.map(|(slot, meta)| slot.get(..meta.len).unwrap_or_default())
    }
}

/// How many of the first arrivals make one run. What the kernel has merged stays alone.
fn run_length(meta: &[RecvMeta]) -> usize {
    let Some(first) = meta.first() else { return 0 };
    if first.len != first.stride || first.len == 0 {
        return 1;
    }
    let mut total = first.len;
    let mut length = 1;
    for next in meta.iter().skip(1).take(MOST_SEGMENTS - 1) {
        total += next.len;
        let fits = next.addr == first.addr
            && next.dst_ip == first.dst_ip
            && next.len == next.stride
            && (1..=first.len).contains(&next.len)
            && total <= LONGEST_RUN;
        if !fits {
            break;
        }
        length += 1;
        if next.len < first.len {
            break;
        }
    }
    length
}

impl<'a> Run<'a> {
    /// How many datagrams it is.
    pub fn count(&self) -> usize {
        let merged = |meta: &RecvMeta| meta.len.div_ceil(meta.stride.max(1)).max(1);
        self.arrivals.meta.iter().map(merged).sum()
    }

    /// Bytes of all of them.
    fn bytes(&self) -> usize {
        self.arrivals.meta.iter().map(|meta| meta.len).sum()
    }

    /// The datagrams, one by one.
    fn datagrams(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let size = self.size.max(1);
        self.arrivals.filled().flat_map(move |held| {
            let none = held.is_empty().then_some(held);
            none.into_iter().chain(held.chunks(size))
        })
    }
}

/// Where a run goes.
#[derive(Debug, Clone, Copy)]
pub struct Destination {
    /// The peer.
    pub to: SocketAddr,
    /// True if the socket is connected to it.
    pub is_connected: bool,
    /// The address to send from, where the socket has many.
    pub from: Option<IpAddr>,
}

/// What became of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// Datagrams that were sent.
    pub datagrams: usize,
    /// Bytes of them.
    pub bytes: u64,
    /// Why the next one was not.
    pub error: Option<Errno>,
}

/// Sends runs, for one task.
#[derive(Debug)]
pub struct Outlet {
    state: UdpSocketState,
    joined: Vec<u8>,
    /// Larger segments are sent one by one.
    widest: usize,
}

impl Outlet {
    /// # Errors
    /// The process is out of descriptors or memory.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            state: fresh_state()?,
            joined: Vec::with_capacity(LONGEST_RUN),
            widest: WIDEST_SEGMENT,
        })
    }

    /// Sends a run from its `skip`th datagram on, up to the first that the kernel does not take.
    pub fn send(
        &mut self,
        socket: &Socket,
        whither: Destination,
        run: &Run<'_>,
        skip: usize,
    ) -> Sent {
        let left = run.count().saturating_sub(skip);
        let each = |outlet: &Self| outlet.send_each(socket, whither, run.datagrams().skip(skip));
        if left < 2 || run.size > self.widest || run.bytes() > LONGEST_RUN {
            return each(self);
        }
        match self.send_joined(socket, whither, run, skip) {
            Ok(bytes) => Sent { datagrams: left, bytes, error: None },
            Err(Errno::INVAL | Errno::IO | Errno::MSGSIZE) => {
                let sent = each(self);
                // Else it was not the joining: nothing can be sent to this address.
                if sent.datagrams > 0 {
                    self.narrow(run.size);
                }
                sent
            }
            Err(errno) => Sent { error: Some(errno), ..Sent::default() },
        }
    }

    fn send_joined(
        &mut self,
        socket: &Socket,
        whither: Destination,
        run: &Run<'_>,
        skip: usize,
    ) -> Result<u64, Errno> {
        self.joined.clear();
        run.datagrams().skip(skip).for_each(|datagram| self.joined.extend_from_slice(datagram));
        self.transmit(socket, whither, &self.joined, Some(run.size))?;
        Ok(self.joined.len() as u64)
    }

    /// Sends what takes control messages: the size of the segments, the address to send from.
    fn transmit(
        &self,
        socket: &Socket,
        whither: Destination,
        contents: &[u8],
        segment_size: Option<usize>,
    ) -> Result<(), Errno> {
        let Destination { to: destination, from: src_ip, .. } = whither;
        let transmit = Transmit { destination, ecn: None, contents, segment_size, src_ip };
        let sent = self.state.try_send(UdpSockRef::from(socket), &transmit);
        sent.map_err(|error| errno_of(&error))
    }

    /// The kernel does not segment into this size: a way with a small MTU, or a card that cannot.
    fn narrow(&mut self, size: usize) {
        self.widest = size - 1;
        tracing::debug!(size, "datagrams of this size are sent one by one from now on");
    }

    fn send_each<'a>(
        &self,
        socket: &Socket,
        whither: Destination,
        datagrams: impl Iterator<Item = &'a [u8]>,
    ) -> Sent {
        let mut sent = Sent::default();
        for datagram in datagrams {
            if let Err(errno) = self.send_one(socket, whither, datagram) {
                sent.error = Some(errno);
                break;
            }
            sent.datagrams += 1;
            sent.bytes += datagram.len() as u64;
        }
        sent
    }

    fn send_one(&self, socket: &Socket, whither: Destination, bytes: &[u8]) -> Result<(), Errno> {
        match whither {
            Destination { is_connected: true, .. } => {
                net::send(socket, bytes, SendFlags::NOSIGNAL).map(drop)
            }
            Destination { to, from: None, .. } => {
                net::sendto(socket, bytes, SendFlags::NOSIGNAL, &to).map(drop)
            }
            Destination { .. } => self.transmit(socket, whither, bytes, None),
        }
    }
}

/// A state of the crate that belongs to no socket of ours: it sets options we do not want.
fn fresh_state() -> io::Result<UdpSocketState> {
    let unused = new_socket(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    UdpSocketState::new(UdpSockRef::from(&unused))
}

/// Has the kernel merge what comes in runs from now on, where it can.
pub fn merge_arrivals(socket: impl AsFd) {
    setsockopt(&socket, UdpGroSegment, &true).ok();
}

#[cfg(test)]
mod tests;
