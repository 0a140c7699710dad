//! One end of a secure relay: a socket, what is spoken over it, and what it has not taken yet.

use std::task::{Context, Poll, ready};

use rustix::io::Errno;

use crate::net::Socket;
use crate::relay::secure::{Buffers, Manner};
use crate::session::{Direction, Live};
use crate::tls::Session;

/// Reads of what nobody wants any more, at a close.
const LAST_READS: usize = 8;

/// Why an end gives nothing more, though it has not said that it would not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The socket failed.
    Reset,
    /// It was closed without close_notify: somebody may have cut it.
    Cut,
    /// The peer broke the protocol, or sent an alert that means as much.
    Broken,
    /// Nothing more can be sealed for it: the keys are worn out.
    Worn,
}

/// What follows a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Perhaps more.
    More,
    /// The end of the stream.
    End,
    /// Nothing that could be used.
    Fault(Fault),
}

/// One end.
#[derive(Debug)]
pub(super) struct End<'a> {
    socket: &'a Socket,
    tls: Option<&'a mut Session>,
    /// Which way goes what is written here.
    inbound: Direction,
    rest: Rest,
    /// Nothing may be written behind what is in `rest`: it was told that nothing comes.
    is_over: bool,
    /// Something other than payload could not be written.
    is_gone: bool,
}

/// Bytes for a socket that it has not taken: there only while it is slow.
#[derive(Debug, Default)]
struct Rest {
    bytes: Vec<u8>,
    written: usize,
    /// How much payload is in what has not been written.
    payload: usize,
}

impl Rest {
    /// Takes note of `sent` bytes; gives how much payload went with them.
    fn advance(&mut self, sent: usize) -> usize {
        let left = self.bytes.len() - self.written;
        let gone = share(self.payload, sent, left);
        self.written += sent;
        self.payload -= gone;
        if sent == left {
            *self = Self::default();
        }
        gone
    }
}

/// The part of `payload` in the first `sent` of `all` bytes: rounded down, so that what is counted
/// has been sent, and all of it in the end.
fn share(payload: usize, sent: usize, all: usize) -> usize {
    if sent == all {
        return payload;
    }
    let part = payload as u128 * sent as u128 / all.max(1) as u128;
    usize::try_from(part).unwrap_or(payload)
}

impl<'a> End<'a> {
    /// An end to which bytes go in the direction `inbound`.
    pub(super) fn new(
        socket: &'a Socket,
        tls: Option<&'a mut Session>,
        inbound: Direction,
    ) -> Self {
        let rest = Rest::default();
        let mut end = Self { socket, tls, inbound, rest, is_over: false, is_gone: false };
        end.queue_due();
        end
    }

    /// True if its peer has said that nothing more comes.
    pub(super) fn has_ended(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.has_ended())
    }

    /// True if bytes for it wait, or a part of a record has come from it.
    pub(super) fn holds_bytes(&self) -> bool {
        !self.rest.bytes.is_empty() || self.tls.as_ref().is_some_and(|tls| !tls.held.is_empty())
    }

    /// True if it was reset, as far as we know.
    pub(super) fn has_failed(&self) -> bool {
        self.is_gone || self.socket.has_failed()
    }

    /// Takes payload that was there before the relay began.
    pub(super) fn begin_with(&mut self, payload: Vec<u8>) -> Result<(), Errno> {
        self.rest.payload += payload.len();
        if let Some(tls) = self.tls.as_deref_mut().filter(|_| !payload.is_empty()) {
            let mut room = vec![0; Session::room_for(payload.len())];
            let sealed = tls.seal(&payload, &mut room).map_err(|_| Errno::IO)?;
            room.truncate(sealed);
            self.rest.bytes.append(&mut room);
        } else {
            self.rest.bytes.extend(payload);
        }
        Ok(())
    }

    /// Writes what is held back. Ready once nothing is.
    pub(super) fn poll_flush(&mut self, cx: &Context<'_>, live: &Live) -> Poll<Result<(), Errno>> {
        while !self.rest.bytes.is_empty() {
            let bytes = self.rest.bytes.get(self.rest.written..).unwrap_or_default();
            match ready!(self.socket.poll_send(cx, bytes)) {
                Ok(sent) => count(live, self.inbound, self.rest.advance(sent)),
                Err(error) if self.rest.payload > 0 => return Poll::Ready(Err(error)),
                // Nobody misses it; that the peer is gone will be seen by reading.
                Err(_) => {
                    self.is_gone = true;
                    self.rest = Rest::default();
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Ready once all that was written is on the network.
    pub(super) fn poll_sent(&self, cx: &Context<'_>) -> Poll<()> {
        self.socket.poll_sent(cx)
    }

    /// Reads what is there; gives the payload in it, in one of the two buffers.
    pub(super) fn poll_read<'b>(
        &mut self,
        cx: &Context<'_>,
        incoming: &'b mut [u8],
        plain: &'b mut Vec<u8>,
    ) -> Poll<(&'b [u8], Next)> {
        plain.clear();
        ready!(self.socket.poll_readable(cx));
        let held = self.hand_back(incoming);
        let room = incoming.get_mut(held..).unwrap_or_default();
        let next = match (ready!(self.socket.poll_recv(cx, room)), &self.tls) {
            (Err(_), _) => Next::Fault(Fault::Reset),
            (Ok(0), None) => Next::End,
            (Ok(0), Some(_)) => Next::Fault(Fault::Cut),
            (Ok(n), None) => {
                return Poll::Ready((incoming.get(..n).unwrap_or_default(), Next::More));
            }
            (Ok(n), Some(_)) => self.open(incoming.get_mut(..held + n).unwrap_or_default(), plain),
        };
        Poll::Ready((plain, next))
    }

    /// Puts the part of a record that came with the last read before what comes now.
    fn hand_back(&self, incoming: &mut [u8]) -> usize {
        let held = self.tls.as_ref().map(|tls| tls.held.as_slice()).unwrap_or_default();
        if let Some(front) = incoming.get_mut(..held.len()) {
            front.copy_from_slice(held);
        }
        held.len()
    }

    fn open(&mut self, incoming: &mut [u8], plain: &mut Vec<u8>) -> Next {
        let Some(tls) = self.tls.as_deref_mut() else { return Next::End };
        let opened = tls.open(incoming, plain);
        let rest = opened.as_ref().ok().and_then(|taken| incoming.get(*taken..));
        tls.held.clear();
        tls.held.extend_from_slice(rest.unwrap_or_default());
        if tls.held.is_empty() {
            tls.shrink();
        }
        let has_ended = tls.has_ended();
        self.queue_due();
        match opened {
            Err(_) => Next::Fault(Fault::Broken),
            Ok(_) if has_ended => Next::End,
            Ok(_) => Next::More,
        }
    }

    /// Writes payload, through `outgoing` if it must be sealed; keeps what the socket does not take.
    /// Nothing may be held back before.
    pub(super) fn write(
        &mut self,
        cx: &Context<'_>,
        payload: &[u8],
        outgoing: &mut [u8],
        live: &Live,
    ) -> Result<(), Fault> {
        let bytes = match self.tls.as_deref_mut() {
            None => payload,
            Some(tls) => {
                let sealed = tls.seal(payload, outgoing).map_err(|_| Fault::Worn)?;
                outgoing.get(..sealed).unwrap_or_default()
            }
        };
        let sent = match self.socket.poll_send(cx, bytes) {
            Poll::Ready(sent) => sent.map_err(|_| Fault::Reset)?,
            Poll::Pending => 0,
        };
        let gone = share(payload.len(), sent, bytes.len());
        count(live, self.inbound, gone);
        if let Some(rest) = bytes.get(sent..).filter(|rest| !rest.is_empty()) {
            self.rest = Rest { bytes: rest.into(), written: 0, payload: payload.len() - gone };
        }
        Ok(())
    }

    /// Queues the word that nothing more comes, where there is one.
    pub(super) fn say_last(&mut self) {
        if let Some(tls) = self.tls.as_deref_mut().filter(|_| !self.is_over) {
            // A session that cannot say it has failed, and reading from it tells the same.
            tls.end().ok();
            self.queue_due();
        }
        self.is_over = true;
    }

    fn queue_due(&mut self) {
        let Some(tls) = self.tls.as_deref_mut() else { return };
        let due = std::mem::take(&mut tls.due);
        if !self.is_over {
            self.rest.bytes.extend(due);
        }
    }

    /// Sends FIN.
    pub(super) fn end_writing(&self) {
        self.socket.end_writing();
    }

    /// Makes the coming close a reset.
    pub(super) fn reset(&self) {
        self.socket.reset_on_close();
    }

    /// Makes the coming close what it should be.
    pub(super) fn leave(
        &mut self,
        manner: Manner,
        cx: &Context<'_>,
        live: &Live,
        buffers: &mut Buffers,
    ) {
        match manner {
            Manner::Reset => return self.reset(),
            Manner::Close => {}
            Manner::Dismiss => {
                self.say_last();
                if self.poll_flush(cx, live) != Poll::Ready(Ok(())) {
                    return self.reset();
                }
                self.end_writing();
            }
        }
        self.drain(cx, buffers);
    }

    /// Reads what is there behind the end of a peer's stream: left unread, it would make a reset of
    /// the coming close, which could overtake what the peer has not read yet.
    fn drain(&self, cx: &Context<'_>, buffers: &mut Buffers) {
        if self.tls.is_none() {
            return;
        }
        for _ in 0..LAST_READS {
            match self.socket.poll_recv(cx, &mut buffers.incoming) {
                Poll::Ready(Ok(1..)) => {}
                _ => return,
            }
        }
    }
}

fn count(live: &Live, direction: Direction, payload: usize) {
    // Records without payload are not activity.
    if payload > 0 {
        live.moved(direction, payload as u64);
    }
}
