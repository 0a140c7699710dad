//! The client of the TLS scenarios: TLS 1.3 with one suite and one group, the same for every proxy.
//!
//! Whatever a proxy prefers among suites and groups, all do the same work then. A download is
//! counted as it comes, in records that nobody opens: what that would cost, the proxy cannot have.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, ensure};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustls::client::{
    ClientConnection, ClientSessionStore, Resumption, Tls12ClientSessionValue,
    Tls13ClientSessionValue,
};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, HandshakeKind, NamedGroup, RootCertStore};

use crate::load::{self, Plan};
use crate::scenario::{Handshake, MESSAGE, Work};
use crate::wire::{self, CHUNK, Readiness};

/// The name in the certificate.
pub(crate) const NAME: &str = "bench.example";

pub(crate) fn run(plan: &Plan, handshake: Handshake) -> anyhow::Result<()> {
    let client = Client::new(plan, handshake)?;
    match plan.work {
        Work::Connect => connections(&client),
        Work::Download => download(&client),
        Work::Upload => upload(&client),
        Work::Hold => hold(&client),
        other => anyhow::bail!("no {other:?} over TLS"),
    }
}

struct Client<'a> {
    plan: &'a Plan,
    config: Arc<ClientConfig>,
    tickets: Arc<Tickets>,
    expected: HandshakeKind,
}

impl<'a> Client<'a> {
    fn new(plan: &'a Plan, handshake: Handshake) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        let ca = plan.ca.as_ref().context("no authority was named")?;
        roots.add(CertificateDer::from_pem_file(ca)?)?;
        let provider = CryptoProvider {
            cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384],
            kx_groups: vec![aws_lc_rs::kx_group::X25519],
            ..aws_lc_rs::default_provider()
        };
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let tickets = Arc::new(Tickets::default());
        let expected = match handshake {
            Handshake::Full => {
                config.resumption = Resumption::disabled();
                HandshakeKind::Full
            }
            Handshake::Resumed => {
                config.resumption = Resumption::store(tickets.clone());
                HandshakeKind::Resumed
            }
        };
        Ok(Self { plan, config: Arc::new(config), tickets, expected })
    }

    /// Connected, the ClientHello sent.
    fn open(&self, number: u64) -> anyhow::Result<Link> {
        let socket = TcpStream::from(self.plan.open(number)?);
        let name = ServerName::try_from(NAME)?;
        let tls = ClientConnection::new(self.config.clone(), name)?;
        let mut link = Link { socket, tls, asked: false, received: 0 };
        link.send()?;
        Ok(link)
    }

    /// The same, with the handshake done.
    fn shaken(&self, number: u64) -> anyhow::Result<Link> {
        let mut link = self.open(number)?;
        while link.tls.is_handshaking() {
            link.tls
                .complete_io(&mut link.socket)
                .with_context(|| format!("handshake {number}"))?;
        }
        self.check(&link)?;
        Ok(link)
    }

    /// A connection that was not what is measured ends the run.
    fn check(&self, link: &Link) -> anyhow::Result<()> {
        let kind = link.tls.handshake_kind();
        ensure!(kind == Some(self.expected), "a handshake was {kind:?}, not {:?}", self.expected);
        Ok(())
    }

    /// As many sessions as are resumed at a time, each of which leaves at least a ticket.
    fn collect_tickets(&self) -> anyhow::Result<()> {
        if self.expected != HandshakeKind::Resumed {
            return Ok(());
        }
        for number in 0..self.plan.width {
            let mut link = self.open(number)?;
            while !link.turn()? {}
            link.close();
        }
        self.tickets.given.store(true, Ordering::Relaxed);
        Ok(())
    }
}

/// What resumes the next sessions, each for one.
#[derive(Debug, Default)]
struct Tickets {
    kept: Mutex<VecDeque<Tls13ClientSessionValue>>,
    /// False while they are collected.
    given: AtomicBool,
}

impl ClientSessionStore for Tickets {
    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).push_back(value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        let given = self.given.load(Ordering::Relaxed);
        given.then(|| self.kept.lock().unwrap_or_else(PoisonError::into_inner).pop_front())?
    }

    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}
}

/// A connection, and how much of its answer it has.
struct Link {
    socket: TcpStream,
    tls: ClientConnection,
    asked: bool,
    received: usize,
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Link {
    fn send(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.socket)?;
        }
        Ok(())
    }

    /// Takes what has come, asks as soon as the handshake is done, and says whether the answer is whole.
    fn turn(&mut self) -> anyhow::Result<bool> {
        let mut buffer = [0; MESSAGE];
        self.received += self.take(&mut buffer)?;
        self.ask()?;
        Ok(self.received == MESSAGE)
    }

    fn ask(&mut self) -> io::Result<()> {
        if !self.asked && !self.tls.is_handshaking() {
            self.tls.writer().write_all(&[0x5a; MESSAGE])?;
            self.asked = true;
        }
        self.send()
    }

    /// One read of the socket, and the plaintext that it brought.
    fn take(&mut self, buffer: &mut [u8]) -> anyhow::Result<usize> {
        let taken = self.tls.read_tls(&mut self.socket)?;
        ensure!(taken > 0, "closed after {} bytes of an answer", self.received);
        let state = self.tls.process_new_packets()?;
        if state.plaintext_bytes_to_read() == 0 {
            return Ok(0);
        }
        Ok(self.tls.reader().read(buffer)?)
    }

    /// Says that this was all, and closes.
    fn close(mut self) {
        self.tls.send_close_notify();
        // Whoever is not there any more need not hear it.
        self.send().ok();
    }
}

fn connections(client: &Client<'_>) -> anyhow::Result<()> {
    let plan = client.plan;
    client.collect_tickets()?;
    let mut ready = Readiness::new()?;
    let mut tokens = Vec::new();
    let start = load::gate()?;
    let mut links = Vec::new();
    for number in 0..plan.width {
        let link = client.open(number)?;
        ready.reads(&link, number as usize)?;
        links.push(Some(link));
    }
    let (mut opened, mut finished) = (plan.width, 0);
    while finished < plan.amount {
        ready.wait(&mut tokens)?;
        for &token in &tokens {
            let Some(link) = &mut links[token] else { continue };
            if !link.turn().with_context(|| format!("connection {finished}"))? {
                continue;
            }
            client.check(link)?;
            finished += 1;
            links[token].take().into_iter().for_each(Link::close);
            if opened < plan.amount {
                let link = client.open(opened)?;
                ready.reads(&link, token)?;
                links[token] = Some(link);
                opened += 1;
            }
        }
    }
    load::finish(start.elapsed())
}

/// The records are counted and dropped by the kernel, down to the last byte that the content takes
/// in the largest of records. The end is not waited for: of Envoy it is a close_notify without a
/// FIN, which only who opens records can see.
fn download(client: &Client<'_>) -> anyhow::Result<()> {
    /// What a record adds: its header, its type, its tag.
    const OVERHEAD: u64 = 5 + 1 + 16;
    const LARGEST: u64 = 16 * 1024;
    let mut chunk = vec![0; CHUNK];
    let mut framing = vec![client.plan.share() / LARGEST * OVERHEAD; client.plan.width as usize];
    load::bulk(
        client.plan,
        |number| Ok(OwnedFd::from(client.shaken(number)?.socket)),
        |ready, socket, token| ready.reads(socket, token),
        |_, stream| {
            let framing = &mut framing[stream.token];
            let Some(taken) = wire::discard(&stream.link, &mut chunk)? else {
                anyhow::bail!("cut {} bytes before the end", stream.left + *framing)
            };
            let beyond = (taken as u64).saturating_sub(stream.left);
            stream.left = stream.left.saturating_sub(taken as u64);
            *framing = framing.saturating_sub(beyond);
            Ok(stream.left == 0 && *framing == 0)
        },
    )
}

fn upload(client: &Client<'_>) -> anyhow::Result<()> {
    /// As much as the client's own buffer takes at a time.
    const PIECE: usize = 64 * 1024;
    let piece = [0x5a; PIECE];
    load::bulk(
        client.plan,
        |number| {
            let link = client.shaken(number)?;
            link.socket.set_nonblocking(true)?;
            Ok(link)
        },
        |ready, link, token| ready.writes(link, token),
        |ready, stream| {
            let (link, left) = (&mut stream.link, &mut stream.left);
            if *left == 0 && !link.tls.wants_write() {
                return Ok(link.take(&mut [0; 1])? == 1);
            }
            if !link.tls.wants_write() {
                *left -= link.tls.writer().write(&piece[..PIECE.min(*left as usize)])? as u64;
            }
            match link.send() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                other => other?,
            }
            if *left == 0 && !link.tls.wants_write() {
                ready.turn_to_reads(&*link, stream.token)?;
            }
            Ok(false)
        },
    )
}

/// Only the sockets are held: what the client keeps of a session is not what is measured.
fn hold(client: &Client<'_>) -> anyhow::Result<()> {
    let start = load::gate()?;
    let mut held = Vec::new();
    for number in 0..client.plan.width {
        let mut link = client.shaken(number)?;
        link.ask()?;
        while !link.turn().with_context(|| format!("session {number}"))? {}
        held.push(link.socket);
    }
    load::finish(start.elapsed())
}
