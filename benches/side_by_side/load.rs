//! The client: one thread, a fixed amount of work.
//!
//! It says `ready`, waits for a line, works, says `done NANOSECONDS`, and holds its connections
//! until its standard input ends. Anything but the whole of the right answer ends it with an error;
//! datagrams alone may get lost, and `done NANOSECONDS RESENT` says how many did.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;
use rustix::fd::{AsFd, OwnedFd};

use crate::scenario::{Handshake, MESSAGE, Work};
use crate::wire::{self, CHUNK, Readiness};
use crate::{datagrams, requests, secure};

#[derive(Args)]
pub(crate) struct Plan {
    #[arg(long, value_enum)]
    pub(crate) work: Work,
    /// Addresses taken in turn: the proxy's, or the backends' where there is none
    #[arg(long, value_delimiter = ',')]
    pub(crate) targets: Vec<SocketAddr>,
    /// Connections or flows at a time
    #[arg(long)]
    pub(crate) width: u64,
    /// Datagrams in flight on each flow
    #[arg(long, default_value_t = 1)]
    pub(crate) depth: u64,
    /// Bytes of a datagram
    #[arg(long, default_value_t = MESSAGE)]
    pub(crate) message: usize,
    /// Connections, round trips or bytes in all
    #[arg(long)]
    pub(crate) amount: u64,
    /// Speak TLS
    #[arg(long, value_enum, requires = "ca")]
    pub(crate) tls: Option<Handshake>,
    /// The authority of the proxy's certificate, PEM
    #[arg(long)]
    pub(crate) ca: Option<PathBuf>,
}

pub(crate) fn run(plan: &Plan) -> anyhow::Result<()> {
    if let Some(handshake) = plan.tls {
        return secure::run(plan, handshake);
    }
    match plan.work {
        Work::Connect => short_connections(plan),
        Work::Exchange => round_trips(plan),
        Work::Download => download(plan),
        Work::Upload => upload(plan),
        Work::Hold => hold(plan),
        Work::Datagrams | Work::Flows => datagrams::run(plan),
        Work::Requests | Work::Streams => requests::run(plan),
    }
}

impl Plan {
    pub(crate) fn target(&self, number: u64) -> SocketAddr {
        self.targets[number as usize % self.targets.len()]
    }

    pub(crate) fn open(&self, number: u64) -> anyhow::Result<OwnedFd> {
        let target = self.target(number);
        wire::connect(target).with_context(|| format!("connection {number} to {target}"))
    }

    fn open_all<L>(
        &self,
        mut open: impl FnMut(u64) -> anyhow::Result<L>,
    ) -> anyhow::Result<Vec<L>> {
        (0..self.width).map(&mut open).collect()
    }

    /// Bytes of each connection.
    pub(crate) fn share(&self) -> u64 {
        self.amount / self.width
    }
}

/// Tells the harness that all is set up, and waits until it counts.
pub(crate) fn gate() -> anyhow::Result<Instant> {
    say("ready")?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    ensure!(!line.is_empty(), "called off");
    Ok(Instant::now())
}

/// Reports, and keeps what is open until the figures have been read.
pub(crate) fn finish(took: Duration) -> anyhow::Result<()> {
    report(&took.as_nanos().to_string())
}

/// The same, with how many datagrams were sent again.
pub(crate) fn finish_lossy(took: Duration, resent: u64) -> anyhow::Result<()> {
    report(&format!("{} {resent}", took.as_nanos()))
}

fn report(figures: &str) -> anyhow::Result<()> {
    say(&format!("done {figures}"))?;
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}

fn say(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// One connection and how much of the current answer it has.
struct Slot {
    socket: OwnedFd,
    received: usize,
}

impl Slot {
    fn ask(socket: OwnedFd) -> rustix::io::Result<Self> {
        wire::send_all(&socket, &[0x5a; MESSAGE])?;
        Ok(Self { socket, received: 0 })
    }

    /// Whether the answer is now complete.
    fn hear(&mut self) -> anyhow::Result<bool> {
        let mut buffer = [0; MESSAGE];
        let taken = wire::receive(&self.socket, &mut buffer[self.received..])?;
        ensure!(taken > 0, "closed after {} bytes of an answer", self.received);
        self.received += taken;
        Ok(self.received == MESSAGE)
    }
}

fn short_connections(plan: &Plan) -> anyhow::Result<()> {
    let mut ready = Readiness::new()?;
    let mut tokens = Vec::new();
    let start = gate()?;
    let mut slots = Vec::new();
    for number in 0..plan.width {
        slots.push(Slot::ask(plan.open(number)?)?);
        ready.reads(&slots[number as usize].socket, number as usize)?;
    }
    let (mut opened, mut finished) = (plan.width, 0);
    while finished < plan.amount {
        ready.wait(&mut tokens)?;
        for &token in &tokens {
            if !slots[token].hear().with_context(|| format!("connection {finished}"))? {
                continue;
            }
            finished += 1;
            if opened < plan.amount {
                // The old socket goes as the new one takes its place: the client closes first.
                slots[token] = Slot::ask(plan.open(opened)?)?;
                ready.reads(&slots[token].socket, token)?;
                opened += 1;
            }
        }
    }
    finish(start.elapsed())
}

fn round_trips(plan: &Plan) -> anyhow::Result<()> {
    let mut ready = Readiness::new()?;
    let mut tokens = Vec::new();
    let mut slots = Vec::new();
    for (token, socket) in plan.open_all(|number| plan.open(number))?.into_iter().enumerate() {
        // One exchange each before anything counts: the proxy's side stands too, then.
        let mut slot = Slot::ask(socket)?;
        while !slot.hear()? {}
        ready.reads(&slot.socket, token)?;
        slots.push(slot);
    }
    let start = gate()?;
    for slot in &mut slots {
        slot.received = 0;
        wire::send_all(&slot.socket, &[0x5a; MESSAGE])?;
    }
    let (mut asked, mut answered) = (plan.width, 0);
    while answered < plan.amount {
        ready.wait(&mut tokens)?;
        for &token in &tokens {
            if !slots[token].hear().with_context(|| format!("round trip {answered}"))? {
                continue;
            }
            answered += 1;
            if asked < plan.amount {
                slots[token].received = 0;
                wire::send_all(&slots[token].socket, &[0x5a; MESSAGE])?;
                asked += 1;
            }
        }
    }
    finish(start.elapsed())
}

/// One of a few connections that carry much.
pub(crate) struct Stream<L> {
    pub(crate) link: L,
    pub(crate) token: usize,
    /// Bytes that are still to go.
    pub(crate) left: u64,
}

/// Opens the streams and calls `step` with each that is ready, until it says that it is through.
pub(crate) fn bulk<L: AsFd>(
    plan: &Plan,
    open: impl FnMut(u64) -> anyhow::Result<L>,
    watch: impl Fn(&Readiness, &L, usize) -> rustix::io::Result<()>,
    mut step: impl FnMut(&Readiness, &mut Stream<L>) -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let mut ready = Readiness::new()?;
    let mut tokens = Vec::new();
    let start = gate()?;
    let mut streams = Vec::new();
    for (token, link) in plan.open_all(open)?.into_iter().enumerate() {
        watch(&ready, &link, token)?;
        streams.push(Some(Stream { link, token, left: plan.share() }));
    }
    let mut running = plan.width;
    while running > 0 {
        ready.wait(&mut tokens)?;
        for &token in &tokens {
            let Some(stream) = &mut streams[token] else { continue };
            if step(&ready, stream)? {
                streams[token] = None;
                running -= 1;
            }
        }
    }
    finish(start.elapsed())
}

fn download(plan: &Plan) -> anyhow::Result<()> {
    let mut chunk = vec![0; CHUNK];
    bulk(
        plan,
        |number| plan.open(number),
        |ready, socket, token| ready.reads(socket, token),
        |_, stream| {
            let taken = wire::discard(&stream.link, &mut chunk)?;
            let Some(taken) = taken else {
                anyhow::bail!("cut {} bytes before the end", stream.left)
            };
            stream.left = stream.left.checked_sub(taken as u64).context("more than was sent")?;
            Ok(stream.left == 0)
        },
    )
}

fn upload(plan: &Plan) -> anyhow::Result<()> {
    let mut chunk = vec![0x5a; CHUNK];
    bulk(
        plan,
        |number| plan.open(number),
        |ready, socket, token| ready.writes(socket, token),
        |ready, stream| {
            let Stream { link: socket, token, left } = stream;
            if *left == 0 {
                ensure!(wire::receive(&*socket, &mut chunk)? == 1, "no receipt for an upload");
                return Ok(true);
            }
            let want = CHUNK.min(*left as usize);
            *left -= wire::send_some(&*socket, &chunk[..want])? as u64;
            if *left == 0 {
                ready.turn_to_reads(&*socket, *token)?;
            }
            Ok(false)
        },
    )
}

fn hold(plan: &Plan) -> anyhow::Result<()> {
    let start = gate()?;
    let mut held = Vec::new();
    for number in 0..plan.width {
        let mut slot = Slot::ask(plan.open(number)?)?;
        while !slot.hear().with_context(|| format!("session {number}"))? {}
        held.push(slot);
    }
    finish(start.elapsed())
}
