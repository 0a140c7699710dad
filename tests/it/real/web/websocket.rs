//! WebSocket through the balancer: tungstenite in front, uvicorn behind.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use h2::ext::Protocol;
use http::{Method, Request};
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};
use tokio_tungstenite::{WebSocketStream, client_async};

use super::{Front, Served};
use crate::harness::authority::Authority;
use crate::harness::wait::PATIENCE;

/// Says much and little, and leaves as the server asks.
async fn converse(mut socket: WebSocketStream<impl AsyncRead + AsyncWrite + Unpin>) {
    let large = Bytes::from((0..=255).cycle().take(1_000_000).collect::<Vec<u8>>());
    for number in 0..20 {
        for said in [
            Message::text(format!("word {number}")),
            Message::binary(large.slice(..number * 50_000)),
        ] {
            socket.send(said.clone()).await.unwrap();
            assert!(socket.next().await.unwrap().unwrap() == said, "it came back otherwise");
        }
    }
    socket.send(Message::Ping(Bytes::from_static(b"there?"))).await.unwrap();
    let pong = socket.next().await.unwrap().unwrap();
    assert_eq!(pong, Message::Pong(Bytes::from_static(b"there?")));
    socket.send(Message::text("leave")).await.unwrap();
    let Some(Ok(Message::Close(Some(CloseFrame { code, reason })))) = socket.next().await else {
        panic!("it was not closed");
    };
    assert_eq!((u16::from(code), reason.as_str()), (4000, "as asked"));
    assert!(socket.next().await.is_none_or(|end| end.is_err()), "and then nothing came");
}

async fn upgrade(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut request = "ws://shop.example/ws".into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "chat".parse().unwrap());
    let (socket, answer) = client_async(request, stream).await.unwrap();
    assert_eq!(answer.headers()["sec-websocket-protocol"], "chat");
    converse(socket).await;
}

async fn secured(front: &Front, alpn: &[u8]) -> TlsStream<TcpStream> {
    secure(&front.authority, front.proxy.address("s"), alpn).await
}

async fn secure(authority: &Authority, to: SocketAddr, alpn: &[u8]) -> TlsStream<TcpStream> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config =
        config.unwrap().with_root_certificates(authority.roots()).with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    let stream = TcpStream::connect(to).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
}

/// Runs a test's future, for a bounded time.
#[track_caller]
fn within(future: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { timeout(3 * PATIENCE, future).await.expect("it hangs") });
}

#[test]
fn a_websocket_passes_in_cleartext_and_over_tls() {
    let Some(app) = Served::start("app.py", &[]) else { return };
    let front = Front::start(app.address(), "", "");
    within(async {
        upgrade(TcpStream::connect(front.proxy.at()).await.unwrap()).await;
        upgrade(secured(&front, b"http/1.1").await).await;
    });
    front.proxy.wait_idle();
}

/// Opens a WebSocket as a stream of HTTP/2 (RFC 8441), beside an ordinary request.
async fn extended(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let (sender, connection) = h2::client::handshake(stream).await.unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { drop(connection.await) });
    let mut sender = sender.ready().await.unwrap();
    // The first answer comes behind the settings of the server.
    let plain = Request::get("http://shop.example/seen").body(()).unwrap();
    let (answer, _) = sender.send_request(plain, true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 200);
    let mut sender = sender.ready().await.unwrap();
    assert!(sender.is_extended_connect_protocol_enabled(), "it is not offered");
    let request = Request::builder()
        .method(Method::CONNECT)
        .uri("http://shop.example/ws")
        .extension(Protocol::from_static("websocket"))
        .header("sec-websocket-version", "13")
        .header("sec-websocket-protocol", "chat")
        .body(())
        .unwrap();
    let (answer, sending) = sender.send_request(request, false).unwrap();
    let answer = answer.await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["sec-websocket-protocol"], "chat");
    let (ours, theirs) = duplex(64 * 1024);
    let (reading, writing) = split(theirs);
    tasks.spawn(upload(reading, sending));
    tasks.spawn(download(answer.into_body(), writing));
    converse(WebSocketStream::from_raw_socket(ours, Role::Client, None).await).await;
}

async fn upload(mut from: tokio::io::ReadHalf<DuplexStream>, mut to: h2::SendStream<Bytes>) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let mut rest = Bytes::copy_from_slice(&buffer[..length]);
        while !rest.is_empty() {
            to.reserve_capacity(rest.len());
            let room = std::future::poll_fn(|cx| to.poll_capacity(cx)).await;
            let Some(Ok(room)) = room else { return };
            to.send_data(rest.split_to(room.min(rest.len())), false).unwrap();
        }
    }
    to.send_data(Bytes::new(), true).ok();
}

async fn download(mut from: h2::RecvStream, mut to: tokio::io::WriteHalf<DuplexStream>) {
    while let Some(Ok(data)) = from.data().await {
        from.flow_control().release_capacity(data.len()).unwrap();
        if to.write_all(&data).await.is_err() {
            return;
        }
    }
    to.shutdown().await.ok();
}

#[test]
fn a_websocket_is_a_stream_of_http2_like_any_other() {
    let Some(app) = Served::start("app.py", &[]) else { return };
    let front = Front::start(app.address(), "", "");
    within(async {
        extended(TcpStream::connect(front.proxy.at()).await.unwrap()).await;
        extended(secured(&front, b"h2").await).await;
    });
    front.proxy.wait_idle();
}
