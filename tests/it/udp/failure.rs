//! Backends that go away: flows move to those that are left, and come back without a restart.

use serde_json::Value;

use super::{before, datagrams, name_in, named};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::unprobed;
use crate::harness::udp::{Client, Server};
use crate::harness::wait::{PATIENCE, eventually, until};

fn refused_connects(proxy: &Evenkeel) -> u64 {
    proxy.metrics().count("connect_failures_total", &[("pool", "p"), ("reason", "refused")])
}

#[test]
fn when_a_backends_socket_is_gone_its_client_gets_through_by_asking_again() {
    let servers = named(2);
    let proxy = Evenkeel::start(&datagrams(&servers, "", "balance = \"round-robin\""));
    let (on_first, on_second) = (Client::to(proxy.at()), Client::to(proxy.at()));
    assert_eq!((on_first.ask("a"), on_second.ask("a")), ("s0:a".into(), "s1:a".into()));
    servers[0].stop();
    on_first.insist("b", |answer| answer == "s1:b");
    assert!(refused_connects(&proxy) >= 1);
    assert_eq!(on_second.ask("b"), "s1:b", "who was elsewhere notices nothing");
    for _ in 0..4 {
        Client::to(proxy.at()).insist("c", |answer| answer == "s1:c");
    }
    assert_eq!(servers[1].peers().len(), 6);
}

#[test]
fn the_only_backend_comes_back_and_flows_go_on_without_a_restart() {
    let server = Server::named("s");
    let proxy = before(&server, "");
    let old = Client::to(proxy.at());
    assert_eq!(old.ask("a"), "s:a");
    server.stop();
    eventually("the refusal is counted", PATIENCE, || {
        old.send("b");
        refused_connects(&proxy) >= 1
    });
    let new = Client::to(proxy.at());
    new.send("b");
    server.start();
    // What was asked while nobody was there is lost; answers to it are not.
    old.insist("c", |answer| answer == "s:c");
    new.insist("c", |answer| answer == "s:c");
    assert_eq!(proxy.backend("s")["health"], "up", "a pool of one is never ejected");
}

#[test]
fn with_no_backend_to_pick_a_datagram_is_refused_and_counted() {
    let server = Server::named("s");
    let list = format!("[{}]", server.entry("state = \"drain\""));
    let proxy = Evenkeel::start(&unprobed(&list, "protocol = \"udp\"", ""));
    let client = Client::to(proxy.at());
    for turn in 1..=3 {
        client.send("who");
        let labels = [("listener", "l"), ("reason", "no-backend")];
        let refused = || proxy.metrics().count("rejected_total", &labels);
        eventually("it is refused", PATIENCE, || refused() == turn);
    }
    assert_eq!((server.datagrams(), proxy.flows()), (0, 0));
}

#[test]
fn a_flow_that_left_a_gone_backend_has_a_line_there_and_one_where_it_went() {
    let servers = named(2);
    let listener = "idle_timeout = \"2s\"";
    let proxy = Evenkeel::start(&datagrams(&servers, listener, "balance = \"round-robin\""));
    let client = Client::to(proxy.at());
    assert_eq!(name_in(&client.ask("a")), "s0");
    servers[0].stop();
    client.insist("b", |answer| answer == "s1:b");
    let line = |backend: &str| {
        let of = |line: &Value| line["backend"] == backend;
        until(&format!("a line of {backend}"), PATIENCE, || proxy.access().into_iter().find(of))
    };
    let (left, went) = (line("s0"), line("s1"));
    assert_eq!((&went["outcome"], &left["outcome"]), (&"idle".into(), &"moved".into()));
    assert_eq!(left["client"], client.address().to_string().as_str());
    assert_eq!(left["bytes_out"], 4, "{left}");
}

#[test]
fn an_ejection_alone_moves_no_flow_and_a_port_unreachable_does() {
    let servers = named(2);
    let keys = "balance = \"round-robin\"\n\
                passive = { failures = 1, window = \"10m\", eject_for = \"20m\" }";
    let proxy = Evenkeel::start(&datagrams(&servers, "idle_timeout = \"10m\"", keys));
    let (old, other) = (Client::to(proxy.at()), Client::to(proxy.at()));
    assert_eq!((old.ask("a"), other.ask("a")), ("s0:a".into(), "s1:a".into()));
    let third = Client::to(proxy.at());
    assert_eq!(third.ask("a"), "s0:a");
    servers[0].stop();
    third.insist("b", |answer| answer == "s1:b");
    let is_out = || !proxy.backend("s0")["ejected_until"].is_null();
    eventually("it is ejected", PATIENCE, is_out);
    assert!(refused_connects(&proxy) >= 1);
    servers[0].start();
    assert_eq!(old.ask("c"), "s0:c", "it has heard of no failure");
    for _ in 0..3 {
        assert_eq!(Client::to(proxy.at()).ask("d"), "s1:d", "new flows go elsewhere");
    }
    servers[0].stop();
    old.insist("e", |answer| answer == "s1:e");
    servers[0].start();
    assert_eq!(old.ask("f"), "s1:f");
    assert!(is_out());
}
