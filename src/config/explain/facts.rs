//! What the sums are about, in words: how a backend fails, who sees it, and who waits meanwhile.

use std::time::Duration;

use super::arithmetic::{self, Chain};
use super::sum::Sum;
use super::{Bound, Fact, Part, connects};
use crate::config::units::write_duration;
use crate::config::{
    AcceptProxy, Closing, Health, Listener, ListenerTls, Pool, Probe, Process, Protocol,
};

pub(super) fn fact(
    id: &'static str,
    label: impl Into<String>,
    bound: impl Into<Bound>,
    note: impl Into<String>,
) -> Fact {
    Fact { id, label: label.into(), bound: bound.into(), note: note.into() }
}

impl From<Sum> for Bound {
    fn from(sum: Sum) -> Self {
        Self::Within(sum)
    }
}

pub(super) fn stop(process: &Process) -> Fact {
    let note = "sessions that are left then are reset; a second signal ends them at once";
    fact("stop", "a stop, at most", arithmetic::stop(process), note)
}

/// What a probe can tell of a program that runs and does not work.
enum Sight {
    /// The kernel's answer is enough for it.
    Kernel,
    /// Only an answer of the program is.
    Program,
    /// Whatever its command looks at.
    Command,
    Blind,
}

fn sight(health: &Health) -> Sight {
    match &health.probe {
        Probe::None => Sight::Blind,
        Probe::Tcp => Sight::Kernel,
        Probe::SendExpect { expect, over: Protocol::Tcp, .. } if expect.is_empty() => Sight::Kernel,
        Probe::Exec(_) => Sight::Command,
        Probe::Tls(_)
        | Probe::Http(_)
        | Probe::SendExpect { .. }
        | Probe::Dns(_)
        | Probe::Grpc { .. } => Sight::Program,
    }
}

fn word(probe: &Probe) -> &'static str {
    match probe {
        Probe::None => "none",
        Probe::Tcp => "tcp",
        Probe::Tls(_) => "tls",
        Probe::Http(http) if http.tls.is_some() => "https",
        Probe::Http(_) => "http",
        Probe::SendExpect { .. } => "send-expect",
        Probe::Dns(_) => "dns",
        Probe::Grpc { .. } => "grpc",
        Probe::Exec(_) => "exec",
    }
}

/// How long a backend that fails is still picked.
pub(super) fn picked(pool: &Pool, protocol: Protocol) -> Part {
    let found = || arithmetic::detection(pool);
    let probe = word(&pool.health.probe);
    let (dead, hung, resetting) = match sight(&pool.health) {
        Sight::Blind => {
            let unseen = "NOT seen: probe = \"none\"";
            (String::from(unseen), (None, unseen.to_owned()), (None, unseen.to_owned()))
        }
        Sight::Kernel => {
            let hung = format!(
                "NOT seen by probe {probe}: the kernel goes on accepting for a program that hangs \
                 (SIGSTOP); use a probe that expects an answer, as tls, http, grpc, send-expect, dns or exec"
            );
            let resetting = format!("NOT seen by probe {probe}: it has connected by then");
            (String::new(), (None, hung), (None, resetting))
        }
        Sight::Program => (String::new(), (found(), String::new()), (found(), String::new())),
        Sight::Command => {
            let seen = "if its command asks for an answer";
            (String::new(), (found(), seen.to_owned()), (found(), seen.to_owned()))
        }
    };
    let mut facts = vec![
        fact("dead", "killed, or host gone", found(), dead),
        fact("hung", "program hangs", hung.0, hung.1),
    ];
    if connects(protocol) {
        facts.push(fact("resetting", "resets its sessions", resetting.0, resetting.1));
    }
    facts.push(ejection(pool));
    let failover = arithmetic::failover(pool, connects(protocol));
    let asserted = pool.max_failover.map(|time| format!("max_failover {}", write_duration(time)));
    facts.push(fact("failover", "all clients are off it", failover, asserted.unwrap_or_default()));
    facts.extend(
        arithmetic::role_lost(pool)
            .map(|sum| fact("role_lost", "lost its role", sum, "a single result is enough")),
    );
    Part {
        title: "a backend that fails is picked for at most",
        facts,
        remarks: caveats(&pool.health, protocol),
    }
}

fn ejection(pool: &Pool) -> Fact {
    let label = "seen by clients";
    let failures = pool.passive.failures;
    let (most, all) = (arithmetic::most_ejected(pool), pool.members.len());
    if failures == 0 {
        return fact("ejection", label, Bound::None, "passive.failures 0: nobody is ejected");
    }
    let window = write_duration(pool.passive.window);
    let share = pool.passive.max_ejected;
    if pool.discover.is_some() {
        let note = format!(
            "after failure {failures} within {window}, however soon traffic brings it; at most \
             {share}% of those that are found at a time (max_ejected)"
        );
        return fact("ejection", label, arithmetic::ejection(), note);
    }
    if all == 1 {
        return fact("ejection", label, Bound::None, "a pool of one: nobody is ejected");
    }
    if most == 0 {
        let note = format!("nobody is ejected: max_ejected {share}% of {all} is none");
        return fact("ejection", label, Bound::None, note);
    }
    let note = format!(
        "after failure {failures} within {window}, however soon traffic brings it; at most {most} \
         of {all} backends at a time (max_ejected {share}%)"
    );
    fact("ejection", label, arithmetic::ejection(), note)
}

/// What a probe that goes its own way says nothing about.
fn caveats(health: &Health, protocol: Protocol) -> Vec<String> {
    let mut remarks = Vec::new();
    if matches!(health.probe, Probe::None) {
        if !connects(protocol) {
            let icmp = "Without a probe only ICMP port unreachable shows that a backend is dead.";
            remarks.push(icmp.to_owned());
        }
        return remarks;
    }
    match (&health.address, health.port) {
        (Some(address), _) => remarks.push(format!(
            "The probe asks {address}: what happens to the backend itself is seen as far as that \
             knows of it."
        )),
        (None, Some(port)) => remarks.push(format!(
            "The probe asks port {port}: a failure of the program behind another port is seen as \
             far as that knows of it."
        )),
        (None, None) => {}
    }
    if health.timeout > health.interval {
        let slow = "The timeout is longer than the interval: a probe never overlaps the one \
                    before, so that slow ones set the pace.";
        remarks.push(slow.to_owned());
    }
    remarks
}

/// How long clients wait.
pub(super) fn waiting(chain: &Chain<'_>, listener: &Listener, step: Duration) -> Part {
    let title = "a client waits until it is connected or refused, at most";
    if !connects(listener.protocol) {
        let facts = vec![fact("wait_worst", "whatever fails", Sum::default(), NO_WAIT)];
        return Part { title, facts, remarks: Vec::new() };
    }
    let silence = match listener.idle_timeout {
        Some(time) => format!("idle_timeout {} after its last byte", write_duration(time)),
        None => "nothing, since idle_timeout is 0s".to_owned(),
    };
    let hung = if chain.first.tls.is_some() {
        let note =
            "its kernel accepts, its TLS handshake is not answered: as if the host were gone";
        fact("wait_hung", "program hangs", chain.after_unanswered(), note)
    } else {
        let note = format!("connected, and not answered; what ends it is {silence}");
        fact("wait_hung", "program hangs", chain.full(), note)
    };
    let reset = "connected, then reset, which counts as a failure; if the reset comes with the \
                 connect, as for a killed process";
    let mut facts = vec![
        fact("wait_killed", "process killed", chain.after_refused(), after_refused(chain)),
        fact("wait_host_gone", "host gone", chain.after_unanswered(), after_unanswered(chain)),
        hung,
        fact("wait_reset", "resets its sessions", chain.after_refused(), reset),
        fact("wait_full", "all are at their caps", chain.full(), full(chain)),
        fact("wait_worst", "the worst of all", chain.worst(), worst(chain)),
    ];
    let mut remarks = vec![late(step, chain.late(step))];
    if let Some(what) = read_first(listener) {
        let own = "before all that, of its own making; who is not done by then is refused";
        let bound = arithmetic::handshake(listener);
        facts.insert(0, fact("wait_handshake", "sends too little", bound, own));
        let before = write_duration(listener.handshake_timeout);
        remarks.push(format!("Before that a client has handshake_timeout {before} for {what}."));
    }
    Part { title, facts, remarks }
}

pub(super) fn late(step: Duration, more: Duration) -> String {
    format!(
        "The workers' clock steps by {}: the worst may be up to {} more.",
        write_duration(step),
        write_duration(more)
    )
}

/// What a client must send before a backend is picked for it.
fn read_first(listener: &Listener) -> Option<&'static str> {
    let is_ended = listener.tls.as_ref().is_some_and(ListenerTls::terminates);
    match (listener.accept_proxy_protocol != AcceptProxy::Off, listener.needs_hello()) {
        (true, _) if is_ended => Some("its header and its TLS handshake"),
        (false, _) if is_ended => Some("its TLS handshake"),
        (true, true) => Some("its header and its ClientHello"),
        (false, true) => Some("its ClientHello"),
        (true, false) => Some("its header"),
        (false, false) => None,
    }
}

pub(super) fn after_refused(chain: &Chain<'_>) -> &'static str {
    if chain.first.retry.attempts == 1 {
        "its kernel refuses at once, and attempts 1 refuses the client"
    } else if chain.is_alone() {
        "its kernel refuses at once; nobody else is tried while it counts as up"
    } else {
        "its kernel refuses at once, and another is tried"
    }
}

fn after_unanswered(chain: &Chain<'_>) -> &'static str {
    if !chain.goes_on() {
        "then refused, without another attempt"
    } else if chain.is_alone() {
        "then refused: nobody else is tried while it counts as up"
    } else {
        "then another is tried"
    }
}

const NO_WAIT: &str = "a datagram is sent at once or dropped; a flow whose backend is down moves \
                       with its next datagram, those before are lost";

pub(super) fn full(chain: &Chain<'_>) -> &'static str {
    if chain.has_queue() {
        "then refused; at once if queue.size wait already"
    } else {
        "no queue: refused at once"
    }
}

pub(super) fn worst(chain: &Chain<'_>) -> String {
    let retry = &chain.first.retry;
    let mut note = format!(
        "every host that is tried is gone; attempts {}, window {}",
        retry.attempts,
        write_duration(retry.window)
    );
    if !chain.fallbacks.is_empty() {
        note.push_str(", in the fallback too");
    }
    note
}

/// How long a backend that works again is left out.
pub(super) fn recovering(pool: &Pool) -> Part {
    let can_be_ejected = arithmetic::most_ejected(pool) > 0;
    let mut facts = Vec::new();
    if let Some(sum) = arithmetic::recovery(pool) {
        let note = if can_be_ejected { "which ends an ejection too" } else { "" };
        facts.push(fact("recovered", "was down", sum, note));
    }
    if can_be_ejected {
        let (first, longest) = arithmetic::ejected(pool);
        let note = "doubled each time";
        facts.push(fact("ejected_first", "was ejected", first, note));
        facts.push(fact("ejected_longest", "ejected time and again", longest, ""));
    }
    if !pool.slow_start.is_zero() {
        let note = "more until it has all of its weight";
        let slow = arithmetic::slow_start(pool);
        facts.push(fact("slow_start", "slow start", slow, note));
    }
    let never = "Without a probe and without ejection a backend never leaves.";
    let remarks = if facts.is_empty() { vec![never.to_owned()] } else { Vec::new() };
    Part { title: "a backend that works again stays out for at most", facts, remarks }
}

/// How long sessions stay on a backend that should have none.
pub(super) fn leaving(pool: &Pool, listener: &Listener) -> Part {
    let close = pool.close;
    let mut facts = vec![
        leaves("drain", "drain", "close.drain", close.drain, listener),
        leaves("maintenance", "maintenance", "close.maintenance", close.maintenance, listener),
    ];
    if arithmetic::detection(pool).is_some() {
        facts.push(leaves("down", "found down", "close.down", close.down, listener));
    }
    if arithmetic::role_lost(pool).is_some() {
        facts.push(leaves("role", "lost its role", "close.role", close.role, listener));
    }
    let title = "a backend that leaves keeps its sessions for at most";
    let mut remarks = Vec::new();
    if let Some(http) = pool.cookie.as_ref() {
        remarks.push(format!(
            "Clients that have its cookie, {}, go on coming to a backend that drains.",
            http.name
        ));
    }
    Part { title, facts, remarks }
}

fn leaves(
    id: &'static str,
    label: &'static str,
    key: &'static str,
    closing: Closing,
    listener: &Listener,
) -> Fact {
    if !connects(listener.protocol) && matches!(id, "down" | "maintenance") {
        return fact(id, label, Sum::default(), "a flow moves with its next datagram");
    }
    let bound = arithmetic::leaving(key, closing, listener);
    let note = match closing {
        Closing::Now => format!("{key} now"),
        Closing::Over(_) => "paced once a second".to_owned(),
        Closing::Keep => {
            let idle = listener.idle_timeout.map(write_duration);
            let silent = match idle {
                Some(idle) => format!("a silent one by idle_timeout {idle}"),
                None => "idle_timeout 0s ends no silent one".to_owned(),
            };
            let tunnel = match listener.http.as_ref().map(|http| http.tunnel_timeout) {
                Some(Some(time)) => {
                    format!(", an upgraded one by tunnel_timeout {}", write_duration(time))
                }
                Some(None) => ", an upgraded one by nothing, since tunnel_timeout is 0s".to_owned(),
                None => String::new(),
            };
            format!("{key} keep: until a side ends it; {silent}{tunnel}")
        }
    };
    fact(id, label, bound, note)
}
