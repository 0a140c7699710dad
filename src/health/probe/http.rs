//! `probe = "http"` and `"https"`: one request, its status, and its body where one is expected.

use std::io;
use std::sync::Arc;

use h2::RecvStream;
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::header::{
    CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
    USER_AGENT,
};
use hyper::{Method, StatusCode, Uri};

use crate::addr::BackendAddr;
use crate::config::{BodyPattern, HttpProbe, HttpVersion, Member};
use crate::health::StartError;
use crate::health::probe::handshake::Handshake;
use crate::health::probe::{Answer, Miss, Peer, Stream, connect, http2, why_broken};
use crate::pool::Verdict;
use crate::{net, tls};

/// How much of a body is looked at.
const MOST: usize = 64 * 1024;

/// One backend's request, ready to be sent.
#[derive(Debug)]
pub(in crate::health) struct Request {
    spec: HttpProbe,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    version: HttpVersion,
    tls: Option<Handshake>,
}

/// Fields that are about a connection, which HTTP/2 forbids (RFC 9113, 8.2.2).
const ABOUT_A_CONNECTION: [HeaderName; 6] = [
    CONNECTION,
    TRANSFER_ENCODING,
    UPGRADE,
    TE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// The body of an answer, of either version.
enum Body {
    One(Incoming),
    Two(RecvStream),
}

impl Body {
    /// The next bytes; `None` at the end.
    async fn next(&mut self) -> Option<Result<Bytes, Miss>> {
        match self {
            Self::One(body) => loop {
                match body.frame().await?.map(hyper::body::Frame::into_data) {
                    Ok(Ok(data)) => return Some(Ok(data)),
                    // Trailers.
                    Ok(Err(_)) => {}
                    Err(error) => return Some(Err(error.into())),
                }
            },
            Self::Two(body) => http2::next(body).await,
        }
    }
}

impl Request {
    /// Checks what the type of the configuration leaves open; `tls` is there for `https`.
    pub(super) fn new(
        pool: &Arc<str>,
        member: &Member,
        spec: &HttpProbe,
        version: HttpVersion,
        tls: Option<Handshake>,
    ) -> Result<Self, StartError> {
        let refused = |key, value: &str, why: &dyn ToString| StartError::Request {
            pool: Arc::clone(pool),
            key,
            value: value.to_owned(),
            why: why.to_string(),
        };
        let method = spec.method.parse().map_err(|why| refused("method", &spec.method, &why))?;
        let mut uri: Uri = spec.path.parse().map_err(|why| refused("path", &spec.path, &why))?;
        let host = spec.host.clone();
        let host = host.unwrap_or_else(|| authority(&member.address, spec.tls.is_some()));
        let mut headers = HeaderMap::new();
        for (name, value) in &spec.headers {
            let parsed = parse(name, value).map_err(|why| refused("headers", name, &why))?;
            headers.append(parsed.0, parsed.1);
        }
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
        match version {
            HttpVersion::V1 => {
                let value = HeaderValue::from_str(&host);
                let value = value.map_err(|why| refused("host", &host, &why))?;
                headers.entry(HOST).or_insert(value);
                headers.entry(CONNECTION).or_insert(HeaderValue::from_static("close"));
            }
            HttpVersion::V2 => {
                let named = headers.remove(HOST);
                let host = named.as_ref().and_then(|named| named.to_str().ok()).unwrap_or(&host);
                let scheme = if spec.tls.is_some() { "https" } else { "http" };
                let whole = Uri::builder()
                    .scheme(scheme)
                    .authority(host)
                    .path_and_query(spec.path.as_str());
                uri = whole.build().map_err(|why| refused("host", host, &why))?;
                for name in &ABOUT_A_CONNECTION {
                    headers.remove(name);
                }
            }
        }
        Ok(Self { spec: spec.clone(), method, uri, headers, version, tls })
    }

    pub(super) async fn ask(&self, peer: Peer) -> Result<Answer, Miss> {
        let stream = connect(peer).await?;
        match (&self.tls, self.version) {
            (None, _) => self.exchange(stream).await,
            (Some(handshake), HttpVersion::V1) => {
                self.exchange(handshake.shake(stream).await?).await
            }
            (Some(handshake), HttpVersion::V2) => {
                self.exchange(http2::shake(handshake, stream).await?).await
            }
        }
    }

    async fn exchange(&self, stream: impl Stream + 'static) -> Result<Answer, Miss> {
        match self.version {
            HttpVersion::V1 => {
                let request = self.message(Empty::<Bytes>::new());
                net::exchange(stream, MOST, request, |answer| {
                    self.judge(answer.status(), Body::One(answer.into_body()))
                })
                .await
            }
            HttpVersion::V2 => {
                http2::exchange(stream, self.message(()), Bytes::new(), |answer| {
                    self.judge(answer.status(), Body::Two(answer.into_body()))
                })
                .await
            }
        }
    }

    fn message<B>(&self, body: B) -> hyper::Request<B> {
        let mut message = hyper::Request::new(body);
        *message.method_mut() = self.method.clone();
        *message.uri_mut() = self.uri.clone();
        message.headers_mut().clone_from(&self.headers);
        message
    }

    async fn judge(&self, status: StatusCode, body: Body) -> Result<Answer, Miss> {
        let code = status.as_u16();
        if !self.spec.expect_status.iter().any(|(least, most)| (*least..=*most).contains(&code)) {
            return self.unexpected(self.wrong_status(status));
        }
        let Some(BodyPattern(expected)) = &self.spec.expect_body else {
            return Ok(Answer::up(format!("status {code}")));
        };
        let body = read(body).await?;
        if expected.is_match(&body) {
            return Ok(Answer::up(format!("status {code}, the body matches")));
        }
        self.unexpected(format!("the body does not match \"{expected}\""))
    }

    /// An answer, but not the one that was hoped for.
    fn unexpected(&self, reason: String) -> Result<Answer, Miss> {
        match self.spec.role {
            Some(_) => Ok(Answer { verdict: Verdict::Standby, reason }),
            None => Err(Miss::Failed(reason)),
        }
    }

    fn wrong_status(&self, status: StatusCode) -> String {
        let expected: Vec<_> = self.spec.expect_status.iter().map(|range| words(*range)).collect();
        format!("status {}, expected {}", status.as_u16(), expected.join(" or "))
    }
}

pub(super) const AGENT: &str = concat!("evenkeel/", env!("CARGO_PKG_VERSION"));

/// The backend as a `Host` header names it: as the file says it, without the protocol's own port.
pub(super) fn authority(address: &BackendAddr, is_tls: bool) -> String {
    let written = address.to_string();
    let usual = if is_tls { ":443" } else { ":80" };
    written.strip_suffix(usual).unwrap_or(&written).to_owned()
}

fn parse(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|why| why.to_string())?;
    Ok((name, HeaderValue::from_str(value).map_err(|why| why.to_string())?))
}

/// A range of status codes as the file would write it.
fn words(range: (u16, u16)) -> String {
    match range {
        (least, most) if least == most => least.to_string(),
        (least, most) if least % 100 == 0 && most == least + 99 => format!("{}xx", least / 100),
        (least, most) => format!("{least}-{most}"),
    }
}

/// The body, as far as it is looked at.
async fn read(mut body: Body) -> Result<Vec<u8>, Miss> {
    let mut seen = Vec::new();
    while seen.len() < MOST
        && let Some(data) = body.next().await
    {
        let (data, room) = (data?, MOST - seen.len());
        seen.extend_from_slice(data.get(..room).unwrap_or(&data));
    }
    Ok(seen)
}

impl From<hyper::Error> for Miss {
    fn from(error: hyper::Error) -> Self {
        let source = std::error::Error::source(&error);
        Self::Failed(if error.is_parse() {
            "the answer is not valid http/1.1".to_owned()
        } else if error.is_incomplete_message() {
            "closed before the answer was complete".to_owned()
        } else if let Some(broken) = source.and_then(|source| source.downcast_ref::<io::Error>()) {
            tls::why_refused(broken).unwrap_or_else(|| why_broken(broken))
        } else {
            format!("no answer: {error}")
        })
    }
}
