//! Ten upgrades in a row under load: no failed connection, no broken session, no lost datagram, no
//! request without its answer, and no counter that falls.

use crate::harness::evenkeel::{Evenkeel, by_name};
use crate::harness::files::{file, pool};
use crate::harness::reloads::Way;
use crate::harness::servers::{Server, entries};
use crate::harness::storm::{Diary, browsers, flows, pages, sessions, streams, telling, visits};
use crate::harness::udp;
use crate::harness::wait::{PATIENCE, eventually};

const UPGRADES: usize = 10;

/// Upgrades again, and says so.
fn upgrade(proxy: &Evenkeel, diary: &Diary, step: usize) {
    let way = Way::turn(step);
    diary.note(format!("upgrade {step} ({way:?})"));
    proxy.upgrade_by(way);
    diary.note(format!("the end of upgrade {step}"));
}

/// What the listener has counted, which must not fall.
struct Tally(Vec<u64>);

impl Tally {
    fn take(proxy: &Evenkeel) -> Self {
        let status = proxy.status();
        let listener = by_name(&status["listeners"], "l");
        let keys = ["sessions_total", "bytes_in", "bytes_out"];
        let mut all: Vec<_> = keys.iter().map(|key| listener[key].as_u64().unwrap()).collect();
        let metrics = proxy.metrics();
        all.extend(["sessions_total", "bytes_total"].map(|name| metrics.count(name, &[])));
        Self(all)
    }

    /// Takes the next one.
    #[track_caller]
    fn goes_on(&mut self, proxy: &Evenkeel) {
        let now = Self::take(proxy);
        let has_fallen = self.0.iter().zip(&now.0).any(|(before, now)| now < before);
        assert!(!has_fallen, "{:?} became {:?}", self.0, now.0);
        *self = now;
    }
}

#[test]
fn ten_upgrades_fail_no_connection_break_no_session_and_lose_no_count() {
    /// That come after each upgrade, so that each process has some.
    const EACH: u32 = 20;
    let servers = ["a", "b"].map(Server::greet);
    let proxy = Evenkeel::start(&file(&entries(&servers), "", ""));
    let (at, diary) = (proxy.at(), Diary::new());
    let visitors = visits(at, 300);
    let mut long = vec![sessions(at, EACH, |_| false)];
    let mut tally = Tally::take(&proxy);
    for step in 1..=UPGRADES {
        upgrade(&proxy, &diary, step);
        tally.goes_on(&proxy);
        visitors.go_on(20);
        long.push(sessions(at, EACH, |_| false));
        tally.goes_on(&proxy);
    }
    let status = proxy.status();
    assert!(status["draining_processes"].as_array().unwrap().len() >= UPGRADES / 2, "{status:#}");
    let visitors = visitors.calm(&diary, 1000);
    for storm in long {
        storm.calm(&diary, 3 * EACH as usize);
    }
    proxy.wait_alone();
    assert_eq!(proxy.status()["draining_processes"], serde_json::json!([]));
    tally.goes_on(&proxy);
    let total = visitors.done + (UPGRADES + 1) * EACH as usize;
    eventually("all are counted", PATIENCE, || proxy.outcomes("ok") as usize == total);
    let metrics = proxy.metrics();
    assert_eq!(metrics.count("sessions_total", &[]) as usize, total);
    assert_eq!(metrics.count("sessions_active", &[]), 0);
    assert_eq!(metrics.count("rejected_total", &[]), 0);
    assert_eq!(metrics.count("connect_failures_total", &[]), 0);
    assert_eq!(proxy.wait_access(total).len(), total);
}

#[test]
fn ten_upgrades_lose_no_datagram_and_move_no_flow() {
    const FLOWS: u32 = 60;
    let servers = ["a", "b"].map(telling);
    let listener = "[listener.l]\nbind = \"127.0.0.1:0\"\nprotocol = \"udp\"\npool = \"p\"\n";
    let list = udp::entries(&servers);
    let proxy = Evenkeel::start(&format!("{listener}[pool.p]\nbackends = {list}\n"));
    let (at, diary) = (proxy.at(), Diary::new());
    let old = flows(at, FLOWS, |_| false);
    for step in 1..=UPGRADES {
        upgrade(&proxy, &diary, step);
        old.go_on(2 * FLOWS as usize);
    }
    let new = flows(at, FLOWS / 2, |_| false);
    let done = [old, new].map(|storm| storm.calm(&diary, 5 * FLOWS as usize).done);
    // No flow was begun twice.
    assert_eq!(servers.iter().map(|server| server.peers().len()).sum::<usize>(), 90);
    assert_eq!(proxy.flows(), 90);
    let metrics = || proxy.metrics();
    for direction in ["in", "out"] {
        let passed =
            || metrics().count("udp_datagrams_total", &[("direction", direction)]) as usize;
        eventually("each datagram is counted once", PATIENCE, || passed() == done[0] + done[1]);
    }
    assert_eq!(metrics().count("udp_dropped_total", &[]), 0);
    assert_eq!(metrics().count("sessions_total", &[]), 0, "no flow has ended");
    // Nothing is left for the old ones to do.
    proxy.wait_alone();
}

#[test]
fn ten_upgrades_fail_no_request() {
    let servers = ["a", "b"].map(pages);
    let listener = "[listener.l]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\npool = \"p\"\n";
    let proxy = Evenkeel::start(&format!("{listener}{}", pool("p", &entries(&servers), "")));
    let (at, diary) = (proxy.at(), Diary::new());
    let storms = [browsers(at, 6), streams(at, 2, 4)];
    for step in 1..=UPGRADES {
        upgrade(&proxy, &diary, step);
        storms.iter().for_each(|storm| storm.go_on(10));
    }
    let tolls = storms.map(|storm| storm.calm(&diary, 300));
    proxy.wait_alone();
    let done = tolls[0].done + tolls[1].done;
    let requests = |labels: &[_]| proxy.metrics().count("http_requests_total", labels) as usize;
    eventually("all are counted", PATIENCE, || requests(&[("code", "200")]) == done);
    assert_eq!(requests(&[]), done);
}
