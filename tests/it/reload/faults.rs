//! Reloads that cannot be: nothing changes, and somebody says why. And those that are taken back.

use std::slice::from_ref;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;
use serde_json::Value;

use crate::harness::client::{hold, ping, try_connect, who};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::{entry, file, says, unprobed};
use crate::harness::seat::{Blackhole, Seat};
use crate::harness::servers::{Server, entries};
use crate::harness::storm::{Diary, visits};
use crate::harness::wait::{PATIENCE, eventually, throughout};

fn greeters() -> [Server; 2] {
    ["a", "b"].map(Server::greet)
}

/// All to this server.
fn to(server: &Server) -> String {
    unprobed(&entries(from_ref(server)), "", "")
}

fn hash(proxy: &Evenkeel) -> Value {
    proxy.status()["config"]["hash"].clone()
}

/// Log lines at this level or above that speak of a reload.
fn refusals(proxy: &Evenkeel) -> Vec<Value> {
    let is_it = |event: &Value| {
        let level = event["level"].as_str().unwrap_or_default();
        let message = event["message"].as_str().unwrap_or_default();
        ["WARN", "ERROR"].contains(&level) && message.contains("reload")
    };
    proxy.events().into_iter().filter(is_it).collect()
}

#[test]
fn a_broken_file_changes_nothing_and_everybody_is_told() {
    let [a, b] = greeters();
    let proxy = Evenkeel::start(&to(&a));
    let (before, mut held) = (hash(&proxy), hold(proxy.at()));
    let broken = to(&b).replace("balance", "balanse") + "\n[pool.p.retry]\nattemps = 3\n";
    proxy.rewrite(&broken);

    let answer = proxy.post("/api/v1/reload");
    assert_eq!(answer.status, 400);
    assert!(
        answer.json()["problems"].as_array().is_some_and(|all| !all.is_empty()),
        "{}",
        answer.body
    );
    says(&answer.body, &["attemps", "attempts"]);
    eventually("the log says so", PATIENCE, || refusals(&proxy).len() == 1);

    let order = proxy.order(&["reload"]).expect_code(2);
    says(&order.text(), &["evenkeel.toml", "attemps", "attempts"]);

    proxy.signal(Signal::HUP);
    eventually("it is counted", PATIENCE, || proxy.reloads("refused") == 3);
    eventually("the log says why", PATIENCE, || refusals(&proxy).len() == 3);
    says(&refusals(&proxy)[2].to_string(), &["attemps"]);

    assert_eq!((hash(&proxy), proxy.reloads("ok")), (before, 0));
    assert_eq!(who(proxy.at()), "a");
    ping(&mut held.stream, "still here");
    // And then one that is well.
    proxy.reload(&to(&b));
    assert_eq!(who(proxy.at()), "b");
}

#[test]
fn a_file_that_is_gone_changes_nothing() {
    let [a, _] = greeters();
    let proxy = Evenkeel::start(&to(&a));
    std::fs::remove_file(proxy.file()).unwrap();
    proxy.order(&["reload"]).expect_code(2);
    assert_eq!((proxy.post("/api/v1/reload").status, proxy.reloads("refused")), (400, 2));
    assert_eq!(who(proxy.at()), "a");
}

#[test]
fn a_port_that_somebody_else_has_changes_nothing() {
    let [a, b] = greeters();
    let proxy = Evenkeel::start(&to(&a));
    let before = hash(&proxy);
    let (seat, free) = (Seat::take(), Seat::take());
    let _other = seat.listen();
    // One that could be opened stands before the one that cannot, and a new pool behind both.
    let more = |name: &str, seat: &Seat| {
        format!("[listener.{name}]\nbind = \"{}\"\npool = \"p\"\n", seat.address())
    };
    proxy.rewrite(&(more("free", &free) + &more("taken", &seat) + &to(&b)));
    let answer = proxy.post("/api/v1/reload");
    assert!([409, 503].contains(&answer.status), "{} {}", answer.status, answer.body);
    says(&answer.json()["error"].to_string(), &[&seat.address().to_string(), "in use"]);
    says(&proxy.order(&["reload"]).expect_code(1).text(), &[&seat.address().to_string()]);
    assert_eq!((hash(&proxy), proxy.reloads("refused"), proxy.reloads("ok")), (before, 2, 0));
    eventually("the log says so", PATIENCE, || refusals(&proxy).len() == 2);
    assert_eq!(who(proxy.at()), "a");
    assert!(try_connect(free.address()).is_err(), "nothing of it was opened");
    // The balancer's own addresses are no strangers.
    proxy.reload(&(more("free", &free) + &to(&b)));
    assert_eq!((who(proxy.at()), who(free.address())), ("b".into(), "b".into()));
}

#[test]
fn reloads_that_come_at_once_are_done_one_after_the_other() {
    let [a, b] = greeters();
    let proxy = Evenkeel::start(&to(&a));
    let storm = visits(proxy.at(), 100);
    // Each has to wait for a probe that gets no answer, so that they do overlap.
    let hole = Blackhole::open();
    let slow = entry(hole.address(), "slow", "");
    let list = format!("[{}, {slow}]", b.entry(""));
    let toml = file(&list, "", "").replace("timeout = \"10s\"", "timeout = \"300ms\"");
    proxy.rewrite(&toml);
    let statuses: Vec<_> = thread::scope(|scope| {
        let posts: Vec<_> = (0..5).map(|_| scope.spawn(|| proxy.post("/api/v1/reload"))).collect();
        proxy.signal(Signal::HUP);
        posts.into_iter().map(|post| post.join().unwrap().status).collect()
    });
    assert_eq!(statuses, [200; 5]);
    eventually("all are counted", PATIENCE, || proxy.reloads("ok") == 6);
    assert_eq!(who(proxy.at()), "b");
    storm.calm(&Diary::new(), 50);
}

#[test]
fn what_needs_a_restart_is_named_and_the_rest_takes_effect() {
    let [a, b] = greeters();
    let proxy = Evenkeel::start(&format!("[process]\nthreads = 1\n{}", to(&a)));
    let other = format!("[process]\nthreads = 2\nshutdown_timeout = \"9s\"\n{}", to(&b));
    let said = proxy.reload(&(other.clone() + "[admin]\nbind = \"127.0.0.1:1\"\n"));
    let mut keys: Vec<String> = serde_json::from_value(said["changes"]["restart"].clone()).unwrap();
    keys.sort();
    assert_eq!(keys, ["admin.bind", "process.threads"]);
    assert_eq!(who(proxy.at()), "b");
    assert_eq!(proxy.status()["state"], "serving");
    // It is still different from what runs.
    let text = proxy.order(&["reload"]).expect_code(0).text();
    says(&text, &["process.threads", "admin.bind", "restart"]);
    let said = proxy.reload(&format!("[process]\nthreads = 1\n{}", to(&b)));
    assert_eq!(said["changes"]["restart"], serde_json::json!([]));
}

#[test]
fn there_is_nothing_to_confirm_without_a_reload_that_waits_for_it() {
    let [a, b] = greeters();
    let proxy = Evenkeel::start(&to(&a));
    assert_eq!(proxy.post("/api/v1/confirm").status, 409);
    proxy.order(&["confirm"]).expect_code(1);
    proxy.reload(&to(&b));
    assert_eq!(proxy.post("/api/v1/confirm").status, 409);
    assert_eq!(proxy.post("/api/v1/reload?confirm=soon").status, 400);
    assert_eq!(proxy.post("/api/v1/reload?confirm=0s").status, 400);
    assert_eq!(proxy.reloads("ok"), 1);
}

#[test]
fn what_is_not_confirmed_in_time_is_taken_back() {
    let [a, b] = greeters();
    let proxy = Evenkeel::start(&to(&a));
    let (before, mut held) = (hash(&proxy), hold(proxy.at()));
    proxy.rewrite(&to(&b));
    let began = Instant::now();
    let answer = proxy.post("/api/v1/reload?confirm=2s");
    assert_eq!(answer.status, 200, "{}", answer.body);
    let left = answer.json()["confirm_within_ms"].as_u64().unwrap();
    assert!((1..=2000).contains(&left), "{left}");
    if began.elapsed() < Duration::from_secs(1) {
        assert_eq!(who(proxy.at()), "b");
    }
    eventually("it is taken back", PATIENCE, || hash(&proxy) == before);
    assert!(began.elapsed() >= Duration::from_millis(1900), "{:?}", began.elapsed());
    assert_eq!(who(proxy.at()), "a");
    ping(&mut held.stream, "still here");
    // The file on the disk is left as it is, and there is nothing left to confirm.
    assert!(std::fs::read_to_string(proxy.file()).unwrap().contains(&b.address().to_string()));
    assert_eq!(proxy.post("/api/v1/confirm").status, 409);
    let order = proxy.order(&["reload", "--confirm", "1m"]).expect_code(0);
    says(&order.text(), &["confirm"]);
    proxy.order(&["confirm"]).expect_code(0);
    assert_eq!(who(proxy.at()), "b");
    throughout("it stays", Duration::from_millis(2500), || who(proxy.at()) == "b");
}

#[test]
fn what_makes_a_pool_useless_is_taken_back_at_once() {
    let a = Server::greet("a");
    let dead = Seat::take();
    let proxy = Evenkeel::start(&file(&entries(from_ref(&a)), "", ""));
    let before = hash(&proxy);
    let list = format!("[{}]", entry(dead.address(), "dead", ""));
    proxy.rewrite(&file(&list, "", ""));
    let began = Instant::now();
    let answer = proxy.post("/api/v1/reload?confirm=10m");
    assert_eq!(answer.status, 200, "{}", answer.body);
    eventually("it is taken back", PATIENCE, || hash(&proxy) == before);
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
    assert_eq!(who(proxy.at()), "a");
    assert_eq!(proxy.post("/api/v1/confirm").status, 409);
}

#[test]
fn a_stop_is_not_kept_by_a_reload_and_refuses_the_next() {
    let [a, b] = greeters();
    let mut proxy = Evenkeel::start(&to(&a));
    let held = hold(proxy.at());
    // A backend whose first probe would take ten seconds.
    let list = format!("[{}, {}]", b.entry(""), entry(Blackhole::open().address(), "slow", ""));
    proxy.rewrite(&file(&list, "", ""));
    proxy.frozen(|| {
        proxy.signal(Signal::HUP);
        proxy.signal(Signal::TERM);
    });
    eventually("it stops", PATIENCE, || proxy.get("/readyz").status == 503);
    let began = Instant::now();
    let answer = proxy.post("/api/v1/reload");
    assert_eq!(answer.status, 503, "{}", answer.body);
    drop(held);
    assert_eq!(proxy.exit_code(PATIENCE), Some(0));
    assert!(began.elapsed() < Duration::from_secs(9), "{:?}", began.elapsed());
}

#[test]
fn a_stop_is_heard_while_the_file_cannot_be_read_to_its_end() {
    let [a, _] = greeters();
    let mut proxy = Evenkeel::start(&to(&a));
    std::fs::remove_file(proxy.file()).unwrap();
    // Whoever opens it waits until somebody writes there.
    mknodat(CWD, proxy.file(), FileType::Fifo, Mode::RWXU, 0).unwrap();
    proxy.signal(Signal::HUP);
    assert_eq!(who(proxy.at()), "a");
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.exit_code(PATIENCE), Some(0));
}
