//! One fault with one file: what was printed before, and what was measured then.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::clients::{Clients, Manners};
use super::configs::File;
use super::{Fault, MACHINE};
use crate::harness::client::reset;
use crate::harness::evenkeel::{Evenkeel, evenkeel};
use crate::harness::files::entry;
use crate::harness::peers::Peer;
use crate::harness::process::must;
use crate::harness::servers::{Server, echo, entries};
use crate::harness::wait::{PATIENCE, eventually, until};
use crate::real::installed;

/// What was printed, and what came of it.
pub(super) struct Measured {
    file: &'static str,
    fault: Fault,
    /// The shortest wait of those that met the fault, if it costs a time that is known.
    at_least: Duration,
    wait: Duration,
    waited: Duration,
    /// The longest wait of those who come through the same process to a backend that has no fault:
    /// what the machine adds.
    control: Duration,
    /// For how long the victim may be picked, or what the text says of that.
    picked: Result<Duration, String>,
    /// When it was out, if it was waited for.
    out: Option<Out>,
    /// When it was picked last, where clients can tell.
    last_picked: Option<Duration>,
    /// Of the balancer.
    pub(super) log: String,
}

/// The line of the log that says that the victim takes nobody.
struct Out {
    after: Duration,
    to: String,
    reason: String,
}

/// The backends of a run.
struct Backends {
    peers: Vec<Peer>,
    /// In the place of the first of them, where no process is needed.
    resetting: Option<(Server, Arc<AtomicBool>)>,
    is_filtered: bool,
}

impl Backends {
    fn start(fault: Fault) -> Self {
        let names = if fault == Fault::Resets { &["A", "B"][..] } else { &["victim", "A", "B"] };
        let peers = names.iter().map(|name| Peer::start(name)).collect();
        let resetting = (fault == Fault::Resets).then(|| {
            let flag = Arc::new(AtomicBool::new(false));
            let is_bad = flag.clone();
            let server = Server::new("victim", move |mut stream| {
                if is_bad.load(Ordering::SeqCst) {
                    reset(stream);
                } else if std::io::Write::write_all(&mut stream, b"victim\n").is_ok() {
                    drop(echo(stream));
                }
            });
            (server, flag)
        });
        Self { peers, resetting, is_filtered: false }
    }

    fn list(&self) -> Vec<(&str, SocketAddr)> {
        let special = self.resetting.iter().map(|(server, _)| (&*server.name, server.address()));
        special.chain(self.peers.iter().map(|peer| (&*peer.name, peer.address()))).collect()
    }

    /// The file with their addresses in it, and a second way through the same process.
    fn written(&self, file: &File, control: &Server) -> String {
        let mut toml = format!(
            "[process]\nthreads = 2\n[listener.l]\nbind = \"127.0.0.1:0\"\npool = \"p\"\n\
             [listener.control]\nbind = \"127.0.0.1:0\"\npool = \"control\"\n{}\
             [pool.control]\nbackends = {}\nconnect_timeout = \"20s\"\n\
             health = {{ probe = \"none\" }}\n",
            file.pools,
            entries(std::slice::from_ref(control))
        );
        for (name, address) in self.list() {
            let keys =
                if name == "A" && file.pools.contains("[pool.q]") { "backup = true" } else { "" };
            let sign = if name == "victim" { "VICTIM" } else { name };
            for (from, to) in [(format!("[{sign}"), "["), (format!(", {sign}"), ", ")] {
                toml = toml.replace(&from, &format!("{to}{}", entry(address, name, keys)));
            }
        }
        toml
    }

    fn inject(&mut self, fault: Fault) {
        match fault {
            Fault::Killed => self.peers[0].kill(),
            Fault::Hangs => self.peers[0].freeze(),
            Fault::Resets => self.resetting.as_ref().unwrap().1.store(true, Ordering::SeqCst),
            Fault::Refused | Fault::Gone | Fault::AllGone => self.filter(fault),
        }
    }

    /// What has begun goes on: only who comes new meets the rule.
    fn filter(&mut self, fault: Fault) {
        let count = if fault == Fault::AllGone { self.peers.len() } else { 1 };
        let ports: Vec<_> =
            self.peers[..count].iter().map(|peer| peer.address().port().to_string()).collect();
        let rules = format!(
            "add table inet f; add chain inet f in {{ type filter hook input priority 0; }}; \
             add rule inet f in tcp dport {{ {} }} tcp flags & (syn | ack) == syn {}",
            ports.join(", "),
            fault.verdict().unwrap()
        );
        must(Command::new(installed("nft", &[]).unwrap()).arg(rules));
        self.is_filtered = true;
    }
}

impl Drop for Backends {
    fn drop(&mut self) {
        if self.is_filtered {
            // The next run begins without rules.
            must(Command::new(installed("nft", &[]).unwrap()).arg("delete table inet f"));
        }
    }
}

impl Measured {
    /// Starts everything, injects the fault under load and waits until it is over.
    #[track_caller]
    pub(super) fn take(file: &File, fault: Fault) -> Self {
        let (mut backends, control) = (Backends::start(fault), Server::greet("control"));
        let proxy = Evenkeel::start(&backends.written(file, &control));
        for (name, _) in backends.list() {
            let pool = if name == "B" && file.pools.contains("[pool.q]") { "q" } else { "p" };
            let is_up = || proxy.backend_of(pool, name)["health"] == "up";
            eventually("all backends are up", PATIENCE, is_up);
        }
        let facts = explained(&proxy);
        let wait = bound(&facts, fault.wait()).expect("a wait that has a bound");
        let picked = bound(&facts, fault.picked())
            .ok_or_else(|| facts_by(&facts, fault.picked())["note"].as_str().unwrap().to_owned());
        let seen = fault != Fault::Hangs || picked.is_ok();

        let patience = if fault == Fault::Hangs { wait + Duration::from_secs(1) } else { PATIENCE };
        let manners = Manners { lanes: file.lanes, patience, stay: file.stay };
        let clients = Clients::start(proxy.at(), manners);
        let steady = Manners { lanes: 1, patience: PATIENCE, stay: Duration::ZERO };
        let controls = Clients::start(proxy.address("control"), steady);
        clients.run_for(4);
        controls.run_for(4);
        let began = Instant::now();
        backends.inject(fault);
        let out = (seen && fault != Fault::AllGone).then(|| {
            let (after, line) = until("the victim is out", PATIENCE * 2, || {
                Some((began.elapsed(), out_of(&proxy)?))
            });
            let text = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            Out { after, to: text("to"), reason: text("reason") }
        });
        clients.run_for(if fault == Fault::AllGone { 2 } else { 3 });
        let (visits, controls) = (clients.finish(), controls.finish());
        // Who gave up on a backend that hangs tells nothing of when it was connected; the log does.
        let mut waits: Vec<_> = visits
            .iter()
            .filter(|v| v.is_over || fault != Fault::Hangs)
            .map(|v| v.waited)
            .collect();
        let connects = || proxy.access().into_iter().filter(|line| line["listener"] == "l");
        waits.extend(connects().filter_map(|line| milliseconds(&line["connect_ms"])));
        let hung = visits.iter().filter(|visit| !visit.is_over);
        let is_dropped = matches!(fault, Fault::Gone | Fault::AllGone);
        Self {
            file: file.name,
            fault,
            at_least: if is_dropped { file.connect } else { Duration::ZERO },
            wait,
            waited: waits.into_iter().max().unwrap(),
            control: controls.iter().map(|visit| visit.waited).max().unwrap(),
            picked,
            out,
            last_picked: hung.map(|visit| visit.began.saturating_duration_since(began)).max(),
            log: proxy.log(),
        }
    }

    /// Whether what was printed held.
    pub(super) fn verdict(&self) -> Result<(), String> {
        let spare = MACHINE + self.control;
        if self.waited > self.wait + spare {
            return Err(format!("a client waited {:?}, {:?} was printed", self.waited, self.wait));
        }
        if self.waited < self.at_least {
            return Err(format!("no client met the fault: {:?} at most", self.waited));
        }
        let last = [self.last_picked, self.out.as_ref().map(|out| out.after)].into_iter().flatten();
        match (&self.picked, last.max()) {
            (Ok(bound), Some(last)) if last > *bound + spare => {
                return Err(format!("picked for {last:?}, {bound:?} was printed"));
            }
            (Err(note), _) if !note.contains("NOT seen") => {
                return Err(format!("no bound, and the text says {note:?}"));
            }
            _ => {}
        }
        self.piece()
    }

    /// The log says which piece took the victim out.
    fn piece(&self) -> Result<(), String> {
        let Some(Out { to, reason, .. }) = &self.out else { return Ok(()) };
        let has = |words: &[&str]| words.iter().any(|word| reason.contains(word));
        let is_told = match (self.fault, &**to) {
            (Fault::Hangs, "down") => has(&["timed out"]),
            // A worker that was not let run in between sees the connect and its reset at once.
            (Fault::Resets, "ejected") => {
                has(&["reset before its first byte", "reset at the connect"])
            }
            (Fault::Resets, "down") => has(&["reset"]),
            (Fault::Hangs | Fault::Resets, _) => false,
            (Fault::Gone, "down" | "ejected") => has(&["timed out", "no answer"]),
            (_, "down" | "ejected") => has(&["refused", "reset"]),
            _ => false,
        };
        let sees = !(self.picked.is_err() && to == "down");
        if is_told && sees { Ok(()) } else { Err(format!("the log says {to}: {reason}")) }
    }

    /// As in the documents, and what the machine added.
    pub(super) fn row(&self) -> String {
        let printed = match (&self.picked, self.fault) {
            (_, Fault::AllGone) => "–".to_owned(),
            (Ok(bound), _) => format!("{} ms", bound.as_millis()),
            (Err(_), _) => "no bound".to_owned(),
        };
        let out = self.out.as_ref().map(|out| format!("{} ms, {}", out.after.as_millis(), out.to));
        format!(
            "| {} | {} | {} ms | {} ms | {printed} | {} | control {} ms",
            self.file,
            self.fault.text(),
            self.wait.as_millis(),
            self.waited.as_millis(),
            out.as_deref().unwrap_or("–"),
            self.control.as_millis()
        )
    }
}

/// The line of the log that takes the victim out.
fn out_of(proxy: &Evenkeel) -> Option<Value> {
    let is_it = |event: &Value| {
        event["backend"] == "victim" && (event["to"] == "down" || event["to"] == "ejected")
    };
    proxy.events().into_iter().find(is_it)
}

/// All that is certain on the way from listener `l` to pool `p`.
#[track_caller]
fn explained(proxy: &Evenkeel) -> Vec<Value> {
    let path = proxy.file();
    let args = ["check", "-c", path.to_str().unwrap(), "--explain", "--json"];
    let report: Value = serde_json::from_str(&evenkeel(&args).expect_code(0).stdout).unwrap();
    let ways = report["explain"]["ways"].as_array().unwrap();
    let way = ways.iter().find(|way| way["listener"] == "l" && way["pool"] == "p").unwrap();
    let parts = way["parts"].as_array().unwrap();
    parts.iter().flat_map(|part| part["facts"].as_array().unwrap()).cloned().collect()
}

#[track_caller]
fn facts_by<'a>(facts: &'a [Value], id: &str) -> &'a Value {
    facts.iter().find(|fact| fact["id"] == id).unwrap_or_else(|| panic!("no {id}: {facts:?}"))
}

fn bound(facts: &[Value], id: &str) -> Option<Duration> {
    facts_by(facts, id)["ms"].as_u64().map(Duration::from_millis)
}

fn milliseconds(value: &Value) -> Option<Duration> {
    value.as_f64().map(|ms| Duration::from_secs_f64(ms / 1000.0))
}
