//! hyper's reading of what passes, beside a plain one.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// A request as it was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) method: String,
    /// Path and query.
    pub(super) target: String,
    pub(super) fields: usize,
    pub(super) body: Vec<u8>,
}

/// What hyper understands of what passes; it must be what a plain reading finds, request by request.
pub(super) fn compare(bytes: &[u8]) -> Vec<Heard> {
    let (passed, requests) = cut(bytes);
    let plain: Vec<Heard> = requests.iter().map(read).collect();
    let (heard, said) = ask_hyper(passed);
    let show = passed.escape_ascii();
    // The last one may be incomplete: hyper hears its head then, and no body.
    assert!(heard.len() >= plain.len(), "{heard:?} for {show}");
    assert_eq!(heard[..plain.len()], plain, "{show}");
    assert!(heard.len() <= plain.len() + 1, "{heard:?} for {show}");
    assert_eq!(said, heard.len(), "hyper answers by itself: {show}");
    plain
}

/// What passes, and the whole requests in it, with the length of their heads.
fn cut(bytes: &[u8]) -> (&[u8], Vec<(&[u8], usize)>) {
    let (mut screen, mut requests) = (Screen::default(), Vec::new());
    let (mut start, mut head, mut passed) = (0, 0, 0);
    for come in 1..=bytes.len() {
        let Ok(more) = screen.pass(&bytes[passed..come]) else { break };
        let was_head = passed == start;
        passed += more;
        if was_head && more > 0 {
            head = passed - start;
        }
        if more > 0 && screen.stage() != Stage::Body {
            requests.push((&bytes[start..passed], head));
            start = passed;
        }
        screen.refused();
    }
    (&bytes[..passed], requests)
}

/// A plain reading of a whole request, which trusts it.
fn read(&(request, head): &(&[u8], usize)) -> Heard {
    let (head, body) = request.split_at(head);
    let head = String::from_utf8_lossy(head).into_owned();
    let lines: Vec<&str> = head.split("\r\n").filter(|line| !line.is_empty()).collect();
    let mut words = lines[0].split(' ');
    let method = words.next().unwrap().to_owned();
    let target = words.next().unwrap();
    let target = match target.split_once("://").filter(|_| !target.starts_with('/')) {
        Some((_, rest)) => match rest.find(['/', '?']) {
            Some(at) if rest[at..].starts_with('?') => format!("/{}", &rest[at..]),
            Some(at) => rest[at..].to_owned(),
            None => "/".to_owned(),
        },
        None => target.to_owned(),
    };
    let is_chunked = lines.iter().any(|line| line.to_lowercase().starts_with("transfer-encoding:"));
    let body = if is_chunked { joined(body) } else { body.to_vec() };
    Heard { method, target, fields: lines.len() - 1, body }
}

/// The data of chunks.
fn joined(mut chunks: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    loop {
        let end = chunks.windows(2).position(|here| here == b"\r\n").unwrap();
        let size = String::from_utf8_lossy(&chunks[..end]).into_owned();
        let size = usize::from_str_radix(size.split(';').next().unwrap(), 16).unwrap();
        if size == 0 {
            return data;
        }
        data.extend_from_slice(&chunks[end + 2..end + 2 + size]);
        chunks = &chunks[end + 4 + size..];
    }
}

/// The requests that hyper hears, and how many it answers.
fn ask_hyper(bytes: &[u8]) -> (Vec<Heard>, usize) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (ours, theirs) = tokio::io::duplex(1 << 20);
        let heard = Rc::new(RefCell::new(Vec::new()));
        let keeper = Rc::clone(&heard);
        let service = service_fn(move |request: Request<Incoming>| {
            let keeper = Rc::clone(&keeper);
            async move {
                let (parts, body) = request.into_parts();
                let body = body.collect().await;
                let body = body.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
                let target = parts.uri.path_and_query().unwrap().to_string();
                let method = parts.method.to_string();
                let fields = parts.headers.len();
                keeper.borrow_mut().push(Heard { method, target, fields, body });
                Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
            }
        });
        let (mut reader, mut writer) = tokio::io::split(ours);
        writer.write_all(bytes).await.unwrap();
        writer.shutdown().await.unwrap();
        let mut http = http1::Builder::new();
        let serving = http.half_close(true).serve_connection(TokioIo::new(theirs), service);
        // An incomplete request at the end is an error of the connection's.
        drop(serving.await);
        let mut said = Vec::new();
        reader.read_to_end(&mut said).await.unwrap();
        let answers = said.windows(9).filter(|here| here == b"HTTP/1.1 " || here == b"HTTP/1.0 ");
        let answers = answers.count() - continues(&said);
        (Rc::try_unwrap(heard).unwrap().into_inner(), answers)
    })
}

/// How often it said that a body may come.
fn continues(said: &[u8]) -> usize {
    said.windows(12).filter(|here| here.ends_with(b" 100")).count()
}
