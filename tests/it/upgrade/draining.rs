//! A process that has been replaced: what it keeps, for how long, and what ends it.

use std::io::{Read, Write};
use std::sync::Mutex;
use std::sync::mpsc::channel;

use rustix::process::Signal;

use crate::harness::client::{End, connect, end_of, hold, ping};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::file;
use crate::harness::http;
use crate::harness::reloads::Way;
use crate::harness::servers::{Server, entries};
use crate::harness::upgrades::signal;
use crate::harness::wait::{PATIENCE, eventually};
use crate::harness::whoami::{self, Browser, answering, whoami};

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

/// An http listener `l` before this server.
fn web(server: &Server) -> Evenkeel {
    let listener = "[listener.l]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\npool = \"p\"\n";
    Evenkeel::start(&format!("{listener}[pool.p]\nbackends = [\"{}\"]\n", server.address()))
}

#[test]
fn clients_that_are_kept_are_told_with_their_next_answer_and_a_request_in_flight_is_answered() {
    let ((ask, asked), (go, gone)) = (channel(), channel());
    let (ask, gone) = (Mutex::new(ask), Mutex::new(gone));
    let server = answering("a", move |head| {
        if head.starts_with("GET /slow ") {
            ask.lock().unwrap().send(()).unwrap();
            gone.lock().unwrap().recv_timeout(PATIENCE).unwrap_or_default();
        }
        "a".into()
    });
    let proxy = web(&server);
    let mut idle = Browser::open(proxy.at());
    assert!(!idle.ask(&whoami::get("/", "")).unwrap().is_last);
    let mut slow = connect(proxy.at());
    slow.write_all(whoami::get("/slow", "").as_bytes()).unwrap();
    asked.recv_timeout(PATIENCE).unwrap();
    proxy.upgrade_by(Way::Call);
    let told = idle.ask(&whoami::get("/", "")).unwrap();
    assert!(told.status == 200 && told.is_last, "{told:?}");
    go.send(()).unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.to_lowercase().contains("connection: close\r\n"), "{answer}");
    proxy.wait_alone();
    eventually("all are counted", PATIENCE, || {
        proxy.metrics().count("http_requests_total", &[("code", "200")]) == 3
    });
}

#[test]
fn a_stop_does_not_wait_for_clients_that_the_process_before_has_kept() {
    let server = whoami("a");
    let proxy = web(&server);
    let mut idle = Browser::open(proxy.at());
    whoami::who(&mut idle);
    proxy.upgrade_by(Way::Call);
    assert_eq!(proxy.processes().len(), 2);
    // It would be 30 s with a session.
    signal(proxy.serving(), Signal::TERM);
    eventually("both have ended", PATIENCE, || proxy.processes().is_empty());
    assert!(idle.ask(&whoami::get("/", "")).is_err());
}

#[test]
fn who_has_come_to_the_old_admin_interface_and_not_asked_yet_is_answered_there() {
    let server = Server::greet("a");
    let proxy = Evenkeel::start(&file(&entries(std::slice::from_ref(&server)), "", ""));
    let mut early = connect(proxy.admin());
    // They are let in one after the other: with the answer to another one it is in the old process.
    let old = proxy.status()["pid"].clone();
    proxy.upgrade_by(Way::Call);
    let answer = http::exchange(&mut early, "GET", "/api/v1/status", &proxy.admin().to_string());
    assert_eq!((answer.status, &answer.json()["pid"]), (200, &old));
    proxy.wait_alone();
}
