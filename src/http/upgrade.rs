//! Other protocols over http: an upgrade of HTTP/1 (RFC 9110, 7.8), a stream of HTTP/2 (RFC 8441), and
//! one from the other where client and backend differ.

use std::rc::Rc;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use hyper::body::Incoming;
use hyper::ext::Protocol;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    UPGRADE,
};
use hyper::http::response;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode};

use crate::http::Connection;
use crate::http::attempt::Answered;
use crate::http::backends::{Bare, Link};
use crate::http::body::{Download, Inflow, Upload};
use crate::http::session::Session;
use crate::http::stream::{Parts, Stream};
use crate::http::tunnel;
use crate::outcome::Outcome;
use crate::relay::{self, Side};
use crate::wire::http1::asks_for_upgrade;

/// HTTP/2 in cleartext is no protocol to change to: it would be a way past all that is done here.
const H2C: &str = "h2c";
/// The protocol that both ways of asking have in common.
const WEBSOCKET: &str = "websocket";

/// What protocol a request asks for besides http.
pub(super) enum Ask {
    /// None.
    Nothing,
    /// One of these, by an upgrade of its connection.
    Upgrade(HeaderValue),
    /// WebSocket, over its stream. The key is ours: HTTP/2 has none.
    Stream { stream: OnUpgrade, key: HeaderValue },
}

/// A request that asks for what is not spoken here.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unspoken;

impl Ask {
    /// What a request asks for; from here on it is a `GET`, as for all who look at it.
    pub(super) fn of(request: &mut Request<Inflow>) -> Result<Self, Unspoken> {
        if request.method() != Method::CONNECT {
            let asks = asks_for_upgrade(request.version(), request.headers());
            return Ok(if asks { protocols(request.headers()) } else { Self::Nothing });
        }
        // Without a protocol it asks for a way to any address there is.
        match request.extensions().get::<Protocol>().map(Protocol::as_str) {
            Some(WEBSOCKET) => {}
            _ => return Err(Unspoken),
        }
        *request.method_mut() = Method::GET;
        Ok(Self::Stream { stream: hyper::upgrade::on(request), key: key() })
    }

    /// What a backend is asked for.
    pub(super) fn protocol(&self) -> Option<HeaderValue> {
        match self {
            Self::Nothing => None,
            Self::Upgrade(protocols) => Some(protocols.clone()),
            Self::Stream { .. } => Some(HeaderValue::from_static(WEBSOCKET)),
        }
    }

    /// Adds what an upgrade needs and the client has not said.
    pub(super) fn sign(&self, headers: &mut HeaderMap) {
        if let Self::Stream { key, .. } = self {
            headers.insert(SEC_WEBSOCKET_KEY, key.clone());
        }
    }

    /// Makes a request one for this connection, over which other protocols may have a stream.
    pub(super) fn fit(&self, request: &mut Request<Upload>, link: &Link) {
        if !link.takes_protocols() || !self.is_websocket() {
            return;
        }
        *request.method_mut() = Method::CONNECT;
        request.extensions_mut().insert(Protocol::from_static(WEBSOCKET));
        for name in [CONNECTION, UPGRADE, SEC_WEBSOCKET_KEY, CONTENT_LENGTH] {
            request.headers_mut().remove(name);
        }
    }

    fn is_websocket(&self) -> bool {
        match self {
            Self::Nothing => false,
            Self::Upgrade(protocol) => {
                protocol.as_bytes().eq_ignore_ascii_case(WEBSOCKET.as_bytes())
            }
            Self::Stream { .. } => true,
        }
    }
}

/// What an `Upgrade` offers, but for what is not passed on.
fn protocols(headers: &HeaderMap) -> Ask {
    let lines = headers.get_all(UPGRADE).iter().filter_map(|line| line.to_str().ok());
    let offers = lines.flat_map(|line| line.split(',')).map(str::trim);
    let offers = offers.filter(|offer| !offer.is_empty() && !offer.eq_ignore_ascii_case(H2C));
    let offers = offers.collect::<Vec<_>>().join(", ");
    match HeaderValue::try_from(offers) {
        Ok(offers) if !offers.is_empty() => Ask::Upgrade(offers),
        _ => Ask::Nothing,
    }
}

/// A key of a WebSocket handshake (RFC 6455, 4.1): 16 random bytes.
fn key() -> HeaderValue {
    let bytes = fastrand::u128(..).to_ne_bytes();
    HeaderValue::try_from(BASE64.encode(bytes)).unwrap_or(HeaderValue::from_static(""))
}

/// What a server answers to a key (RFC 6455, 4.2.2).
fn accept(key: &HeaderValue) -> String {
    let salted = [key.as_bytes(), b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"].concat();
    BASE64.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &salted))
}

/// The backend's end of a tunnel.
enum Theirs {
    Bare(Bare),
    Stream(OnUpgrade),
}

/// What there is to join once the answer has left.
struct Tunnel {
    theirs: Theirs,
    session: Rc<Session>,
    on: Rc<Connection>,
}

/// True if a backend has agreed to speak another protocol.
pub(super) fn is_agreed(answer: &Response<Incoming>) -> bool {
    answer.status() == StatusCode::SWITCHING_PROTOCOLS
        || (answer.status().is_success() && answer.extensions().get::<OnUpgrade>().is_some())
}

/// Makes a backend's consent the client's, and joins both when it has left. `None` = it is no consent
/// to what was asked.
pub(super) fn join(
    ask: Ask,
    client_key: Option<&HeaderValue>,
    answered: Answered,
    on: &Rc<Connection>,
) -> Option<Response<Download>> {
    let Answered { mut answer, link, session } = answered;
    let is_upgrade = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
    let theirs = if is_upgrade {
        Theirs::Bare(link.into_parts()?)
    } else {
        Theirs::Stream(hyper::upgrade::on(&mut answer))
    };
    let mut head = answer.into_parts().0;
    let tunnel = Tunnel { theirs, session, on: Rc::clone(on) };
    match ask {
        Ask::Nothing => return None,
        Ask::Upgrade(_) => {
            if !is_upgrade {
                invite(&mut head, client_key?);
            }
            on.switch(Box::new(|ours| Box::pin(tunnel.run(ours))));
        }
        Ask::Stream { stream, key } => {
            if is_upgrade && !is_for(&head, &key) {
                return None;
            }
            for name in [CONNECTION, UPGRADE, SEC_WEBSOCKET_ACCEPT] {
                head.headers.remove(name);
            }
            head.status = StatusCode::OK;
            // The connection of the client ends only after it.
            on.spawn(tunnel.run_over(stream));
        }
    }
    Some(Response::from_parts(head, Download::none()))
}

fn is_for(head: &response::Parts, key: &HeaderValue) -> bool {
    let given = head.headers.get(SEC_WEBSOCKET_ACCEPT);
    given.is_some_and(|given| given.as_bytes() == accept(key).as_bytes())
}

/// Makes a backend's consent over HTTP/2 one for a client of HTTP/1.
fn invite(head: &mut response::Parts, client_key: &HeaderValue) {
    head.status = StatusCode::SWITCHING_PROTOCOLS;
    head.headers.remove(CONTENT_LENGTH);
    head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    head.headers.insert(UPGRADE, HeaderValue::from_static(WEBSOCKET));
    if let Ok(accept) = HeaderValue::try_from(accept(client_key)) {
        head.headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    }
}

impl Tunnel {
    /// Relays between a client's connection and its backend until it ends.
    async fn run(self, mut ours: Parts) {
        let Self { theirs, session, on } = self;
        let Some(live) = session.as_tunnel(on.proxy.rules.tunnel_timeout) else { return };
        let outcome = match theirs {
            Theirs::Bare(mut bare) => {
                let theirs = side(&mut bare.parts);
                relay::run(side(&mut ours), theirs, &live, &on.tools.lent).await
            }
            Theirs::Stream(stream) => match stream.await {
                Ok(theirs) => tunnel::run(stream_of(ours, &on), theirs, &live).await,
                Err(_) => Outcome::BackendReset,
            },
        };
        session.tunnelled(live, outcome);
    }

    /// As [`run`](Self::run), over a stream of the client's connection.
    async fn run_over(self, stream: OnUpgrade) {
        let Self { theirs, session, on } = self;
        let Ok(ours) = stream.await else { return };
        let Some(live) = session.as_tunnel(on.proxy.rules.tunnel_timeout) else { return };
        let outcome = match theirs {
            Theirs::Bare(bare) => {
                // The rest of it goes on being counted.
                let parts = bare.parts;
                tunnel::run(ours, stream_of(parts, &on), &live).await
            }
            Theirs::Stream(stream) => match stream.await {
                Ok(theirs) => tunnel::run(ours, theirs, &live).await,
                Err(_) => Outcome::BackendReset,
            },
        };
        session.tunnelled(live, outcome);
    }
}

fn side(parts: &mut Parts) -> Side<'_> {
    let ahead = std::mem::take(&mut parts.ahead);
    Side { socket: &parts.socket, tls: parts.tls.as_deref_mut(), ahead }
}

fn stream_of(parts: Parts, on: &Connection) -> Stream {
    Stream::new(parts.socket, parts.tls, parts.ahead, &on.tools.scratch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_answer_to_a_key_is_that_of_the_rfc() {
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept(&key), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(super::key().len(), 24);
    }

    #[test]
    fn cleartext_http2_is_not_among_what_is_offered() {
        for (lines, offered) in [
            (&["websocket"][..], Some("websocket")),
            (&["h2c, websocket", " foo/2 "], Some("websocket, foo/2")),
            (&["H2C"], None),
            (&["", " , "], None),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(UPGRADE, line.parse().unwrap());
            }
            let found = protocols(&headers).protocol();
            assert_eq!(found, offered.map(HeaderValue::from_static), "{lines:?}");
        }
    }
}
