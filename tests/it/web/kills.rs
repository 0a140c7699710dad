//! Tens of thousands of requests while backends are killed and come back: nobody notices.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use serde_json::Value;

use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::pool;
use crate::harness::peers::Peer;
use crate::harness::wait::{PATIENCE, eventually};
use crate::harness::whoami::{Browser, get};

const NAMES: [&str; 3] = ["one", "two", "three"];
const CLIENTS: usize = 8;
const EACH: usize = 6_250;

/// What the clients have met so far.
#[derive(Default)]
struct Load {
    answered: AtomicUsize,
    /// Some client has had all its answers: there may be too few left to wait for.
    is_over: AtomicBool,
}

impl Load {
    /// One client on a connection that it keeps; gives what went wrong.
    fn run(&self, at: SocketAddr) -> Vec<String> {
        let mut failures = Vec::new();
        let mut browser = Browser::open(at);
        for _ in 0..EACH {
            match browser.ask(&get("/", "")) {
                Ok(told) if told.status == 200 && NAMES.contains(&told.body.as_str()) => {}
                Ok(told) => failures.push(format!("{told:?}")),
                Err(error) => {
                    failures.push(error.to_string());
                    browser = Browser::open(at);
                }
            }
            self.answered.fetch_add(1, Ordering::SeqCst);
        }
        self.is_over.store(true, Ordering::SeqCst);
        failures
    }

    /// Waits until so many more requests were answered, or the load is over.
    fn goes_on(&self, requests: usize) {
        let until = self.answered.load(Ordering::SeqCst) + requests;
        eventually("clients are answered", PATIENCE, || {
            self.answered.load(Ordering::SeqCst) >= until || self.is_over.load(Ordering::SeqCst)
        });
    }
}

#[test]
fn fifty_thousand_requests_outlive_backends_that_are_killed_and_revived() {
    let mut peers = NAMES.map(Peer::http);
    let entries: Vec<_> = peers.iter().map(|peer| peer.entry("")).collect();
    // A backend that is back is soon taken again, so that it can be missed again.
    let keys = "[pool.p.passive]\neject_for = \"200ms\"\neject_max = \"400ms\"";
    let proxy = Evenkeel::start(&format!(
        "[listener.l]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\npool = \"p\"\n{}rise = 1\n",
        pool("p", &format!("[{}]", entries.join(", ")), keys)
    ));
    let (load, at) = (Load::default(), proxy.at());
    let mut killed = 0;
    let failures: Vec<String> = thread::scope(|scope| {
        let clients = [(); CLIENTS].map(|()| scope.spawn(|| load.run(at)));
        'load: loop {
            for peer in &mut peers {
                load.goes_on(1000);
                if load.is_over.load(Ordering::SeqCst) {
                    break 'load;
                }
                peer.kill();
                killed += 1;
                load.goes_on(1000);
                peer.restart();
                // Or two of three would be out when the next one dies.
                let takes_part = |it: &Value| it["health"] == "up" && it["ejected_until"].is_null();
                let what = format!("{} is back", peer.name);
                eventually(&what, PATIENCE, || takes_part(&proxy.backend(&peer.name)));
            }
        }
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    assert!(failures.is_empty(), "{} failed, as {:?}", failures.len(), failures.first());
    assert!(killed >= NAMES.len(), "only {killed} backends died meanwhile");
    let retries = proxy.metrics().count("retries_total", &[]);
    assert!(retries >= 1, "nobody ever had to be sent elsewhere");
    // A request is counted when its last byte has gone, which is when its client goes on.
    let counted = |labels: &[_]| proxy.metrics().count("http_requests_total", labels) as usize;
    eventually("all are counted", PATIENCE, || counted(&[("code", "200")]) == CLIENTS * EACH);
    assert_eq!(counted(&[]), CLIENTS * EACH);
    proxy.wait_idle();
}
