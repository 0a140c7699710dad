//! Whole relays over real sockets, with real peers on both sides.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::{
    CipherSuiteCommon, ClientConfig, ClientConnection, ServerConfig, ServerConnection,
    SupportedCipherSuite, SupportedProtocolVersion, Tls12CipherSuite,
};

use crate::config::ClientTls;
use crate::net::{Reactor, Socket};
use crate::outcome::Outcome;
use crate::relay::{Lent, Side, run};
use crate::session::{Bell, Direction, Limits, Table, Tally};
use crate::tls::{Session, shake};

type Version = Option<&'static SupportedProtocolVersion>;

const PLAIN: Version = None;
const V12: Version = Some(&rustls::version::TLS12);
const V13: Version = Some(&rustls::version::TLS13);

fn server_config(version: &'static SupportedProtocolVersion) -> Arc<ServerConfig> {
    server_config_of(rustls::crypto::aws_lc_rs::default_provider(), version)
}

fn server_config_of(
    provider: CryptoProvider,
    version: &'static SupportedProtocolVersion,
) -> Arc<ServerConfig> {
    let made = rcgen::generate_simple_self_signed(["db.example".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.unwrap());
    Arc::new(config.unwrap())
}

/// A session of TLS 1.2 with keys that are worn out after a few records.
fn worn() -> Session {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    let short_lived = |suite: &SupportedCipherSuite| {
        let SupportedCipherSuite::Tls12(suite) = suite else { return None };
        let (name, hash_provider) = (suite.common.suite, suite.common.hash_provider);
        let common = CipherSuiteCommon { suite: name, hash_provider, confidentiality_limit: 8 };
        let (prf_provider, kx) = (suite.prf_provider, suite.kx);
        let (sign, aead_alg) = (suite.sign, suite.aead_alg);
        let suite = Tls12CipherSuite { common, prf_provider, kx, sign, aead_alg };
        Some(SupportedCipherSuite::Tls12(Box::leak(Box::new(suite))))
    };
    provider.cipher_suites = provider.cipher_suites.iter().filter_map(short_lived).collect();
    Session::server(server_config_of(provider, &rustls::version::TLS12)).unwrap()
}

fn client_config() -> Arc<ClientConfig> {
    crate::tls::client(&ClientTls { verify: false, ..ClientTls::default() }, &[]).unwrap()
}

/// What a peer at the other end of one of our sockets can do.
struct Peer {
    stream: TcpStream,
    tls: Option<rustls::Connection>,
}

impl Peer {
    fn client(stream: TcpStream, version: Version) -> Self {
        let name = "db.example".try_into().unwrap();
        let tls = version.map(|_| ClientConnection::new(client_config(), name).unwrap().into());
        Self { stream, tls }
    }

    fn server(stream: TcpStream, version: Version) -> Self {
        let tls = version.map(|version| ServerConnection::new(server_config(version)).unwrap());
        Self { stream, tls: tls.map(Into::into) }
    }

    fn flush(&mut self) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        while tls.wants_write() {
            tls.write_tls(&mut self.stream)?;
        }
        Ok(())
    }

    /// Says that nothing more comes, as its protocol does, and keeps listening.
    fn end(&mut self) {
        if let Some(tls) = &mut self.tls {
            tls.send_close_notify();
            self.flush().unwrap();
        }
        // What it has said may have ended the whole connection by now.
        self.stream.shutdown(Shutdown::Write).ok();
    }

    fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    fn shake(&mut self) {
        if let Some(tls) = &mut self.tls {
            while tls.is_handshaking() {
                tls.complete_io(&mut self.stream).unwrap();
            }
            self.flush().unwrap();
        }
    }

    fn read_out(&mut self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        self.read_to_end(&mut all).map(|_| all)
    }
}

impl Read for Peer {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.stream.read(buffer),
            Some(rustls::Connection::Client(tls)) => {
                rustls::Stream::new(tls, &mut self.stream).read(buffer)
            }
            Some(rustls::Connection::Server(tls)) => {
                rustls::Stream::new(tls, &mut self.stream).read(buffer)
            }
        }
    }
}

impl Write for Peer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.tls {
            None => self.stream.write(bytes),
            Some(tls) => {
                let n = tls.writer().write(bytes)?;
                Self::flush(self)?;
                Ok(n)
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Self::flush(self)
    }
}

/// Two connected sockets, one for the relay.
fn connected(buffer: Option<usize>) -> (TcpStream, OwnedFd) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    if let Some(buffer) = buffer {
        let listener = socket2::SockRef::from(&listener);
        listener.set_recv_buffer_size(buffer).unwrap();
        listener.set_send_buffer_size(buffer).unwrap();
    }
    let theirs = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    theirs.set_nodelay(true).unwrap();
    let (ours, _) = listener.accept().unwrap();
    ours.set_nodelay(true).unwrap();
    ours.set_nonblocking(true).unwrap();
    (theirs, ours.into())
}

/// What a relay has come to.
#[derive(Debug, PartialEq)]
struct End {
    outcome: Outcome,
    bytes: (u64, u64),
}

impl End {
    fn ok(bytes_in: usize, bytes_out: usize) -> Self {
        Self { outcome: Outcome::Ok, bytes: (bytes_in as u64, bytes_out as u64) }
    }
}

/// Relays between two peers that do as told, and ends it as idle when `idle` says so.
fn relay(
    (client, server): (Version, Version),
    as_client: impl FnOnce(Peer) + Send + 'static,
    as_server: impl FnOnce(Peer) + Send + 'static,
) -> End {
    relay_with((client, server), None, None, as_client, as_server)
}

fn relay_with(
    (client, server): (Version, Version),
    buffer: Option<usize>,
    idle: Option<Duration>,
    as_client: impl FnOnce(Peer) + Send + 'static,
    as_server: impl FnOnce(Peer) + Send + 'static,
) -> End {
    let ours = client.map(|version| Session::server(server_config(version)).unwrap());
    relay_through(ours, (client, server), (buffer, idle), as_client, as_server)
}

fn relay_through(
    mut ours: Option<Session>,
    (client, server): (Version, Version),
    (buffer, idle): (Option<usize>, Option<Duration>),
    as_client: impl FnOnce(Peer) + Send + 'static,
    as_server: impl FnOnce(Peer) + Send + 'static,
) -> End {
    let ((near, client_fd), (far, server_fd)) = (connected(buffer), connected(buffer));
    let near = thread::spawn(move || {
        let mut peer = Peer::client(near, client);
        peer.shake();
        as_client(peer);
    });
    let far = thread::spawn(move || {
        let mut peer = Peer::server(far, server);
        peer.shake();
        as_server(peer);
    });
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build_local(Default::default()).unwrap();
    let end = runtime.block_on(async {
        let reactor = Reactor::new().unwrap();
        let running = Rc::clone(&reactor);
        tokio::task::spawn_local(async move { running.run().await });
        let client_socket = reactor.watch(client_fd).unwrap();
        let server_socket = reactor.watch(server_fd).unwrap();
        let mut theirs = server
            .map(|_| Session::client(client_config(), "db.example".try_into().unwrap()).unwrap());
        let client_side = side(&client_socket, ours.as_mut()).await;
        let server_side = side(&server_socket, theirs.as_mut()).await;
        let table = Rc::new(Table::starting(Bell::default()));
        let tally = Arc::new(Tally::default());
        let epoch = tally.recall.epoch();
        let live = table.enter(tally, epoch, Limits { idle, lifetime: None });
        if let Some(idle) = idle {
            let table = Rc::clone(&table);
            tokio::task::spawn_local(async move {
                for _ in 0..10_000 {
                    tokio::time::sleep(idle / 10).await;
                    table.clock().catch_up();
                    table.sweep();
                }
            });
        }
        let lent = Lent::new(0);
        let outcome = run(client_side, server_side, &live, &lent).await;
        End { outcome, bytes: (live.bytes(Direction::In), live.bytes(Direction::Out)) }
    });
    drop(runtime);
    near.join().unwrap();
    far.join().unwrap();
    end
}

async fn side<'a>(socket: &'a Socket, mut tls: Option<&'a mut Session>) -> Side<'a> {
    let ahead = match tls.as_deref_mut() {
        Some(tls) => shake(socket, tls).await.unwrap(),
        None => Vec::new(),
    };
    Side { socket, tls, ahead }
}

const WAYS: [(Version, Version); 6] =
    [(V13, PLAIN), (V12, PLAIN), (PLAIN, V13), (PLAIN, V12), (V13, V12), (V12, V13)];

fn pattern(seed: u32, n: usize) -> Vec<u8> {
    (0..n as u32).map(|i| (i.wrapping_mul(2_654_435_761).wrapping_add(seed) >> 13) as u8).collect()
}

#[test]
fn much_arrives_whole_both_ways_at_once() {
    const MUCH: usize = 20_000_000;
    for way in WAYS {
        let talk = |mine: u32, other: u32| {
            move |mut peer: Peer| {
                // One thread: what is read must never depend on all being written.
                let (bytes, expected) = (pattern(mine, MUCH), pattern(other, MUCH));
                let mut got = Vec::with_capacity(MUCH);
                for piece in bytes.chunks(50_000) {
                    peer.write_all(piece).unwrap();
                    let room = got.len();
                    got.resize(room + piece.len(), 0);
                    peer.read_exact(&mut got[room..]).unwrap();
                }
                peer.end();
                assert_eq!(peer.read_out().unwrap(), b"");
                assert!(got == expected);
            }
        };
        assert_eq!(relay(way, talk(1, 2), talk(2, 1)), End::ok(MUCH, MUCH), "{way:?}");
    }
}

#[test]
fn each_way_may_end_long_before_the_other() {
    const MUCH: usize = 3_000_000;
    for way in WAYS {
        let early = |mut peer: Peer| {
            peer.end();
            assert!(peer.read_out().unwrap() == pattern(3, MUCH));
        };
        let late = |mut peer: Peer| {
            assert_eq!(peer.read_out().unwrap(), b"", "the end comes first");
            peer.write_all(&pattern(3, MUCH)).unwrap();
            peer.end();
        };
        assert_eq!(relay(way, early, late), End::ok(0, MUCH), "{way:?}");
        assert_eq!(relay(way, late, early), End::ok(MUCH, 0), "{way:?}");
    }
}

#[test]
fn a_slow_reader_slows_the_writer_and_loses_nothing() {
    const MUCH: usize = 8_000_000;
    for way in WAYS {
        let end = relay_with(
            way,
            Some(8192),
            None,
            |mut peer| {
                peer.write_all(&pattern(4, MUCH)).unwrap();
                peer.end();
                assert_eq!(peer.read_out().unwrap(), b"");
            },
            |mut peer| {
                let mut got = Vec::new();
                let mut piece = vec![0; 3000];
                loop {
                    let n = peer.read(&mut piece).unwrap();
                    if n == 0 {
                        break;
                    }
                    got.extend_from_slice(&piece[..n]);
                    thread::yield_now();
                }
                assert!(got == pattern(4, MUCH));
                peer.end();
            },
        );
        assert_eq!(end, End::ok(MUCH, 0), "{way:?}");
    }
}

#[test]
fn a_reset_stays_a_reset_and_is_no_end() {
    for way in WAYS {
        let resets = |mut peer: Peer| {
            let mut asked = [0; 5];
            peer.read_exact(&mut asked).unwrap();
            peer.reset();
        };
        let suffers = |mut peer: Peer| {
            peer.write_all(b"hello").unwrap();
            peer.read_out().unwrap_err();
        };
        assert_eq!(relay(way, suffers, resets).outcome, Outcome::BackendReset, "{way:?}");
        assert_eq!(relay(way, resets, suffers).outcome, Outcome::ClientReset, "{way:?}");
    }
}

#[test]
fn a_stream_that_was_cut_is_delivered_and_then_reset() {
    const MUCH: usize = 4_000_000;
    let cuts = |mut peer: Peer| {
        peer.write_all(&pattern(5, MUCH)).unwrap();
        peer.stream.shutdown(Shutdown::Write).unwrap();
        peer.read_out().unwrap_err();
    };
    let suffers = |mut peer: Peer| {
        let mut got = vec![0; MUCH];
        peer.read_exact(&mut got).unwrap();
        assert!(got == pattern(5, MUCH));
        let end = peer.read_out().unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::ConnectionReset);
    };
    for (client, server) in WAYS {
        if client.is_some() {
            let end = relay((client, server), cuts, suffers);
            assert_eq!(end, End { outcome: Outcome::ClientReset, bytes: (MUCH as u64, 0) });
        }
        if server.is_some() {
            let end = relay((client, server), suffers, cuts);
            assert_eq!(end, End { outcome: Outcome::BackendReset, bytes: (0, MUCH as u64) });
        }
    }
}

#[test]
fn who_was_told_of_the_end_may_leave_without_a_word() {
    for way in [(V13, PLAIN), (V12, V13)] {
        let leaves = |mut peer: Peer| {
            peer.write_all(b"bye").unwrap();
            assert_eq!(peer.read_out().unwrap(), b"");
        };
        let ends = |mut peer: Peer| {
            let mut asked = [0; 3];
            peer.read_exact(&mut asked).unwrap();
            peer.end();
            let end = peer.read_out().unwrap_err();
            assert_eq!(end.kind(), io::ErrorKind::ConnectionReset, "it may not be the whole");
        };
        assert_eq!(relay(way, leaves, ends), End::ok(3, 0), "{way:?}");
    }
}

#[test]
fn a_broken_record_is_answered_by_an_alert_and_resets_the_other_side() {
    for version in [V12, V13] {
        let breaks = |mut peer: Peer| {
            // Not in one flight with the handshake, which would fail then.
            peer.read_exact(&mut [0]).unwrap();
            peer.write_all(b"good").unwrap();
            peer.stream.write_all(&[23, 3, 3, 0, 40]).unwrap();
            peer.stream.write_all(&[7; 40]).unwrap();
            let said = peer.read_out().unwrap_err().to_string();
            assert!(said.contains("BadRecordMac"), "{said}");
        };
        let suffers = |mut peer: Peer| {
            peer.write_all(b"!").unwrap();
            let mut got = [0; 4];
            peer.read_exact(&mut got).unwrap();
            assert_eq!(&got, b"good");
            let end = peer.read_out().unwrap_err();
            assert_eq!(end.kind(), io::ErrorKind::ConnectionReset);
        };
        let end = relay((version, PLAIN), breaks, suffers);
        assert_eq!(end, End { outcome: Outcome::ClientReset, bytes: (4, 1) });
        let end = relay((PLAIN, version), suffers, breaks);
        assert_eq!(end, End { outcome: Outcome::BackendReset, bytes: (1, 4) });
    }
}

#[test]
fn worn_out_keys_end_a_session_that_cannot_renew_them_and_nobody_is_to_blame() {
    let answers = |mut peer: Peer| {
        let mut byte = [0];
        while peer.read_exact(&mut byte).is_ok() {
            peer.write_all(&byte).ok();
        }
    };
    let asks = |mut peer: Peer| {
        let mut byte = [0];
        while peer.write_all(b"?").is_ok() && peer.read_exact(&mut byte).is_ok() {}
    };
    let end = relay_through(Some(worn()), (V12, PLAIN), (None, None), answers, asks);
    assert_eq!(end.outcome, Outcome::Error);
    assert!(end.bytes.1 > 0, "{end:?}");
}

#[test]
fn idleness_ends_with_an_end() {
    let idle = Some(Duration::from_millis(100));
    for way in WAYS {
        let sees_the_end = |mut peer: Peer| assert_eq!(peer.read_out().unwrap(), b"");
        let end = relay_with(way, None, idle, sees_the_end, sees_the_end);
        assert_eq!(end, End { outcome: Outcome::Idle, bytes: (0, 0) }, "{way:?}");
    }
}

#[test]
fn records_without_payload_are_not_activity() {
    let end = relay_with(
        (V13, PLAIN),
        None,
        Some(Duration::from_millis(200)),
        |mut peer| {
            peer.stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
            let renewed = (0..30).find(|_| match peer.read(&mut [0]) {
                Ok(0) => true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    peer.tls.as_mut().unwrap().refresh_traffic_keys().unwrap();
                    // The end may have come in the meantime.
                    peer.flush().ok();
                    false
                }
                other => panic!("{other:?}"),
            });
            assert!(renewed.is_some(), "it was never idle");
        },
        |mut peer| assert_eq!(peer.read_out().unwrap(), b""),
    );
    assert_eq!(end, End { outcome: Outcome::Idle, bytes: (0, 0) });
}

#[test]
fn keys_may_be_renewed_at_any_time_by_either_side() {
    let talks = |mut peer: Peer| {
        for round in 0..100 {
            if round % 7 == 3 {
                peer.tls.as_mut().unwrap().refresh_traffic_keys().unwrap();
            }
            let said = pattern(round, 1000 + 300 * round as usize);
            peer.write_all(&said).unwrap();
            let mut heard = vec![0; said.len()];
            peer.read_exact(&mut heard).unwrap();
            assert!(heard == said);
        }
        peer.end();
        assert_eq!(peer.read_out().unwrap(), b"");
    };
    let echoes = |mut peer: Peer| {
        let mut piece = vec![0; 5000];
        loop {
            let n = peer.read(&mut piece).unwrap();
            if n == 0 {
                break;
            }
            peer.write_all(&piece[..n]).unwrap();
        }
        peer.end();
    };
    let all: usize = (0..100).map(|round| 1000 + 300 * round).sum();
    assert_eq!(relay((V13, PLAIN), talks, echoes), End::ok(all, all));
    assert_eq!(relay((PLAIN, V13), echoes, talks), End::ok(all, all));
    assert_eq!(relay((V13, V13), talks, echoes), End::ok(all, all));
}
