//! A host name in `backends` is one backend, wherever its record leads.

use super::{file, whom};
use crate::harness::dns::Dns;
use crate::harness::evenkeel::Evenkeel;
use crate::harness::servers::Server;
use crate::harness::wait::{PATIENCE, eventually, throughout};
use crate::harness::whoami::{self, Browser};
use std::time::Duration;

/// A pool with one backend that has a name.
fn named(port: u16) -> String {
    format!("backends = [{{ address = \"db.test:{port}\", name = \"db\" }}]")
}

#[test]
fn a_name_that_nobody_knows_at_the_start_waits_and_the_rest_serves() {
    let (dns, servers) = (Dns::start(), Server::alike(2));
    let port = servers[0].address().port();
    let pool = format!(
        "backends = [{{ address = \"db.test:{port}\", name = \"db\" }}, \"{}\"]",
        servers[1].address()
    );
    let proxy = Evenkeel::start(&file(&dns, &pool));
    proxy.wait_health("db", "unresolved");
    assert_eq!(whom(&proxy), servers[1].name);
    dns.addresses("db.test", 1, &["127.1.0.1"]);
    proxy.wait_health("db", "up");
    eventually("it takes sessions", PATIENCE, || whom(&proxy) == servers[0].name);
}

#[test]
fn an_address_that_changes_is_followed_within_its_ttl() {
    let (dns, servers) = (Dns::start(), Server::alike(2));
    dns.addresses("db.test", 1, &["127.1.0.1"]);
    let proxy = Evenkeel::start(&file(&dns, &named(servers[0].address().port())));
    assert_eq!(whom(&proxy), servers[0].name);
    let before = proxy.backend("db")["sessions_total"].as_u64().unwrap();
    dns.addresses("db.test", 1, &["127.1.0.2"]);
    eventually("clients come to the other", PATIENCE, || whom(&proxy) == servers[1].name);
    // It is the same backend.
    assert!(proxy.backend("db")["sessions_total"].as_u64().unwrap() > before);
    assert_eq!(proxy.backend("db")["health"], "up");
}

#[test]
fn requests_go_to_the_new_address_whatever_connections_are_kept_to_the_old_one() {
    let dns = Dns::start();
    let servers = Server::alike_as(2, |name| {
        let own = name.to_owned();
        move |stream| drop(whoami::serve(stream, |_| own.clone()))
    });
    let port = servers[0].address().port();
    dns.addresses("db.test", 1, &["127.1.0.1"]);
    let http = "pool = \"p\"\nprotocol = \"http\"\n";
    let proxy = Evenkeel::start(&file(&dns, &named(port)).replacen("pool = \"p\"\n", http, 1));
    let mut browser = Browser::open(proxy.at());
    assert_eq!(whoami::who(&mut browser), servers[0].name);
    dns.addresses("db.test", 1, &["127.1.0.2"]);
    eventually("requests come to the other", PATIENCE, || {
        whoami::who(&mut browser) == servers[1].name
    });
}

#[test]
fn an_address_that_is_dead_has_the_name_looked_up_whatever_the_ttl() {
    let (dns, servers) = (Dns::start(), Server::alike(2));
    dns.addresses("db.test", 86_400, &["127.1.0.1"]);
    let proxy = Evenkeel::start(&file(&dns, &named(servers[0].address().port())));
    assert_eq!(whom(&proxy), servers[0].name);
    dns.addresses("db.test", 86_400, &["127.1.0.2"]);
    servers[0].stop();
    proxy.wait_health("db", "up");
    eventually("clients come to the other", PATIENCE, || {
        let mut stream = crate::harness::client::connect(proxy.at());
        let line = crate::harness::client::read_line(&mut stream);
        line.is_ok_and(|line| line == servers[1].name)
    });
}

#[test]
fn an_answer_that_fails_takes_nothing_away() {
    let (dns, servers) = (Dns::start(), Server::alike(1));
    dns.addresses("db.test", 1, &["127.1.0.1"]);
    let proxy = Evenkeel::start(&file(&dns, &named(servers[0].address().port())));
    for trouble in [Dns::deny, Dns::fail, Dns::ignore, |dns: &Dns, name: &str| {
        dns.addresses(name, 1, &[]);
    }] {
        trouble(&dns, "db.test");
        let asked = dns.asked("db.test");
        eventually("it is asked again", PATIENCE, || dns.asked("db.test") > asked);
        throughout("it serves on", Duration::from_millis(300), || whom(&proxy) == servers[0].name);
    }
}
