//! WebSocket over a stream of HTTP/2 (RFC 8441), to backends of HTTP/1.

use std::future::Future;
use std::io::{Read, Write};

use hyper::ext::Protocol;
use hyper::{Method, Request};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::evenkeel::Evenkeel;
use crate::harness::files;
use crate::harness::servers::echo;
use crate::harness::wait::PATIENCE;
use crate::web::recorder::{Recorder, answer};

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { timeout(PATIENCE, work).await.expect("in time") })
}

fn start(backend: &Recorder) -> Evenkeel {
    let backends = format!("[{}]", backend.server.entry(""));
    Evenkeel::start(&files::unprobed(&backends, "protocol = \"http\"\n", ""))
}

/// The client's end of a stream, and the connection that it runs over.
type End = (TokioIo<hyper::upgrade::Upgraded>, tokio::task::JoinSet<hyper::Result<()>>);

/// Asks for a WebSocket over HTTP/2; gives the status, and its end of the stream if there is one.
async fn ask(proxy: &Evenkeel) -> (u16, Option<End>) {
    let stream = TokioIo::new(TcpStream::connect(proxy.at()).await.unwrap());
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    let mut driver = tokio::task::JoinSet::new();
    driver.spawn(connection);
    let mut request = Request::new(http_body_util::Empty::<bytes::Bytes>::new());
    *request.method_mut() = Method::CONNECT;
    *request.uri_mut() = "http://a.example/chat?x=1".parse().unwrap();
    request.extensions_mut().insert(Protocol::from_static("websocket"));
    request.headers_mut().insert("sec-websocket-version", "13".parse().unwrap());
    let mut answer = sender.send_request(request).await.unwrap();
    let status = answer.status().as_u16();
    let end = hyper::upgrade::on(&mut answer).await.ok().map(|end| (TokioIo::new(end), driver));
    (status, end)
}

/// What RFC 6455 has a server say to a key, as another program would find it.
fn accept(key: &str) -> String {
    tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes())
}

#[test]
fn a_websocket_over_http2_comes_to_a_backend_as_an_upgrade() {
    let backend = Recorder::with("b", |seen, stream| {
        let accept = accept(seen.all("sec-websocket-key")[0]);
        let yes = format!(
            "HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-accept: {accept}\r\n\r\nhello"
        );
        stream.write_all(yes.as_bytes()).unwrap();
        drop(echo(stream.try_clone().unwrap()));
        false
    });
    let evenkeel = start(&backend);
    run(async {
        let (status, end) = ask(&evenkeel).await;
        assert_eq!(status, 200);
        let (mut end, _driver) = end.unwrap();
        let mut heard = [0; 5];
        end.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"hello");
        // More than any buffer on the way holds.
        let said = vec![b'x'; 1 << 20];
        let (mut from, mut to) = tokio::io::split(end);
        let (sent, mut back) = (async { to.write_all(&said).await }, vec![0; said.len()]);
        let (sent, read) = tokio::join!(sent, from.read_exact(&mut back));
        sent.unwrap();
        assert_eq!((read.unwrap(), back == said), (said.len(), true));
        assert_eq!(evenkeel.sessions(), 1);
        to.shutdown().await.unwrap();
        assert_eq!(from.read(&mut [0]).await.unwrap(), 0);
    });
    let seen = &backend.seen()[0];
    assert!(seen.head.starts_with("GET /chat?x=1 HTTP/1.1\r\n"), "{}", seen.head);
    assert_eq!((seen.all("host"), seen.all("upgrade")), (vec!["a.example"], vec!["websocket"]));
    evenkeel.wait_outcome("ok", 1);
    evenkeel.wait_idle();
}

#[test]
fn a_backend_that_does_not_agree_is_heard_and_one_that_cannot_is_not() {
    let backend = Recorder::new("b", |_| answer(403, "", "no"));
    run(async { assert_eq!(ask(&start(&backend)).await.0, 403) });
    let backend = Recorder::with("b", |_, stream| {
        let yes = "HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                   sec-websocket-accept: AAAA\r\n\r\n";
        stream.write_all(yes.as_bytes()).unwrap();
        drop(stream.read(&mut [0]));
        false
    });
    run(async { assert_eq!(ask(&start(&backend)).await.0, 502) });
}
