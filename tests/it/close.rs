//! What becomes of the sessions that a backend already has when it changes: by cause, over time.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::slice::from_ref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use crate::harness::client::{End, end_of, hold, is_reset, ping};
use crate::harness::evenkeel::{Evenkeel, evenkeel};
use crate::harness::files::unprobed;
use crate::harness::http;
use crate::harness::servers::{Server, entries};
use crate::harness::udp;
use crate::harness::wait::{PATIENCE, eventually, throughout, until};

/// Tells the balancer what an operator wants; returns when that is in force.
#[track_caller]
fn steer(proxy: &Evenkeel, command: &str, backend: &str) {
    let admin = proxy.admin().to_string();
    let done = evenkeel(&[command, &format!("p/{backend}"), "--admin", &admin]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
}

/// The words and values of `[pool.p.close]`, behind a file without such a table.
fn closing(file: &str, rules: &str) -> String {
    format!("{file}\n[pool.p.close]\n{rules}\n")
}

/// One greeting server without probes behind the balancer, with these rules.
fn greeter(rules: &str) -> (Server, Evenkeel) {
    let server = Server::greet("s");
    let file = unprobed(&entries(from_ref(&server)), "", "");
    let proxy = Evenkeel::start(&closing(&file, rules));
    (server, proxy)
}

/// One greeting server `s` whose probe goes to a web server that answers with a status of the
/// test's choice.
fn probed(health: &str, pool: &str, rules: &str) -> (Server, Server, Arc<AtomicU16>, Evenkeel) {
    let server = Server::greet("s");
    let status = Arc::new(AtomicU16::new(200));
    let now = status.clone();
    let web = Server::http("web", move |_| http::answer(now.load(Ordering::SeqCst), "well"));
    let file = format!(
        "[listener.l]\nbind = \"127.0.0.1:0\"\npool = \"p\"\n[pool.p]\nbackends = [{}]\n{pool}\n\
         [pool.p.health]\nprobe = \"http\"\nport = {}\ninterval = \"100ms\"\ntimeout = \"10s\"\n\
         {health}\n",
        server.entry(""),
        web.address().port()
    );
    let proxy = Evenkeel::start(&closing(&file, rules));
    (server, web, status, proxy)
}

/// Sessions whose clients have been greeted.
fn sessions(at: SocketAddr, count: usize) -> Vec<TcpStream> {
    (0..count).map(|_| hold(at).stream).collect()
}

/// Clients that look at their connections without waiting.
struct Watched(Vec<TcpStream>);

impl Watched {
    fn new(streams: Vec<TcpStream>) -> Self {
        streams.iter().for_each(|stream| stream.set_nonblocking(true).unwrap());
        Self(streams)
    }

    /// Forgets those that were reset; any other end fails the test.
    fn look(&mut self) {
        self.0.retain_mut(|stream| match stream.read(&mut [0; 4096]) {
            Ok(len) => {
                assert_ne!(len, 0, "an end that looks like a whole one");
                true
            }
            Err(error) => !is_over(&error),
        });
    }

    /// As [`look`](Self::look), and the others say something, which comes back to them.
    fn talk(&mut self) {
        self.look();
        self.0.retain_mut(|stream| stream.write(b"word").err().is_none_or(|e| !is_over(&e)));
    }

    fn left(&self) -> usize {
        self.0.len()
    }
}

fn is_over(error: &io::Error) -> bool {
    assert!(is_reset(error) || error.kind() == ErrorKind::WouldBlock, "{error}");
    is_reset(error)
}

#[test]
fn a_thousand_sessions_go_evenly_over_ten_seconds_and_the_idle_ones_first() {
    const TOTAL: usize = 1_000;
    const SECONDS: usize = 10;
    let server = Server::greet("s");
    let file = unprobed(&entries(from_ref(&server)), "", "");
    let file = closing(&file, "drain = \"10s\"") + "[process]\nthreads = 2\n";
    let proxy = Evenkeel::start(&file);
    let mut busy = Watched::new(sessions(proxy.at(), TOTAL / 2));
    let mut silent = Watched::new(sessions(proxy.at(), TOTAL / 2));

    let began = Instant::now();
    steer(&proxy, "drain", "s");
    assert_eq!(proxy.backend("s")["closing"]["cause"], "drain");
    let mut seen = Vec::new();
    let mut silent_then = None;
    while busy.left() + silent.left() > 0 {
        let at = began.elapsed();
        assert!(at < Duration::from_secs(SECONDS as u64) + PATIENCE, "{} left", busy.left());
        busy.talk();
        silent.look();
        let closed = TOTAL - busy.left() - silent.left();
        seen.push((at, closed));
        // One second's worth above the plan, as of when the last connection was looked at.
        let passed = began.elapsed().as_secs_f64();
        let plan = (TOTAL as f64 / SECONDS as f64) * (passed + 1.0);
        assert!(closed as f64 <= plan.ceil(), "{closed} closed after {passed} s");
        if busy.left() < TOTAL / 2 {
            silent_then.get_or_insert_with(|| silent.left());
        }
    }
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(SECONDS as u64), "all gone after {took:?}");
    // The second in which the last idle ones go may take the first busy ones too, on two workers.
    assert!(silent_then.is_some_and(|left| left <= TOTAL / SECONDS), "{silent_then:?} idle left");
    proxy.wait_outcome("drain", TOTAL as u64);
    proxy.wait_idle();
    // It did not all happen at the end.
    let half = seen.iter().find(|(_, closed)| *closed >= TOTAL / 2).map(|(at, _)| *at);
    assert!(half.is_some_and(|at| at < Duration::from_secs(9)), "half of them after {half:?}");
    let lines = proxy.wait_access(TOTAL);
    assert!(lines.iter().all(|line| line["outcome"] == "drain"));
    eventually("the end is in the log", PATIENCE, || {
        proxy.events().iter().any(|e| e["message"] == "closed sessions" && e["closed"] == TOTAL)
    });
}

#[test]
fn by_default_a_drain_keeps_sessions_and_maintenance_resets_them() {
    let (_server, proxy) = greeter("");
    let mut held = sessions(proxy.at(), 4);
    steer(&proxy, "drain", "s");
    throughout("drained sessions work", Duration::from_secs(2), || {
        held.iter_mut().for_each(|stream| ping(stream, "word"));
        proxy.backend("s")["closing"].is_null()
    });
    steer(&proxy, "maintenance", "s");
    for stream in &mut held {
        assert_eq!(end_of(stream), End::Reset);
    }
    proxy.wait_outcome("maintenance", 4);
    let lines = proxy.wait_access(4);
    assert!(lines.iter().all(|line| line["outcome"] == "maintenance"), "{lines:?}");
}

#[test]
fn a_new_cause_shortens_the_time_and_never_lengthens_it() {
    let (_server, proxy) = greeter("drain = \"10m\"\nmaintenance = \"1h\"");
    let mut held = sessions(proxy.at(), 2);
    steer(&proxy, "drain", "s");
    let until = proxy.backend("s")["closing"]["until"].clone();
    steer(&proxy, "maintenance", "s");
    let closing = &proxy.backend("s")["closing"];
    assert_eq!(closing["cause"], "drain");
    // To the second: the report works it out anew each time.
    assert_eq!(closing["until"].as_str().unwrap()[..16], until.as_str().unwrap()[..16]);
    held.iter_mut().for_each(|stream| ping(stream, "word"));

    let (_server, proxy) = greeter("drain = \"10m\"");
    let mut held = sessions(proxy.at(), 2);
    steer(&proxy, "drain", "s");
    steer(&proxy, "maintenance", "s");
    for stream in &mut held {
        assert_eq!(end_of(stream), End::Reset);
    }
    proxy.wait_outcome("maintenance", 2);
    assert!(proxy.log().contains("closing sessions sooner"), "{}", proxy.log());
}

#[test]
fn a_backend_that_goes_down_loses_its_sessions_at_once_if_told_so() {
    let (_server, _web, status, proxy) = probed("", "", "down = \"now\"");
    let mut held = sessions(proxy.at(), 8);
    held.iter_mut().for_each(|stream| ping(stream, "word"));
    status.store(500, Ordering::SeqCst);
    for stream in &mut held {
        assert_eq!(end_of(stream), End::Reset);
    }
    proxy.wait_outcome("down", 8);
    assert_eq!(proxy.backend("s")["health"], "down");
}

#[test]
fn who_comes_to_a_pool_that_fails_open_after_its_backend_went_down_may_stay() {
    let (_server, _web, status, proxy) = probed("", "fail_open = true", "down = \"now\"");
    let mut held = sessions(proxy.at(), 1);
    status.store(500, Ordering::SeqCst);
    assert_eq!(end_of(&mut held[0]), End::Reset);
    let mut late = hold(proxy.at()).stream;
    throughout("the new session works", Duration::from_secs(2), || {
        ping(&mut late, "word");
        true
    });
    assert_eq!(proxy.outcomes("down"), 1);
}

#[test]
fn a_backend_that_comes_back_keeps_the_sessions_it_still_has() {
    const TOTAL: usize = 24;
    let (_server, _web, status, proxy) = probed("", "", "down = \"8s\"");
    let mut held = Watched::new(sessions(proxy.at(), TOTAL));
    let began = Instant::now();
    status.store(500, Ordering::SeqCst);
    proxy.wait_health("s", "down");
    let end = Instant::now() + Duration::from_secs(10);
    eventually("the first ones are closed", PATIENCE, || {
        held.look();
        held.left() < TOTAL
    });
    assert!(began.elapsed() >= Duration::from_secs(1), "the first ones go after a second");
    status.store(200, Ordering::SeqCst);
    proxy.wait_health("s", "up");
    eventually("nothing is closing", PATIENCE, || proxy.backend("s")["closing"].is_null());
    throughout("some are left", end.saturating_duration_since(Instant::now()), || {
        held.talk();
        held.left() >= TOTAL / 4
    });
    assert!(proxy.log().contains("no longer closing sessions"), "{}", proxy.log());
}

#[test]
fn a_backend_that_loses_its_role_loses_its_sessions_by_default() {
    let (_server, _web, status, proxy) = probed("role = \"primary\"", "", "");
    let mut held = sessions(proxy.at(), 4);
    held.iter_mut().for_each(|stream| ping(stream, "word"));
    status.store(503, Ordering::SeqCst);
    for stream in &mut held {
        assert_eq!(end_of(stream), End::Reset);
    }
    proxy.wait_outcome("role", 4);
    assert_eq!(proxy.backend("s")["health"], "standby");
}

#[test]
fn flows_of_a_drained_backend_stay_or_move_as_the_file_says() {
    for (rule, moves) in [("keep", false), ("now", true)] {
        let servers = [udp::Server::named("a"), udp::Server::named("b")];
        let file = unprobed(&udp::entries(&servers), "protocol = \"udp\"", "balance = \"first\"");
        let proxy = Evenkeel::start(&closing(&file, &format!("drain = \"{rule}\"")));
        let clients: Vec<_> = (0..3).map(|_| udp::Client::to(proxy.at())).collect();
        for client in &clients {
            assert_eq!(client.ask("x"), "a:x");
        }
        steer(&proxy, "drain", "a");
        if moves {
            // Nobody has sent anything since.
            proxy.wait_outcome("moved", 3);
            until("no flow is left", PATIENCE, || (proxy.flows() == 0).then_some(()));
        }
        for client in &clients {
            assert_eq!(client.ask("y"), if moves { "b:y" } else { "a:y" });
        }
        assert_eq!(proxy.outcomes("moved"), if moves { 3 } else { 0 });
    }
}

#[test]
fn flows_go_over_a_time_too() {
    const TOTAL: usize = 30;
    let server = udp::Server::named("a");
    let file = unprobed(&udp::entries(from_ref(&server)), "protocol = \"udp\"", "");
    let proxy = Evenkeel::start(&closing(&file, "drain = \"3s\""));
    let clients: Vec<_> = (0..TOTAL).map(|_| udp::Client::to(proxy.at())).collect();
    clients.iter().for_each(|client| drop(client.ask("x")));
    let began = Instant::now();
    steer(&proxy, "drain", "a");
    eventually("all have moved", PATIENCE, || {
        let moved = proxy.outcomes("moved") as usize;
        let plan = (TOTAL as f64 / 3.0) * (began.elapsed().as_secs_f64() + 1.0);
        assert!(moved as f64 <= plan.ceil(), "{moved} after {:?}", began.elapsed());
        moved == TOTAL
    });
    assert!(began.elapsed() >= Duration::from_secs(3), "{:?}", began.elapsed());
}
