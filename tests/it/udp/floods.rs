//! More than there is room for: ever new sources, thousands of flows, a full receive buffer.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::slice::from_ref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};

use super::{before, datagrams};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::udp::{Client, Server};
use crate::harness::wait::{PATIENCE, eventually};

/// Sockets that each have an address of their own in 127.16.0.0/12, so that none is ever used twice.
///
/// Their port is below those that the kernel gives out: an upstream socket takes a number that no
/// other socket has on any address, and thousands of those are needed as well.
struct Sources {
    next: u32,
    port: u16,
}

impl Sources {
    fn new() -> Self {
        // Differs between test processes that run at once.
        let spread = u16::try_from(std::process::id() % 16_000).unwrap();
        Self { next: u32::from(Ipv4Addr::new(127, 16, 0, 1)), port: 12_000 + spread }
    }

    /// The next one; it is gone when it is dropped.
    fn open(&mut self) -> UdpSocket {
        let ip = Ipv4Addr::from(self.next);
        self.next += 1;
        for port in self.port..self.port + 100 {
            if let Ok(socket) = UdpSocket::bind((ip, port)) {
                return socket;
            }
        }
        panic!("no port of a hundred on {ip}");
    }

    /// A datagram each from so many new sources, one after the other.
    fn send(&mut self, count: usize, to: SocketAddr) {
        for _ in 0..count {
            self.open().send_to(b"flood", to).unwrap();
        }
    }
}

fn lost_in_the_kernel(proxy: &Evenkeel) -> u64 {
    let labels = [("listener", "l"), ("reason", "kernel")];
    proxy.metrics().count("udp_dropped_total", &labels)
}

fn taken_in(proxy: &Evenkeel) -> u64 {
    let labels = [("listener", "l"), ("direction", "in")];
    proxy.metrics().count("udp_datagrams_total", &labels)
}

#[test]
fn a_flood_of_new_sources_is_refused_while_an_established_flow_goes_on() {
    const FLOOD: u64 = 200_000;
    const CAP: u64 = 1000;
    let server = Server::echo("s");
    let proxy = before(&server, &format!("max_sessions = {CAP}"));
    let client = Client::to(proxy.at());
    assert_eq!(client.ask("before"), "before");
    let (at, memory) = (proxy.at(), proxy.resident_kib());
    let over = AtomicBool::new(false);
    let echoes = thread::scope(|scope| {
        scope.spawn(|| {
            Sources::new().send(usize::try_from(FLOOD).unwrap(), at);
            over.store(true, Ordering::SeqCst);
        });
        let mut echoes = 0;
        while !over.load(Ordering::SeqCst) {
            // A datagram may be lost in a full buffer like any other: the client asks again.
            let word = format!("during {echoes}");
            client.insist(&word, |answer| answer == word);
            echoes += 1;
        }
        echoes
    });
    assert!(echoes >= 3, "{echoes} echoes during the flood");
    client.insist("after", |answer| answer == "after");
    eventually("each datagram is refused, taken or lost", PATIENCE, || {
        proxy.rejected("max-sessions") + lost_in_the_kernel(&proxy) + CAP >= FLOOD
    });
    assert!(proxy.rejected("max-sessions") > 0);
    assert!(proxy.flows() <= CAP);
    let grown = proxy.resident_kib().saturating_sub(memory);
    assert!(grown < 64 * 1024, "{grown} KiB more than before the flood");
}

#[test]
fn fifteen_thousand_flows_come_and_go_under_an_ordinary_limit_of_descriptors() {
    const FLOWS: usize = 15_000;
    const DESCRIPTORS: &str = "20000";
    if getrlimit(Resource::Nofile).maximum.is_some_and(|most| most < 20_000) {
        eprintln!("skipped: fewer than {DESCRIPTORS} descriptors are allowed here");
        return;
    }
    let server = Server::mute("s");
    let toml = datagrams(from_ref(&server), "idle_timeout = \"12s\"", "");
    let limit = format!("--nofile={DESCRIPTORS}:{DESCRIPTORS}");
    let proxy = Evenkeel::start_under(&["prlimit", &limit], &toml);
    assert_eq!(proxy.flows(), 0);
    let (descriptors, memory) = (proxy.descriptors(), proxy.resident_kib());
    let mut sources = Sources::new();
    // No more at once than any receive buffer holds, so that each arrives.
    for _ in 0..FLOWS / 100 {
        let before = server.datagrams();
        sources.send(100, proxy.at());
        eventually("a hundred have passed", PATIENCE, || server.datagrams() == before + 100);
    }
    eventually("all flows are there at once", PATIENCE, || proxy.flows() == FLOWS as u64);
    assert_eq!((server.peers().len(), proxy.rejected("max-sessions")), (FLOWS, 0));
    eventually("all of them are idle and end", Duration::from_secs(60), || proxy.flows() == 0);
    proxy.wait_outcome("idle", FLOWS as u64);
    eventually("the descriptors are back", PATIENCE, || proxy.descriptors() <= descriptors);
    let grown = proxy.resident_kib().saturating_sub(memory);
    assert!(grown < 48 * 1024, "{grown} KiB more than before");
}

#[test]
fn what_the_kernel_drops_before_a_frozen_balancer_is_counted() {
    const SENT: u64 = 40_000;
    let server = Server::mute("s");
    let proxy = before(&server, "");
    let client = Client::to(proxy.at());
    let mut sent = SENT;
    proxy.frozen(|| (0..SENT).for_each(|_| client.send([7; 1400])));
    eventually("each datagram is taken or lost", PATIENCE, || {
        // How many were lost before it may be known only with a datagram that is not.
        client.send("more");
        sent += 1;
        let reached = || taken_in(&proxy) + lost_in_the_kernel(&proxy) == sent;
        (0..20).any(|_| reached())
    });
    let lost = lost_in_the_kernel(&proxy);
    assert!(lost > 0 && lost < SENT, "{lost} of {SENT}");
}
