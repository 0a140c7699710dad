//! What is told of requests: the line in the access log, the counts.

use serde_json::Value;

use crate::harness::client::{connect, reset};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::http::{read_head, request};
use crate::harness::servers::{Server, entries};
use crate::harness::wait::{PATIENCE, eventually};
use crate::harness::whoami::{Browser, answering, get, whoami};

use std::io::{Read, Write};

const LISTENER: &str = "[listener.l]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\n";

fn file(servers: &[Server], listener: &str, pool: &str) -> String {
    let entries = entries(servers);
    format!(
        "{LISTENER}pool = \"p\"\n{listener}\n[pool.p]\nbackends = {entries}\n{pool}\n\
         [pool.p.health]\nprobe = \"none\"\n"
    )
}

#[track_caller]
fn has(line: &Value, fields: &[(&str, Value)]) {
    for (field, value) in fields {
        assert_eq!(line[field], *value, "{field} in {line}");
    }
}

#[test]
fn a_request_is_one_line_with_every_field() {
    let servers = [whoami("s")];
    let proxy = Evenkeel::start(&file(&servers, "", ""));
    let mut browser = Browser::open(proxy.at());
    let fields = "user-agent: keel/1 \"x\"\r\nx-request-id: abc-1";
    browser.ask(&get("/a%20b?token=secret", fields)).unwrap();
    let asked = "POST /up HTTP/1.1\r\nhost: shop.example\r\ncontent-length: 5\r\n\r\nhello";
    browser.ask(asked).ok();
    let lines = proxy.wait_access(2);
    has(
        &lines[0],
        &[
            ("listener", "l".into()),
            ("protocol", "http".into()),
            ("route", "default".into()),
            ("pool", "p".into()),
            ("backend", "s".into()),
            ("attempts", 1.into()),
            ("bytes_in", 0.into()),
            ("bytes_out", 1.into()),
            ("outcome", "ok".into()),
            ("method", "GET".into()),
            ("host", "shop.example".into()),
            ("path", "/a%20b".into()),
            ("status", 200.into()),
            ("request_id", "abc-1".into()),
            ("user_agent", "keel/1 \"x\"".into()),
            ("http_version", "1.1".into()),
            ("sni", Value::Null),
        ],
    );
    assert!(!lines[0].to_string().contains("secret"), "{}", lines[0]);
    for field in ["duration_ms", "connect_ms", "first_byte_ms"] {
        assert!(lines[0][field].is_number(), "{field} in {}", lines[0]);
    }
    // The second went over the connection that was there.
    has(&lines[1], &[("method", "POST".into()), ("connect_ms", Value::Null)]);
    has(&lines[1], &[("bytes_in", 5.into()), ("user_agent", Value::Null)]);
    let id = lines[1]["request_id"].as_str().unwrap();
    assert!(id.len() >= 16, "made where there was none: {id:?}");
}

#[test]
fn what_we_answer_ourselves_leaves_a_line_and_is_counted_once() {
    let routes = "[[listener.l.route]]\nname = \"old\"\npath = \"/old\"\n\
                  redirect = { to = \"https://b.example/\", status = 301 }\n\
                  [[listener.l.route]]\nname = \"closed\"\npath = \"/closed\"\n\
                  respond = { status = 503, body = \"teapot\", content_type = \"text/plain\" }\n\
                  [[listener.l.route]]\nname = \"few\"\npath = \"/few\"\npool = \"p\"\n\
                  rate_limit = { rate = \"1/h\", burst = 1 }\n";
    let server = whoami("s");
    let pool =
        format!("[pool.p]\nbackends = [{}]\n[pool.p.health]\nprobe = \"none\"\n", server.entry(""));
    let proxy = Evenkeel::start(&format!("{LISTENER}{routes}{pool}"));
    let at = proxy.at();
    let asks = ["/old", "/closed", "/few", "/few", "/nowhere"];
    let told = asks.map(|path| request(at, "GET", path, "shop.example").status);
    assert_eq!(told, [301, 503, 200, 429, 404]);
    let lines = proxy.wait_access(5);
    let seen: Vec<_> = lines
        .iter()
        .map(|line| {
            let text = |field: &str| line[field].as_str().unwrap_or("-").to_owned();
            [text("route"), text("pool"), text("backend"), text("outcome")].join(" ")
        })
        .collect();
    let expected = ["old - - ok", "closed - - ok", "few p s ok", "few p - rate", "- - - no-route"];
    assert_eq!(seen, expected);
    assert_eq!(lines[1]["bytes_out"], 6);
    let metrics = proxy.metrics();
    let requests = |route: &str, pool: &str, code: &str| {
        let labels = [("listener", "l"), ("route", route), ("pool", pool), ("code", code)];
        metrics.count("http_requests_total", &labels)
    };
    assert_eq!(requests("old", "", "301"), 1);
    assert_eq!(requests("closed", "", "503"), 1);
    assert_eq!((requests("few", "p", "200"), requests("few", "p", "429")), (1, 1));
    assert_eq!(requests("", "", "404"), 1);
    assert_eq!(metrics.count("http_requests_total", &[]), 5);
    let lasted = |route| metrics.count("http_request_duration_seconds_count", &[("route", route)]);
    assert_eq!((lasted("few"), lasted("old"), lasted("")), (2, 1, 1));
    assert_eq!(metrics.count("rejected_total", &[]), 2);
    for reason in ["rate", "no-route"] {
        assert_eq!(metrics.count("rejected_total", &[("reason", reason)]), 1, "{reason}");
    }
    assert_eq!(metrics.count("sessions_total", &[]), 1);
}

#[test]
fn nobody_to_ask_is_said_once_in_every_report() {
    let server = whoami("s");
    server.stop();
    let proxy = Evenkeel::start(&file(&[server], "", ""));
    assert_eq!(request(proxy.at(), "GET", "/", "shop.example").status, 502);
    assert_eq!(proxy.patch("s", r#"{"state": "maintenance"}"#).status, 200);
    assert_eq!(request(proxy.at(), "GET", "/", "shop.example").status, 503);
    let lines = proxy.wait_access(2);
    has(&lines[0], &[("outcome", "refused".into()), ("status", 502.into()), ("pool", "p".into())]);
    has(&lines[0], &[("backend", Value::Null), ("attempts", 3.into())]);
    has(&lines[1], &[("outcome", "no-backend".into()), ("status", 503.into())]);
    let metrics = proxy.metrics();
    assert_eq!(metrics.count("rejected_total", &[]), 2);
    for (reason, code) in [("refused", "502"), ("no-backend", "503")] {
        assert_eq!(metrics.count("rejected_total", &[("reason", reason)]), 1, "{reason}");
        assert_eq!(metrics.count("http_requests_total", &[("code", code)]), 1, "{code}");
    }
    assert_eq!(metrics.count("sessions_total", &[]), 0);
}

#[test]
fn a_head_that_cannot_be_read_leaves_a_line() {
    let servers = [whoami("s")];
    let proxy = Evenkeel::start(&file(&servers, "", ""));
    let mut stream = connect(proxy.at());
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n").unwrap();
    assert!(read_head(&mut stream).starts_with("HTTP/1.1 400 "));
    let line = proxy.wait_access(1).remove(0);
    has(&line, &[("outcome", "bad-request".into()), ("status", 400.into())]);
    has(&line, &[("method", Value::Null), ("route", Value::Null)]);
    assert_eq!(proxy.rejected("bad-request"), 1);
    let labels = [("route", ""), ("code", "400")];
    assert_eq!(proxy.metrics().count("http_requests_total", &labels), 1);
}

#[test]
fn a_client_that_leaves_is_told_apart_by_how_far_it_had_come() {
    let (opened, shut) = std::sync::mpsc::channel::<()>();
    let shut = std::sync::Mutex::new(shut);
    let server = answering("s", move |_| {
        shut.lock().unwrap().recv().ok();
        "late".to_owned()
    });
    let keys = "max_sessions = 1\n[pool.p.queue]\nsize = 1\ntimeout = \"1h\"";
    let proxy = Evenkeel::start(&file(std::slice::from_ref(&server), "", keys));
    let ask = || {
        let mut stream = connect(proxy.at());
        stream.write_all(get("/", "").as_bytes()).unwrap();
        stream
    };
    let served = ask();
    eventually("it has come to the backend", PATIENCE, || server.open() == 1);
    let waiting = ask();
    let queued = || proxy.metrics().count("queue_length", &[("pool", "p")]);
    eventually("one waits", PATIENCE, || queued() == 1);
    reset(waiting);
    let line = proxy.wait_access(1).remove(0);
    has(&line, &[("outcome", "client-gone".into()), ("status", Value::Null)]);
    reset(served);
    let line = proxy.wait_access(2).remove(1);
    has(&line, &[("outcome", "client-reset".into()), ("status", Value::Null)]);
    // The one that it waited for, though that has said nothing.
    has(&line, &[("backend", "s".into()), ("attempts", 1.into())]);
    opened.send(()).ok();
    let codes = |code| proxy.metrics().count("http_requests_total", &[("code", code)]);
    assert_eq!((codes("none"), codes("200")), (2, 0));
}

#[test]
fn failed_requests_are_counted_with_what_they_were_and_eject() {
    let bad = Server::http("bad", |_| {
        "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n".to_owned()
    });
    let good = whoami("good");
    let list = format!("[{}, {}]", bad.entry(""), good.entry(""));
    let proxy = Evenkeel::start(&format!(
        "{LISTENER}pool = \"p\"\n[pool.p]\nbackends = {list}\nbalance = \"first\"\n\
         [pool.p.health]\nprobe = \"none\"\n"
    ));
    for _ in 0..6 {
        assert_eq!(request(proxy.at(), "GET", "/", "shop.example").body, "good");
    }
    eventually("it is ejected", PATIENCE, || !proxy.backend("bad")["ejected_until"].is_null());
    let reason = proxy.backend("bad")["ejected_reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("answered 502, 503 or 504"), "{reason}");
    let failed = proxy.backend("bad")["failures"].as_u64().unwrap();
    let labels = [("backend", "bad"), ("reason", "backend-error")];
    assert_eq!(proxy.metrics().count("request_failures_total", &labels), failed);
    assert!(failed >= 3, "{failed}");
    // What another backend then answered counts there, and as one request.
    let metrics = proxy.metrics();
    assert_eq!(metrics.count("http_requests_total", &[("code", "200")]), 6);
    assert_eq!(metrics.count("http_requests_total", &[]), 6);
    let lines = proxy.wait_access(6);
    has(&lines[0], &[("attempts", 2.into()), ("backend", "good".into())]);
}

#[test]
fn requests_of_a_fallback_are_counted_with_the_pool_that_answered() {
    let rescue = whoami("r");
    let dead = whoami("dead");
    let proxy = Evenkeel::start(&format!(
        "{LISTENER}pool = \"p\"\n[pool.p]\nbackends = [{}]\nfallback = \"q\"\n\
         [pool.p.health]\nprobe = \"none\"\n[pool.q]\nbackends = [{}]\n\
         [pool.q.health]\nprobe = \"none\"\n",
        dead.entry("state = \"maintenance\""),
        rescue.entry("")
    ));
    assert_eq!(request(proxy.at(), "GET", "/", "shop.example").body, "r");
    let line = proxy.wait_access(1).remove(0);
    has(&line, &[("pool", "q".into()), ("backend", "r".into()), ("route", "default".into())]);
    let count = |pool| {
        let labels = [("pool", pool), ("route", "default"), ("code", "200")];
        proxy.metrics().count("http_requests_total", &labels)
    };
    assert_eq!((count("p"), count("q")), (0, 1));
}

#[test]
fn every_series_of_http_is_there_from_the_start() {
    let servers = [whoami("s")];
    let proxy = Evenkeel::start(&file(&servers, "", ""));
    let metrics = proxy.metrics();
    for name in ["http_requests_total", "http_request_duration_seconds_count"] {
        assert!(!metrics.find(name, &[("listener", "l"), ("route", "default")]).is_empty());
        assert_eq!(metrics.count(name, &[]), 0);
    }
    for reason in ["timeout", "reset", "backend-error"] {
        assert_eq!(metrics.find("request_failures_total", &[("reason", reason)]).len(), 1);
    }
    for name in ["http_requests_total", "http_request_duration_seconds"] {
        assert!(metrics.text.contains(&format!("# HELP evenkeel_{name} ")), "{name}");
        assert!(metrics.text.contains(&format!("# TYPE evenkeel_{name} ")), "{name}");
    }
}

#[test]
fn the_body_of_an_answer_is_told_when_its_last_byte_has_gone() {
    let (opened, shut) = std::sync::mpsc::channel::<()>();
    let shut = std::sync::Mutex::new(shut);
    let server = Server::new("s", move |mut stream| {
        read_head(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nhalf").unwrap();
        shut.lock().unwrap().recv().ok();
        stream.write_all(b"rest").ok();
    });
    let proxy = Evenkeel::start(&file(std::slice::from_ref(&server), "", ""));
    let mut stream = connect(proxy.at());
    stream.write_all(get("/", "").as_bytes()).unwrap();
    read_head(&mut stream);
    let mut body = [0; 4];
    stream.read_exact(&mut body).unwrap();
    assert!(proxy.access().is_empty(), "it has not ended");
    assert_eq!(proxy.metrics().count("http_requests_total", &[]), 0);
    assert_eq!(proxy.sessions(), 1, "it counts on its backend");
    opened.send(()).unwrap();
    stream.read_exact(&mut body).unwrap();
    // Whoever has the last byte finds it counted.
    assert_eq!(proxy.metrics().count("http_requests_total", &[("code", "200")]), 1);
    let line = proxy.wait_access(1).remove(0);
    has(&line, &[("bytes_out", 8.into()), ("outcome", "ok".into())]);
}
