//! slowhttptest in each of its modes, while others go on being served.

use std::process::Command;
use std::thread;

use super::Front;
use crate::harness::http::get;
use crate::harness::process::finish;
use crate::harness::wait::PATIENCE;
use crate::real::installed;
use crate::real::nginx::Nginx;

/// Slow heads, slow bodies, ranges by the hundred, slow reading.
const MODES: [&[&str]; 4] = [
    &["-H", "-i", "1", "-t", "GET"],
    &["-B", "-i", "1", "-s", "8192", "-t", "POST"],
    &["-R", "-a", "10", "-b", "3000", "-t", "HEAD"],
    &["-X", "-w", "512", "-y", "1024", "-n", "1", "-z", "32", "-k", "3"],
];

/// Without the colours of a terminal.
fn plain(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |all, part| all + part.split_once('m').map_or("", |(_, rest)| rest))
}

#[test]
fn the_service_stays_available_in_every_mode_of_slowhttptest() {
    let Some(nginx) = Nginx::start(&"x".repeat(100_000)) else { return };
    let Some(program) = installed("slowhttptest", &[]) else { return };
    let keys = "header_timeout = \"2s\"\nidle_timeout = \"3s\"";
    let front = Front::start(nginx.address(), keys, "");
    let at = front.proxy.at();
    thread::scope(|scope| {
        let runs = MODES.map(|mode| {
            let mut attack = Command::new(&program);
            // So many connections, all at once, for so many seconds.
            attack.args(["-c", "200", "-r", "400", "-l", "8", "-p", "5"]).args(mode);
            attack.args(["-u", &format!("http://{at}/")]);
            scope.spawn(move || finish(&mut attack, 3 * PATIENCE))
        });
        let mut served = 0;
        while runs.iter().any(|run| !run.is_finished()) {
            let answer = get(at, "/");
            assert_eq!((answer.status, answer.body.len()), (200, 100_000));
            served += 1;
        }
        assert!(served > 20, "only {served} requests in all that time");
        for run in runs {
            let said = plain(&run.join().unwrap().text());
            assert!(!said.contains("service available:   NO"), "{said}");
            assert!(said.contains("service available:   YES"), "{said}");
        }
    });
    // None of those connections is held for longer than the file allows.
    front.proxy.wait_idle();
    assert!(front.proxy.metrics().has("evenkeel_http_connections_active"));
    let gone = || front.proxy.metrics().count("http_connections_active", &[("listener", "l")]) == 0;
    crate::harness::wait::eventually("every connection is gone", PATIENCE, gone);
}
