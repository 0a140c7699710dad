//! A zone that flips its addresses every second, with clients coming all the time.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{file, wait_up};
use crate::harness::client::{ping, read_line, try_connect};
use crate::harness::dns::Dns;
use crate::harness::evenkeel::Evenkeel;
use crate::harness::servers::Server;
use crate::harness::wait::{PATIENCE, eventually, pace};

const FLIPS: usize = 20;

#[test]
fn no_connection_fails_while_a_zone_flips_its_addresses() {
    let (dns, servers) = (Dns::start(), Server::alike(4));
    let pairs = [["127.1.0.1", "127.1.0.2"], ["127.1.0.3", "127.1.0.4"]];
    dns.addresses("db.test", 1, &pairs[0]);
    let port = servers[0].address().port();
    let pool = format!("discover = {{ dns = \"db.test:{port}\" }}");
    let proxy = Evenkeel::start(&file(&dns, &pool));
    wait_up(&proxy, &[&servers[0], &servers[1]]);
    let (done, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    let at = proxy.at();
    let client = || {
        while !done.load(Ordering::SeqCst) {
            let mut stream = try_connect(at).unwrap();
            assert!(read_line(&mut stream).unwrap().starts_with("127.1.0."));
            ping(&mut stream, "hello");
            served.fetch_add(1, Ordering::SeqCst);
            thread::park_timeout(Duration::from_millis(5));
        }
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(client)).collect();
        let start = Instant::now();
        for (flip, second) in (1..=FLIPS).zip(1..) {
            dns.addresses("db.test", 1, &pairs[flip % 2]);
            pace(start + Duration::from_secs(second));
        }
        done.store(true, Ordering::SeqCst);
        clients.into_iter().for_each(|client| client.join().unwrap());
    });
    assert!(served.load(Ordering::SeqCst) > 100);
    wait_up(&proxy, &[&servers[0], &servers[1]]);
    // All of them had their share: the flips were seen.
    assert!(servers.iter().all(|server| server.accepted() > 0));
    proxy.wait_idle();
    eventually("nothing is left of those that are gone", PATIENCE, || {
        proxy.status()["pools"][0]["backends"].as_array().unwrap().len() == 2
    });
}
