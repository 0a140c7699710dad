//! One HTTP/1.1 request over a connection of its own.

use std::convert::Infallible;
use std::error::Error;
use std::future::{Future, pending};

use hyper::body::{Body, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

/// Sends `request` over `stream` and gives what `read` makes of the answer. A head is read up to
/// `most` bytes. Nothing goes on when the future is dropped: no task is spawned.
///
/// # Errors
///
/// Those of `read`, and those of the connection before there is an answer.
pub async fn exchange<S, B, F, T, E>(
    stream: S,
    most: usize,
    request: Request<B>,
    read: impl FnOnce(Response<Incoming>) -> F,
) -> Result<T, E>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    B: Body<Data: Send, Error: Into<Box<dyn Error + Send + Sync>>> + 'static,
    F: Future<Output = Result<T, E>>,
    E: From<hyper::Error>,
{
    let shaken = http1::Builder::new().max_buf_size(most).handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken?;
    let asked = async { read(sender.send_request(request).await?).await };
    // The connection moves the bytes. What it has to say about its end reaches `asked`.
    let moved = async {
        drop(connection.await);
        pending::<Infallible>().await
    };
    tokio::select! {
        answer = asked => answer,
        never = moved => match never {},
    }
}
