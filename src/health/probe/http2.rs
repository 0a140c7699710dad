//! One HTTP/2 request over a connection of its own (RFC 9113). `h2` drives it without a task, so that
//! nothing of a probe outlives it.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::pin::pin;
use std::time::Duration;

use h2::{Reason, RecvStream, client};
use hyper::body::Bytes;
use hyper::{Request, Response};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use crate::health::probe::handshake::Handshake;
use crate::health::probe::{Miss, Stream, why_broken};
use crate::tls;

/// As TLS names it (RFC 7301).
pub(super) const ALPN: &[u8] = b"h2";

/// How large the head of an answer may be.
const MOST: u32 = 64 * 1024;

/// A handshake that must agree on HTTP/2.
pub(super) async fn shake(
    handshake: &Handshake,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, Miss> {
    let stream = handshake.shake(stream).await?;
    if stream.get_ref().1.alpn_protocol() != Some(ALPN) {
        return Err(Miss::Failed("tls: it did not agree on http/2 (alpn h2)".to_owned()));
    }
    Ok(stream)
}

/// Sends `request`, with `body` unless that is empty, and gives what `read` makes of the answer.
pub(super) async fn exchange<T, F>(
    stream: impl Stream,
    request: Request<()>,
    body: Bytes,
    read: impl FnOnce(Response<RecvStream>) -> F,
) -> Result<T, Miss>
where
    F: Future<Output = Result<T, Miss>>,
{
    let mut settings = client::Builder::new();
    settings.enable_push(false).max_header_list_size(MOST);
    let shaken = settings.handshake::<_, Bytes>(stream).await;
    let (sender, connection) = shaken.map_err(|error| failed(&error))?;
    let mut connection = pin!(connection);
    let asked = async move {
        let mut sender = sender.ready().await.map_err(|error| failed(&error))?;
        let sent = sender.send_request(request, body.is_empty());
        let (answer, mut sending) = sent.map_err(|error| failed(&error))?;
        if !body.is_empty() {
            sending.send_data(body, true).map_err(|error| failed(&error))?;
        }
        read(answer.await.map_err(|error| failed(&error))?).await
    };
    // The connection moves the bytes. What it has to say about its end reaches `asked`.
    let moved = async {
        drop(connection.as_mut().await);
        pending::<Infallible>().await
    };
    let answer = tokio::select! {
        answer = asked => answer,
        never = moved => match never {},
    };
    // With no request left it takes its leave, as far as that goes without waiting.
    drop(timeout(Duration::ZERO, connection).await);
    answer
}

/// The next bytes of a body; `None` at its end.
pub(super) async fn next(body: &mut RecvStream) -> Option<Result<Bytes, Miss>> {
    let taken = body.data().await?.and_then(|data| {
        body.flow_control().release_capacity(data.len())?;
        Ok(data)
    });
    Some(taken.map_err(|error| failed(&error)))
}

pub(super) fn failed(error: &h2::Error) -> Miss {
    let reason = error.reason().unwrap_or(Reason::INTERNAL_ERROR);
    Miss::Failed(if let Some(broken) = error.get_io() {
        match broken.kind() {
            // What the library makes of an end of the stream.
            io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
                "closed before the answer was complete".to_owned()
            }
            _ => tls::why_refused(broken).unwrap_or_else(|| why_broken(broken)),
        }
    } else if error.is_library() {
        "the answer is not valid http/2".to_owned()
    } else if error.is_go_away() {
        format!("the connection was refused: {}", reason.description())
    } else if error.is_reset() {
        format!("the request was refused: {}", reason.description())
    } else {
        format!("no answer: {error}")
    })
}
