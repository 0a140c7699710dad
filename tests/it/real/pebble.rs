//! Pebble, an authority for tests, with a name server that knows where its clients are.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use tempfile::TempDir;

use super::installed;
use crate::harness::anybody::trusting;
use crate::harness::authority::Authority;
use crate::harness::http;
use crate::harness::process::Owned;
use crate::harness::seat::Seat;
use crate::harness::wait::{PATIENCE, eventually};

/// How the authority is to be.
pub(crate) struct Manner {
    /// Where it looks for proofs in handshakes.
    pub(crate) tls_port: u16,
    /// Where it looks for proofs over http.
    pub(crate) http_port: u16,
    /// How long its certificates last.
    pub(crate) lifetime: Duration,
    /// How many of the names that it has seen it looks at again, in percent.
    pub(crate) looks_again: u8,
}

/// The authority; ends with the test.
pub(crate) struct Pebble {
    program: PathBuf,
    dir: TempDir,
    /// Of its own certificate.
    authority: Authority,
    seat: Seat,
    management: Seat,
    resolver: Resolver,
    server: Option<Owned>,
}

impl Pebble {
    /// An authority that is not there yet; `None` if it is not installed.
    pub(crate) fn find() -> Option<Self> {
        let program = installed("pebble", &[])?;
        let (dir, authority) = (TempDir::new().unwrap(), Authority::new());
        let (seat, management) = (Seat::take(), Seat::take());
        let (resolver, server) = (Resolver::start(), None);
        Some(Self { program, dir, authority, seat, management, resolver, server })
    }

    /// Starts it, with nothing in its memory, and waits until it answers.
    pub(crate) fn start(&mut self, manner: &Manner) {
        let dir = self.dir.path();
        let own = self.authority.sign(&["127.0.0.1"]);
        let (certificate, key) = self.authority.write("pebble", &own);
        let config = serde_json::json!({ "pebble": {
            "listenAddress": self.seat.address().to_string(),
            "managementListenAddress": self.management.address().to_string(),
            "certificate": certificate,
            "privateKey": key,
            "httpPort": manner.http_port,
            "tlsPort": manner.tls_port,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
            "certificateValidityPeriod": manner.lifetime.as_secs(),
        }});
        let file = dir.join("pebble.json");
        fs::write(&file, config.to_string()).unwrap();
        let log = fs::File::create(dir.join("pebble.log")).unwrap();
        let mut command = Command::new(&self.program);
        command.arg("-config").arg(&file).arg("-strict");
        command.arg("-dnsserver").arg(self.resolver.address.to_string());
        command.env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_WFE_NONCEREJECT", "0");
        command.env("PEBBLE_AUTHZREUSE", (100 - manner.looks_again).to_string());
        command.stdin(Stdio::null()).stderr(log.try_clone().unwrap()).stdout(log);
        self.server = Some(Owned(command.spawn().unwrap()));
        let listens = |seat: &Seat| TcpStream::connect(seat.address()).is_ok();
        eventually("pebble listens", PATIENCE, || listens(&self.seat) && listens(&self.management));
    }

    /// Ends it.
    pub(crate) fn kill(&mut self) {
        self.server = None;
    }

    /// Does something while it takes connections and answers none.
    #[track_caller]
    pub(crate) fn frozen<T>(&self, meanwhile: impl FnOnce() -> T) -> T {
        let server = self.server.as_ref().unwrap();
        server.freeze();
        let done = meanwhile();
        server.signal(Signal::CONT);
        done
    }

    /// The keys of an `acme` table that lead here.
    pub(crate) fn keys(&self) -> String {
        let ca = self.authority.ca_file();
        let (at, ca) = (self.seat.address(), ca.display());
        format!("directory = \"https://{at}/dir\"\ndirectory_ca = \"{ca}\"\n")
    }

    /// What it has said so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("pebble.log")).unwrap_or_default()
    }

    /// The root of the certificates that it issues, another one with each start.
    #[track_caller]
    pub(crate) fn root(&self) -> RootCertStore {
        let own = (*self.authority.roots()).clone();
        let stream = TcpStream::connect(self.management.address()).unwrap();
        let mut stream = open(stream, "127.0.0.1", config(own)).unwrap();
        let answer = http::exchange(&mut stream, "GET", "/roots/0", "127.0.0.1");
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(answer.body.as_bytes()).unwrap()).unwrap();
        roots
    }
}

/// A name server by which every name under `.test` is here, and no other name is anywhere.
struct Resolver {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
}

impl Resolver {
    fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let (address, ended) = (socket.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
        let over = Arc::clone(&ended);
        thread::spawn(move || {
            let mut query = [0; 1500];
            while !over.load(Ordering::Relaxed) {
                let Ok((length, from)) = socket.recv_from(&mut query) else { continue };
                if let Some(answer) = answer(&query[..length]) {
                    drop(socket.send_to(&answer, from));
                }
            }
        });
        Self { address, ended }
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
    }
}

/// The answer to a query of one question (RFC 1035, 4).
fn answer(query: &[u8]) -> Option<Vec<u8>> {
    const HEADER: usize = 12;
    let mut end = HEADER;
    let mut last: &[u8] = &[];
    while *query.get(end)? > 0 {
        let length = usize::from(query[end]);
        last = query.get(end + 1..=end + length)?;
        end += 1 + length;
    }
    let question = query.get(HEADER..end + 5)?;
    let is_known = last.eq_ignore_ascii_case(b"test");
    let is_address = is_known && question[question.len() - 4..] == [0, 1, 0, 1];
    let code = if is_known { 0 } else { 3 };
    let mut answer = vec![query[0], query[1], 0x85, 0x80 | code, 0, 1, 0, is_address.into()];
    answer.extend([0; 4]);
    answer.extend(question);
    if is_address {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1]);
    }
    Some(answer)
}

/// What a listener shows to a client that asks for `name` and takes any certificate: the chain, the
/// server's own first. `None` if the handshake fails.
pub(crate) fn shown(at: SocketAddr, name: &str) -> Option<Vec<CertificateDer<'static>>> {
    let stream = shaken(at, name, trusting()).ok()?;
    stream.conn.peer_certificates().map(<[_]>::to_vec)
}

/// A handshake that believes what comes from `roots`, and then one exchange with an echo behind it.
pub(crate) fn echo_over_tls(at: SocketAddr, name: &str, roots: &RootCertStore) -> bool {
    let Ok(mut stream) = shaken(at, name, config(roots.clone())) else { return false };
    let mut heard = [0; 4];
    stream.write_all(b"ping").and_then(|()| stream.read_exact(&mut heard)).is_ok()
        && heard == *b"ping"
}

fn shaken(
    at: SocketAddr,
    name: &str,
    config: ClientConfig,
) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let stream = TcpStream::connect(at)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    open(stream, name, config)
}

fn open(
    stream: TcpStream,
    name: &str,
    config: ClientConfig,
) -> std::io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(connection, stream);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

fn config(roots: RootCertStore) -> ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}
