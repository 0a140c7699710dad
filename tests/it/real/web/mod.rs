//! Real clients and servers of HTTP, on either side of the balancer.

mod curl;
mod example;
mod grpc;
mod load;
mod nginx;
mod slow;
mod uvicorn;
mod websocket;

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::harness::authority::Authority;
use crate::harness::evenkeel::Evenkeel;
use crate::harness::process::{Finished, Owned, finish};
use crate::harness::seat::Seat;
use crate::harness::wait::{PATIENCE, eventually};

/// A balancer with two http listeners on one pool: `l` in cleartext, and `s` over TLS as 127.0.0.1.
struct Front {
    authority: Authority,
    proxy: Evenkeel,
}

impl Front {
    /// On one backend that nobody probes, with more keys of both listeners and of the pool.
    #[track_caller]
    fn start(backend: SocketAddr, listener: &str, pool: &str) -> Self {
        Self::with_probe(backend, listener, pool, "probe = \"none\"")
    }

    /// The same with the keys of a probe.
    #[track_caller]
    fn with_probe(backend: SocketAddr, listener: &str, pool: &str, probe: &str) -> Self {
        let authority = Authority::new();
        let (cert, key) = authority.write("front", &authority.sign(&["127.0.0.1"]));
        let (cert, key) = (cert.display(), key.display());
        let keys =
            format!("bind = \"127.0.0.1:0\"\nprotocol = \"http\"\npool = \"p\"\n{listener}\n");
        let proxy = Evenkeel::start(&format!(
            "[listener.l]\n{keys}[listener.s]\n{keys}\
             [listener.s.tls]\ncertificates = [{{ cert = \"{cert}\", key = \"{key}\" }}]\n\
             [pool.p]\nbackends = [{{ address = \"{backend}\", name = \"b\" }}]\n{pool}\n\
             [pool.p.health]\n{probe}\n"
        ));
        Self { authority, proxy }
    }

    /// The beginnings of its two addresses.
    fn urls(&self) -> [String; 2] {
        let (clear, secure) = (self.proxy.at(), self.proxy.address("s"));
        [format!("http://{clear}"), format!("https://{secure}")]
    }

    /// The ways in which curl can ask: each with its words and the beginning of the address.
    fn ways(&self) -> [(&'static str, String); 4] {
        let [clear, secure] = self.urls();
        [
            ("--http1.1", clear.clone()),
            ("--http2-prior-knowledge", clear),
            ("--http1.1", secure.clone()),
            ("--http2", secure),
        ]
    }

    fn curl(&self) -> Command {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "20"]);
        command.arg("--cacert").arg(self.authority.ca_file());
        command
    }

    /// Has curl ask, and gives what it wrote, which must be a success.
    #[track_caller]
    fn ask(&self, args: &[&str]) -> Finished {
        finish(self.curl().args(args), 2 * PATIENCE).expect_code(0)
    }
}

/// A Python with the packages that `install-peers.sh` puts into `target/peers/web`.
///
/// They are not from the distribution, so that no test may depend on their being there.
fn python() -> Option<PathBuf> {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/target/peers/web/bin/python");
    let python = PathBuf::from(std::env::var("WEB_PYTHON").unwrap_or_else(|_| own.into()));
    let mut ask = Command::new(&python);
    ask.args(["-c", "import fastapi, uvicorn, websockets, grpc, grpc_health.v1.health"]);
    let works = python.exists() && finish(&mut ask, PATIENCE).code == Some(0);
    if !works {
        eprintln!("skipped: no uvicorn or grpcio in {}", python.display());
    }
    works.then_some(python)
}

/// A program of this folder.
fn script(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/it/real/web", name].iter().collect()
}

/// A server of this folder, in a process of its own.
struct Served {
    seat: Seat,
    _server: Owned,
}

impl Served {
    /// Starts it on a free port with more arguments; `None` if its packages are not there.
    #[track_caller]
    fn start(name: &str, args: &[&str]) -> Option<Self> {
        let (python, seat) = (python()?, Seat::take());
        let mut command = Command::new(python);
        command.arg(script(name)).arg(seat.port().to_string()).args(args);
        let server = Owned(command.stdin(Stdio::null()).spawn().unwrap());
        eventually("it listens", 2 * PATIENCE, || TcpStream::connect(seat.address()).is_ok());
        Some(Self { seat, _server: server })
    }

    fn address(&self) -> SocketAddr {
        self.seat.address()
    }
}
