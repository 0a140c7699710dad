//! A connection as hyper wants it: reads and writes over a socket, in the clear or in TLS.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};

use crate::net::Socket;
use crate::tls::Session;

/// What one read takes at most, and what one write seals.
const CHUNK: usize = 64 * 1024;

/// Room that all streams of a worker share, so that an idle one holds none.
#[derive(Debug)]
pub(super) struct Scratch {
    incoming: Box<[u8]>,
    outgoing: Box<[u8]>,
    plain: Vec<u8>,
}

impl Default for Scratch {
    fn default() -> Self {
        let bytes = |size| vec![0; size].into_boxed_slice();
        let (incoming, outgoing) = (bytes(CHUNK), bytes(Session::room_for(CHUNK)));
        Self { incoming, outgoing, plain: Vec::with_capacity(CHUNK) }
    }
}

/// A socket, and what is spoken over it.
#[derive(Debug)]
pub(super) struct Stream {
    socket: Rc<Socket>,
    tls: Option<Box<Session>>,
    /// Payload that has been read and not been taken.
    ahead: Vec<u8>,
    /// Ciphertext that the socket has not taken.
    rest: Vec<u8>,
    scratch: Rc<RefCell<Scratch>>,
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
        tls: Option<Box<Session>>,
        ahead: Vec<u8>,
        scratch: &Rc<RefCell<Scratch>>,
    ) -> Self {
        let scratch = Rc::clone(scratch);
        Self { socket, tls, ahead, rest: Vec::new(), scratch, is_over: false }
    }

    /// What it is made of.
    pub(super) fn into_parts(self) -> Parts {
        Parts { socket: self.socket, tls: self.tls, ahead: self.ahead }
    }

    /// Reads what is there; the payload in it goes to `ahead`. `false` is the end of the stream.
    fn poll_fill(&mut self, cx: &Context<'_>, most: usize) -> Poll<io::Result<bool>> {
        let scratch = &mut *self.scratch.borrow_mut();
        let Some(tls) = self.tls.as_deref_mut() else {
            let room = scratch.incoming.get_mut(..most.min(CHUNK)).unwrap_or_default();
            let read = ready!(self.socket.poll_recv(cx, room))?;
            self.ahead.extend_from_slice(room.get(..read).unwrap_or_default());
            return Poll::Ready(Ok(read > 0));
        };
        loop {
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
            scratch.plain.clear();
            let opened = tls.open(room, &mut scratch.plain);
            let rest = opened.as_ref().ok().and_then(|taken| room.get(*taken..));
            tls.held.clear();
            tls.held.extend_from_slice(rest.unwrap_or_default());
            self.rest.append(&mut tls.due);
            opened.map_err(io::Error::other)?;
            if !scratch.plain.is_empty() {
                self.ahead.extend_from_slice(&scratch.plain);
                return Poll::Ready(Ok(true));
            }
        }
    }

    fn poll_flush_rest(&mut self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        while !self.rest.is_empty() {
            let sent = ready!(self.socket.poll_send(cx, &self.rest))?;
            self.rest.drain(..sent);
        }
        Poll::Ready(Ok(()))
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() && !ready!(self.poll_fill(cx, buf.remaining()))? {
            return Poll::Ready(Ok(()));
        }
        let taken = self.ahead.len().min(buf.remaining());
        buf.put_slice(self.ahead.get(..taken).unwrap_or_default());
        self.ahead.drain(..taken);
        Poll::Ready(Ok(()))
    }
}

impl Write for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let Some(tls) = this.tls.as_deref_mut() else {
            return this.socket.poll_send(cx, buf).map(|sent| Ok(sent?));
        };
        if !this.rest.is_empty() {
            ready!(this.poll_flush_rest(cx))?;
            return Pin::new(this).poll_write(cx, buf);
        }
        let plain = buf.get(..buf.len().min(CHUNK)).unwrap_or_default();
        let scratch = &mut *this.scratch.borrow_mut();
        let sealed = tls.seal(plain, &mut scratch.outgoing).map_err(io::Error::other)?;
        let sealed = scratch.outgoing.get(..sealed).unwrap_or_default();
        let sent = match this.socket.poll_send(cx, sealed) {
            Poll::Ready(sent) => sent?,
            Poll::Pending => 0,
        };
        this.rest.extend_from_slice(sealed.get(sent..).unwrap_or_default());
        Poll::Ready(Ok(plain.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush_rest(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(tls) = this.tls.as_deref_mut().filter(|_| !this.is_over) {
            this.is_over = true;
            tls.end().map_err(io::Error::other)?;
            this.rest.append(&mut tls.due);
        }
        ready!(this.poll_flush_rest(cx))?;
        this.socket.end_writing();
        Poll::Ready(Ok(()))
    }
}
