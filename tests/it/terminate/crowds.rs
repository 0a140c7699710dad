//! Many handshakes at once, and those who are served meanwhile.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::client::{ask, echo, hello, modern};
use super::{entry, file};
use crate::harness::authority::Authority;
use crate::harness::client::connect;
use crate::harness::evenkeel::Evenkeel;
use crate::harness::servers::Server;
use crate::harness::wait::{PATIENCE, eventually};

/// So many clients want a handshake at the same moment.
const CROWD: usize = 1000;

#[test]
fn sessions_are_served_between_the_handshakes_of_a_crowd() {
    let (authority, backend) = (Authority::new(), Server::echo("b"));
    let certificate = entry(&authority, "db", &authority.sign(&["db.example"]));
    let backends = format!("[{}]", backend.entry(""));
    let file = file(&[certificate], &backends, "handshake_timeout = \"5m\"", "");
    // One worker has them all.
    let proxy = Evenkeel::start(&format!("{file}\n[process]\nthreads = 1\n"));
    let config = Arc::new(modern(&authority));
    let mut session = ask(proxy.at(), &config, "db.example").unwrap();

    let mut crowd: Vec<_> = (0..CROWD).map(|_| connect(proxy.at())).collect();
    eventually("all of them are taken", PATIENCE, || {
        proxy.metrics().count("worker_sessions", &[]) == 1 + CROWD as u64
    });
    let hello = hello(&config, "db.example");
    // All at once, as soon as it goes on.
    proxy.frozen(|| {
        for client in &mut crowd {
            client.write_all(&hello).unwrap();
        }
    });
    let all_answered = AtomicBool::new(false);
    let turns = thread::scope(|scope| {
        scope.spawn(|| {
            for client in &mut crowd {
                client.read_exact(&mut [0; 5]).unwrap();
            }
            all_answered.store(true, Ordering::Relaxed);
        });
        let mut turns = 0;
        while !all_answered.load(Ordering::Relaxed) {
            echo(&mut session, b"meanwhile").unwrap();
            turns += 1;
        }
        turns
    });
    // Sockets are looked at 256 at a time: without a turnstile there would be eight turns or so.
    assert!(turns > 20, "{turns} turns while {CROWD} handshakes were answered");
}
