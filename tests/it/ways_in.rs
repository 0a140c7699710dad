//! The other ways to start it and to ask it: IPv6, several addresses, `proxy`, `demo`, what is printed.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use rustix::process::Signal;

use crate::harness::client::{read_line, try_connect, who};
use crate::harness::evenkeel::{Evenkeel, evenkeel};
use crate::harness::files::{file, unprobed};
use crate::harness::http;
use crate::harness::seat::Seat;
use crate::harness::servers::{Server, entries};
use crate::harness::wait::{PATIENCE, until};

#[test]
fn ipv6_works_on_both_sides() {
    let name = "six";
    let server = Server::on(IpAddr::V6(Ipv6Addr::LOCALHOST), name, move |mut stream| {
        use std::io::Write;
        drop(stream.write_all(b"six\n"));
        drop(crate::harness::servers::echo(stream));
    });
    let list = entries(std::slice::from_ref(&server));
    let proxy = Evenkeel::start(&file(&list, "", "").replacen("127.0.0.1:0", "[::1]:0", 1));
    assert!(proxy.at().is_ipv6());
    assert_eq!(who(proxy.at()), "six");
    let line = proxy.wait_access(1).remove(0);
    assert!(line["client"].as_str().unwrap().starts_with("[::1]:"), "{line}");
}

#[test]
fn an_ipv6_wildcard_takes_ipv6_alone() {
    let server = Server::greet("s");
    let list = entries(std::slice::from_ref(&server));
    // The port of the other family is held, or somebody else might answer there.
    let (v4, v6) = until("a port that is free in both families", PATIENCE, || {
        let v4 = Seat::take();
        let v6 = Seat::at((Ipv6Addr::UNSPECIFIED, v4.port()).into()).ok()?;
        Some((v4, v6))
    });
    let toml = file(&list, "", "").replacen("127.0.0.1:0", &v6.address().to_string(), 1);
    let proxy = Evenkeel::start(&toml);
    let port = v4.port();
    assert_eq!(proxy.at().port(), port);
    assert_eq!(who(SocketAddr::from((Ipv6Addr::LOCALHOST, port))), "s");
    assert!(try_connect(SocketAddr::from(([127, 0, 0, 1], port))).is_err());
}

#[test]
fn a_listener_may_have_several_addresses_and_a_pool_several_listeners() {
    let server = Server::greet("s");
    let list = entries(std::slice::from_ref(&server));
    let toml = unprobed(&list, "", "").replacen(
        "\"127.0.0.1:0\"",
        "[\"127.0.0.1:0\", \"127.0.0.2:0\", \"[::1]:0\"]",
        1,
    ) + "[listener.m]\nbind = \"127.0.0.3:0\"\npool = \"p\"\n";
    let proxy = Evenkeel::start(&toml);
    let addresses = proxy.addresses("l");
    assert_eq!(addresses.len(), 3);
    for at in addresses.iter().chain(&proxy.addresses("m")) {
        assert_eq!(who(*at), "s", "{at}");
    }
    let status = proxy.status();
    let listed = crate::harness::evenkeel::by_name(&status["listeners"], "l")["addresses"].clone();
    assert_eq!(listed.as_array().unwrap().len(), 3);
    proxy.wait_outcome("ok", 4);
    let of = |listener| proxy.metrics().count("sessions_total", &[("listener", listener)]);
    assert_eq!((of("l"), of("m")), (3, 1));
}

/// The first address on 127.0.0.1 that the output names after a word.
fn address_in(text: &str, skip: &[SocketAddr]) -> Option<SocketAddr> {
    let words = text.split(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':'));
    words.filter_map(|word| word.parse().ok()).find(|at: &SocketAddr| !skip.contains(at))
}

#[test]
fn proxy_runs_without_a_file() {
    let servers = ["a", "b"].map(Server::greet);
    let to = servers.each_ref().map(|server| server.address().to_string());
    let mut proxy = Evenkeel::command(&[
        "proxy",
        "--listen",
        "tcp://127.0.0.1:0",
        "--to",
        &to[0],
        "--to",
        &to[1],
        "--balance",
        "round-robin",
    ]);
    let known = servers.each_ref().map(Server::address);
    let at = until("it says where it listens", PATIENCE, || address_in(&proxy.log(), &known));
    let mut seen: Vec<_> = (0..4).map(|_| who(at)).collect();
    seen.sort();
    assert_eq!(seen, ["a", "a", "b", "b"]);
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.exit_code(PATIENCE), Some(0));
}

#[test]
fn proxy_takes_requests_for_their_sake() {
    let servers = ["a", "b"].map(|name| Server::http(name, move |_| http::answer(200, name)));
    let to = servers.each_ref().map(|server| format!("http://{}", server.address()));
    let listen = "http://127.0.0.1:0";
    let proxy = Evenkeel::command(&[
        "proxy",
        "--listen",
        listen,
        "--to",
        &to[0],
        "--to",
        &to[1],
        "--balance",
        "round-robin",
    ]);
    let known = servers.each_ref().map(Server::address);
    let at = until("it says where it listens", PATIENCE, || address_in(&proxy.log(), &known));
    let answers: Vec<_> = (0..4).map(|_| http::get(at, "/")).collect();
    assert!(answers.iter().all(|answer| answer.status == 200), "{answers:?}");
    let mut seen: Vec<_> = answers.into_iter().map(|answer| answer.body).collect();
    seen.sort();
    assert_eq!(seen, ["a", "a", "b", "b"]);
}

#[test]
fn proxy_has_an_admin_interface_only_when_asked() {
    let server = Server::greet("a");
    let to = server.address().to_string();
    let proxy = Evenkeel::command(&[
        "proxy",
        "--listen",
        "tcp://127.0.0.1:0",
        "--to",
        &to,
        "--admin",
        "127.0.0.1:0",
    ]);
    let known = [server.address()];
    let first = until("one address", PATIENCE, || address_in(&proxy.log(), &known));
    let second = until("another", PATIENCE, || address_in(&proxy.log(), &[known[0], first]));
    let healthy = |at: SocketAddr| {
        use std::io::Write;
        let mut stream = try_connect(at).ok()?;
        write!(stream, "GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .ok()?;
        read_line(&mut stream).ok().filter(|line| line.starts_with("HTTP/1.1 200"))
    };
    assert!(healthy(first).or_else(|| healthy(second)).is_some());
}

#[test]
fn the_demo_runs_for_its_time_and_ends_with_a_summary() {
    let answer = evenkeel(&["demo", "--seconds", "3"]).expect_code(0);
    let text = answer.text();
    assert!(address_in(&text, &[]).is_some(), "it names its addresses:\n{text}");
    assert!(text.contains("session"), "it sums up:\n{text}");
}

#[test]
fn two_demos_find_room_beside_each_other() {
    let demos: Vec<_> = (0..2)
        .map(|_| std::thread::spawn(|| evenkeel(&["demo", "--seconds", "2"]).expect_code(0)))
        .collect();
    demos.into_iter().for_each(|demo| drop(demo.join().unwrap()));
}

#[test]
fn completions_manual_and_schema_are_printed() {
    for shell in ["bash", "zsh", "fish"] {
        let text = evenkeel(&["completions", shell]).expect_code(0).stdout;
        assert!(text.contains("evenkeel"), "{shell}");
    }
    let page = evenkeel(&["man"]).expect_code(0).stdout;
    assert!(page.contains(".TH evenkeel"), "{page:.200}");
    let schema: serde_json::Value =
        serde_json::from_str(&evenkeel(&["schema"]).expect_code(0).stdout).unwrap();
    let text = schema.to_string();
    for key in ["listener", "pool", "backends", "idle_timeout", "max_sessions"] {
        assert!(text.contains(key), "{key}");
    }
}

#[test]
fn version_and_help_are_no_failure() {
    let version = evenkeel(&["--version"]).expect_code(0).stdout;
    assert!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
    let help = evenkeel(&["--help"]).expect_code(0).stdout;
    for command in ["run", "check", "proxy", "demo", "status"] {
        assert!(help.contains(command), "{command}");
    }
}

#[test]
fn a_file_is_found_where_it_is_expected() {
    let dir = tempfile::TempDir::new().unwrap();
    std::fs::write(dir.path().join("evenkeel.toml"), unprobed("[\"127.0.0.1:1\"]", "", ""))
        .unwrap();
    let mut command = std::process::Command::new(crate::harness::evenkeel::program());
    command.arg("check").current_dir(dir.path());
    crate::harness::process::finish(&mut command, PATIENCE).expect_code(0);
}
