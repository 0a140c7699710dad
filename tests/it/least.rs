//! Least connections is exact, whatever comes, goes or dies.

use std::collections::BTreeMap;
use std::io::Write;
use std::thread;

use crate::harness::client::{Held, close, connect, hold, reset, try_hold};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::{file, unprobed};
use crate::harness::peers::Peer;
use crate::harness::seat::Seat;
use crate::harness::servers::{Server, entries};
use crate::harness::wait::{PATIENCE, eventually};

fn named(count: usize) -> Vec<Server> {
    (0..count).map(|i| Server::greet(&format!("s{i}"))).collect()
}

fn spread(counts: &BTreeMap<String, u64>) -> u64 {
    counts.values().max().unwrap() - counts.values().min().unwrap()
}

fn tally(held: &[Held], servers: &[Server]) -> BTreeMap<String, u64> {
    let mut counts: BTreeMap<_, _> = servers.iter().map(|s| (s.name.clone(), 0)).collect();
    for one in held {
        *counts.get_mut(&one.backend).unwrap() += 1;
    }
    counts
}

fn check_held_one_by_one(workers: usize, backends: usize, connections: usize) {
    let servers = named(backends);
    let toml = format!("[process]\nthreads = {workers}\n{}", unprobed(&entries(&servers), "", ""));
    let proxy = Evenkeel::start(&toml);
    let mut held = Vec::new();
    let mut counts = tally(&[], &servers);
    for _ in 0..connections {
        let one = hold(proxy.at());
        *counts.get_mut(&one.backend).unwrap() += 1;
        assert!(spread(&counts) <= 1, "after {} connections: {counts:?}", held.len() + 1);
        held.push(one);
    }
    for (name, &count) in &counts {
        assert_eq!(proxy.backend(name)["sessions"], count, "{name}");
    }
    drop(held);
    proxy.wait_idle();
}

#[test]
fn a_thousand_held_connections_are_within_one_of_each_other_on_one_worker() {
    check_held_one_by_one(1, 3, 1000);
}

#[test]
fn a_thousand_held_connections_are_within_one_of_each_other_on_four_workers() {
    check_held_one_by_one(4, 7, 1000);
}

#[test]
fn connections_that_arrive_all_at_once_are_within_one_of_each_other() {
    let servers = named(5);
    let toml = format!("[process]\nthreads = 4\n{}", unprobed(&entries(&servers), "", ""));
    let proxy = Evenkeel::start(&toml);
    let at = proxy.at();
    let crowd = || thread::spawn(move || (0..100).map(|_| hold(at)).collect::<Vec<_>>());
    let crowds: Vec<_> = (0..8).map(|_| crowd()).collect();
    let held: Vec<Held> = crowds.into_iter().flat_map(|c| c.join().unwrap()).collect();
    let counts = tally(&held, &servers);
    assert!(spread(&counts) <= 1, "{counts:?}");
}

#[test]
fn each_weighted_pick_has_the_smallest_quotient() {
    let servers = named(3);
    let weights = [1_u64, 2, 5];
    let list: Vec<_> =
        servers.iter().zip(weights).map(|(s, w)| s.entry(&format!("weight = {w}"))).collect();
    let toml = unprobed(&format!("[{}]", list.join(", ")), "", "");
    let proxy = Evenkeel::start(&format!("[process]\nthreads = 4\n{toml}"));
    let mut sessions = [0_u64; 3];
    let mut held = Vec::new();
    for _ in 0..400 {
        let one = hold(proxy.at());
        let pick = servers.iter().position(|s| s.name == one.backend).unwrap();
        for other in 0..3 {
            // (sessions + 1) / weight of the pick is at most that of any other, in whole numbers.
            let (mine, theirs) = (sessions[pick] + 1, sessions[other] + 1);
            let smallest = mine * weights[other] <= theirs * weights[pick];
            assert!(smallest, "with {sessions:?} the pick was {pick}");
        }
        sessions[pick] += 1;
        held.push(one);
    }
    assert_eq!(sessions, [50, 100, 250]);
}

#[test]
fn the_pick_stays_exact_while_connections_come_and_go() {
    let servers = named(4);
    let toml = unprobed(&entries(&servers), "", "");
    let proxy = Evenkeel::start(&format!("[process]\nthreads = 4\n{toml}"));
    let mut held: Vec<Held> = (0..20).map(|_| hold(proxy.at())).collect();
    for round in 0..150_usize {
        // Two go, one or three come: in an order that is odd but the same each time.
        for _ in 0..2 {
            let gone = held.swap_remove((round * 7919) % held.len());
            if round % 3 == 0 { reset(gone.stream) } else { close(gone.stream) }
        }
        eventually("those that went are no longer counted", PATIENCE, || {
            proxy.sessions() == held.len() as u64
        });
        for _ in 0..1 + (round % 2) * 2 {
            let before = tally(&held, &servers);
            let one = hold(proxy.at());
            let fewest = before.values().min().unwrap();
            assert_eq!(&before[&one.backend], fewest, "{} of {before:?}", one.backend);
            held.push(one);
        }
    }
}

#[test]
fn ties_are_taken_in_turn() {
    let servers = named(3);
    let proxy = Evenkeel::start(&unprobed(&entries(&servers), "", ""));
    let mut counts = tally(&[], &servers);
    for _ in 0..30 {
        let one = hold(proxy.at());
        *counts.get_mut(&one.backend).unwrap() += 1;
        close(one.stream);
        proxy.wait_idle();
    }
    assert_eq!(spread(&counts), 0, "{counts:?}");
}

#[test]
fn counts_return_to_zero_whatever_way_sessions_end() {
    let greet = Server::greet("greet");
    let resetting = Server::resetting("resetting");
    let mut peer = Peer::start("peer");
    let refused = Seat::take();
    let list = format!(
        "[{}, {}, {}, {{ address = \"{}\", name = \"refused\" }}]",
        greet.entry(""),
        resetting.entry(""),
        peer.entry(""),
        refused.address()
    );
    let keys = "balance = \"round-robin\"\nfail_open = true";
    let proxy = Evenkeel::start(&unprobed(&list, "idle_timeout = \"1s\"", keys));
    let mut streams: Vec<_> = (0..40).map(|_| connect(proxy.at())).collect();
    // Ever, not now: on a machine that stalls the first may be idle already when the last comes.
    let connected = |name| proxy.backend(name)["sessions_total"].as_u64().unwrap();
    eventually("all are connected", PATIENCE, || {
        connected("greet") + connected("resetting") + connected("peer") == 40
    });
    for (i, stream) in streams.drain(..).enumerate() {
        match i % 4 {
            0 => reset(stream),
            1 => drop(stream),
            // Left to the idle timeout, by a thread that lives as long as the read timeout.
            2 => drop(thread::spawn(move || {
                let mut stream = stream;
                crate::harness::client::end_of(&mut stream)
            })),
            _ => drop((&stream).write_all(b"x")),
        }
    }
    peer.kill();
    proxy.wait_idle();
    for name in ["greet", "resetting", "peer", "refused"] {
        assert_eq!(proxy.backend(name)["sessions"], 0, "{name}");
    }
    assert_eq!(proxy.metrics().count("sessions_active", &[]), 0);
    // A worker lets go of a session a moment after the backend has its place back.
    let on_workers = || proxy.metrics().count("worker_sessions", &[]);
    eventually("the workers have none", PATIENCE, || on_workers() == 0);
}

#[test]
fn a_failed_connect_gives_its_place_back() {
    let refused = Seat::take();
    let live = Server::greet("live");
    let list =
        format!("[{{ address = \"{}\", name = \"dead\" }}, {}]", refused.address(), live.entry(""));
    let proxy = Evenkeel::start(&unprobed(&list, "", ""));
    let held: Vec<Held> = (0..10).map(|_| hold(proxy.at())).collect();
    assert!(held.iter().all(|one| one.backend == "live"));
    assert_eq!(proxy.backend("dead")["sessions"], 0);
    assert_eq!(proxy.backend("live")["sessions"], 10);
}

#[test]
fn a_backend_that_died_takes_its_share_when_it_is_back() {
    let servers = named(2);
    let proxy = Evenkeel::start(&file(&entries(&servers), "", ""));
    servers[1].stop();
    proxy.wait_health("s1", "down");
    let mut held: Vec<Held> = (0..10).map(|_| hold(proxy.at())).collect();
    servers[1].start();
    proxy.wait_health("s1", "up");
    held.extend((0..10).filter_map(|_| try_hold(proxy.at()).ok()));
    let counts = tally(&held, &servers);
    assert_eq!((counts["s0"], counts["s1"]), (10, 10));
}
