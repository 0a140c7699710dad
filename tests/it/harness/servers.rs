//! Backends with vices, each a listener with a thread for every connection.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use super::client::{reset, try_connect};
use super::files;
use super::process::raise_open_files;
use super::seat::Seat;

type Handler = dyn Fn(TcpStream) + Send + Sync;
type Streams = Mutex<HashMap<usize, TcpStream>>;

/// A server that can be stopped and started again on its port.
pub(crate) struct Server {
    /// The name it greets with, and the name tests give its backend.
    pub(crate) name: String,
    seat: Seat,
    handler: Arc<Handler>,
    counts: Arc<Counts>,
    running: Mutex<Option<Running>>,
}

#[derive(Default)]
struct Counts {
    accepted: AtomicUsize,
    open: AtomicUsize,
    peak: AtomicUsize,
}

struct Running {
    stop: Arc<AtomicBool>,
    acceptor: thread::JoinHandle<()>,
    streams: Arc<Streams>,
}

impl Server {
    /// A server on 127.0.0.1 with its own idea of what to do with a connection.
    pub(crate) fn new(name: &str, handler: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        Self::on([127, 0, 0, 1].into(), name, handler)
    }

    /// As [`new`](Self::new), on another address.
    pub(crate) fn on(
        ip: IpAddr,
        name: &str,
        handler: impl Fn(TcpStream) + Send + Sync + 'static,
    ) -> Self {
        let server = Self::stopped(ip, name, handler);
        server.start();
        server
    }

    /// Not listening yet: connects are refused.
    pub(crate) fn stopped(
        ip: IpAddr,
        name: &str,
        handler: impl Fn(TcpStream) + Send + Sync + 'static,
    ) -> Self {
        raise_open_files();
        Self {
            name: name.into(),
            seat: Seat::on(ip),
            handler: Arc::new(handler),
            counts: Arc::default(),
            running: Mutex::default(),
        }
    }

    /// Greets with its name and a line feed, then echoes.
    pub(crate) fn greet(name: &str) -> Self {
        Self::new(name, greeting(name))
    }

    /// Some that greet with their addresses, all of them at one port of addresses of their own.
    pub(crate) fn alike(count: u8) -> Vec<Self> {
        Self::alike_as(count, greeting)
    }

    /// As [`alike`](Self::alike), with an idea of what to do with a connection for each name.
    pub(crate) fn alike_as<H: Fn(TcpStream) + Send + Sync + 'static>(
        count: u8,
        handler: impl Fn(&str) -> H,
    ) -> Vec<Self> {
        let seat = |last, port| Seat::at(SocketAddr::from(([127, 1, 0, last], port)));
        let seats = || {
            let first = seat(1, 0).unwrap();
            let port = first.port();
            let others = (2..=count).map(|last| seat(last, port));
            std::iter::once(Ok(first)).chain(others).collect::<io::Result<Vec<_>>>()
        };
        // A port that is free at one address may be taken at another.
        let seats = std::iter::repeat_with(seats).take(100).find_map(Result::ok).unwrap();
        let server = |seat: Seat| {
            let name = seat.address().to_string();
            let handler = Arc::new(handler(&name));
            let (counts, running) = (Arc::default(), Mutex::default());
            let server = Self { name, seat, handler, counts, running };
            server.start();
            server
        };
        seats.into_iter().map(server).collect()
    }

    /// As [`greet`](Self::greet), but refuses until it is started.
    pub(crate) fn greet_later(name: &str) -> Self {
        Self::stopped([127, 0, 0, 1].into(), name, greeting(name))
    }

    /// Echoes, and ends when the client has.
    pub(crate) fn echo(name: &str) -> Self {
        Self::new(name, |stream| drop(echo(stream)))
    }

    /// Accepts and says nothing until the client ends.
    pub(crate) fn silent(name: &str) -> Self {
        Self::new(name, |mut stream| drop(io::copy(&mut stream, &mut io::sink())))
    }

    /// Resets each connection at its first byte.
    pub(crate) fn resetting(name: &str) -> Self {
        Self::new(name, |mut stream| {
            drop(stream.read(&mut [0; 1]));
            reset(stream);
        })
    }

    /// Answers every request with what `answer` says to its head.
    pub(crate) fn http(
        name: &str,
        answer: impl Fn(&str) -> String + Send + Sync + 'static,
    ) -> Self {
        Self::new(name, move |mut stream| {
            let head = super::http::read_head(&mut stream);
            drop(stream.write_all(answer(&head).as_bytes()));
        })
    }

    /// Where it is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.seat.address()
    }

    /// Connections taken so far, probes among them.
    pub(crate) fn accepted(&self) -> usize {
        self.counts.accepted.load(Ordering::SeqCst)
    }

    /// Connections open now.
    pub(crate) fn open(&self) -> usize {
        self.counts.open.load(Ordering::SeqCst)
    }

    /// The most connections that were ever open at once.
    pub(crate) fn peak(&self) -> usize {
        self.counts.peak.load(Ordering::SeqCst)
    }

    /// An entry for `backends`, with further keys such as `weight = 2`.
    pub(crate) fn entry(&self, keys: &str) -> String {
        files::entry(self.address(), &self.name, keys)
    }

    /// Listens (again).
    pub(crate) fn start(&self) {
        let mut running = self.running.lock().unwrap();
        assert!(running.is_none(), "{} is already running", self.name);
        let listener = self.seat.listen();
        let stop = Arc::new(AtomicBool::new(false));
        let streams = Arc::new(Streams::default());
        let (stopped, kept) = (stop.clone(), streams.clone());
        let (handler, counts) = (self.handler.clone(), self.counts.clone());
        let acceptor = thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                serve(stream, handler.clone(), counts.clone(), kept.clone());
            }
        });
        *running = Some(Running { stop, acceptor, streams });
    }

    /// Stops listening and ends what is open.
    pub(crate) fn stop(&self) {
        let Some(running) = self.running.lock().unwrap().take() else { return };
        running.stop.store(true, Ordering::SeqCst);
        // A probe that came first has woken the acceptor already, and then nobody listens.
        drop(try_connect(self.address()));
        running.acceptor.join().unwrap();
        for stream in running.streams.lock().unwrap().values() {
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A list for `backends` of servers without further keys.
pub(crate) fn entries(servers: &[Server]) -> String {
    let list: Vec<_> = servers.iter().map(|s| s.entry("")).collect();
    format!("[{}]", list.join(", "))
}

fn serve(stream: TcpStream, handler: Arc<Handler>, counts: Arc<Counts>, kept: Arc<Streams>) {
    let id = counts.accepted.fetch_add(1, Ordering::SeqCst);
    let open = counts.open.fetch_add(1, Ordering::SeqCst) + 1;
    counts.peak.fetch_max(open, Ordering::SeqCst);
    kept.lock().unwrap().insert(id, stream.try_clone().unwrap());
    let work = move || {
        handler(stream);
        counts.open.fetch_sub(1, Ordering::SeqCst);
        // The spare descriptor would keep the connection open after the handler is done.
        kept.lock().unwrap().remove(&id);
    };
    // A thousand connections are held in some tests: small stacks.
    thread::Builder::new().stack_size(192 * 1024).spawn(work).unwrap();
}

fn greeting(name: &str) -> impl Fn(TcpStream) + Send + Sync + use<> + 'static {
    let line = format!("{name}\n");
    move |mut stream| {
        if stream.write_all(line.as_bytes()).is_ok() {
            drop(echo(stream));
        }
    }
}

/// Gives back what comes, and ends when the other side has.
pub(crate) fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        let len = stream.read(&mut buffer)?;
        if len == 0 {
            // Its end is sent when the stream is dropped, and by then it no longer counts as open.
            return Ok(());
        }
        stream.write_all(&buffer[..len])?;
    }
}
