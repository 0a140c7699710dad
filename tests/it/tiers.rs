//! Who is tried when the ordinary backends cannot be: weight 0, backup, fallback, fail open, refusal.

use crate::harness::client::{Held, hold, try_hold, who};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::{file, pool, unprobed};
use crate::harness::seat::Seat;
use crate::harness::servers::{Server, entries};

fn refused_by_all(proxy: &Evenkeel) -> bool {
    try_hold(proxy.at()).is_err()
}

#[test]
fn a_backend_of_weight_zero_is_probed_and_takes_nothing() {
    let (a, zero) = (Server::greet("a"), Server::greet("zero"));
    let list = format!("[{}, {}]", a.entry(""), zero.entry("weight = 0"));
    let proxy = Evenkeel::start(&file(&list, "", ""));
    assert!((0..20).all(|_| who(proxy.at()) == "a"));
    assert_eq!(proxy.backend("zero")["health"], "up");
    assert_eq!(proxy.backend("zero")["weight"], 0);
    a.stop();
    proxy.wait_health("a", "down");
    assert!(refused_by_all(&proxy));
    assert!(proxy.rejected("no-backend") >= 1);
}

#[test]
fn a_backup_takes_over_when_the_last_ordinary_backend_is_down_and_gives_back() {
    let [a, b, spare] = ["a", "b", "spare"].map(Server::greet);
    let list = format!("[{}, {}, {}]", a.entry(""), b.entry(""), spare.entry("backup = true"));
    let proxy = Evenkeel::start(&file(&list, "", ""));
    assert!((0..10).all(|_| who(proxy.at()) != "spare"));
    a.stop();
    proxy.wait_health("a", "down");
    assert!((0..10).all(|_| who(proxy.at()) == "b"));
    b.stop();
    proxy.wait_health("b", "down");
    assert!((0..10).all(|_| who(proxy.at()) == "spare"));
    a.start();
    proxy.wait_health("a", "up");
    assert!((0..10).all(|_| who(proxy.at()) == "a"));
}

#[test]
fn the_fallback_pool_is_used_while_a_pool_has_no_backend_up() {
    let [a, other] = ["a", "other"].map(Server::greet);
    let toml = file(&entries(std::slice::from_ref(&a)), "", "fallback = \"q\"");
    let toml = toml + &pool("q", &entries(std::slice::from_ref(&other)), "");
    let proxy = Evenkeel::start(&toml);
    assert_eq!(who(proxy.at()), "a");
    a.stop();
    proxy.wait_health("a", "down");
    assert!((0..5).all(|_| who(proxy.at()) == "other"));
    assert_eq!(proxy.get("/readyz").status, 503, "a pool in use has no backend up");
    let metrics = proxy.metrics();
    assert_eq!(metrics.count("rejected_total", &[]), 0);
    assert!(metrics.count("sessions_total", &[("pool", "q"), ("backend", "other")]) >= 4);
    a.start();
    proxy.wait_health("a", "up");
    assert_eq!(who(proxy.at()), "a");
}

#[test]
fn a_cap_is_not_a_failure_and_leads_to_no_backup_and_no_fallback() {
    let [a, spare, other] = ["a", "spare", "other"].map(Server::greet);
    let list = format!("[{}, {}]", a.entry("max_sessions = 1"), spare.entry("backup = true"));
    let toml = file(&list, "", "fallback = \"q\"")
        + &pool("q", &entries(std::slice::from_ref(&other)), "");
    let proxy = Evenkeel::start(&toml);
    let held = hold(proxy.at());
    assert_eq!(held.backend, "a");
    assert!(refused_by_all(&proxy));
    assert_eq!(proxy.rejected("queue-full"), 1);
}

#[test]
fn fail_open_tries_the_backends_that_probes_call_down() {
    let a = Server::greet("a");
    let toml = format!(
        "[listener.l]\nbind = \"127.0.0.1:0\"\npool = \"p\"\n[pool.p]\nbackends = {}\n\
         fail_open = true\n[pool.p.health]\nprobe = \"exec\"\ncommand = [\"false\"]\n\
         interval = \"100ms\"\n",
        entries(std::slice::from_ref(&a))
    );
    let proxy = Evenkeel::start(&toml);
    assert_eq!(proxy.backend("a")["health"], "down");
    assert_eq!(who(proxy.at()), "a");
}

#[test]
fn fail_open_never_reaches_a_drained_backend() {
    let list = [Server::greet("a")];
    let entry = format!("[{}]", list[0].entry("state = \"drain\""));
    let proxy = Evenkeel::start(&file(&entry, "", "fail_open = true"));
    assert!(refused_by_all(&proxy));
    assert_eq!(proxy.rejected("no-backend"), 1);
    assert_eq!(proxy.backend("a")["state"], "drain");
}

#[test]
fn backends_in_drain_or_maintenance_by_the_file_take_nothing() {
    let [a, d, m] = ["a", "d", "m"].map(Server::greet);
    let list = format!(
        "[{}, {}, {}]",
        a.entry(""),
        d.entry("state = \"drain\""),
        m.entry("state = \"maintenance\"")
    );
    let proxy = Evenkeel::start(&file(&list, "", ""));
    assert!((0..20).all(|_| who(proxy.at()) == "a"));
    assert_eq!(proxy.backend("d")["health"], "up", "a draining backend is still probed");
    assert_eq!(m.accepted(), 0, "a backend in maintenance is not");
    let states = proxy.metrics();
    for (backend, state) in [("a", "up"), ("d", "drain"), ("m", "maintenance")] {
        let labels = [("backend", backend), ("state", state)];
        assert_eq!(states.count("backend_state", &labels), 1, "{backend}");
        assert_eq!(states.count("backend_state", &labels[..1]), 1, "{backend} is in one state");
    }
}

#[test]
fn with_no_backend_up_a_client_is_reset_at_once_and_counted() {
    let seat = Seat::take();
    let proxy = Evenkeel::start(&file(&format!("[\"{}\"]", seat.address()), "", ""));
    let start = std::time::Instant::now();
    let error = try_hold(proxy.at()).map(|held| held.backend).unwrap_err();
    assert!(crate::harness::client::is_reset(&error), "{error}");
    // As long as retries may take in all, it could have tried somebody.
    assert!(start.elapsed() < std::time::Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(proxy.rejected("no-backend"), 1);
    let line = proxy.wait_access(1).remove(0);
    assert_eq!((line["outcome"].as_str(), line["backend"].as_str()), (Some("no-backend"), None));
    assert_eq!(proxy.metrics().count("sessions_total", &[]), 0);
}

#[test]
fn when_every_attempt_fails_the_client_is_reset_and_counted_as_refused() {
    let seats = [Seat::take(), Seat::take()];
    let list = format!("[\"{}\", \"{}\"]", seats[0].address(), seats[1].address());
    let proxy = Evenkeel::start(&unprobed(&list, "", ""));
    let error = try_hold(proxy.at()).map(|held| held.backend).unwrap_err();
    assert!(crate::harness::client::is_reset(&error), "{error}");
    assert_eq!(proxy.rejected("refused"), 1);
    let metrics = proxy.metrics();
    assert_eq!(metrics.count("connect_failures_total", &[("reason", "refused")]), 3);
    assert_eq!(metrics.count("retries_total", &[("pool", "p")]), 2);
    let line = proxy.wait_access(1).remove(0);
    assert_eq!((line["outcome"].as_str(), line["attempts"].as_u64()), (Some("refused"), Some(3)));
    let held: Vec<Held> = Vec::new();
    assert_eq!(proxy.sessions(), held.len() as u64);
}
