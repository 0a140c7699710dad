//! Upgrades that do not come about: the process that serves goes on, and says why.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::client::{Held, hold, ping};
use crate::harness::evenkeel::{Evenkeel, evenkeel, program};
use crate::harness::files::file;
use crate::harness::http::Answer;
use crate::harness::servers::{Server, entries};
use crate::harness::udp;
use crate::harness::upgrades::signal;
use crate::harness::wait::{PATIENCE, eventually, until};

/// The file, and a pool of which the first probe takes longer than any test.
fn with_a_slow_probe(toml: &str, silent: &Server) -> String {
    format!(
        "{toml}\n[listener.slow]\nbind = \"127.0.0.1:0\"\npool = \"slow\"\n\
         [pool.slow]\nbackends = [\"{}\"]\n\
         [pool.slow.health]\nprobe = \"http\"\ntimeout = \"60s\"\ninterval = \"61s\"\n",
        silent.address()
    )
}

/// Asks for an upgrade that is not answered before its new process has ended.
fn ask(proxy: &Evenkeel) -> Answer {
    proxy.post("/api/v1/upgrade")
}

/// The process that gets ready beside the one that serves.
#[track_caller]
fn newcomer(proxy: &Evenkeel, silent: &Server) -> u32 {
    // Its probe has come: it has bound everything, and waits.
    eventually("the slow probe has begun", PATIENCE, || silent.open() > 0);
    let serving = proxy.serving();
    until("a second process", PATIENCE, || {
        proxy.processes().into_iter().find(|process| *process != serving)
    })
}

/// The one line that says that an upgrade has failed.
#[track_caller]
fn line(proxy: &Evenkeel) -> String {
    let failed = |event: &Value| {
        let message = event["message"].as_str()?;
        message.starts_with("upgrade failed").then(|| message.to_owned())
    };
    let lines = until("a line about the failure", PATIENCE, || {
        let lines: Vec<_> = proxy.events().iter().filter_map(failed).collect();
        (!lines.is_empty()).then_some(lines)
    });
    assert_eq!(lines.len(), 1, "{lines:#?}");
    lines.concat()
}

/// Sessions of before and new ones pass.
#[track_caller]
fn serves(proxy: &Evenkeel, held: &mut Held) {
    ping(&mut held.stream, "still");
    ping(&mut hold(proxy.at()).stream, "new");
    assert_eq!(proxy.get("/readyz").status, 200);
}

#[test]
fn a_binary_that_exits_at_once_or_is_gone_changes_nothing_and_a_good_one_is_taken_next() {
    let (server, telling) = (Server::greet("a"), udp::Server::echo("u"));
    let datagrams = format!(
        "[listener.u]\nbind = \"127.0.0.1:0\"\nprotocol = \"udp\"\npool = \"u\"\n\
         [pool.u]\nbackends = [\"{}\"]\n",
        telling.address()
    );
    let toml = format!("{}{datagrams}", file(&entries(std::slice::from_ref(&server)), "", ""));
    let folder = tempfile::tempdir().unwrap();
    let binary = folder.path().join("evenkeel");
    put(&binary, &fs::read(program()).unwrap());
    let exec = format!("shift; exec {} \"$@\"", binary.display());
    let proxy = Evenkeel::start_under(&["sh", "-c", &exec, "sh"], &toml);
    let mut held = hold(proxy.at());
    let client = udp::Client::to(proxy.address("u"));
    client.ask("before");
    let pid = proxy.serving();

    put(&binary, b"#!/bin/sh\necho 'no, not today' >&2\nexit 7\n");
    let answer = ask(&proxy);
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert!(answer.body.contains("exited with code 7"), "{}", answer.body);
    assert!(line(&proxy).contains("exited with code 7"));
    serves(&proxy, &mut held);
    client.ask("after");

    put(&binary, &fs::read(program()).unwrap());
    let answer = ask(&proxy);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_ne!(proxy.serving(), pid);
    serves(&proxy, &mut held);
    client.ask("and again");
    assert_eq!(telling.peers().len(), 1, "its flow is the same");

    // What was moved away is not what anybody wants to have started.
    fs::rename(&binary, folder.path().join("evenkeel.old")).unwrap();
    let answer = ask(&proxy);
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert!(answer.body.contains("cannot start"), "{}", answer.body);
    serves(&proxy, &mut held);
}

/// Puts a program there, as an installation does: another file of that name.
fn put(at: &Path, program: &[u8]) {
    let new = at.with_extension("new");
    fs::write(&new, program).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(new, at).unwrap();
}

#[test]
fn a_file_that_cannot_be_used_is_refused_by_the_new_process() {
    let server = Server::greet("a");
    let proxy = Evenkeel::start(&file(&entries(std::slice::from_ref(&server)), "", ""));
    let mut held = hold(proxy.at());
    fs::write(proxy.file(), "[listener.l]\nbind = 5\n").unwrap();
    let answer = ask(&proxy);
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert!(answer.body.contains("cannot use the file"), "{}", answer.body);
    assert!(line(&proxy).contains("cannot use the file"));
    serves(&proxy, &mut held);
}

#[test]
fn an_address_that_somebody_else_has_is_named() {
    let (server, other) = (Server::greet("a"), Server::greet("other"));
    let toml = file(&entries(std::slice::from_ref(&server)), "", "");
    let proxy = Evenkeel::start(&toml);
    let mut held = hold(proxy.at());
    let taken = other.address();
    proxy.rewrite(&format!("{toml}\n[listener.m]\nbind = \"{taken}\"\npool = \"p\"\n"));
    let answer = ask(&proxy);
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert!(answer.body.contains(&taken.to_string()), "{}", answer.body);
    serves(&proxy, &mut held);
}

#[test]
fn a_new_process_that_is_killed_while_it_prepares_leaves_the_old_one_as_it_was() {
    let (server, silent) = (Server::greet("a"), Server::silent("silent"));
    let toml = file(&entries(std::slice::from_ref(&server)), "", "");
    let proxy = Evenkeel::start(&toml);
    let mut held = hold(proxy.at());
    proxy.rewrite(&with_a_slow_probe(&toml, &silent));
    let answer = thread::scope(|scope| {
        let asked = scope.spawn(|| ask(&proxy));
        let process = newcomer(&proxy, &silent);
        // Everything is answered meanwhile, and nothing else is begun.
        serves(&proxy, &mut held);
        for path in ["/api/v1/reload", "/api/v1/upgrade"] {
            let answer = proxy.post(path);
            assert_eq!(answer.status, 409, "{path}: {}", answer.body);
        }
        signal(process, Signal::KILL);
        asked.join().unwrap()
    });
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert!(answer.body.contains("killed by signal 9"), "{}", answer.body);
    assert!(line(&proxy).contains("killed by signal 9"));
    serves(&proxy, &mut held);
    assert_eq!(proxy.processes(), [proxy.serving()]);
    let zombies = || fs::read_to_string(format!("/proc/{0}/task/{0}/children", proxy.pid()));
    assert_eq!(zombies().unwrap().trim(), "", "nothing is left of it");
}

#[test]
fn a_new_process_that_gives_up_takes_neither_the_pid_file_nor_the_admin_socket_with_it() {
    let (server, silent) = (Server::greet("a"), Server::silent("silent"));
    let other = Server::greet("other");
    let folder = tempfile::tempdir().unwrap();
    let (pid_file, socket) = (folder.path().join("pid"), folder.path().join("admin.sock"));
    let toml = format!(
        "[process]\npid_file = \"{}\"\n[admin]\nbind = \"unix:{}\"\n{}",
        pid_file.display(),
        socket.display(),
        file(&entries(std::slice::from_ref(&server)), "", "")
    );
    let proxy = Evenkeel::start(&toml);
    let address = format!("unix:{}", socket.display());
    let upgrade = || evenkeel(&["upgrade", "--admin", &address]).expect_code(1);
    let stands = || {
        let held = fs::read_to_string(&pid_file).unwrap();
        assert_eq!(held.trim(), proxy.pid().to_string());
        evenkeel(&["status", "--admin", &address]).expect_code(0);
    };
    let taken = other.address();
    proxy.rewrite(&format!("{toml}\n[listener.m]\nbind = \"{taken}\"\npool = \"p\"\n"));
    upgrade();
    stands();
    proxy.rewrite(&with_a_slow_probe(&toml, &silent));
    thread::scope(|scope| {
        let asked = scope.spawn(upgrade);
        eventually("the slow probe has begun", PATIENCE, || silent.open() > 0);
        let newcomer = proxy.processes().into_iter().find(|process| *process != proxy.pid());
        signal(newcomer.unwrap(), Signal::TERM);
        asked.join().unwrap();
    });
    stands();
}

#[test]
fn a_stop_during_an_upgrade_ends_both() {
    let (server, silent) = (Server::greet("a"), Server::silent("silent"));
    let toml = file(&entries(std::slice::from_ref(&server)), "", "");
    let mut proxy = Evenkeel::start(&toml);
    proxy.rewrite(&with_a_slow_probe(&toml, &silent));
    proxy.signal(Signal::USR2);
    newcomer(&proxy, &silent);
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.exit_code(PATIENCE), Some(0));
    eventually("no process is left", PATIENCE, || proxy.processes().is_empty());
    let said = |words: &str| proxy.log().matches(words).count();
    assert_eq!(said("upgrade given up"), 1, "{}", proxy.log());
}

#[test]
fn an_upgrade_during_a_reload_is_refused() {
    let (server, silent) = (Server::greet("a"), Server::silent("silent"));
    let toml = file(&entries(std::slice::from_ref(&server)), "", "");
    let proxy = Evenkeel::start(&toml);
    let slow = with_a_slow_probe(&toml, &silent).replace("\"60s\"", "\"3s\"");
    proxy.rewrite(&slow);
    thread::scope(|scope| {
        let reloaded = scope.spawn(|| proxy.post("/api/v1/reload"));
        eventually("the slow probe has begun", PATIENCE, || silent.open() > 0);
        let answer = ask(&proxy);
        assert_eq!(answer.status, 409, "{}", answer.body);
        assert_eq!(reloaded.join().unwrap().status, 200);
    });
    assert_eq!(proxy.processes(), [proxy.serving()]);
}

#[test]
fn a_reload_that_waits_to_be_confirmed_keeps_an_upgrade_out() {
    let servers = [Server::greet("a")];
    let proxy = Evenkeel::start(&file(&entries(&servers), "", ""));
    assert_eq!(proxy.post("/api/v1/reload?confirm=60s").status, 200);
    let answer = ask(&proxy);
    assert_eq!(answer.status, 409, "{}", answer.body);
    assert_eq!(proxy.post("/api/v1/confirm").status, 200);
    assert_eq!(ask(&proxy).status, 200);
}
