//! How a udp listener stops: no new flow, every answer that is still on its way, then the end.

use std::slice::from_ref;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::datagrams;
use crate::harness::evenkeel::Evenkeel;
use crate::harness::http;
use crate::harness::udp::{Client, Server};
use crate::harness::wait::{PATIENCE, eventually, throughout};

fn start(server: &Server, process: &str, listener: &str) -> Evenkeel {
    let toml = datagrams(from_ref(server), listener, "");
    Evenkeel::start(&format!("[process]\n{process}\n{toml}"))
}

/// Ends it, and returns when it has understood.
fn end(proxy: &Evenkeel) {
    let admin = proxy.admin();
    proxy.signal(Signal::TERM);
    eventually("it is stopping", PATIENCE, || http::get(admin, "/readyz").status == 503);
}

#[test]
fn an_answer_that_comes_after_the_stop_reaches_its_client_and_ends_the_process() {
    let server = Server::mute("s");
    let mut proxy = start(&server, "", "responses = 1");
    let at = proxy.at();
    let (early, late) = (Client::to(at), Client::to(at));
    early.send("query");
    eventually("the query is there", PATIENCE, || server.peers().len() == 1);
    let asked = server.peers()[0];
    end(&proxy);
    throughout("no new flow is taken", Duration::from_millis(500), || {
        // Once the port is closed to new flows, the kernel may say so.
        drop(late.0.send(b"too late"));
        server.peers().len() == 1
    });
    assert!(proxy.runs());
    server.say("answer", asked);
    assert_eq!(early.receive(), b"answer");
    // By itself a flow would last until the deadline, 30 s.
    assert_eq!(proxy.exit_code(Duration::from_secs(15)), Some(0));
    let lines = proxy.access();
    assert_eq!((lines.len(), &lines[0]["outcome"]), (1, &"ok".into()));
}

#[test]
fn at_the_deadline_flows_that_are_left_end_and_the_exit_code_is_0() {
    let server = Server::echo("s");
    let mut proxy = start(&server, "shutdown_timeout = \"2s\"", "");
    let client = Client::to(proxy.at());
    assert_eq!(client.ask("before"), "before");
    let asked = server.peers()[0];
    let begin = Instant::now();
    end(&proxy);
    // A flow that is there goes on, in both directions.
    server.say("still here", asked);
    assert_eq!(client.receive(), b"still here");
    assert_eq!(proxy.exit_code(PATIENCE), Some(0));
    let took = begin.elapsed();
    assert!((Duration::from_millis(1900)..Duration::from_secs(12)).contains(&took), "{took:?}");
    let lines = proxy.access();
    assert_eq!((lines.len(), &lines[0]["outcome"]), (1, &"shutdown".into()));
}

#[test]
fn without_flows_a_stop_is_immediate() {
    let server = Server::echo("s");
    let mut proxy = start(&server, "", "responses = 1");
    assert_eq!(Client::to(proxy.at()).ask("query"), "query");
    proxy.wait_outcome("ok", 1);
    let begin = Instant::now();
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.exit_code(PATIENCE), Some(0));
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}

#[test]
fn after_the_stop_every_flow_goes_on_whichever_worker_has_it() {
    let server = Server::echo("s");
    let mut proxy = start(&server, "threads = 6\nshutdown_timeout = \"3s\"", "");
    let clients: Vec<_> = (0..3).map(|_| Client::to(proxy.at())).collect();
    for client in &clients {
        assert_eq!(client.ask("before"), "before");
    }
    end(&proxy);
    // Most workers have no flow and nothing left to do; if they left, the kernel would send clients
    // to others, which do not know them.
    for turn in 0..20 {
        for client in &clients {
            assert_eq!(client.ask(&format!("after {turn}")), format!("after {turn}"));
        }
    }
    assert_eq!(proxy.exit_code(PATIENCE), Some(0));
}
