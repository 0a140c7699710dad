//! Bytes both ways between two ends of which at least one is a stream of HTTP/2: the library moves its
//! bytes, so that there is no socket to relay from.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBuf, Write};

use crate::outcome::Outcome;
use crate::session::{Direction, Live};

/// What each direction holds at most.
const BUFFER: usize = 16 * 1024;

/// Moves bytes until both ends have ended, one breaks, or `live` is told to end.
pub(super) async fn run(
    mut client: impl Read + Write + Unpin,
    mut backend: impl Read + Write + Unpin,
    live: &Live,
) -> Outcome {
    let (mut up, mut down) = (Half::new(Direction::In), Half::new(Direction::Out));
    poll_fn(|cx| {
        if let Poll::Ready(cause) = live.poll_end(cx) {
            return Poll::Ready(cause);
        }
        let ups = up.poll(cx, &mut client, &mut backend, live);
        let downs = down.poll(cx, &mut backend, &mut client, live);
        match (ups, downs) {
            (Poll::Ready(Err(broken)), _) | (_, Poll::Ready(Err(broken))) => Poll::Ready(broken),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(Outcome::Ok),
            _ => Poll::Pending,
        }
    })
    .await
}

/// One direction.
struct Half {
    direction: Direction,
    buffer: Box<[u8]>,
    /// Of the buffer, what was read and not written.
    held: std::ops::Range<usize>,
    /// The source has ended.
    has_ended: bool,
    /// The sink was told so.
    is_done: bool,
}

impl Half {
    fn new(direction: Direction) -> Self {
        let buffer = vec![0; BUFFER].into_boxed_slice();
        Self { direction, buffer, held: 0..0, has_ended: false, is_done: false }
    }

    /// Moves what can be moved. Ready once the source has ended and the sink has been told.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl Read + Unpin),
        to: &mut (impl Write + Unpin),
        live: &Live,
    ) -> Poll<Result<(), Outcome>> {
        let (source, sink) = match self.direction {
            Direction::In => (Outcome::ClientReset, Outcome::BackendReset),
            Direction::Out => (Outcome::BackendReset, Outcome::ClientReset),
        };
        while !self.is_done {
            ready!(self.poll_write(cx, to, live)).map_err(|_| sink)?;
            if self.has_ended {
                ready!(Pin::new(&mut *to).poll_shutdown(cx)).map_err(|_| sink)?;
                self.is_done = true;
            } else if self.poll_read(cx, from).map_err(|_| source)?.is_pending() {
                // What was written must not wait for what comes next.
                ready!(Pin::new(&mut *to).poll_flush(cx)).map_err(|_| sink)?;
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }

    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut (impl Write + Unpin),
        live: &Live,
    ) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let held = self.buffer.get(self.held.clone()).unwrap_or_default();
            let written = ready!(Pin::new(&mut *to).poll_write(cx, held))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.held.start += written;
            live.moved(self.direction, written as u64);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl Read + Unpin),
    ) -> Poll<io::Result<()>> {
        let mut room = ReadBuf::new(&mut self.buffer);
        ready!(Pin::new(&mut *from).poll_read(cx, room.unfilled()))?;
        let read = room.filled().len();
        self.held = 0..read;
        self.has_ended = read == 0;
        Poll::Ready(Ok(()))
    }
}
