//! How a connection ends: with last words that arrive, or with a reset that nobody takes for an end.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use hyper::StatusCode;
use hyper::rt::Write;

use crate::http::connection::Connection;
use crate::http::stream::Stream;
use crate::http::{account, answer};
use crate::net::Socket;
use crate::outcome::{Abuse, Rejection};

/// How long a client may take to read its last answer, and to end its side.
const PARTING: Duration = Duration::from_secs(2);
/// How many reads are worth being thrown away.
const DISCARDED: usize = 1024;

/// Why a client never came to its first request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsaid {
    /// It has left, or broken off.
    Gone,
    /// We stop.
    Stopped,
    /// It has said nothing in time.
    Silent,
    /// It has not said all in time.
    Begun,
}

/// Ends a connection on which no request came.
pub(super) async fn unsaid(on: &Connection, stream: &mut Stream, why: Unsaid) {
    match why {
        Unsaid::Gone => return,
        Unsaid::Stopped => {}
        Unsaid::Silent => account::unread(on, None, Rejection::HandshakeTimeout),
        Unsaid::Begun => return too_slow(on, stream, true).await,
    }
    part(on, stream).await;
}

/// Ends a connection on which a head has begun and did not come to its end.
pub(super) async fn too_slow(on: &Connection, stream: &mut Stream, is_first: bool) {
    let status = StatusCode::REQUEST_TIMEOUT;
    on.figures().abuse(Abuse::SlowHead);
    if is_first {
        account::unread(on, Some(status), Rejection::HandshakeTimeout);
    } else {
        account::unread(on, Some(status), Rejection::BadRequest);
    }
    tell(on, stream, status).await;
}

/// Says the last words of HTTP/1 on a connection, and ends it.
pub(super) async fn tell(on: &Connection, stream: &mut Stream, status: StatusCode) {
    let words = answer::raw(status);
    let said = on.tools.sessions.clock().limit(PARTING, stream.send_all(&words)).await;
    match said {
        Ok(Ok(())) => part(on, stream).await,
        _ => stream.socket().reset_on_close(),
    }
}

/// Ends our side, and waits until the client has ended its own: a close while something is unread
/// would be a reset, which could overtake what we have said.
pub(super) async fn part(on: &Connection, stream: &mut Stream) {
    let socket = Rc::clone(stream.socket());
    let clock = on.tools.sessions.clock();
    let parting = async {
        poll_fn(|cx| Pin::new(&mut *stream).poll_shutdown(cx)).await?;
        linger(on, &socket).await;
        Ok::<_, io::Error>(())
    };
    if !matches!(clock.limit(PARTING, parting).await, Ok(Ok(()))) {
        // It may have read all; whether or not, it is not waited for.
        tracing::trace!(client = %on.client, "a client did not end its side");
    }
}

/// The same, where all has been said.
pub(super) async fn part_from(on: &Connection, socket: &Socket) {
    socket.end_writing();
    on.tools.sessions.clock().limit(PARTING, linger(on, socket)).await.ok();
}

/// Throws away what comes until nothing more does.
async fn linger(on: &Connection, socket: &Socket) {
    for _ in 0..DISCARDED {
        let read = poll_fn(|cx| {
            let mut scratch = on.tools.scratch.borrow_mut();
            socket.poll_recv(cx, &mut scratch.incoming)
        });
        if !read.await.is_ok_and(|read| read > 0) {
            return;
        }
    }
}
