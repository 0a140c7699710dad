//! `POST` of reload, confirm, upgrade and plan: who may, what may be said, and what is answered.

use std::fs;

use rustix::process::Signal;
use serde_json::Value;

use crate::commands::{reloads, rewrite};
use crate::harness::client::hold;
use crate::harness::evenkeel::{Evenkeel, evenkeel};
use crate::harness::files::file;
use crate::harness::http::{self, Answer};
use crate::harness::servers::Server;
use crate::harness::wait::{PATIENCE, eventually};

fn one(extra: &str) -> (Server, Evenkeel) {
    let server = Server::greet("a");
    let proxy = Evenkeel::start(&(file(&format!("[{}]", server.entry("")), "", "") + extra));
    (server, proxy)
}

#[track_caller]
fn post(proxy: &Evenkeel, path: &str, fields: &[&str], body: &str) -> Answer {
    http::send(proxy.admin(), "POST", &format!("/api/v1/{path}"), fields, body)
}

#[track_caller]
fn refused(answer: &Answer, status: u16, why: &str) {
    let error = answer.json()["error"].as_str().unwrap_or_default().to_owned();
    assert_eq!(answer.status, status, "{error}");
    assert!(error.contains(why), "{error}");
}

#[test]
fn calls_take_what_they_know_and_no_path() {
    let (_server, proxy) = one("");
    for path in ["reload", "confirm", "upgrade", "plan"] {
        let got = proxy.get(&format!("/api/v1/{path}"));
        assert_eq!((got.status, got.header("allow")), (405, Some("POST")), "{path}");
        refused(&post(&proxy, path, &["Origin: http://evil.example"], ""), 403, "Origin");
        refused(&post(&proxy, &format!("{path}?file=/etc/passwd"), &[], ""), 400, "unknown key");
    }
    refused(&post(&proxy, "reload?confirm=60", &[], ""), 400, "60s");
    refused(&post(&proxy, "reload?confirm=0s", &[], ""), 400, "above zero");
    refused(&post(&proxy, "confirm", &[], ""), 409, "nothing waits");
    let answer = post(&proxy, "plan", &[], "{\"listener\": {}, \"pol\": {}}");
    refused(&answer, 400, "cannot be used");
    let problems = answer.json()["problems"].as_array().unwrap().len();
    assert!(problems >= 2, "{}", answer.body);
    refused(&post(&proxy, "plan", &[], "no json"), 400, "no JSON");
    let long = http::send(proxy.admin(), "POST", "/api/v1/plan", &[], &" ".repeat((8 << 20) + 1));
    refused(&long, 413, "larger than");
    assert_eq!(reloads(&proxy, "ok") + reloads(&proxy, "refused"), 0);

    let reloaded = post(&proxy, "reload", &[], "");
    assert_eq!(reloaded.status, 200, "{}", reloaded.body);
    assert_eq!(reloaded.json()["changes"]["listeners"]["kept"][0], "l");
    assert_eq!(reloads(&proxy, "ok"), 1);
}

#[test]
fn who_changes_something_bears_the_token_and_who_plans_need_not() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    fs::write(&token, "s3cret\n").unwrap();
    let (_server, proxy) =
        one(&format!("\n[admin]\nbind = \"127.0.0.1:0\"\ntoken_file = \"{}\"\n", token.display()));
    for path in ["reload", "confirm", "upgrade"] {
        refused(&post(&proxy, path, &[], ""), 401, "token");
    }
    assert_eq!(reloads(&proxy, "refused"), 0, "nobody was asked");
    let bearer = ["Authorization: Bearer s3cret"];
    assert_eq!(post(&proxy, "reload", &bearer, "").status, 200);
    let path = proxy.file().to_str().unwrap().to_owned();
    proxy.order(&["plan", "-c", &path]).expect_code(0);
    let reload = proxy.order(&["reload"]).expect_code(1);
    assert!(reload.stderr.contains("--token-file"), "{}", reload.stderr);
    proxy.order(&["reload", "--token-file", token.to_str().unwrap()]).expect_code(0);
    proxy.order(&["reload", "-c", &path]).expect_code(0);
}

#[test]
fn a_reload_waits_to_be_confirmed_and_goes_back_without() {
    let (_server, proxy) = one("");
    let hash = proxy.status()["config"]["hash"].clone();
    rewrite(&proxy, &[("[pool.p]", "[pool.p]\nconnect_timeout = \"2s\"")]);
    let reload = proxy.order(&["reload", "--confirm", "10m"]).expect_code(0).stdout;
    assert!(reload.contains("  ~ p: connect_timeout 1s -> 2s"), "{reload}");
    assert!(reload.contains("in 10m (20") && reload.contains("evenkeel confirm"), "{reload}");
    let confirm = proxy.order(&["confirm"]).expect_code(0).stdout;
    assert!(confirm.starts_with("confirmed: "), "{confirm}");
    let confirm = proxy.order(&["confirm"]).expect_code(1).stderr;
    assert!(confirm.contains("nothing waits"), "{confirm}");
    let confirmed = proxy.status()["config"]["hash"].clone();
    assert_ne!(confirmed, hash);

    rewrite(&proxy, &[("\"2s\"", "\"3s\"")]);
    let reload = post(&proxy, "reload?confirm=300ms", &[], "").json();
    assert_eq!(reload["confirm_within_ms"], 300);
    eventually("it has gone back", PATIENCE, || proxy.status()["config"]["hash"] == confirmed);
    assert!(fs::read_to_string(proxy.file()).unwrap().contains("\"3s\""), "the file is as it was");
}

#[test]
fn without_an_admin_interface_the_signal_is_named() {
    let (_server, proxy) = one("\n[admin]\nbind = \"off\"\n");
    let path = proxy.file().to_str().unwrap().to_owned();
    for (command, signal) in [("reload", "SIGHUP"), ("upgrade", "SIGUSR2"), ("confirm", "is off")] {
        let said = evenkeel(&[command, "-c", &path]).expect_code(1).stderr;
        assert!(said.contains(signal) && said.contains("off"), "{command}: {said}");
    }
    let plan = evenkeel(&["plan", "-c", &path]).expect_code(1).stderr;
    assert!(plan.contains("the admin interface is off"), "{plan}");
    proxy.signal(Signal::HUP);
    eventually("the signal does it", PATIENCE, || proxy.log().contains("reloaded: "));
}

#[test]
fn logs_change_with_a_reload_also_for_who_was_there_before() {
    let log = "\n[log]\nformat = \"json\"\naccess = \"{dir}/one.log\"\n";
    let (_server, proxy) = one(log);
    let mut before = hold(proxy.at());
    let quiet = ("format = \"json\"", "format = \"text\"\nlevel = \"warn\"");
    rewrite(&proxy, &[("one.log", "two.log"), quiet]);
    proxy.order(&["reload"]).expect_code(0);
    crate::harness::client::ping(&mut before.stream, "still here");
    crate::harness::client::close(before.stream);
    let lines = |name: &str| {
        let text = fs::read_to_string(proxy.dir().join(name)).unwrap_or_default();
        text.lines().filter(|line| serde_json::from_str::<Value>(line).is_ok()).count()
    };
    eventually("its line is in the new file", PATIENCE, || lines("two.log") == 1);
    assert_eq!(lines("one.log"), 0);
    // Rotation: the same name is another file afterwards.
    fs::rename(proxy.dir().join("two.log"), proxy.dir().join("two.log.1")).unwrap();
    proxy.signal(Signal::HUP);
    eventually("the file is opened again", PATIENCE, || proxy.dir().join("two.log").exists());
    let warned =
        |log: &str| log.lines().any(|line| line.contains(" WARN ") && !line.starts_with('{'));
    eventually("it says so as text", PATIENCE, || warned(&proxy.log()));
    assert!(!proxy.log().contains("reloaded: "), "that is no warning");
}
