//! Changing a backend over the admin interface: what is obeyed, and what is refused unchanged.

use super::*;
use crate::session::Bell;

/// A handle whose pools are watched, as the server does it, with the monitors that do so.
fn steered(handle: &Arc<Handle>) -> Vec<crate::health::Monitor> {
    let snapshot = handle.snapshot();
    let start = |(spec, pool): (&config::Pool, &Arc<Pool>)| {
        let spec = config::Pool {
            health: config::Health { probe: config::Probe::None, ..spec.health.clone() },
            ..spec.clone()
        };
        let (events, bell) = (handle.events.clone(), Bell::default());
        let resolver = crate::net::Resolver::default();
        crate::health::Monitor::start(Arc::clone(pool), &spec, 0, &resolver, events, bell, &[])
            .unwrap()
    };
    let monitors: Vec<_> = snapshot.config.pools.iter().zip(&snapshot.pools).map(start).collect();
    handle.set_operators(monitors.iter().map(crate::health::Monitor::operator).collect());
    monitors
}

fn patch(path: &str, fields: &[&str], body: &str) -> String {
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    let length = body.len();
    format!(
        "PATCH {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{fields}\
         Content-Length: {length}\r\n\r\n{body}"
    )
}

const FIRST: &str = "/api/v1/pools/db/backends/10.0.0.1:5432";

#[tokio::test]
async fn a_backend_is_steered_and_the_answer_says_what_holds() {
    let handle = handle();
    let _monitors = steered(&handle);
    let request = patch(FIRST, &[], "{\"state\": \"drain\", \"weight\": 3}");
    let answer = exchange(Arc::clone(&handle), &request).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let body = answer.split_once("\r\n\r\n").unwrap().1;
    let now: crate::api::BackendStatus = serde_json::from_str(body).unwrap();
    assert_eq!((now.state.as_str(), now.weight, now.effective_weight), ("drain", 3, 0.0));
    assert!(!handle.snapshot().pools[0].members()[0].backend.standing().is_usable());

    let encoded = patch("/api/v1/pools/db/backends/10.0.0.1%3A5432", &[], "{\"state\":\"ready\"}");
    assert!(exchange(Arc::clone(&handle), &encoded).await.starts_with("HTTP/1.1 200 "));
    let report = report(&handle);
    let now = &report.pools[0].backends[0];
    assert_eq!((now.state.as_str(), now.weight, now.effective_weight), ("ready", 3, 3.0));
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_and_changes_nothing() {
    let handle = handle();
    let _monitors = steered(&handle);
    let before = report(&handle).pools;
    let drain = "{\"state\":\"drain\"}";
    let long = format!("{{\"state\":\"drain\"{}}}", " ".repeat(64 * 1024));
    for (request, status, word) in [
        (patch("/api/v1/pools/other/backends/b", &[], drain), 404, "there is db"),
        (patch("/api/v1/pools/db/backends/10.0.0.1", &[], drain), 404, "there are 10.0.0.1:5432"),
        (patch("/api/v1/pools/db/backends/%zz", &[], drain), 404, "nothing at"),
        (patch(FIRST, &[], "{}"), 400, "nothing to change"),
        (patch(FIRST, &[], ""), 400, "no JSON"),
        (patch(FIRST, &[], "{\"state\":\"drain\"} x"), 400, "no JSON"),
        (patch(FIRST, &[], "[1]"), 400, "no JSON object"),
        (patch(FIRST, &[], "{\"state\":\"Drain\"}"), 400, "`state` is \\\"Drain\\\""),
        (patch(FIRST, &[], "{\"state\":1}"), 400, "`state` is 1"),
        (patch(FIRST, &[], "{\"weight\":-1}"), 400, "`weight` is -1"),
        (patch(FIRST, &[], "{\"weight\":1.5}"), 400, "`weight` is 1.5"),
        (patch(FIRST, &[], "{\"weight\":257,\"state\":\"drain\"}"), 400, "`weight` is 257"),
        (patch(FIRST, &[], "{\"weight\":70000}"), 400, "`weight` is 70000"),
        (patch(FIRST, &[], "{\"weight\":\"3\"}"), 400, "whole number"),
        (patch(FIRST, &[], "{\"weight\":2,\"weight\":3}"), 400, "duplicate"),
        (patch(FIRST, &[], "{\"state\":\"drain\",\"wieght\":3}"), 400, "unknown key"),
        (patch(FIRST, &[], &long), 413, "larger than 65536"),
        (patch(FIRST, &["Origin: http://evil.example"], drain), 403, "Origin"),
        (patch(FIRST, &[], drain).replace("PATCH", "POST"), 405, "answers PATCH, not POST"),
        (patch(FIRST, &[], drain).replace("localhost", "evil.example"), 403, "loopback"),
        (patch("/api/v1/status", &[], drain), 405, "GET, HEAD"),
    ] {
        let answer = exchange(Arc::clone(&handle), &request).await;
        let told = format!("{}\n{answer}", request.chars().take(300).collect::<String>());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{told}");
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        assert!(body.starts_with("{\"error\":\"") && body.contains(word), "{told}");
    }
    assert_eq!(report(&handle).pools[0].backends[0].state, before[0].backends[0].state);
    assert_eq!(report(&handle).pools[0].backends[0].weight, before[0].backends[0].weight);
    handle.set_stopping();
    let late = exchange(handle, &patch(FIRST, &[], drain)).await;
    assert!(late.starts_with("HTTP/1.1 503 ") && late.contains("stopping"), "{late}");
}

#[tokio::test]
async fn a_body_of_any_size_is_refused_by_its_length_or_as_it_comes() {
    let fields = "Host: localhost\r\nConnection: close";
    // Only the head is sent: the answer does not wait for a body.
    let head = format!("PATCH {FIRST} HTTP/1.1\r\n{fields}\r\nContent-Length: 10485760\r\n\r\n");
    assert!(exchange(handle(), &head).await.starts_with("HTTP/1.1 413 "));
    let whole = format!("{head}{}", "x".repeat(10 << 20));
    assert!(exchange(handle(), &whole).await.starts_with("HTTP/1.1 413 "));
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
    let chunked = format!(
        "PATCH {FIRST} HTTP/1.1\r\n{fields}\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        chunk.repeat(100)
    );
    assert!(exchange(handle(), &chunked).await.starts_with("HTTP/1.1 413 "));
}

#[tokio::test]
async fn a_change_needs_the_token_and_reading_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    fs::write(&path, "s3cret\n").unwrap();
    let spec = config::Admin {
        bind: AdminBind::Tcp("127.0.0.1:0".parse().unwrap()),
        token_file: Some(path.clone()),
    };
    let handle = handle();
    let _monitors = steered(&handle);
    let drain = "{\"state\":\"drain\"}";
    for (request, status) in [
        (patch(FIRST, &[], drain), 401),
        (patch(FIRST, &["Authorization: Bearer wrong"], drain), 401),
        (patch(FIRST, &["Authorization: Bearer s3cret"], drain), 200),
        ("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".into(), 200),
    ] {
        let answer = exchange_at(&spec, Arc::clone(&handle), &request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}\n{answer}");
        assert_eq!(status == 401, answer.contains("www-authenticate: Bearer"), "{answer}");
        let state = handle.snapshot().pools[0].members()[0].backend.standing().state();
        assert_eq!(status == 200, state == "drain", "{request}");
    }
    fs::write(&path, "\nsecond\n").unwrap();
    let error = bind(&spec, None).unwrap_err().to_string();
    assert!(error.contains("token_file") && error.contains("first line is empty"), "{error}");
}
