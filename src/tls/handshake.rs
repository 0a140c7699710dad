//! The handshake of a [`Session`] over its socket.

use rustix::io::Errno;
use rustls::InvalidMessage;

use crate::net::Socket;
use crate::tls::{Session, Turnstile};

/// What one read of a handshake takes at most.
const STEP: usize = 4096;
/// What is held at most of a message that is not complete: the longest there may be, in records that
/// are no smaller than they need to be.
const LONGEST: usize = 128 * 1024;

/// Why there is no TLS connection.
#[derive(Debug, thiserror::Error)]
pub enum Unshaken {
    /// The peer broke the protocol, refused us, or is not who it should be.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    /// The peer left before it was complete.
    #[error("the connection ended during the handshake")]
    Cut,
    /// The socket failed.
    #[error(transparent)]
    Failed(#[from] Errno),
}

/// Runs the handshake to its end. Whatever was read ahead of it must be in [`Session::held`]; a part
/// of a record that came behind it is there afterwards. Returns the plaintext that came with the last
/// of it. There is no time limit but the caller's.
///
/// # Errors
/// See [`Unshaken`]. A peer that broke the protocol has been told so, as far as its socket took it.
pub async fn shake(socket: &Socket, session: &mut Session) -> Result<Vec<u8>, Unshaken> {
    let mut plain = Vec::new();
    loop {
        let opened = open(session, &mut plain);
        let flushed = flush(socket, session).await;
        opened?;
        flushed?;
        if !session.is_handshaking() {
            session.shrink();
            return Ok(plain);
        }
        read(socket, &mut session.held).await?;
    }
}

/// As [`shake`], where many clients may want it at once: each step waits for its turn at the
/// `turnstile`.
///
/// # Errors
/// See [`Unshaken`]. A peer that broke the protocol has not been told so: [`Session::due`] holds what
/// is to be said.
pub async fn accept(
    socket: &Socket,
    session: &mut Session,
    turnstile: &Turnstile,
) -> Result<Vec<u8>, Unshaken> {
    let mut plain = Vec::new();
    loop {
        let inside = turnstile.enter().await;
        open(session, &mut plain)?;
        // A client that takes nothing must not keep the place.
        let (flushed, ()) = tokio::join!(flush(socket, session), inside.leave());
        flushed?;
        if !session.is_handshaking() {
            session.shrink();
            return Ok(plain);
        }
        read(socket, &mut session.held).await?;
    }
}

/// Has the session take what has come so far.
fn open(session: &mut Session, plain: &mut Vec<u8>) -> Result<(), rustls::Error> {
    let mut held = std::mem::take(&mut session.held);
    let opened = session.open(&mut held, plain);
    held.drain(..*opened.as_ref().unwrap_or(&0));
    session.held = held;
    opened.map(drop)
}

async fn flush(socket: &Socket, session: &mut Session) -> Result<(), Errno> {
    socket.send_all(&session.due).await?;
    session.due.clear();
    Ok(())
}

async fn read(socket: &Socket, held: &mut Vec<u8>) -> Result<(), Unshaken> {
    let known = held.len();
    if known >= LONGEST {
        return Err(Unshaken::Tls(InvalidMessage::HandshakePayloadTooLarge.into()));
    }
    if socket.recv_more(held, STEP).await? == 0 { Err(Unshaken::Cut) } else { Ok(()) }
}
