//! One measurement: backends, proxy and load up, the figures around the work, everything down.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::ValueEnum;
use rustix::process::Pid;

use crate::backend::Kind;
use crate::callgrind;
use crate::children::{Child, PATIENCE, PROMPT, wait_until};
use crate::identity::Identity;
use crate::peers::{Installed, Peer, Setting};
use crate::perf::{self, Counting, Counts};
use crate::scenario::{Scale, Scenario, Work};
use crate::usage;

/// Servers behind each proxy.
const BACKENDS: usize = 2;

#[derive(Clone)]
pub(crate) struct Bench {
    pub(crate) scale: Scale,
    /// Why there are no counters, if there are none.
    pub(crate) counters: Result<(), String>,
    own: PathBuf,
    identity: Rc<Identity>,
}

/// The figures of one proxy in one scenario in one round.
#[derive(Clone)]
pub(crate) struct Sample {
    pub(crate) units: f64,
    pub(crate) took: Duration,
    pub(crate) cpu_seconds: Option<f64>,
    pub(crate) counts: Option<Counts>,
    /// Resident bytes before and after, where sessions were held.
    pub(crate) resident: Option<(u64, u64)>,
    /// Datagrams sent again because no answer came in time.
    pub(crate) resent: Option<u64>,
}

impl Bench {
    pub(crate) fn new(scale: Scale) -> anyhow::Result<Self> {
        let (own, identity) = (std::env::current_exe()?, Rc::new(Identity::make()?));
        Ok(Self { scale, counters: perf::probe(), own, identity })
    }

    /// Fresh processes on fresh ports: no run meets what another left in TIME_WAIT, or in memory.
    pub(crate) fn measure(&self, scenario: Scenario, peer: &Installed) -> anyhow::Result<Sample> {
        let dir = tempfile::tempdir()?;
        let (_backend, addresses) = self.backends(scenario)?;
        let proxy = match peer.peer {
            Peer::None => None,
            _ => Some(self.proxy(scenario, peer, dir.path(), &addresses)?),
        };
        let (family, targets) = match &proxy {
            Some((child, address)) => (usage::family(child.pid()), vec![*address]),
            None => (Vec::new(), addresses),
        };
        let mut load = self.load(scenario, &targets)?;
        self.figures(scenario, &mut load, &family, dir.path()).map_err(|error| match proxy {
            Some(_) => error.context(last_words(dir.path())),
            None => error,
        })
    }

    /// User instructions of a unit, of a small part of the work under callgrind.
    pub(crate) fn count(&self, scenario: Scenario, peer: &Installed) -> anyhow::Result<f64> {
        let bench = Self { scale: self.scale.counted(), ..self.clone() };
        bench.counted(scenario, peer).with_context(|| format!("counting {}", peer.peer.key()))
    }

    fn counted(&self, scenario: Scenario, peer: &Installed) -> anyhow::Result<f64> {
        let dir = tempfile::tempdir()?;
        let (_backend, addresses) = self.backends(scenario)?;
        let (child, address) = self.proxy(scenario, peer, dir.path(), &addresses)?;
        let mut load = self.load(scenario, &[address])?;
        let family = usage::family(child.pid());
        callgrind::count(&family, true)?;
        load.tell("go")?;
        let done = load.line()?;
        callgrind::count(&family, false)?;
        anyhow::ensure!(done.starts_with("done "), "the load said {done}");
        Ok(callgrind::total(&family, dir.path())? / scenario.units(self.scale))
    }

    fn figures(
        &self,
        scenario: Scenario,
        load: &mut Child,
        family: &[Pid],
        dir: &Path,
    ) -> anyhow::Result<Sample> {
        let counting = match (&self.counters, scenario.work(), family) {
            (Err(_), ..) | (_, Work::Hold, _) | (.., []) => None,
            _ => Some(Counting::start(family, dir)?),
        };
        let memory_before = usage::resident(family);
        let cpu_before = usage::cpu_seconds(family);
        load.tell("go")?;
        let done = load.line()?;
        let cpu_after = usage::cpu_seconds(family);
        let memory_after = usage::resident(family);
        let counts = counting.map(Counting::finish).transpose()?;

        let mut said = done.strip_prefix("done ").unwrap_or_default().split(' ');
        let mut figure = || said.next()?.parse::<u64>().ok();
        let (nanoseconds, resent) = (figure(), figure());
        let (proxied, holds) = (!family.is_empty(), scenario.work() == Work::Hold);
        Ok(Sample {
            units: scenario.units(self.scale),
            took: Duration::from_nanos(nanoseconds.context("the load did not say how long")?),
            cpu_seconds: cpu_after.zip(cpu_before).map(|(a, b)| a - b).filter(|_| proxied),
            counts,
            resident: memory_before.zip(memory_after).filter(|_| holds && proxied),
            resent,
        })
    }

    fn backends(&self, scenario: Scenario) -> anyhow::Result<(Child, Vec<SocketAddr>)> {
        let kind = match scenario.work() {
            Work::Connect | Work::Exchange | Work::Hold => Kind::Echo,
            Work::Download => Kind::Source,
            Work::Upload => Kind::Sink,
            Work::Datagrams | Work::Flows => Kind::Mirror,
            Work::Requests | Work::Streams => Kind::Answer,
        };
        let share = scenario.amount(self.scale) / scenario.width(self.scale);
        let mut command = Command::new(&self.own);
        command.args(["backend", "--kind", &value_name(kind)]).args([
            "--listeners",
            &BACKENDS.to_string(),
            "--share",
            &share.to_string(),
        ]);
        let mut child = Child::talking(&mut command, "the backend")?;
        let addresses = (0..BACKENDS).map(|_| Ok(child.line()?.parse()?));
        let addresses = addresses.collect::<anyhow::Result<_>>()?;
        Ok((child, addresses))
    }

    fn proxy(
        &self,
        scenario: Scenario,
        peer: &Installed,
        dir: &Path,
        backends: &[SocketAddr],
    ) -> anyhow::Result<(Child, SocketAddr)> {
        let listen = free_address(scenario.is_udp())?;
        let knock = Knock::new(scenario.is_udp(), listen)?;
        let (scale, identity) = (self.scale, self.identity.folder());
        let setting = Setting { scenario, scale, dir, identity, listen, backends };
        let log = std::fs::File::create(dir.join("log"))?;
        let mut command = peer.command(&setting)?;
        let mut limit = PROMPT;
        if scale.is_counted() {
            (command, limit) = (callgrind::wrap(&command, dir), PATIENCE);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut child = Child::spawn(&mut command, peer.peer.key())?;
        let ready = wait_until(limit, || {
            if let Some(status) = child.exited() {
                return Some(Err(status));
            }
            let whole = usage::family(child.pid()).len() >= peer.peer.processes(scale);
            (whole && knock.is_answered()).then_some(Ok(()))
        });
        match ready {
            Some(Ok(())) => Ok((child, listen)),
            Some(Err(status)) => bail!("ended at its start, {status}{}", last_words(dir)),
            None => bail!("did not open its port in time{}", last_words(dir)),
        }
    }

    fn load(&self, scenario: Scenario, targets: &[SocketAddr]) -> anyhow::Result<Child> {
        let targets: Vec<_> = targets.iter().map(SocketAddr::to_string).collect();
        let mut command = Command::new(&self.own);
        command
            .args(["load", "--work", &value_name(scenario.work())])
            .args(["--targets", &targets.join(",")])
            .args(["--width", &scenario.width(self.scale).to_string()])
            .args(["--depth", &scenario.depth().to_string()])
            .args(["--message", &scenario.message().to_string()])
            .args(["--amount", &scenario.amount(self.scale).to_string()]);
        if let Some(handshake) = scenario.tls() {
            command.args(["--tls", &value_name(handshake)]);
            command.arg("--ca").arg(self.identity.folder().join("ca.pem"));
        }
        let mut child = Child::talking(&mut command, "the load")?;
        let said = child.line()?;
        anyhow::ensure!(said == "ready", "the load said {said}");
        Ok(child)
    }
}

/// A port that nobody holds just now.
fn free_address(udp: bool) -> std::io::Result<SocketAddr> {
    let any = (Ipv4Addr::LOCALHOST, 0);
    if udp { UdpSocket::bind(any)?.local_addr() } else { TcpListener::bind(any)?.local_addr() }
}

/// How a proxy is asked whether it serves: TCP accepts, UDP has to bring a datagram back.
enum Knock {
    Tcp(SocketAddr),
    Udp(UdpSocket),
}

impl Knock {
    fn new(udp: bool, at: SocketAddr) -> std::io::Result<Self> {
        if !udp {
            return Ok(Self::Tcp(at));
        }
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true)?;
        socket.connect(at)?;
        Ok(Self::Udp(socket))
    }

    /// Asks again; the answer to an earlier datagram does as well.
    fn is_answered(&self) -> bool {
        match self {
            Self::Tcp(at) => TcpStream::connect(at).is_ok(),
            Self::Udp(socket) => {
                // Refused until the port is open: the next one will tell.
                socket.send(b"?").ok();
                socket.recv(&mut [0; 8]).is_ok()
            }
        }
    }
}

fn value_name(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|name| name.get_name().to_owned()).unwrap_or_default()
}

/// The end of the proxy's own log, for an error message.
fn last_words(dir: &Path) -> String {
    let text = std::fs::read_to_string(dir.join("log")).unwrap_or_default();
    let lines: Vec<_> = text.lines().rev().take(3).collect();
    lines.iter().rev().map(|line| format!("; {line}")).collect()
}

impl Sample {
    pub(crate) fn rate(&self) -> f64 {
        self.units / self.took.as_secs_f64()
    }

    /// Resident bytes that each unit added.
    pub(crate) fn bytes_per_unit(&self) -> Option<f64> {
        let (before, after) = self.resident?;
        Some((after as f64 - before as f64) / self.units)
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>10.1}/s", self.rate())?;
        if let Some(cpu) = self.cpu_seconds {
            write!(f, "  {:>10.2} us CPU", cpu * 1e6 / self.units)?;
        }
        if let Some(counts) = self.counts {
            write!(f, "  {:>12.0} instructions", counts.instructions() / self.units)?;
        }
        if let Some(bytes) = self.bytes_per_unit() {
            write!(f, "  {bytes:>8.0} bytes resident")?;
        }
        if let Some(resent) = self.resent.filter(|&resent| resent > 0) {
            write!(f, "  {resent} datagrams sent again")?;
        }
        Ok(())
    }
}
