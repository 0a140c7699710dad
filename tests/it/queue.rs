//! Sessions beyond the caps wait their turn, and whoever waits can leave, be refused, or be served.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::client::{
    End, Held, close, connect, end_of, hold, is_reset, ping, read_line, reset, try_connect,
    try_hold,
};
use crate::harness::evenkeel::{Evenkeel, by_name};
use crate::harness::files::{file, pool, unprobed};
use crate::harness::seat::Blackhole;
use crate::harness::servers::{Server, entries};
use crate::harness::wait::{PATIENCE, eventually, throughout};

fn table(size: u32, timeout: &str) -> String {
    format!("[pool.p.queue]\nsize = {size}\ntimeout = \"{timeout}\"")
}

/// One greeting backend with a cap, and a queue before it.
fn capped(process: &str, cap: u32, size: u32, timeout: &str) -> (Server, Evenkeel) {
    let server = Server::greet("s");
    let keys = format!("max_sessions = {cap}\n{}", table(size, timeout));
    let toml = unprobed(&entries(std::slice::from_ref(&server)), "", &keys);
    let proxy = Evenkeel::start(&format!("[process]\nthreads = 4\n{process}\n{toml}"));
    (server, proxy)
}

fn length(proxy: &Evenkeel) -> u64 {
    by_name(&proxy.status()["pools"], "p")["queue_length"].as_u64().unwrap()
}

#[track_caller]
fn wait_length(proxy: &Evenkeel, length: u64) {
    let what = format!("{length} wait");
    eventually(&what, PATIENCE, || self::length(proxy) == length);
    assert_eq!(proxy.metrics().count("queue_length", &[("pool", "p")]), length);
}

/// Clients that wait, one behind the other.
#[track_caller]
fn line_up(proxy: &Evenkeel, count: u64) -> Vec<TcpStream> {
    let before = length(proxy);
    let one = |i| {
        let stream = connect(proxy.at());
        wait_length(proxy, before + i);
        stream
    };
    (1..=count).map(one).collect()
}

/// Those that were greeted, and how long each of the others waited for its reset.
fn crowd(at: SocketAddr, size: usize) -> thread::JoinHandle<(Vec<Held>, Vec<Duration>)> {
    let visit = move || {
        let start = Instant::now();
        (try_hold(at), start.elapsed())
    };
    let clients: Vec<_> = (0..size).map(|_| thread::spawn(visit)).collect();
    thread::spawn(move || {
        let (mut served, mut refused) = (Vec::new(), Vec::new());
        for client in clients {
            match client.join().unwrap() {
                (Ok(held), _) => served.push(held),
                (Err(error), took) if is_reset(&error) => refused.push(took),
                (Err(error), _) => panic!("neither served nor reset: {error}"),
            }
        }
        (served, refused)
    })
}

#[test]
fn who_came_first_is_served_first_over_all_workers_with_what_it_sent_meanwhile() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let seen = order.clone();
    let server = Server::new("s", move |mut stream| {
        let line = read_line(&mut stream).unwrap_or_default();
        seen.lock().unwrap().push(line.clone());
        drop(stream.write_all(format!("{line}\n").as_bytes()));
        drop(stream.read(&mut [0]));
    });
    let keys = format!("max_sessions = 1\n{}", table(100, "10m"));
    let toml = unprobed(&entries(std::slice::from_ref(&server)), "", &keys);
    let proxy = Evenkeel::start(&format!("[process]\nthreads = 4\n{toml}"));
    let mut first = connect(proxy.at());
    first.write_all(b"0\n").unwrap();
    assert_eq!(read_line(&mut first).unwrap(), "0");
    let mut clients = vec![first];
    for i in 1..30 {
        let mut client = line_up(&proxy, 1).remove(0);
        client.write_all(format!("{i}\n").as_bytes()).unwrap();
        clients.push(client);
    }
    for (i, mut client) in clients.into_iter().enumerate() {
        if i > 0 {
            assert_eq!(read_line(&mut client).unwrap(), i.to_string());
        }
        close(client);
    }
    proxy.wait_idle();
    let expected: Vec<_> = (0..30).map(|i| i.to_string()).collect();
    assert_eq!(*order.lock().unwrap(), expected);
    assert_eq!((length(&proxy), server.peak()), (0, 1));
    let metrics = proxy.metrics();
    assert_eq!(metrics.count("queue_wait_seconds_count", &[("pool", "p")]), 29);
    assert_eq!(metrics.count("rejected_total", &[]), 0);
}

#[test]
fn five_hundred_clients_under_a_cap_of_ten_are_all_served_in_the_end() {
    let (server, proxy) = capped("", 10, 500, "10m");
    let visit = |at| move || close(hold(at).stream);
    let clients: Vec<_> = (0..500).map(|_| thread::spawn(visit(proxy.at()))).collect();
    clients.into_iter().for_each(|client| client.join().unwrap());
    proxy.wait_outcome("ok", 500);
    proxy.wait_idle();
    assert!(server.peak() <= 10, "{}", server.peak());
    assert_eq!((length(&proxy), proxy.metrics().count("rejected_total", &[])), (0, 0));
}

#[test]
fn of_five_hundred_clients_those_are_refused_at_the_timeout_that_got_no_place() {
    const TIMEOUT: Duration = Duration::from_secs(5);
    let (server, proxy) = capped("", 10, 500, "5s");
    let mut held: Vec<_> = (0..10).map(|_| hold(proxy.at())).collect();
    let crowd = crowd(proxy.at(), 490);
    eventually("somebody waits", PATIENCE, || length(&proxy) > 10);
    held.drain(..5).for_each(|held| close(held.stream));
    let (mut served, refused) = crowd.join().unwrap();
    assert_eq!((served.len(), refused.len()), (5, 485));
    assert!(refused.iter().all(|took| *took >= TIMEOUT), "{:?}", refused.iter().min());
    assert_eq!((proxy.rejected("queue-timeout"), length(&proxy)), (485, 0));
    assert_eq!(proxy.metrics().count("queue_wait_seconds_count", &[]), 490);
    assert_eq!((proxy.sessions(), server.peak()), (10, 10));
    let lines = proxy.wait_access(490);
    let word = |line: &&serde_json::Value| line["outcome"] == "queue-timeout";
    assert_eq!(lines.iter().filter(word).count(), 485);
    for held in held.iter_mut().chain(&mut served) {
        ping(&mut held.stream, "still here");
    }
}

#[test]
fn who_leaves_while_it_waits_is_gone_at_once_and_leaves_nothing_behind() {
    let (_server, proxy) = capped("", 10, 500, "10m");
    let held: Vec<_> = (0..10).map(|_| hold(proxy.at())).collect();
    let before = proxy.descriptors();
    let mut waiting: Vec<_> = (0..490).map(|_| connect(proxy.at())).collect();
    wait_length(&proxy, 490);
    for (i, leaving) in waiting.drain(..245).enumerate() {
        // Some have sent something, some half-close, some vanish.
        if i % 2 == 0 {
            (&leaving).write_all(b"never read").unwrap();
        }
        if i % 3 == 0 { reset(leaving) } else { drop(leaving) }
    }
    wait_length(&proxy, 245);
    let metrics = proxy.metrics();
    assert_eq!(metrics.count("queue_abandoned_total", &[("pool", "p")]), 245);
    assert_eq!(metrics.count("rejected_total", &[]), 0);
    eventually("their descriptors are closed", PATIENCE, || proxy.descriptors() <= before + 250);
    let lines = proxy.wait_access(245);
    assert!(lines.iter().all(|line| line["outcome"] == "client-gone"), "{:?}", lines[0]);
    assert!(lines.iter().all(|line| line["attempts"] == 0 && line["backend"].is_null()));

    let rest: Vec<_> = waiting
        .into_iter()
        .map(|mut stream| {
            thread::spawn(move || {
                assert_eq!(read_line(&mut stream).unwrap(), "s");
                close(stream);
            })
        })
        .collect();
    held.into_iter().for_each(|held| close(held.stream));
    rest.into_iter().for_each(|client| client.join().unwrap());
    proxy.wait_outcome("ok", 255);
    proxy.wait_idle();
    assert_eq!(length(&proxy), 0);
    eventually("no descriptor is left", PATIENCE, || proxy.descriptors() < before - 10);
}

#[test]
fn a_client_that_half_closes_while_it_waits_has_left() {
    let (_server, proxy) = capped("", 1, 5, "10m");
    let _held = hold(proxy.at());
    let mut client = line_up(&proxy, 1).remove(0);
    client.write_all(b"question").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(end_of(&mut client), End::Reset);
    assert_eq!(proxy.wait_access(1)[0]["outcome"], "client-gone");
    wait_length(&proxy, 0);
}

#[test]
fn beyond_its_size_the_queue_refuses_at_once() {
    let (_server, proxy) = capped("", 1, 2, "10m");
    let held = hold(proxy.at());
    let waiting = line_up(&proxy, 2);
    assert!(try_hold(proxy.at()).is_err());
    assert_eq!((proxy.rejected("queue-full"), length(&proxy)), (1, 2));
    close(held.stream);
    for mut client in waiting {
        assert_eq!(read_line(&mut client).unwrap(), "s");
        close(client);
    }
    proxy.wait_idle();
    close(hold(proxy.at()).stream);
}

#[test]
fn who_waits_is_served_by_a_backend_that_comes_up() {
    let (s0, s1) = (Server::greet("s0"), Server::greet_later("s1"));
    let list = format!("[{}, {}]", s0.entry(""), s1.entry(""));
    let proxy =
        Evenkeel::start(&file(&list, "", &format!("max_sessions = 1\n{}", table(9, "10m"))));
    let held = hold(proxy.at());
    assert_eq!(held.backend, "s0");
    let mut waiting = line_up(&proxy, 2);
    s1.start();
    assert_eq!(read_line(&mut waiting[0]).unwrap(), "s1");
    wait_length(&proxy, 1);
}

/// One backend `s` with a cap of 1 that is up while `{dir}/up` is there.
fn switched(server: &Server, keys: &str) -> String {
    let backends = entries(std::slice::from_ref(server));
    format!(
        "[listener.l]\nbind = \"127.0.0.1:0\"\npool = \"p\"\n[pool.p]\nbackends = {backends}\n\
         max_sessions = 1\n{keys}\n{}\n[pool.p.health]\nprobe = \"exec\"\n\
         command = [\"test\", \"-e\", \"{{dir}}/up\"]\ninterval = \"100ms\"\ntimeout = \"10s\"\n",
        table(9, "10m")
    )
}

#[track_caller]
fn switch(proxy: &Evenkeel, health: &str) {
    let flag = proxy.dir().join("up");
    if health == "up" {
        fs::write(flag, "").unwrap()
    } else {
        fs::remove_file(flag).unwrap()
    }
    proxy.wait_health("s", health);
}

#[test]
fn when_all_go_down_who_waits_is_refused_and_the_first_after_recovery_is_served() {
    let server = Server::greet("s");
    let proxy = Evenkeel::start(&switched(&server, ""));
    switch(&proxy, "up");
    let held = hold(proxy.at());
    let waiting = line_up(&proxy, 3);
    switch(&proxy, "down");
    for mut client in waiting {
        assert_eq!(end_of(&mut client), End::Reset);
    }
    assert_eq!((proxy.rejected("no-backend"), length(&proxy)), (3, 0));
    assert!(try_hold(proxy.at()).is_err());
    close(held.stream);
    switch(&proxy, "up");
    close(hold(proxy.at()).stream);
    assert_eq!(proxy.rejected("no-backend"), 4);
}

#[test]
fn when_all_go_down_who_waits_goes_to_the_fallback() {
    let (server, other) = (Server::greet("s"), Server::greet("other"));
    let rescue = pool("q", &entries(std::slice::from_ref(&other)), "");
    let proxy = Evenkeel::start(&(switched(&server, "fallback = \"q\"") + &rescue));
    switch(&proxy, "up");
    let _held = hold(proxy.at());
    let waiting = line_up(&proxy, 3);
    switch(&proxy, "down");
    for mut client in waiting {
        assert_eq!(read_line(&mut client).unwrap(), "other");
    }
    assert_eq!((proxy.metrics().count("rejected_total", &[]), length(&proxy)), (0, 0));
}

#[test]
fn a_graceful_stop_lets_those_who_wait_have_their_turn_until_its_deadline() {
    let (_server, mut proxy) = capped("shutdown_timeout = \"10m\"", 1, 9, "10m");
    let at = proxy.at();
    let held = hold(at);
    let mut waiting = line_up(&proxy, 3);
    proxy.signal(Signal::TERM);
    eventually("the listener is closed", PATIENCE, || try_connect(at).is_err());
    close(held.stream);
    let mut next = waiting.remove(0);
    assert_eq!(read_line(&mut next).unwrap(), "s");
    ping(&mut next, "served during the stop");
    assert!(proxy.runs());
    // The second signal is what the deadline is, at once.
    proxy.signal(Signal::TERM);
    for mut client in waiting {
        assert_eq!(end_of(&mut client), End::Reset);
    }
    assert_eq!(proxy.exit_code(PATIENCE), Some(0));
}

#[test]
fn the_deadline_of_a_stop_ends_those_who_wait() {
    let (_server, mut proxy) = capped("shutdown_timeout = \"1s\"", 1, 9, "10m");
    let _held = hold(proxy.at());
    let waiting = line_up(&proxy, 3);
    proxy.signal(Signal::TERM);
    for mut client in waiting {
        assert_eq!(end_of(&mut client), End::Reset);
    }
    assert_eq!(proxy.exit_code(PATIENCE), Some(0));
    let lines = proxy.wait_access(4);
    let ended = |outcome| lines.iter().filter(|line| line["outcome"] == outcome).count();
    // On a worker that hears of the deadline last, one may get the place of the session that was
    // ended, and is ended with it or while it connects.
    let waited = ended("queue-timeout");
    assert!((2..=3).contains(&waited), "{lines:?}");
    assert_eq!(waited + ended("shutdown") + ended("refused"), 4, "{lines:?}");
}

#[test]
fn the_time_in_the_queue_is_no_part_of_the_window() {
    let server = Server::greet("s");
    let keys =
        format!("max_sessions = 1\n{}\n[pool.p.retry]\nwindow = \"1500ms\"", table(9, "10m"));
    let proxy = Evenkeel::start(&unprobed(&entries(std::slice::from_ref(&server)), "", &keys));
    let held = hold(proxy.at());
    let mut client = line_up(&proxy, 1).remove(0);
    throughout("it waits", Duration::from_millis(1_800), || length(&proxy) == 1);
    close(held.stream);
    assert_eq!(read_line(&mut client).unwrap(), "s");
}

#[test]
fn a_failed_attempt_gives_its_place_to_the_next_and_queues_again_behind() {
    let hole = Blackhole::open();
    let keys = format!(
        "max_sessions = 1\nconnect_timeout = \"1s\"\n{}\n[pool.p.retry]\nattempts = 2",
        table(9, "10m")
    );
    let proxy = Evenkeel::start(&unprobed(&format!("[\"{}\"]", hole.address()), "", &keys));
    let first = connect(proxy.at());
    eventually("its attempt has begun", PATIENCE, || proxy.sessions() == 1);
    let second = connect(proxy.at());
    for mut client in [first, second] {
        assert_eq!(end_of(&mut client), End::Reset);
    }
    // Each has had its two attempts, one at a time, and was kept from none by the other.
    assert_eq!((proxy.rejected("refused"), length(&proxy)), (2, 0));
    let metrics = proxy.metrics();
    assert_eq!(metrics.count("connect_failures_total", &[("reason", "timeout")]), 4);
    assert_eq!(metrics.count("retries_total", &[]), 2);
    assert!(metrics.count("queue_wait_seconds_count", &[]) >= 2);
}

#[test]
fn the_queue_of_a_full_fallback_is_left_when_the_pool_itself_comes_back() {
    let (home, other) = (Server::greet_later("home"), Server::greet("other"));
    let toml = file(&entries(std::slice::from_ref(&home)), "", "fallback = \"q\"")
        + &pool("q", &entries(std::slice::from_ref(&other)), "max_sessions = 1")
        + "[pool.q.queue]\nsize = 9\ntimeout = \"10m\"\n";
    let proxy = Evenkeel::start(&toml);
    let held = hold(proxy.at());
    assert_eq!(held.backend, "other");
    let waiting: Vec<_> = (0..3).map(|_| connect(proxy.at())).collect();
    let length = || proxy.metrics().count("queue_length", &[("pool", "q")]);
    eventually("three wait for the fallback", PATIENCE, || length() == 3);
    home.start();
    for mut client in waiting {
        assert_eq!(read_line(&mut client).unwrap(), "home");
    }
    assert_eq!(length(), 0);
}
