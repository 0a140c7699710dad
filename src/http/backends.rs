//! Connections to backends, kept for the next request while nobody uses them. Each worker has its own.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Waker};

use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1};
use hyper::{Request, Response};

use crate::http::body::Upload;
use crate::http::stream::Stream;
use crate::pool::Backend;

/// A connection that carries one request at a time, driven by whoever uses it.
#[derive(Debug)]
pub(super) struct Link {
    sender: http1::SendRequest<Upload>,
    wire: Pin<Box<http1::Connection<Stream, Upload>>>,
    is_over: bool,
}

impl Link {
    /// Speaks HTTP/1.1 over a connection.
    pub(super) async fn open(stream: Stream) -> Result<Self, hyper::Error> {
        let (sender, wire) = http1::handshake(stream).await?;
        Ok(Self { sender, wire: Box::pin(wire), is_over: false })
    }

    /// Moves what can be moved.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        if !self.is_over {
            self.is_over = self.wire.as_mut().poll(cx).is_ready();
        }
    }

    /// Sends a request, and waits for the head of the answer.
    pub(super) async fn send(
        &mut self,
        request: Request<Upload>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Upload>>> {
        let mut answer = pin!(self.sender.try_send_request(request));
        let (wire, is_over) = (&mut self.wire, &mut self.is_over);
        poll_fn(|cx| {
            if !*is_over {
                *is_over = wire.as_mut().poll(cx).is_ready();
            }
            answer.as_mut().poll(cx)
        })
        .await
    }

    /// True if another request may be sent.
    fn is_free(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        !self.is_over && self.sender.is_ready()
    }
}

/// The idle connections of a worker.
#[derive(Debug, Default)]
pub(super) struct Backends {
    idle: RefCell<HashMap<*const Backend, Vec<Link>>>,
}

impl Backends {
    /// A connection that nobody uses, if there is one.
    pub(super) fn take(&self, backend: &Arc<Backend>) -> Option<Link> {
        let mut idle = self.idle.borrow_mut();
        let links = idle.get_mut(&Arc::as_ptr(backend))?;
        while let Some(mut link) = links.pop() {
            if link.is_free() {
                return Some(link);
            }
        }
        None
    }

    /// Keeps a connection for the next request, if it can carry one.
    pub(super) fn give_back(&self, backend: &Arc<Backend>, mut link: Link) {
        if link.is_free() {
            self.idle.borrow_mut().entry(Arc::as_ptr(backend)).or_default().push(link);
        }
    }
}
