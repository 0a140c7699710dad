//! The client of the UDP scenarios: requests that may get lost on their way, or their answers.
//!
//! Each carries a serial number, which its answer brings back. Without an answer in time it is sent
//! again under the same number, so that the work is done in the end, and what comes twice counts once.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustix::fd::OwnedFd;

use crate::load::{self, Plan};
use crate::scenario::Work;
use crate::wire::{self, Readiness};

/// Without an answer for so long, a request is sent again.
const RESEND: Duration = Duration::from_millis(200);

/// How often the overdue are looked for.
const LOOK: Duration = Duration::from_millis(50);

/// So many sendings without an answer, and the run has failed: nobody is there any more.
const TRIES: u32 = 50;

/// Serial number and place, at the head of a datagram.
const HEAD: usize = 16;

/// Loopback addresses that new flows come from in turn. A source port alone would come back within a
/// run, and might meet what a proxy still remembers of it.
const SOURCES: u64 = 250;

pub(crate) fn run(plan: &Plan) -> anyhow::Result<()> {
    let mut client = Client::open(plan)?;
    // As many exchanges as go at a time, before anything counts: the proxy's side stands, then.
    client.exchange(plan.width * plan.depth)?;
    client.resent = 0;
    let start = load::gate()?;
    client.exchange(plan.amount)?;
    load::finish_lossy(start.elapsed(), client.resent)
}

struct Client<'a> {
    plan: &'a Plan,
    ready: Readiness,
    flows: Vec<Flow>,
    /// The datagram that is sent or has come.
    buffer: Vec<u8>,
    /// Flows opened so far.
    opened: u64,
    /// Serial number of the last request.
    serial: u64,
    resent: u64,
}

struct Flow {
    socket: OwnedFd,
    places: Vec<Place>,
}

/// One of the requests that a flow has in flight.
struct Place {
    /// None while there is nothing to wait for.
    serial: Option<u64>,
    sent: Instant,
    tries: u32,
}

impl<'a> Client<'a> {
    fn open(plan: &'a Plan) -> anyhow::Result<Self> {
        ensure!(plan.message >= HEAD, "a datagram has at least {HEAD} bytes");
        let mut client = Self {
            plan,
            ready: Readiness::new()?,
            flows: Vec::new(),
            // A byte more than an answer has: one that is too long shows.
            buffer: vec![0x5a; plan.message + 1],
            opened: 0,
            serial: 0,
            resent: 0,
        };
        for number in 0..plan.width as usize {
            let socket = client.new_flow(number)?;
            let now = Instant::now();
            let place = || Place { serial: None, sent: now, tries: 0 };
            let places = (0..plan.depth).map(|_| place()).collect();
            client.flows.push(Flow { socket, places });
        }
        Ok(client)
    }

    fn new_flow(&mut self, number: usize) -> anyhow::Result<OwnedFd> {
        let from = Ipv4Addr::new(127, 0, 1, (1 + self.opened % SOURCES) as u8);
        let target = self.plan.target(self.opened);
        self.opened += 1;
        let socket = wire::flow(from, target).with_context(|| format!("a flow to {target}"))?;
        self.ready.reads(&socket, number)?;
        Ok(socket)
    }

    /// Asks so often, and waits for all the answers.
    fn exchange(&mut self, amount: u64) -> anyhow::Result<()> {
        let (mut asked, mut answered) = (0, 0);
        let mut free: Vec<_> = (0..self.plan.depth as usize)
            .flat_map(|place| (0..self.flows.len()).map(move |flow| (flow, place)))
            .collect();
        let mut tokens = Vec::new();
        let mut looked = Instant::now();
        loop {
            let now = Instant::now();
            for (flow, place) in free.drain(..).take((amount - asked) as usize) {
                self.ask(flow, place, now)?;
                asked += 1;
            }
            if answered == amount {
                return Ok(());
            }
            if now - looked >= LOOK {
                self.send_overdue(now)?;
                looked = now;
            }
            self.ready.wait_at_most(LOOK, &mut tokens)?;
            for &flow in &tokens {
                self.hear(flow, &mut free)?;
            }
            answered += free.len() as u64;
        }
    }

    fn ask(&mut self, flow: usize, place: usize, now: Instant) -> anyhow::Result<()> {
        if self.plan.work == Work::Flows {
            // The old socket goes as the new one takes its place.
            self.flows[flow].socket = self.new_flow(flow)?;
        }
        self.serial += 1;
        self.flows[flow].places[place] = Place { serial: Some(self.serial), sent: now, tries: 0 };
        self.send(flow, place, now)
    }

    fn send(&mut self, flow: usize, place: usize, now: Instant) -> anyhow::Result<()> {
        let Flow { socket, places } = &mut self.flows[flow];
        let Place { serial: Some(serial), sent, tries } = &mut places[place] else { return Ok(()) };
        if *tries == TRIES {
            bail!("no answer to request {serial}, sent {TRIES} times");
        }
        (*sent, *tries) = (now, *tries + 1);
        self.buffer[..8].copy_from_slice(&serial.to_le_bytes());
        self.buffer[8..HEAD].copy_from_slice(&(place as u64).to_le_bytes());
        Ok(wire::send_datagram(&*socket, &self.buffer[..self.plan.message])?)
    }

    fn send_overdue(&mut self, now: Instant) -> anyhow::Result<()> {
        for flow in 0..self.flows.len() {
            for place in 0..self.plan.depth as usize {
                let Place { serial, sent, .. } = &self.flows[flow].places[place];
                if serial.is_some() && now - *sent >= RESEND {
                    self.send(flow, place, now)?;
                    self.resent += 1;
                }
            }
        }
        Ok(())
    }

    /// Takes the answers that have come, and says which places they left free.
    fn hear(&mut self, flow: usize, free: &mut Vec<(usize, usize)>) -> anyhow::Result<()> {
        let Flow { socket, places } = &mut self.flows[flow];
        for _ in 0..places.len() {
            let Some(length) = wire::receive_datagram(&*socket, &mut self.buffer)? else { break };
            ensure!(length == self.plan.message, "an answer of {length} bytes");
            let (serial, place) = head(&self.buffer);
            let waiting = places.get_mut(place).context("an answer to nothing that was asked")?;
            // Not so for the second answer to what was sent twice.
            if waiting.serial == Some(serial) {
                waiting.serial = None;
                free.push((flow, place));
            }
        }
        Ok(())
    }
}

fn head(datagram: &[u8]) -> (u64, usize) {
    let number = |at: usize| {
        let bytes = datagram[at..at + 8].try_into().unwrap_or_default();
        u64::from_le_bytes(bytes)
    };
    (number(0), number(8) as usize)
}
