//! How the balancer says that it is there, and how it stops: with what it has, by a deadline, or at
//! once; never with a wrong exit code.

use std::fs;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
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
    // With a session it would take up to 30 s.
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn the_deadline_cuts_what_is_left_and_the_exit_code_is_still_0() {
    let (_server, mut proxy) = greeter("shutdown_timeout = \"1s\"");
    let mut held = hold(proxy.at());
    let start = Instant::now();
    proxy.signal(Signal::TERM);
    assert_eq!(end_of(&mut held.stream), End::Reset);
    let took = start.elapsed();
    // Without the key it would be 30 s.
    assert!((Duration::from_millis(950)..Duration::from_secs(10)).contains(&took), "{took:?}");
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
    // A single signal would wait 30 s for the session.
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
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
    let (server, mut proxy) = greeter("");
    let at = proxy.at();
    let served: Arc<[AtomicUsize; 4]> = Arc::default();
    let visitor = |lane: usize| {
        let served = served.clone();
        move || {
            while let Ok(held) = try_hold(at) {
                close(held.stream);
                served[lane].fetch_add(1, Ordering::SeqCst);
            }
        }
    };
    let visitors: Vec<_> = (0..4).map(|lane| std::thread::spawn(visitor(lane))).collect();
    let begun = || served.iter().all(|served| served.load(Ordering::SeqCst) > 25);
    eventually("every client comes and goes", PATIENCE, begun);
    proxy.signal(Signal::TERM);
    visitors.into_iter().for_each(|visitor| visitor.join().unwrap());
    assert_eq!(proxy.exit_code(PATIENCE), Some(0));
    // A connect whose handshake ends between the last accept and the close of the socket is reset by
    // the kernel, once for each visitor at most. But whoever was accepted was served to the end.
    let served: usize = served.iter().map(|served| served.load(Ordering::SeqCst)).sum();
    let lines = proxy.wait_access(served);
    let said = lines.iter().filter(|line| line["outcome"] == "ok").count();
    assert_eq!((said, lines.len(), server.accepted()), (served, served, served));
}

#[test]
fn signals_work_before_the_listeners_are_open() {
    let slow = Server::silent("slow");
    let toml = format!(
        "[listener.l]\nbind = \"127.0.0.1:0\"\npool = \"p\"\n[pool.p]\nbackends = {}\n\
         [pool.p.health]\nprobe = \"http\"\ntimeout = \"1m\"\ninterval = \"2m\"\n",
        entries(std::slice::from_ref(&slow))
    );
    let mut proxy = Evenkeel::launch(&[], &toml);
    proxy.admin();
    let start = Instant::now();
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.exit_code(PATIENCE), Some(0));
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
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

#[test]
fn ready_is_said_when_every_worker_serves() {
    let (_server, proxy) = greeter("threads = 64");
    let descriptors = proxy.descriptors();
    throughout("nothing more is opened", Duration::from_millis(300), || {
        proxy.descriptors() == descriptors
    });
}
