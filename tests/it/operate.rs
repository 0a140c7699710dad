//! Operating a running balancer: drain, maintenance, weights, over the admin interface and by command.

use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::client::{End, end_of, hold, who};
use crate::harness::evenkeel::{Evenkeel, evenkeel, program};
use crate::harness::files::file;
use crate::harness::http;
use crate::harness::process::{Owned, finish};
use crate::harness::seat::Seat;
use crate::harness::servers::{Server, entries};
use crate::harness::wait::{PATIENCE, eventually};

fn with_two(extra: &str) -> (Vec<Server>, Evenkeel) {
    let servers = vec![Server::greet("a"), Server::greet("b")];
    let proxy = Evenkeel::start(&(file(&entries(&servers), "", "") + extra));
    for name in ["a", "b"] {
        proxy.wait_health(name, "up");
    }
    (servers, proxy)
}

#[test]
fn the_next_pick_obeys_each_state() {
    let (_servers, proxy) = with_two("");
    let mut held: Vec<_> = (0..4).map(|_| hold(proxy.at())).collect();
    for round in 0..3 {
        let (gone, there) = if round % 2 == 0 { ("a", "b") } else { ("b", "a") };
        let now = proxy.patch(gone, "{\"state\": \"drain\"}");
        assert_eq!(now.status, 200, "{}", now.body);
        let now = now.json();
        assert_eq!((&now["state"], &now["health"]), (&"drain".into(), &"up".into()));
        assert_eq!(
            (now["weight"].as_u64(), now["effective_weight"].as_f64()),
            (Some(1), Some(0.0))
        );
        assert!((0..6).all(|_| who(proxy.at()) == there), "{gone} is in drain");
        eventually("only the held ones are left", PATIENCE, || proxy.sessions() == 4);
        let metrics = proxy.metrics();
        assert_eq!(metrics.count("backend_state", &[("backend", gone), ("state", "drain")]), 1);
        assert_eq!(proxy.patch(gone, "{\"state\": \"ready\"}").status, 200);
        let both: Vec<_> = (0..2).map(|_| hold(proxy.at())).collect();
        assert!(both.iter().any(|held| held.backend == gone), "{gone} is back");
        drop(both);
        eventually("only the held ones are left", PATIENCE, || proxy.sessions() == 4);
    }
    // Nobody who was there has noticed.
    for held in &mut held {
        crate::harness::client::ping(&mut held.stream, "still here");
    }
}

#[test]
fn a_backend_in_maintenance_takes_nothing_is_not_probed_and_comes_back() {
    let (servers, proxy) = with_two("");
    let now = proxy.patch("a", "{\"state\": \"maintenance\"}").json();
    assert_eq!((&now["state"], &now["health"]), (&"maintenance".into(), &"unknown".into()));
    assert!((0..4).all(|_| who(proxy.at()) == "b"));
    servers[0].stop();
    servers[0].start();
    // A probe of before may have been accepted while it was cut.
    let probes = || proxy.metrics().count("probes_total", &[("backend", "a")]);
    let (before, other) = (probes(), proxy.metrics().count("probes_total", &[("backend", "b")]));
    eventually("b has been probed", PATIENCE, || {
        proxy.metrics().count("probes_total", &[("backend", "b")]) > other + 3
    });
    assert_eq!(probes(), before);
    assert_eq!(proxy.patch("a", "{\"state\": \"ready\"}").status, 200);
    eventually("a is back", PATIENCE, || who(proxy.at()) == "a");
}

#[test]
fn weights_decide_the_very_next_picks() {
    let (_servers, proxy) = with_two("");
    let now = proxy.patch("a", "{\"weight\": 3}").json();
    assert_eq!((&now["weight"], &now["state"]), (&3.into(), &"ready".into()));
    let held: Vec<_> = (0..8).map(|_| hold(proxy.at())).collect();
    assert_eq!(held.iter().filter(|held| held.backend == "a").count(), 6);
    assert_eq!(proxy.patch("a", "{\"weight\": 0}").json()["effective_weight"].as_f64(), Some(0.0));
    assert!((0..8).all(|_| who(proxy.at()) == "b"));
    let line = proxy.order(&["weight", "p/a", "256"]).expect_code(0).stdout;
    assert_eq!(line, "p/a: ready, up, weight 256, 6 sessions\n");
    assert_eq!(proxy.metrics().count("backend_weight", &[("backend", "a")]), 256);
}

#[test]
fn bad_calls_are_refused_in_json_and_change_nothing() {
    let (_servers, proxy) = with_two("");
    let drain = "{\"state\": \"drain\"}";
    let (a, huge) = ("/api/v1/pools/p/backends/a", "x".repeat(10_000_000));
    for (method, path, body, status) in [
        ("PATCH", "/api/v1/pools/nope/backends/a", drain, 404),
        ("PATCH", "/api/v1/pools/p/backends/nope", drain, 404),
        ("PATCH", "/api/v1/pools/p/backends/a/x", drain, 404),
        ("PATCH", a, "{\"weight\": -1}", 400),
        ("PATCH", a, "{\"weight\": 257}", 400),
        ("PATCH", a, "{\"weight\": 1e2}", 400),
        ("PATCH", a, "{\"state\": \"down\"}", 400),
        ("PATCH", a, "{\"state\": \"drain\", \"why\": 1}", 400),
        ("PATCH", a, "state=drain", 400),
        ("PATCH", a, "{}", 400),
        ("PATCH", a, &huge, 413),
        ("GET", a, "", 405),
        ("DELETE", a, "", 405),
        ("POST", "/api/v1/events", drain, 405),
        ("PATCH", "/api/v1/status", drain, 405),
    ] {
        let answer = http::send(proxy.admin(), method, path, &[], body);
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
        assert!(answer.json()["error"].is_string(), "{}", answer.body);
        assert_eq!(status == 405, answer.header("allow").is_some(), "{}", answer.head);
    }
    let foreign = ["origin: http://evil.example"];
    assert_eq!(http::send(proxy.admin(), "PATCH", a, &foreign, drain).status, 403);
    for name in ["a", "b"] {
        let now = proxy.backend(name);
        assert_eq!((&now["state"], &now["weight"]), (&"ready".into(), &1.into()));
    }
    assert!((0..4).any(|_| who(proxy.at()) == "a"));
}

#[test]
fn a_change_needs_the_token_on_an_address_that_others_can_reach() {
    let server = Server::greet("s");
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "open sesame\nnot this\n").unwrap();
    let path = token.path().to_str().unwrap();
    let admin = format!("[admin]\nbind = \"0.0.0.0:0\"\ntoken_file = \"{path}\"\n");
    let toml = file(&entries(std::slice::from_ref(&server)), "", "") + &admin;
    let proxy = Evenkeel::start(&toml);
    let at = std::net::SocketAddr::from(([127, 0, 0, 1], proxy.admin().port()));
    let (backend, body) = ("/api/v1/pools/p/backends/s", "{\"weight\": 2}");
    for (fields, status) in [
        (vec![], 401),
        (vec!["authorization: Bearer wrong"], 401),
        (vec!["authorization: Bearer open sesame"], 200),
    ] {
        let answer = http::send(at, "PATCH", backend, &fields, body);
        assert_eq!(answer.status, status, "{}", answer.body);
        assert_eq!(status == 401, answer.header("www-authenticate").is_some());
    }
    assert_eq!(http::get(at, "/api/v1/status").status, 200, "reading needs none");

    // The command finds address and token in the file, in its argument, in the environment.
    let words = ["ready", "p/s", "--admin", &at.to_string()];
    let refused = evenkeel(&words).expect_code(1).stderr;
    assert!(refused.contains(&at.to_string()) && refused.contains("token"), "{refused}");
    evenkeel(&[&words[..], &["--token-file", path]].concat()).expect_code(0);
    let from_environment =
        finish(Command::new(program()).args(words).env("EVENKEEL_TOKEN_FILE", path), PATIENCE);
    from_environment.expect_code(0);
    let file = proxy.dir().join("with-port.toml");
    std::fs::write(&file, toml.replace("0.0.0.0:0", &format!("0.0.0.0:{}", at.port()))).unwrap();
    let by_file = ["drain", "p/s", "-c", file.to_str().unwrap()];
    evenkeel(&by_file).expect_code(0);
    let mut empty = Command::new(program());
    empty.args(by_file).env("EVENKEEL_TOKEN_FILE", "");
    finish(&mut empty, PATIENCE).expect_code(0);

    std::fs::write(token.path(), "another\n").unwrap();
    proxy.signal(Signal::HUP);
    let another = ["authorization: Bearer another"];
    eventually("the token is read again", PATIENCE, || {
        http::send(at, "PATCH", backend, &another, body).status == 200
    });
}

#[test]
fn whoever_may_not_read_the_token_file_asks_by_the_file_all_the_same() {
    let server = Server::greet("s");
    let seat = Seat::take();
    let folder = tempfile::tempdir().unwrap();
    let (token, own) = (folder.path().join("token"), folder.path().join("own"));
    for path in [&token, &own] {
        std::fs::write(path, "sesame\n").unwrap();
    }
    let admin =
        format!("[admin]\nbind = \"{}\"\ntoken_file = \"{}\"\n", seat.address(), token.display());
    let proxy = Evenkeel::start(&(file(&entries(std::slice::from_ref(&server)), "", "") + &admin));
    // These tests may run as root, who may read everything.
    std::fs::remove_file(&token).unwrap();
    let file = proxy.file();
    let by_file = |words: &[&str]| evenkeel(&[words, &["-c", file.to_str().unwrap()]].concat());
    by_file(&["status"]).expect_code(0);
    by_file(&["route", "--listener", "l", "--client", "192.0.2.7"]).expect_code(0);
    by_file(&["drain", "p/s", "--token-file", own.to_str().unwrap()]).expect_code(0);
    let words = by_file(&["ready", "p/s"]).expect_code(2).stderr;
    assert!(words.contains("--token-file") && words.contains("token"), "{words}");
}

#[test]
fn commands_say_what_holds_and_exit_by_what_came_of_it() {
    let (_servers, proxy) = with_two("");
    let _held: Vec<_> = (0..4).map(|_| hold(proxy.at())).collect();
    let said = |words: &[&str]| proxy.order(words).expect_code(0).stdout;
    assert_eq!(said(&["drain", "p/a"]), "p/a: drain, 2 sessions left\n");
    assert_eq!(said(&["ready", "p/a"]), "p/a: ready, up, weight 1, 2 sessions\n");
    let json: serde_json::Value =
        serde_json::from_str(&said(&["weight", "p/a", "2", "--json"])).unwrap();
    assert_eq!((&json["name"], &json["weight"]), (&"a".into(), &2.into()));
    let words = proxy.order(&["drain", "p/c"]).expect_code(1).stderr;
    assert!(words.contains("\"c\"") && words.contains("a, b"), "{words}");
    let words = proxy.order(&["maintenance", "q/a"]).expect_code(1).stderr;
    assert!(words.contains("\"q\"") && words.contains(&proxy.admin().to_string()), "{words}");
    for wrong in [vec!["drain", "a"], vec!["weight", "p/a"], vec!["weight", "p/a", "-1"]] {
        assert!(!proxy.order(&wrong).expect_code(2).stderr.is_empty(), "{wrong:?}");
    }
    let seat = Seat::take();
    let nobody = seat.address().to_string();
    let words = evenkeel(&["ready", "p/a", "--admin", &nobody]).expect_code(1).stderr;
    assert!(words.contains(&nobody), "{words}");
    let off = evenkeel(&["ready", "p/a", "--admin", "off"]).expect_code(1).stderr;
    assert!(off.contains("off"), "{off}");
}

/// A `drain --wait` that runs beside the test.
fn wait_beside(proxy: &Evenkeel, args: &[&str]) -> Owned {
    let admin = proxy.admin().to_string();
    let mut command = Command::new(program());
    command.args(["drain", "p/a", "--wait", "--admin", &admin]).args(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Owned(command.spawn().unwrap())
}

fn text(pipe: Option<impl std::io::Read>) -> String {
    let mut text = String::new();
    pipe.unwrap().read_to_string(&mut text).unwrap();
    text
}

#[test]
fn drain_waits_for_the_last_session_and_shows_them_count_down() {
    let (_servers, proxy) = with_two("");
    let held: Vec<_> = (0..6).map(|_| hold(proxy.at())).collect();
    let (here, elsewhere): (Vec<_>, Vec<_>) = held.into_iter().partition(|h| h.backend == "a");
    assert_eq!((here.len(), elsewhere.len()), (3, 3));
    let mut waiting = wait_beside(&proxy, &[]);
    eventually("a is in drain", PATIENCE, || proxy.backend("a")["state"] == "drain");
    let mut stderr = std::io::BufReader::new(waiting.0.stderr.take().unwrap());
    let mut lines = std::io::BufRead::lines(&mut stderr).map_while(Result::ok);
    assert_eq!(lines.next().as_deref(), Some("p/a: drain, 3 sessions left"));
    let mut here = here.into_iter();
    // Each line may be the one that follows the end, or one of a look before it.
    for (left, line) in [(2, "p/a: drain, 2 sessions left"), (1, "p/a: drain, 1 session left")] {
        drop(here.next());
        eventually("a session less", PATIENCE, || proxy.backend("a")["sessions"] == left);
        assert!(waiting.runs(), "it waits");
        assert_eq!(lines.next().as_deref(), Some(line));
    }
    drop(here);
    assert_eq!(waiting.exit("the wait ends", PATIENCE).code(), Some(0));
    assert_eq!(text(waiting.0.stdout.take()), "p/a: drain, 0 sessions left\n");
    assert_eq!(proxy.backend("a")["state"], "drain");
    assert_eq!(proxy.backend("b")["sessions"], 3);
}

#[test]
fn a_drain_that_takes_too_long_says_how_many_stayed_and_goes_on() {
    let (_servers, proxy) = with_two("");
    let _held: Vec<_> = (0..4).map(|_| hold(proxy.at())).collect();
    let ended = proxy.order(&["drain", "p/a", "--wait", "--timeout", "300ms"]).expect_code(1);
    assert!(
        ended.stderr.contains("2 sessions stayed; the backend stays in drain"),
        "{}",
        ended.text()
    );
    assert_eq!(proxy.backend("a")["state"], "drain");
    assert_eq!(proxy.backend("a")["sessions"], 2);
}

#[test]
fn a_wait_ends_when_the_backend_is_wanted_again_or_the_balancer_goes() {
    let (_servers, mut proxy) = with_two("");
    let mut held: Vec<_> = (0..4).map(|_| hold(proxy.at())).collect();
    let drained = || proxy.backend("a")["state"] == "drain";
    let mut waiting = wait_beside(&proxy, &[]);
    eventually("a is in drain", PATIENCE, drained);
    proxy.order(&["ready", "p/a"]).expect_code(0);
    assert_eq!(waiting.exit("the wait ends", PATIENCE).code(), Some(1));
    let why = text(waiting.0.stderr.take());
    assert!(why.contains("ready again"), "{why}");

    let mut waiting = wait_beside(&proxy, &["--timeout", "1h"]);
    // It has been obeyed and told so, and waits from now on.
    let mut stderr = std::io::BufReader::new(waiting.0.stderr.take().unwrap());
    let mut first = String::new();
    std::io::BufRead::read_line(&mut stderr, &mut first).unwrap();
    assert_eq!(first, "p/a: drain, 2 sessions left\n");
    proxy.signal(Signal::KILL);
    proxy.exit_code(PATIENCE);
    assert_eq!(waiting.exit("the wait ends", PATIENCE).code(), Some(1));
    let why = text(Some(stderr));
    assert!(why.contains("went away"), "{why}");
    assert_ne!(end_of(&mut held[0].stream), End::Open);
}

#[test]
fn a_unix_socket_takes_orders_too_and_names_with_brackets() {
    let server = Server::on("::1".parse().unwrap(), "six", drop);
    let toml = file(&format!("[\"{}\"]", server.address()), "", "")
        + "[admin]\nbind = \"unix:{dir}/admin.sock\"\n";
    let proxy = Evenkeel::start(&toml);
    let place = format!("p/{}", server.address());
    let file = proxy.file();
    let words = ["drain", &place, "--wait", "-c", file.to_str().unwrap()];
    let line = evenkeel(&words).expect_code(0).stdout;
    assert_eq!(line, format!("{place}: drain, 0 sessions left\n"));
}

#[test]
fn while_it_stops_nothing_is_changed_any_more() {
    let (_servers, proxy) = with_two("");
    let held = hold(proxy.at());
    proxy.signal(Signal::TERM);
    eventually("not ready", PATIENCE, || proxy.get("/readyz").status == 503);
    let answer = proxy.patch("a", "{\"state\": \"drain\"}");
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("stopping"), "{}", answer.body);
    drop(held);
    let mut proxy = proxy;
    assert_eq!(proxy.exit_code(Duration::from_secs(20)), Some(0));
}
