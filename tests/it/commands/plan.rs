//! `evenkeel plan` and `evenkeel reload`: the one says what the other does.

use std::fs;

use serde_json::Value;

use crate::commands::{reloads, rewrite};
use crate::harness::client::{hold, ping};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::file;
use crate::harness::servers::Server;

#[test]
fn a_plan_says_what_the_reload_then_does() {
    let servers = [Server::greet("a"), Server::greet("b")];
    let entries = format!("[{}, {}]", servers[0].entry(""), servers[1].entry(""));
    let proxy = Evenkeel::start(&file(&entries, "", "balance = \"round-robin\""));
    let hash = proxy.status()["config"]["hash"].clone();
    let mut held = [hold(proxy.at()), hold(proxy.at())];
    held.sort_by(|one, other| one.backend.cmp(&other.backend));

    let before = fs::read_to_string(proxy.file()).unwrap();
    let one = format!("[{}]", servers[0].entry("weight = 3"));
    rewrite(
        &proxy,
        &[
            (&entries, &one),
            ("[listener.l]", "[listener.m]\nbind = \"127.0.0.1:0\"\npool = \"p\"\n[listener.l]"),
            ("balance = \"round-robin\"", "balance = \"first\""),
            ("[admin]", "[process]\nthreads = 1\n[admin]"),
        ],
    );
    let path = proxy.file().to_str().unwrap().to_owned();
    let plan = proxy.order(&["plan", "-c", &path]).expect_code(0).stdout;
    for line in [
        "listeners  1 kept, 1 added, 0 changed, 0 removed",
        "  + m",
        "  ~ p: balance round-robin -> first",
        "backends   0 kept, 0 added, 1 changed, 1 removed",
        "  ~ p/a: weight 1 -> 3",
        "  - p/b: 1 session, kept until the last one ends",
        "restart    process.threads takes effect with a restart only",
    ] {
        assert!(plan.lines().any(|said| said == line), "no {line:?} in\n{plan}");
    }
    let plan: Value = json(&proxy, &["plan", "-c", &path, "--json"]);
    assert_eq!(proxy.status()["config"]["hash"], hash, "nothing has changed");
    assert_eq!(reloads(&proxy, "ok") + reloads(&proxy, "refused"), 0);

    let reloaded: Value = json(&proxy, &["reload", "--json"]);
    assert_eq!(reloaded["changes"], plan);
    assert_eq!(reloaded["config"]["hash"], proxy.status()["config"]["hash"]);
    assert_ne!(reloaded["config"]["hash"], hash);
    assert_eq!(reloaded["confirm_within_ms"], Value::Null);
    assert_eq!(reloads(&proxy, "ok"), 1);
    assert_eq!(proxy.backend("a")["weight"], 3);
    assert_eq!(hold(proxy.address("m")).backend, "a");
    held.iter_mut().for_each(|held| ping(&mut held.stream, "still here"));

    let again = proxy.order(&["plan", "-c", &path]).expect_code(0).stdout;
    let restart = "restart    process.threads takes effect with a restart only";
    assert!(again.contains(restart) && again.contains("backends   1 kept, 0 added, 0"), "{again}");
    // The file of before, sent by its effective form, would bring everything back.
    fs::write(proxy.file(), before).unwrap();
    let back: Value = json(&proxy, &["plan", "-c", &path, "--json"]);
    assert_eq!(back["backends"]["added"][0], "p/b");
    assert_eq!(back["listeners"]["removed"][0]["name"], "m");
}

#[track_caller]
fn json(proxy: &Evenkeel, args: &[&str]) -> Value {
    serde_json::from_str(&proxy.order(args).expect_code(0).stdout).unwrap()
}

#[test]
fn an_invalid_file_exits_2_with_its_problems_and_changes_nothing() {
    let server = Server::greet("a");
    let proxy = Evenkeel::start(&file(&format!("[{}]", server.entry("")), "", ""));
    let status = proxy.status()["config"].clone();
    rewrite(&proxy, &[("[listener.l]", "[listener.l]\nbakclog = 1")]);
    let path = proxy.file().to_str().unwrap().to_owned();
    let place = format!("{path}:2:1: ");

    let plan = proxy.order(&["plan", "-c", &path]).expect_code(2);
    assert!(plan.stderr.contains(&place) && plan.stderr.contains("backlog"), "{}", plan.stderr);
    let plan = proxy.order(&["plan", "-c", &path, "--json"]).expect_code(2);
    let plan: Value = serde_json::from_str(&plan.stdout).unwrap();
    assert_eq!((&plan["ok"], &plan["errors"][0]["line"]), (&false.into(), &2.into()));

    let reload = proxy.order(&["reload"]).expect_code(2);
    assert!(
        reload.stderr.contains(&place) && reload.stderr.contains("backlog"),
        "{}",
        reload.stderr
    );
    let reload = proxy.order(&["reload", "--json"]).expect_code(2);
    let reload: Value = serde_json::from_str(&reload.stdout).unwrap();
    assert!(reload["problems"][0].as_str().unwrap().starts_with(&place), "{reload}");
    assert_eq!((reloads(&proxy, "refused"), reloads(&proxy, "ok")), (2, 0));
    assert_eq!(proxy.status()["config"], status);
    assert_eq!(hold(proxy.at()).backend, "a");
}

#[test]
fn a_file_that_is_broken_still_says_where_its_balancer_is() {
    let server = Server::greet("a");
    let admin = "\n[admin]\nbind = \"unix:{dir}/admin.sock\"\n";
    let proxy = Evenkeel::start(&(file(&format!("[{}]", server.entry("")), "", "") + admin));
    rewrite(&proxy, &[("pool = \"p\"", "pool = \"q\"")]);
    let path = proxy.file().to_str().unwrap().to_owned();
    let reload = crate::harness::evenkeel::evenkeel(&["reload", "-c", &path]).expect_code(2);
    assert!(reload.stderr.contains(":3:"), "{}", reload.stderr);
    // The balancer itself was asked, and has said so.
    crate::harness::wait::eventually("it is in the log", crate::harness::wait::PATIENCE, || {
        proxy.log().contains("reload refused")
    });
}
