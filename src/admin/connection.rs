//! One connection to the admin interface, from its first request to its end.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Sleep, sleep, timeout};

use crate::admin::routes::{self, Site};
use crate::admin::stay::Stay;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// For a whole request head, and between requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Size of a request head.
pub(super) const HEAD_BYTES: usize = 16 * 1024;

/// Fields of a request head.
const HEAD_FIELDS: usize = 64;

/// After so long a connection ends with its current answer: one that never takes its answer must
/// not keep its place. A stream of events is no answer that ends, and a command takes as long as it
/// takes.
const LIFETIME: Duration = Duration::from_secs(300);

/// After so long without taking a byte of what is there for it, a client is given up.
const STALL: Duration = Duration::from_secs(30);

/// How long a client that was refused while it sent may go on sending.
const LINGER: Duration = Duration::from_secs(5);

/// How much it may send meanwhile.
const LINGER_BYTES: u64 = 64 << 20;

/// How far a connection has come, for those of its parts that must know of each other.
#[derive(Debug, Default)]
struct Course {
    /// Why it may stay.
    stay: Arc<Stay>,
    /// There has been a request.
    asked: AtomicBool,
    /// The client says nothing more, and may be waiting for its answer.
    silent: AtomicBool,
}

/// Serves one connection until it ends; `stay` says meanwhile why that may take long.
pub(super) async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    site: Arc<Site>,
    stay: Arc<Stay>,
) {
    let course = Arc::new(Course { stay, ..Course::default() });
    let mut stream = Stream { stream, stalled: None, course: Arc::clone(&course) };
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let (site, course) = (Arc::clone(&site), Arc::clone(&course));
        course.asked.store(true, Ordering::Relaxed);
        let request = request.map(|body| Said { body, course: Arc::clone(&course) });
        async move { Ok::<_, Infallible>(routes::answer(&site, request, &course.stay).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEAD_FIELDS)
        .serve_connection(TokioIo::new(&mut stream), service);
    let mut connection = Box::pin(connection);
    let handle = Arc::clone(&site.handle);
    let mut retreat = pin!(handle.retreat.asked());
    let (mut is_leaving, mut is_last) = (false, false);
    let end = loop {
        let mut ends = poll_fn(|context| {
            let end = connection.as_mut().poll(context);
            if end.is_ready() || is_last {
                return end;
            }
            is_leaving = is_leaving || retreat.as_mut().poll(context).is_ready();
            // Before the first question hyper would close at once, and it may be on its way.
            let may_leave = is_leaving && course.asked.load(Ordering::Relaxed);
            if !may_leave && !course.silent.load(Ordering::Relaxed) {
                return end;
            }
            is_last = true;
            connection.as_mut().graceful_shutdown();
            connection.as_mut().poll(context)
        });
        match timeout(LIFETIME, &mut ends).await {
            Ok(end) => break Some(end),
            Err(_) if course.stay.has_reason() => {}
            Err(_) => {
                connection.as_mut().graceful_shutdown();
                break timeout(HEAD_TIMEOUT, connection.as_mut()).await.ok();
            }
        }
    };
    drop(connection);
    let Some(end) = end else { return };
    if let Err(error) = end {
        tracing::debug!(listener = %"admin", %error, "connection ended");
    }
    linger(stream.stream).await;
}

/// Takes what the client still sends: if it were not read, the kernel would reset the connection,
/// and the client might lose an answer to a body that was refused unread.
async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    // It may be closed already.
    stream.shutdown().await.ok();
    let mut rest = stream.take(LINGER_BYTES);
    timeout(LINGER, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await.ok();
}

/// The body of a request, as far as the client says it.
struct Said<B> {
    body: B,
    course: Arc<Course>,
}

impl<B: Body<Error: Into<BoxError>> + Unpin> Body for Said<B> {
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(frame) => Poll::Ready(frame.map(|frame| frame.map_err(Into::into))),
            Poll::Pending if self.course.silent.load(Ordering::Relaxed) => {
                Poll::Ready(Some(Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

/// A client's stream, whose writes fail when the other side takes nothing for too long.
///
/// A client may close its side once it has asked, as `nc -N` does, and still wants its answer. Hyper
/// would drop what is being answered, or with its `half_close` never notice that a watcher has gone;
/// so the end is kept from it until the answer is on its way, unless that is a stream of events.
struct Stream<S> {
    stream: S,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
    course: Arc<Course>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Stream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        let course = &self.course;
        let is_end = read.is_ok() && buffer.filled().len() == before && buffer.remaining() > 0;
        let is_owed = course.asked.load(Ordering::Relaxed) && !course.stay.is_stream();
        if is_end && is_owed {
            course.silent.store(true, Ordering::Relaxed);
            return Poll::Pending;
        }
        Poll::Ready(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = Pin::new(&mut self.stream).poll_write(context, bytes) {
            self.stalled = None;
            return Poll::Ready(written);
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(STALL)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_takes_nothing_is_given_up_and_who_takes_something_is_not() {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let mut ours = Stream { stream: ours, stalled: None, course: Arc::default() };
        let reader = async {
            for _ in 0..8 {
                sleep(STALL / 2).await;
                theirs.read_exact(&mut [0; 256]).await.unwrap();
            }
        };
        let writer = async {
            ours.write_all(&[0; 3072]).await.unwrap();
            ours.write_all(&[0; 1]).await
        };
        let (_, end) = tokio::join!(reader, writer);
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
