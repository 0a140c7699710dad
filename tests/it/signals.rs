//! How the balancer stops: with what it has, by a deadline, or at once; never with a wrong exit code.

use std::fs;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::client::{End, close, end_of, hold, ping, try_connect, try_hold};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::{file, unprobed};
use crate::harness::peers::Peer;
use crate::harness::servers::{Server, entries};
use crate::harness::wait::{PATIENCE, eventually, throughout, until};

fn greeter(process: &str) -> (Server, Evenkeel) {
    let server = Server::greet("s");
    let list = entries(std::slice::from_ref(&server));
    let proxy = Evenkeel::start(&format!("[process]\n{process}\n{}", unprobed(&list, "", "")));
    (server, proxy)
}

#[track_caller]
fn wait_closed(proxy: &Evenkeel) {
    let at = proxy.at();
    eventually("new connections are refused", PATIENCE, || {
        try_connect(at).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    });
}

#[test]
fn a_stop_lets_sessions_go_on_and_ends_with_0_after_the_last() {
    for signal in [Signal::TERM, Signal::INT] {
        let (_server, mut proxy) = greeter("");
        let mut held = hold(proxy.at());
        proxy.signal(signal);
        wait_closed(&proxy);
        for _ in 0..5 {
            ping(&mut held.stream, "still here");
        }
        assert!(proxy.runs());
        close(held.stream);
        assert_eq!(proxy.exit_code(Duration::from_secs(5)), Some(0));
    }
}

#[test]
fn a_stop_without_sessions_is_immediate() {
    let (_server, mut proxy) = greeter("");
    let start = Instant::now();
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.exit_code(PATIENCE), Some(0));
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[test]
fn the_deadline_cuts_what_is_left_and_the_exit_code_is_still_0() {
    let (_server, mut proxy) = greeter("shutdown_timeout = \"1s\"");
    let mut held = hold(proxy.at());
    let start = Instant::now();
    proxy.signal(Signal::TERM);
    assert_eq!(end_of(&mut held.stream), End::Reset);
    let took = start.elapsed();
    assert!((Duration::from_millis(950)..Duration::from_secs(4)).contains(&took), "{took:?}");
    assert_eq!(proxy.exit_code(PATIENCE), Some(0));
    let lines = proxy.wait_access(1);
    assert_eq!(lines[0]["outcome"], "shutdown");
}

#[test]
fn a_second_signal_ends_at_once() {
    let (_server, mut proxy) = greeter("");
    let mut held = hold(proxy.at());
    proxy.signal(Signal::TERM);
    wait_closed(&proxy);
    assert!(proxy.runs());
    let start = Instant::now();
    proxy.signal(Signal::TERM);
    assert_eq!(end_of(&mut held.stream), End::Reset);
    proxy.exit_code(PATIENCE);
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[test]
fn connections_that_were_queued_when_the_stop_came_are_served() {
    let (_server, mut proxy) = greeter("threads = 1");
    // A listener that has been idle has as much time for its queue as a busy one.
    let uptime = || proxy.status()["uptime_seconds"].as_f64().unwrap();
    eventually("more than a second has passed", PATIENCE, || uptime() > 1.2);
    // Frozen, the balancer accepts nothing; the signal and the connections wait for it together.
    proxy.signal(Signal::STOP);
    let at = proxy.at();
    let queued: Vec<_> = (0..30).map(|_| try_connect(at).unwrap()).collect();
    proxy.signal(Signal::TERM);
    proxy.signal(Signal::CONT);
    for mut stream in queued {
        let name = crate::harness::client::read_line(&mut stream).unwrap();
        assert_eq!(name, "s");
        close(stream);
    }
    assert_eq!(proxy.exit_code(PATIENCE), Some(0));
}

#[test]
fn no_client_is_reset_by_a_stop_under_load() {
    let (_server, mut proxy) = greeter("");
    let at = proxy.at();
    let visitor = move || {
        let mut served = 0;
        loop {
            match try_hold(at) {
                Ok(held) => close(held.stream),
                Err(error) => return (served, error.kind()),
            }
            served += 1;
        }
    };
    let visitors: Vec<_> = (0..4).map(|_| std::thread::spawn(visitor)).collect();
    let begun = || proxy.backend("s")["sessions_total"].as_u64().unwrap() > 100;
    eventually("clients come", PATIENCE, begun);
    proxy.signal(Signal::TERM);
    let mut lost = 0;
    for visitor in visitors {
        let (served, end) = visitor.join().unwrap();
        assert!(served > 0);
        // A connect in its handshake while the socket closes is reset by the kernel: no more than
        // the one each visitor may have had under way, and none after it was accepted.
        lost += usize::from(end != ErrorKind::ConnectionRefused);
    }
    assert!(lost <= 1, "{lost} of 4 clients were cut");
    assert_eq!(proxy.exit_code(PATIENCE), Some(0));
}

#[test]
fn signals_work_before_the_listeners_are_open() {
    let slow = Server::http("slow", |_| {
        std::thread::park_timeout(Duration::from_secs(3));
        String::new()
    });
    let toml = format!(
        "[listener.l]\nbind = \"127.0.0.1:0\"\npool = \"p\"\n[pool.p]\nbackends = {}\n\
         [pool.p.health]\nprobe = \"http\"\ntimeout = \"10s\"\ninterval = \"20s\"\n",
        entries(std::slice::from_ref(&slow))
    );
    let mut proxy = Evenkeel::launch(&[], &toml);
    proxy.admin();
    let start = Instant::now();
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.exit_code(PATIENCE), Some(0));
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[test]
fn the_pid_file_is_written_when_ready_and_gone_after_the_end() {
    let (_server, mut proxy) = greeter("pid_file = \"{dir}/evenkeel.pid\"");
    let path = proxy.dir().join("evenkeel.pid");
    // It is opened at the start, while the rights to do so are there, and filled when ready.
    let found = until("it is filled", PATIENCE, || {
        fs::read_to_string(&path).ok().filter(|text| !text.is_empty())
    });
    assert_eq!(found.trim(), proxy.pid().to_string());
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.exit_code(PATIENCE), Some(0));
    assert!(!path.exists(), "a stale pid file is an invitation to signal a stranger");
}

#[test]
fn a_log_that_nobody_reads_costs_no_traffic() {
    let server = Server::greet("s");
    let list = entries(std::slice::from_ref(&server));
    let toml = unprobed(&list, "", "")
        + "[log]\nformat = \"json\"\naccess = \"stdout\"\nlevel = \"debug\"\n";
    let proxy = Evenkeel::start_unread(&toml);
    let at = proxy.at();
    for _ in 0..1500 {
        close(try_hold(at).unwrap().stream);
    }
}

#[test]
fn a_dead_backend_does_not_keep_a_stopping_balancer() {
    let mut peer = Peer::start("peer");
    let list = format!("[{}]", peer.entry(""));
    let mut proxy = Evenkeel::start(&file(&list, "", ""));
    let mut held = hold(proxy.at());
    proxy.signal(Signal::TERM);
    wait_closed(&proxy);
    throughout("it waits for the session", Duration::from_millis(300), || proxy.runs());
    peer.kill();
    assert_ne!(end_of(&mut held.stream), End::Open);
    drop(held);
    assert_eq!(proxy.exit_code(PATIENCE), Some(0));
}
