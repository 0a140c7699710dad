//! `probe = "grpc"`: the standard health service is asked how the server, or one of its services, is.

use h2::RecvStream;
use http::header::{CONTENT_TYPE, HeaderMap, TE, USER_AGENT};
use hyper::body::Bytes;
use hyper::{Method, Request, Response, StatusCode, Uri, Version};

use crate::config::Member;
use crate::health::probe::handshake::Handshake;
use crate::health::probe::http::{AGENT, authority};
use crate::health::probe::{Answer, Miss, Peer, connect, http2};
use crate::wire::grpc_health::{self, MOST, PATH, Serving};

/// One backend's question, ready to be asked.
#[derive(Debug)]
pub(in crate::health) struct Check {
    service: String,
    uri: Uri,
    question: Bytes,
    tls: Option<Handshake>,
}

impl Check {
    /// The error is what is wrong with `service`.
    pub(super) fn new(
        member: &Member,
        service: &str,
        tls: Option<Handshake>,
    ) -> Result<Self, String> {
        let question = grpc_health::question(service).map_err(|why| why.to_string())?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let authority = authority(&member.address, tls.is_some());
        let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(PATH).build();
        let uri = uri.map_err(|why| why.to_string())?;
        Ok(Self { service: service.to_owned(), uri, question: question.into(), tls })
    }

    pub(super) async fn ask(&self, peer: Peer) -> Result<Answer, Miss> {
        let stream = connect(peer).await?;
        let (request, question) = (self.request(), self.question.clone());
        let read = |answer| self.judge(answer);
        match &self.tls {
            None => http2::exchange(stream, request, question, read).await,
            Some(handshake) => {
                let stream = http2::shake(handshake, stream).await?;
                http2::exchange(stream, request, question, read).await
            }
        }
    }

    fn request(&self) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        for (name, value) in
            [(TE, "trailers"), (CONTENT_TYPE, "application/grpc"), (USER_AGENT, AGENT)]
        {
            headers.insert(name, http::HeaderValue::from_static(value));
        }
        request
    }

    async fn judge(&self, answer: Response<RecvStream>) -> Result<Answer, Miss> {
        let (head, mut body) = answer.into_parts();
        if head.status != StatusCode::OK {
            return failed(format!("not a grpc server: http status {}", head.status.as_u16()));
        }
        let kind = head.headers.get(CONTENT_TYPE).map(http::HeaderValue::as_bytes);
        if !kind.is_some_and(|kind| kind.starts_with(b"application/grpc")) {
            return failed("not a grpc server: its answer is of another content type");
        }
        // An answer without a message has its status in the head.
        if let Some(code) = code(&head.headers) {
            return self.without_message(code);
        }
        let mut message = Vec::new();
        while let Some(data) = http2::next(&mut body).await {
            message.extend_from_slice(&data?);
            if message.len() > MOST {
                break;
            }
        }
        let trailers = match message.len() {
            0..=MOST => body.trailers().await.map_err(|error| http2::failed(&error))?,
            _ => None,
        };
        match (trailers.as_ref().and_then(code), grpc_health::answer(&message)) {
            (Some(code @ 1..), _) => self.without_message(code),
            (_, Err(flaw)) => failed(format!("the answer is not of the health service: {flaw}")),
            (None, Ok(_)) => failed("the answer ended without a grpc status"),
            (Some(0), Ok(serving)) => self.said(serving),
        }
    }

    fn said(&self, serving: Serving) -> Result<Answer, Miss> {
        match serving {
            Serving::Yes => Ok(Answer::up("grpc: serving")),
            Serving::No => failed("grpc: not serving"),
            Serving::Unknown => failed("grpc: the server cannot tell whether it is serving"),
            Serving::Nobody => failed(self.nobody()),
            Serving::Other(number) => failed(format!("grpc: unknown serving status {number}")),
        }
    }

    /// What a status without a message says.
    fn without_message(&self, code: u32) -> Result<Answer, Miss> {
        match code {
            NOT_FOUND => failed(self.nobody()),
            UNIMPLEMENTED => failed("grpc: the server has no health service"),
            0 => failed("the answer is not of the health service: it is empty"),
            _ => failed(format!("grpc: status {code}{}", name(code))),
        }
    }

    fn nobody(&self) -> String {
        format!("grpc: the health service does not know the service {:?}", self.service)
    }
}

fn failed<T>(reason: impl Into<String>) -> Result<T, Miss> {
    Err(Miss::Failed(reason.into()))
}

const NOT_FOUND: u32 = 5;
const UNIMPLEMENTED: u32 = 12;

/// What gRPC calls its codes (gRPC, "Status codes and their use in gRPC").
const NAMES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

fn name(code: u32) -> String {
    let known = usize::try_from(code).ok().and_then(|code| NAMES.get(code));
    known.map(|name| format!(" ({name})")).unwrap_or_default()
}

/// The status, where there is one that is a number.
fn code(fields: &HeaderMap) -> Option<u32> {
    fields.get("grpc-status")?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::future::pending;
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::time::Duration;

    use http::HeaderValue;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::sync::mpsc;

    use super::*;
    use crate::addr::BackendAddr;
    use crate::config::{ClientTls, HttpProbe, HttpVersion, Pool, Probe, ProxyVersion};
    use crate::health::fixture::{LONG, SHORT, answering, head, pool, server, silent};
    use crate::health::probe::{Prober, Stream};

    /// What a server makes of a request and its body: the head of the answer, a message, trailers.
    #[derive(Clone, Default)]
    struct Said {
        head: Vec<(&'static str, &'static str)>,
        message: &'static [u8],
        trailers: Vec<(&'static str, &'static str)>,
    }

    const GRPC: (&str, &str) = ("content-type", "application/grpc");

    fn fields(of: &[(&'static str, &'static str)]) -> HeaderMap {
        let field =
            |&(name, value)| (http::HeaderName::from_static(name), HeaderValue::from_static(value));
        of.iter().map(field).collect()
    }

    /// Answers every request of a connection alike, and tells what it heard.
    async fn serve(
        stream: impl Stream,
        said: Said,
        tell: mpsc::Sender<(http::request::Parts, Vec<u8>)>,
    ) {
        let Ok(mut connection) = h2::server::handshake(stream).await else { return };
        let mut streams = tokio::task::JoinSet::new();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            let (said, tell) = (said.clone(), tell.clone());
            streams.spawn(async move {
                let (parts, mut body) = request.into_parts();
                let mut heard = Vec::new();
                while let Some(Ok(data)) = body.data().await {
                    heard.extend_from_slice(&data);
                }
                tell.send((parts, heard)).await.ok();
                let mut answer = Response::new(());
                *answer.headers_mut() = fields(&said.head);
                if let Some(status) = answer.headers_mut().remove("status") {
                    *answer.status_mut() = status.to_str().unwrap().parse().unwrap();
                }
                let is_bare = said.message.is_empty() && said.trailers.is_empty();
                let mut body = respond.send_response(answer, is_bare).unwrap();
                if !is_bare {
                    body.send_data(Bytes::from_static(said.message), said.trailers.is_empty()).ok();
                }
                if !said.trailers.is_empty() {
                    body.send_trailers(fields(&said.trailers)).ok();
                }
            });
        }
    }

    async fn ask_with(spec: &Pool, address: SocketAddr, limit: Duration) -> Result<Answer, Miss> {
        let probers = Prober::of_all(spec).unwrap().unwrap();
        probers[0].ask(Peer { address, source: None, header: None }, limit).await
    }

    async fn ask(address: SocketAddr, service: &str) -> Result<Answer, Miss> {
        let probe = Probe::Grpc { service: service.to_owned(), tls: None };
        ask_with(&pool([BackendAddr::Ip(address)], probe), address, LONG).await
    }

    async fn reason(address: SocketAddr) -> String {
        match ask(address, "shop").await {
            Err(Miss::Failed(reason)) => reason,
            other => panic!("{other:?}"),
        }
    }

    type Heard = mpsc::Receiver<(http::request::Parts, Vec<u8>)>;

    async fn saying(said: Said) -> (SocketAddr, tokio::task::JoinSet<()>, Heard) {
        let (tell, told) = mpsc::channel(8);
        let serving = move |stream: TcpStream| serve(stream, said.clone(), tell.clone());
        let (address, tasks) = server(serving).await;
        (address, tasks, told)
    }

    fn status(message: &'static [u8], code: &'static str) -> Said {
        Said { head: vec![GRPC], message, trailers: vec![("grpc-status", code)] }
    }

    #[tokio::test]
    async fn the_question_is_as_grpc_asks_and_serving_is_up() {
        let (address, _tasks, mut told) = saying(status(b"\0\0\0\0\x02\x08\x01", "0")).await;
        assert_eq!(ask(address, "shop").await, Ok(Answer::up("grpc: serving")));
        let (parts, heard) = told.recv().await.unwrap();
        assert_eq!(parts.method, Method::POST);
        assert_eq!(parts.uri.to_string(), format!("http://{address}/grpc.health.v1.Health/Check"));
        assert_eq!(parts.headers["te"], "trailers");
        assert_eq!(parts.headers["content-type"], "application/grpc");
        assert_eq!(heard, b"\0\0\0\0\x06\x0a\x04shop");
        assert_eq!(ask(address, "").await, Ok(Answer::up("grpc: serving")));
        assert_eq!(told.recv().await.unwrap().1, [0; 5]);
    }

    #[tokio::test]
    async fn every_other_answer_is_a_failure_in_its_own_words() {
        let bare = |code| Said { head: vec![GRPC, ("grpc-status", code)], ..Said::default() };
        let unknown = "grpc: the health service does not know the service \"shop\"";
        let html = Said { head: vec![("content-type", "text/html")], ..Said::default() };
        let missing = Said { head: vec![("status", "404"), GRPC], ..Said::default() };
        let endless = Said { trailers: Vec::new(), ..status(b"\0\0\0\0\x02\x08\x01", "0") };
        for (said, expected) in [
            (status(b"\0\0\0\0\x02\x08\x02", "0"), "grpc: not serving"),
            (status(b"\0\0\0\0\0", "0"), "grpc: the server cannot tell whether it is serving"),
            (status(b"\0\0\0\0\x02\x08\x03", "0"), unknown),
            (status(b"\0\0\0\0\x02\x08\x09", "0"), "grpc: unknown serving status 9"),
            (bare("5"), unknown),
            (bare("12"), "grpc: the server has no health service"),
            (bare("14"), "grpc: status 14 (UNAVAILABLE)"),
            (bare("99"), "grpc: status 99"),
            (status(b"", "13"), "grpc: status 13 (INTERNAL)"),
            // A status counts whatever came before it.
            (status(b"\0\0\0\0\x02\x08\x01", "14"), "grpc: status 14 (UNAVAILABLE)"),
            (endless, "the answer ended without a grpc status"),
            (bare("0"), "the answer is not of the health service: it is empty"),
            (
                status(b"\x01\0\0\0\x02\x08\x01", "0"),
                "the answer is not of the health service: it is compressed",
            ),
            (
                status(&[0; MOST + 1], "0"),
                "the answer is not of the health service: it is too long",
            ),
            (html, "not a grpc server: its answer is of another content type"),
            (missing, "not a grpc server: http status 404"),
        ] {
            let (address, _tasks, _told) = saying(said).await;
            assert_eq!(reason(address).await, expected);
        }
    }

    /// A server of HTTP/1, which takes the beginning of our preface for a head.
    async fn old(answer: &'static str) -> (SocketAddr, tokio::task::JoinSet<()>) {
        server(move |mut stream| async move {
            stream.read_exact(&mut [0; 18]).await.ok();
            stream.write_all(answer.as_bytes()).await.ok();
            stream.shutdown().await.ok();
            // A close with bytes unread would be a reset.
            tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.ok();
        })
        .await
    }

    #[tokio::test]
    async fn who_speaks_no_http2_is_known_for_it() {
        let (address, _server) = old("HTTP/1.1 400 Bad Request\r\n\r\n").await;
        assert_eq!(reason(address).await, "the answer is not valid http/2");
        let (address, _server) = old("").await;
        assert_eq!(reason(address).await, "closed before the answer was complete");
        let (address, _server) = silent().await;
        let probe = Probe::Grpc { service: String::new(), tls: None };
        let late = ask_with(&pool([BackendAddr::Ip(address)], probe), address, SHORT).await;
        assert_eq!(late, Err(Miss::Failed("timed out after 100ms".to_owned())));
    }

    #[tokio::test]
    async fn a_server_that_refuses_is_quoted() {
        let (address, _server) = server(|stream| async move {
            let Ok(mut connection) = h2::server::handshake(stream).await else { return };
            if let Some(Ok((_, mut respond))) = connection.accept().await {
                respond.send_reset(h2::Reason::REFUSED_STREAM);
            }
            while connection.accept().await.is_some() {}
        })
        .await;
        let refused = reason(address).await;
        assert!(refused.starts_with("the request was refused: refused stream"), "{refused}");
    }

    #[tokio::test]
    async fn the_header_of_the_pool_goes_first_and_the_end_is_in_order() {
        let (tell, mut told) = mpsc::channel(1);
        let header = crate::wire::proxy_protocol::LOCAL;
        let (address, _server) = server(move |mut stream| {
            let tell = tell.clone();
            async move {
                let mut begin = vec![0; header.len()];
                stream.read_exact(&mut begin).await.ok();
                let mut connection = h2::server::handshake(stream).await.unwrap();
                let (_, mut respond) = connection.accept().await.unwrap().unwrap();
                let mut answer = Response::new(());
                *answer.headers_mut() = fields(&[GRPC, ("grpc-status", "12")]);
                respond.send_response(answer, true).unwrap();
                // Whoever left without a word would be an error here.
                let end = connection.accept().await;
                tell.send((begin, end.is_none_or(|end| end.is_err_and(|e| e.is_go_away()))))
                    .await
                    .ok();
            }
        })
        .await;
        let probe = Probe::Grpc { service: String::new(), tls: None };
        let spec = pool([BackendAddr::Ip(address)], probe);
        let probers = Prober::of_all(&spec).unwrap().unwrap();
        let peer = Peer { address, source: None, header: Some(ProxyVersion::V2) };
        let said = probers[0].ask(peer, LONG).await;
        assert_eq!(said, Err(Miss::Failed("grpc: the server has no health service".to_owned())));
        assert_eq!(told.recv().await.unwrap(), (header.to_vec(), true));
    }

    /// A server of TLS that agrees on these protocols, and its authority as a file.
    async fn tls_server(
        alpn: &[&[u8]],
    ) -> (SocketAddr, tokio::task::JoinSet<()>, tempfile::NamedTempFile) {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.unwrap())
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let ca = tempfile::NamedTempFile::new().unwrap();
        fs::write(ca.path(), made.cert.pem()).unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let (tell, _) = mpsc::channel(1);
        let said = status(b"\0\0\0\0\x02\x08\x01", "0");
        let (address, tasks) = server(move |stream| {
            let (acceptor, tell, said) = (acceptor.clone(), tell.clone(), said.clone());
            async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
                    serve(stream, said, tell).await;
                } else {
                    head(&mut stream).await;
                    stream.write_all(b"HTTP/1.1 204 No\r\n\r\n").await.ok();
                    pending::<()>().await;
                }
            }
        })
        .await;
        (address, tasks, ca)
    }

    #[tokio::test]
    async fn over_tls_both_agree_on_http2_or_it_is_no_answer() {
        let (address, _tasks, ca) = tls_server(&[b"h2"]).await;
        let tls = Some(ClientTls { ca: Some(ca.path().into()), ..ClientTls::default() });
        let probe = Probe::Grpc { service: String::new(), tls: tls.clone() };
        let spec = pool([BackendAddr::Ip(address)], probe.clone());
        assert_eq!(ask_with(&spec, address, LONG).await, Ok(Answer::up("grpc: serving")));
        for (alpn, expected) in [
            (&[][..], "tls: it did not agree on http/2 (alpn h2)"),
            (&[&b"http/1.1"[..]][..], "tls: refused by the backend: no application protocol"),
        ] {
            let (address, _tasks, ca) = tls_server(alpn).await;
            let tls = Some(ClientTls { ca: Some(ca.path().into()), ..ClientTls::default() });
            let probe = Probe::Grpc { service: String::new(), tls };
            let said = ask_with(&pool([BackendAddr::Ip(address)], probe), address, LONG).await;
            assert_eq!(said, Err(Miss::Failed(expected.to_owned())));
        }
    }

    fn two(spec: Pool) -> Pool {
        let http = crate::config::PoolHttp { version: HttpVersion::V2, ..spec.http };
        Pool { http, ..spec }
    }

    #[tokio::test]
    async fn an_http_probe_speaks_the_version_of_its_pool_unless_it_goes_elsewhere() {
        let said = Said { head: vec![("status", "204")], ..Said::default() };
        let (address, _tasks, mut told) = saying(said).await;
        let asked = HttpProbe {
            path: "/live?full=1".to_owned(),
            host: Some("shop.example".to_owned()),
            headers: vec![
                ("X-Probe".to_owned(), "1".to_owned()),
                ("Connection".to_owned(), "x".to_owned()),
            ],
            ..HttpProbe::default()
        };
        let spec = two(pool([BackendAddr::Ip(address)], Probe::Http(Box::new(asked))));
        assert_eq!(ask_with(&spec, address, LONG).await, Ok(Answer::up("status 204")));
        let (parts, _) = told.recv().await.unwrap();
        assert_eq!(parts.uri.to_string(), "http://shop.example/live?full=1");
        assert_eq!(parts.headers["x-probe"], "1");
        assert!(!parts.headers.contains_key("host") && !parts.headers.contains_key("connection"));
        // A port of its own is another server.
        let (address, _server) = answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        let probe = Probe::Http(Box::default());
        let mut spec = two(pool([BackendAddr::Ip(address)], probe));
        spec.health.port = Some(address.port());
        assert_eq!(ask_with(&spec, address, LONG).await, Ok(Answer::up("status 200")));
        let (address, _server) = old("HTTP/1.1 400 Bad Request\r\n\r\n").await;
        spec.health.port = None;
        let said = ask_with(&spec, address, LONG).await;
        assert_eq!(said, Err(Miss::Failed("the answer is not valid http/2".to_owned())));
    }

    #[tokio::test]
    async fn a_body_over_http2_must_match_within_64_kib() {
        static LONG_BODY: [u8; 70_000] = [b'.'; 70_000];
        let body = |text: &str| {
            Probe::Http(Box::new(HttpProbe {
                expect_body: Some(crate::config::BodyPattern(
                    regex::bytes::Regex::new(text).unwrap(),
                )),
                ..HttpProbe::default()
            }))
        };
        for (message, expected) in [
            (&b"ready"[..], Ok(Answer::up("status 200, the body matches"))),
            (&LONG_BODY, Err(Miss::Failed("the body does not match \"ready\"".to_owned()))),
        ] {
            let (address, _tasks, _told) = saying(Said { message, ..Said::default() }).await;
            let spec = two(pool([BackendAddr::Ip(address)], body("ready")));
            assert_eq!(ask_with(&spec, address, LONG).await, expected);
        }
    }
}
