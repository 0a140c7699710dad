//! The dry run where routes decide.

use super::before;
use crate::harness::files::says;
use crate::harness::servers::Server;

const ROUTES: [&str; 4] = [
    "name = \"web\"\nsni = [\"a.example\", \"*.wild.example\"]\nalpn = \"h2\"\npool = \"a\"",
    "name = \"wild\"\nsni = \"*.wild.example\"\npool = \"b\"",
    "name = \"near\"\nclient = \"10.0.0.0/8\"\npool = \"b\"",
    "name = \"canary\"\nsni = \"c.example\"\nsplit = [{ pool = \"a\", weight = 3 }, \
     { pool = \"b\", weight = 1 }]",
];

#[test]
fn it_names_the_route_and_says_what_the_others_want() {
    let servers = ["a", "b"].map(Server::greet);
    let proxy = before(&servers, "", &ROUTES);
    for (query, route, pool) in [
        ("client=192.0.2.1&sni=a.example&alpn=h3,h2", "web", "a"),
        ("client=192.0.2.1&sni=X.Wild.Example.&alpn=h2", "web", "a"),
        ("client=192.0.2.1&sni=x.wild.example", "wild", "b"),
        ("client=10.1.2.3", "near", "b"),
        ("client=10.1.2.3&sni=a.example", "near", "b"),
    ] {
        let answer = proxy.get(&format!("/api/v1/route?listener=l&{query}")).json();
        assert_eq!(
            (&answer["route"], &answer["pool"]),
            (&route.into(), &pool.into()),
            "{answer:#}"
        );
        assert_eq!((&answer["backend"], &answer["rejected"]), (&pool.into(), &None::<u8>.into()));
    }
    let nowhere = proxy.get("/api/v1/route?listener=l&client=192.0.2.1&sni=a.example").json();
    assert_eq!((&nowhere["route"], &nowhere["pool"]), (&None::<u8>.into(), &None::<u8>.into()));
    assert_eq!(nowhere["rejected"], "no-route");
    let passed: Vec<_> = nowhere["passed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            format!("{} {}", one["route"].as_str().unwrap(), one["reason"].as_str().unwrap())
        })
        .collect();
    let wanted = [
        "web wants alpn h2",
        "wild wants sni *.wild.example",
        "near wants client 10.0.0.0/8",
        "canary wants sni c.example",
    ];
    assert_eq!(passed, wanted);
    assert_eq!(proxy.metrics().count("route_sessions_total", &[]), 0, "asking is no session");
    assert_eq!(proxy.metrics().count("rejected_total", &[]), 0);
}

#[test]
fn a_split_is_foretold_by_chance() {
    let servers = ["a", "b"].map(Server::greet);
    let proxy = before(&servers, "", &ROUTES);
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..60 {
        let query = "/api/v1/route?listener=l&client=192.0.2.1&sni=c.example";
        let answer = proxy.get(query).json();
        let (pool, reason) = (answer["pool"].as_str().unwrap(), answer["reason"].as_str().unwrap());
        let part = if pool == "a" { "75 %" } else { "25 %" };
        says(reason, &[&format!("route canary leads {part} of its sessions to pool {pool}")]);
        seen.insert(pool.to_owned());
    }
    assert_eq!(seen.len(), 2);
}

#[test]
fn the_command_says_it_too() {
    let servers = ["a", "b"].map(Server::greet);
    let proxy = before(&servers, "", &ROUTES);
    let client = ["route", "--listener", "l", "--client", "192.0.2.1"];
    let with = |more: &[&str]| proxy.order(&[&client, more].concat()).expect_code(0).stdout;
    let taken = with(&["--sni", "a.example", "--alpn", "h2"]);
    says(&taken, &["route     web", "pool      a", "backend   a ("]);
    let refused = with(&["--sni", "b.example"]);
    says(&refused, &["route     -", "rejected  no-route", "passed    web: wants sni a.example or"]);
}
