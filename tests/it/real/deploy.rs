//! A rolling deploy: three nginx replaced one after the other under load, and nobody notices.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::nginx::Nginx;
use crate::harness::client::try_connect;
use crate::harness::evenkeel::{Evenkeel, by_name};
use crate::harness::files::{entry, file};
use crate::harness::wait::{PATIENCE, eventually};

const NAMES: [&str; 3] = ["n1", "n2", "n3"];

/// One request on a connection of its own: which backend answered, whole.
fn ask(at: SocketAddr) -> io::Result<String> {
    let mut stream = try_connect(at)?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => Ok(body.to_owned()),
        _ => Err(io::Error::other(answer)),
    }
}

/// Backends that may be picked.
fn in_rotation(proxy: &Evenkeel) -> usize {
    let status = proxy.status();
    let backends = &by_name(&status["pools"], "p")["backends"];
    let takes = |backend: &&serde_json::Value| backend["effective_weight"].as_f64() > Some(0.0);
    backends.as_array().unwrap().iter().filter(takes).count()
}

/// What the load met.
#[derive(Default)]
struct Load {
    is_over: AtomicBool,
    answered: AtomicUsize,
}

impl Load {
    /// Asks again and again until it is over; gives what failed.
    fn run(&self, at: SocketAddr) -> Vec<String> {
        let mut failed = Vec::new();
        while !self.is_over.load(Ordering::SeqCst) {
            match ask(at) {
                Ok(_) => drop(self.answered.fetch_add(1, Ordering::SeqCst)),
                Err(error) => failed.push(error.to_string()),
            }
        }
        failed
    }

    /// Waits until so many more have been answered.
    #[track_caller]
    fn goes_on(&self) {
        let before = self.answered.load(Ordering::SeqCst);
        let answered = || self.answered.load(Ordering::SeqCst) > before + 20;
        eventually("clients are answered", PATIENCE, answered);
    }
}

/// Ends the load when it is dropped, by a test that fails too.
struct Over<'a>(&'a Load);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::SeqCst);
    }
}

#[test]
fn three_backends_are_replaced_one_by_one_and_no_client_notices() {
    let Some(servers) = NAMES.map(Nginx::start).into_iter().collect::<Option<Vec<_>>>() else {
        return;
    };
    let mut servers = servers;
    let entries: Vec<_> =
        servers.iter().zip(NAMES).map(|(server, name)| entry(server.address(), name, "")).collect();
    let proxy = Evenkeel::start(&file(&format!("[{}]", entries.join(", ")), "", ""));
    NAMES.iter().for_each(|name| proxy.wait_health(name, "up"));
    let (load, at) = (Load::default(), proxy.at());
    let fewest = AtomicUsize::new(NAMES.len());
    let failed = thread::scope(|scope| {
        let over = Over(&load);
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(|| load.run(at))).collect();
        let watcher = scope.spawn(|| {
            while !load.is_over.load(Ordering::SeqCst) {
                fewest.fetch_min(in_rotation(&proxy), Ordering::SeqCst);
            }
        });
        for (server, name) in servers.iter_mut().zip(NAMES) {
            load.goes_on();
            let place = format!("p/{name}");
            let drained = proxy.order(&["drain", &place, "--wait", "--timeout", "15s"]);
            assert!(drained.expect_code(0).stdout.contains("0 sessions left"));
            server.replace(&format!("new {name}"));
            // A probe of the new one, whatever the old one's last was.
            let good =
                || proxy.metrics().count("probes_total", &[("backend", name), ("result", "ok")]);
            let before = good();
            eventually("the new one is probed", PATIENCE, || good() > before + 2);
            proxy.wait_health(name, "up");
            load.goes_on();
            proxy.order(&["ready", &place]).expect_code(0);
            assert_eq!(in_rotation(&proxy), NAMES.len());
        }
        load.goes_on();
        drop(over);
        watcher.join().unwrap();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(failed.is_empty(), "{} of many failed: {:?}", failed.len(), failed.first());
    assert_eq!(fewest.load(Ordering::SeqCst), 2, "backends in rotation at every moment");
    assert_eq!(proxy.metrics().count("connect_failures_total", &[]), 0, "nor was anybody retried");
    proxy.wait_idle();
    let mut answers: Vec<_> = (0..6).map(|_| ask(at).unwrap()).collect();
    answers.sort_unstable();
    answers.dedup();
    assert_eq!(answers, ["new n1", "new n2", "new n3"]);
}
