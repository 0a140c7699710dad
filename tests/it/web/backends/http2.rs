//! Backends that speak HTTP/2.

use std::sync::Arc;
use std::thread;

use super::{all, file_of, links};
use crate::harness::authority::Authority;
use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::entry;
use crate::harness::http2::{Gate, Http2Server, Manners, offering};
use crate::harness::wait::{PATIENCE, eventually};
use crate::harness::whoami::{Browser, get};

const HTTP2: &str = "connect_timeout = \"10s\"\nhttp = { version = \"2\" }";

fn start(server: &Http2Server, keys: &str) -> Evenkeel {
    let file = file_of(&format!("[{}]", entry(server.address(), "one", "")), keys);
    Evenkeel::start(&format!(
        "[log]\nlevel = \"debug\"\nformat = \"json\"\n\
        access = \"{{dir}}/access.log\"\n[process]\nthreads = 1\n{file}"
    ))
}

#[test]
fn requests_of_many_clients_share_a_connection() {
    let gate = Arc::<Gate>::default();
    let server = Http2Server::start(Manners { gate: Some(gate.clone()), ..Manners::default() });
    let proxy = start(&server, HTTP2);
    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                let mut browser = Browser::open(proxy.at());
                let told = browser.ask(&get("/a", "")).unwrap();
                assert_eq!((told.status, &*told.body), (200, "GET /a shop.example http "));
            });
        }
        eventually("all are there", PATIENCE, || gate.waiting() == 20);
        assert_eq!((links(&proxy, "active"), links(&proxy, "idle")), (1, 0));
        gate.open();
    });
    assert_eq!(server.accepted(), 1);
    eventually("it rests", PATIENCE, || links(&proxy, "idle") == 1 && links(&proxy, "active") == 0);
}

#[test]
fn beyond_the_streams_that_a_backend_allows_there_is_another_connection() {
    let gate = Arc::<Gate>::default();
    let manners = Manners { gate: Some(gate.clone()), streams: Some(2), ..Manners::default() };
    let server = Http2Server::start(manners);
    let proxy = start(&server, HTTP2);
    thread::scope(|scope| {
        for come in 1..=6 {
            scope.spawn(|| {
                let told = Browser::open(proxy.at()).ask(&get("/", "")).unwrap();
                assert_eq!(told.status, 200, "{told:?}");
            });
            // One by one, so that the backend's word of its limit is known.
            eventually("it is there", PATIENCE, || gate.waiting() == come);
        }
        gate.open();
    });
    assert_eq!(server.accepted(), 3);
}

#[test]
fn a_body_and_what_stands_behind_it_go_both_ways() {
    let server = Http2Server::start(Manners::default());
    let proxy = start(&server, HTTP2);
    let request = "POST /a/b HTTP/1.1\r\nhost: a.example\r\nte: trailers\r\nconnection: close\r\n\
                   trailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n\
                   5\r\nhello\r\n0\r\nx-sum: 5\r\n\r\n";
    let (answer, end) = all(proxy.at(), request);
    end.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("POST /a/b a.example http hello"), "{answer}");
}

#[test]
fn a_backend_that_wants_to_hear_no_more_costs_no_request() {
    const EACH: usize = 300;
    let server = Http2Server::start(Manners { requests: Some(7), ..Manners::default() });
    let proxy = start(&server, HTTP2);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut browser = Browser::open(proxy.at());
                for n in 0..EACH {
                    let told = browser.ask(&get(&format!("/{n}"), "")).unwrap();
                    assert_eq!(told.status, 200, "{told:?}");
                }
            });
        }
    });
    assert_eq!(server.requests(), 4 * EACH);
    assert!(server.accepted() >= 4 * EACH / 20, "{} connections", server.accepted());
    eventually("none is left over", PATIENCE, || server.open() <= 1);
    eventually("none is counted", PATIENCE, || {
        links(&proxy, "active") == 0 && links(&proxy, "idle") <= 1
    });
}

#[test]
fn http_2_is_agreed_on_in_tls_or_there_is_no_connection() {
    let authority = Authority::new();
    let signed = authority.sign(&["127.0.0.1"]);
    let tls = format!("tls = {{ {} }}", authority.ca());
    for (offered, version, is_served) in [
        (&["h2", "http/1.1"][..], "2", true),
        (&["h2"], "2", true),
        (&["http/1.1"], "2", false),
        (&[], "2", false),
        (&["h2"], "1.1", false),
    ] {
        let config = offering(&signed, offered);
        let server = Http2Server::start(Manners { tls: Some(config), ..Manners::default() });
        let http = format!("http = {{ version = \"{version}\" }}");
        let proxy = start(&server, &format!("connect_timeout = \"10s\"\n{http}\n{tls}"));
        let told = Browser::open(proxy.at()).ask(&get("/", "")).unwrap();
        if is_served {
            assert_eq!((told.status, &*told.body), (200, "GET / shop.example https "));
            continue;
        }
        assert_eq!(told.status, 502, "{offered:?} {version}");
        let why =
            if offered.is_empty() { "agreed on no protocol" } else { "no application protocol" };
        eventually(why, PATIENCE, || proxy.log().contains(why));
        let failures = proxy.metrics().count("connect_failures_total", &[("reason", "other")]);
        assert!(failures >= 1);
    }
}

#[test]
fn a_connection_that_many_share_is_closed_when_nobody_has_used_it_for_long() {
    let server = Http2Server::start(Manners::default());
    let keys = "http = { version = \"2\", keepalive_timeout = \"1s\" }";
    let proxy = start(&server, keys);
    let mut browser = Browser::open(proxy.at());
    assert_eq!(browser.ask(&get("/", "")).unwrap().status, 200);
    eventually("it is closed", PATIENCE, || server.open() == 0);
    assert_eq!(browser.ask(&get("/", "")).unwrap().status, 200);
    assert_eq!(server.accepted(), 2);
}
