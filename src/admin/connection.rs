//! One connection to the admin interface, from its first request to its end.

use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Sleep, sleep, timeout};

use crate::admin::routes::{self, Site};

/// For a whole request head, and between requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Size of a request head.
pub(super) const HEAD_BYTES: usize = 16 * 1024;

/// Fields of a request head.
const HEAD_FIELDS: usize = 64;

/// After so long a connection ends with its current answer: one that never takes its answer must
/// not keep its place. A stream of events is no answer that ends.
const LIFETIME: Duration = Duration::from_secs(300);

/// After so long without taking a byte of what is there for it, a client is given up.
const STALL: Duration = Duration::from_secs(30);

/// How long a client that was refused while it sent may go on sending.
const LINGER: Duration = Duration::from_secs(5);

/// How much it may send meanwhile.
const LINGER_BYTES: u64 = 64 << 20;

/// Serves one connection until it ends; `stays` is true while it carries a stream of events.
pub(super) async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    site: Arc<Site>,
    stays: Arc<AtomicBool>,
) {
    let mut stream = Impatient { stream, stalled: None };
    let service = service_fn(|request| {
        let (site, stays) = (Arc::clone(&site), Arc::clone(&stays));
        async move { Ok::<_, Infallible>(routes::answer(&site, request, &stays).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEAD_FIELDS)
        .serve_connection(TokioIo::new(&mut stream), service);
    let mut connection = Box::pin(connection);
    let end = loop {
        match timeout(LIFETIME, connection.as_mut()).await {
            Ok(end) => break Some(end),
            Err(_) if stays.load(Ordering::Relaxed) => {}
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
    linger(stream).await;
}

/// Takes what the client still sends: if it were not read, the kernel would reset the connection,
/// and the client might lose an answer to a body that was refused unread.
async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    // It may be closed already.
    stream.shutdown().await.ok();
    let mut rest = stream.take(LINGER_BYTES);
    timeout(LINGER, tokio::io::copy(&mut rest, &mut tokio::io::sink())).await.ok();
}

/// A stream whose writes fail when the other side takes nothing for too long.
struct Impatient<S> {
    stream: S,
    /// Runs while a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
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
        let mut ours = Impatient { stream: ours, stalled: None };
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
