//! A socket of one worker: non-blocking calls behind readiness, for sessions and listeners.

use std::cell::Cell;
use std::future::poll_fn;
use std::io::IoSlice;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::IpBindAddressNoPort;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Timespec;
use rustix::io::Errno;
use rustix::net::{
    self, AddressFamily, RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, SocketFlags,
    SocketType, ipproto, sockopt,
};
use rustix::pipe::{SpliceFlags, splice};
use socket2::SockRef;

use crate::net::reactor::{Reactor, Ready, State};

/// A socket watched by its worker's reactor. All its waiting must be done by one task.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    state: Rc<State>,
    key: usize,
    reactor: Rc<Reactor>,
    /// Closing it here does not take it out of the reactor's set: others have it open, too.
    is_shared: Cell<bool>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.is_shared.get() {
            self.reactor.leave(&self.fd);
        }
        self.reactor.forget(self.key);
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Socket {
    pub(super) fn new(fd: OwnedFd, state: Rc<State>, key: usize, reactor: Rc<Reactor>) -> Self {
        Self { fd, state, key, reactor, is_shared: Cell::new(false) }
    }

    /// Others hold this socket under descriptors of their own, or soon will.
    pub fn share(&self) {
        self.is_shared.set(true);
    }

    /// Connects to `to`, from `source` if given.
    ///
    /// # Errors
    /// What the kernel says of the attempt; there is no time limit but the kernel's.
    pub async fn connect(
        reactor: &Rc<Reactor>,
        to: SocketAddr,
        source: Option<IpAddr>,
        keepalive: Option<Duration>,
    ) -> Result<Self, Errno> {
        let socket = Self::start_connect(reactor, to, source, keepalive)?;
        poll_fn(|cx| socket.state.poll(Ready::Write, cx)).await;
        // Asking for the error costs a system call; the kernel has told whether there is one.
        if socket.state.has_failed() {
            sockopt::socket_error(&socket.fd)??;
        }
        Ok(socket)
    }

    fn start_connect(
        reactor: &Rc<Reactor>,
        to: SocketAddr,
        source: Option<IpAddr>,
        keepalive: Option<Duration>,
    ) -> Result<Self, Errno> {
        let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let fd = net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
        sockopt::set_tcp_nodelay(&fd, true)?;
        if let Some(idle) = keepalive {
            sockopt::set_socket_keepalive(&fd, true)?;
            sockopt::set_tcp_keepidle(&fd, idle)?;
        }
        if let Some(source) = source {
            bind_source(&fd, source)?;
        }
        match net::connect(&fd, &to) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error),
        }
        // Watched only now: before the connect the kernel would report a hang-up.
        reactor.watch(fd).map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::NOMEM))
    }

    /// Takes the next connection from a listening socket, or says why there is none.
    ///
    /// # Errors
    /// `EAGAIN` if nobody waits; see [`crate::net::AcceptError`] for the others.
    pub fn accept(&self) -> Result<(OwnedFd, SocketAddr), Errno> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let accepted = net::acceptfrom_with(&self.fd, flags);
        if matches!(accepted, Err(Errno::AGAIN)) {
            self.clear_readable();
        }
        let (fd, from) = accepted?;
        let from = from.and_then(|from| SocketAddr::try_from(from).ok());
        Ok((fd, from.ok_or(Errno::CONNABORTED)?))
    }

    /// A call found nothing to read.
    pub(super) fn clear_readable(&self) {
        self.state.clear(Ready::Read);
    }

    /// Waits until there may be something to read, or to accept.
    pub fn poll_readable(&self, cx: &Context<'_>) -> Poll<()> {
        self.state.poll(Ready::Read, cx)
    }

    /// Waits until the peer has ended or reset the connection. Nothing is read: what it sent before
    /// is still there.
    pub fn poll_hangup(&self, cx: &Context<'_>) -> Poll<()> {
        self.state.poll_ending(cx)
    }

    /// A call has left something to read: its task comes back without an event.
    pub fn reenter_queue(&self) {
        self.state.enqueue();
    }

    /// It was taken out of the queue that it is watched for.
    pub fn leave_queue(&self) {
        self.state.leave_queue();
    }

    /// Reads into `buffer`; 0 is the end of the stream.
    pub fn poll_recv(&self, cx: &Context<'_>, buffer: &mut [u8]) -> Poll<Result<usize, Errno>> {
        let room = buffer.len();
        let receive = || net::recv(&self.fd, &mut *buffer, RecvFlags::empty()).map(|(n, _)| n);
        let received = ready!(self.poll_call(cx, Ready::Read, receive));
        if received.is_ok_and(|n| n < room) {
            self.state.drained();
        }
        Poll::Ready(received)
    }

    /// Writes what fits of `bytes`, at least one byte.
    pub fn poll_send(&self, cx: &Context<'_>, bytes: &[u8]) -> Poll<Result<usize, Errno>> {
        let send = || net::send(&self.fd, bytes, SendFlags::NOSIGNAL);
        let sent = ready!(self.poll_call(cx, Ready::Write, send));
        if sent.is_ok_and(|n| n < bytes.len()) {
            self.state.clear(Ready::Write);
        }
        Poll::Ready(sent)
    }

    /// Writes what fits of `pieces`, one behind the other, at least one byte.
    pub fn poll_send_vectored(
        &self,
        cx: &Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<Result<usize, Errno>> {
        let send = || {
            let mut nothing = SendAncillaryBuffer::default();
            net::sendmsg(&self.fd, pieces, &mut nothing, SendFlags::NOSIGNAL)
        };
        let sent = ready!(self.poll_call(cx, Ready::Write, send));
        if sent.is_ok_and(|n| n < pieces.iter().map(|piece| piece.len()).sum()) {
            self.state.clear(Ready::Write);
        }
        Poll::Ready(sent)
    }

    /// Waits until all that was written has left for the network, as the peer's window allows: a
    /// reset that comes then does not take it along. From then on the socket counts as writable only
    /// while that is so.
    pub fn poll_sent(&self, cx: &Context<'_>) -> Poll<()> {
        // Where the kernel refuses, nothing is waited for.
        if SockRef::from(&self.fd).set_tcp_notsent_lowat(1).is_err() {
            return Poll::Ready(());
        }
        self.state.clear(Ready::Write);
        // Asking also has the kernel report when it changes.
        let mut asked = [PollFd::new(&self.fd, PollFlags::OUT)];
        match poll(&mut asked, Some(&Timespec::default())) {
            Ok(0) => self.state.poll(Ready::Write, cx),
            _ => Poll::Ready(()),
        }
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// What the kernel says; some of it may have been written.
    pub async fn send_all(&self, mut bytes: &[u8]) -> Result<(), Errno> {
        while !bytes.is_empty() {
            let sent = poll_fn(|cx| self.poll_send(cx, bytes)).await?;
            bytes = bytes.get(sent..).unwrap_or_default();
        }
        Ok(())
    }

    /// Reads up to `most` bytes behind what is in `bytes`; 0 is the end of the stream.
    ///
    /// # Errors
    /// What the kernel says; `bytes` is then as it was.
    pub async fn recv_more(&self, bytes: &mut Vec<u8>, most: usize) -> Result<usize, Errno> {
        let known = bytes.len();
        bytes.resize(known + most, 0);
        let room = bytes.get_mut(known..).unwrap_or_default();
        let read = poll_fn(|cx| self.poll_recv(cx, room)).await;
        bytes.truncate(known + read.unwrap_or(0));
        read
    }

    /// Moves up to `most` bytes into a pipe that is empty; 0 is the end of the stream.
    pub fn poll_splice_in(
        &self,
        cx: &Context<'_>,
        pipe: &OwnedFd,
        most: usize,
    ) -> Poll<Result<usize, Errno>> {
        // The pipe is empty, so if the call would wait, it is for the socket.
        self.poll_call(cx, Ready::Read, || splice(&self.fd, None, pipe, None, most, NEVER_WAIT))
    }

    /// Moves up to `most` bytes out of a pipe that holds as many.
    pub fn poll_splice_out(
        &self,
        cx: &Context<'_>,
        pipe: &OwnedFd,
        most: usize,
    ) -> Poll<Result<usize, Errno>> {
        self.poll_call(cx, Ready::Write, || splice(pipe, None, &self.fd, None, most, NEVER_WAIT))
    }

    /// Calls until something was done, an error came, or the socket would have to be waited for.
    fn poll_call(
        &self,
        cx: &Context<'_>,
        ready: Ready,
        mut call: impl FnMut() -> Result<usize, Errno>,
    ) -> Poll<Result<usize, Errno>> {
        loop {
            ready!(self.state.poll(ready, cx));
            match call() {
                Err(Errno::AGAIN) => self.state.clear(ready),
                Err(Errno::INTR) => {}
                done => return Poll::Ready(done),
            }
        }
    }

    /// True if the kernel has reported an error: a reset, or a connection given up.
    pub fn has_failed(&self) -> bool {
        self.state.has_failed()
    }

    /// True while nothing has come that nobody has read, no end and no error; as the reactor last
    /// heard, without a system call.
    pub fn is_quiet(&self) -> bool {
        self.state.is_quiet()
    }

    /// As [`is_quiet`](Self::is_quiet), asked of the kernel.
    pub fn is_quiet_now(&self) -> bool {
        let mut byte = [0];
        self.is_quiet() && net::recv(&self.fd, &mut byte[..], RecvFlags::PEEK) == Err(Errno::AGAIN)
    }

    /// Nobody waits for it from here on: who waited last is not woken any more.
    pub fn let_rest(&self) {
        self.state.forget_waker();
    }

    /// Sends FIN after what has been written. A peer that is gone already does not mind.
    pub fn end_writing(&self) {
        net::shutdown(&self.fd, Shutdown::Write).ok();
    }

    /// Makes the coming close a reset, so that nobody takes a cut stream for a whole one.
    pub fn reset_on_close(&self) {
        reset_on_close(&self.fd);
    }

    /// The address the peer connected to.
    pub fn local(&self) -> Option<SocketAddr> {
        SocketAddr::try_from(net::getsockname(&self.fd).ok()?).ok()
    }
}

/// Binds a socket that will connect to `source`. The port is left to the connect: chosen now it
/// would be taken from all destinations at once.
pub(super) fn bind_source(fd: impl AsFd, source: IpAddr) -> Result<(), Errno> {
    let fd = fd.as_fd();
    // Where the kernel lacks it, fewer connections fit, and that is all.
    setsockopt(&fd, IpBindAddressNoPort, &true).ok();
    net::bind(fd, &SocketAddr::new(source, 0))
}

/// Makes the coming close of `fd` a reset.
pub fn reset_on_close(fd: impl AsFd) {
    sockopt::set_socket_linger(fd, Some(Duration::ZERO)).ok();
}

const NEVER_WAIT: SpliceFlags = SpliceFlags::NONBLOCK.union(SpliceFlags::MOVE);
