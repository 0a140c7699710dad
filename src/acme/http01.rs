//! The http-01 challenge (RFC 8555, 8.3) where no http listener answers it: a server that knows
//! tokens and nothing else.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::net::{BindError, bind_listener, is_taken};
use crate::tls::Challenges;

/// Connections at once on one address; further ones wait in the listen queue.
const CONNECTIONS: usize = 64;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;

/// For a connection, from its beginning to its end.
const WHOLE: Duration = Duration::from_secs(5);

/// Size of a request head.
const HEAD_BYTES: usize = 8 * 1024;

/// Fields of a request head.
const HEAD_FIELDS: usize = 32;

/// How long to wait after an accept that failed.
const PAUSE: Duration = Duration::from_millis(100);

/// A bound address that does not listen yet.
#[derive(Debug)]
pub(super) struct Booth {
    address: SocketAddr,
    socket: OwnedFd,
}

impl Booth {
    /// Binds; port 0 becomes a free one.
    ///
    /// # Errors
    /// The address is somebody else's, or cannot be had.
    pub(super) fn bind(address: SocketAddr) -> Result<Self, BindError> {
        let (address, sockets) = bind_listener(address, 1, None)?;
        let none = || BindError { address, source: io::ErrorKind::AddrNotAvailable.into() };
        Ok(Self { address, socket: sockets.into_iter().next().ok_or_else(none)? })
    }

    /// Listens from now on. Must be called inside a runtime.
    ///
    /// # Errors
    /// The address is somebody else's by now.
    pub(super) fn open(self) -> Result<Open, BindError> {
        let Self { address, socket } = self;
        let refused = |source| BindError { address, source };
        // Until it listens it keeps nobody else from listening there.
        if is_taken(address).map_err(refused)? {
            return Err(refused(io::ErrorKind::AddrInUse.into()));
        }
        rustix::net::listen(&socket, BACKLOG).map_err(|errno| refused(errno.into()))?;
        let listener = tokio::net::TcpListener::from_std(TcpListener::from(socket));
        tracing::info!(%address, "listening for http-01 challenges");
        Ok(Open { listener: listener.map_err(refused)? })
    }
}

/// An address that listens.
#[derive(Debug)]
pub(super) struct Open {
    listener: tokio::net::TcpListener,
}

impl Open {
    /// Answers whoever asks.
    pub(super) async fn serve(self, challenges: Arc<Challenges>) {
        let mut serving = JoinSet::new();
        loop {
            while serving.len() >= CONNECTIONS {
                serving.join_next().await;
            }
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => drop(serving.spawn(converse(stream, Arc::clone(&challenges)))),
                    // That connection has gone, or descriptors are short.
                    Err(_) => sleep(PAUSE).await,
                },
                Some(_) = serving.join_next() => {}
            }
        }
    }
}

fn answer<B>(request: &Request<B>, challenges: &Challenges) -> Response<Full<Bytes>> {
    let is_get = request.method() == Method::GET;
    let answer = challenges.tokens.answer(request.uri().path()).filter(|_| is_get);
    let is_unknown = answer.is_none();
    let mut response = Response::new(Full::from(answer.unwrap_or_default()));
    if is_unknown {
        *response.status_mut() = StatusCode::NOT_FOUND;
    }
    response
}

/// Answers one request.
async fn converse(stream: TcpStream, challenges: Arc<Challenges>) {
    let service = service_fn(|request: Request<Incoming>| {
        let answer = answer(&request, &challenges);
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(WHOLE)
        .keep_alive(false)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEAD_FIELDS)
        .serve_connection(TokioIo::new(stream), service);
    // Anybody may connect, and break it off again.
    timeout(WHOLE, connection).await.ok();
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    fn get(path: &str) -> String {
        format!("GET {path} HTTP/1.1\r\nhost: a.test\r\n\r\n")
    }

    #[tokio::test]
    async fn a_token_is_answered_while_it_is_shown_and_nothing_else_ever() {
        let challenges = Arc::<Challenges>::default();
        let booth = Booth::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = booth.address;
        let mut serving = JoinSet::new();
        serving.spawn(booth.open().unwrap().serve(Arc::clone(&challenges)));
        let path = "/.well-known/acme-challenge/token";
        let missing = "HTTP/1.1 404 Not Found";
        assert!(ask(address, &get(path)).await.starts_with(missing));

        challenges.tokens.show("token", "token.thumb");
        let answer = ask(address, &get(path)).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\ntoken.thumb"), "{answer}");
        for other in ["/", "/token", "/.well-known/acme-challenge/", &format!("{path}/x")] {
            assert!(ask(address, &get(other)).await.starts_with(missing), "{other}");
        }
        let posted = get(path).replace("GET", "POST");
        assert!(ask(address, &posted).await.starts_with(missing));

        challenges.tokens.hide("token");
        assert!(ask(address, &get(path)).await.starts_with(missing));
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_is_let_go() {
        let booth = Booth::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = booth.address;
        let mut serving = JoinSet::new();
        serving.spawn(booth.open().unwrap().serve(Arc::default()));
        let mut silent = TcpStream::connect(address).await.unwrap();
        silent.write_all(b"GET / HT").await.unwrap();
        let mut rest = Vec::new();
        // It may be told off before it is let go; it ends in any case.
        silent.read_to_end(&mut rest).await.ok();
    }
}
