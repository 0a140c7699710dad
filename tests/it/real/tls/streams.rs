//! What a client of TLS sees of a long stream, and of load.

use std::process::Command;
use std::time::Duration;

use super::{NAME, ending};
use crate::harness::authority::Authority;
use crate::harness::evenkeel::Evenkeel;
use crate::harness::process::finish;
use crate::harness::servers::Server;
use crate::harness::wait::PATIENCE;
use crate::real::{installed, redis};

#[test]
fn curl_fetches_a_page_that_ends_with_its_connection() {
    if installed("curl", &[]).is_none() {
        return;
    }
    // No length: only the way the connection ends tells that it was all.
    let page = |count: usize| -> String {
        (0..count).map(|line| format!("line {line} of a page\n")).collect()
    };
    let server = Server::http("web", move |_| format!("HTTP/1.1 200 OK\r\n\r\n{}", page(100_000)));
    let authority = Authority::new();
    let proxy = Evenkeel::start(&ending(&authority, "", server.address()));
    let port = proxy.at().port();
    let curl = |name: &str| {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--noproxy", "*", "--max-time", "15"]);
        command.arg("--cacert").arg(authority.ca_file());
        command.args(["--resolve", &format!("{name}:{port}:127.0.0.1")]);
        finish(command.arg(format!("https://{name}:{port}/")), PATIENCE)
    };
    let got = curl(NAME).expect_code(0);
    assert!(got.stdout == page(100_000), "{} bytes came", got.stdout.len());
    // The certificate is not for another name, and curl says so itself.
    let other = curl("other.example").expect_code(60);
    assert!(other.stderr.contains("other.example"), "{}", other.stderr);
}

#[test]
fn redis_benchmark_runs_over_tls_in_front_of_a_redis_without() {
    let Some(benchmark) = installed("redis-benchmark", &[]) else { return };
    let Some(server) = redis::start() else { return };
    let authority = Authority::new();
    let proxy = Evenkeel::start(&ending(&authority, "", server.seat.address()));
    let mut load = Command::new(benchmark);
    load.args(["-p", &proxy.at().port().to_string(), "--tls", "--sni", NAME, "--cacert"]);
    load.arg(authority.ca_file()).args(["-n", "10000", "-c", "20", "-P", "4", "-q"]);
    load.args(["-t", "ping,set,get,lrange_100"]);
    let run = finish(&mut load, Duration::from_secs(90)).expect_code(0);
    assert!(!run.text().to_lowercase().contains("error"), "{}", run.text());
    proxy.wait_idle();
    let metrics = proxy.metrics();
    assert_eq!(metrics.count("rejected_total", &[]), 0);
    let handshakes = metrics.count("tls_handshakes_total", &[("listener", "l")]);
    assert_eq!(handshakes, metrics.count("sessions_total", &[]));
}
