//! The admin interface: what it says, to whom, and what it refuses.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::client::{close, connect, hold, ping, try_connect};
use crate::harness::evenkeel::{Evenkeel, by_name, evenkeel};
use crate::harness::files::{file, pool};
use crate::harness::http;
use crate::harness::process::must;
use crate::harness::seat::Seat;
use crate::harness::servers::{Server, entries};
use crate::harness::wait::{PATIENCE, eventually};

fn with_one(extra: &str) -> (Server, Evenkeel) {
    let server = Server::greet("s");
    let toml = file(&entries(std::slice::from_ref(&server)), "", "") + extra;
    let proxy = Evenkeel::start(&toml);
    (server, proxy)
}

#[test]
fn healthz_says_that_the_process_serves() {
    let (_server, proxy) = with_one("");
    assert_eq!(proxy.get("/healthz").status, 200);
}

#[test]
fn readyz_gives_the_reasons_when_a_pool_in_use_has_no_backend_up() {
    let (server, proxy) = with_one("");
    assert_eq!(proxy.get("/readyz").status, 200);
    server.stop();
    proxy.wait_health("s", "down");
    let answer = proxy.get("/readyz");
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains('p'), "names the pool: {}", answer.body);
    server.start();
    proxy.wait_health("s", "up");
    assert_eq!(proxy.get("/readyz").status, 200);
}

#[test]
fn readyz_ignores_a_pool_that_no_listener_uses() {
    let seat = Seat::take();
    let dead = pool("unused", &format!("[\"{}\"]", seat.address()), "");
    let (_server, proxy) = with_one(&dead);
    assert_eq!(proxy.get("/readyz").status, 200);
}

#[test]
fn readyz_is_503_while_stopping() {
    let (_server, proxy) = with_one("");
    let held = hold(proxy.at());
    proxy.signal(Signal::TERM);
    eventually("not ready", PATIENCE, || proxy.get("/readyz").status == 503);
    assert_eq!(proxy.get("/healthz").status, 200);
    drop(held);
}

#[test]
fn the_status_has_the_fields_that_are_promised() {
    let (server, proxy) = with_one("");
    let mut held = hold(proxy.at());
    ping(&mut held.stream, "hello");
    close(held.stream);
    proxy.wait_outcome("ok", 1);
    let status = proxy.status();
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(status["pid"], proxy.pid());
    let listener = by_name(&status["listeners"], "l");
    assert_eq!(listener["protocol"], "tcp");
    assert_eq!(listener["addresses"][0], proxy.at().to_string());
    assert_eq!(listener["sessions"], 0);
    let backend = by_name(&by_name(&status["pools"], "p")["backends"], "s");
    let expected = [
        ("address", server.address().to_string().into()),
        ("health", "up".into()),
        ("state", "ready".into()),
        ("weight", 1.into()),
        ("sessions", 0.into()),
        ("sessions_total", 1.into()),
        ("bytes_in", 5.into()),
        ("bytes_out", 7.into()),
        ("failures", 0.into()),
    ];
    for (field, value) in expected {
        let value: serde_json::Value = value;
        assert_eq!(backend[field], value, "{field}");
    }
    assert!(backend.get("ejected_until").is_some_and(serde_json::Value::is_null));
    assert_eq!(backend["effective_weight"].as_f64(), Some(1.0));
    let probe = &backend["last_probe"];
    for field in ["result", "reason", "duration_ms", "age_ms"] {
        assert!(probe.get(field).is_some(), "last_probe.{field} in {probe}");
    }
}

#[test]
fn metrics_have_the_names_and_labels_that_are_promised() {
    let (_server, proxy) = with_one("");
    close(hold(proxy.at()).stream);
    proxy.wait_outcome("ok", 1);
    let metrics = proxy.metrics();
    for (name, labels) in [
        ("sessions_total", vec!["backend", "listener", "outcome", "pool"]),
        ("sessions_active", vec!["backend", "listener", "pool"]),
        ("rejected_total", vec!["listener", "reason"]),
        ("bytes_total", vec!["backend", "direction", "listener", "pool"]),
        ("connect_failures_total", vec!["backend", "pool", "reason"]),
        ("retries_total", vec!["pool"]),
        ("backend_up", vec!["backend", "pool"]),
        ("backend_state", vec!["backend", "pool", "state"]),
        ("backend_weight", vec!["backend", "pool"]),
        ("probes_total", vec!["backend", "pool", "result"]),
        ("accept_paused_total", vec!["listener"]),
        ("worker_sessions", vec!["worker"]),
        ("build_info", vec!["version"]),
    ] {
        assert_eq!(metrics.label_names(name), Some(labels), "{name}");
    }
    for histogram in
        ["session_duration_seconds", "connect_duration_seconds", "probe_duration_seconds"]
    {
        assert!(metrics.has(&format!("evenkeel_{histogram}_count")), "{histogram}");
    }
    assert!(metrics.has("process_cpu_seconds_total") && metrics.has("process_open_fds"));
    // What can happen stands at 0 before it does.
    let zero = |name: &str, key: &str, value: &str| {
        let found = metrics.find(name, &[(key, value)]);
        assert!(!found.is_empty() && found.iter().all(|s| s.value == 0.0), "{name} {value}");
    };
    for reason in ["no-backend", "refused", "queue-full", "max-sessions"] {
        zero("rejected_total", "reason", reason);
    }
    for outcome in ["client-reset", "backend-reset", "idle", "lifetime", "shutdown", "error"] {
        zero("sessions_total", "outcome", outcome);
    }
    for reason in ["refused", "timeout", "reset", "unreachable", "other"] {
        zero("connect_failures_total", "reason", reason);
    }
    for state in [
        "up",
        "down",
        "unknown",
        "standby",
        "lagging",
        "unresolved",
        "ejected",
        "drain",
        "maintenance",
    ] {
        assert_eq!(metrics.find("backend_state", &[("state", state)]).len(), 1, "{state}");
    }
}

#[test]
fn the_sums_over_backends_are_the_clients_seen_from_outside() {
    let (server, proxy) = with_one("");
    for _ in 0..25 {
        close(hold(proxy.at()).stream);
    }
    proxy.wait_outcome("ok", 25);
    let metrics = proxy.metrics();
    assert_eq!(metrics.count("session_duration_seconds_count", &[]), 25);
    assert_eq!(metrics.count("connect_duration_seconds_count", &[("backend", "s")]), 25);
    assert_eq!(metrics.count("bytes_total", &[("direction", "out")]), 50);
    assert_eq!(metrics.count("bytes_total", &[("direction", "in")]), 0);
    assert!(server.accepted() >= 26, "sessions and at least one probe");
}

#[test]
fn what_is_not_there_is_404_and_a_wrong_method_is_405_in_json() {
    let (_server, proxy) = with_one("");
    let host = proxy.admin().to_string();
    for (method, path, status) in [
        ("GET", "/nothing", 404),
        ("GET", "/api/v1/nothing", 404),
        ("POST", "/healthz", 405),
        ("DELETE", "/api/v1/status", 405),
        ("POST", "/metrics", 405),
    ] {
        let answer = http::request(proxy.admin(), method, path, &host);
        assert_eq!(answer.status, status, "{method} {path}");
        assert!(answer.json()["error"].is_string(), "{}", answer.body);
    }
}

#[test]
fn a_host_that_is_not_loopback_is_refused_on_loopback() {
    let (_server, proxy) = with_one("");
    let port = proxy.admin().port();
    for (host, status) in [
        ("evil.example".to_owned(), 403),
        (format!("evil.example:{port}"), 403),
        (format!("127.0.0.1.evil.example:{port}"), 403),
        (format!("127.0.0.1:{port}"), 200),
        (format!("localhost:{port}"), 200),
        ("[::1]".to_owned(), 200),
    ] {
        let answer = http::request(proxy.admin(), "GET", "/api/v1/status", &host);
        assert_eq!(answer.status, status, "{host}");
    }
}

#[test]
fn several_requests_go_over_one_connection_and_nonsense_ends_it() {
    use std::io::{Read, Write};
    let (_server, proxy) = with_one("");
    let mut stream = try_connect(proxy.admin()).unwrap();
    for _ in 0..3 {
        write!(stream, "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        let head = http::read_head(&mut stream);
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let length: usize = head
            .lines()
            .find_map(|l| {
                l.to_lowercase().strip_prefix("content-length:").map(|v| v.trim().parse().unwrap())
            })
            .unwrap_or(0);
        stream.read_exact(&mut vec![0; length]).unwrap();
    }
    stream.write_all(b"\0\0\0\0 nonsense\r\n\r\n").unwrap();
    drop(stream.read_to_end(&mut Vec::new()));
    assert_eq!(proxy.get("/healthz").status, 200);
}

#[test]
fn a_client_that_closes_its_side_once_it_has_asked_gets_its_answer() {
    use std::io::{Read, Write};
    let (_server, proxy) = with_one("");
    let said = |request: &str| {
        let mut stream = connect(proxy.admin());
        stream.write_all(request.as_bytes()).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let start = Instant::now();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(start.elapsed() < Duration::from_secs(8), "it waits for something");
        answer
    };
    let change = "{\"weight\": 2}";
    let patch = format!(
        "PATCH /api/v1/pools/p/backends/s HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n",
        change.len()
    );
    for _ in 0..20 {
        for path in ["/metrics", "/api/v1/route?listener=l&client=192.0.2.7"] {
            let answer = said(&format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n"));
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer:?}");
        }
        let answer = said(&format!("{patch}{change}"));
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with('}'), "{answer:?}");
    }
    // Whoever has not asked whole is not waited for.
    assert!(said(&patch).starts_with("HTTP/1.1 400 "));
    assert_eq!(said("GET /healthz HT"), "");
    let second = said("GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\nGET /healthz HT");
    assert!(second.ends_with("ok\n"), "{second:?}");
}

#[test]
fn the_admin_interface_may_be_a_unix_socket_that_only_its_owner_can_open() {
    let server = Server::greet("s");
    let toml = file(&entries(std::slice::from_ref(&server)), "", "")
        + "[admin]\nbind = \"unix:{dir}/admin.sock\"\n";
    let proxy = Evenkeel::start(&toml);
    let path = proxy.dir().join("admin.sock");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut stream = UnixStream::connect(&path).unwrap();
    let status = http::exchange(&mut stream, "GET", "/api/v1/status", "localhost").json();
    assert_eq!(status["pid"], proxy.pid());
    let by_address = evenkeel(&["status", "--admin", &format!("unix:{}", path.display())]);
    assert!(by_address.expect_code(0).stdout.contains('s'));
    let by_file = evenkeel(&["status", "--json", "-c", proxy.file().to_str().unwrap()]);
    assert!(serde_json::from_str::<serde_json::Value>(&by_file.expect_code(0).stdout).is_ok());
}

#[test]
fn a_dead_unix_socket_is_replaced() {
    let server = Server::greet("s");
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().join("admin.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let toml = file(&entries(std::slice::from_ref(&server)), "", "")
        + &format!("[admin]\nbind = \"unix:{}\"\n", path.display());
    let _proxy = Evenkeel::start(&toml);
    let answer = http::exchange(&mut UnixStream::connect(&path).unwrap(), "GET", "/healthz", "x");
    assert_eq!(answer.status, 200);
}

#[test]
fn with_the_admin_interface_off_commands_fail_and_say_why() {
    let server = Server::greet("s");
    let toml = file(&entries(std::slice::from_ref(&server)), "", "") + "[admin]\nbind = \"off\"\n";
    let proxy = Evenkeel::start(&toml);
    assert_eq!(hold(proxy.at()).backend, "s");
    assert!(proxy.addresses("admin").is_empty());
    let answer = evenkeel(&["status", "-c", proxy.file().to_str().unwrap()]).expect_code(1);
    assert!(answer.stderr.contains("off"), "{}", answer.stderr);
}

#[test]
fn connections_that_say_nothing_do_not_keep_a_health_check_out() {
    let (_server, proxy) = with_one("");
    let _silent: Vec<_> = (0..100).map(|_| connect(proxy.admin())).collect();
    let start = Instant::now();
    assert_eq!(proxy.get("/healthz").status, 200);
    // They may stay silent for 10 s.
    assert!(start.elapsed() < Duration::from_secs(7), "{:?}", start.elapsed());
}

#[test]
fn the_status_command_shows_a_table_and_json() {
    let (_server, proxy) = with_one("");
    let held = hold(proxy.at());
    let admin = proxy.admin().to_string();
    let table = evenkeel(&["status", "--admin", &admin]).expect_code(0).stdout;
    for word in ["l", "p", "s", "up", &proxy.at().to_string()] {
        assert!(table.split_whitespace().any(|w| w.contains(word)), "{word} in\n{table}");
    }
    let text = evenkeel(&["status", "--json", "--admin", &admin]).expect_code(0).stdout;
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(by_name(&by_name(&json["pools"], "p")["backends"], "s")["sessions"], 1);
    drop(held);
    let nobody = Seat::take();
    let silent = evenkeel(&["status", "--admin", &nobody.address().to_string()]).expect_code(1);
    assert!(silent.stderr.contains(&nobody.address().to_string()), "{}", silent.stderr);
}

#[test]
fn curl_gets_the_metrics() {
    if !std::path::Path::new("/usr/bin/curl").exists() {
        return eprintln!("skipped: curl not installed");
    }
    let (_server, proxy) = with_one("");
    let url = format!("http://{}/metrics", proxy.admin());
    let text = must(Command::new("curl").args(["-sSif", &url]));
    assert!(text.contains("content-type: text/plain") || text.contains("Content-Type: text/plain"));
    assert!(text.contains("# TYPE evenkeel_sessions_total counter"), "{text}");
}
