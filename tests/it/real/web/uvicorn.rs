//! A FastAPI application, run by uvicorn: bodies both ways and events.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{Front, Served};
use crate::harness::http::send;
use crate::harness::pattern::Pattern;
use crate::harness::process::{Owned, must};
use crate::real::installed;

fn start() -> Option<Served> {
    installed("curl", &[])?;
    Served::start("app.py", &[])
}

/// A file of so many bytes, and the words of `sha256sum` on it.
fn body(front: &Front, length: usize) -> (PathBuf, String) {
    let file = front.proxy.dir().join(format!("body-{length}"));
    let mut bytes = Vec::new();
    Pattern::new(11).send(&mut bytes, length, length.max(1)).unwrap();
    fs::write(&file, bytes).unwrap();
    let sum = must(Command::new("sha256sum").arg(&file));
    (file, sum.split(' ').next().unwrap().to_owned())
}

#[test]
fn bodies_arrive_whole_however_they_are_sent() {
    let Some(app) = start() else { return };
    let front = Front::start(app.address(), "", "");
    for length in [0, 1, 70_000, 8_000_000] {
        let (file, sum) = body(&front, length);
        let data = format!("@{}", file.display());
        for (version, url) in front.ways() {
            for field in ["x-way: length", "transfer-encoding: chunked", "expect: 100-continue"] {
                if version != "--http1.1" && field.starts_with("transfer") {
                    continue;
                }
                let target = format!("{url}/sum");
                let args =
                    [version, "--verbose", "--header", field, "--data-binary", &data, &target];
                let run = front.ask(&args);
                let what = format!("{length} bytes, {version} {url}, {field}");
                let said: Value = serde_json::from_str(&run.stdout).unwrap();
                assert_eq!(said["length"], length, "{what}");
                assert_eq!(said["sha256"], sum, "{what}");
                if version == "--http1.1" && field.starts_with("expect") && length > 0 {
                    assert!(run.stderr.contains("HTTP/1.1 100"), "{what}: {}", run.stderr);
                }
            }
        }
    }
}

#[test]
fn a_body_without_a_length_comes_whole() {
    let Some(app) = start() else { return };
    let front = Front::start(app.address(), "", "");
    let expected: String = (0..200_000).map(|line| format!("{line:015}\n")).collect();
    for (version, url) in front.ways() {
        let said = front.ask(&[version, &format!("{url}/lines/200000")]).stdout;
        assert!(said == expected, "{version} {url}: {} of {}", said.len(), expected.len());
    }
}

#[test]
fn each_event_comes_before_the_next_is_sent() {
    let Some(app) = start() else { return };
    let front = Front::start(app.address(), "", "");
    for (version, url) in front.ways() {
        let mut curl = front.curl();
        curl.args([version, "--no-buffer", &format!("{url}/events")]);
        let mut curl = Owned(curl.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap());
        let lines = BufReader::new(curl.0.stdout.take().unwrap()).lines().map(Result::unwrap);
        let mut seen = Vec::new();
        for line in lines.filter(|line| !line.is_empty()) {
            if line != "data: end" {
                // Until then the application holds the next one back.
                send(front.proxy.at(), "POST", "/acknowledge", &[], "");
            }
            seen.push(line);
        }
        let expected = ["data: 0", "data: 1", "data: 2", "data: 3", "data: 4", "data: end"];
        assert_eq!(seen, expected, "{version} {url}");
    }
}

#[test]
fn the_application_is_told_who_asked_and_how() {
    let Some(app) = start() else { return };
    let front = Front::start(app.address(), "", "");
    for (version, url) in front.ways() {
        let target = format!("{url}/seen?a=1&a=2");
        let said = front.ask(&[version, "--header", "x-own: yes", &target]).stdout;
        let said: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(said["query"], "a=1&a=2");
        let of = |name: &str| -> Vec<&str> {
            let fields = said["fields"].as_array().unwrap().iter();
            fields
                .filter(|field| field[0] == name)
                .map(|field| field[1].as_str().unwrap())
                .collect()
        };
        let (scheme, authority) = url.split_once("://").unwrap();
        let port = authority.rsplit(':').next().unwrap();
        assert_eq!(of("host"), [authority], "{version} {url}");
        assert_eq!(of("x-forwarded-for"), ["127.0.0.1"], "{version} {url}");
        assert_eq!(of("x-forwarded-proto"), [scheme], "{version} {url}");
        assert_eq!(of("x-forwarded-host"), [authority], "{version} {url}");
        assert_eq!(of("x-forwarded-port"), [port], "{version} {url}");
        assert_eq!(of("x-request-id").len(), 1, "{version} {url}");
        assert_eq!(of("x-own"), ["yes"], "{version} {url}");
        assert!(of("connection").iter().all(|said| *said == "keep-alive"), "{version} {url}");
    }
}
