//! Requests that are tried again, and those that are not.

use crate::harness::evenkeel::Evenkeel;
use crate::harness::files;
use crate::harness::http::{Answer, send};
use crate::harness::seat::Seat;
use crate::web::recorder::{Recorder, answer};

const PASSIVE_OFF: &str = "[pool.p.passive]\nfailures = 0";

/// Asks the backends in this order, and counts nothing against them.
fn start(backends: &str, retry: &str) -> Evenkeel {
    let pool = format!("balance = \"first\"\n{PASSIVE_OFF}\n[pool.p.retry]\n{retry}");
    Evenkeel::start(&files::unprobed(
        backends,
        "protocol = \"http\"\ndebug_headers = true\n",
        &pool,
    ))
}

fn attempts(answer: &Answer) -> &str {
    answer.header("x-evenkeel-attempts").unwrap_or("-")
}

fn well() -> Recorder {
    Recorder::new("well", |_| answer(200, "", "ok"))
}

/// Closes the connection of each request.
fn cutting() -> Recorder {
    Recorder::new("cutting", |_| String::new())
}

fn busy() -> Recorder {
    Recorder::new("busy", |_| answer(503, "", "busy"))
}

#[test]
fn any_request_goes_elsewhere_that_was_never_sent() {
    let (closed, well) = (Seat::take(), well());
    let dead = files::entry(closed.address(), "dead", "");
    let evenkeel = start(&format!("[{dead}, {}]", well.server.entry("")), "");
    // More often than the budget allows: a failed connect takes nothing from it.
    for _ in 0..15 {
        let told = send(evenkeel.at(), "POST", "/", &[], "body");
        assert_eq!((told.status, attempts(&told)), (200, "2"));
    }
    assert_eq!(well.seen().len(), 15);
    assert!(well.seen().iter().all(|seen| seen.body == "body"));
}

#[test]
fn what_may_have_been_served_is_repeated_only_where_nobody_minds() {
    let (cutting, well) = (cutting(), well());
    let backends = format!("[{}, {}]", cutting.server.entry(""), well.server.entry(""));
    let evenkeel = start(&backends, "");
    let told = send(evenkeel.at(), "PUT", "/", &[], "body");
    assert_eq!((told.status, attempts(&told), &*told.body), (200, "2", "ok"));
    assert_eq!((&*well.seen()[0].body, &*cutting.seen()[0].body), ("body", "body"));
    assert_eq!(send(evenkeel.at(), "POST", "/", &[], "body").status, 502);
    assert_eq!((cutting.seen().len(), well.seen().len()), (2, 1));
    evenkeel.wait_outcome("backend-reset", 1);
    evenkeel.wait_outcome("ok", 1);
    let total = |name| evenkeel.backend(name)["sessions_total"].as_u64();
    assert_eq!((total("cutting"), total("well")), (Some(1), Some(1)), "where each request ended");

    let evenkeel = start(&backends, "non_idempotent = true");
    assert_eq!(send(evenkeel.at(), "POST", "/", &[], "body").status, 200);
}

#[test]
fn a_body_that_is_not_kept_is_not_sent_again() {
    let (cutting, well) = (cutting(), well());
    let backends = format!("[{}, {}]", cutting.server.entry(""), well.server.entry(""));
    let evenkeel = start(&backends, "body = \"10B\"");
    assert_eq!(send(evenkeel.at(), "PUT", "/", &[], "0123456789").status, 200);
    assert_eq!(send(evenkeel.at(), "PUT", "/", &[], "0123456789x").status, 502);
    assert_eq!(well.seen().len(), 1);
}

#[test]
fn a_backends_own_no_is_passed_on_when_nobody_says_yes() {
    let (busy, well) = (busy(), well());
    let evenkeel = start(&format!("[{}]", busy.server.entry("")), "attempts = 2");
    let told = send(evenkeel.at(), "GET", "/", &[], "");
    assert_eq!((told.status, &*told.body, attempts(&told)), (503, "busy", "2"));
    assert_eq!(send(evenkeel.at(), "POST", "/", &[], "").body, "busy");
    assert_eq!(busy.seen().len(), 3);
    evenkeel.wait_outcome("ok", 2);

    let backends = format!("[{}, {}]", busy.server.entry(""), well.server.entry(""));
    let evenkeel = start(&backends, "");
    assert_eq!(send(evenkeel.at(), "GET", "/", &[], "").body, "ok");
    let evenkeel = start(&backends, "on = [\"connect\", \"reset\"]");
    assert_eq!(send(evenkeel.at(), "GET", "/", &[], "").body, "busy");
}

#[test]
fn retries_have_a_budget() {
    let (busy, well) = (busy(), well());
    let backends = format!("[{}, {}]", busy.server.entry(""), well.server.entry(""));
    let evenkeel = start(&backends, "budget = \"0%\"");
    let told: Vec<_> = (0..30).map(|_| send(evenkeel.at(), "GET", "/", &[], "").body).collect();
    // Ten in ten seconds, and the thirty may have taken a little longer than that.
    assert!(told[..10].iter().all(|body| body == "ok"), "{told:?}");
    assert!(told.iter().any(|body| body == "busy"), "{told:?}");
}

#[test]
fn a_kept_connection_that_has_died_is_nobodys_failure() {
    let backend = Recorder::with("b", |_, stream| {
        use std::io::Write;
        // Closed without a word, as a server may that has waited long enough.
        stream.write_all(answer(200, "", "ok").as_bytes()).unwrap();
        false
    });
    let evenkeel = start(&format!("[{}]", backend.server.entry("")), "attempts = 1");
    for _ in 0..20 {
        let told = send(evenkeel.at(), "GET", "/", &[], "");
        assert_eq!((told.status, attempts(&told)), (200, "1"));
    }
}
