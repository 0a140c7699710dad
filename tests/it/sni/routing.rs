//! Which route takes a session, and what is said of it.

use std::net::IpAddr;

use super::{answered, before, through};
use crate::harness::client::{End, connect, connect_from, end_of};
use crate::harness::hello::{by_hand, real, short};
use crate::harness::servers::Server;
use crate::harness::wait::{PATIENCE, eventually};

fn three() -> [Server; 3] {
    ["a", "b", "d"].map(Server::greet)
}

const ROUTES: [&str; 4] = [
    "name = \"web\"\nsni = [\"a.example\", \"*.wild.example\"]\nalpn = [\"h2\", \"h3\"]\npool = \"b\"",
    "name = \"a\"\nsni = \"A.Example.\"\npool = \"a\"",
    "sni = \"*.wild.example\"\npool = \"a\"",
    "name = \"never\"\nsni = \"a.example\"\npool = \"d\"",
];

/// A flight, the pool and the route that take it, and the name and protocol in its line.
type Case = (Vec<u8>, &'static str, &'static str, Option<&'static str>, Option<&'static str>);
/// A server name, the pool and the route that take it, and the name in the line.
type Named = (Option<&'static [u8]>, &'static str, &'static str, Option<&'static str>);

#[test]
fn name_and_protocols_decide_and_every_byte_comes_through() {
    let servers = three();
    let proxy = before(&servers, "pool = \"d\"", &ROUTES);
    let mut cases: Vec<Case> = vec![
        (real("a.example", &[]), "a", "a", Some("a.example"), None),
        (real("a.example", &["x", "h3"]), "b", "web", Some("a.example"), Some("x")),
        (short("x.wild.example", &["h2"]), "b", "web", Some("x.wild.example"), Some("h2")),
        (short("x.wild.example", &["h1"]), "a", "3", Some("x.wild.example"), Some("h1")),
        (short("x.y.wild.example", &["h2"]), "d", "default", Some("x.y.wild.example"), Some("h2")),
        (short("wild.example", &[]), "d", "default", Some("wild.example"), None),
        (short("b.example", &[]), "d", "default", Some("b.example"), None),
        (real("127.0.0.1", &["h2"]), "d", "default", None, Some("h2")),
    ];
    let named: [Named; 7] = [
        (None, "d", "default", None),
        (Some(b"A.EXAMPLE"), "a", "a", Some("a.example")),
        (Some(b"a.example."), "a", "a", Some("a.example")),
        (Some(b"X.Wild.Example."), "a", "3", Some("x.wild.example")),
        // A byte that no name has: no name.
        (Some(b"a.example\0"), "d", "default", None),
        (Some(b"\xc3\xa4.wild.example"), "d", "default", None),
        (Some(b"192.0.2.7"), "d", "default", None),
    ];
    cases.extend(
        named.into_iter().map(|(name, to, route, sni)| (by_hand(name), to, route, sni, None)),
    );
    // Not TLS at all.
    for noise in [&b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n"[..], b"\x16\x02", b"\0"] {
        cases.push((noise.to_vec(), "d", "default", None, None));
    }
    let mut count = 0;
    for (flight, to, route, sni, alpn) in cases {
        count += 1;
        assert_eq!(answered(proxy.at(), &flight), to, "{sni:?} {alpn:?} {route}");
        let line = proxy.wait_access(count).pop().unwrap();
        assert_eq!((&line["route"], &line["pool"]), (&route.into(), &to.into()), "{line}");
        assert_eq!((&line["sni"], &line["alpn"]), (&sni.into(), &alpn.into()), "{line}");
        assert_eq!(line["tls_version"], serde_json::Value::Null);
        assert_eq!(line["bytes_in"], flight.len(), "what was read ahead is payload");
    }
    let metrics = proxy.metrics();
    let led = |route| metrics.count("route_sessions_total", &[("listener", "l"), ("route", route)]);
    assert_eq!((led("web"), led("a"), led("3"), led("never"), led("default")), (2, 3, 2, 0, 11));
    assert_eq!(metrics.count("rejected_total", &[]), 0);
}

#[test]
fn who_no_route_takes_is_refused_and_counted() {
    let servers = three();
    let proxy = before(&servers, "", &ROUTES);
    let refused = [by_hand(Some(b"c.example")), by_hand(None), b"hello".to_vec()];
    for flight in &refused {
        let mut stream = connect(proxy.at());
        std::io::Write::write_all(&mut stream, flight).unwrap();
        assert_eq!(end_of(&mut stream), End::Reset);
    }
    let lines = proxy.wait_access(3);
    assert!(lines.iter().all(|line| line["outcome"] == "no-route" && line["route"].is_null()));
    assert!(lines.iter().all(|line| line["pool"].is_null() && line["backend"].is_null()));
    assert_eq!(lines[0]["sni"], "c.example");
    eventually("each is counted", PATIENCE, || proxy.rejected("no-route") == 3);
    assert_eq!(proxy.metrics().count("rejected_total", &[]), 3);
    assert_eq!(proxy.metrics().count("sessions_total", &[]), 0);
    assert_eq!(servers.iter().map(Server::accepted).sum::<usize>(), 0);
    assert_eq!(answered(proxy.at(), &by_hand(Some(b"a.example"))), "a");
}

#[test]
fn routes_by_client_need_no_first_word() {
    let servers = three();
    let routes = ["client = [\"127.0.0.2/32\", \"127.0.1.0/24\"]\npool = \"a\""];
    let proxy = before(&servers, "pool = \"d\"", &routes);
    for (source, to) in [("127.0.0.2", "a"), ("127.0.1.77", "a"), ("127.0.0.1", "d")] {
        let source: IpAddr = source.parse().unwrap();
        // The greeting comes before anything was said.
        assert_eq!(crate::harness::client::who_from(source, proxy.at()), to);
    }
}

#[test]
fn every_matcher_of_a_route_must_match() {
    let servers = three();
    let routes = ["sni = \"a.example\"\nclient = \"127.0.0.2\"\nalpn = \"h2\"\npool = \"a\""];
    let proxy = before(&servers, "pool = \"d\"", &routes);
    let from = |source: [u8; 4], flight: &[u8]| {
        let mut stream = connect_from(IpAddr::from(source), proxy.at());
        std::io::Write::write_all(&mut stream, flight).unwrap();
        through(stream, flight)
    };
    let all = short("a.example", &["h2"]);
    assert_eq!(from([127, 0, 0, 2], &all), "a");
    assert_eq!(from([127, 0, 0, 3], &all), "d");
    assert_eq!(from([127, 0, 0, 2], &short("a.example", &["h3"])), "d");
    assert_eq!(from([127, 0, 0, 2], &short("b.example", &["h2"])), "d");
}

#[test]
fn a_split_is_drawn_by_weight_for_each_session() {
    let servers = three();
    let split = "sni = \"*\"\nsplit = [{ pool = \"a\", weight = 75 }, \
                 { pool = \"b\", weight = 25 }, { pool = \"d\", weight = 0 }]";
    let proxy = before(&servers, "", &[split]);
    let flight = by_hand(Some(b"x"));
    for _ in 0..400 {
        answered(proxy.at(), &flight);
    }
    let [a, b, d] = servers.each_ref().map(Server::accepted);
    // Six standard deviations.
    assert!((248..=352).contains(&a) && a + b == 400 && d == 0, "{a} {b} {d}");
    assert_eq!(proxy.metrics().count("route_sessions_total", &[("route", "1")]), 400);
}

#[test]
fn a_header_and_a_hello_may_come_at_once() {
    let servers = three();
    let keys = "pool = \"d\"\naccept_proxy_protocol = true";
    let routes = [
        "sni = \"a.example\"\nclient = \"192.0.2.0/24\"\npool = \"a\"",
        "sni = \"*\"\npool = \"b\"",
    ];
    let proxy = before(&servers, keys, &routes);
    let flight = real("a.example", &[]);
    for (client, to) in [("192.0.2.1", "a"), ("198.51.100.1", "b")] {
        let header = format!("PROXY TCP4 {client} 198.51.100.9 4000 443\r\n");
        let mut stream = connect(proxy.at());
        let both = [header.as_bytes(), &flight].concat();
        std::io::Write::write_all(&mut stream, &both).unwrap();
        assert_eq!(through(stream, &flight), to);
    }
}
