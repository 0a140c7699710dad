//! HTTP/2 to a backend: one connection that all requests of a worker share, up to as many streams as
//! the backend allows. The library runs it in tasks of its own on the worker's thread.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;

use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper::header::{HOST, HeaderValue};
use hyper::http::uri::{Authority, Parts, Scheme};
use hyper::{Request, Response, Uri, Version};
use tokio::task::spawn_local;

use crate::http::Local;
use crate::http::backends::idle::Shelf;
use crate::http::backends::lost::{Lost, Unanswered, in_words, is_farewell};
use crate::http::backends::wire::{Notes, Wire};
use crate::http::body::Upload;
use crate::http::stream::Stream;
use crate::session::Tick;
use crate::wire::http1::LONGEST_HEAD;

/// What a backend may send of one answer that its client has not taken.
const STREAM_WINDOW: u32 = 1 << 20;

/// What it may send of all answers on a connection: the bound of what a connection holds of them.
const CONNECTION_WINDOW: u32 = 4 << 20;

/// What is held of one request that the backend has not taken.
const SEND_BUFFER: usize = 256 * 1024;

/// Milliseconds without a word after which a connection is no longer trusted.
const SILENCE: Tick = 1000;

/// A connection that carries many requests at a time.
#[derive(Debug)]
pub(super) struct Shared {
    sender: RefCell<http2::SendRequest<Upload>>,
    scheme: Scheme,
    /// Requests on it.
    streams: Cell<usize>,
    state: Rc<State>,
    notes: Rc<Notes>,
    /// It takes no more requests.
    is_retired: Cell<bool>,
    /// It is counted among the idle ones of its backend.
    pub(super) is_idle: Cell<bool>,
    /// When it came to rest.
    pub(super) since: Cell<Tick>,
    /// When it was opened, in the count of the backend's recalls.
    pub(super) epoch: u32,
}

/// What the task that runs a connection says of it.
#[derive(Debug)]
struct State {
    is_over: Cell<bool>,
    /// Streams that the backend allows.
    most: Cell<usize>,
    /// It takes requests for other protocols (RFC 8441).
    takes_protocols: Cell<bool>,
}

impl Shared {
    /// Speaks HTTP/2 over a connection.
    pub(super) async fn open(
        stream: Stream,
        is_tls: bool,
        epoch: u32,
    ) -> Result<Rc<Self>, hyper::Error> {
        let notes = Rc::new(Notes::default());
        let wire = Wire::shared(stream, Rc::clone(&notes));
        let mut speaker = http2::Builder::new(Local);
        speaker
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .max_header_list_size(LONGEST_HEAD as u32);
        let (sender, mut connection) = speaker.handshake(wire).await?;
        let state = Rc::new(State {
            is_over: Cell::new(false),
            most: Cell::new(connection.current_max_send_streams()),
            takes_protocols: Cell::new(false),
        });
        let said = Rc::clone(&state);
        spawn_local(async move {
            let ended = poll_fn(|cx| {
                let polled = Pin::new(&mut connection).poll(cx);
                if polled.is_pending() {
                    said.most.set(connection.current_max_send_streams());
                    said.takes_protocols.set(connection.is_extended_connect_protocol_enabled());
                }
                polled
            });
            if let Err(why) = ended.await {
                tracing::debug!(%why, "an HTTP/2 connection to a backend has ended");
            }
            said.is_over.set(true);
        });
        Ok(Rc::new(Self {
            sender: RefCell::new(sender),
            scheme: if is_tls { Scheme::HTTPS } else { Scheme::HTTP },
            streams: Cell::new(0),
            state,
            notes,
            is_retired: Cell::new(false),
            is_idle: Cell::new(false),
            since: Cell::new(0),
            epoch,
        }))
    }

    /// True if it can take requests at all.
    pub(super) fn is_alive(&self) -> bool {
        !self.is_retired.get() && !self.state.is_over.get() && !self.sender.borrow().is_closed()
    }

    /// True if it can take one more.
    pub(super) fn has_room(&self) -> bool {
        self.streams.get() < self.most() && self.is_alive()
    }

    /// How many it takes.
    pub(super) fn most(&self) -> usize {
        self.state.most.get()
    }

    /// True if it carries nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.streams.get() == 0
    }
}

/// One request's place on a shared connection; given back on drop.
#[derive(Debug)]
pub(super) struct Seat {
    shared: Rc<Shared>,
    shelf: Rc<Shelf>,
    /// When it began to wait for an answer, and what had been heard until then.
    waits: Option<(Tick, u32)>,
}

impl Seat {
    pub(super) fn take(shared: &Rc<Shared>, shelf: &Rc<Shelf>) -> Self {
        shared.streams.set(shared.streams.get() + 1);
        Self { shared: Rc::clone(shared), shelf: Rc::clone(shelf), waits: None }
    }

    /// Sends a request, and waits for the head of the answer.
    pub(super) async fn send(
        &mut self,
        request: Request<Upload>,
    ) -> Result<Response<Incoming>, Unanswered> {
        let request = self.addressed(request);
        self.waits = Some((self.shelf.now(), self.shared.notes.heard.get()));
        let answer = self.shared.sender.borrow_mut().try_send_request(request);
        let answered = answer.await;
        self.waits = None;
        answered.map_err(|mut failed| {
            let request = failed.take_message().map(as_it_was);
            let error = failed.into_error();
            let why = if request.is_some() { Lost::Unsent } else { Lost::of(&error) };
            if request.is_some() || is_farewell(&error) {
                self.shared.is_retired.set(true);
            }
            Unanswered { why, request, error: in_words(&error) }
        })
    }

    /// The request as HTTP/2 has it: whom it is for stands in its target, not in a field.
    fn addressed(&self, mut request: Request<Upload>) -> Request<Upload> {
        let named = request.headers_mut().remove(HOST);
        let named = named.and_then(|host| Authority::from_maybe_shared(host).ok());
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.authority = named.or(parts.authority);
        parts.scheme = parts.authority.is_some().then(|| self.shared.scheme.clone());
        *request.uri_mut() = target(parts);
        *request.version_mut() = Version::HTTP_2;
        request
    }

    /// True if the backend takes requests for other protocols.
    pub(super) fn takes_protocols(&self) -> bool {
        self.shared.state.takes_protocols.get()
    }
}

/// The request as it was before it was [addressed](Seat::addressed).
fn as_it_was(mut request: Request<Upload>) -> Request<Upload> {
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    let host = parts.authority.take();
    if let Some(host) = host.and_then(|host| HeaderValue::from_str(host.as_str()).ok()) {
        request.headers_mut().insert(HOST, host);
    }
    parts.scheme = None;
    *request.uri_mut() = target(parts);
    *request.version_mut() = Version::HTTP_11;
    request
}

/// A target is never without a path here.
fn target(mut parts: Parts) -> Uri {
    parts.path_and_query.get_or_insert_with(|| http::uri::PathAndQuery::from_static("/"));
    Uri::from_parts(parts).unwrap_or_default()
}

impl Drop for Seat {
    fn drop(&mut self) {
        // It was given up, and all the while nothing has come from the backend for anybody: whoever
        // is next had better not wait for it too.
        if let Some((since, heard)) = self.waits
            && heard == self.shared.notes.heard.get()
            && self.shelf.now() >= since + SILENCE
        {
            self.shared.is_retired.set(true);
        }
        self.shared.streams.set(self.shared.streams.get() - 1);
        if self.shared.is_empty() {
            self.shelf.rest(&self.shared);
        }
    }
}
