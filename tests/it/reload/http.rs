//! HTTP over reloads: routes change between two requests of a connection, never within one, and nobody
//! has to connect anew.

use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::entry;
use crate::harness::http2::{Gate, Http2Server, Manners};
use crate::harness::servers::{Server, entries};
use crate::harness::wait::{PATIENCE, eventually};
use crate::harness::whoami::{Browser, answering, get, whoami};

/// Everything to one pool, with a header that says which file it was.
fn file(server: &str, step: &str, more: &str) -> String {
    format!(
        "[process]\nthreads = 1\n[listener.l]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\n\
         [[listener.l.route]]\nset_response_headers = {{ x-step = \"{step}\" }}\npool = \"p{step}\"\n\
         [pool.p{step}]\nbackends = {server}\n{more}\n[pool.p{step}.health]\nprobe = \"none\"\n"
    )
}

fn one(server: &Server) -> String {
    entries(std::slice::from_ref(server))
}

/// A server that answers with its name when it is told, each time.
struct Patient {
    server: Server,
    asked: Receiver<()>,
    go: Sender<()>,
}

impl Patient {
    fn new(name: &str) -> Self {
        let ((ask, asked), (go, gone)) = (channel(), channel());
        let (ask, gone) = (Mutex::new(ask), Mutex::new(gone));
        let own = name.to_owned();
        let server = answering(name, move |_| {
            ask.lock().unwrap().send(()).unwrap();
            gone.lock().unwrap().recv_timeout(PATIENCE).unwrap_or_default();
            own.clone()
        });
        Self { server, asked, go }
    }
}

#[test]
fn the_next_request_of_an_idle_connection_goes_by_the_new_routes() {
    let servers = ["a", "b"].map(whoami);
    let file = |step: usize| file(&one(&servers[step % 2]), &step.to_string(), "");
    let proxy = Evenkeel::start(&file(0));
    let (mut browser, at) = (Browser::open(proxy.at()), proxy.at());
    run(async {
        let mut peer = Peer::open(at).await;
        for step in 0..6 {
            if step > 0 {
                proxy.reload(&file(step));
            }
            let name = &servers[step % 2].name;
            let told = browser.ask(&get("/", "")).unwrap();
            assert_eq!((told.status, &told.body, told.is_last), (200, name, false));
            let answer = peer.ask().await;
            assert_eq!(header(&answer), step.to_string());
            assert_eq!(&body(answer).await, name);
        }
    });
}

#[test]
fn a_request_in_flight_ends_under_the_file_that_it_began_with() {
    let (old, new) = (Patient::new("old"), whoami("new"));
    let proxy = Evenkeel::start(&file(&one(&old.server), "1", ""));
    let mut stream = crate::harness::client::connect(proxy.at());
    stream.write_all(get("/", "connection: close").as_bytes()).unwrap();
    old.asked.recv_timeout(PATIENCE).unwrap();
    run(async {
        let mut peer = Peer::open(proxy.at()).await;
        let first = peer.begin();
        old.asked.recv_timeout(PATIENCE).unwrap();
        // The pool that they are in is no longer in the file.
        proxy.reload(&file(&one(&new), "2", ""));
        // Another stream of the same connection goes the new way, past the one that waits.
        let second = peer.ask().await;
        assert_eq!((header(&second).as_str(), body(second).await.as_str()), ("2", "new"));
        for _ in 0..2 {
            old.go.send(()).unwrap();
        }
        let first = timeout(PATIENCE, first).await.unwrap().unwrap();
        assert_eq!((header(&first).as_str(), body(first).await.as_str()), ("1", "old"));
    });
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.contains("x-step: 1\r\n") && text.ends_with("old"), "{text}");
}

#[test]
fn connections_to_backends_that_stay_are_kept() {
    let (one, other, two) =
        (whoami("one"), whoami("other"), Http2Server::start(Manners::default()));
    let file = |list: &str, keys: &str| {
        format!(
            "[process]\nthreads = 1\n[listener.l]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\n\
             pool = \"p\"\n[[listener.l.route]]\npath = \"/two\"\npool = \"q\"\n\
             [pool.p]\nbackends = [{list}]\n{keys}\n[pool.p.health]\nprobe = \"none\"\n\
             [pool.q]\nbackends = [{}]\n{keys}\n[pool.q.http]\nversion = \"2\"\n\
             [pool.q.health]\nprobe = \"none\"\n",
            entry(two.address(), "two", "")
        )
    };
    let proxy = Evenkeel::start(&file(&one.entry(""), ""));
    let mut browser = Browser::open(proxy.at());
    let mut ask = || {
        for path in ["/", "/two"] {
            assert_eq!(browser.ask(&get(path, "")).unwrap().status, 200);
        }
    };
    ask();
    assert_eq!((one.accepted(), two.accepted()), (1, 1));
    for (what, toml) in [
        ("the same file", file(&one.entry(""), "")),
        ("another weight", file(&one.entry("weight = 3"), "")),
        ("another backend", file(&format!("{}, {}", one.entry(""), other.entry("weight = 0")), "")),
        ("other settings", file(&one.entry(""), "connect_timeout = \"3s\"\nslow_start = \"0s\"")),
    ] {
        proxy.reload(&toml);
        ask();
        assert_eq!((one.accepted(), two.accepted()), (1, 1), "{what}");
    }
    // And the connection of one that goes is not kept for nobody.
    proxy.reload(&file(&other.entry(""), ""));
    eventually("the connection to it is closed", PATIENCE, || one.open() == 0);
    ask();
    assert_eq!((two.accepted(), two.open()), (1, 1));
}

#[test]
fn a_stream_in_flight_to_a_backend_of_http2_survives_that_it_is_removed() {
    let gate = Arc::new(Gate::default());
    let manners = Manners { gate: Some(Arc::clone(&gate)), ..Manners::default() };
    let (two, new) = (Http2Server::start(manners), whoami("new"));
    let list = format!("[{}]", entry(two.address(), "two", ""));
    let proxy = Evenkeel::start(&file(&list, "1", "http = { version = \"2\" }"));
    run(async {
        let mut peer = Peer::open(proxy.at()).await;
        let first = peer.begin();
        eventually("it is asked", PATIENCE, || gate.waiting() == 1);
        proxy.reload(&file(&one(&new), "2", ""));
        gate.open();
        let first = timeout(PATIENCE, first).await.unwrap().unwrap();
        assert_eq!(header(&first), "1");
        assert!(body(first).await.starts_with("GET / "));
    });
    eventually("the connection to it is closed", PATIENCE, || two.open() == 0);
}

#[test]
fn an_upgraded_connection_outlives_its_route_and_its_pool() {
    let echo = Server::new("echo", |mut stream| {
        drop(crate::harness::http::read_head(&mut stream));
        let yes = "HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: words\r\n\r\n";
        if stream.write_all(yes.as_bytes()).is_ok() {
            drop(crate::harness::servers::echo(stream));
        }
    });
    let new = whoami("new");
    let proxy = Evenkeel::start(&file(&one(&echo), "1", ""));
    let mut stream = crate::harness::client::connect(proxy.at());
    let head = get("/", "connection: upgrade\r\nupgrade: words");
    stream.write_all(head.as_bytes()).unwrap();
    let head = crate::harness::http::read_head(&mut stream);
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    crate::harness::client::ping(&mut stream, "before");
    proxy.reload(&file(&one(&new), "2", ""));
    crate::harness::client::ping(&mut stream, "after");
    crate::harness::client::close(stream);
    // What was counted of the pool has gone with it.
    assert_eq!(proxy.wait_access(1)[0]["outcome"], "ok");
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    runtime.unwrap().block_on(async { timeout(3 * PATIENCE, work).await.expect("in time") })
}

/// A connection of HTTP/2.
struct Peer {
    sender: SendRequest<Empty<Bytes>>,
    tasks: JoinSet<()>,
}

type Answered = Response<hyper::body::Incoming>;

impl Peer {
    async fn open(at: std::net::SocketAddr) -> Self {
        let stream = TokioIo::new(TcpStream::connect(at).await.unwrap());
        let handshake = Builder::new(TokioExecutor::new()).handshake(stream).await;
        let (sender, connection) = handshake.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async { drop(connection.await) });
        Self { sender, tasks }
    }

    /// Sends a request; its answer is to be waited for.
    fn begin(&mut self) -> impl Future<Output = hyper::Result<Answered>> + use<> {
        let request = Request::get("http://shop.example/").body(Empty::new()).unwrap();
        self.sender.send_request(request)
    }

    async fn ask(&mut self) -> Answered {
        assert_eq!(self.tasks.len(), 1);
        timeout(PATIENCE, self.begin()).await.unwrap().unwrap()
    }
}

fn header(answer: &Answered) -> String {
    answer.headers()["x-step"].to_str().unwrap().to_owned()
}

async fn body(answer: Answered) -> String {
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8_lossy(&bytes).into_owned()
}
