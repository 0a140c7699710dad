//! The way to the authority: one https request at a time, with a limit on everything.

use std::error::Error as StdError;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Bytes};
use hyper::header::{CONNECTION, HOST, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Response, Uri};
use instant_acme::{BodyWrapper, BytesResponse, HttpClient};
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::net::{self, Lookup};
use crate::tls;

/// For a request, from the lookup of the name to the last byte of the answer.
const WHOLE: Duration = Duration::from_secs(30);

/// For a connection to one of the addresses of a name.
const CONNECT: Duration = Duration::from_secs(5);

/// Size of an answer; a chain of certificates is a hundredth of it.
const MOST: usize = 1 << 20;

const AGENT: &str = concat!("evenkeel/", env!("CARGO_PKG_VERSION"), " instant-acme");

/// How long the authority asks us to stay away, when it last refused something.
#[derive(Debug, Default)]
pub(super) struct Asked(AtomicU64);

impl Asked {
    /// What it asked for; `None` if it did not.
    pub(super) fn get(&self) -> Option<Duration> {
        let seconds = self.0.load(Ordering::Relaxed);
        (seconds > 0).then(|| Duration::from_secs(seconds))
    }

    fn set(&self, wait: Option<Duration>) {
        self.0.store(wait.map_or(0, |wait| wait.as_secs()), Ordering::Relaxed);
    }
}

/// Asks one authority.
#[derive(Clone)]
pub(super) struct Https {
    tls: Arc<ClientConfig>,
    /// Of the authority, whose addresses are looked up again and again.
    lookup: Arc<Lookup>,
    asked: Arc<Asked>,
}

impl Https {
    /// For the authority at `host`; `asked` hears what it asks for.
    pub(super) fn new(tls: Arc<ClientConfig>, lookup: Arc<Lookup>, asked: Arc<Asked>) -> Self {
        Self { tls, lookup, asked }
    }

    async fn ask(
        self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Result<Response<Full<Bytes>>, Lost> {
        let uri = request.uri().clone();
        let lost = |why| Lost { uri: uri.clone(), why };
        let answered = timeout(WHOLE, self.exchange(request)).await;
        let answer = answered.unwrap_or_else(|_| Err(slow("an answer", WHOLE))).map_err(lost)?;
        let status = answer.status();
        let refused = status.is_client_error() || status.is_server_error();
        self.asked.set(refused.then(|| retry_after(answer.headers(), SystemTime::now())).flatten());
        let is_json = |value: &HeaderValue| value.to_str().is_ok_and(|text| text.contains("json"));
        if refused && !answer.headers().get("content-type").is_some_and(is_json) {
            return Err(lost(format!("status {status}, and no word why").into()));
        }
        if status.is_redirection() {
            let to = answer.headers().get(LOCATION).and_then(|to| to.to_str().ok()).unwrap_or("?");
            return Err(lost(format!("status {status} to {to}, which is not followed").into()));
        }
        Ok(answer)
    }

    async fn exchange(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Result<Response<Full<Bytes>>, BoxError> {
        let stream = self.connect(request.uri()).await?;
        net::exchange(stream, MOST, in_origin_form(request)?, |answer| async {
            let (parts, body) = answer.into_parts();
            let body = Limited::new(body, MOST).collect().await?.to_bytes();
            Ok(Response::from_parts(parts, Full::new(body)))
        })
        .await
    }

    async fn connect(&self, uri: &Uri) -> Result<TlsStream<TcpStream>, BoxError> {
        if uri.scheme_str() != Some("https") {
            return Err("only https is spoken with an authority".into());
        }
        let host = host(uri).ok_or("the address names no host")?;
        let port = uri.port_u16().unwrap_or(443);
        let name = tls::server_name(None, host)?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let mut last = None;
        for ip in self.addresses(host).await? {
            let connecting = net::connect(SocketAddr::new(ip, port), None);
            match timeout(CONNECT, connecting).await {
                Ok(Ok(stream)) => return Ok(connector.connect(name, stream).await?),
                Ok(Err(error)) => last = Some(format!("{ip}: {error}").into()),
                Err(_) => last = Some(slow(&format!("a connection to {ip}"), CONNECT)),
            }
        }
        Err(last.unwrap_or_else(|| "the name has no address".into()))
    }

    async fn addresses(&self, host: &str) -> Result<Vec<std::net::IpAddr>, BoxError> {
        // Authorities keep everything under one name; one that does not is looked up all the same.
        let found = match *self.lookup.host() == *host {
            true => self.lookup.addresses().await,
            false => self.lookup.of(host.into()).addresses().await,
        };
        let found = found.map(|found| found.addresses);
        found.map_err(|error| format!("cannot look up {host}: {error}").into())
    }
}

impl HttpClient for Https {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let asked = self.clone().ask(request);
        Box::pin(async move {
            let answer = asked.await.map_err(|lost| instant_acme::Error::Other(Box::new(lost)));
            answer.map(BytesResponse::from)
        })
    }
}

type BoxError = Box<dyn StdError + Send + Sync>;

/// A request that got no answer.
#[derive(Debug, thiserror::Error)]
#[error("no answer from {uri}: {}", why_lost(why.as_ref()))]
pub(super) struct Lost {
    uri: Uri,
    why: BoxError,
}

fn slow(what: &str, limit: Duration) -> BoxError {
    format!("{what} took longer than {} s", limit.as_secs()).into()
}

/// The innermost reason, which says more than those around it.
fn why_lost(error: &(dyn StdError + Send + Sync + 'static)) -> String {
    let mut inner: &(dyn StdError + 'static) = error;
    loop {
        if let Some(refused) = inner.downcast_ref::<io::Error>().and_then(tls::why_refused) {
            return refused;
        }
        match inner.source() {
            Some(source) => inner = source,
            None => return inner.to_string(),
        }
    }
}

/// The host of an address, an IPv6 one without its brackets.
pub(super) fn host(uri: &Uri) -> Option<&str> {
    let host = uri.host()?;
    Some(host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(host))
}

/// As http/1.1 wants it: the path in the first line, the host in a field.
fn in_origin_form<B: Body>(mut request: Request<B>) -> Result<Request<B>, BoxError> {
    let uri = request.uri();
    let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
    let host = HeaderValue::from_str(authority.rsplit('@').next().unwrap_or(authority))?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str()).parse()?;
    *request.uri_mut() = path;
    let headers = request.headers_mut();
    headers.insert(HOST, host);
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    Ok(request)
}

/// The wait that an answer asks for, as seconds or as a date (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    SystemTime::from(date.timestamp()).duration_since(now).ok()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::config::ClientTls;

    /// An authority that gives one answer to everybody, and a way to ask it.
    async fn asked(answer: String) -> (Result<(u16, usize), String>, Option<Duration>) {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.unwrap())
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serve = async {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = acceptor.accept(stream).await.unwrap();
            let mut head = [0; 4096];
            assert!(stream.read(&mut head).await.unwrap() > 0);
            // Whoever has heard enough leaves.
            stream.write_all(answer.as_bytes()).await.ok();
            stream.shutdown().await.ok();
        };
        let any = ClientTls { verify: false, ..ClientTls::default() };
        let wait = Arc::<Asked>::default();
        wait.set(Some(Duration::from_secs(1)));
        let lookup = Arc::new(Lookup::new(&net::Resolver::default(), "127.0.0.1".into()));
        let https = Https::new(tls::client(&any, &[]).unwrap(), lookup, Arc::clone(&wait));
        let request = Request::builder().uri(format!("https://{address}/dir"));
        let answer = https.ask(request.body(BodyWrapper::default()).unwrap());
        let (answer, ()) = tokio::join!(answer, serve);
        let answer = match answer {
            Ok(answer) => {
                let status = answer.status().as_u16();
                Ok((status, answer.into_body().collect().await.unwrap().to_bytes().len()))
            }
            Err(lost) => Err(lost.to_string()),
        };
        (answer, wait.get())
    }

    fn with(head: &str, body: &str) -> String {
        format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    }

    #[tokio::test]
    async fn an_answer_is_taken_whole_and_in_bounds_or_not_at_all() {
        assert_eq!(asked(with("200 OK", "{}")).await, (Ok((200, 2)), None));
        let cut = with("200 OK", "{}").replace("length: 2", "length: 9");
        let huge = with("200 OK", &"x".repeat(MOST + 1));
        for (answer, expected) in [
            (cut, "end of file before message length reached"),
            (huge, "length limit exceeded"),
            (with("502 Bad Gateway", "<html>"), "status 502 Bad Gateway, and no word why"),
            (with("302 Found\r\nlocation: /x", ""), "302 Found to /x, which is not followed"),
            ("nonsense\r\n\r\n".to_owned(), "invalid HTTP"),
            (String::new(), "connection closed before message completed"),
        ] {
            let said = asked(answer).await.0.unwrap_err();
            assert!(said.starts_with("no answer from https://127.0.0.1:"), "{said}");
            assert!(said.contains(expected), "{said} instead of {expected}");
        }
    }

    #[tokio::test]
    async fn a_refusal_says_how_long_to_stay_away() {
        let head = "429 Too Many\r\nretry-after: 90\r\ncontent-type: application/problem+json";
        assert_eq!(asked(with(head, "{}")).await, (Ok((429, 2)), Some(Duration::from_secs(90))));
        // Even one without a word.
        let (answer, wait) = asked(with("503 Busy\r\nretry-after: 7", "")).await;
        assert!(answer.is_err() && wait == Some(Duration::from_secs(7)));
        // A poll that may come again later is no refusal.
        assert_eq!(asked(with("200 OK\r\nretry-after: 7", "{}")).await.1, None);
    }

    #[test]
    fn a_wait_is_read_as_seconds_or_as_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let read = |text| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(text));
            retry_after(&headers, now).map(|wait| wait.as_secs())
        };
        assert_eq!(read("120"), Some(120));
        assert_eq!(read(" 7 "), Some(7));
        // The example of the RFC, a minute later.
        assert_eq!(read("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        assert_eq!(read("Sun, 06 Nov 1994 08:48:37 GMT"), None);
        for nonsense in ["", "-1", "soon", "1.5", "99999999999999999999"] {
            assert_eq!(read(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn a_request_names_its_host_once_and_its_path_alone() {
        let of = |uri| {
            let request = Request::builder().uri(uri).body(Full::<Bytes>::default()).unwrap();
            let request = in_origin_form(request).unwrap();
            let host = request.headers()[HOST].to_str().unwrap().to_owned();
            (request.uri().to_string(), host)
        };
        let both = |path: &str, host: &str| (path.to_owned(), host.to_owned());
        assert_eq!(of("https://a.example/dir?x=1"), both("/dir?x=1", "a.example"));
        assert_eq!(of("https://u:p@a.example:14000"), both("/", "a.example:14000"));
        assert_eq!(of("https://[::1]:14000/dir"), both("/dir", "[::1]:14000"));
        assert_eq!(host(&"https://[::1]:14000/dir".parse().unwrap()), Some("::1"));
    }
}
