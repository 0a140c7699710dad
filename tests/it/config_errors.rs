//! What goes wrong before the first client: each mistake is named, with the way out, and the exit
//! code tells a bad file (2) from a bad moment (1).

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;

use crate::harness::evenkeel::{Evenkeel, evenkeel};
use crate::harness::files::{Written, says, unprobed};
use crate::harness::http;
use crate::harness::seat::Seat;
use crate::harness::servers::Server;
use crate::harness::wait::{PATIENCE, eventually};

const SIX_MISTAKES: &str = r#"[process]
threadz = 2

[listener.web]
bind = "127.0.0.1:0"
pool = "wbe"
idle_timeout = "5 parsecs"

[listener.db]
bind = "127.0.0.1"
pool = "db"

[pool.web]
backends = ["10.0.0.1:80"]
balance = "round-robbin"

[pool.db]
backends = [{ address = "10.0.0.7:5432", weight = 900 }]
"#;

#[test]
fn six_mistakes_are_six_errors_each_in_its_place() {
    let file = Written::new(SIX_MISTAKES);
    for command in ["check", "run"] {
        let text = file.command(&[command]).expect_code(2).text();
        let name = file.path.to_str().unwrap();
        for (line, words) in [
            (2, ["threadz", "threads"]),
            (6, ["wbe", "web"]),
            (7, ["5 parsecs", "idle_timeout"]),
            (10, ["127.0.0.1", "port"]),
            (15, ["round-robbin", "round-robin"]),
            (18, ["900", "256"]),
        ] {
            says(&text, &[&format!("{name}:{line}:")]);
            says(&text, &words);
        }
    }
    let json = file.command(&["check", "--json"]).expect_code(2);
    let report: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(report["ok"], false);
    let errors = report["errors"].as_array().unwrap();
    let mut lines: Vec<_> = errors.iter().map(|e| e["line"].as_u64().unwrap()).collect();
    lines.sort_unstable();
    assert_eq!(lines, [2, 6, 7, 10, 15, 18], "{report:#}");
    assert!(errors.iter().all(|e| e["message"].is_string() && e["column"].as_u64() >= Some(1)));
}

#[test]
fn a_file_that_is_not_toml_shows_where() {
    let file = Written::new("[listener.l]\nbind = \"127.0.0.1:0\n");
    let text = file.command(&["check"]).expect_code(2).text();
    says(&text, &[&format!("{}:2:", file.path.display())]);
}

#[test]
fn a_good_file_passes_and_a_warning_alone_is_no_failure() {
    let file = Written::new(&unprobed("[\"127.0.0.1:1\"]", "", ""));
    file.command(&["check"]).expect_code(0);
    let file = Written::new(
        "[listener.l]\nbind = \"127.0.0.1:0\"\npool = \"p\"\n[pool.p]\nbackends = [\"127.0.0.1:1\"]\n\
         [pool.q]\nbackends = [\"127.0.0.1:2\"]\n",
    );
    let text = file.command(&["check"]).expect_code(0).text();
    says(&text, &["warning", "q"]);
    file.command(&["check", "--deny-warnings"]).expect_code(2);
}

#[test]
fn a_missing_file_is_named_and_exits_with_2() {
    for command in ["run", "check"] {
        let answer = evenkeel(&[command, "-c", "/nowhere/evenkeel.toml"]).expect_code(2);
        says(&answer.stderr, &["/nowhere/evenkeel.toml"]);
    }
}

#[test]
fn a_file_without_a_listener_is_an_error() {
    let file = Written::new("[pool.p]\nbackends = [\"127.0.0.1:1\"]\n");
    let text = file.command(&["run"]).expect_code(2).text();
    says(&text, &["listener"]);
}

#[test]
fn an_address_that_another_program_has_is_named_with_the_way_out() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let toml = unprobed("[\"127.0.0.1:1\"]", "", "").replacen("127.0.0.1:0", &address, 1);
    let file = Written::new(&(toml + "[admin]\nbind = \"off\"\n"));
    let answer = file.command(&["run"]).expect_code(1);
    says(&answer.stderr, &[&address, "in use"]);
}

#[test]
fn an_address_that_another_evenkeel_has_is_refused_too() {
    let first = Evenkeel::start(&unprobed("[\"127.0.0.1:1\"]", "", ""));
    let address = first.at().to_string();
    let toml = unprobed("[\"127.0.0.1:1\"]", "", "").replacen("127.0.0.1:0", &address, 1);
    let file = Written::new(&(toml + "[admin]\nbind = \"off\"\n"));
    let answer = file.command(&["run"]).expect_code(1);
    says(&answer.stderr, &[&address, "in use"]);
    assert_eq!(first.get("/healthz").status, 200);
}

/// A backend that keeps the probe of a first round waiting until it is told to answer.
struct Round {
    server: Server,
    go: Arc<AtomicBool>,
}

impl Round {
    fn held() -> Self {
        let go = Arc::new(AtomicBool::new(false));
        let told = go.clone();
        let server = Server::http("s", move |_| {
            eventually("told to answer", 2 * PATIENCE, || told.load(Ordering::SeqCst));
            http::answer(200, "")
        });
        Self { server, go }
    }

    fn let_go(&self) {
        self.go.store(true, Ordering::SeqCst);
    }
}

#[test]
fn of_two_that_start_together_one_gets_the_address() {
    // While the first round lasts, both have bound it and neither listens.
    let port = Seat::take();
    let address = port.address().to_string();
    let rounds = [Round::held(), Round::held()];
    let start = |round: &Round| {
        let probe = "[pool.p.health]\nprobe = \"http\"\ntimeout = \"1m\"\ninterval = \"2m\"\n";
        let toml = format!(
            "[listener.l]\nbind = \"{address}\"\npool = \"p\"\n[pool.p]\nbackends = [{}]\n{probe}",
            round.server.entry("")
        );
        let starting = Evenkeel::launch(&[], &toml);
        eventually("it is in its round", PATIENCE, || round.server.accepted() > 0);
        starting
    };
    let (first, mut second) = (start(&rounds[0]), start(&rounds[1]));
    rounds[0].let_go();
    eventually("the first listens", PATIENCE, || !first.addresses("l").is_empty());
    rounds[1].let_go();
    assert_eq!(second.exit_code(PATIENCE), Some(1));
    eventually("the second says why", PATIENCE, || {
        second.log().contains(&address) && second.log().contains("in use")
    });
}

#[test]
fn an_admin_address_in_use_is_named() {
    let first = Evenkeel::start(&unprobed("[\"127.0.0.1:1\"]", "", ""));
    let admin = first.admin().to_string();
    let toml = unprobed("[\"127.0.0.1:1\"]", "", "") + &format!("[admin]\nbind = \"{admin}\"\n");
    let answer = Written::new(&toml).command(&["run"]).expect_code(1);
    says(&answer.stderr, &[&admin, "in use"]);
}

#[test]
fn an_address_that_this_machine_does_not_have_is_named() {
    let toml = unprobed("[\"127.0.0.1:1\"]", "", "").replacen("127.0.0.1:0", "192.0.2.1:8080", 1);
    let answer =
        Written::new(&(toml + "[admin]\nbind = \"off\"\n")).command(&["run"]).expect_code(1);
    says(&answer.stderr, &["192.0.2.1:8080"]);
}

#[test]
fn the_same_address_twice_is_an_error_of_the_file() {
    let port = Seat::take().port();
    let toml = unprobed("[\"127.0.0.1:1\"]", "", "").replacen(
        "127.0.0.1:0",
        &format!("127.0.0.1:{port}"),
        1,
    ) + &format!("[listener.m]\nbind = \"127.0.0.1:{port}\"\npool = \"p\"\n");
    let text = Written::new(&toml).command(&["check"]).expect_code(2).text();
    says(&text, &[&format!("127.0.0.1:{port}"), "l", "m"]);
}

#[test]
fn a_name_that_does_not_resolve_is_a_warning_in_check() {
    let file = Written::new(&unprobed("[\"nowhere.invalid:80\"]", "", ""));
    let text = file.command(&["check"]).expect_code(0).text();
    says(&text, &["warning", "nowhere.invalid"]);
    file.command(&["check", "--deny-warnings"]).expect_code(2);
}

fn with_authority(path: &Path) -> Written {
    Written::new(&format!(
        "[listener.l]\nbind = \"127.0.0.1:0\"\npool = \"p\"\n[pool.p]\n\
         backends = [\"127.0.0.1:1\"]\n[pool.p.health]\nprobe = \"https\"\n\
         [pool.p.health.tls]\nca = \"{}\"\n[admin]\nbind = \"off\"\n",
        path.display()
    ))
}

#[test]
fn a_certificate_that_is_missing_empty_or_broken_is_an_error_of_the_file() {
    let dir = TempDir::new().unwrap();
    let at = |name: &str| dir.path().join(name);
    fs::write(at("empty.pem"), "").unwrap();
    let broken = "-----BEGIN CERTIFICATE-----\nbm90IGEgY2VydA==\n-----END CERTIFICATE-----\n";
    fs::write(at("broken.pem"), broken).unwrap();
    for name in ["missing.pem", "empty.pem", "broken.pem"] {
        let file = with_authority(&at(name));
        for command in ["check", "run"] {
            let text = file.command(&[command]).expect_code(2).text();
            says(&text, &[name]);
        }
    }
}

#[test]
fn bad_usage_exits_with_2() {
    for args in [&["fly"][..], &["run", "--wings"], &["completions", "klingon"], &["proxy"]] {
        let answer = evenkeel(args).expect_code(2);
        assert!(!answer.stderr.is_empty());
    }
}

#[test]
fn the_effective_file_is_valid_and_stays_the_same() {
    let file = Written::new(&unprobed("[\"127.0.0.1:1\"]", "", "balance = \"first\""));
    let effective = file.command(&["check", "--effective"]).expect_code(0).stdout;
    let second = Written::new(&effective);
    let again = second.command(&["check", "--effective"]).expect_code(0).stdout;
    assert_eq!(effective, again);
    says(&effective, &["first", "connect_timeout"]);
}

const DATAGRAMS: &str = "[listener.u]\nbind = \"127.0.0.1:5353\"\nprotocol = \"udp\"\npool = \"p\"\n\
                         [pool.p]\nbackends = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\n";

#[test]
fn keys_of_connections_with_udp_are_errors_of_the_file() {
    let keys = "keepalive = \"60s\"\nbacklog = 5\n[listener.u.tls]\n";
    let toml = DATAGRAMS.replacen("[pool.p]", &format!("{keys}[pool.p]"), 1);
    let text = Written::new(&toml).command(&["check"]).expect_code(2).text();
    says(&text, &["keepalive", "backlog", "tls", "is for tcp", "remove the key"]);
}

#[test]
fn udp_backends_without_a_probe_are_a_warning() {
    let file = Written::new(DATAGRAMS);
    let text = file.command(&["check"]).expect_code(0).text();
    says(&text, &["warning", "pool \"p\"", "ICMP", "dns", "send-expect", "exec", "another port"]);
    file.command(&["check", "--deny-warnings"]).expect_code(2);
    let file = Written::new(&format!("{DATAGRAMS}health.probe = \"dns\"\n"));
    let effective = file.command(&["check", "--effective", "--deny-warnings"]).expect_code(0);
    says(&effective.stdout, &["responses = 0", "query_type = \"NS\"", "idle_timeout = \"30s\""]);
}

#[test]
fn tcp_and_udp_may_have_the_same_address() {
    let both = format!("{DATAGRAMS}[listener.t]\nbind = \"127.0.0.1:5353\"\npool = \"p\"\n");
    Written::new(&both).command(&["check"]).expect_code(0);
    let twice = both.replace("[listener.t]\n", "[listener.t]\nprotocol = \"udp\"\n");
    let text = Written::new(&twice).command(&["check"]).expect_code(2).text();
    says(&text, &["127.0.0.1:5353", "is taken by listener \"u\""]);
}

const FIVE_MISTAKES: &str = r#"[listener.dns]
bind = "127.0.0.1:0"
protocol = "udp"
pool = "dns"
deny = ["10.0.0/8"]

[pool.dns]
backends = ["10.0.0.1:53", "10.0.0.2:53"]
send_proxy_protocol = "v2"
queue = { size = 5 }
passive = { eject_for = "1m", eject_max = "30s" }
close = { drain = "keeep" }
"#;

#[test]
fn what_cannot_hold_when_backends_fail_is_told_with_the_way_out() {
    let file = Written::new(FIVE_MISTAKES);
    let text = file.command(&["check"]).expect_code(2).text();
    let name = file.path.to_str().unwrap();
    for (line, words) in [
        (5, ["10.0.0/8", "10.0.0.0/8"]),
        (9, ["send_proxy_protocol", "listener \"dns\""]),
        (10, ["pool \"dns\", queue", "listener \"dns\""]),
        (11, ["eject_max is 30s", "eject_max = \"60s\""]),
        (12, ["keeep", "\"keep\""]),
    ] {
        says(&text, &[&format!("{name}:{line}:")]);
        says(&text, &words);
    }
}

#[test]
fn a_network_with_an_address_in_it_is_a_warning_and_in_effect_a_network() {
    let file = Written::new(&unprobed(
        "[\"127.0.0.1:1\", \"127.0.0.1:2\"]",
        "allow = [\"10.0.0.1/8\"]\n",
        "",
    ));
    says(&file.command(&["check"]).expect_code(0).text(), &["warning", "\"10.0.0.0/8\""]);
    file.command(&["check", "--deny-warnings"]).expect_code(2);
    let effective = file.command(&["check", "--effective"]).expect_code(0).stdout;
    says(&effective, &["allow = [\"10.0.0.0/8\"]", "max_ejected = \"50%\"", "slow_start = \"0s\""]);
    let again = Written::new(&effective).command(&["check"]).expect_code(0).text();
    assert!(!again.contains("prefix"), "{again}");
}
