//! What a listener takes at most: flows at once, and new flows of one address in a time.

use std::time::Duration;

use super::before;
use crate::harness::udp::{Client, Server};
use crate::harness::wait::{PATIENCE, eventually, throughout};

#[test]
fn at_the_cap_a_new_flow_is_refused_and_answered_ones_stay() {
    let server = Server::echo("s");
    let proxy = before(&server, "max_sessions = 3");
    let held: Vec<_> = (0..3).map(|_| Client::to(proxy.at())).collect();
    for client in &held {
        assert_eq!(client.ask("in"), "in");
    }
    let late = Client::to(proxy.at());
    late.send("one");
    eventually("it is refused", PATIENCE, || proxy.rejected("max-sessions") == 1);
    // Longer than an unanswered flow would keep its place.
    throughout("who was answered stays", Duration::from_secs(2), || {
        late.send("more");
        held.iter().all(|client| client.ask("still in") == "still in")
    });
    assert_eq!((server.peers().len(), proxy.flows()), (3, 3));
    assert!(late.is_empty());
    let labels = [("listener", "l"), ("reason", "max-sessions")];
    assert!(proxy.metrics().count("rejected_total", &labels) > 1, "each datagram counts");
    assert!(proxy.access().is_empty());
}

#[test]
fn an_unanswered_flow_makes_room_after_a_second() {
    let server = Server::choosy("s");
    let proxy = before(&server, "max_sessions = 2");
    let (answered, unanswered) = (Client::to(proxy.at()), Client::to(proxy.at()));
    assert_eq!(answered.ask("in"), "in");
    unanswered.send("mute");
    eventually("both have their flow", PATIENCE, || server.peers().len() == 2);
    let late = Client::to(proxy.at());
    assert_eq!(late.insist("late", |_| true), "late");
    assert!(proxy.rejected("max-sessions") >= 1, "not before the second has passed");
    assert_eq!(answered.ask("still in"), "still in");
    assert_eq!((server.peers().len(), proxy.flows()), (3, 2), "no other flow has gone");
}

#[test]
fn the_cap_is_exact_when_everyone_comes_at_once() {
    let server = Server::echo("s");
    let toml = super::datagrams(std::slice::from_ref(&server), "max_sessions = 20", "");
    let toml = format!("[process]\nthreads = 4\n{toml}");
    let proxy = crate::harness::evenkeel::Evenkeel::start(&toml);
    let clients: Vec<_> = (0..120).map(|_| Client::to(proxy.at())).collect();
    proxy.frozen(|| clients.iter().for_each(|client| client.send("hello")));
    eventually("all others are refused", PATIENCE, || proxy.rejected("max-sessions") == 100);
    eventually("who was taken is answered", PATIENCE, || {
        clients.iter().filter(|client| !client.is_empty()).count() == 20
    });
    assert_eq!((server.peers().len(), proxy.flows()), (20, 20));
}

#[test]
fn new_flows_beyond_the_rate_are_refused_to_that_address_alone() {
    let server = Server::echo("s");
    let proxy = before(&server, "connection_rate = { rate = \"1/h\", burst = 5 }");
    let taken: Vec<_> = (0..5).map(|_| Client::to(proxy.at())).collect();
    for client in &taken {
        assert_eq!(client.ask("in"), "in");
    }
    for turn in 1..=3 {
        let late = Client::to(proxy.at());
        late.send("late");
        eventually("it is refused", PATIENCE, || proxy.rejected("rate") == turn);
        assert!(late.is_empty());
    }
    for client in &taken {
        assert_eq!(client.ask("go on"), "go on", "the rate is of new flows");
    }
    let other = Client::from("127.0.0.2".parse().unwrap(), proxy.at());
    assert_eq!(other.ask("in"), "in");
    assert_eq!((server.peers().len(), proxy.rejected("rate")), (6, 3));
}

#[test]
fn room_is_made_by_whichever_worker_has_the_stale_flow() {
    let server = Server::choosy("s");
    let toml = super::datagrams(std::slice::from_ref(&server), "max_sessions = 1", "");
    let proxy =
        crate::harness::evenkeel::Evenkeel::start(&format!("[process]\nthreads = 6\n{toml}"));
    let unanswered = Client::to(proxy.at());
    unanswered.send("mute");
    eventually("it has its flow", PATIENCE, || proxy.flows() == 1);
    assert_eq!(Client::to(proxy.at()).insist("late", |_| true), "late");
    assert_eq!(proxy.flows(), 1);
    assert_eq!(proxy.access()[0]["outcome"], "idle");
}

#[test]
fn a_refused_flow_keeps_its_place_on_a_backend_that_is_at_its_cap() {
    let server = Server::named("s");
    let toml = super::datagrams(std::slice::from_ref(&server), "", "max_sessions = 1");
    let proxy = crate::harness::evenkeel::Evenkeel::start(&toml);
    let client = Client::to(proxy.at());
    assert_eq!(client.ask("a"), "s:a");
    server.stop();
    let refusals = [("pool", "p"), ("reason", "refused")];
    eventually("the refusal is seen", PATIENCE, || {
        client.send("b");
        proxy.metrics().count("connect_failures_total", &refusals) >= 1
    });
    server.start();
    assert_eq!(client.insist("c", |answer| answer == "s:c"), "s:c");
    assert_eq!(proxy.rejected("queue-full"), 0);
}
