//! Load by h2load and wrk: every request is answered.

use std::process::Command;
use std::time::Duration;

use super::Front;
use crate::harness::process::{Finished, finish};
use crate::real::installed;
use crate::real::nginx::Nginx;

const LIMIT: Duration = Duration::from_secs(90);

fn h2load(args: &[&str], url: &str) -> Finished {
    finish(Command::new("h2load").args(args).arg(url), LIMIT).expect_code(0)
}

/// Fails unless all of so many requests went well.
#[track_caller]
fn all_succeeded(run: &Finished, requests: u32, what: &str) {
    for line in [
        format!("{requests} succeeded, 0 failed, 0 errored, 0 timeout"),
        format!("status codes: {requests} 2xx, 0 3xx, 0 4xx, 0 5xx"),
    ] {
        assert!(run.stdout.contains(&line), "{what}: no {line:?} in\n{}", run.text());
    }
}

#[test]
fn h2load_is_answered_over_either_version_with_and_without_tls() {
    let words = "location / { return 200 hello; } keepalive_requests 100000;";
    let Some(nginx) = Nginx::serving("n", words, "") else { return };
    if installed("h2load", &[]).is_none() {
        return;
    }
    let front = Front::start(nginx.address(), "", "");
    for url in front.urls() {
        let one = h2load(&["--h1", "-n", "2000", "-c", "20"], &url);
        all_succeeded(&one, 2000, &format!("http/1.1 {url}"));
        let two = h2load(&["-n", "2000", "-c", "10", "-m", "20"], &url);
        all_succeeded(&two, 2000, &format!("http/2 {url}"));
    }
    front.proxy.wait_outcome("ok", 8000);
    front.proxy.wait_idle();
    assert_eq!(front.proxy.metrics().count("rejected_total", &[]), 0);
}

#[test]
fn h2load_fetches_large_bodies_through_small_windows() {
    let page = "x".repeat(1_000_000);
    let Some(nginx) = Nginx::start(&page) else { return };
    if installed("h2load", &[]).is_none() {
        return;
    }
    let front = Front::start(nginx.address(), "", "");
    for url in front.urls() {
        // Windows of 64 KiB, for twenty streams that share a connection.
        let run = h2load(&["-n", "100", "-c", "2", "-m", "20", "-w", "16", "-W", "16"], &url);
        all_succeeded(&run, 100, &url);
        assert!(run.stdout.contains("(100000000) data"), "{}", run.text());
    }
    front.proxy.wait_idle();
}

#[test]
fn wrk_sees_no_error() {
    let words = "location / { return 200 hello; } keepalive_requests 100000;";
    let Some(nginx) = Nginx::serving("n", words, "") else { return };
    let Some(wrk) = installed("wrk", &[]) else { return };
    let front = Front::start(nginx.address(), "", "");
    for url in front.urls() {
        let mut load = Command::new(&wrk);
        load.args(["-t", "2", "-c", "16", "-d", "2s", "--timeout", "15s", &url]);
        let run = finish(&mut load, LIMIT).expect_code(0);
        assert!(run.stdout.contains(" requests in "), "{}", run.text());
        for flaw in ["Socket errors", "Non-2xx"] {
            assert!(!run.stdout.contains(flaw), "{}", run.text());
        }
    }
    front.proxy.wait_idle();
}
