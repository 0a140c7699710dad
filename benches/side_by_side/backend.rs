//! The servers behind the proxies: echo, source, sink and mirror, in one process on one thread.
//!
//! It prints its addresses, one a line, and serves until its standard input ends.

use std::io::Write as _;
use std::net::Ipv4Addr;

use clap::{Args, ValueEnum};
use rustix::fd::OwnedFd;

use crate::wire::{self, CHUNK, Readiness};

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Kind {
    /// Gives back what it gets
    Echo,
    /// Sends so many bytes and closes
    Source,
    /// Takes so many bytes and answers with one
    Sink,
    /// Gives back each datagram
    Mirror,
    /// Answers each HTTP/1.1 request without a body
    Answer,
}

#[derive(Args)]
pub(crate) struct Plan {
    #[arg(long, value_enum)]
    pub(crate) kind: Kind,
    #[arg(long)]
    pub(crate) listeners: usize,
    /// Bytes of each connection, for source and sink
    #[arg(long, default_value_t = 0)]
    pub(crate) share: u64,
}

const HEAD_END: &[u8] = b"\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nserver: bench\r\ncontent-type: text/plain\r\n\
content-length: 64\r\n\r\n0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

const STDIN: usize = usize::MAX;

struct Session {
    socket: OwnedFd,
    left: u64,
    /// Bytes of the end of a head that have come in a row.
    matched: usize,
}

struct Server {
    kind: Kind,
    share: u64,
    ready: Readiness,
    listeners: Vec<OwnedFd>,
    /// Never reused: an event of a session that has ended in this batch finds nobody.
    sessions: Vec<Option<Session>>,
    chunk: Vec<u8>,
}

pub(crate) fn run(plan: &Plan) -> anyhow::Result<()> {
    let mut server = Server::open(plan)?;
    let mut tokens = Vec::new();
    loop {
        server.ready.wait(&mut tokens)?;
        for &token in &tokens {
            if token == STDIN {
                return Ok(());
            } else if token < server.listeners.len() {
                match server.kind {
                    Kind::Mirror => server.mirror(token)?,
                    _ => server.welcome(token)?,
                }
            } else if server.serve(token) != Some(()) {
                server.sessions[token - server.listeners.len()] = None;
            }
        }
    }
}

impl Server {
    fn open(plan: &Plan) -> anyhow::Result<Self> {
        let ready = Readiness::new()?;
        ready.reads(std::io::stdin(), STDIN)?;
        let mut listeners = Vec::new();
        for token in 0..plan.listeners {
            let (listener, address) = match plan.kind {
                Kind::Mirror => wire::datagrams(Ipv4Addr::LOCALHOST)?,
                _ => wire::listen()?,
            };
            ready.reads(&listener, token)?;
            listeners.push(listener);
            println!("{address}");
        }
        std::io::stdout().flush()?;
        Ok(Self {
            kind: plan.kind,
            share: plan.share,
            ready,
            listeners,
            sessions: Vec::new(),
            chunk: vec![0x5a; CHUNK],
        })
    }

    fn mirror(&mut self, listener: usize) -> anyhow::Result<()> {
        // At most so many a turn, so that the other socket is served too.
        for _ in 0..64 {
            if !wire::give_back(&self.listeners[listener], &mut self.chunk[..4096])? {
                break;
            }
        }
        Ok(())
    }

    fn welcome(&mut self, listener: usize) -> anyhow::Result<()> {
        // At most so many a turn, so that standing sessions are served too.
        for _ in 0..16 {
            let Some(socket) = wire::accept(&self.listeners[listener]) else { break };
            let token = self.listeners.len() + self.sessions.len();
            match self.kind {
                Kind::Source => self.ready.writes(&socket, token)?,
                _ => self.ready.reads(&socket, token)?,
            }
            self.sessions.push(Some(Session { socket, left: self.share, matched: 0 }));
        }
        Ok(())
    }

    /// One turn of a session; none when it is over, well or badly.
    fn serve(&mut self, token: usize) -> Option<()> {
        let session = self.sessions[token - self.listeners.len()].as_mut()?;
        let socket = &session.socket;
        match self.kind {
            Kind::Echo => {
                let taken = wire::receive(socket, &mut self.chunk[..4096]).ok()?;
                (taken > 0).then_some(())?;
                wire::send_all(socket, &self.chunk[..taken]).ok()
            }
            Kind::Source => {
                let want = self.chunk.len().min(session.left as usize);
                let sent = wire::send_some(socket, &self.chunk[..want]).ok()?;
                session.left -= sent as u64;
                (session.left > 0).then_some(())
            }
            Kind::Sink => {
                let taken = wire::discard(socket, &mut self.chunk).ok()??;
                session.left = session.left.checked_sub(taken as u64)?;
                if taken > 0 && session.left == 0 {
                    wire::send_all(socket, b"k").ok()?;
                }
                Some(())
            }
            Kind::Answer => {
                let taken = wire::receive(socket, &mut self.chunk[..4096]).ok()?;
                (taken > 0).then_some(())?;
                for byte in &self.chunk[..taken] {
                    let expected = HEAD_END[session.matched];
                    session.matched = match *byte == expected {
                        true => session.matched + 1,
                        false => usize::from(*byte == HEAD_END[0]),
                    };
                    if session.matched == HEAD_END.len() {
                        session.matched = 0;
                        wire::send_all(socket, ANSWER).ok()?;
                    }
                }
                Some(())
            }
            Kind::Mirror => None,
        }
    }
}
