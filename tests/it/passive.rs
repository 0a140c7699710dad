//! Passive health: backends that fail under real traffic are put out for a while.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use serde_json::Value;

use crate::harness::client::{End, connect, end_of, hold, reset, try_hold, who};
use crate::harness::evenkeel::{Evenkeel, evenkeel};
use crate::harness::files::{file, unprobed};
use crate::harness::servers::{Server, entries};
use crate::harness::wait::{PATIENCE, eventually, throughout, until};

/// Long enough for a machine that stalls: three failures within it, and no end of an ejection.
const LONG: &str = "window = \"10m\", eject_for = \"20m\"";

fn passive(keys: &str) -> String {
    format!("balance = \"round-robin\"\npassive = {{ {keys} }}")
}

/// The log lines of a backend that changed between these words.
fn changes(proxy: &Evenkeel, backend: &str, from: &str, to: &str) -> Vec<Value> {
    let is_it =
        |event: &Value| event["backend"] == backend && event["from"] == from && event["to"] == to;
    proxy.events().into_iter().filter(is_it).collect()
}

fn is_ejected(proxy: &Evenkeel, backend: &str) -> bool {
    !proxy.backend(backend)["ejected_until"].is_null()
}

/// Names of the backends that are ejected.
fn ejected(proxy: &Evenkeel, servers: &[Server]) -> Vec<String> {
    let names = servers.iter().map(|server| server.name.clone());
    names.filter(|name| is_ejected(proxy, name)).collect()
}

fn spared(proxy: &Evenkeel) -> usize {
    let message = "backend not ejected: no more of its pool may be";
    proxy.events().iter().filter(|event| event["message"] == message).count()
}

/// A client that is answered by nobody.
fn fail(proxy: &Evenkeel) {
    assert!(try_hold(proxy.at()).is_err());
}

#[test]
fn a_backend_that_refuses_is_ejected_without_a_probe_and_no_client_notices() {
    let (victim, live) = (Server::greet_later("victim"), Server::greet("live"));
    let list = format!("[{}, {}]", victim.entry(""), live.entry(""));
    let proxy = Evenkeel::start(&unprobed(&list, "", &passive(LONG)));
    let status = until("the victim is ejected", PATIENCE, || {
        assert_eq!(who(proxy.at()), "live");
        Some(proxy.backend("victim")).filter(|status| !status["ejected_until"].is_null())
    });
    let failures = status["failures"].as_u64().unwrap();
    assert_eq!((&status["health"], &status["state"]), (&"up".into(), &"ready".into()));
    assert_eq!((&status["weight"], &status["effective_weight"]), (&1.into(), &0.into()));
    let reason = status["ejected_reason"].as_str().unwrap();
    let counted: u64 = reason.split(' ').next().unwrap().parse().unwrap();
    assert!((3..=failures).contains(&counted), "{reason}");
    let said = format!("{counted} failures in 600s: {counted} refused; out for 1200s");
    assert_eq!(reason, said);
    let [line] = &changes(&proxy, "victim", "up", "ejected")[..] else { panic!() };
    assert_eq!((&line["reason"], &line["level"]), (&said.into(), &"WARN".into()));

    // It would answer again, and nobody asks.
    victim.start();
    for _ in 0..20 {
        assert_eq!(who(proxy.at()), "live");
    }
    assert_eq!(victim.accepted(), 0);
    let metrics = proxy.metrics();
    let of = |name, labels: &[(&str, &str)]| {
        metrics.count(name, &[&[("pool", "p"), ("backend", "victim")], labels].concat())
    };
    assert_eq!((of("ejections_total", &[]), of("backend_up", &[])), (1, 1));
    assert_eq!(of("backend_state", &[("state", "ejected")]), 1);
    assert_eq!(of("backend_state", &[]), 1, "exactly one state");
    assert_eq!(metrics.count("rejected_total", &[]), 0);
    let shown = evenkeel(&["status", "-c", proxy.file().to_str().unwrap(), "--admin", &{
        proxy.admin().to_string()
    }]);
    let shown = shown.expect_code(0).stdout;
    assert!(shown.contains("ready, ejected"), "{shown}");
}

#[test]
fn whoever_was_ejected_comes_back_after_its_term() {
    let (victim, live) = (Server::greet_later("victim"), Server::greet("live"));
    let list = format!("[{}, {}]", victim.entry(""), live.entry(""));
    let keys = passive("window = \"10m\", eject_for = \"1s\"");
    let proxy = Evenkeel::start(&unprobed(&list, "", &keys));
    eventually("the victim is ejected", PATIENCE, || {
        assert_eq!(who(proxy.at()), "live");
        !changes(&proxy, "victim", "up", "ejected").is_empty()
    });
    victim.start();
    eventually("it is used again", PATIENCE, || who(proxy.at()) == "victim");
    let line = until("its return is logged", PATIENCE, || {
        changes(&proxy, "victim", "ejected", "up").pop()
    });
    assert_eq!(line["level"], "INFO");
    assert!(line["reason"].as_str().unwrap().ends_with("of ejection are over"), "{line}");
    let status = proxy.backend("victim");
    assert!(status["ejected_until"].is_null() && status["ejected_reason"].is_null());
    assert_eq!(status["effective_weight"], 1);
}

#[test]
fn a_backend_that_resets_early_is_ejected_however_good_its_probes_are() {
    let (victim, live) = (Server::resetting("victim"), Server::greet("live"));
    let list = format!("[{}, {}]", victim.entry(""), live.entry(""));
    let proxy =
        Evenkeel::start(&file(&list, "", &format!("connect_timeout = \"5m\"\n{}", passive(LONG))));
    eventually("the victim is ejected", PATIENCE, || {
        let mut client = connect(proxy.at());
        drop(client.write_all(b"x"));
        drop(client.shutdown(Shutdown::Write));
        end_of(&mut client);
        is_ejected(&proxy, "victim")
    });
    proxy.wait_idle();
    let resets = proxy.outcomes("backend-reset");
    let early = || proxy.metrics().count("early_resets_total", &[("backend", "victim")]);
    assert!(resets >= 3);
    assert_eq!((early(), &proxy.backend("victim")["failures"]), (resets, &resets.into()));
    let [line] = &changes(&proxy, "victim", "up", "ejected")[..] else { panic!() };
    let reason = line["reason"].as_str().unwrap();
    assert!(reason.contains("reset before its first byte; out for"), "{reason}");

    // It is still probed, with success, and that alone brings nobody back.
    let probed =
        || proxy.metrics().count("probes_total", &[("backend", "victim"), ("result", "ok")]);
    let before = probed();
    eventually("it is probed on", PATIENCE, || probed() > before + 3);
    let status = proxy.backend("victim");
    assert_eq!(status["health"], "up");
    assert!(!status["ejected_until"].is_null());
    assert_eq!(who(proxy.at()), "live");
}

#[test]
fn a_reset_after_the_first_byte_speaks_against_nobody() {
    let server = Server::new("victim", |mut stream| {
        stream.write_all(b"victim\n").unwrap();
        drop(stream.read(&mut [0; 1]));
        reset(stream);
    });
    let proxy = Evenkeel::start(&unprobed(
        &format!("[{}]", server.entry("")),
        "",
        "connect_timeout = \"5m\"",
    ));
    for _ in 0..4 {
        let mut held = hold(proxy.at());
        held.stream.write_all(b"x").unwrap();
        assert_eq!(end_of(&mut held.stream), End::Reset);
    }
    proxy.wait_outcome("backend-reset", 4);
    assert_eq!(proxy.metrics().count("early_resets_total", &[]), 0);
    assert_eq!(proxy.backend("victim")["failures"], 0);
}

#[test]
fn never_more_than_max_ejected_are_out() {
    let servers: Vec<_> = ["a", "b", "c", "d"].map(Server::greet_later).into();
    let keys = passive(&format!("{LONG}, failures = 1"));
    let proxy = Evenkeel::start(&unprobed(&entries(&servers), "", &keys));
    eventually("two are ejected and two are not", PATIENCE, || {
        fail(&proxy);
        assert!(ejected(&proxy, &servers).len() <= 2);
        spared(&proxy) >= 2
    });
    let out = ejected(&proxy, &servers);
    assert_eq!(out.len(), 2);
    for _ in 0..10 {
        fail(&proxy);
    }
    assert_eq!((ejected(&proxy, &servers), spared(&proxy)), (out, 2), "each is told once");
    assert_eq!(proxy.metrics().count("ejections_total", &[]), 2);
}

#[test]
fn a_pool_of_one_is_never_ejected() {
    let server = Server::greet_later("only");
    let keys = passive(&format!("{LONG}, max_ejected = \"100%\""));
    let proxy = Evenkeel::start(&unprobed(&format!("[{}]", server.entry("")), "", &keys));
    eventually("it should be ejected, and is not", PATIENCE, || {
        fail(&proxy);
        spared(&proxy) == 1
    });
    server.start();
    assert_eq!(who(proxy.at()), "only");
    assert_eq!(proxy.metrics().count("ejections_total", &[]), 0);
}

#[test]
fn when_all_are_ejected_only_a_pool_that_fails_open_tries_them() {
    for fail_open in [true, false] {
        let servers: Vec<_> = ["a", "b"].map(Server::greet_later).into();
        let keys = passive(&format!("{LONG}, max_ejected = \"100%\""));
        let keys = format!("fail_open = {fail_open}\n{keys}");
        let proxy = Evenkeel::start(&unprobed(&entries(&servers), "", &keys));
        eventually("both are ejected", PATIENCE, || {
            fail(&proxy);
            ejected(&proxy, &servers).len() == 2
        });
        let is_down = |event: &&Value| event["pool"] == "p" && event["message"] == "pool down";
        let line = until("it is said that nobody is left", PATIENCE, || {
            proxy.events().iter().find(is_down).cloned()
        });
        assert_eq!(line["reason"], "no backend can be picked: 2 ejected");
        servers.iter().for_each(Server::start);
        if fail_open {
            assert!(["a", "b"].contains(&who(proxy.at()).as_str()));
        } else {
            let before = proxy.rejected("no-backend");
            fail(&proxy);
            eventually("it is counted", PATIENCE, || proxy.rejected("no-backend") == before + 1);
        }
        assert_eq!(ejected(&proxy, &servers).len(), 2);
    }
}

#[test]
fn coming_up_from_down_ends_an_ejection() {
    // Asked elsewhere than it serves, it can fail here and not there.
    let (agent, victim) = (Server::silent("agent"), Server::greet_later("victim"));
    let live = Server::greet("live");
    let list = format!("[{}, {}]", victim.entry(""), live.entry(""));
    let toml = file(&list, "", &passive(LONG));
    let toml = format!("{toml}port = {}\n", agent.address().port());
    let proxy = Evenkeel::start(&toml);
    eventually("the victim is ejected", PATIENCE, || {
        assert_eq!(who(proxy.at()), "live");
        is_ejected(&proxy, "victim")
    });
    victim.start();
    agent.stop();
    proxy.wait_health("victim", "down");
    assert!(is_ejected(&proxy, "victim"));
    agent.start();
    proxy.wait_health("victim", "up");
    assert!(!is_ejected(&proxy, "victim"));
    assert_eq!(changes(&proxy, "victim", "ejected", "up").len(), 1);
    eventually("it is used", PATIENCE, || who(proxy.at()) == "victim");
}

#[test]
fn with_no_failures_to_count_nobody_is_ejected() {
    let (victim, live) = (Server::greet_later("victim"), Server::greet("live"));
    let list = format!("[{}, {}]", victim.entry(""), live.entry(""));
    let proxy = Evenkeel::start(&unprobed(&list, "", &passive("failures = 0")));
    throughout("it stays", Duration::from_secs(1), || {
        who(proxy.at()) == "live" && !is_ejected(&proxy, "victim")
    });
    assert!(proxy.backend("victim")["failures"].as_u64().unwrap() > 3);
}

#[test]
fn a_backend_that_comes_back_gets_its_weight_little_by_little() {
    let servers: Vec<_> = ["slow", "other"].map(Server::greet).into();
    let keys = "balance = \"round-robin\"\nslow_start = \"10h\"";
    let proxy = Evenkeel::start(&file(&entries(&servers), "", keys));
    let sessions = |count| (0..count).filter(|_| who(proxy.at()) == "slow").count();
    assert_eq!((&proxy.backend("slow")["effective_weight"], sessions(10)), (&1.into(), 5));
    servers[0].stop();
    proxy.wait_health("slow", "down");
    assert_eq!(proxy.backend("slow")["effective_weight"], 0);
    servers[0].start();
    proxy.wait_health("slow", "up");
    let status = proxy.backend("slow");
    // A tenth of its weight, for the first hour.
    assert_eq!((&status["weight"], &status["effective_weight"]), (&1.into(), &0.1.into()));
    assert_eq!(sessions(44), 4);
    assert_eq!(proxy.backend("other")["effective_weight"], 1);
    let shown = evenkeel(&["status", "--admin", &proxy.admin().to_string()]);
    assert!(shown.expect_code(0).stdout.contains("0.1 of 1"));
}
