//! What a load balancer for the web is first asked for: turns, a server that dies, one that is slow, a
//! canary.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use crate::harness::evenkeel::Evenkeel;
use crate::harness::servers::{Server, entries};
use crate::harness::wait::{PATIENCE, eventually};
use crate::harness::whoami::{Browser, answering, get, who, whoami};

const LISTENER: &str = "[listener.l]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\n";

/// One http listener `l` on one pool `p` that nobody probes.
fn file(servers: &[Server], keys: &str) -> String {
    format!("{LISTENER}pool = \"p\"\n{}", pool("p", servers, keys))
}

fn pool(name: &str, servers: &[Server], keys: &str) -> String {
    let entries = entries(servers);
    format!("[pool.{name}]\nbackends = {entries}\n{keys}\n[pool.{name}.health]\nprobe = \"none\"\n")
}

#[test]
fn two_backends_take_turns_request_by_request() {
    let servers = ["one", "two"].map(|name| whoami(name));
    let proxy = Evenkeel::start(&file(&servers, "balance = \"round-robin\""));
    let turns = ["one", "two", "one", "two", "one", "two"];
    // It is the request that has its turn, on whatever connection it comes.
    let mut browser = Browser::open(proxy.at());
    assert_eq!([(); 6].map(|()| who(&mut browser)), turns);
    assert_eq!([(); 6].map(|()| who(&mut Browser::open(proxy.at()))), turns);
    proxy.wait_outcome("ok", 12);
    for server in &servers {
        assert_eq!(proxy.backend(&server.name)["sessions_total"], 6);
        // Both clients were served over connections that are kept.
        assert!(server.accepted() < 6, "{} connections", server.accepted());
    }
}

#[test]
fn no_client_sees_that_one_of_two_is_stopped() {
    let servers = ["one", "two"].map(|name| whoami(name));
    let proxy = Evenkeel::start(&file(&servers, "balance = \"round-robin\""));
    let mut browsers = [(); 4].map(|()| Browser::open(proxy.at()));
    // Each has connections of its own on the way by now.
    browsers.iter_mut().for_each(|browser| drop([who(browser), who(browser)]));
    proxy.wait_access(8);
    servers[0].stop();
    for _ in 0..25 {
        for browser in &mut browsers {
            assert_eq!(who(browser), "two");
        }
    }
    let lines = proxy.wait_access(108);
    let after = &lines[8..];
    assert!(after.iter().all(|line| line["outcome"] == "ok" && line["status"] == 200));
    let attempts = |count: u64| after.iter().filter(|line| line["attempts"] == count).count();
    // Some found out, which cost them one attempt more; then it is ejected, and nobody asks.
    let found = attempts(2);
    assert_eq!(attempts(1) + found, 100, "nobody needed a third");
    assert!(found >= 1, "somebody has to find out");
    eventually("it is ejected", PATIENCE, || !proxy.backend("one")["ejected_until"].is_null());
    let retries = || proxy.metrics().count("retries_total", &[("pool", "p")]);
    let before = retries();
    for browser in &mut browsers {
        assert_eq!(who(browser), "two");
    }
    assert_eq!(retries(), before, "it costs nobody an attempt any more");
}

/// Something that is shut, until it is opened for good.
#[derive(Default)]
struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let shut = self.opened.wait_while(self.is_open.lock().unwrap(), |open| !*open);
        drop(shut.unwrap());
    }
}

#[test]
fn a_slow_backend_gets_fewer_requests_under_least_connections() {
    let (gate, asked) = (Arc::new(Gate::default()), Arc::new(AtomicUsize::new(0)));
    let quick = whoami("quick");
    let slow = {
        let (gate, asked) = (Arc::clone(&gate), Arc::clone(&asked));
        answering("slow", move |_| {
            asked.fetch_add(1, Ordering::SeqCst);
            gate.pass();
            "slow".to_owned()
        })
    };
    let servers = [slow, quick];
    let proxy = Evenkeel::start(&file(&servers, "balance = \"least-connections\""));
    let at = proxy.at();
    let served = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut browser = Browser::open(at);
                for _ in 0..50 {
                    if who(&mut browser) == "quick" {
                        served.fetch_add(1, Ordering::SeqCst);
                    }
                }
            });
        }
        // Of four at most two wait for the slow one: a third would find the quick one with less to do.
        let quick = || served.load(Ordering::SeqCst);
        eventually("the others go on", PATIENCE, || quick() >= 100);
        assert!((1..=2).contains(&asked.load(Ordering::SeqCst)), "{asked:?} were sent to it");
        gate.open();
    });
    proxy.wait_outcome("ok", 200);
}

#[test]
fn a_header_leads_to_the_canary_and_its_absence_away_from_it() {
    let (stable, canary) = ([whoami("stable")], [whoami("canary")]);
    let proxy = Evenkeel::start(&format!(
        "{LISTENER}pool = \"stable\"\n[[listener.l.route]]\nname = \"canary\"\n\
         header = {{ \"x-canary\" = \"1\" }}\npool = \"canary\"\n{}{}",
        pool("stable", &stable, ""),
        pool("canary", &canary, "")
    ));
    // On one connection, so that it is the request that is looked at.
    let mut browser = Browser::open(proxy.at());
    for (field, expected) in [
        ("x-canary: 1", "canary"),
        ("x-canary: 0", "stable"),
        ("X-CANARY: 1", "canary"),
        ("x-other: 1", "stable"),
        ("x-canary: 0\r\nx-canary: 1", "canary"),
        ("x-canary:", "stable"),
    ] {
        let answer = browser.ask(&get("/", field)).unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (200, expected), "{field}");
    }
    let lines = proxy.wait_access(6);
    let routes: Vec<_> = lines.iter().map(|line| line["route"].as_str().unwrap()).collect();
    assert_eq!(routes, ["canary", "default", "canary", "default", "canary", "default"]);
    let counted = |route| proxy.metrics().count("http_requests_total", &[("route", route)]);
    assert_eq!([counted("canary"), counted("default")], [3, 3]);
}
