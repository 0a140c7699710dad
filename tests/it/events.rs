//! The stream of events, read by a client like any other.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::client::{connect, hold};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::file;
use crate::harness::servers::{Server, entries};

/// Somebody who watches.
struct Watcher(BufReader<TcpStream>);

impl Watcher {
    /// Watches from now on.
    #[track_caller]
    fn open(proxy: &Evenkeel, query: &str) -> Self {
        let mut stream = connect(proxy.admin());
        let path = format!("/api/v1/events{query}");
        write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
        let mut watcher = Self(BufReader::new(stream));
        assert_eq!(watcher.line("HTTP/"), "HTTP/1.1 200 OK");
        assert_eq!(watcher.line("content-type"), "content-type: text/event-stream");
        watcher.line("retry:");
        watcher
    }

    /// The next line that starts so.
    #[track_caller]
    fn line(&mut self, start: &str) -> String {
        loop {
            let mut line = String::new();
            let read = self.0.read_line(&mut line);
            assert!(read.is_ok_and(|read| read > 0), "the stream ended without {start}");
            if line.starts_with(start) {
                return line.trim_end().to_owned();
            }
        }
    }

    /// The next event: its name and its data.
    #[track_caller]
    fn next(&mut self) -> (String, Value) {
        let name = self.line("event: ");
        let data = self.line("data: ");
        (name["event: ".len()..].to_owned(), serde_json::from_str(&data["data: ".len()..]).unwrap())
    }

    /// The next event about a backend that came to be `to`.
    #[track_caller]
    fn backend(&mut self, to: &str) -> Value {
        loop {
            let (name, data) = self.next();
            if name == "backend" && data["to"] == to {
                return data;
            }
        }
    }

    /// True if the stream ends without another event.
    fn ends(&mut self) -> bool {
        std::io::copy(&mut self.0, &mut std::io::sink()).is_ok()
    }
}

#[test]
fn what_happens_to_a_backend_is_told_as_it_happens() {
    let servers = [Server::greet("a"), Server::greet("b")];
    let proxy = Evenkeel::start(&file(&entries(&servers), "", ""));
    let mut watcher = Watcher::open(&proxy, "");
    servers[0].stop();
    let down = watcher.backend("down");
    assert_eq!((&down["pool"], &down["backend"]), (&"p".into(), &"a".into()));
    assert_eq!(down["from"], "up");
    assert!(down["reason"].as_str().unwrap().contains("refused"), "{down}");
    let time = down["time"].as_str().unwrap();
    assert!(time.ends_with('Z') && time.len() == "2026-01-01T00:00:00.000Z".len(), "{time}");
    servers[0].start();
    assert_eq!(watcher.backend("up")["backend"], "a");
    proxy.patch("b", "{\"state\": \"drain\"}");
    let drain = watcher.backend("drain");
    assert_eq!((&drain["backend"], &drain["reason"]), (&"b".into(), &"operator".into()));

    // Who comes later may ask for what was.
    let mut late = Watcher::open(&proxy, "?recent=1");
    assert_eq!(late.backend("drain"), drain);
    proxy.patch("b", "{\"state\": \"ready\"}");
    for watcher in [&mut watcher, &mut late] {
        assert_eq!(watcher.backend("up")["from"], "drain");
    }
}

#[test]
fn listeners_open_and_close_in_events_and_a_stream_ends_with_the_process() {
    let server = Server::greet("s");
    let mut proxy = Evenkeel::start(&file(&entries(std::slice::from_ref(&server)), "", ""));
    let mut watcher = Watcher::open(&proxy, "?recent=100");
    let opened = loop {
        let (name, data) = watcher.next();
        if name == "listener" {
            break data;
        }
    };
    assert_eq!((&opened["from"], &opened["to"]), (&"bound".into(), &"listening".into()));
    assert_eq!(opened["listener"], "l");
    assert!(opened["reason"].as_str().unwrap().contains(&proxy.at().to_string()), "{opened}");
    let held = hold(proxy.at());
    proxy.signal(Signal::TERM);
    let (name, closing) = watcher.next();
    assert_eq!((name.as_str(), &closing["to"]), ("listener", &"closing".into()));
    drop(held);
    assert_eq!(proxy.exit_code(crate::harness::wait::PATIENCE), Some(0));
    assert!(watcher.ends());
}

#[test]
fn as_many_streams_as_may_be_open_do_not_hold_up_a_stop() {
    let server = Server::greet("s");
    let mut proxy = Evenkeel::start(&file(&entries(std::slice::from_ref(&server)), "", ""));
    let mut watchers: Vec<_> = (0..32).map(|_| Watcher::open(&proxy, "")).collect();
    assert_eq!(proxy.get("/api/v1/events").status, 503);
    proxy.signal(Signal::TERM);
    // `shutdown_timeout` is longer.
    assert_eq!(proxy.exit_code(crate::harness::wait::PATIENCE), Some(0));
    assert!(watchers.iter_mut().all(Watcher::ends));
}
