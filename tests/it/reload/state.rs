//! What a reload carries over, and what it changes: health, ejections, counters, an operator's wishes,
//! sessions, and what it says of all that.

use std::io::Read;
use std::net::TcpStream;
use std::slice::from_ref;
use std::time::Duration;

use super::names;
use crate::harness::client::{
    End, close, connect, connect_from, end_of, hold, ping, read_line, who,
};
use crate::harness::evenkeel::{Evenkeel, by_name};
use crate::harness::files::{entry, says, unprobed};
use crate::harness::seat::Seat;
use crate::harness::servers::{Server, entries};
use crate::harness::wait::{PATIENCE, eventually, throughout};

/// One listener `l` on one pool `p` whose backends are probed once and then not again for an hour.
fn seldom(list: &str, listener: &str, pool: &str) -> String {
    format!(
        "[listener.l]\nbind = \"127.0.0.1:0\"\npool = \"p\"\n{listener}\n[pool.p]\n\
         backends = {list}\n{pool}\n[pool.p.health]\ninterval = \"1h\"\ntimeout = \"10s\"\n"
    )
}

fn greeters() -> [Server; 3] {
    ["a", "b", "c"].map(Server::greet)
}

fn probes(proxy: &Evenkeel, backend: &str) -> u64 {
    proxy.metrics().count("probes_total", &[("backend", backend)])
}

#[test]
fn health_is_kept_and_a_new_backend_has_been_probed_by_the_time_of_the_answer() {
    let [a, b, c] = greeters();
    let dead = Seat::take();
    let dead = entry(dead.address(), "dead", "");
    let list = |more: &[&str]| format!("[{}, {}, {}]", a.entry(""), dead, more.join(", "));
    let proxy = Evenkeel::start(&seldom(&list(&[]), "", "passive = { failures = 0 }"));
    assert_eq!((probes(&proxy, "a"), probes(&proxy, "dead")), (1, 1));
    // It is `up` until a probe says otherwise, and there is none for an hour.
    a.stop();
    proxy.reload(&seldom(&list(&[&b.entry("")]), "", "passive = { failures = 0 }"));
    let health = |name: &str| proxy.backend(name)["health"].clone();
    assert_eq!(
        (health("a"), health("dead"), health("b")),
        ("up".into(), "down".into(), "up".into())
    );
    assert_eq!(who(proxy.at()), "b");
    // Another policy, and another cap: still nobody is probed again.
    let toml =
        seldom(&list(&[&b.entry("max_sessions = 9"), &c.entry("")]), "", "balance = \"random\"");
    proxy.reload(&toml);
    assert_eq!(
        (health("a"), health("dead"), health("c")),
        ("up".into(), "down".into(), "up".into())
    );
    assert_eq!(["a", "dead", "b", "c"].map(|name| probes(&proxy, name)), [1; 4]);
    // The log has it in the order in which it came to be.
    let events = proxy.events();
    let first = |is_it: &dyn Fn(&serde_json::Value) -> bool| events.iter().position(is_it).unwrap();
    let up = first(&|event| event["backend"] == "b" && event["to"] == "up");
    let reloaded = first(&|event| event["message"].to_string().contains("reloaded"));
    assert!(up < reloaded, "{}", proxy.log());
}

#[test]
fn an_ejection_goes_on() {
    let [a, b, _] = greeters();
    let refused = Seat::take();
    let entry = |seat: &Seat| entry(seat.address(), "refused", "");
    let keys = "balance = \"round-robin\"\npassive = { failures = 1, eject_for = \"20m\" }";
    let list = |more: &str| format!("[{}, {}{more}]", entry(&refused), a.entry(""));
    let proxy = Evenkeel::start(&unprobed(&list(""), "", keys));
    let until = |name: &str| proxy.backend(name)["ejected_until"].clone();
    eventually("it is ejected", PATIENCE, || {
        assert_eq!(who(proxy.at()), "a");
        !until("refused").is_null()
    });
    let before = (until("refused"), proxy.backend("refused")["failures"].clone());
    for more in [format!(", {}", b.entry("")), String::new()] {
        proxy.reload(&unprobed(&list(&more), "", keys));
        assert_eq!((until("refused"), proxy.backend("refused")["failures"].clone()), before);
        assert!((0..4).all(|_| who(proxy.at()) != "refused"));
    }
    assert_eq!(proxy.metrics().count("ejections_total", &[("backend", "refused")]), 1);
    assert_eq!(proxy.backend("refused")["failures"], before.1);
}

#[test]
fn what_an_operator_has_set_holds_until_the_file_says_something_else() {
    let [a, b, _] = greeters();
    let file = |of_a: &str, of_b: &str, pool: &str| {
        seldom(&format!("[{}, {}]", a.entry(of_a), b.entry(of_b)), "", pool)
    };
    let proxy = Evenkeel::start(&file("", "weight = 2", ""));
    assert_eq!(proxy.patch("a", "{\"state\": \"drain\"}").status, 200);
    assert_eq!(proxy.patch("b", "{\"weight\": 7}").status, 200);
    let now = || {
        let (a, b) = (proxy.backend("a"), proxy.backend("b"));
        (a["state"].as_str().unwrap().to_owned(), b["weight"].as_u64().unwrap())
    };
    for (toml, wanted) in [
        (file("", "weight = 2", ""), ("drain", 7)),
        (file("", "weight = 2", "balance = \"random\""), ("drain", 7)),
        (file("weight = 4", "weight = 2", "slow_start = \"1s\""), ("drain", 7)),
        (file("", "weight = 3", ""), ("drain", 3)),
        (file("state = \"maintenance\"", "weight = 3", ""), ("maintenance", 3)),
        (file("", "weight = 3", ""), ("ready", 3)),
    ] {
        proxy.reload(&toml);
        let (state, weight) = now();
        assert_eq!((state.as_str(), weight), wanted, "{toml}");
        if state == "drain" {
            assert!((0..4).all(|_| who(proxy.at()) == "b"));
        }
    }
    // A change at run time counts from then on as well.
    assert_eq!(proxy.patch("a", "{\"state\": \"maintenance\"}").status, 200);
    proxy.reload(&file("", "weight = 3", ""));
    assert_eq!(now().0, "maintenance");
}

#[test]
fn counters_and_the_process_go_on() {
    let [a, b, _] = greeters();
    let file = |list: &str, keys: &str| seldom(list, keys, "");
    let proxy = Evenkeel::start(&file(&entries(from_ref(&a)), ""));
    let held: Vec<_> = (0..3).map(|_| hold(proxy.at()).stream).collect();
    (0..5).for_each(|_| drop(who(proxy.at())));
    eventually("five have ended", PATIENCE, || proxy.outcomes("ok") == 5);
    let (before, metrics) = (proxy.status(), proxy.metrics());
    let both = format!("[{}, {}]", a.entry(""), b.entry("weight = 0"));
    proxy.reload(&file(&both, "idle_timeout = \"2h\"\nmax_sessions = 100"));
    let (after, later) = (proxy.status(), proxy.metrics());
    assert_eq!(
        (&after["pid"], &after["draining_processes"]),
        (&before["pid"], &serde_json::json!([]))
    );
    assert!(after["uptime_seconds"].as_f64() >= before["uptime_seconds"].as_f64());
    assert_ne!(after["config"]["hash"], before["config"]["hash"]);
    for key in ["addresses", "sessions", "sessions_total", "bytes_in", "bytes_out", "rejected"] {
        let of = |status: &serde_json::Value| by_name(&status["listeners"], "l")[key].clone();
        assert_eq!(of(&after), of(&before), "{key}");
    }
    for key in ["sessions", "sessions_total", "bytes_in", "bytes_out", "last_probe.result"] {
        let of = |status: &serde_json::Value| {
            let backend = by_name(&by_name(&status["pools"], "p")["backends"], "a");
            key.split('.').fold(backend.clone(), |value, key| value[key].clone())
        };
        assert_eq!(of(&after), of(&before), "{key}");
    }
    for name in
        ["sessions_total", "sessions_active", "probes_total", "connect_duration_seconds_count"]
    {
        let of =
            |metrics: &crate::harness::metrics::Metrics| metrics.count(name, &[("backend", "a")]);
        assert_eq!(of(&later), of(&metrics), "{name}");
    }
    assert_eq!((proxy.reloads("ok"), proxy.reloads("refused")), (1, 0));
    assert_eq!(metrics.count("reloads_total", &[]), 0, "the first load is no reload");
    held.into_iter().for_each(close);
    eventually("all have ended", PATIENCE, || proxy.outcomes("ok") == 8);
}

#[test]
fn a_backend_that_goes_and_comes_back_is_the_one_that_it_was() {
    let [a, b, _] = greeters();
    let list = |servers: &[&Server]| {
        let list: Vec<_> = servers.iter().map(|server| server.entry("")).collect();
        seldom(&format!("[{}]", list.join(", ")), "", "balance = \"round-robin\"")
    };
    let proxy = Evenkeel::start(&list(&[&a, &b]));
    let mut held: Vec<_> = (0..4).map(|_| hold(proxy.at())).collect();
    proxy.reload(&list(&[&b]));
    assert!(by_name(&proxy.status()["pools"], "p")["backends"].as_array().unwrap().len() <= 2);
    assert!((0..4).all(|_| who(proxy.at()) == "b"));
    held.iter_mut().for_each(|held| ping(&mut held.stream, "still here"));
    proxy.reload(&list(&[&a, &b]));
    let back = proxy.backend("a");
    assert_eq!((&back["sessions"], &back["sessions_total"]), (&2.into(), &2.into()));
    assert_eq!(back["health"], "up");
    held.iter_mut().for_each(|held| ping(&mut held.stream, "still here"));
    held.into_iter().for_each(|held| close(held.stream));
    proxy.wait_idle();
    assert!((0..4).any(|_| who(proxy.at()) == "a"));
    assert_eq!(proxy.outcomes("removed"), 0);
}

#[test]
fn sessions_of_a_backend_that_goes_end_as_the_file_says() {
    let [a, b, _] = greeters();
    for (rule, end) in [("keep", End::Open), ("now", End::Reset)] {
        let close = format!("\n[pool.p.close]\nremoved = \"{rule}\"\n");
        let both = format!("[{}, {}]", a.entry(""), b.entry(""));
        let proxy = Evenkeel::start(&(seldom(&both, "", "balance = \"first\"") + &close));
        let mut held = hold(proxy.at());
        assert_eq!(held.backend, "a");
        proxy.reload(&(seldom(&entries(from_ref(&b)), "", "balance = \"first\"") + &close));
        if end == End::Open {
            throughout("it goes on", Duration::from_millis(1500), || {
                ping(&mut held.stream, "word");
                true
            });
        } else {
            assert_eq!(end_of(&mut held.stream), end);
            proxy.wait_line("removed");
        }
        assert_eq!(who(proxy.at()), "b");
    }
}

#[test]
fn sessions_of_a_pool_and_a_listener_that_go_live_on() {
    let [a, b, _] = greeters();
    let more = format!(
        "[listener.other]\nbind = \"127.0.0.1:0\"\npool = \"q\"\n[pool.q]\nbackends = {}\n",
        entries(from_ref(&b))
    );
    let base = seldom(&entries(from_ref(&a)), "", "");
    let proxy = Evenkeel::start(&(base.clone() + &more));
    let at = proxy.address("other");
    let mut held = hold(at);
    let report = proxy.reload(&base)["changes"].clone();
    assert_eq!(names(&report["listeners"]["removed"]), ["other"]);
    assert_eq!(
        (names(&report["pools"]["removed"]), names(&report["backends"]["removed"])),
        (vec!["q"], vec!["q/b"])
    );
    assert_eq!(report["backends"]["removed"][0]["sessions"], 1);
    eventually("nobody listens there", PATIENCE, || TcpStream::connect(at).is_err());
    for _ in 0..3 {
        ping(&mut held.stream, "still here");
    }
    close(held.stream);
    assert_eq!(who(proxy.at()), "a");
}

#[test]
fn sessions_go_on_under_the_times_that_they_began_with() {
    let [a, _, _] = greeters();
    let file =
        |idle: &str| seldom(&entries(from_ref(&a)), &format!("idle_timeout = \"{idle}\""), "");
    let proxy = Evenkeel::start(&file("1h"));
    let mut old = hold(proxy.at());
    proxy.reload(&file("300ms"));
    let mut new = hold(proxy.at());
    assert_eq!(end_of(&mut new.stream), End::Fin);
    proxy.wait_outcome("idle", 1);
    throughout("the old one is there", Duration::from_secs(1), || proxy.sessions() == 1);
    ping(&mut old.stream, "still here");
    assert_eq!(proxy.outcomes("idle"), 1);
}

#[test]
fn who_waits_in_the_queue_is_served_by_what_the_file_adds() {
    let [a, b, _] = greeters();
    let file = |list: &str, cap: u32| {
        seldom(list, "", &format!("max_sessions = {cap}\nqueue = {{ size = 9, timeout = \"1m\" }}"))
    };
    let alone = entries(from_ref(&a));
    let proxy = Evenkeel::start(&file(&alone, 1));
    let held = hold(proxy.at());
    let length = || by_name(&proxy.status()["pools"], "p")["queue_length"].as_u64().unwrap();
    let mut waiting: Vec<_> = (1..=2)
        .map(|i| {
            let stream = connect(proxy.at());
            eventually("it waits", PATIENCE, || length() == i);
            stream
        })
        .collect();
    // A backend comes, and then a cap is raised.
    proxy.reload(&file(&format!("[{}, {}]", a.entry(""), b.entry("")), 1));
    assert_eq!(read_line(&mut waiting[0]).unwrap(), "b");
    assert_eq!(length(), 1);
    proxy.reload(&file(&format!("[{}, {}]", a.entry("max_sessions = 2"), b.entry("")), 1));
    assert_eq!(read_line(&mut waiting[1]).unwrap(), "a");
    assert_eq!((length(), proxy.rejected("queue-timeout")), (0, 0));
    drop(held);
}

#[test]
fn addresses_that_have_their_backend_keep_it() {
    let servers = greeters();
    let list = |servers: &[Server]| {
        let keys = "balance = \"round-robin\"\nsticky = { client_ip = true }";
        unprobed(&entries(servers), "", keys)
    };
    let proxy = Evenkeel::start(&list(&servers[..2]));
    let home = |last: u8| {
        let mut stream = connect_from([127, 0, 9, last].into(), proxy.at());
        let name = read_line(&mut stream).unwrap();
        close(stream);
        name
    };
    let before: Vec<_> = (1..=8).map(home).collect();
    for toml in [list(&servers), list(&servers[..2]).replace("round-robin", "random")] {
        proxy.reload(&toml);
        assert_eq!((1..=8).map(home).collect::<Vec<_>>(), before);
    }
}

#[test]
fn the_answer_says_what_was_kept_added_changed_and_removed() {
    let [a, b, c] = greeters();
    let toml = |list: &[String], keys: &str, more: &str| {
        seldom(&format!("[{}]", list.join(", ")), keys, "") + more
    };
    let more = format!(
        "[listener.other]\nbind = \"127.0.0.1:0\"\npool = \"q\"\n[pool.q]\nbackends = {}\n",
        entries(from_ref(&c))
    );
    let proxy = Evenkeel::start(&toml(&[a.entry(""), b.entry("")], "", ""));
    let changed = toml(&[b.entry("weight = 3"), c.entry("")], "idle_timeout = \"2h\"", &more);
    let said = proxy.reload(&changed);
    assert_eq!(said["config"]["hash"], proxy.status()["config"]["hash"]);
    assert!(said["confirm_within_ms"].is_null(), "{said:#}");
    let of = |kind: &str, what: &str| -> Vec<String> {
        names(&said["changes"][kind][what]).into_iter().map(str::to_owned).collect()
    };
    assert_eq!(
        (of("listeners", "changed"), of("listeners", "added")),
        (vec!["l".into()], vec!["other".into()])
    );
    assert_eq!((of("pools", "added"), of("pools", "removed")), (vec!["q".into()], vec![]));
    assert_eq!(of("backends", "added"), ["p/c", "q/c"]);
    assert_eq!(
        (of("backends", "changed"), of("backends", "removed")),
        (vec!["p/b".into()], vec!["p/a".into()])
    );
    says(&said["changes"]["backends"]["changed"][0]["what"].to_string(), &["weight", "1", "3"]);
    assert!(!said["warnings"].as_array().unwrap().is_empty(), "one backend in q: {said:#}");
    // The same again: all is kept.
    let said = proxy.reload(&changed)["changes"].clone();
    let kept = |kind: &str| names(&said[kind]["kept"]).len();
    assert_eq!((kept("listeners"), kept("pools"), kept("backends")), (2, 2, 3), "{said:#}");
    for kind in ["listeners", "pools", "backends"] {
        for what in ["added", "changed", "removed"] {
            assert!(names(&said[kind][what]).is_empty(), "{kind} {what}: {said:#}");
        }
    }
}

#[test]
fn the_access_log_is_opened_again() {
    let [a, _, _] = greeters();
    let toml = seldom(&entries(from_ref(&a)), "", "");
    let proxy = Evenkeel::start(&toml);
    let (log, rotated) = (proxy.dir().join("access.log"), proxy.dir().join("access.log.1"));
    who(proxy.at());
    proxy.wait_access(1);
    std::fs::rename(&log, &rotated).unwrap();
    who(proxy.at());
    proxy.wait_idle();
    proxy.reload(&toml);
    who(proxy.at());
    proxy.wait_access(1);
    let mut text = String::new();
    eventually("the others are in the old one", PATIENCE, || {
        text.clear();
        std::fs::File::open(&rotated).unwrap().read_to_string(&mut text).unwrap();
        text.lines().count() == 2
    });
    assert_eq!(proxy.access().len(), 1);
}
