//! The admin interface over a hand-made server: what it says, to whom, and where it listens.

mod events;
mod steering;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::*;
use crate::addr::BackendAddr;
use crate::admin::connection::HEAD_BYTES;
use crate::admission::Figures;
use crate::config::{self, Acme, Challenge, ListenerTls, TlsVersion};
use crate::http::Requests;
use crate::outcome::{ConnectFailure, Outcome, Rejection};
use crate::pool::{Entrance, Health, Judged, LastProbe, Pool, STATES, Standing, Warmth};
use crate::server::{ListenerView, Signpost, Snapshot};
use crate::tls::Inbound;

const BACKENDS: [&str; 2] = ["10.0.0.1:5432", "10.0.0.2:5432"];

fn member(address: &str) -> config::Member {
    config::Member::unset(BackendAddr::Ip(address.parse().unwrap()))
}

fn configuration() -> config::Config {
    let second = Duration::from_secs(1);
    config::Config {
        process: config::Process {
            threads: 2,
            shutdown_timeout: second,
            ..config::Process::default()
        },
        log: config::Log::default(),
        admin: config::Admin { bind: AdminBind::Off, token_file: None },
        listeners: vec![config::Listener::unset(
            "front",
            config::Protocol::Http,
            vec!["127.0.0.1:0".parse().unwrap()],
            0,
        )],
        pools: vec![config::Pool {
            health: config::Health {
                interval: second,
                timeout: second,
                ..config::Health::default()
            },
            ..config::Pool::unset("db", BACKENDS.map(member).to_vec())
        }],
        origin: config::Origin { file: Some("lb.toml".into()), hash: "0123456789abcdef".into() },
    }
}

fn publish(pool: &Pool, health: [Health; 2]) {
    let judged: Vec<_> = health
        .into_iter()
        .zip(BACKENDS)
        .map(|(health, address)| Judged {
            standing: Standing { health, ..Standing::default() },
            address: Some(address.parse().unwrap()),
            weight: 1,
            warmth: Warmth::FULL,
        })
        .collect();
    pool.publish(&judged);
}

/// A server that has had one backend up and a session, a rejection and a failure.
fn handle() -> Arc<Handle> {
    let config = configuration();
    let pool = Arc::new(Pool::new(&config.pools[0], None));
    publish(&pool, [Health::Up, Health::Down]);
    let name: Arc<str> = Arc::from("front");
    let entrance = Entrance::new(&name, Arc::clone(&pool), None);
    let figures = Arc::new(Figures::default());
    figures.reject(Rejection::Refused);
    figures.accept_paused.increment();

    let tally = pool.members()[0].backend.tally(&name);
    tally.connected.add(2);
    tally.bytes_in.add(100);
    tally.bytes_out.add(2000);
    tally.end(Outcome::Idle, Duration::from_millis(1500));
    tally.active.increment();
    pool.members()[1].backend.connect_failed(ConnectFailure::Refused, None, 0);
    pool.members()[1].backend.stats.last_probe.store(Some(Arc::new(LastProbe {
        ok: false,
        reason: "connection refused".into(),
        took: Duration::from_micros(250),
        at: Instant::now(),
    })));
    drop(entrance);

    let address: SocketAddr = "127.0.0.1:4321".parse().unwrap();
    let view = ListenerView {
        name,
        addresses: vec![address],
        figures,
        datagram_sockets: vec![1],
        routes: vec![Signpost::new("default")],
        requests: vec![Requests::unrouted()],
        tls: Some(Arc::new(inbound())),
        orders: Some(Arc::default()),
        live: None,
    };
    let snapshot = Snapshot {
        config: Arc::new(config),
        listeners: vec![view],
        pools: vec![pool],
        operators: Vec::new(),
    };
    let handle = Handle::new(snapshot, Arc::new([Default::default(), Default::default()]));
    handle.set_listening();
    Arc::new(handle)
}

/// TLS with a certificate that needs no file.
fn inbound() -> Inbound {
    let acme = Acme {
        domains: vec!["a.example".to_owned()],
        contact: Vec::new(),
        directory: String::new(),
        directory_ca: None,
        challenge: Challenge::TlsAlpn01,
        storage: PathBuf::new(),
    };
    let spec = ListenerTls {
        certificates: Vec::new(),
        acme: Some(acme),
        min_version: TlsVersion::V1_2,
        alpn: Vec::new(),
        client_auth: None,
        starttls: None,
    };
    Inbound::new(&spec, &Arc::default(), None).unwrap()
}

fn site() -> Site {
    site_of(handle())
}

fn site_of(handle: Arc<Handle>) -> Site {
    let access_dropped = Arc::new(Counter::default());
    access_dropped.add(5);
    Site {
        handle,
        access_dropped,
        loopback: true,
        token: None,
        streams: Streams::default(),
        waiters: Waiters::default(),
        writing: Arc::default(),
    }
}

fn series<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let of = |line: &&str| line.split(['{', ' ']).next() == Some(name);
    text.lines().filter(of).collect()
}

#[track_caller]
fn value(text: &str, name: &str, labels: &[&str]) -> f64 {
    let lines = series(text, name);
    let matching = |line: &&&str| labels.iter().all(|label| line.contains(label));
    let found: Vec<_> = lines.iter().filter(matching).collect();
    assert_eq!(found.len(), 1, "{name} {labels:?}: {lines:?}");
    found[0].rsplit_once(' ').unwrap().1.parse().unwrap()
}

#[test]
fn every_metric_is_explained_once_and_has_a_series() {
    let site = site();
    let text = metrics::render(&site);
    // No pool here looks its backends up.
    let is_shown = |metric: &&names::Metric| !metric.name.starts_with("evenkeel_discovery_");
    let shown: Vec<_> = names::ALL.iter().filter(is_shown).collect();
    for metric in &shown {
        let help = format!("# HELP {} {}", metric.name, metric.help);
        let kind = format!("# TYPE {} {}", metric.name, metric.kind.as_str());
        assert_eq!(text.lines().filter(|line| *line == help).count(), 1, "{help}\n{text}");
        assert_eq!(text.lines().filter(|line| *line == kind).count(), 1, "{kind}");
        let first = match metric.kind {
            names::Kind::Histogram => format!("{}_count", metric.name),
            _ => metric.name.to_owned(),
        };
        assert!(!series(&text, &first).is_empty(), "{first}");
    }
    let explained = text.lines().filter(|line| line.starts_with("# TYPE")).count();
    assert_eq!(explained, shown.len(), "a metric is missing from the registry");
}

#[test]
fn closed_lists_stand_at_zero_from_the_start() {
    let site = site();
    let text = metrics::render(&site);
    // The second backend has no tally of another listener: two backends times all outcomes.
    assert_eq!(series(&text, "evenkeel_sessions_total").len(), 2 * Outcome::ALL.len());
    assert_eq!(series(&text, "evenkeel_rejected_total").len(), Rejection::ALL.len());
    // Two versions or none, three ends.
    assert_eq!(series(&text, "evenkeel_tls_handshakes_total").len(), 9);
    assert_eq!(series(&text, "evenkeel_tls_resumed_total").len(), 2);
    assert_eq!(series(&text, "evenkeel_certificate_reloads_total").len(), 2);
    let failures = series(&text, "evenkeel_connect_failures_total");
    assert_eq!(failures.len(), 2 * ConnectFailure::ALL.len());
    assert_eq!(series(&text, "evenkeel_backend_state").len(), 2 * STATES.len());
    assert_eq!(series(&text, "evenkeel_worker_sessions").len(), 2);
    assert_eq!(value(&text, "evenkeel_reloads_total", &["refused"]), 0.0);
}

#[test]
fn figures_land_under_their_labels() {
    let site = site();
    let text = metrics::render(&site);
    let first = ["listener=\"front\"", "pool=\"db\"", "backend=\"10.0.0.1:5432\""];
    let with = |label| [&first[..], &[label]].concat();
    assert_eq!(value(&text, "evenkeel_sessions_total", &with("outcome=\"idle\"")), 1.0);
    assert_eq!(value(&text, "evenkeel_sessions_active", &first), 1.0);
    assert_eq!(value(&text, "evenkeel_bytes_total", &with("direction=\"out\"")), 2000.0);
    assert_eq!(value(&text, "evenkeel_session_duration_seconds_sum", &first), 1.5);
    assert_eq!(value(&text, "evenkeel_session_duration_seconds_bucket", &with("le=\"1\"")), 0.0);
    assert_eq!(value(&text, "evenkeel_session_duration_seconds_bucket", &with("le=\"+Inf\"")), 1.0);
    let second = ["pool=\"db\"", "backend=\"10.0.0.2:5432\""];
    let with = |label| [&second[..], &[label]].concat();
    assert_eq!(value(&text, "evenkeel_backend_up", &second), 0.0);
    assert_eq!(value(&text, "evenkeel_backend_state", &with("state=\"down\"")), 1.0);
    assert_eq!(value(&text, "evenkeel_backend_state", &with("state=\"up\"")), 0.0);
    assert_eq!(value(&text, "evenkeel_connect_failures_total", &with("reason=\"refused\"")), 1.0);
    assert_eq!(value(&text, "evenkeel_rejected_total", &["reason=\"refused\""]), 1.0);
    assert_eq!(value(&text, "evenkeel_accept_paused_total", &["listener=\"front\""]), 1.0);
    assert_eq!(value(&text, "evenkeel_access_log_dropped_total", &[]), 5.0);
}

/// Names and values of all that only rises, the process's own figures aside: those begin anew with it.
fn rising(text: &str) -> BTreeMap<String, f64> {
    let of = |metric: &&names::Metric| metric.kind != names::Kind::Gauge;
    let rising: Vec<_> = names::ALL.iter().filter(of).map(|metric| metric.name).collect();
    let is_rising = |line: &str| {
        let name = line.split(['{', ' ']).next().unwrap();
        let parts = ["_bucket", "_sum", "_count"];
        let whole = parts.iter().find_map(|part| name.strip_suffix(part)).unwrap_or(name);
        rising.contains(&name) || rising.contains(&whole)
    };
    let lines = text.lines().filter(|line| is_rising(line) && !line.starts_with("process_"));
    lines
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

#[test]
fn what_one_process_has_counted_another_goes_on_with_to_the_last_figure() {
    let (one, other) = (handle(), handle());
    // An odd figure that says of itself whose it is.
    let mut figure = 0;
    one.each_figure(&mut |_, rising| {
        figure += 1;
        rising.add(&[figure; 320]);
    });
    let before = rising(&metrics::render(&site_of(Arc::clone(&one))));
    let own = rising(&metrics::render(&site_of(Arc::clone(&other))));
    other.enter(one.ledger());
    let after = rising(&metrics::render(&site_of(Arc::clone(&other))));
    for (name, value) in &after {
        // Neither what the kernel counts of a shared socket nor what the test counts by itself.
        let is_elsewhere = [
            "reason=\"kernel\"",
            "evenkeel_access_log_dropped_total",
            "evenkeel_events_dropped_total",
            // The pool remembers nobody.
            "evenkeel_sticky_evicted_total",
            "evenkeel_reloads_total",
        ];
        if is_elsewhere.iter().any(|part| name.contains(part)) {
            continue;
        }
        let was = before.get(name).copied().unwrap_or_default();
        assert!(was > 0.0, "{name} is in no ledger");
        assert!(
            (value - was - own.get(name).unwrap_or(&0.0)).abs() < 0.01,
            "{name}: {was}, then {value}"
        );
    }
    assert!(before.keys().all(|name| after.contains_key(name)));
}

#[test]
fn promtool_finds_nothing_to_say() {
    let site = site();
    let text = metrics::render(&site);
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = promtool.stdout(Stdio::piped()).spawn() else {
        eprintln!("skipped: promtool is not installed");
        return;
    };
    io::Write::write_all(&mut child.stdin.take().unwrap(), text.as_bytes()).unwrap();
    let said = child.wait_with_output().unwrap();
    let words = [said.stdout, said.stderr].concat();
    assert!(said.status.success() && words.is_empty(), "{}", String::from_utf8_lossy(&words));
}

#[test]
fn status_has_what_a_backend_is_and_was() {
    let report = report(&handle());
    assert_eq!(report.state, crate::api::Phase::Serving);
    assert_eq!(report.config.file.as_deref(), Some("lb.toml"));
    let listener = &report.listeners[0];
    assert_eq!((listener.sessions, listener.bytes_in), (1, 100));
    assert_eq!(listener.addresses, ["127.0.0.1:4321"]);
    assert_eq!(listener.rejected["refused"], 1);
    let tls = listener.tls.as_ref().unwrap();
    assert_eq!((tls.handshakes["failed"], tls.resumed), (0, 0));
    let certificate = &tls.certificates[0];
    assert_eq!((&*certificate.name, &*certificate.source), ("a.example", "self-signed"));
    assert!(certificate.not_before < certificate.not_after, "{certificate:?}");
    let [up, down] = &report.pools[0].backends[..] else { panic!("{report:?}") };
    assert_eq!((up.health.as_str(), up.sessions_total, up.effective_weight), ("up", 2, 1.0));
    assert_eq!((down.health.as_str(), down.failures, down.effective_weight), ("down", 1, 0.0));
    let probe = down.last_probe.as_ref().unwrap();
    assert_eq!((probe.result.as_str(), probe.duration_ms), ("failed", 0.25));

    let json = serde_json::to_value(&report).unwrap();
    assert!(json["pools"][0]["backends"][0]["ejected_until"].is_null());
    assert_eq!(serde_json::from_value::<crate::api::Status>(json).unwrap(), report);
}

#[test]
fn ready_means_listening_with_a_backend_up_and_no_stop() {
    let handle = handle();
    assert_eq!(readiness::reasons(&handle), Vec::<String>::new());
    publish(&handle.snapshot().pools[0], [Health::Down, Health::Unknown]);
    assert_eq!(
        readiness::reasons(&handle),
        ["pool \"db\" has no backend up: 10.0.0.1:5432 down, 10.0.0.2:5432 unknown"]
    );
    handle.set_stopping();
    assert_eq!(readiness::reasons(&handle).len(), 2);
}

/// Serves on a free port and gives back what a raw request is answered.
async fn exchange(handle: Arc<Handle>, request: &str) -> String {
    let spec =
        config::Admin { bind: AdminBind::Tcp("127.0.0.1:0".parse().unwrap()), token_file: None };
    exchange_at(&spec, handle, request).await
}

async fn exchange_at(spec: &config::Admin, handle: Arc<Handle>, request: &str) -> String {
    let bound = bind(spec, None).unwrap().unwrap();
    let AdminBind::Tcp(address) = *bound.address() else { panic!("not tcp") };
    let mut tasks = JoinSet::new();
    tasks.spawn(bound.serve(handle, Arc::default()));
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    drop(timeout(Duration::from_secs(5), stream.read_to_end(&mut answer)).await.unwrap());
    String::from_utf8(answer).unwrap()
}

async fn get(handle: Arc<Handle>, path: &str) -> String {
    let fields = "Host: localhost\r\nConnection: close";
    exchange(handle, &format!("GET {path} HTTP/1.1\r\n{fields}\r\n\r\n")).await
}

#[tokio::test]
async fn each_route_answers() {
    assert!(get(handle(), "/healthz").await.starts_with("HTTP/1.1 200 OK\r\n"));
    assert!(get(handle(), "/readyz").await.starts_with("HTTP/1.1 200 OK\r\n"));
    let metrics = get(handle(), "/metrics").await;
    assert!(metrics.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    assert!(metrics.contains("evenkeel_build_info"));
    let status = get(handle(), "/api/v1/status?x=1").await;
    assert!(status.contains("content-type: application/json\r\n"));
    let body = status.split_once("\r\n\r\n").unwrap().1;
    assert_eq!(serde_json::from_str::<crate::api::Status>(body).unwrap().pools[0].name, "db");
}

#[tokio::test]
async fn what_is_not_there_and_what_may_not_be_done_is_said_in_json() {
    let missing = get(handle(), "/nothing").await;
    assert!(missing.starts_with("HTTP/1.1 404 ") && missing.contains("{\"error\":\""));
    let fields = "Host: localhost\r\nConnection: close\r\nContent-Length: 2";
    let post = format!("POST /metrics HTTP/1.1\r\n{fields}\r\n\r\n{{}}");
    let refused = exchange(handle(), &post).await;
    assert!(refused.starts_with("HTTP/1.1 405 ") && refused.contains("allow: GET, HEAD\r\n"));
    let handle = handle();
    handle.set_stopping();
    let unready = get(handle, "/readyz").await;
    assert!(unready.starts_with("HTTP/1.1 503 ") && unready.contains("\"reasons\":["));
}

#[tokio::test]
async fn head_is_answered_without_a_body() {
    let fields = "Host: localhost\r\nConnection: close";
    let answer = exchange(handle(), &format!("HEAD /healthz HTTP/1.1\r\n{fields}\r\n\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
    assert!(answer.contains("content-length: 3\r\n"));
}

#[tokio::test]
async fn a_foreign_host_and_a_huge_head_are_refused() {
    let request = "GET /healthz HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    assert!(exchange(handle(), request).await.starts_with("HTTP/1.1 403 "));
    let huge = "x".repeat(HEAD_BYTES * 2);
    let request = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: {huge}\r\n\r\n");
    assert!(exchange(handle(), &request).await.starts_with("HTTP/1.1 431 "));
}

#[tokio::test]
async fn a_unix_socket_is_private_replaces_a_dead_one_and_goes_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists(), "a dead socket");
    let spec = config::Admin { bind: AdminBind::Unix(path.clone()), token_file: None };

    let bound = bind(&spec, None).unwrap().unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(bind(&spec, None), Err(BindError::Live { .. })));
    let mut tasks = JoinSet::new();
    tasks.spawn(bound.serve(handle(), Arc::default()));
    let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    let request = "GET /healthz HTTP/1.1\r\nHost: any\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");

    tasks.shutdown().await;
    assert!(!path.exists());
    fs::write(&path, "precious").unwrap();
    assert!(matches!(bind(&spec, None), Err(BindError::NotASocket { .. })));
}

#[test]
fn a_taken_address_is_named() {
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    let spec = config::Admin { bind: AdminBind::Tcp(address), token_file: None };
    let error = bind(&spec, None).unwrap_err().to_string();
    assert!(error.contains(&address.to_string()), "{error}");
}
