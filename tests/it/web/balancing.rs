//! Which backend a request goes to: by what it says, by how long answers take.

use std::collections::{HashMap, HashSet};
use std::thread;
use std::time::Duration;

use crate::harness::evenkeel::Evenkeel;
use crate::harness::http::send;
use crate::harness::servers::{Server, entries};
use crate::harness::whoami::{Browser, answering, get, who, whoami};

const LISTENER: &str = "[listener.l]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\n";

fn file(servers: &[Server], balance: &str) -> String {
    let entries = entries(servers);
    format!(
        "{LISTENER}pool = \"p\"\n[pool.p]\nbackends = {entries}\nbalance = {balance}\n\
         [pool.p.health]\nprobe = \"none\"\n"
    )
}

fn hashing(key: &str) -> String {
    format!("{{ policy = \"consistent-hash\", key = \"{key}\" }}")
}

/// So slow that a machine that stalls is quick beside it.
const SLOW: Duration = Duration::from_secs(3);

/// Who answers each of these requests, asked twice over different balancers.
#[track_caller]
fn homes(servers: &[Server], key: &str, asks: &[(String, String)]) -> Vec<String> {
    let file = file(servers, &hashing(key));
    let told = [(); 2].map(|()| {
        let proxy = Evenkeel::start(&file);
        let mut browser = Browser::open(proxy.at());
        let each = |(path, fields): &(String, String)| {
            let told = browser.ask(&get(path, fields)).unwrap();
            assert_eq!(told.status, 200, "{told:?}");
            told.body
        };
        asks.iter().map(each).collect::<Vec<_>>()
    });
    assert_eq!(told[0], told[1], "two balancers with the same file agree");
    told.into_iter().next().unwrap()
}

#[test]
fn a_key_of_the_request_decides_and_the_same_for_everybody() {
    let servers = ["a", "b", "c", "d"].map(whoami);
    let users = || (0..24).map(|i| format!("user-{i}"));
    let header: Vec<_> = users().map(|user| ("/".into(), format!("x-user: {user}"))).collect();
    let cookie: Vec<_> =
        users().map(|user| (format!("/{user}"), format!("cookie: a=b; id={user}"))).collect();
    let path: Vec<_> = users().map(|user| (format!("/{user}"), String::new())).collect();
    let spread = |homes: &[String]| homes.iter().collect::<HashSet<_>>().len();
    let by_header = homes(&servers, "header:X-User", &header);
    assert_eq!(spread(&by_header), 4);
    assert_eq!(homes(&servers, "cookie:id", &cookie), by_header, "it is the value that counts");
    let by_path = homes(&servers, "path", &path);
    assert_eq!(spread(&by_path), 4);
    // Neither the query nor another spelling makes it another path.
    let spelled: Vec<_> =
        users().map(|user| (format!("/x/../%75{}?q={user}", &user[1..]), String::new())).collect();
    assert_eq!(homes(&servers, "path", &spelled), by_path);
    // Without the key it is the client's address, and that is one.
    let without: Vec<_> = users().map(|user| (format!("/{user}"), String::new())).collect();
    assert_eq!(spread(&homes(&servers, "header:x-user", &without)), 1);
    assert_eq!(homes(&servers, "header:x-user", &without), homes(&servers, "client-ip", &without),);
}

#[test]
fn keys_of_a_backend_that_is_away_go_elsewhere_and_come_back() {
    let servers = ["a", "b", "c"].map(whoami);
    let proxy = Evenkeel::start(&file(&servers, &hashing("header:x-user")));
    let all = || -> Vec<String> {
        let ask = |user| send(proxy.at(), "GET", "/", &[&format!("x-user: user-{user}")], "").body;
        (0..30).map(ask).collect()
    };
    let before = all();
    assert_eq!(proxy.patch("b", r#"{"state": "maintenance"}"#).status, 200);
    let during = all();
    for (before, during) in before.iter().zip(&during) {
        assert!(during != "b" && (before == "b" || before == during), "{before} to {during}");
    }
    assert_eq!(proxy.patch("b", r#"{"state": "ready"}"#).status, 200);
    assert_eq!(all(), before);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a server that is slow is what it is about")]
fn least_latency_goes_by_the_time_to_the_head_of_an_answer() {
    // Both take connects alike: only their answers differ.
    let slow = answering("slow", |_| {
        thread::sleep(SLOW);
        "slow".to_owned()
    });
    let servers = [slow, whoami("quick")];
    let proxy = Evenkeel::start(&file(&servers, "\"least-latency\""));
    let mut browser = Browser::open(proxy.at());
    let mut counts = HashMap::<String, usize>::new();
    for _ in 0..40 {
        *counts.entry(who(&mut browser)).or_default() += 1;
    }
    let slow = counts.get("slow").copied().unwrap_or_default();
    // Nobody knows it before it was asked.
    assert!(slow <= 1, "{counts:?}");
}
