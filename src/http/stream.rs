//! A connection as hyper wants it: reads and writes over a socket, in the clear or in TLS.
//!
//! A stream that moves nothing holds no buffer: what is read and written goes through room that all
//! streams of a worker share, and only what nobody has taken yet is kept.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};

use crate::net::Socket;
use crate::tls::Session;

/// What one read takes at most, and what one write seals.
const CHUNK: usize = 128 * 1024;

/// Room that all streams of a worker share.
#[derive(Debug)]
pub(super) struct Scratch {
    /// As it comes from the socket.
    pub(super) incoming: Box<[u8]>,
    /// What is in it, where it was sealed.
    plain: Vec<u8>,
    /// Pieces that are sealed as one.
    gathered: Vec<u8>,
    /// Sealed.
    outgoing: Box<[u8]>,
}

impl Default for Scratch {
    fn default() -> Self {
        let bytes = |size| vec![0; size].into_boxed_slice();
        let (incoming, outgoing) = (bytes(CHUNK), bytes(Session::room_for(CHUNK)));
        let (plain, gathered) = (Vec::with_capacity(CHUNK), Vec::new());
        Self { incoming, plain, gathered, outgoing }
    }
}

/// Bytes that wait to be taken from the front.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    bytes: Vec<u8>,
    taken: usize,
}

impl From<Vec<u8>> for Backlog {
    fn from(bytes: Vec<u8>) -> Self {
        Self { bytes, taken: 0 }
    }
}

impl Backlog {
    /// What waits.
    pub(super) fn rest(&self) -> &[u8] {
        self.bytes.get(self.taken..).unwrap_or_default()
    }

    /// True if nothing does.
    pub(super) fn is_empty(&self) -> bool {
        self.taken == self.bytes.len()
    }

    /// Takes `n` of them; memory is given back with the last.
    pub(super) fn advance(&mut self, n: usize) {
        self.taken += n;
        if self.is_empty() {
            *self = Self::default();
        }
    }

    /// Adds to the end.
    pub(super) fn extend(&mut self, more: &[u8]) {
        if self.taken > self.bytes.len() / 2 {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
        self.bytes.extend_from_slice(more);
    }

    /// All that waits.
    pub(super) fn into_rest(mut self) -> Vec<u8> {
        self.bytes.drain(..self.taken);
        self.bytes
    }

    /// Gives what fits into `room`.
    pub(super) fn give(&mut self, room: &mut ReadBufCursor<'_>) {
        let given = put(self.rest(), room);
        self.advance(given);
    }
}

/// Puts what fits into `room`; says how much that is.
pub(super) fn put(bytes: &[u8], room: &mut ReadBufCursor<'_>) -> usize {
    let fits = bytes.len().min(room.remaining());
    room.put_slice(bytes.get(..fits).unwrap_or_default());
    fits
}

/// A socket, and what is spoken over it.
#[derive(Debug)]
pub(super) struct Stream {
    socket: Rc<Socket>,
    tls: Option<Box<Session>>,
    /// Payload that has been read and not been taken.
    ahead: Backlog,
    /// Ciphertext that the socket has not taken.
    unsent: Backlog,
    scratch: Rc<RefCell<Scratch>>,
    /// We have said that we send no more.
    is_over: bool,
}

/// A stream taken apart.
pub(super) struct Parts {
    pub(super) socket: Rc<Socket>,
    pub(super) tls: Option<Box<Session>>,
    /// Payload that has been read and not been taken.
    pub(super) ahead: Vec<u8>,
}

impl Stream {
    /// A connection from which `ahead` has been read already.
    pub(super) fn new(
        socket: Rc<Socket>,
        mut tls: Option<Box<Session>>,
        ahead: Vec<u8>,
        scratch: &Rc<RefCell<Scratch>>,
    ) -> Self {
        let unsent = tls.as_deref_mut().map(|tls| std::mem::take(&mut tls.due));
        let (ahead, unsent) = (ahead.into(), unsent.unwrap_or_default().into());
        Self { socket, tls, ahead, unsent, scratch: Rc::clone(scratch), is_over: false }
    }

    /// True if there is payload that has been read and not been taken.
    pub(super) fn holds_payload(&self) -> bool {
        !self.ahead.is_empty()
    }

    /// What it is made of. What was written has left if it was flushed.
    pub(super) fn into_parts(self) -> Parts {
        Parts { socket: self.socket, tls: self.tls, ahead: self.ahead.into_rest() }
    }

    /// What it runs over.
    pub(super) fn socket(&self) -> &Rc<Socket> {
        &self.socket
    }

    /// Payload that has been read and not been taken.
    pub(super) fn ahead(&self) -> &[u8] {
        self.ahead.rest()
    }

    /// Ready if a read would not have to wait, as far as is known.
    pub(super) fn poll_readable(&self, cx: &Context<'_>) -> Poll<()> {
        if self.ahead.is_empty() { self.socket.poll_readable(cx) } else { Poll::Ready(()) }
    }

    /// Reads more, behind what is [`ahead`](Self::ahead). `false` is the end of the stream.
    pub(super) fn poll_more(&mut self, cx: &Context<'_>, most: usize) -> Poll<io::Result<bool>> {
        let mut ahead = std::mem::take(&mut self.ahead);
        let read = self.poll_come(cx, most, |payload| {
            ahead.extend(payload);
            payload.len()
        });
        self.ahead = ahead;
        read
    }

    /// Reads what is there, about `most` bytes, and shows it to `take`, which says how much of it it
    /// has taken; the rest is kept. `false` is the end of the stream.
    pub(super) fn poll_take(
        &mut self,
        cx: &Context<'_>,
        most: usize,
        take: impl FnOnce(&[u8]) -> usize,
    ) -> Poll<io::Result<bool>> {
        if !self.ahead.is_empty() {
            let taken = take(self.ahead.rest());
            self.ahead.advance(taken);
            return Poll::Ready(Ok(true));
        }
        self.poll_come(cx, most, take)
    }

    fn poll_come(
        &mut self,
        cx: &Context<'_>,
        most: usize,
        take: impl FnOnce(&[u8]) -> usize,
    ) -> Poll<io::Result<bool>> {
        let scratch = Rc::clone(&self.scratch);
        let scratch = &mut *scratch.borrow_mut();
        let payload = if self.tls.is_some() {
            if !ready!(self.poll_open(cx, scratch))? {
                return Poll::Ready(Ok(false));
            }
            scratch.plain.as_slice()
        } else {
            let room = scratch.incoming.get_mut(..most.min(CHUNK)).unwrap_or_default();
            let read = ready!(self.socket.poll_recv(cx, room))?;
            if read == 0 {
                return Poll::Ready(Ok(false));
            }
            room.get(..read).unwrap_or_default()
        };
        let taken = take(payload);
        if let Some(kept) = payload.get(taken..).filter(|kept| !kept.is_empty()) {
            self.ahead.extend(kept);
        }
        Poll::Ready(Ok(true))
    }

    /// Reads records until there is payload in `scratch.plain`. `false` is the end of the stream.
    fn poll_open(&mut self, cx: &Context<'_>, scratch: &mut Scratch) -> Poll<io::Result<bool>> {
        let Some(tls) = self.tls.as_deref_mut() else { return Poll::Ready(Ok(false)) };
        scratch.plain.clear();
        while scratch.plain.is_empty() {
            if tls.has_ended() {
                return Poll::Ready(Ok(false));
            }
            ready!(self.socket.poll_readable(cx));
            let held = tls.held.len();
            let room = &mut scratch.incoming;
            if let Some(front) = room.get_mut(..held) {
                front.copy_from_slice(&tls.held);
            }
            let read = ready!(self.socket.poll_recv(cx, room.get_mut(held..).unwrap_or_default()))?;
            if read == 0 {
                // Somebody may have cut it: only close_notify ends a stream.
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            let room = room.get_mut(..held + read).unwrap_or_default();
            let opened = tls.open(room, &mut scratch.plain);
            let rest = opened.as_ref().ok().and_then(|taken| room.get(*taken..));
            tls.held.clear();
            tls.held.extend_from_slice(rest.unwrap_or_default());
            if !tls.due.is_empty() && !self.is_over {
                self.unsent.extend(&tls.due);
            }
            tls.due.clear();
            if tls.held.is_empty() {
                tls.shrink();
            }
            opened.map_err(io::Error::other)?;
        }
        Poll::Ready(Ok(true))
    }

    fn poll_send_rest(&mut self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        while !self.unsent.is_empty() {
            let sent = ready!(self.socket.poll_send(cx, self.unsent.rest()))?;
            self.unsent.advance(sent);
        }
        Poll::Ready(Ok(()))
    }

    /// Seals as much of `plain` as goes at once, and sends what the socket takes of it. Nothing may
    /// wait before it.
    fn seal(&mut self, cx: &Context<'_>, plain: &[u8], room: &mut [u8]) -> io::Result<usize> {
        let Some(tls) = self.tls.as_deref_mut() else { return Ok(0) };
        let plain = plain.get(..plain.len().min(CHUNK)).unwrap_or(plain);
        let sealed = tls.seal(plain, room).map_err(io::Error::other)?;
        let sealed = room.get(..sealed).unwrap_or_default();
        if !tls.due.is_empty() {
            self.unsent.extend(&std::mem::take(&mut tls.due));
            self.unsent.extend(sealed);
            return Ok(plain.len());
        }
        let sent = match self.socket.poll_send(cx, sealed) {
            Poll::Ready(sent) => sent?,
            Poll::Pending => 0,
        };
        if let Some(rest) = sealed.get(sent..).filter(|rest| !rest.is_empty()) {
            self.unsent.extend(rest);
        }
        Ok(plain.len())
    }

    /// Writes all of `bytes`; what the socket does not take goes out with the next flush.
    pub(super) fn write_all(&mut self, cx: &Context<'_>, mut bytes: &[u8]) -> io::Result<()> {
        let scratch = Rc::clone(&self.scratch);
        while !bytes.is_empty() {
            let sent = match self.poll_send_rest(cx)? {
                Poll::Ready(()) => {
                    self.poll_start(cx, bytes, &mut scratch.borrow_mut().outgoing)?
                }
                Poll::Pending => Poll::Pending,
            };
            match (sent, &mut self.tls) {
                (Poll::Ready(sent), _) => bytes = bytes.get(sent..).unwrap_or_default(),
                (Poll::Pending, None) => {
                    self.unsent.extend(bytes);
                    return Ok(());
                }
                (Poll::Pending, Some(tls)) => {
                    let mut room = vec![0; Session::room_for(bytes.len())];
                    let sealed = tls.seal(bytes, &mut room).map_err(io::Error::other)?;
                    self.unsent.extend(&std::mem::take(&mut tls.due));
                    self.unsent.extend(room.get(..sealed).unwrap_or_default());
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Writes what goes at once. Nothing may wait before it.
    fn poll_start(
        &mut self,
        cx: &Context<'_>,
        bytes: &[u8],
        room: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if self.tls.is_some() {
            return Poll::Ready(self.seal(cx, bytes, room));
        }
        self.socket.poll_send(cx, bytes).map(|sent| Ok(sent?))
    }

    /// Waits until the socket has taken all that was written.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_send_rest(cx)).await
    }

    /// Writes all of `bytes`, and waits until the socket has taken it.
    pub(super) async fn send_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let sent = poll_fn(|cx| Pin::new(&mut *self).poll_write(cx, bytes)).await?;
            bytes = bytes.get(sent..).unwrap_or_default();
        }
        self.flush().await
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let most = buf.remaining();
        self.poll_take(cx, most, |payload| put(payload, &mut buf)).map_ok(drop)
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.poll_send_rest(cx))?;
        let scratch = Rc::clone(&this.scratch);
        this.poll_start(cx, buf, &mut scratch.borrow_mut().outgoing)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.poll_send_rest(cx))?;
        if this.tls.is_none() {
            return this.socket.poll_send_vectored(cx, bufs).map(|sent| Ok(sent?));
        }
        let scratch = Rc::clone(&this.scratch);
        let Scratch { gathered, outgoing, .. } = &mut *scratch.borrow_mut();
        gathered.clear();
        for buf in bufs {
            let fits = buf.len().min(CHUNK - gathered.len());
            gathered.extend_from_slice(buf.get(..fits).unwrap_or_default());
        }
        Poll::Ready(this.seal(cx, gathered, outgoing))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send_rest(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(tls) = this.tls.as_deref_mut().filter(|_| !this.is_over) {
            tls.end().map_err(io::Error::other)?;
            this.unsent.extend(&std::mem::take(&mut tls.due));
        }
        this.is_over = true;
        ready!(this.poll_send_rest(cx))?;
        this.socket.end_writing();
        Poll::Ready(Ok(()))
    }
}
