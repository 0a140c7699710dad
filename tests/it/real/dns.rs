//! Name servers behind the balancer: unbound, asked by dnsperf and dig.

use std::fmt::Write;
use std::fs;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::installed;
use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::entry;
use crate::harness::process::{Owned, finish};
use crate::harness::udp::Seat;
use crate::harness::wait::{PATIENCE, eventually};

const NAMES: usize = 500;

pub(super) struct Unbound {
    _dir: TempDir,
    seat: Seat,
    server: Option<Owned>,
}

impl Unbound {
    fn start(name: &str) -> Option<Self> {
        let program = installed("unbound", &[])?;
        let (dir, seat) = (TempDir::new().unwrap(), Seat::take());
        let file = dir.path().join("unbound.conf");
        fs::write(&file, zone(name, seat.port(), &dir)).unwrap();
        let mut command = Command::new(program);
        command.arg("-d").arg("-c").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        let server = Some(Owned(command.spawn().unwrap()));
        let dig = installed("dig", &[])?;
        eventually("unbound answers", PATIENCE, || {
            let mut ask = Command::new(&dig);
            ask.args(["@127.0.0.1", "-p", &seat.port().to_string(), "+short", "+tries=1"]);
            finish(ask.args(["+time=1", "who.example.", "TXT"]), PATIENCE).stdout.contains(name)
        });
        Some(Self { _dir: dir, seat, server })
    }

    fn entry(&self, name: &str) -> String {
        entry(self.seat.address(), name, "")
    }
}

/// A file of its own zone, which asks nobody else.
fn zone(name: &str, port: u16, dir: &TempDir) -> String {
    let dir = dir.path().display();
    let mut text = format!(
        "server:\n interface: 127.0.0.1@{port}\n port: {port}\n do-tcp: no\n do-ip6: no\n\
         \x20chroot: \"\"\n username: \"\"\n directory: \"{dir}\"\n pidfile: \"{dir}/pid\"\n\
         \x20use-syslog: no\n logfile: \"\"\n num-threads: 1\n module-config: \"iterator\"\n\
         \x20so-rcvbuf: 0\n edns-buffer-size: 4096\n max-udp-size: 4096\n\
         \x20local-zone: \"example.\" static\n local-data: \"example. NS ns.example.\"\n\
         \x20local-data: 'who.example. TXT \"{name}\"'\n"
    );
    for i in 0..NAMES {
        let (high, low) = (i / 250, i % 250);
        writeln!(text, " local-data: \"n{i}.example. A 192.0.{high}.{low}\"").unwrap();
    }
    let large: String = (0..12).map(|_| format!("\"{}\" ", "x".repeat(250))).collect();
    writeln!(text, " local-data: 'large.example. TXT {large}'").unwrap();
    text + "remote-control:\n control-enable: no\n"
}

/// The balancer before these name servers, with a probe that asks what they know.
pub(super) fn file(servers: &[Unbound; 2], listener: &str) -> String {
    format!(
        "[listener.l]\nbind = \"127.0.0.1:0\"\nprotocol = \"udp\"\npool = \"p\"\n{listener}\n\
         [pool.p]\nbackends = [{}, {}]\nbalance = \"round-robin\"\n[pool.p.health]\n\
         probe = \"dns\"\nquery = \"example\"\nquery_type = \"NS\"\n\
         interval = \"100ms\"\ntimeout = \"2s\"\n",
        servers[0].entry("one"),
        servers[1].entry("two")
    )
}

/// Two name servers and the balancer before them.
pub(super) fn stage(listener: &str) -> Option<([Unbound; 2], Evenkeel)> {
    let servers = [Unbound::start("one")?, Unbound::start("two")?];
    let proxy = Evenkeel::start(&file(&servers, listener));
    for name in ["one", "two"] {
        proxy.wait_health(name, "up");
    }
    Some((servers, proxy))
}

/// What dnsperf says of a run.
pub(super) struct Report {
    sent: u64,
    completed: u64,
    lost: u64,
    codes: String,
}

impl Report {
    fn is_complete(&self) -> bool {
        self.sent > 0 && self.lost == 0 && self.sent == self.completed && self.is_clean()
    }

    /// All answers that came are good ones.
    fn is_clean(&self) -> bool {
        self.codes.starts_with("NOERROR") && self.codes.contains("(100.00%)")
    }
}

/// Runs dnsperf over all names, as often as `keys` say, and at most ten seconds.
#[track_caller]
pub(super) fn perf(proxy: &Evenkeel, keys: &[&str]) -> Option<Report> {
    let program = installed("dnsperf", &[])?;
    let file = proxy.dir().join("queries");
    let queries: String = (0..NAMES).map(|i| format!("n{i}.example A\n")).collect();
    fs::write(&file, queries).unwrap();
    let mut command = Command::new(program);
    command.args(["-s", "127.0.0.1", "-p", &proxy.at().port().to_string(), "-d"]).arg(file);
    let run = finish(command.args(keys).args(["-l", "10"]), Duration::from_secs(60));
    let text = run.expect_code(0).text();
    let said = |what: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(what));
        line.unwrap_or_else(|| panic!("no {what} in {text}")).trim().to_owned()
    };
    let count = |what: &str| said(what).split(' ').next().unwrap().parse().unwrap();
    Some(Report {
        sent: count("Queries sent:"),
        completed: count("Queries completed:"),
        lost: count("Queries lost:"),
        codes: said("Response codes:"),
    })
}

#[track_caller]
pub(super) fn complete(report: &Report) {
    let Report { sent, completed, lost, codes } = report;
    assert!(report.is_complete(), "{sent} sent, {completed} completed, {lost} lost, {codes}");
}

#[test]
fn dnsperf_loses_nothing() {
    let Some((_servers, proxy)) = stage("") else { return };
    let Some(report) = perf(&proxy, &["-n", "20", "-c", "10"]) else { return };
    complete(&report);
    let metrics = proxy.metrics();
    assert_eq!(metrics.count("rejected_total", &[]), 0);
    for direction in ["in", "out"] {
        let labels = [("listener", "l"), ("direction", direction)];
        assert_eq!(metrics.count("udp_datagrams_total", &labels), report.sent, "{direction}");
    }
    for name in ["one", "two"] {
        assert_eq!(proxy.backend(name)["sessions"], 5, "{name}");
    }
}

#[test]
fn dnsperf_loses_nothing_when_a_flow_ends_with_its_answers() {
    let Some((_servers, proxy)) = stage("responses = 1") else { return };
    let Some(report) = perf(&proxy, &["-n", "20", "-q", "100", "-c", "1"]) else { return };
    complete(&report);
    eventually("no flow is left", PATIENCE, || proxy.flows() == 0);
    assert_eq!(proxy.outcomes("idle"), 0);
}

#[test]
fn queries_go_on_when_a_name_server_dies_under_them() {
    let Some((mut servers, proxy)) = stage("") else { return };
    let keys = ["-n", "12", "-Q", "2000", "-c", "8", "-t", "1"];
    let report = thread::scope(|scope| {
        let run = scope.spawn(|| perf(&proxy, &keys));
        let seen = || proxy.metrics().count("udp_datagrams_total", &[("direction", "in")]);
        if installed("dnsperf", &[]).is_some() {
            eventually("queries are under way", PATIENCE, || seen() > 1000);
            drop(servers[0].server.take());
        }
        run.join().unwrap()
    });
    let Some(report) = report else { return };
    assert!(report.is_clean(), "{}", report.codes);
    // Of each flow, no more than what was under way when it was told.
    assert!(report.lost * 10 < report.sent, "{} of {} lost", report.lost, report.sent);
    proxy.wait_health("one", "down");
    complete(&perf(&proxy, &["-n", "4", "-c", "8"]).unwrap());
}

#[test]
fn a_large_answer_comes_whole() {
    let Some((_servers, proxy)) = stage("") else { return };
    let Some(dig) = installed("dig", &[]) else { return };
    let port = proxy.at().port().to_string();
    let mut ask = Command::new(dig);
    ask.args(["@127.0.0.1", "-p", &port, "+notcp", "+ignore", "+bufsize=4096", "+short"]);
    let run = finish(ask.args(["large.example.", "TXT"]), PATIENCE).expect_code(0);
    assert_eq!(run.stdout.matches('x').count(), 12 * 250, "{}", run.stdout);
}
