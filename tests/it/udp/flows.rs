//! How a flow ends: after its answers, or after a time without a datagram; and what is said of it.

use std::sync::Mutex;
use std::time::Duration;

use super::before;
use crate::harness::evenkeel::Evenkeel;
use crate::harness::udp::{Client, Server, answer};
use crate::harness::wait::{PATIENCE, eventually, throughout};

#[test]
fn idle_flows_end_and_leave_nothing_but_a_line_each() {
    let server = Server::echo("s");
    let proxy = before(&server, "idle_timeout = \"1s\"");
    assert_eq!(proxy.flows(), 0);
    let descriptors = proxy.descriptors();
    let clients: Vec<_> = (0..30).map(|_| Client::to(proxy.at())).collect();
    for client in &clients {
        assert_eq!(client.ask("hello"), "hello");
    }
    let lines = proxy.wait_access(30);
    assert_eq!((lines.len(), server.peers().len()), (30, 30));
    let local = proxy.at().to_string();
    for client in &clients {
        let client = client.address().to_string();
        let line = lines.iter().find(|line| line["client"] == client.as_str()).unwrap();
        for (field, value) in [
            ("listener", "l"),
            ("protocol", "udp"),
            ("local", &local),
            ("pool", "p"),
            ("backend", "s"),
            ("outcome", "idle"),
        ] {
            assert_eq!(line[field].as_str(), Some(value), "{field} in {line}");
        }
        for field in ["bytes_in", "bytes_out"] {
            assert_eq!(line[field].as_u64(), Some(5), "{field} in {line}");
        }
        assert!(line["duration_ms"].as_f64() >= Some(900.0), "{line}");
    }
    proxy.wait_outcome("idle", 30);
    eventually("no flow is left", PATIENCE, || proxy.flows() == 0 && proxy.sessions() == 0);
    let back = || proxy.descriptors() <= descriptors;
    eventually("the descriptors are back", PATIENCE, back);
    assert_eq!(clients[0].ask("again"), "again");
    assert_eq!(server.peers().len(), 31, "what comes after the end is a new flow");
}

#[test]
fn a_datagram_either_way_keeps_a_flow() {
    let server = Server::choosy("s");
    let proxy = before(&server, "idle_timeout = \"2s\"");
    let (asks, listens) = (Client::to(proxy.at()), Client::to(proxy.at()));
    assert_eq!(listens.ask("here"), "here");
    let told = server.peers()[0];
    let mut turn = 0;
    throughout("both flows go on", Duration::from_secs(4), || {
        turn += 1;
        asks.send(format!("mute {turn}"));
        server.say(&format!("tick {turn}"), told);
        listens.receive() == format!("tick {turn}").as_bytes()
    });
    assert_eq!((server.peers().len(), proxy.access().len()), (2, 0));
}

#[test]
fn a_flow_ends_with_its_answer_and_the_next_query_is_a_new_one() {
    let server = Server::echo("s");
    let proxy = before(&server, "responses = 1");
    let descriptors = proxy.descriptors();
    let client = Client::to(proxy.at());
    for turn in 1..=3 {
        assert_eq!(client.ask("query"), "query");
        proxy.wait_outcome("ok", turn);
    }
    assert_eq!(server.peers().len(), 3);
    eventually("no flow is left", PATIENCE, || proxy.flows() == 0);
    eventually("the descriptors are back", PATIENCE, || proxy.descriptors() <= descriptors);
    assert!(proxy.wait_access(3).iter().all(|line| line["outcome"] == "ok"));
}

/// A server that answers when so many datagrams have come, all of them, in order.
fn patient(count: usize) -> Server {
    let waiting = Mutex::new(Vec::new());
    Server::new("s", move |socket, payload, peer| {
        let mut waiting = waiting.lock().unwrap();
        waiting.push((payload.to_vec(), peer));
        if waiting.len() == count {
            for (payload, peer) in waiting.drain(..) {
                answer(socket, &payload, peer);
            }
        }
    })
}

#[test]
fn a_hundred_queries_at_once_on_one_socket_all_get_their_answer() {
    let server = patient(100);
    let proxy = before(&server, "responses = 1");
    let client = Client::to(proxy.at());
    for turn in 0..100 {
        client.send(format!("query {turn}"));
    }
    for turn in 0..100 {
        assert_eq!(client.receive(), format!("query {turn}").as_bytes());
    }
    proxy.wait_outcome("ok", 1);
    assert_eq!((server.peers().len(), proxy.outcomes("idle")), (1, 0));
    let line = proxy.wait_access(1).remove(0);
    assert_eq!(line["bytes_in"], line["bytes_out"]);
}

#[test]
fn a_flow_of_two_answers_a_query_waits_for_both() {
    let server = Server::repeating("s", 2);
    let proxy = before(&server, "responses = 2");
    let client = Client::to(proxy.at());
    for turn in 1..=2 {
        assert_eq!(client.ask("query"), "0:query");
        assert_eq!(client.receive(), b"1:query");
        proxy.wait_outcome("ok", turn);
    }
}

#[test]
fn answers_beyond_those_expected_are_no_end_of_the_balancer() {
    let server = Server::repeating("s", 3);
    let proxy: Evenkeel = before(&server, "responses = 1");
    for turn in 1..=5 {
        assert_eq!(Client::to(proxy.at()).ask("query"), "0:query");
        proxy.wait_outcome("ok", turn);
    }
    eventually("no flow is left", PATIENCE, || proxy.flows() == 0);
}
