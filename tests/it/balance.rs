//! The policies whose order can be told from outside: round robin and first.

use crate::harness::client::{Held, close, hold, who};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::unprobed;
use crate::harness::servers::{Server, entries};
use crate::harness::wait::{PATIENCE, eventually};

fn servers(names: &[&str]) -> Vec<Server> {
    names.iter().map(|name| Server::greet(name)).collect()
}

fn order(proxy: &Evenkeel, picks: usize) -> Vec<String> {
    (0..picks).map(|_| who(proxy.at())).collect()
}

/// The start of the sequence is the balancer's business; what follows is not.
fn is_rotation(seen: &[String], cycle: &[&str]) -> bool {
    (0..cycle.len()).any(|shift| {
        seen.iter().enumerate().all(|(i, name)| name == cycle[(i + shift) % cycle.len()])
    })
}

#[test]
fn round_robin_keeps_its_order_exactly_over_all_workers() {
    let servers = servers(&["a", "b", "c"]);
    let toml = format!(
        "[process]\nthreads = 3\n{}",
        unprobed(&entries(&servers), "", "balance = \"round-robin\"")
    );
    let proxy = Evenkeel::start(&toml);
    let seen = order(&proxy, 60);
    assert!(is_rotation(&seen, &["a", "b", "c"]), "{seen:?}");
}

#[test]
fn weighted_round_robin_spreads_the_heavy_backend_out() {
    let servers = servers(&["a", "b", "c"]);
    let list = format!(
        "[{}, {}, {}]",
        servers[0].entry("weight = 5"),
        servers[1].entry(""),
        servers[2].entry("")
    );
    let proxy = Evenkeel::start(&unprobed(&list, "", "balance = \"round-robin\""));
    let seen = order(&proxy, 70);
    for window in seen.windows(7) {
        let count = |name: &str| window.iter().filter(|seen| *seen == name).count();
        assert_eq!((count("a"), count("b"), count("c")), (5, 1, 1), "{window:?}");
    }
    // Smooth: five in seven need no more than two (over the seam of two rounds: four) in a row.
    assert!(is_rotation(&seen, &["a", "a", "b", "a", "c", "a", "a"]), "{seen:?}");
}

#[test]
fn first_fills_in_file_order_and_comes_back_to_the_front() {
    let servers = servers(&["a", "b", "c"]);
    let proxy =
        Evenkeel::start(&unprobed(&entries(&servers), "", "balance = \"first\"\nmax_sessions = 2"));
    let mut held: Vec<Held> = (0..5).map(|_| hold(proxy.at())).collect();
    let names: Vec<_> = held.iter().map(|h| h.backend.clone()).collect();
    assert_eq!(names, ["a", "a", "b", "b", "c"]);
    close(held.remove(1).stream);
    eventually("the place on a is free", PATIENCE, || proxy.backend("a")["sessions"] == 1);
    assert_eq!(hold(proxy.at()).backend, "a");
}

#[test]
fn random_and_power_of_two_reach_every_backend_and_none_of_weight_zero() {
    let servers = servers(&["a", "b", "c"]);
    let zero = Server::greet("zero");
    let list = format!("[{}, {}]", join(&servers), zero.entry("weight = 0"));
    for policy in ["random", "power-of-two", "least-latency"] {
        let proxy = Evenkeel::start(&unprobed(&list, "", &format!("balance = \"{policy}\"")));
        let mut seen = order(&proxy, 80);
        seen.sort();
        seen.dedup();
        assert_eq!(seen, ["a", "b", "c"], "{policy}");
    }
}

#[test]
fn weighted_random_follows_the_weights() {
    let servers = servers(&["a", "b"]);
    let list = format!("[{}, {}]", servers[0].entry("weight = 9"), servers[1].entry("weight = 1"));
    let proxy = Evenkeel::start(&unprobed(&list, "", "balance = \"random\""));
    let light = order(&proxy, 400).iter().filter(|name| *name == "b").count();
    // 40 expected with a deviation of 6: chance leaves this range once in 10^11 runs.
    assert!((5..=85).contains(&light), "{light} of 400 went to a tenth of the weight");
}

#[test]
fn a_policy_may_be_written_as_a_table() {
    let servers = servers(&["a", "b"]);
    let proxy = Evenkeel::start(&unprobed(
        &entries(&servers),
        "",
        "balance = { policy = \"round-robin\" }",
    ));
    let seen = order(&proxy, 10);
    assert!(is_rotation(&seen, &["a", "b"]), "{seen:?}");
}

#[test]
fn two_workers_share_long_sessions() {
    let servers = servers(&["a", "b"]);
    let toml = format!("[process]\nthreads = 2\n{}", unprobed(&entries(&servers), "", ""));
    let proxy = Evenkeel::start(&toml);
    let held: Vec<Held> = (0..8).map(|_| hold(proxy.at())).collect();
    let metrics = proxy.metrics();
    let shares: Vec<_> = metrics.find("worker_sessions", &[]).iter().map(|s| s.value).collect();
    assert_eq!(shares.len(), 2, "{shares:?}");
    assert!((shares.iter().sum::<f64>() - 8.0).abs() < 0.5, "{shares:?}");
    assert!(shares.iter().all(|&share| share >= 1.0), "one worker carries all: {shares:?}");
    drop(held);
}

fn join(servers: &[Server]) -> String {
    let list: Vec<_> = servers.iter().map(|server| server.entry("")).collect();
    list.join(", ")
}
