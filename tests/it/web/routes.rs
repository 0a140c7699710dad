//! Which way a request goes, and what its route does to it.

use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::says;
use crate::harness::http::{Answer, request};
use crate::harness::servers::{Server, entries};
use crate::harness::whoami::answering;

/// A server that answers with its name and, behind it, the head that it was sent.
fn mirror(name: &str) -> Server {
    let own = name.to_owned();
    answering(name, move |head| format!("{own} {head}"))
}

/// A listener `l` with these routes, and a pool for each server.
fn before(servers: &[Server], keys: &str, routes: &[&str]) -> Evenkeel {
    let routes: String =
        routes.iter().map(|route| format!("[[listener.l.route]]\n{route}\n")).collect();
    let pool = |server: &Server| {
        let (name, entries) = (&server.name, entries(std::slice::from_ref(server)));
        format!("[pool.{name}]\nbackends = {entries}\n[pool.{name}.health]\nprobe = \"none\"\n")
    };
    let pools: String = servers.iter().map(pool).collect();
    let listener = "[listener.l]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\n";
    Evenkeel::start(&format!("{listener}{keys}\n{routes}{pools}"))
}

/// Asks for a path of a host, with more lines of a head.
#[track_caller]
fn ask(proxy: &Evenkeel, path: &str, host: &str, lines: &[&str]) -> Answer {
    let more: String = lines.iter().map(|line| format!("\r\n{line}")).collect();
    request(proxy.at(), "GET", path, &format!("{host}{more}"))
}

/// Who answers, and what it was asked for.
fn answered(answer: &Answer) -> (&str, &str) {
    let mut words = answer.body.split(' ');
    let who = words.next().unwrap_or_default();
    (who, words.nth(1).unwrap_or_default())
}

#[test]
fn the_first_route_that_matches_takes_a_request_and_others_the_pool() {
    let servers = ["a", "b", "c", "d"].map(mirror);
    let proxy = before(
        &servers,
        "pool = \"d\"",
        &[
            "name = \"api\"\nhost = [\"api.example\", \"*.api.example\"]\npath = \"/v1/*\"\npool = \"a\"",
            "name = \"canary\"\nheader = { x-canary = \"1\" }\nquery = { v = [\"2\", \"3 4\"] }\npool = \"b\"",
            "name = \"far\"\nclient = \"192.0.2.0/24\"\npool = \"a\"",
            "name = \"writes\"\nmethod = [\"POST\", \"HEAD\"]\npool = \"a\"",
            "name = \"v6\"\nhost = \"[::1]\"\npool = \"c\"",
        ],
    );
    for (path, host, lines, who) in [
        ("/v1/x", "api.example", &[][..], "a"),
        ("/v1", "EU.API.Example.:80", &[], "a"),
        ("/x/..//../%761/x", "api.example", &[], "a"),
        ("/v1x", "api.example", &[], "d"),
        ("/v1/x", "a.eu.api.example", &[], "d"),
        ("/?v=2", "h", &["x-canary: 0", "X-Canary: 1"], "b"),
        ("/?v=1&v=3+4", "h", &["x-canary: 1"], "b"),
        ("/?v=2", "h", &["x-canary: 11"], "d"),
        ("/", "[0::1]:80", &[], "c"),
        ("/", "h", &[], "d"),
    ] {
        let answer = ask(&proxy, path, host, lines);
        assert_eq!(answered(&answer).0, who, "{path} {host} {lines:?}");
    }
    let led = |route| proxy.metrics().count("route_sessions_total", &[("route", route)]);
    assert_eq!(["api", "canary", "far", "v6", "default"].map(led), [3, 2, 0, 1, 4]);
}

#[test]
fn paths_go_on_without_dots_and_prefixes_change_on_segment_borders() {
    let servers = [mirror("a")];
    let routes = [
        "path = \"/api/*\"\nstrip_prefix = \"/api\"\npool = \"a\"",
        "path = \"/old/*\"\nstrip_prefix = \"/old\"\nadd_prefix = \"/new\"\npool = \"a\"",
        "path = \"/add/*\"\nadd_prefix = \"/v2\"\npool = \"a\"",
    ];
    let proxy = before(&servers, "pool = \"a\"", &routes);
    for (path, target) in [
        ("/x/%7Ey?z=%7E", "/x/%7Ey?z=%7E"),
        ("/x/./%2e%2E/%7Ey", "/%7Ey"),
        ("/api?q=1", "/?q=1"),
        ("/%61pi/%7Ex//y%2Fz", "/%7Ex//y%2Fz"),
        ("/apix", "/apix"),
        ("/old/x", "/new/x"),
        ("/add", "/v2/add"),
    ] {
        assert_eq!(answered(&ask(&proxy, path, "h", &[])), ("a", target), "{path}");
    }
    for path in ["/..", "/x/%2e%2e/.."] {
        assert_eq!(ask(&proxy, path, "h", &[]).status, 400, "{path}");
    }
}

#[test]
fn headers_are_set_and_removed_both_ways() {
    let servers = [mirror("a")];
    let route = "set_request_headers = { x-set = \"1\" }\nremove_request_headers = [\"x-gone\"]\n\
                 set_response_headers = { x-frame-options = \"DENY\" }\npool = \"a\"";
    let own =
        "path = \"/own\"\nset_response_headers = { x-own = \"1\" }\nrespond = { status = 204 }";
    let proxy = before(&servers, "", &[own, route]);
    let answer = ask(&proxy, "/", "h", &["x-gone: 1", "X-Set: 0", "x-set: 2", "x-kept: 3"]);
    assert_eq!(answer.header("x-frame-options"), Some("DENY"));
    let head = answer.body.to_ascii_lowercase();
    let named = |name: &str| head.lines().filter(|line| line.starts_with(name)).count();
    assert_eq!(["x-set: 1", "x-set", "x-gone", "x-kept: 3"].map(named), [1, 1, 0, 1], "{head}");
    let own = ask(&proxy, "/own", "h", &[]);
    assert_eq!((own.status, own.header("x-own"), &*own.body), (204, Some("1"), ""));
}

#[test]
fn a_route_answers_by_itself() {
    let proxy = before(
        &[mirror("a")],
        "",
        &[
            "name = \"closed\"\npath = \"/closed\"\nrespond = { status = 503, body = \"closed\" }",
            "name = \"moved\"\nhost = \"old.example\"\n\
             redirect = { to = \"https://new.example{path}\", status = 301 }",
            "name = \"searched\"\npath = \"/s\"\nredirect = { to = \"/search?of={host}&{query}\" }",
            "name = \"secure\"\nhost = \"*\"\nredirect = \"https\"",
            "name = \"never\"\npath = \"/a\"\npool = \"a\"",
        ],
    );
    let closed = ask(&proxy, "/closed", "h", &[]);
    assert_eq!((closed.status, &*closed.body), (503, "closed"));
    assert_eq!(closed.header("content-type"), Some("text/plain; charset=utf-8"));
    for (path, host, status, location) in [
        ("/a/../b?c=1", "old.example:8080", 301, "https://new.example/b?c=1"),
        ("/x?y", "Www.Example.:8080", 308, "https://www.example/x?y"),
        (
            "//evil.example/%0d%0aset-cookie:x",
            "h",
            308,
            "https://h//evil.example/%0d%0aset-cookie:x",
        ),
        ("/", "[::1]:80", 308, "https://[::1]/"),
    ] {
        let answer = ask(&proxy, path, host, &[]);
        assert_eq!((answer.status, answer.header("location")), (status, Some(location)));
    }
    let searched = ask(&proxy, "/s?q=1", "h", &[]);
    assert_eq!(searched.header("location"), Some("/search?of=h&q=1"));
    assert_eq!(proxy.metrics().count("route_sessions_total", &[("route", "secure")]), 3);
    assert_eq!(proxy.sessions(), 0);
}

#[test]
fn nobody_is_led_where_no_route_leads() {
    let proxy = before(&[mirror("a")], "", &["host = \"a.example\"\npool = \"a\""]);
    assert_eq!(ask(&proxy, "/", "b.example", &[]).status, 404);
    assert_eq!(proxy.rejected("no-route"), 1);
}

#[test]
fn requests_beyond_a_rate_are_told_when_to_come_again() {
    let servers = ["a", "b"].map(mirror);
    let key = "key = \"header:x-api-key\"";
    let proxy = before(
        &servers,
        "",
        &[
            &format!(
                "name = \"keyed\"\npath = \"/keyed\"\n\
                 rate_limit = {{ rate = \"1/h\", burst = 2, {key} }}\npool = \"a\""
            ),
            "name = \"split\"\nrate_limit = { rate = \"1/h\", burst = 4 }\n\
             split = [{ pool = \"a\" }, { pool = \"b\" }]",
        ],
    );
    let status = |path: &str, lines: &[&str]| ask(&proxy, path, "h", lines).status;
    // Each value counts by itself, and nothing is counted by asking what would become of one.
    for key in ["x-api-key: 1", "x-api-key: 2"] {
        let dry = "/api/v1/route?listener=l&client=127.0.0.1&path=/keyed&header=x-api-key:1";
        assert_eq!(proxy.get(dry).json()["route"], "keyed");
        assert_eq!([(); 3].map(|()| status("/keyed", &[key])), [200, 200, 429]);
    }
    // The ways of a split are one route, and what is limited elsewhere is not limited here.
    let statuses = [(); 6].map(|()| status("/", &["x-api-key: 1"]));
    assert_eq!(statuses, [200, 200, 200, 200, 429, 429]);
    let late = ask(&proxy, "/", "h", &[]);
    let seconds: u64 = late.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=3600).contains(&seconds), "{seconds}");
    let limited = |route| proxy.metrics().count("http_rate_limited_total", &[("route", route)]);
    assert_eq!([limited("keyed"), limited("split"), proxy.rejected("rate")], [2, 3, 5]);
}

#[test]
fn a_dry_run_foretells_a_request() {
    let servers = ["a", "b"].map(mirror);
    let proxy = before(
        &servers,
        "pool = \"b\"",
        &[
            "name = \"moved\"\nhost = \"old.example\"\n\
             redirect = { to = \"https://new.example{path}\", status = 301 }",
            "name = \"api\"\npath = \"/api/*\"\nstrip_prefix = \"/api\"\nmethod = \"POST\"\n\
             header = { x-canary = \"1\" }\npool = \"a\"",
        ],
    );
    let command = ["route", "--listener", "l", "--client", "192.0.2.1"];
    let with = |more: &[&str]| proxy.order(&[&command, more].concat()).expect_code(0).stdout;
    let moved = with(&["--host", "old.example", "--path", "/x?y=1"]);
    says(&moved, &["route     moved", "answer    301 https://new.example/x?y=1"]);
    let canary = ["--path", "/api/x?y", "--method", "POST", "--header", "X-Canary: 1"];
    let led = with(&canary);
    says(&led, &["route     api", "pool      a", "target    /x?y", "passed    moved: wants host"]);
    let missed = with(&canary[..4]);
    says(&missed, &["route     default", "pool      b", "api: wants header x-canary = 1"]);
    let above = with(&["--path", "/.."]);
    says(&above, &["answer    400", "the path is not valid"]);
    assert_eq!(proxy.metrics().count("route_sessions_total", &[]), 0, "asking is no request");
}
