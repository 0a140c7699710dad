//! Tens of thousands of requests while backends are killed and come back: nobody notices.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

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
        failures
    }

    /// Waits until so many more requests were answered, or no more come.
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
    let keys = "[pool.p.passive]\neject_for = \"500ms\"\neject_max = \"1s\"";
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
                if clients.iter().any(|client| client.is_finished()) {
                    break 'load;
                }
                peer.kill();
                killed += 1;
                load.goes_on(1000);
                peer.restart();
                proxy.wait_health(&peer.name, "up");
            }
        }
        load.is_over.store(true, Ordering::SeqCst);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    assert!(failures.is_empty(), "{} failed, as {:?}", failures.len(), failures.first());
    assert!(killed >= 6, "only {killed} backends died meanwhile");
    let metrics = proxy.metrics();
    assert!(metrics.count("retries_total", &[]) >= 1, "nobody ever had to be sent elsewhere");
    let answered = metrics.count("http_requests_total", &[("code", "200")]);
    assert_eq!(usize::try_from(answered).unwrap(), CLIENTS * EACH);
    proxy.wait_idle();
}
