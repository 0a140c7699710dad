//! The storms themselves: calm before what stands still, and not before what is restarted.

use std::slice::from_ref;

use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::pool;
use crate::harness::servers::{Server, entries};
use crate::harness::storm::{
    Diary, Storm, browsers, flows, pages, sessions, streams, telling, visits,
};
use crate::harness::udp;
use crate::harness::wait::{PATIENCE, eventually};

/// Everything that a storm comes to, without a balancer in between or behind one.
struct Coast {
    tcp: Server,
    udp: udp::Server,
    http: Server,
}

impl Coast {
    fn new() -> Self {
        Self { tcp: Server::greet("tcp"), udp: telling("udp"), http: pages("http") }
    }

    fn balancer(&self) -> Evenkeel {
        let listener = |name| {
            format!(
                "[listener.{name}]\nbind = \"127.0.0.1:0\"\nprotocol = \"{name}\"\npool = \"{name}\"\n"
            )
        };
        let tcp = pool("tcp", &entries(from_ref(&self.tcp)), "");
        let udp = pool("udp", &udp::entries(from_ref(&self.udp)), "");
        // The default of a probe there is none.
        let udp = udp + "probe = \"none\"\n";
        let http = pool("http", &entries(from_ref(&self.http)), "");
        let listeners: String = ["tcp", "udp", "http"].map(listener).concat();
        Evenkeel::start(&(listeners + &tcp + &udp + &http))
    }
}

/// All kinds of load through a balancer.
fn all(proxy: &Evenkeel) -> [(&'static str, Storm); 5] {
    [
        ("visits", visits(proxy.address("tcp"), 300)),
        ("sessions", sessions(proxy.address("tcp"), 40, |_| false)),
        ("flows", flows(proxy.address("udp"), 30, |_| false)),
        ("browsers", browsers(proxy.address("http"), 4)),
        ("streams", streams(proxy.address("http"), 2, 2)),
    ]
}

#[test]
fn storms_are_calm_before_a_balancer_that_nobody_touches() {
    let coast = Coast::new();
    let proxy = coast.balancer();
    let diary = Diary::new();
    for (kind, storm) in all(&proxy) {
        let toll = storm.calm(&diary, 200);
        assert_eq!(toll.moved, 0, "{kind}");
    }
    assert_eq!(proxy.metrics().count("rejected_total", &[]), 0);
}

#[test]
fn every_storm_notices_a_balancer_that_is_killed() {
    let coast = Coast::new();
    let proxy = coast.balancer();
    let storms = all(&proxy);
    storms.iter().for_each(|(_, storm)| storm.go_on(20));
    drop(proxy);
    for (kind, storm) in storms {
        eventually(&format!("{kind} have failed"), PATIENCE, || storm.has_failed());
        assert!(storm.finish().failed() > 0, "{kind}");
    }
}

#[test]
fn a_backend_that_may_go_costs_nothing_and_one_that_may_not_is_missed() {
    for may_go in [true, false] {
        let may_lose: fn(&str) -> bool = if may_go { |name| name == "tcp" } else { |_| false };
        let server = Server::greet("tcp");
        let storm = sessions(server.address(), 8, may_lose);
        storm.go_on(16);
        server.stop();
        server.start();
        storm.go_on(16);
        let toll = storm.finish();
        // With nobody there at that moment a session may not be begun anew, and that is a failure.
        assert!(if may_go { toll.moved > 0 } else { toll.failed() > 0 }, "{may_go}");
    }
}
