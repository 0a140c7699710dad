//! The operator's way in: HTTP on a loopback address or a unix socket.
//!
//! It reads the server's [`Handle`] and never touches the data path. What it changes it asks of the
//! pools' monitors.

mod answer;
mod bind;
mod book;
mod dashboard;
mod host;
mod metrics;
mod names;
mod path;
mod readiness;
mod routes;
mod status;
mod steer;
#[cfg(test)]
mod tests;
mod token;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

pub use crate::admin::bind::{BindError, Bound, bind};
use crate::admin::bind::{Listening, SocketFile};
use crate::admin::routes::Site;
pub use crate::admin::status::report;
pub use crate::admin::token::Token;
use crate::config::AdminBind;
use crate::metric::Counter;
use crate::server::Handle;

/// Connections served at once: scrapers and people, not traffic. More wait in the listen queue.
const CONNECTIONS: usize = 64;

/// For a whole request head, and between requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Size of a request head.
const HEAD_BYTES: usize = 16 * 1024;

/// Fields of a request head.
const HEAD_FIELDS: usize = 64;

/// After so long a connection ends with its current answer: one that never takes its answer must
/// not keep its place.
const LIFETIME: Duration = Duration::from_secs(300);

/// How long a client that was refused while it sent may go on sending.
const LINGER: Duration = Duration::from_secs(5);

/// How much it may send meanwhile.
const LINGER_BYTES: u64 = 64 << 20;

/// Pause after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

impl Bound {
    /// Answers requests until the future is dropped, which cuts what is being answered.
    ///
    /// Fails only if the sockets cannot be given to the runtime.
    pub async fn serve(
        self,
        handle: Arc<Handle>,
        access_dropped: Arc<Counter>,
    ) -> io::Result<Infallible> {
        let (loopback, token) = (self.is_loopback(), self.token().cloned());
        let site = Arc::new(Site { handle, access_dropped, loopback, token });
        let address = match self.address() {
            AdminBind::Tcp(address) => address.to_string(),
            AdminBind::Unix(path) => format!("unix:{}", path.display()),
            AdminBind::Off => "off".to_owned(),
        };
        let mut door = Door::open(self.socket)?;
        tracing::info!(listener = %"admin", %address, "listening");
        let mut connections = JoinSet::new();
        let mut ages: VecDeque<AbortHandle> = VecDeque::new();
        loop {
            while connections.len() >= CONNECTIONS {
                // Questions take milliseconds: who has been here longest asks or reads too slowly,
                // and must not keep the next health check out.
                if let Some(longest) = ages.pop_front() {
                    longest.abort();
                }
                connections.join_next().await;
            }
            match door.accept().await {
                Ok(Stream::Tcp(stream)) => {
                    ages.push_back(connections.spawn(converse(stream, Arc::clone(&site))));
                }
                Ok(Stream::Unix(stream)) => {
                    ages.push_back(connections.spawn(converse(stream, Arc::clone(&site))));
                }
                Err(error) => {
                    tracing::warn!(listener = %"admin", %error, "accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
            while connections.try_join_next().is_some() {}
            ages.retain(|connection| !connection.is_finished());
        }
    }
}

/// The listening socket as the runtime knows it.
enum Door {
    Tcp(TcpListener),
    Unix(UnixListener, #[expect(dead_code, reason = "removes the socket on drop")] SocketFile),
}

enum Stream {
    Tcp(tokio::net::TcpStream),
    Unix(tokio::net::UnixStream),
}

impl Door {
    fn open(socket: Listening) -> io::Result<Self> {
        Ok(match socket {
            Listening::Tcp(socket) => Self::Tcp(TcpListener::from_std(socket)?),
            Listening::Unix(socket, file) => Self::Unix(UnixListener::from_std(socket)?, file),
        })
    }

    async fn accept(&mut self) -> io::Result<Stream> {
        Ok(match self {
            Self::Tcp(socket) => Stream::Tcp(socket.accept().await?.0),
            Self::Unix(socket, _) => Stream::Unix(socket.accept().await?.0),
        })
    }
}

/// Serves one connection until it ends.
async fn converse(mut stream: impl AsyncRead + AsyncWrite + Unpin, site: Arc<Site>) {
    let service = service_fn(|request| {
        let site = Arc::clone(&site);
        async move { Ok::<_, Infallible>(routes::answer(&site, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEAD_FIELDS)
        .serve_connection(TokioIo::new(&mut stream), service);
    let mut connection = Box::pin(connection);
    let end = match timeout(LIFETIME, connection.as_mut()).await {
        Ok(end) => Ok(end),
        Err(_) => {
            connection.as_mut().graceful_shutdown();
            timeout(HEAD_TIMEOUT, connection.as_mut()).await
        }
    };
    drop(connection);
    let Ok(end) = end else { return };
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
