//! A process that has been replaced: what it keeps, for how long, and what ends it.

use std::io::{Read, Write};
use std::sync::{Mutex, mpsc};

use rustix::process::Signal;

use crate::harness::client::{End, connect, end_of, hold, ping};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::file;
use crate::harness::http;
use crate::harness::reloads::Way;
use crate::harness::servers::{Server, entries};
use crate::harness::upgrades::signal;
use crate::harness::wait::{PATIENCE, eventually};

#[test]
fn upgrade_timeout_ends_the_sessions_that_are_left() {
    let server = Server::greet("a");
    let limit = "[process]\nupgrade_timeout = \"1s\"\n";
    let proxy = Evenkeel::start(&format!(
        "{limit}{}",
        file(&entries(std::slice::from_ref(&server)), "", "")
    ));
    let mut held = hold(proxy.at());
    proxy.upgrade_by(Way::Call);
    assert_eq!(end_of(&mut held.stream), End::Reset);
    proxy.wait_alone();
    // What the old process counted last is there.
    assert_eq!(proxy.outcomes("shutdown"), 1);
    assert!(proxy.log().contains("upgrade_timeout has passed"), "{}", proxy.log());
}

#[test]
fn a_chain_of_processes_loses_no_count_and_each_ends_with_its_last_session() {
    let server = Server::greet("a");
    let proxy = Evenkeel::start(&file(&entries(std::slice::from_ref(&server)), "", ""));
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(hold(proxy.at()));
        proxy.upgrade_by(Way::Call);
    }
    let draining = || proxy.status()["draining_processes"].as_array().unwrap().clone();
    eventually("three drain", PATIENCE, || draining().len() == 3);
    assert!(draining().iter().all(|process| process["sessions"] == 1), "{:?}", draining());
    // The youngest first: the one in the middle stays for those before it.
    while let Some(mut one) = held.pop() {
        ping(&mut one.stream, "some bytes");
        drop(one);
        eventually("one less", PATIENCE, || draining().len() == held.len());
        let (ok, ended) = (|| proxy.outcomes("ok"), 3 - held.len() as u64);
        eventually("its session is counted", PATIENCE, || ok() == ended);
    }
    proxy.wait_alone();
    assert_eq!(proxy.metrics().count("sessions_total", &[]), 3);
    assert_eq!(proxy.metrics().count("bytes_total", &[("direction", "in")]), 30);
}

#[test]
fn a_stop_of_the_process_that_serves_is_a_stop_of_those_that_drain() {
    let server = Server::greet("a");
    let limit = "[process]\nshutdown_timeout = \"500ms\"\n";
    let proxy = Evenkeel::start(&format!(
        "{limit}{}",
        file(&entries(std::slice::from_ref(&server)), "", "")
    ));
    let mut held: Vec<_> = (0..2)
        .map(|_| {
            let held = hold(proxy.at());
            proxy.upgrade_by(Way::Call);
            held
        })
        .collect();
    signal(proxy.serving(), Signal::TERM);
    eventually("no process is left", PATIENCE, || {
        proxy.processes().into_iter().all(|process| process == proxy.pid() && has_ended(process))
    });
    assert!(held.iter_mut().all(|held| end_of(&mut held.stream) == End::Reset));
}

/// The test's own child stays in the table of processes until the end of the test.
fn has_ended(process: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_none_or(|rest| rest.is_empty() || rest.starts_with('Z'))
}

#[test]
fn a_new_process_that_dies_later_leaves_the_old_sessions_alone() {
    let server = Server::greet("a");
    let proxy = Evenkeel::start(&file(&entries(std::slice::from_ref(&server)), "", ""));
    let mut held = hold(proxy.at());
    proxy.upgrade_by(Way::Call);
    signal(proxy.serving(), Signal::KILL);
    eventually("the old process has seen it", PATIENCE, || {
        proxy.log().contains("the sessions here go on")
    });
    ping(&mut held.stream, "still");
}

#[test]
fn who_is_kept_is_told_to_come_again_with_an_answer_and_a_request_under_way_has_its_own() {
    let (answer_it, gate) = mpsc::channel();
    let gate = Mutex::new(gate);
    let server = Server::new("a", move |mut stream| {
        let head = http::read_head(&mut stream);
        if head.starts_with("GET /slow") {
            gate.lock().unwrap().recv().unwrap();
        }
        drop(stream.write_all(http::answer(200, "ok").as_bytes()));
    });
    let listener = "[listener.l]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\npool = \"p\"\n";
    let list = entries(std::slice::from_ref(&server));
    let proxy = Evenkeel::start(&format!("{listener}[pool.p]\nbackends = {list}\n"));
    let [mut idle, mut busy] = [(); 2].map(|()| connect(proxy.at()));
    idle.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    assert!(http::read_head(&mut idle).starts_with("HTTP/1.1 200"));
    idle.read_exact(&mut [0; 2]).unwrap();
    busy.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    eventually("it is under way", PATIENCE, || proxy.sessions() == 1);
    proxy.upgrade_by(Way::Call);
    // A client that is about to ask must not find its connection closed.
    let mut answer = String::new();
    idle.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    idle.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
    answer_it.send(()).unwrap();
    let mut answer = String::new();
    busy.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    proxy.wait_alone();
    let answered = || proxy.metrics().count("http_requests_total", &[("code", "200")]);
    eventually("all are counted", PATIENCE, || answered() == 3);
}
