//! Probes: each kind, how often it takes, and what is said when a state changes.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::harness::client::{try_hold, who};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::{file, unprobed};
use crate::harness::http;
use crate::harness::seat::Seat;
use crate::harness::servers::{Server, entries};
use crate::harness::wait::{PATIENCE, eventually, throughout, until};

/// A file whose pool has one backend and the given lines under `health`.
fn probing(server: &Server, health: &str) -> String {
    probing_at(&server.entry(""), health)
}

fn probing_at(entry: &str, health: &str) -> String {
    // The first result decides: a stall of the machine must not be it.
    let timeout = if health.contains("timeout") { "" } else { "timeout = \"10s\"\n" };
    format!(
        "[listener.l]\nbind = \"127.0.0.1:0\"\npool = \"p\"\n[pool.p]\nbackends = [{entry}]\n\
         [pool.p.health]\ninterval = \"100ms\"\n{timeout}{health}\n"
    )
}

/// A web server whose answer the test changes while it runs.
fn switched(name: &str) -> (Server, Arc<AtomicUsize>) {
    let status = Arc::new(AtomicUsize::new(200));
    let now = status.clone();
    let server = Server::http(name, move |_| {
        let code = u16::try_from(now.load(Ordering::SeqCst)).unwrap();
        http::answer(code, "all is well")
    });
    (server, status)
}

#[test]
fn a_tcp_probe_follows_the_listening_socket() {
    let server = Server::greet("s");
    let proxy = Evenkeel::start(&file(&entries(std::slice::from_ref(&server)), "", ""));
    assert_eq!(proxy.backend("s")["health"], "up");
    server.stop();
    proxy.wait_health("s", "down");
    let probe = proxy.backend("s")["last_probe"].clone();
    assert!(probe["reason"].as_str().unwrap().contains("refused"), "{probe}");
    assert!(probe["duration_ms"].is_number() && probe["age_ms"].is_number(), "{probe}");
    server.start();
    proxy.wait_health("s", "up");
    assert_eq!(who(proxy.at()), "s");
}

#[test]
fn an_http_probe_goes_by_status_and_says_which() {
    let (server, status) = switched("s");
    let proxy = Evenkeel::start(&probing(&server, "probe = \"http\"\npath = \"/healthz\""));
    assert_eq!(proxy.backend("s")["health"], "up");
    status.store(503, Ordering::SeqCst);
    proxy.wait_health("s", "down");
    let reason = proxy.backend("s")["last_probe"]["reason"].to_string();
    assert!(reason.contains("503"), "{reason}");
    status.store(204, Ordering::SeqCst);
    proxy.wait_health("s", "up");
}

#[test]
fn an_http_probe_asks_what_it_is_told_to_ask() {
    let server = Server::http("s", |head| {
        let lower = head.to_lowercase();
        let asked = head.starts_with("HEAD /deep?x=1 HTTP/1.1\r\n")
            && lower.contains("host: db.example\r\n")
            && lower.contains("x-probe: yes\r\n");
        http::answer(if asked { 418 } else { 500 }, "")
    });
    let proxy = Evenkeel::start(&probing(
        &server,
        "probe = \"http\"\nmethod = \"HEAD\"\npath = \"/deep?x=1\"\nhost = \"db.example\"\n\
         headers = { \"x-probe\" = \"yes\" }\nexpect_status = [\"200\", \"400-420\"]",
    ));
    assert_eq!(proxy.backend("s")["health"], "up", "{}", proxy.backend("s"));
}

#[test]
fn an_http_probe_may_want_words_in_the_body() {
    let (server, _) = switched("s");
    let good =
        Evenkeel::start(&probing(&server, "probe = \"http\"\nexpect_body = \"all .* well\""));
    assert_eq!(good.backend("s")["health"], "up");
    let bad = Evenkeel::start(&probing(&server, "probe = \"http\"\nexpect_body = \"^well\""));
    assert_eq!(bad.backend("s")["health"], "down");
}

#[test]
fn an_http_probe_does_not_follow_redirects_and_is_not_fooled_by_noise() {
    for answer in
        ["HTTP/1.1 302 Found\r\nlocation: /ok\r\ncontent-length: 0\r\n\r\n", "no http\r\n\r\n", ""]
    {
        let server = Server::http("s", move |_| answer.into());
        let proxy = Evenkeel::start(&probing(&server, "probe = \"http\""));
        assert_eq!(proxy.backend("s")["health"], "down", "{answer:?}");
    }
}

#[test]
fn a_probe_that_gets_no_answer_fails_at_its_timeout() {
    let server = Server::silent("s");
    let start = Instant::now();
    let proxy = Evenkeel::start(&probing(&server, "probe = \"http\"\ntimeout = \"500ms\""));
    // The server would be silent for as long as it runs.
    assert!(start.elapsed() < Duration::from_secs(10), "the first round is bounded");
    assert_eq!(proxy.backend("s")["health"], "down");
    let reason = proxy.backend("s")["last_probe"]["reason"].to_string();
    assert!(reason.contains("time"), "{reason}");
}

#[test]
fn a_probe_may_go_to_another_port() {
    let (server, web) = (Server::greet("s"), switched("w").0);
    let health = format!("probe = \"http\"\nport = {}", web.address().port());
    let proxy = Evenkeel::start(&probing(&server, &health));
    assert_eq!(proxy.backend("s")["health"], "up");
    assert_eq!(who(proxy.at()), "s");
    assert_eq!(server.accepted(), 1, "the probe did not touch the backend's own port");
}

#[test]
fn a_send_expect_probe_holds_a_conversation() {
    let server = Server::echo("s");
    let health = "probe = \"send-expect\"\nsend = \"PING\\r\\n\"\nexpect = ";
    let good = Evenkeel::start(&probing(&server, &format!("{health}\"PING\"")));
    assert_eq!(good.backend("s")["health"], "up");
    let bad = Evenkeel::start(&probing(&server, &format!("{health}\"PONG\"")));
    assert_eq!(bad.backend("s")["health"], "down");
}

#[test]
fn an_exec_probe_goes_by_the_exit_code() {
    let server = Server::greet("s");
    let dir = tempfile::TempDir::new().unwrap();
    let flag = dir.path().join("up");
    fs::write(&flag, "").unwrap();
    // No script of our own: a test beside this one that starts a process while the script is being
    // written hands that process the open file, and what is open for writing cannot be run.
    let command = format!("probe = \"exec\"\ncommand = [\"test\", \"-e\", \"{}\"]", flag.display());
    let proxy = Evenkeel::start(&probing(&server, &command));
    assert_eq!(proxy.backend("s")["health"], "up");
    fs::remove_file(&flag).unwrap();
    proxy.wait_health("s", "down");
    fs::write(&flag, "").unwrap();
    proxy.wait_health("s", "up");
}

#[test]
fn a_backend_in_the_other_role_is_standby_takes_nothing_and_is_not_down() {
    let ((leader, leads), (other, follows)) = (switched("leader"), switched("other"));
    follows.store(503, Ordering::SeqCst);
    let list = format!("{}, {}", leader.entry(""), other.entry(""));
    let proxy = Evenkeel::start(&probing_at(&list, "probe = \"http\"\nrole = \"primary\""));
    assert_eq!(proxy.backend("leader")["health"], "up");
    assert_eq!(proxy.backend("other")["health"], "standby");
    let labels = [("backend", "other"), ("state", "standby")];
    assert_eq!(proxy.metrics().count("backend_state", &labels), 1);
    // The role follows each single result, unlike up and down.
    leads.store(503, Ordering::SeqCst);
    proxy.wait_health("leader", "standby");
    assert!(try_hold(proxy.at()).is_err());
    follows.store(200, Ordering::SeqCst);
    proxy.wait_health("other", "up");
    other.stop();
    proxy.wait_health("other", "down");
}

#[test]
fn without_a_probe_every_backend_counts_as_up() {
    let seat = Seat::take();
    let proxy = Evenkeel::start(&unprobed(&format!("[\"{}\"]", seat.address()), "", ""));
    let name = seat.address().to_string();
    throughout("it stays up", Duration::from_millis(300), || {
        proxy.backend(&name)["health"] == "up"
    });
}

#[test]
fn rise_and_fall_count_consecutive_results() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    // Up, then two failures (fewer than fall), up, then down for good.
    let script = [200, 500, 500, 200, 500, 500, 500];
    let server = Server::http("s", move |_| {
        let turn = count.fetch_add(1, Ordering::SeqCst);
        http::answer(script.get(turn).copied().unwrap_or(200), "")
    });
    let proxy = Evenkeel::start(&probing(&server, "probe = \"http\"\nfall = 3\nrise = 4"));
    proxy.wait_health("s", "down");
    assert!(asked.load(Ordering::SeqCst) >= 7, "two failures in a row were enough");
    proxy.wait_health("s", "up");
    assert!(asked.load(Ordering::SeqCst) >= 11, "came up before four good results");
    let about = wait_changes(&proxy, "s", 3);
    assert_eq!(about.len(), 3, "first up, down, up: {about:#?}");
}

#[test]
fn listeners_open_after_the_first_round_of_probes() {
    let server = Server::http("s", |_| {
        std::thread::park_timeout(Duration::from_millis(700));
        http::answer(200, "")
    });
    let start = Instant::now();
    let proxy = Evenkeel::start(&probing(&server, "probe = \"http\""));
    let at = proxy.at();
    assert!(start.elapsed() >= Duration::from_millis(700), "open after {:?}", start.elapsed());
    assert_eq!(proxy.backend("s")["health"], "up");
    assert!(crate::harness::client::try_connect(at).is_ok());
}

#[test]
fn listeners_open_when_the_first_round_failed_everywhere() {
    let seat = Seat::take();
    let proxy = Evenkeel::start(&file(&format!("[\"{}\"]", seat.address()), "", ""));
    assert!(try_hold(proxy.at()).is_err());
    assert_eq!(proxy.get("/readyz").status, 503);
}

/// Log lines that say a state of this backend changed.
fn changes(proxy: &Evenkeel, backend: &str) -> Vec<String> {
    let about = |event: &serde_json::Value| {
        event["backend"] == backend && event["to"].is_string() || {
            let text = event.to_string();
            event["backend"] == backend && (text.contains("up") || text.contains("down"))
        }
    };
    proxy.events().iter().filter(|event| about(event)).map(ToString::to_string).collect()
}

/// The same, once there are so many: a state is in the status before its line is in the log.
fn wait_changes(proxy: &Evenkeel, backend: &str, count: usize) -> Vec<String> {
    until(&format!("{count} changes of {backend} in the log"), PATIENCE, || {
        Some(changes(proxy, backend)).filter(|lines| lines.len() >= count)
    })
}

#[test]
fn a_change_of_state_is_logged_once_with_its_reason() {
    let server = Server::greet("s");
    let proxy = Evenkeel::start(&file(&entries(std::slice::from_ref(&server)), "", ""));
    let at_start = wait_changes(&proxy, "s", 1).len();
    server.stop();
    wait_changes(&proxy, "s", at_start + 1);
    throughout("one line", Duration::from_millis(600), || {
        changes(&proxy, "s").len() == at_start + 1
    });
    let lines = changes(&proxy, "s");
    let last = lines.last().unwrap();
    assert!(last.contains("down") && last.contains("refused"), "{last}");
}

#[test]
fn a_host_name_is_looked_up_and_one_that_is_unknown_is_unresolved() {
    let server = Server::greet("s");
    let list = format!(
        "[{{ address = \"localhost:{}\", name = \"named\" }}, \
         {{ address = \"nowhere.invalid:80\", name = \"lost\" }}]",
        server.address().port()
    );
    let proxy = Evenkeel::start(&file(&list, "", ""));
    eventually("localhost is known", PATIENCE, || proxy.backend("named")["health"] == "up");
    assert_eq!(who(proxy.at()), "s");
    eventually("the other is not", PATIENCE, || proxy.backend("lost")["health"] == "unresolved");
    let labels = [("backend", "lost"), ("state", "unresolved")];
    assert_eq!(proxy.metrics().count("backend_state", &labels), 1);
}

#[test]
fn probes_are_counted_and_no_session_is() {
    let server = Server::greet("s");
    let proxy = Evenkeel::start(&file(&entries(std::slice::from_ref(&server)), "", ""));
    let probes = || proxy.metrics().count("probes_total", &[("pool", "p"), ("backend", "s")]);
    eventually("five probes", PATIENCE, || probes() >= 5);
    let metrics = proxy.metrics();
    assert_eq!(metrics.count("sessions_total", &[]), 0);
    assert_eq!(metrics.count("bytes_total", &[]), 0);
    assert_eq!(metrics.count("backend_up", &[("backend", "s")]), 1);
}
