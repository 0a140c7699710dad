//! A backend that speaks HTTP/2, as a library has it: in the clear without negotiation, or in TLS.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio_rustls::TlsAcceptor;

use super::authority::Signed;

/// How the server is to be.
#[derive(Clone, Default)]
pub(crate) struct Manners {
    /// Requests that one connection may have open at a time.
    pub(crate) streams: Option<u32>,
    /// After so many requests a connection takes no more, and says so.
    pub(crate) requests: Option<usize>,
    /// Holds every answer back until it is told.
    pub(crate) gate: Option<Arc<Gate>>,
    /// What TLS is spoken with.
    pub(crate) tls: Option<Arc<ServerConfig>>,
}

/// Holds answers back until it is opened.
#[derive(Default)]
pub(crate) struct Gate {
    waiting: AtomicUsize,
    open: watch::Sender<bool>,
}

impl Gate {
    /// Requests that have come so far and wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    pub(crate) fn open(&self) {
        self.open.send_replace(true);
    }

    async fn pass(&self) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        drop(self.open.subscribe().wait_for(|open| *open).await);
        self.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

/// TLS that offers these protocols.
pub(crate) fn offering(signed: &Signed, protocols: &[&str]) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let mut config = builder.with_single_cert(signed.chain(), signed.key()).unwrap();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// A running server. It answers each request with its method, its path, whom it was for, and the body
/// that came with it; trailers are sent back.
pub(crate) struct Http2Server {
    address: SocketAddr,
    counts: Arc<Counts>,
    stop: Arc<Notify>,
}

#[derive(Default)]
struct Counts {
    accepted: AtomicUsize,
    open: AtomicUsize,
    requests: AtomicUsize,
}

impl Http2Server {
    pub(crate) fn start(manners: Manners) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (counts, stop) = (Arc::<Counts>::default(), Arc::<Notify>::default());
        let (counted, stopped) = (Arc::clone(&counts), Arc::clone(&stop));
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                tokio::select! {
                    () = accept(listener, manners, counted) => {}
                    () = stopped.notified() => {}
                }
            });
        });
        Self { address, counts, stop }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections taken so far.
    pub(crate) fn accepted(&self) -> usize {
        self.counts.accepted.load(Ordering::SeqCst)
    }

    /// Connections there are.
    pub(crate) fn open(&self) -> usize {
        self.counts.open.load(Ordering::SeqCst)
    }

    /// Requests so far.
    pub(crate) fn requests(&self) -> usize {
        self.counts.requests.load(Ordering::SeqCst)
    }
}

impl Drop for Http2Server {
    fn drop(&mut self) {
        self.stop.notify_one();
    }
}

#[expect(clippy::disallowed_methods, reason = "connections end with their server's runtime")]
async fn accept(listener: std::net::TcpListener, manners: Manners, counts: Arc<Counts>) {
    let listener = TcpListener::from_std(listener).unwrap();
    while let Ok((stream, _)) = listener.accept().await {
        counts.accepted.fetch_add(1, Ordering::SeqCst);
        let (manners, counts) = (manners.clone(), Arc::clone(&counts));
        tokio::spawn(async move {
            counts.open.fetch_add(1, Ordering::SeqCst);
            serve(stream, manners, &counts).await;
            counts.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

async fn serve(stream: TcpStream, manners: Manners, counts: &Arc<Counts>) {
    match &manners.tls {
        None => run(stream, &manners, counts).await,
        Some(config) => {
            let accepted = TlsAcceptor::from(Arc::clone(config)).accept(stream).await;
            if let Ok(stream) = accepted {
                run(stream, &manners, counts).await;
            }
        }
    }
}

async fn run(
    stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    manners: &Manners,
    counts: &Arc<Counts>,
) {
    let (last, done) = (Arc::new(Notify::new()), AtomicUsize::new(0));
    let service = service_fn(|request: Request<Incoming>| {
        let (gate, counts, last) = (manners.gate.clone(), Arc::clone(counts), Arc::clone(&last));
        let is_last = manners.requests == Some(done.fetch_add(1, Ordering::SeqCst) + 1);
        async move {
            counts.requests.fetch_add(1, Ordering::SeqCst);
            if let Some(gate) = gate {
                gate.pass().await;
            }
            let answer = answer(request).await;
            if is_last {
                last.notify_one();
            }
            Ok::<_, Infallible>(answer)
        }
    });
    let mut speaker = http2::Builder::new(TokioExecutor::new());
    speaker.max_concurrent_streams(manners.streams);
    let mut connection = pin!(speaker.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        ended = &mut connection => return drop(ended),
        () = last.notified() => {}
    }
    connection.as_mut().graceful_shutdown();
    drop(connection.await);
}

async fn answer(request: Request<Incoming>) -> Response<BoxBody<Bytes, Infallible>> {
    let (head, body) = request.into_parts();
    let whom = head.uri.authority().map(ToString::to_string).unwrap_or_default();
    let scheme = head.uri.scheme_str().unwrap_or_default();
    let mut text = format!("{} {} {whom} {scheme} ", head.method, head.uri.path()).into_bytes();
    let Ok(collected) = body.collect().await else {
        return Response::builder().status(400).body(Full::default().boxed()).unwrap();
    };
    let trailers = collected.trailers().cloned();
    text.extend_from_slice(&collected.to_bytes());
    let body = Full::from(text);
    Response::new(match trailers {
        Some(trailers) => {
            body.with_trailers(async move { Some(Ok::<_, Infallible>(trailers)) }).boxed()
        }
        None => body.boxed(),
    })
}
