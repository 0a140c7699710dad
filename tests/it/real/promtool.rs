//! The metrics before Prometheus's own judge.

use std::io::Write;
use std::process::{Command, Stdio};

use super::installed;
use crate::harness::client::{close, hold, try_hold};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::{file, pool};
use crate::harness::seat::Seat;
use crate::harness::servers::{Server, entries};

#[test]
fn promtool_finds_nothing_wrong_with_the_metrics() {
    let Some(promtool) = installed("promtool", &[]) else { return };
    let server = Server::greet("a \\ \"quoted\" name");
    let dead = Seat::take();
    let entry = format!("[{{ address = \"{}\", name = \"quoted\" }}]", server.address());
    let toml = file(&entry, "", "")
        + "[listener.m]\nbind = \"127.0.0.1:0\"\npool = \"q\"\n"
        + &pool("q", &format!("[\"{}\"]", dead.address()), "");
    let proxy = Evenkeel::start(&toml);
    let fresh = proxy.metrics().text;
    close(hold(proxy.at()).stream);
    assert!(try_hold(proxy.address("m")).is_err());
    proxy.wait_outcome("ok", 1);
    for text in [fresh, proxy.metrics().text] {
        let mut child = Command::new(&promtool)
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said =
            String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.trim().is_empty(), "{said}\n{text}");
    }
}

#[test]
fn every_metric_has_help_and_type_and_appears_once() {
    let server = Server::greet("s");
    let proxy = Evenkeel::start(&file(&entries(std::slice::from_ref(&server)), "", ""));
    let text = proxy.metrics().text;
    let of = |mark: &str| -> Vec<String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(mark));
        lines.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
    };
    let (help, types) = (of("# HELP "), of("# TYPE "));
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let name = line.split(['{', ' ']).next().unwrap();
        let family = |family: &String| {
            name == family
                || ["_sum", "_count", "_bucket"]
                    .iter()
                    .any(|end| name.strip_suffix(end) == Some(family.as_str()))
        };
        assert!(types.iter().any(family), "no TYPE for {name}");
        assert!(help.iter().any(family), "no HELP for {name}");
    }
    let mut series: Vec<_> = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| line.rsplit_once(' ').unwrap().0)
        .collect();
    let count = series.len();
    series.sort_unstable();
    series.dedup();
    assert_eq!(series.len(), count, "a series appears twice");
}
