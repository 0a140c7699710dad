//! The dashboard before a real browser: what an operator sees and does there.

use std::time::Instant;

use serde_json::json;

use super::chromium::Browser;
use crate::harness::client::{Held, hold, ping};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::file;
use crate::harness::http;
use crate::harness::seat::Seat;
use crate::harness::servers::Server;
use crate::harness::wait::{PATIENCE, eventually, until};

/// A balancer over three backends with some sessions, and the servers behind it.
struct Scene {
    proxy: Evenkeel,
    servers: Vec<Server>,
    sessions: Vec<Held>,
}

impl Scene {
    #[track_caller]
    fn set(more: &str) -> Self {
        let servers: Vec<_> = ["alpha", "beta", "gamma"].map(Server::greet).into();
        let entries: Vec<_> = servers.iter().map(|server| server.entry("")).collect();
        let proxy = Evenkeel::start(&(file(&format!("[{}]", entries.join(", ")), "", "") + more));
        let sessions = (0..9).map(|_| hold(proxy.at())).collect();
        Self { proxy, servers, sessions }
    }

    fn page(&self) -> String {
        format!("http://{}/", self.proxy.admin())
    }

    /// Some traffic, and time in which the page sees it: the page's own clock moves the charts.
    #[track_caller]
    fn traffic(&mut self, browser: &Browser) {
        let points =
            "document.querySelector('#tile-in .line').getAttribute('d')?.split('L').length";
        let start = Instant::now();
        while browser.value(points).as_u64().unwrap_or(0) < 12 {
            assert!(start.elapsed() < 3 * PATIENCE, "the chart does not grow");
            for held in &mut self.sessions {
                ping(&mut held.stream, &"x".repeat(5000));
            }
            drop(hold(self.proxy.at()));
        }
    }
}

/// The row of a backend.
fn row(name: &str) -> String {
    format!("[data-backend={}]", json!(name))
}

/// Fails if the page has asked anybody but the balancer, or had something to complain of.
#[track_caller]
fn nothing_went_wrong(browser: &Browser, home: &str, expected: &[&str]) {
    for event in browser.events() {
        let params = &event["params"];
        match event["method"].as_str().unwrap_or_default() {
            "Network.requestWillBeSent" => {
                let url = params["request"]["url"].as_str().unwrap();
                let own = url.starts_with(home) || url.starts_with("data:image/svg+xml");
                assert!(own || url == "about:blank", "asked {url}");
            }
            "Log.entryAdded" | "Runtime.exceptionThrown" | "Runtime.consoleAPICalled" => {
                let text = params.to_string();
                assert!(expected.iter().any(|part| text.contains(part)), "complains: {params:#}");
            }
            _ => {}
        }
    }
}

#[test]
fn an_operator_sees_and_steers_the_backends() {
    let Some(browser) = Browser::start() else { return };
    let mut scene = Scene::set("");
    browser.look(1440, 1000, "light");
    browser.open(&scene.page());
    browser.wait_text("#headline", &["On an even keel", "3 backends"]);
    browser.wait_text(&row("gamma"), &["gamma", "up"]);
    browser.wait_text("#tile-sessions", &["9"]);
    scene.traffic(&browser);

    scene.servers[0].stop();
    browser.wait_text(&row("alpha"), &["down", "refused"]);
    browser.wait_text("#events", &["alpha", "down"]);
    browser.wait_text("#headline", &["1 backend is down"]);

    // Asked first, and nothing done on "Cancel".
    browser.click(&format!("{} [data-do=drain]", row("beta")));
    browser.wait_text("dialog", &["Drain p / beta?", "gamma", "Cancel"]);
    browser.click("#ask-no");
    assert_eq!(scene.proxy.backend("beta")["state"], "ready");
    browser.click(&format!("{} [data-do=drain]", row("beta")));
    browser.click("#ask-yes");
    eventually("beta is in drain", PATIENCE, || scene.proxy.backend("beta")["state"] == "drain");
    browser.wait_text(&row("beta"), &["drain", "takes nothing new"]);

    browser.click(&format!("{} .weight", row("gamma")));
    browser.write("7");
    browser.key("Enter", 13);
    eventually("gamma has weight 7", PATIENCE, || scene.proxy.backend("gamma")["weight"] == 7);
    browser.wait_text(&format!("{} .weight", row("gamma")), &["7"]);

    scene.traffic(&browser);
    browser.value("window.scrollTo(0, 0)");
    browser.screenshot("light");
    let ground = "getComputedStyle(document.body).backgroundColor";
    let light = browser.value(ground);
    browser.look(1440, 1000, "dark");
    assert_ne!(browser.value(ground), light, "the page follows the system");
    browser.screenshot("dark");
    browser.click("#theme");
    assert_eq!(browser.value(ground), light, "and its own switch before the system");
    browser.look(390, 844, "light");
    let (wide, room) = ("document.documentElement.scrollWidth", "window.innerWidth");
    assert!(browser.value(wide).as_u64() <= browser.value(room).as_u64(), "no sideways scrolling");
    browser.screenshot("narrow");

    browser.click(&format!("{} [data-do=ready]", row("beta")));
    eventually("beta is back", PATIENCE, || scene.proxy.backend("beta")["state"] == "ready");
    scene.servers[0].start();
    browser.wait_text("#headline", &["On an even keel"]);
    nothing_went_wrong(&browser, &scene.page(), &[]);
}

#[test]
fn the_page_says_that_the_balancer_is_gone_and_that_it_is_back() {
    let Some(browser) = Browser::start() else { return };
    let server = Server::greet("alpha");
    let seat = Seat::take();
    let home = format!("http://{}/", seat.address());
    let admin = format!("[admin]\nbind = \"{}\"\n", seat.address());
    let toml = file(&format!("[{}]", server.entry("")), "", "") + &admin;
    let first = Evenkeel::start(&toml);
    browser.look(1440, 900, "light");
    browser.open(&home);
    browser.wait_text("#headline", &["On an even keel"]);
    drop(first);
    browser.wait_text("#gone", &["has not answered since", "no connection"]);
    browser.wait_text("#pulse", &["stale since"]);
    browser.screenshot("gone");
    let _second = Evenkeel::start(&toml);
    browser.wait_text("#pulse", &["live"]);
    browser.wait_text("#events", &["answers again", "another process than before"]);
    assert_eq!(browser.value("document.getElementById('gone').hidden"), true);
    nothing_went_wrong(
        &browser,
        &home,
        &[
            "ERR_CONNECTION_REFUSED",
            "ERR_INCOMPLETE_CHUNKED",
            "ERR_CONNECTION_RESET",
            "ERR_EMPTY_RESPONSE",
        ],
    );
}

#[test]
fn the_token_is_asked_for_once_and_again_when_it_is_wrong() {
    let Some(browser) = Browser::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "sesame\n").unwrap();
    let scene = Scene::set(&format!(
        "[admin]\nbind = \"127.0.0.1:0\"\ntoken_file = \"{}\"\n",
        token.display()
    ));
    browser.look(1440, 900, "light");
    browser.open(&scene.page());
    let state = |backend: &str| scene.proxy.backend(backend)["state"].clone();
    browser.click(&format!("{} [data-do=maintenance]", row("alpha")));
    browser.click("#ask-yes");
    browser.wait_text("dialog", &["A token is needed"]);
    browser.write("guess");
    browser.key("Enter", 13);
    browser.wait_text("#ask-error", &["not accepted"]);
    assert_eq!(state("alpha"), "ready");
    browser.value("document.getElementById('ask-input').select()");
    browser.write("sesame");
    browser.key("Enter", 13);
    eventually("alpha is out", PATIENCE, || state("alpha") == "maintenance");
    until("the dialog closes", PATIENCE, || browser.text("dialog[open]").is_empty().then_some(()));
    // It is known now.
    browser.click(&format!("{} [data-do=drain]", row("beta")));
    browser.click("#ask-yes");
    eventually("beta is in drain", PATIENCE, || state("beta") == "drain");
    let is_open = || browser.value("document.getElementById('ask').open");
    eventually("the dialog closes again", PATIENCE, || is_open() == false);
    let kept = "[sessionStorage.length, Object.values(localStorage).includes('sesame')]";
    assert_eq!(browser.value(kept), json!([1, false]));
    nothing_went_wrong(&browser, &scene.page(), &["401"]);
}

#[test]
fn the_page_is_whole_has_a_strict_policy_and_is_known_by_its_tag() {
    let scene = Scene::set("");
    let page = scene.proxy.get("/");
    assert_eq!(page.status, 200);
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
    let tag = page.header("etag").unwrap().to_owned();
    assert!(tag.starts_with('"'), "{tag}");
    let names = ["alpha", "beta"];
    assert!(names.iter().all(|name| !page.body.contains(name)), "the page is the same for all");
    let at = scene.proxy.admin();
    let head = http::request(at, "HEAD", "/", &at.to_string());
    assert_eq!((head.status, head.header("etag")), (200, Some(tag.as_str())));
    assert_eq!(http::request(at, "POST", "/", &at.to_string()).status, 405);
    assert_eq!(http::request(at, "GET", "/", "evil.example").status, 403);
}
