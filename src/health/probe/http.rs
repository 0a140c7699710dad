//! `probe = "http"` and `"https"`: one request, its status, and its body where one is expected.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::sync::Arc;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;

use crate::addr::BackendAddr;
use crate::config::{HttpProbe, Member};
use crate::health::StartError;
use crate::health::probe::handshake::Handshake;
use crate::health::probe::{Answer, Miss, Peer, Stream, connect, why_broken};
use crate::pool::Verdict;
use crate::tls;

/// How much of a body is looked at.
const MOST: usize = 64 * 1024;

/// One backend's request, ready to be sent.
#[derive(Debug)]
pub(in crate::health) struct Request {
    spec: HttpProbe,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    tls: Option<Handshake>,
}

impl Request {
    /// Checks what the type of the configuration leaves open; `tls` is there for `https`.
    pub(super) fn new(
        pool: &Arc<str>,
        member: &Member,
        spec: &HttpProbe,
        tls: Option<Handshake>,
    ) -> Result<Self, StartError> {
        let refused = |key, value: &str, why: &dyn ToString| StartError::Request {
            pool: Arc::clone(pool),
            key,
            value: value.to_owned(),
            why: why.to_string(),
        };
        let method = spec.method.parse().map_err(|why| refused("method", &spec.method, &why))?;
        let uri = spec.path.parse().map_err(|why| refused("path", &spec.path, &why))?;
        let host = spec.host.clone();
        let host = host.unwrap_or_else(|| authority(&member.address, spec.tls.is_some()));
        let mut headers = HeaderMap::new();
        for (name, value) in &spec.headers {
            let parsed = parse(name, value).map_err(|why| refused("headers", name, &why))?;
            headers.append(parsed.0, parsed.1);
        }
        let host = HeaderValue::from_str(&host).map_err(|why| refused("host", &host, &why))?;
        headers.entry(HOST).or_insert(host);
        headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(AGENT));
        headers.entry(CONNECTION).or_insert(HeaderValue::from_static("close"));
        Ok(Self { spec: spec.clone(), method, uri, headers, tls })
    }

    pub(super) async fn ask(&self, peer: Peer) -> Result<Answer, Miss> {
        let stream = connect(peer).await?;
        match &self.tls {
            None => self.exchange(stream).await,
            Some(handshake) => self.exchange(handshake.shake(stream).await?).await,
        }
    }

    async fn exchange(&self, stream: impl Stream + 'static) -> Result<Answer, Miss> {
        let shaken = http1::Builder::new().max_buf_size(MOST).handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = shaken.map_err(|error| failed(&error))?;
        let asked = async {
            let response = sender.send_request(self.message()).await;
            self.judge(response.map_err(|error| failed(&error))?).await
        };
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

    fn message(&self) -> hyper::Request<Empty<Bytes>> {
        let mut message = hyper::Request::new(Empty::new());
        *message.method_mut() = self.method.clone();
        *message.uri_mut() = self.uri.clone();
        message.headers_mut().clone_from(&self.headers);
        message
    }

    async fn judge(&self, response: Response<Incoming>) -> Result<Answer, Miss> {
        let status = response.status();
        let code = status.as_u16();
        if !self.spec.expect_status.iter().any(|(least, most)| (*least..=*most).contains(&code)) {
            return self.unexpected(self.wrong_status(status));
        }
        let Some(expected) = &self.spec.expect_body else {
            return Ok(Answer::up(format!("status {code}")));
        };
        let body = read(response.into_body()).await?;
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

const AGENT: &str = concat!("evenkeel/", env!("CARGO_PKG_VERSION"));

/// The backend as a `Host` header names it: as the file says it, without the protocol's own port.
fn authority(address: &BackendAddr, is_tls: bool) -> String {
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
async fn read(mut body: Incoming) -> Result<Vec<u8>, Miss> {
    let mut seen = Vec::new();
    while seen.len() < MOST
        && let Some(frame) = body.frame().await
    {
        if let Ok(data) = frame.map_err(|error| failed(&error))?.into_data() {
            let room = MOST - seen.len();
            seen.extend_from_slice(data.get(..room).unwrap_or(&data));
        }
    }
    Ok(seen)
}

fn failed(error: &hyper::Error) -> Miss {
    let source = std::error::Error::source(error);
    Miss::Failed(if error.is_parse() {
        "the answer is not valid http/1.1".to_owned()
    } else if error.is_incomplete_message() {
        "closed before the answer was complete".to_owned()
    } else if let Some(broken) = source.and_then(|source| source.downcast_ref::<io::Error>()) {
        tls::why_refused(broken).unwrap_or_else(|| why_broken(broken))
    } else {
        format!("no answer: {error}")
    })
}
