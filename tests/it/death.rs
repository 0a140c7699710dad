//! A backend is killed while clients keep coming: who notices, for how long, and that each error is
//! accounted for.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::client::{End, close, end_of, hold, is_reset, try_connect, try_hold};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::{file, unprobed};
use crate::harness::peers::Peer;
use crate::harness::servers::Server;
use crate::harness::wait::{PATIENCE, eventually, pace};

/// Clients at once.
const LANES: u32 = 10;

/// What became of one client.
struct Visit {
    began: Instant,
    error: Option<io::Error>,
}

/// Clients at a steady rate until told to stop, each a greeting, a word and its echo.
struct Traffic {
    stop: Arc<AtomicBool>,
    visits: Arc<Mutex<Vec<Visit>>>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Traffic {
    fn start(at: SocketAddr, per_second: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let visits = Arc::new(Mutex::new(Vec::new()));
        let gap = Duration::from_secs(1) * LANES / per_second;
        let lane = |_| {
            let (stop, visits) = (stop.clone(), visits.clone());
            thread::spawn(move || {
                let mut next = Instant::now();
                while !stop.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    let error = visit(at).err();
                    visits.lock().unwrap().push(Visit { began, error });
                    next = (next + gap).max(Instant::now() - gap);
                    pace(next);
                }
            })
        };
        let threads = (0..LANES).map(lane).collect();
        Self { stop, visits, threads }
    }

    fn count(&self) -> usize {
        self.visits.lock().unwrap().len()
    }

    fn run_for(&self, visits: usize) {
        let goal = self.count() + visits;
        eventually("the clients are served", PATIENCE, || self.count() >= goal);
    }

    fn finish(self) -> Vec<Visit> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|lane| lane.join().unwrap());
        std::mem::take(&mut *self.visits.lock().unwrap())
    }
}

fn visit(at: SocketAddr) -> io::Result<()> {
    let mut held = try_hold(at)?;
    held.stream.write_all(b"word")?;
    held.stream.read_exact(&mut [0; 4])?;
    held.stream.shutdown(std::net::Shutdown::Write)?;
    io::copy(&mut held.stream, &mut io::sink()).map(drop)
}

#[test]
fn a_backend_killed_under_load_costs_only_sessions_it_already_had_and_each_is_counted() {
    let mut victim = Peer::start("victim");
    let others = ["a", "b"].map(Server::greet);
    let list = format!("[{}, {}, {}]", victim.entry(""), others[0].entry(""), others[1].entry(""));
    // Clients must come to the dead backend before a probe does, on a machine that stalls too.
    let toml = file(&list, "", "balance = \"round-robin\"");
    let proxy = Evenkeel::start(&toml.replacen("\"100ms\"", "\"500ms\"", 1));
    let traffic = Traffic::start(proxy.at(), 200);
    traffic.run_for(150);
    victim.kill();
    proxy.wait_health("victim", "down");
    let detected = Instant::now();
    traffic.run_for(250);
    let visits = traffic.finish();

    let failed: Vec<_> = visits.iter().filter(|v| v.error.is_some()).collect();
    for visit in &failed {
        assert!(visit.began < detected, "a client after detection saw {:?}", visit.error);
    }
    proxy.wait_idle();
    let metrics = proxy.metrics();
    // A failed connect costs no client anything; a session the dead process had is the only loss.
    // Its kernel ends such a session with a reset if a byte was unread, else as if it were over, so
    // a client may see an early end where the balancer saw a reset a moment later, or none.
    let lost =
        metrics.count("sessions_total", &[("backend", "victim"), ("outcome", "backend-reset")]);
    let errors: Vec<_> = failed.iter().filter_map(|visit| visit.error.as_ref()).collect();
    let resets = errors.iter().filter(|error| is_reset(error)).count() as u64;
    let is_early = |error: &&&io::Error| error.kind() == io::ErrorKind::UnexpectedEof;
    let early = errors.iter().filter(is_early).count() as u64;
    assert_eq!(resets + early, errors.len() as u64, "{errors:?}");
    assert!(resets <= lost && lost <= resets + early, "{lost} counted: {errors:?}");
    assert!(errors.len() <= LANES as usize, "more than were open at once: {errors:?}");
    assert!(metrics.count("connect_failures_total", &[("backend", "victim")]) >= 1);
    assert_eq!(metrics.count("rejected_total", &[]), 0);
    assert_eq!(metrics.count("sessions_total", &[]), visits.len() as u64);
}

#[test]
fn sessions_in_the_accept_queue_of_a_killed_backend_are_reset_and_counted() {
    let mut victim = Peer::start("victim");
    let proxy = Evenkeel::start(&unprobed(&format!("[{}]", victim.entry("")), "", ""));
    let mut held = hold(proxy.at());
    // Frozen, it takes no connection, but its kernel does: that is what an accept queue hides.
    victim.freeze();
    let mut queued: Vec<_> = (0..20).map(|_| try_connect(proxy.at()).unwrap()).collect();
    eventually("all are connected", PATIENCE, || proxy.backend("victim")["sessions_total"] == 21);
    victim.kill();
    for stream in &mut queued {
        assert_eq!(end_of(stream), End::Reset);
    }
    let first = end_of(&mut held.stream);
    assert_ne!(first, End::Open);
    drop(held);
    proxy.wait_idle();
    let metrics = proxy.metrics();
    let of = |outcome| metrics.count("sessions_total", &[("outcome", outcome)]);
    let resets = 20 + u64::from(first == End::Reset);
    assert_eq!((of("backend-reset"), metrics.count("sessions_total", &[])), (resets, 21));
    let lines = proxy.wait_access(21);
    let said = lines.iter().filter(|line| line["outcome"] == "backend-reset").count();
    assert_eq!(said as u64, resets);
}

#[test]
fn no_client_is_lost_when_the_listen_socket_goes_away_before_anything_was_accepted() {
    let victim = Server::greet("victim");
    let live = Server::greet("live");
    let list = format!("[{}, {}]", victim.entry(""), live.entry(""));
    let proxy = Evenkeel::start(&unprobed(&list, "", "balance = \"round-robin\""));
    victim.stop();
    for _ in 0..50 {
        let held = try_hold(proxy.at()).unwrap();
        assert_eq!(held.backend, "live");
        close(held.stream);
    }
    assert_eq!(proxy.rejected("refused"), 0);
}

#[test]
fn a_killed_backend_comes_back_and_is_used_again() {
    let mut victim = Peer::start("victim");
    let live = Server::greet("live");
    let list = format!("[{}, {}]", victim.entry(""), live.entry(""));
    let proxy = Evenkeel::start(&file(&list, "", "balance = \"round-robin\""));
    let traffic = Traffic::start(proxy.at(), 100);
    victim.kill();
    proxy.wait_health("victim", "down");
    let before = proxy.backend("victim")["sessions_total"].as_u64().unwrap();
    victim.restart();
    proxy.wait_health("victim", "up");
    let after_up = Instant::now();
    eventually("it is used again", PATIENCE, || {
        proxy.backend("victim")["sessions_total"].as_u64().unwrap() > before + 5
    });
    let visits = traffic.finish();
    let late = visits.iter().filter(|v| v.began > after_up).filter_map(|v| v.error.as_ref());
    assert_eq!(late.map(ToString::to_string).collect::<Vec<_>>(), Vec::<String>::new());
    let odd = visits
        .iter()
        .filter_map(|v| v.error.as_ref())
        .find(|error| !is_reset(error) && error.kind() != io::ErrorKind::UnexpectedEof);
    assert!(odd.is_none(), "{odd:?}");
}
