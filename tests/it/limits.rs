//! Caps hold exactly, also when everyone comes at once, and a refusal is counted under its reason.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::client::{
    End, Held, close, connect, end_of, hold, is_reset, try_connect, try_hold,
};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::unprobed;
use crate::harness::servers::{Server, entries};
use crate::harness::wait::{PATIENCE, eventually, throughout};

/// Many clients at once: those that were served, and how many were reset.
fn crowd(at: SocketAddr, size: usize) -> (Vec<Held>, usize) {
    let clients: Vec<_> = (0..size).map(|_| thread::spawn(move || try_hold(at))).collect();
    let mut served = Vec::new();
    let mut refused = 0;
    for client in clients {
        match client.join().unwrap() {
            Ok(held) => served.push(held),
            Err(error) if is_reset(&error) => refused += 1,
            Err(error) => panic!("neither served nor reset: {error}"),
        }
    }
    (served, refused)
}

/// A greeting server that counts those who are there until just before anybody can know that they
/// have gone, and notes the most there were.
fn counting(name: &str, peak: &Arc<AtomicUsize>) -> Server {
    let (here, peak, line) = (AtomicUsize::new(0), peak.clone(), format!("{name}\n"));
    Server::new(name, move |mut stream| {
        peak.fetch_max(here.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        drop(stream.write_all(line.as_bytes()));
        drop(io::copy(&mut stream, &mut io::sink()));
        here.fetch_sub(1, Ordering::SeqCst);
    })
}

fn servers(count: usize) -> Vec<Server> {
    (0..count).map(|i| Server::greet(&format!("s{i}"))).collect()
}

#[test]
fn a_backends_cap_is_exact_when_everyone_comes_at_once() {
    for policy in ["least-connections", "round-robin", "random"] {
        let servers = servers(3);
        let keys = format!("balance = \"{policy}\"\nmax_sessions = 5");
        let toml = unprobed(&entries(&servers), "", &keys);
        let proxy = Evenkeel::start(&format!("[process]\nthreads = 4\n{toml}"));
        let (served, refused) = crowd(proxy.at(), 60);
        assert_eq!((served.len(), refused), (15, 45), "{policy}");
        assert!(servers.iter().all(|server| server.peak() == 5), "{policy}");
        assert_eq!(proxy.rejected("queue-full"), 45, "{policy}");
        for held in served {
            close(held.stream);
        }
        proxy.wait_idle();
        let (served, refused) = crowd(proxy.at(), 15);
        assert_eq!((served.len(), refused), (15, 0), "{policy}: the places are free again");
    }
}

#[test]
fn a_backends_own_cap_goes_before_the_pools() {
    let servers = servers(2);
    let list = format!("[{}, {}]", servers[0].entry("max_sessions = 1"), servers[1].entry(""));
    let proxy = Evenkeel::start(&unprobed(&list, "", "max_sessions = 4"));
    let (served, refused) = crowd(proxy.at(), 20);
    assert_eq!((served.len(), refused), (5, 15));
    assert_eq!((servers[0].peak(), servers[1].peak()), (1, 4));
}

#[test]
fn a_cap_holds_under_churn() {
    let peaks: [Arc<AtomicUsize>; 2] = Default::default();
    let servers = [counting("s0", &peaks[0]), counting("s1", &peaks[1])];
    let toml = unprobed(&entries(&servers), "", "max_sessions = 3");
    let proxy = Evenkeel::start(&format!("[process]\nthreads = 4\n{toml}"));
    let at = proxy.at();
    let visitor = move || {
        for _ in 0..40 {
            if let Ok(held) = try_hold(at) {
                close(held.stream);
            }
        }
    };
    let visitors: Vec<_> = (0..12).map(|_| thread::spawn(visitor)).collect();
    visitors.into_iter().for_each(|visitor| visitor.join().unwrap());
    proxy.wait_idle();
    let peaks = peaks.map(|peak| peak.load(Ordering::SeqCst));
    assert!(peaks.iter().all(|&peak| peak <= 3), "{peaks:?}");
    let metrics = proxy.metrics();
    let sum = metrics.count("sessions_total", &[]) + metrics.count("rejected_total", &[]);
    assert_eq!(sum, 480, "each visit is counted once");
}

#[test]
fn a_listeners_cap_resets_at_the_door_without_an_access_line() {
    let servers = servers(1);
    let proxy = Evenkeel::start(&unprobed(&entries(&servers), "max_sessions = 10", ""));
    let (served, refused) = crowd(proxy.at(), 30);
    assert_eq!((served.len(), refused), (10, 20));
    assert_eq!(proxy.rejected("max-sessions"), 20);
    served.into_iter().for_each(|held| close(held.stream));
    assert_eq!(proxy.wait_access(10).len(), 10);
    proxy.wait_idle();
    hold(proxy.at());
}

#[test]
fn the_cap_of_the_process_counts_all_listeners() {
    let servers = servers(1);
    let toml = unprobed(&entries(&servers), "", "")
        + "[listener.m]\nbind = \"127.0.0.1:0\"\npool = \"p\"\n";
    let proxy = Evenkeel::start(&format!("[process]\nmax_sessions = 6\n{toml}"));
    let (on_l, _) = crowd(proxy.at(), 4);
    let (on_m, refused) = crowd(proxy.address("m"), 10);
    assert_eq!((on_l.len(), on_m.len(), refused), (4, 2, 8));
    let labels = [("listener", "m"), ("reason", "max-sessions")];
    assert_eq!(proxy.metrics().count("rejected_total", &labels), 8);
}

/// Processor time used so far, in clock ticks of a hundredth of a second.
fn ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<_> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn without_descriptors_accepting_pauses_without_spinning_and_recovers() {
    let servers = servers(1);
    let toml = unprobed(&entries(&servers), "", "");
    let toml = format!("[process]\nthreads = 2\nmax_sessions = 1000\n{toml}");
    let proxy = Evenkeel::start_under(&["prlimit", "--nofile=96:96"], &toml);
    let paused = || proxy.metrics().count("accept_paused_total", &[("listener", "l")]);
    assert_eq!(paused(), 0);
    // With the descriptors gone the admin address may not answer either: look from outside.
    let clients: Vec<_> = (0..200).map(|_| connect(proxy.at())).collect();
    let descriptors = format!("/proc/{}/fd", proxy.pid());
    eventually("the descriptors run out", PATIENCE, || {
        std::fs::read_dir(&descriptors).unwrap().count() >= 90
    });
    let before = ticks(proxy.pid());
    let alive = || std::path::Path::new(&descriptors).exists();
    throughout("the balancer runs", Duration::from_secs(2), alive);
    let used = ticks(proxy.pid()) - before;
    assert!(used < 60, "{used} hundredths of a second of processor time in two seconds");
    for client in clients {
        crate::harness::client::reset(client);
    }
    eventually("it serves again", PATIENCE, || {
        try_hold(proxy.at()).is_ok_and(|held| held.backend == "s0")
    });
    assert!(paused() >= 1);
    proxy.wait_idle();
    assert_eq!(proxy.backend("s0")["health"], "up");
}

#[test]
fn the_deadline_cuts_sessions_while_descriptors_are_short_and_clients_queue() {
    let servers = servers(1);
    let toml = unprobed(&entries(&servers), "", "");
    let process = "threads = 1\nmax_sessions = 1000\nshutdown_timeout = \"1s\"";
    let toml = format!("[process]\n{process}\n{toml}");
    let mut proxy = Evenkeel::start_under(&["prlimit", "--nofile=64:64"], &toml);
    let mut held = hold(proxy.at());
    let _queued: Vec<_> = (0..80).map(|_| connect(proxy.at())).collect();
    let descriptors = format!("/proc/{}/fd", proxy.pid());
    eventually("the descriptors run out", PATIENCE, || {
        std::fs::read_dir(&descriptors).unwrap().count() >= 63
    });
    let start = Instant::now();
    proxy.signal(Signal::TERM);
    assert_eq!(end_of(&mut held.stream), End::Reset);
    assert_eq!(proxy.exit_code(PATIENCE), Some(0));
    // A worker that did not end by itself would be given 2 s more.
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[test]
fn the_derived_cap_refuses_before_descriptors_run_out() {
    let servers = servers(1);
    let toml = unprobed(&entries(&servers), "", "");
    let proxy = Evenkeel::start_under(&["prlimit", "--nofile=256:256"], &toml);
    let (served, refused) = crowd(proxy.at(), 200);
    assert!(refused > 0 && served.len() >= 60, "{} served, {refused} reset", served.len());
    let metrics = proxy.metrics();
    assert_eq!(metrics.count("rejected_total", &[("reason", "max-sessions")]), refused as u64);
    assert_eq!(metrics.count("accept_paused_total", &[]), 0);
    // The reset may come before the client has seen that it was connected.
    let one = try_connect(proxy.at());
    assert!(one.is_err() || one.is_ok_and(|mut one| end_of(&mut one) == End::Reset));
}
