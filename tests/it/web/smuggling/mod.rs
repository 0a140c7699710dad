//! Requests with more than one meaning never reach a backend; odd ones with one meaning do, with that.

mod corpus;
mod recorder;

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;

use crate::harness::client::connect;
use crate::harness::evenkeel::Evenkeel;
use crate::harness::files;
use corpus::Passed;
use recorder::{Heard, Recorder};

const FIRST: &str = "GET /first HTTP/1.1\r\nHost: web.example\r\n\r\n";
const NEXT: &str = "GET /next HTTP/1.1\r\nHost: web.example\r\n\r\n";
const LAST: &str = "GET /last HTTP/1.1\r\nHost: web.example\r\nConnection: close\r\n\r\n";

fn start(recorder: &Recorder) -> Evenkeel {
    let backends = format!("[{}]", recorder.server.entry(""));
    Evenkeel::start(&files::unprobed(&backends, "protocol = \"http\"", ""))
}

/// Says all of it at once and returns what is answered until the connection ends. Where it ends
/// before all has been said, what was not taken is no loss.
fn exchange(at: SocketAddr, says: &[u8]) -> Vec<u8> {
    let mut stream = connect(at);
    let mut said = stream.try_clone().unwrap();
    let mut answers = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(move || drop(said.write_all(says)));
        let mut room = [0; 4096];
        loop {
            match stream.read(&mut room) {
                Ok(0) => return,
                Ok(read) => answers.extend_from_slice(&room[..read]),
                Err(why) if why.kind() == ErrorKind::ConnectionReset => return,
                Err(why) => panic!("{why} after {}", answers.escape_ascii()),
            }
        }
    });
    answers
}

/// The status of each answer, in order. Their bodies have a length and no status line.
fn statuses(answers: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(answers);
    let lines = text.split("HTTP/1.").skip(1);
    lines.map(|line| line.get(2..5).and_then(|code| code.parse().ok()).unwrap()).collect()
}

#[test]
fn what_is_malformed_or_ambiguous_is_refused_and_reaches_no_backend() {
    let recorder = Recorder::start();
    let balancer = start(&recorder);
    let cases = corpus::refused();
    assert!(cases.len() >= 150);
    let mut wrong = Vec::new();
    for case in &cases {
        let says = corpus::bytes(&case.says);
        let alone = exchange(balancer.at(), &says);
        let behind = exchange(balancer.at(), &[FIRST.as_bytes(), &says].concat());
        let is_right = statuses(&alone) == [case.status] && statuses(&behind) == [200, case.status];
        if !is_right {
            wrong.push((&case.name, statuses(&alone), statuses(&behind), case.status));
        }
    }
    assert!(wrong.is_empty(), "alone, behind another, expected: {wrong:#?}");
    // A request that was heard whole is the sound one before the other.
    let heard = recorder.heard();
    assert_eq!(heard.len(), cases.len());
    for Heard { method, target, .. } in heard {
        assert_eq!((method.as_str(), target.as_str()), ("GET", "/first"));
    }
    let raw = recorder.raw();
    assert!(!raw.contains("smuggled"), "{raw}");
    let begun = cases.iter().filter(|case| case.begun).count() * 2;
    assert!(raw.matches(" HTTP/1.1\r\n").count() <= cases.len() + begun);
}

#[test]
fn what_is_odd_and_has_one_meaning_reaches_a_backend_with_it() {
    let recorder = Recorder::start();
    let balancer = start(&recorder);
    let cases = corpus::passed();
    assert!(cases.len() >= 40);
    let mut wrong = Vec::new();
    for case in &cases {
        let before = recorder.heard().len();
        let all = [&corpus::bytes(&case.says)[..], NEXT.as_bytes(), LAST.as_bytes()].concat();
        let answers = exchange(balancer.at(), &all);
        let heard = recorder.heard().split_off(before);
        if let Some(why) = misunderstood(case, &answers, &heard) {
            wrong.push((&case.name, why, heard));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(!recorder.raw().contains("smuggled.example"), "{}", recorder.raw());
}

/// What is wrong with what a backend has heard of a request of the corpus and two behind it.
fn misunderstood(case: &Passed, answers: &[u8], heard: &[Heard]) -> Option<&'static str> {
    let says_last = case.says.contains("Close") || case.says.contains("HTTP/1.0");
    let is_last = says_last && !case.says.contains("keep-alive");
    let behind: &[&str] = if is_last { &[] } else { &["/next", "/last"] };
    let Some((one, others)) = heard.split_first() else { return Some("nothing is heard") };
    let (lengths, codings) = (one.values("content-length"), one.values("transfer-encoding"));
    let facts = [
        (statuses(answers) == vec![200; 1 + behind.len()], "the answers"),
        (others.iter().map(|other| &other.target).eq(behind), "the requests behind it"),
        (one.method == case.method, "the method"),
        (one.target.as_bytes() == corpus::bytes(&case.target), "the target"),
        (one.body == corpus::bytes(&case.body), "the body"),
        (one.values("host") == [case.host.as_str()], "Host"),
        (lengths.len() + codings.len() <= 1, "the framing"),
        // Nothing here asks for what a proxy passes on.
        (one.values("upgrade").is_empty(), "Upgrade"),
    ];
    facts.into_iter().find_map(|(is_right, what)| (!is_right).then_some(what))
}
