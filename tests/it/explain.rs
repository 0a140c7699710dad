//! `check --explain` and `max_failover`: what a file makes certain is said before anything fails, and
//! what bites later is a warning now.

use serde_json::Value;

use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::{Written, says};
use crate::harness::wait::{PATIENCE, eventually};

const SMALLEST: &str = "[listener.db]\nbind = \"127.0.0.1:0\"\npool = \"db\"\n\n\
                        [pool.db]\nbackends = [\"10.0.0.11:5432\", \"10.0.0.12:5432\"]\n";

/// The fact with this id in the first way that `check --explain --json` gives.
fn fact(report: &Value, id: &str) -> Value {
    let parts = report["explain"]["ways"][0]["parts"].as_array().unwrap();
    let mut facts = parts.iter().flat_map(|part| part["facts"].as_array().unwrap());
    facts.find(|fact| fact["id"] == id).unwrap_or_else(|| panic!("no {id} in {report:#}")).clone()
}

#[test]
fn the_smallest_file_is_explained_in_numbers_with_their_formulas() {
    let file = Written::new(SMALLEST);
    let answer = file.command(&["check", "--explain"]).expect_code(0);
    assert_eq!(answer.stderr, "", "no warning");
    says(
        &answer.stdout,
        &[
            "listener \"db\" (tcp) → pool \"db\" (2 backends)",
            "7s        interval 2s × fall 3 + timeout 1s",
            "3s        connect_timeout 1s × attempts 3",
            "5s        interval 2s × rise 2 + timeout 1s",
            "30s       shutdown_timeout 30s",
            "NOT seen by probe tcp",
            "close.drain keep",
            ": ok, 1 listener, 1 pool, 2 backends",
        ],
    );
    let json = file.command(&["check", "--explain", "--json"]).expect_code(0);
    let report: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&report["ok"], &report["explain"]["stop"]["ms"]), (&true.into(), &30_000.into()));
    for (id, ms) in [("dead", 7000), ("failover", 8000), ("wait_worst", 3000), ("recovered", 5000)]
    {
        assert_eq!(fact(&report, id)["ms"], ms, "{id}");
    }
    assert_eq!(fact(&report, "hung")["ms"], Value::Null);
    assert_eq!(fact(&report, "dead")["formula"], "interval 2s × fall 3 + timeout 1s");
    // Without the flag the shape is what it was.
    let plain = file.command(&["check", "--json"]).expect_code(0);
    assert_eq!(plain.stdout.trim(), r#"{"ok":true,"errors":[],"warnings":[]}"#);
    file.command(&["check", "--explain", "--effective"]).expect_code(2);
}

#[test]
fn what_a_request_waits_for_is_explained_and_a_route_that_never_matches_is_a_warning() {
    let http = SMALLEST.replacen("pool =", "protocol = \"http\"\npool =", 1);
    let file = Written::new(&format!("{http}response_timeout = \"4s\"\n"));
    let answer = file.command(&["check", "--explain", "--deny-warnings"]).expect_code(0);
    says(
        &answer.stdout,
        &[
            "listener \"db\" (http) → pool \"db\" (2 backends)",
            "a request waits, beside what a good backend takes to answer, at most",
            "10s       header_timeout 10s",
            "4s        response_timeout 4s; then another is tried",
            "9s        min(connect_timeout 1s × attempts 3 + response_timeout 4s",
            "tried again only with an idempotent method",
        ],
    );
    // What is written in full is the same file.
    let full = file.command(&["check", "--effective"]).expect_code(0).stdout;
    let again = Written::new(&full).command(&["check", "--effective"]).expect_code(0).stdout;
    assert_eq!(again, full);
    let routes = "[[listener.db.route]]\npath = \"/api/*\"\npool = \"db\"\n\
                  [[listener.db.route]]\npath = \"/api/v1\"\nredirect = \"https\"\n";
    let file = Written::new(&format!("{http}{routes}"));
    let answer = file.command(&["check", "--deny-warnings"]).expect_code(2);
    let route = "route 2: can never match: route \"1\" takes all that it would";
    says(&answer.stderr, &[":11:1:", route, "1 warning, denied"]);
}

#[test]
fn an_explanation_comes_with_the_warnings_and_their_exit_code() {
    let file = Written::new(&SMALLEST.replace(", \"10.0.0.12:5432\"", ""));
    let answer = file.command(&["check", "--explain", "--deny-warnings"]).expect_code(2);
    says(&answer.stderr, &["warning", "has one backend only", "1 warning, denied"]);
    says(&answer.stdout, &["1 backend)", "nobody else is tried"]);
    let broken = Written::new(&format!("{SMALLEST}colour = 1\n"));
    let answer = broken.command(&["check", "--explain"]).expect_code(2);
    assert_eq!(answer.stdout, "");
}

#[test]
fn a_failover_that_cannot_be_kept_is_refused_with_the_key_in_the_way() {
    let with = |most: &str, more: &str| {
        Written::new(&format!("{SMALLEST}max_failover = \"{most}\"\n{more}"))
    };
    let file = with("5s", "");
    for command in ["check", "run"] {
        let text = file.command(&[command]).expect_code(2).text();
        says(&text, &[&format!("{}:7:16:", file.path.display()), "pool \"db\"", "max_failover"]);
        says(&text, &["it can take 8s", "interval 2s × fall 3", "health.interval", "6s"]);
        says(&text, &["set health.interval = \"1s\", or health.fall = 1"]);
    }
    with("8s", "").command(&["check", "--deny-warnings"]).expect_code(0);
    // What it proposes does it.
    for cure in ["interval = \"1s\"", "fall = 1"] {
        let cured = with("5s", &format!("[pool.db.health]\n{cure}\n"));
        let answer = cured.command(&["check", "--explain"]).expect_code(0);
        says(&answer.stdout, &["max_failover 5s"]);
    }
    for (more, words) in [
        ("health.probe = \"none\"\n", ["health.probe is \"none\"", "no time is certain"]),
        (
            "health.interval = \"1s\"\nhealth.timeout = \"2s\"\n",
            [
                "it can take 9s",
                "most of it is health.timeout, 8s, which is longer than health.interval",
            ],
        ),
        (
            "connect_timeout = \"4s\"\nhealth.interval = \"1s\"\n",
            ["most of it is connect_timeout, 4s", "8s"],
        ),
    ] {
        says(&with("6s", more).command(&["check"]).expect_code(2).text(), &words);
    }
}

#[test]
fn what_bites_later_is_a_warning_now() {
    let spare = "[pool.spare]\nbackends = [\"10.0.0.13:1\", \"10.0.0.14:1\"]\n";
    let hash = SMALLEST.replace(
        "\"10.0.0.12:5432\"]",
        "\"10.0.0.13:1\", { address = \"10.0.0.12:5432\", weight = 0 }]\nbalance = \"consistent-hash\"",
    );
    let lonely = SMALLEST
        .replace("\"10.0.0.12:5432\"", "{ address = \"10.0.0.12:5432\", state = \"maintenance\" }");
    let token = "[admin]\nbind = \"0.0.0.0:9900\"\ntoken_file = \"evenkeel.toml\"\n";
    let more = |keys: &str| format!("{SMALLEST}{keys}");
    for (toml, line, words) in [
        (
            more("retry.attempts = 9\n"),
            7,
            ["of 9 attempts only 5 can begin", "retry.window = \"9s\""],
        ),
        (more("connect_timeout = \"5s\"\n"), 7, ["of 3 attempts only 1 can begin", "window of 5s"]),
        (
            SMALLEST.replace(", \"10.0.0.12:5432\"", ""),
            6,
            ["has one backend only and no backup:", "add another"],
        ),
        (lonely, 6, ["only that takes sessions", "nothing takes over"]),
        (
            more("health.timeout = \"3s\"\n"),
            7,
            ["interval 2s is shorter than timeout 3s", "set timeout"],
        ),
        (more(token), 8, ["offers the admin interface on every network", "127.0.0.1:9900"]),
        (
            more("fail_open = true\nclose.down = \"now\"\n"),
            7,
            ["close.down = \"now\"", "remove fail_open"],
        ),
        (more(spare), 7, ["pool \"spare\" is used by no listener", "remove it"]),
        (hash, 6, ["weights of 0", "state = \"drain\""]),
    ] {
        warns_once(&toml, line, &words);
    }
}

#[test]
fn caps_beyond_the_open_file_limit_are_warned_of_whosever_they_are() {
    let capped = SMALLEST.replace(
        "\"10.0.0.12:5432\"",
        "{ address = \"10.0.0.12:5432\", max_sessions = 4000000000 }",
    );
    for (toml, line, words) in [
        (
            format!("[process]\nmax_sessions = 4000000000\n{SMALLEST}"),
            2,
            [
                "process: max_sessions allows sessions that take 8000000000 descriptors",
                "LimitNOFILE",
            ],
        ),
        (
            SMALLEST.replace("\n\n", "\nmax_sessions = 4000000000\n\n"),
            4,
            ["listener \"db\": max_sessions", "8000000000 descriptors"],
        ),
        (
            format!("{SMALLEST}max_sessions = 4000000000\n"),
            7,
            ["pool \"db\": max_sessions", "8000000000 descriptors"],
        ),
        (capped, 6, ["pool \"db\": max_sessions", "8000000000 descriptors"]),
    ] {
        warns_once(&toml, line, &words);
    }
}

/// `check` warns of this line alone, with these words.
fn warns_once(toml: &str, line: usize, words: &[&str]) {
    let file = Written::new(toml);
    let text = file.command(&["check"]).expect_code(0).text();
    says(&text, &[&format!("{}:{line}:", file.path.display()), "warning: ", "1 warning\n"]);
    says(&text, words);
    file.command(&["check", "--deny-warnings"]).expect_code(2);
}

#[test]
fn caps_beyond_the_open_file_limit_are_said_at_the_start_too() {
    let toml = SMALLEST.replace("\n\n", "\nmax_sessions = 4000000000\n\n");
    let proxy = Evenkeel::launch(&[], &toml);
    eventually("it warns", PATIENCE, || proxy.log().contains("8000000000 descriptors"));
}
