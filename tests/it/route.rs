//! The dry run: what it says is what happens, and asking leaves no trace.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::harness::client::{hold, who};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::{file, pool, unprobed};
use crate::harness::seat::Seat;
use crate::harness::servers::{Server, entries};

fn route(proxy: &Evenkeel, client: &str) -> Value {
    let answer = proxy.get(&format!("/api/v1/route?listener=l&client={client}&sni=x&path=/y"));
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

/// Why a backend would be picked, or not.
fn reason(route: &Value, backend: &str) -> String {
    let candidates = route["candidates"].as_array().unwrap();
    let found = candidates.iter().find(|candidate| candidate["backend"] == backend);
    found.unwrap_or_else(|| panic!("{backend} in {route:#}"))["reason"].as_str().unwrap().to_owned()
}

fn three(policy: &str) -> (Vec<Server>, Evenkeel) {
    let servers: Vec<_> = ["a", "b", "c"].map(Server::greet).into();
    let balance = format!("balance = \"{policy}\"");
    let proxy = Evenkeel::start(&unprobed(&entries(&servers), "", &balance));
    (servers, proxy)
}

#[test]
fn what_it_says_is_what_the_next_session_gets() {
    for policy in ["round-robin", "least-connections", "consistent-hash", "first"] {
        let (_servers, proxy) = three(policy);
        let mut held = Vec::new();
        for _ in 0..7 {
            let told = route(&proxy, "127.0.0.1");
            assert_eq!(told, route(&proxy, "127.0.0.1"), "asking twice is asking once");
            assert_eq!((&told["listener"], &told["route"]), (&"l".into(), &"default".into()));
            assert_eq!((&told["pool"], &told["rejected"]), (&"p".into(), &Value::Null));
            held.push(hold(proxy.at()));
            assert_eq!(told["backend"], held.last().unwrap().backend, "{policy}: {told:#}");
        }
    }
}

#[test]
fn asking_leaves_no_trace() {
    let (servers, proxy) = three("round-robin");
    assert_eq!(who(proxy.at()), "a");
    proxy.wait_idle();
    proxy.wait_outcome("ok", 1);
    let figures = || {
        let all = proxy.get("/metrics").body;
        let ours = all.lines().filter(|line| line.starts_with("evenkeel_"));
        ours.map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let accepted = || servers.iter().map(Server::accepted).sum::<usize>();
    let (before, connections) = (figures(), accepted());
    for _ in 0..20 {
        assert_eq!(route(&proxy, "192.0.2.7:1234")["backend"], "b");
    }
    let after = figures();
    let changed: Vec<_> = before.symmetric_difference(&after).collect();
    assert!(changed.is_empty(), "{changed:#?}");
    assert_eq!(accepted(), connections);
    assert_eq!(who(proxy.at()), "b");
}

#[test]
fn each_state_has_its_words() {
    let dead = Seat::take();
    let servers: Vec<_> = ["drained", "zero", "full", "free"].map(Server::greet).into();
    let spare = Server::greet("spare");
    let list = [
        crate::harness::files::entry(dead.address(), "dead", ""),
        servers[0].entry("state = \"drain\""),
        servers[1].entry("weight = 0"),
        servers[2].entry("max_sessions = 1"),
        servers[3].entry("weight = 2"),
        spare.entry("backup = true"),
    ];
    let proxy = Evenkeel::start(&file(&format!("[{}]", list.join(", ")), "", ""));
    proxy.wait_health("free", "up");
    proxy.wait_health("full", "up");
    let _held: Vec<_> = (0..4).map(|_| hold(proxy.at())).collect();
    let told = route(&proxy, "192.0.2.7");
    assert_eq!(told["backend"], "free");
    assert_eq!(told["address"], servers[3].address().to_string());
    assert!(reason(&told, "dead").starts_with("down: connection refused"), "{told:#}");
    assert!(reason(&told, "dead").ends_with("ago"), "{told:#}");
    assert_eq!(reason(&told, "drained"), "drain");
    assert_eq!(reason(&told, "zero"), "weight 0");
    assert_eq!(reason(&told, "full"), "at its cap of 1");
    assert!(reason(&told, "free").contains("4/2"), "{told:#}");
    assert_eq!(reason(&told, "spare"), "backup: an ordinary one is up");

    let text = proxy.order(&["route", "--listener", "l", "--client", "192.0.2.7"]).expect_code(0);
    for words in ["p/free", "picked", "at its cap of 1", "backup: an ordinary one is up"] {
        assert!(text.stdout.contains(words), "{words} in\n{}", text.stdout);
    }
    for name in ["free", "full"] {
        proxy.patch(name, "{\"state\": \"drain\"}");
    }
    assert_eq!(route(&proxy, "192.0.2.7")["backend"], "spare");
}

#[test]
fn nobody_to_pick_and_nobody_let_in_are_said() {
    let dead = Seat::take();
    let rescue = Server::greet("rescue");
    let toml = file(&format!("[\"{}\"]", dead.address()), "deny = [\"192.0.2.0/24\"]", "");
    let proxy = Evenkeel::start(&toml);
    let told = route(&proxy, "198.51.100.1");
    assert_eq!((&told["backend"], &told["rejected"]), (&Value::Null, &"no-backend".into()));
    for denied in ["192.0.2.7", "::ffff:192.0.2.7", "[::ffff:192.0.2.7]:80"] {
        assert_eq!(route(&proxy, denied)["rejected"], "denied");
    }
    let json = ["route", "--listener", "l", "--client", "192.0.2.7", "--json"];
    let json: Value = serde_json::from_str(&proxy.order(&json).expect_code(0).stdout).unwrap();
    assert_eq!(json["rejected"], "denied");

    let fallback = format!(
        "{}{}",
        file(&format!("[\"{}\"]", dead.address()), "", "fallback = \"q\""),
        pool("q", &entries(std::slice::from_ref(&rescue)), "")
    );
    let proxy = Evenkeel::start(&fallback);
    let told = route(&proxy, "192.0.2.7");
    assert_eq!((&told["pool"], &told["backend"]), (&"q".into(), &"rescue".into()));
}

#[test]
fn what_cannot_be_asked_is_refused() {
    let (_servers, proxy) = three("random");
    for (query, status) in [
        ("listener=l&client=192.0.2.7", 200),
        ("listener=nope&client=192.0.2.7", 404),
        ("listener=l", 400),
        ("client=192.0.2.7", 400),
        ("listener=l&client=example.com", 400),
        ("listener=l&client=%zz", 400),
        ("", 400),
    ] {
        let answer = proxy.get(&format!("/api/v1/route?{query}"));
        assert_eq!(answer.status, status, "{query}: {}", answer.body);
        assert!(status == 200 || answer.json()["error"].is_string(), "{}", answer.body);
    }
    let unknown = proxy.order(&["route", "--listener", "nope", "--client", "192.0.2.7"]);
    assert!(unknown.expect_code(1).stderr.contains("there is l"));
    let told = route(&proxy, "192.0.2.7");
    assert!(reason(&told, "a").contains("33 %"), "{told:#}");
}
