//! Bytes both ways between two sockets, with exact half-close, until both ended or somebody ends it.
//!
//! A session that moves nothing holds no buffer. Small reads go through one buffer of the worker;
//! a direction that keeps reading much switches to splice(2) and back when reads get small. Where a
//! side speaks TLS, `secure` does the same with keys in between.

mod direction;
mod pipes;
mod secure;

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Context, Poll};

use crate::net::Socket;
use crate::outcome::Outcome;
use crate::session::{Direction, Live};
use crate::tls::Session;
use direction::{Broken, Half};
pub use pipes::Pipes;
use secure::Buffers;

/// Bytes of the buffer that all sessions of a worker share: what one read can take at most.
const BUFFER: usize = 128 * 1024;

/// What a worker lends to its relays.
#[derive(Debug)]
pub struct Lent {
    pub(self) buffer: RefCell<Box<[u8]>>,
    pub(self) pipes: Rc<Pipes>,
    /// Made for the first session that needs them.
    pub(self) secure: RefCell<Option<Box<Buffers>>>,
}

impl Lent {
    /// A buffer and no pipes yet; pipes are not opened with descriptors of `ceiling` or above.
    pub fn new(ceiling: u64) -> Self {
        let buffer = vec![0; BUFFER].into_boxed_slice();
        let pipes = Rc::new(Pipes::new(ceiling));
        Self { buffer: RefCell::new(buffer), pipes, secure: RefCell::default() }
    }

    /// Gives up what no session uses just now, since descriptors are short.
    pub fn release(&self) {
        self.pipes.release();
    }
}

/// One end of a relay.
#[derive(Debug)]
pub struct Side<'a> {
    /// The connection.
    pub socket: &'a Socket,
    /// What is spoken over it, if it is TLS.
    pub tls: Option<&'a mut Session>,
    /// Payload that has been read from it already, decrypted.
    pub ahead: Vec<u8>,
}

impl<'a> Side<'a> {
    /// An end of which nothing has been read.
    pub fn new(socket: &'a Socket, tls: Option<&'a mut Session>) -> Self {
        Self { socket, tls, ahead: Vec::new() }
    }
}

/// Relays until both sides have ended, one of them breaks, or `live` is told to end.
///
/// The sockets are left such that dropping them does what the outcome asks for: a plain close after
/// `ok` and `idle`, a reset of both sides after anything else.
pub async fn run(client: Side<'_>, server: Side<'_>, live: &Live, lent: &Lent) -> Outcome {
    if client.tls.is_some() || server.tls.is_some() {
        // Boxed, since most sessions have no use for it.
        return Box::pin(secure::run(client, server, live, lent)).await;
    }
    let mut relay = Relay {
        client: client.socket,
        server: server.socket,
        up: Half::new(Direction::In, client.ahead),
        down: Half::new(Direction::Out, server.ahead),
    };
    let outcome = poll_fn(|cx| relay.poll(cx, live, lent)).await;
    relay.close(outcome);
    outcome
}

struct Relay<'a> {
    client: &'a Socket,
    server: &'a Socket,
    up: Half,
    down: Half,
}

impl Relay<'_> {
    fn poll(&mut self, cx: &Context<'_>, live: &Live, lent: &Lent) -> Poll<Outcome> {
        if let Poll::Ready(cause) = live.poll_end(cx) {
            return Poll::Ready(cause);
        }
        let Self { client, server, up, down } = self;
        let broken = forward(up, down, cx, (client, server), live, lent);
        if let Some(outcome) = broken.map(|broken| broken.blame(Direction::In)) {
            return Poll::Ready(outcome);
        }
        let broken = forward(down, up, cx, (server, client), live, lent);
        if let Some(outcome) = broken.map(|broken| broken.blame(Direction::Out)) {
            return Poll::Ready(outcome);
        }
        if self.up.is_done() && self.down.is_done() {
            return Poll::Ready(Outcome::Ok);
        }
        self.broken().map_or(Poll::Pending, Poll::Ready)
    }

    /// A reset that no read or write will meet, since both wait for the side that is still there.
    fn broken(&self) -> Option<Outcome> {
        if self.client.has_failed() && (self.up.is_done() || self.up.is_stuck()) {
            return Some(Outcome::ClientReset);
        }
        let server = self.server.has_failed() && (self.down.is_done() || self.down.is_stuck());
        server.then_some(Outcome::BackendReset)
    }

    fn close(&self, outcome: Outcome) {
        match outcome {
            Outcome::Ok => {}
            // With bytes still on their way a FIN would pass a cut stream off as a whole one.
            Outcome::Idle if !self.up.holds_bytes() && !self.down.holds_bytes() => {
                self.client.end_writing();
                self.server.end_writing();
            }
            _ => {
                self.client.reset_on_close();
                self.server.reset_on_close();
            }
        }
    }
}

/// Moves what can be moved one way; passes the end on once it is reached.
fn forward(
    half: &mut Half,
    other: &Half,
    cx: &Context<'_>,
    (from, to): (&Socket, &Socket),
    live: &Live,
    lent: &Lent,
) -> Option<Broken> {
    if half.is_done() {
        return None;
    }
    match half.poll(cx, (from, to), live, lent) {
        Poll::Pending => None,
        Poll::Ready(Ok(())) => {
            // If the other way has ended too, closing sends the FIN as well.
            if !other.is_done() {
                to.end_writing();
            }
            None
        }
        Poll::Ready(Err(broken)) => Some(broken),
    }
}
