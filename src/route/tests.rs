//! Which route takes what.

use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use proptest::prelude::*;

use super::*;
use crate::config::{Field, PathPattern, Share};

fn route(name: &str, sni: &[&str], alpn: &[&str], client: &[&str], leads: Leads) -> Route {
    let pattern = |text: &&str| match text.strip_prefix("*.") {
        _ if *text == "*" => NamePattern::Any,
        Some(parent) => NamePattern::Below(parent.into()),
        None => NamePattern::Exact((*text).into()),
    };
    let when = Matchers {
        sni: sni.iter().map(pattern).collect(),
        alpn: alpn.iter().map(|&name| name.to_owned()).collect(),
        client: client.iter().map(|network| network.parse().unwrap()).collect(),
        ..Matchers::default()
    };
    Route { name: name.into(), when, leads, treatment: Box::default() }
}

fn pool(_: Option<&Route>, target: Target<'_>) -> Option<usize> {
    target.pool()
}

fn found(routes: &Routes<usize>, sni: Option<&str>, alpn: &[&str], client: &str) -> String {
    let alpn: Vec<_> = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let flight = Flight { client: client.parse().unwrap(), sni, alpn: &alpn, request: None };
    let way = routes.find(&flight, 0, |_| false);
    way.map_or_else(|| "nowhere".to_owned(), |way| format!("{} {}", way.route.name, way.to))
}

#[test]
fn the_first_route_of_which_every_matcher_matches_takes_the_session() {
    let routes = [
        route("both", &["a.example", "b.example"], &["h2", "h3"], &[], Leads::Pool(1)),
        route("below", &["*.example"], &[], &[], Leads::Pool(2)),
        route("near", &[], &[], &["10.0.0.0/8", "2001:db8::/32"], Leads::Pool(3)),
        route("named", &["*"], &[], &[], Leads::Pool(4)),
    ];
    let routes = Routes::new(&routes, Some(9), pool);
    let far = "192.0.2.1";
    for (sni, alpn, client, taken) in [
        (Some("a.example"), &["x", "h3"][..], far, "both 1"),
        (Some("b.example"), &["h2"], far, "both 1"),
        (Some("a.example"), &["h1"], far, "below 2"),
        (Some("a.example"), &[], far, "below 2"),
        (Some("example"), &["h2"], far, "named 4"),
        (Some("a.b.example"), &[], far, "named 4"),
        (None, &["h2"], "10.1.2.3", "near 3"),
        (Some("x"), &[], "2001:db8::1", "near 3"),
        (None, &[], far, "default 9"),
    ] {
        assert_eq!(found(&routes, sni, alpn, client), taken, "{sni:?} {alpn:?} {client}");
    }
    let none = Routes::new(&[route("n", &["a"], &[], &[], Leads::Pool(1))], None, pool);
    assert_eq!(found(&none, Some("b"), &[], far), "nowhere");
}

#[test]
fn a_split_is_drawn_by_weight_and_its_ways_are_one_route() {
    let share = |pool, weight| Share { pool, weight };
    let split = Leads::Split(vec![share(1, 3), share(2, 0), share(3, 1)]);
    let routes = Routes::new(&[route("s", &[], &[], &[], split)], None, pool);
    let flight = Flight { client: [192, 0, 2, 1].into(), sni: None, alpn: &[], request: None };
    let drawn: Vec<_> = (0..8)
        .filter_map(|chance| routes.find(&flight, chance, |_| false))
        .map(|way| way.to)
        .collect();
    assert_eq!(drawn, [1, 1, 1, 3, 1, 1, 1, 3]);
    assert_eq!(routes.signposts().count(), 1);
}

#[test]
fn what_keeps_a_session_from_each_route_before_its_own_can_be_told() {
    let routes = [
        route("a", &["a.example"], &["h2"], &[], Leads::Pool(1)),
        route("b", &["b.example"], &["h2"], &[], Leads::Pool(1)),
        route("c", &[], &[], &["10.0.0.0/8"], Leads::Pool(1)),
        route("d", &["b.example"], &[], &[], Leads::Pool(1)),
        route("e", &["a.example"], &[], &[], Leads::Pool(1)),
    ];
    let routes = Routes::new(&routes, None, pool);
    let client = [192, 0, 2, 1].into();
    let flight = Flight { client, sni: Some("b.example"), alpn: &[], request: None };
    let passed: Vec<_> =
        routes.passed(&flight).iter().map(|(name, miss)| format!("{name}: {miss}")).collect();
    assert_eq!(passed, ["a: sni", "b: alpn", "c: client"]);
}

#[test]
fn a_way_that_has_kept_the_client_goes_before_chance_also_with_weight_0() {
    let share = |pool, weight| Share { pool, weight };
    let split = Leads::Split(vec![share(1, 1), share(2, 0), share(3, 1)]);
    let routes = Routes::new(&[route("s", &[], &[], &[], split)], Some(2), pool);
    let flight = Flight { client: [192, 0, 2, 1].into(), sni: None, alpn: &[], request: None };
    for (kept, chosen) in [(&[3][..], 3), (&[2], 2), (&[2, 3], 2), (&[7], 1), (&[], 1)] {
        let way = routes.find(&flight, 0, |to| kept.contains(to));
        assert_eq!(way.map(|way| way.to), Some(chosen), "{kept:?}");
    }
}

/// A matcher in one line: `host a.example`, `path /a/*`, `method GET`, `header x-a=1`, `query v=2`.
fn asking(number: usize, matchers: &str) -> Route {
    let mut when = Matchers::default();
    let field = |text: &str| {
        let (name, value) = text.split_once('=').unwrap_or((text, "*"));
        let values = if value == "*" { vec![] } else { vec![value.into()] };
        Field { name: name.into(), values }
    };
    for matcher in matchers.split(", ").filter(|matcher| !matcher.is_empty()) {
        let (key, value) = matcher.split_once(' ').unwrap();
        match key {
            "host" => when.host.push(match value.strip_prefix("*.") {
                _ if value == "*" => NamePattern::Any,
                Some(parent) => NamePattern::Below(parent.into()),
                None => NamePattern::Exact(value.into()),
            }),
            "path" => when.path.push(match value.strip_suffix("/*") {
                Some(prefix) => PathPattern::Under(prefix.into()),
                None => PathPattern::Exact(value.into()),
            }),
            "method" => when.method.push(value.to_owned()),
            "header" => when.header.push(field(value)),
            "query" => when.query.push(field(value)),
            other => panic!("{other}"),
        }
    }
    let name = number.to_string().into();
    Route { name, when, leads: Leads::Pool(number), treatment: Box::default() }
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let line = |(name, value): &(&'static str, &str)| {
        (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
    };
    let mut headers = HeaderMap::new();
    lines.iter().map(line).for_each(|(name, value)| {
        headers.append(name, value);
    });
    headers
}

/// The route of several that takes a request.
fn taken(asked: &[&str], method: &str, uri: &str, lines: &[(&'static str, &str)]) -> Option<usize> {
    let routes: Vec<_> = asked.iter().enumerate().map(|(i, one)| asking(i, one)).collect();
    let routes = Routes::new(&routes, None, pool);
    let (uri, headers) = (uri.parse::<Uri>().unwrap(), headers(lines));
    let heading = Heading::of(method, &uri, &headers).unwrap();
    let client = [192, 0, 2, 1].into();
    let flight = Flight { client, sni: None, alpn: &[], request: Some(&heading) };
    routes.find(&flight, 0, |_| false).map(|way| way.to)
}

#[test]
fn hosts_are_taken_by_name_by_one_label_more_and_by_any() {
    let asked = ["host a.example", "host *.a.example", "host [::1], host 192.0.2.7", "host *", ""];
    for (host, route) in [
        ("a.example", 0),
        ("A.EXAMPLE.:8080", 0),
        ("x.a.example", 1),
        ("y.x.a.example", 3),
        ("xa.example", 3),
        ("[0:0::1]:80", 2),
        ("192.0.2.7", 2),
        ("192.0.2.8", 3),
        ("", 4),
    ] {
        assert_eq!(taken(&asked, "GET", "/", &[("host", host)]), Some(route), "{host}");
    }
    assert_eq!(taken(&asked, "GET", "/", &[]), Some(4), "no host at all");
    assert_eq!(taken(&asked, "GET", "http://x.a.example/", &[]), Some(1), "the absolute form");
}

#[test]
fn paths_are_taken_on_segment_borders_whatever_their_spelling() {
    let asked = ["path /api/*", "path /Api, path /b/", "path /a%2Fb", "path /*", ""];
    for (uri, route) in [
        ("/api", 0),
        ("/api/", 0),
        ("/api/v1?x=/no", 0),
        ("/x/../api/y", 0),
        ("/x/%2e%2E/%61p%69", 0),
        ("/apix", 3),
        ("/api%2Fx", 3),
        ("//api", 3),
        ("/api/../x", 3),
        ("/Api", 1),
        ("/b/", 1),
        ("/b", 3),
        ("/a%2Fb", 2),
        ("/a/b", 3),
        ("/", 3),
        ("http://h", 3),
        ("*", 4),
    ] {
        assert_eq!(taken(&asked, "GET", uri, &[]), Some(route), "{uri}");
    }
}

#[test]
fn every_matcher_of_a_route_must_match_and_any_of_several_lines_may() {
    let asked = [
        "method GET, method HEAD, header x-canary=1, header x-user, query v=2",
        "header x-canary=1",
        "method POST",
    ];
    let both = [("x-canary", "0"), ("x-canary", "1"), ("x-user", "")];
    for (method, uri, lines, route) in [
        ("GET", "/?v=2", &both[..], Some(0)),
        ("HEAD", "/?v=1&v=2", &both, Some(0)),
        ("PUT", "/?v=2", &both, Some(1)),
        ("get", "/?v=2", &both, Some(1)),
        ("GET", "/?v=3", &both, Some(1)),
        ("GET", "/", &both, Some(1)),
        ("GET", "/?v=2", &both[..2], Some(1)),
        ("POST", "/?v=2", &[("x-canary", "1, 1")], Some(2)),
        ("POST", "/", &[], Some(2)),
        ("GET", "/", &[("x-canary", "01")], None),
    ] {
        assert_eq!(taken(&asked, method, uri, lines), route, "{method} {uri} {lines:?}");
    }
}

#[test]
fn what_keeps_a_request_from_a_route_is_told() {
    let asked = ["host a", "path /a", "method PUT", "header x-a", "query v=2", ""];
    let routes: Vec<_> = asked.iter().enumerate().map(|(i, one)| asking(i, one)).collect();
    let routes = Routes::new(&routes, None, pool);
    let (uri, headers) = (Uri::from_static("/"), HeaderMap::new());
    let heading = Heading::of("GET", &uri, &headers).unwrap();
    let client = [192, 0, 2, 1].into();
    let flight = Flight { client, sni: None, alpn: &[], request: Some(&heading) };
    let passed: Vec<_> = routes.passed(&flight).iter().map(|(_, miss)| miss.to_string()).collect();
    assert_eq!(passed, ["host", "path", "method", "header", "query"]);
}

#[test]
fn a_request_that_names_no_place_goes_nowhere() {
    for (uri, host, why) in [
        ("/..", "a", Illegible::Path),
        ("/a/%2e%2e/%2E%2e", "a", Illegible::Path),
        ("/", "a b", Illegible::Host),
        ("/", "user@a", Illegible::Host),
        ("http://user@a/", "", Illegible::Host),
        ("http://a/", "b", Illegible::TwoHosts),
        ("http://a:80/", "a:81", Illegible::TwoHosts),
    ] {
        let lines: &[_] = if host.is_empty() { &[] } else { &[("host", host)] };
        let (uri, headers) = (uri.parse::<Uri>().unwrap(), headers(lines));
        assert_eq!(Heading::of("GET", &uri, &headers).err(), Some(why), "{uri} {host}");
    }
}

#[test]
fn the_heading_of_a_usual_request_is_no_copy() {
    let uri = Uri::from_static("/api/v1/users?v=2");
    let headers = headers(&[("host", "a.example:8080")]);
    let heading = Heading::of("GET", &uri, &headers).unwrap();
    assert!(matches!(heading.host, Some(std::borrow::Cow::Borrowed("a.example"))));
    assert!(matches!(heading.path, std::borrow::Cow::Borrowed("/api/v1/users")));
    assert!(matches!(heading.sent_path, std::borrow::Cow::Borrowed("/api/v1/users")));
}

proptest! {
    #[test]
    fn an_index_finds_what_trying_all_finds(
        asked in prop::collection::vec(prop::collection::vec(
            "host (\\*|(\\*\\.)?[ab](\\.[ab]){0,2})|path /[ab]", 0..3,
        ), 16..40),
        host in "([ab]\\.){0,3}[ab]|",
        path in "/[abc]",
    ) {
        let routes: Vec<_> = asked.iter().enumerate().map(|(i, one)| asking(i, &one.join(", "))).collect();
        let indexed = Routes::new(&routes, None, pool);
        prop_assert!(indexed.index.is_some());
        let naive = Routes { index: None, ..Routes::new(&routes, None, pool) };
        let (uri, headers) = (path.parse::<Uri>().unwrap(), headers(&[("host", &host)]));
        let heading = Heading::of("GET", &uri, &headers).unwrap();
        let client = [192, 0, 2, 1].into();
        let flight = Flight { client, sni: None, alpn: &[], request: Some(&heading) };
        let found = |routes: &Routes<usize>| routes.find(&flight, 0, |_| false).map(|way| way.to);
        prop_assert_eq!(found(&indexed), found(&naive));
    }
}
