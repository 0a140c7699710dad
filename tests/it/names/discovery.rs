//! `discover.dns` and `discover.srv`: backends that come and go with their records.

use super::{discovery, file, said, up, wait_up, whom};
use crate::harness::client::{End, end_of, hold, ping};
use crate::harness::dns::Dns;
use crate::harness::evenkeel::Evenkeel;
use crate::harness::reloads::Way;
use crate::harness::servers::Server;
use crate::harness::wait::{PATIENCE, eventually, throughout};
use std::time::Duration;

fn by_dns(servers: &[Server], keys: &str) -> String {
    let port = servers[0].address().port();
    format!("discover = {{ dns = \"db.test:{port}\"{keys} }}\nclose = {{ removed = \"now\" }}")
}

#[test]
fn every_address_of_a_name_is_a_backend() {
    let (dns, servers) = (Dns::start(), Server::alike(3));
    dns.addresses("db.test", 1, &["127.1.0.1", "127.1.0.2"]);
    let proxy = Evenkeel::start(&file(&dns, &by_dns(&servers, "")));
    // The listener has waited for them.
    assert_eq!(up(&proxy).len(), 2);
    wait_up(&proxy, &[&servers[0], &servers[1]]);
    assert_eq!(discovery(&proxy)["source"], format!("dns db.test:{}", servers[0].address().port()));

    let mut kept = hold(proxy.at());
    let other = [&servers[0], &servers[1]].into_iter().find(|it| it.name != kept.backend).unwrap();
    let kept_ip = if kept.backend == servers[0].name { "127.1.0.1" } else { "127.1.0.2" };
    dns.addresses("db.test", 1, &["127.1.0.3", kept_ip]);
    let kept_server = servers.iter().find(|it| it.name == kept.backend).unwrap();
    wait_up(&proxy, &[kept_server, &servers[2]]);
    ping(&mut kept.stream, "still here");
    assert!(!up(&proxy).contains(&other.name));
    // It keeps what was counted, though the order of the answer was another.
    assert!(proxy.backend(&kept.backend)["sessions_total"].as_u64().unwrap() >= 1);

    dns.addresses("db.test", 1, &["127.1.0.3"]);
    assert!(matches!(end_of(&mut kept.stream), End::Reset));
    proxy.wait_line("removed");
    wait_up(&proxy, &[&servers[2]]);
}

#[test]
fn nothing_found_at_the_start_is_no_reason_not_to_start() {
    let (dns, servers) = (Dns::start(), Server::alike(1));
    let proxy = Evenkeel::start(&file(&dns, &by_dns(&servers, "")));
    assert_eq!(up(&proxy), [""; 0]);
    assert_eq!(proxy.get("/readyz").status, 503);
    assert_eq!(said(&proxy, "cannot be looked up"), 1);
    assert!(discovery(&proxy)["age_ms"].is_null());
    dns.addresses("db.test", 1, &["127.1.0.1"]);
    wait_up(&proxy, &[&servers[0]]);
    assert_eq!(whom(&proxy), servers[0].name);
    assert_eq!(said(&proxy, "can be looked up again"), 1);
    assert_eq!(proxy.get("/readyz").status, 200);
}

#[test]
fn what_fails_or_is_empty_keeps_the_backends_known_before() {
    let (dns, servers) = (Dns::start(), Server::alike(2));
    dns.addresses("db.test", 1, &["127.1.0.1", "127.1.0.2"]);
    let proxy = Evenkeel::start(&file(&dns, &by_dns(&servers, "")));
    wait_up(&proxy, &[&servers[0], &servers[1]]);
    let failures = || proxy.metrics().count("discovery_failures_total", &[("pool", "p")]);
    assert_eq!(failures(), 0);
    dns.deny("db.test");
    eventually("a look-up fails", PATIENCE, || failures() > 0);
    assert!(discovery(&proxy)["error"].as_str().unwrap().contains("no address"));
    dns.addresses("db.test", 1, &[]);
    let before = failures();
    eventually("and another", PATIENCE, || failures() > before);
    dns.fail("db.test");
    eventually("for another reason", PATIENCE, || {
        discovery(&proxy)["error"].as_str().is_some_and(|why| why.contains("error"))
    });
    wait_up(&proxy, &[&servers[0], &servers[1]]);
    throughout("they serve", Duration::from_millis(200), || whom(&proxy).starts_with("127.1.0."));
    assert_eq!(said(&proxy, "cannot be looked up"), 1);
    dns.addresses("db.test", 1, &["127.1.0.2"]);
    wait_up(&proxy, &[&servers[1]]);
    eventually("it is over", PATIENCE, || said(&proxy, "can be looked up again") == 1);
    assert!(discovery(&proxy)["error"].is_null());
}

#[test]
fn an_upgrade_while_nobody_answers_goes_on_with_what_was_found_before() {
    let (dns, servers) = (Dns::start(), Server::alike(3));
    let port = servers[0].address().port();
    dns.addresses("one.test", 1, &["127.1.0.1"]);
    dns.addresses("two.test", 1, &["127.1.0.2"]);
    let found = [(0, 3, port, "one.test"), (7, 1, port, "two.test")];
    dns.services("_db._tcp.test", 1, &found);
    let proxy = Evenkeel::start(&file(&dns, "discover = { srv = \"_db._tcp.test\" }"));
    let list = || -> Vec<(String, u64, String)> {
        let told = proxy.status();
        let backends = told["pools"][0]["backends"].as_array().unwrap().clone();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let shown = backends
            .iter()
            .map(|it| (text(&it["name"]), it["weight"].as_u64().unwrap(), text(&it["health"])));
        shown.collect()
    };
    eventually("both are up", PATIENCE, || {
        let list = list();
        list.len() == 2 && list.iter().all(|(_, _, health)| health == "up")
    });
    let before = list();
    ["one.test", "two.test", "_db._tcp.test"].iter().for_each(|name| dns.fail(name));
    for _ in 0..2 {
        proxy.upgrade_by(Way::Call);
        assert_eq!(list(), before);
        // The other one is a backup still.
        for _ in 0..3 {
            assert_eq!(whom(&proxy), servers[0].name);
        }
    }
    dns.addresses("three.test", 1, &["127.1.0.3"]);
    dns.services("_db._tcp.test", 1, &[(0, 1, port, "three.test")]);
    eventually("what is found holds again", PATIENCE, || whom(&proxy) == servers[2].name);
}

#[test]
fn a_backend_that_dies_has_its_name_looked_up_whatever_the_ttl() {
    let (dns, servers) = (Dns::start(), Server::alike(2));
    dns.addresses("db.test", 86_400, &["127.1.0.1"]);
    let proxy = Evenkeel::start(&file(&dns, &by_dns(&servers, "")));
    wait_up(&proxy, &[&servers[0]]);
    dns.addresses("db.test", 86_400, &["127.1.0.2"]);
    servers[0].stop();
    wait_up(&proxy, &[&servers[1]]);
}

#[test]
fn srv_records_bring_ports_weights_and_backups() {
    let (dns, a, b) = (Dns::start(), Server::greet("a"), Server::greet("b"));
    let (first, second) = (a.address().port(), b.address().port());
    dns.addresses("a.test", 1, &["127.0.0.1"]);
    dns.addresses("b.test", 1, &["127.0.0.1"]);
    let name = "_db._tcp.test";
    dns.services(name, 1, &[(20, 7, second, "b.test"), (10, 3, first, "a.test")]);
    let pool = format!("discover = {{ srv = \"{name}\" }}");
    let proxy = Evenkeel::start(&file(&dns, &pool));
    let (one, two) = (format!("a.test:{first}"), format!("b.test:{second}"));
    proxy.wait_health(&one, "up");
    proxy.wait_health(&two, "up");
    assert_eq!(proxy.backend(&one)["weight"], 3);
    throughout("the backup takes nothing", Duration::from_millis(200), || whom(&proxy) == "a");
    // The other one is ordinary now, and is the same backend.
    dns.services(name, 1, &[(20, 7, second, "b.test"), (30, 5, first, "a.test")]);
    eventually("it takes the sessions", PATIENCE, || whom(&proxy) == "b");
    dns.services(name, 1, &[(20, 9, second, "b.test")]);
    eventually("it is alone, with another weight", PATIENCE, || {
        up(&proxy) == [two.clone()] && proxy.backend(&two)["weight"] == 9
    });
}
