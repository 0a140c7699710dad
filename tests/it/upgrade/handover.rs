//! What a new process goes on with: health, flows, places where clients were, files and addresses.

use std::fs;
use std::time::Duration;

use crate::harness::client::{hold, ping, who};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::file;
use crate::harness::reloads::Way;
use crate::harness::servers::{Server, entries};
use crate::harness::udp;
use crate::harness::wait::{PATIENCE, eventually, throughout};

#[test]
fn what_is_known_of_backends_holds_from_the_first_moment() {
    let servers = ["a", "b", "c"].map(Server::greet);
    let proxy = Evenkeel::start(&file(&entries(&servers), "", ""));
    servers[1].stop();
    proxy.wait_health("b", "down");
    assert_eq!(proxy.patch("c", r#"{"state": "drain", "weight": 7}"#).status, 200);
    proxy.upgrade_by(Way::Call);
    // No probe has been sent yet, as none is due.
    assert_eq!(proxy.backend("a")["health"], "up");
    assert_eq!(proxy.backend("b")["health"], "down");
    let drained = proxy.backend("c");
    assert_eq!((&drained["state"], drained["weight"].as_u64()), (&"drain".into(), Some(7)));
    for _ in 0..5 {
        assert_eq!(who(proxy.at()), "a");
    }
}

#[test]
fn a_flow_keeps_its_backend_and_its_port_and_a_late_reply_reaches_its_client() {
    let servers = ["a", "b"].map(udp::Server::mute);
    let listener = "[listener.l]\nbind = \"127.0.0.1:0\"\nprotocol = \"udp\"\npool = \"p\"\n";
    let list = udp::entries(&servers);
    let proxy = Evenkeel::start(&format!("{listener}[pool.p]\nbackends = {list}\n"));
    let clients: Vec<_> = (0..8).map(|_| udp::Client::to(proxy.at())).collect();
    clients.iter().for_each(|client| client.send("asked of the old process"));
    let asked = || servers.iter().map(udp::Server::datagrams).sum::<usize>();
    eventually("all have been asked", PATIENCE, || asked() == 8);
    proxy.upgrade_by(Way::Call);
    for server in &servers {
        server.peers().into_iter().for_each(|peer| server.say("late", peer));
    }
    for client in &clients {
        assert_eq!(client.receive(), b"late");
        client.send("again");
    }
    eventually("all have been asked again", PATIENCE, || asked() == 16);
    let ports: usize = servers.iter().map(|server| server.peers().len()).sum();
    assert_eq!(ports, 8, "each from the port that it had");
    let count = |name: &str, labels: &[_]| proxy.metrics().count(name, labels);
    let passed = || count("udp_datagrams_total", &[("direction", "in")]);
    eventually("each datagram is counted", PATIENCE, || passed() == 16);
    assert_eq!(count("udp_sessions_active", &[]), 8);
    let total: u64 =
        ["a", "b"].map(|b| proxy.backend(b)["sessions_total"].as_u64().unwrap()).iter().sum();
    assert_eq!(total, 8, "each flow is one session");
}

#[test]
fn a_flow_whose_backend_is_gone_from_the_file_ends_and_the_next_datagram_opens_another() {
    let servers = ["a", "b"].map(udp::Server::echo);
    let listener = "[listener.l]\nbind = \"127.0.0.1:0\"\nprotocol = \"udp\"\npool = \"p\"\n";
    let of = |list: String| format!("{listener}[pool.p]\nbackends = {list}\n");
    let proxy = Evenkeel::start(&of(udp::entries(&servers[..1])));
    let client = udp::Client::to(proxy.at());
    client.ask("one");
    proxy.rewrite(&of(udp::entries(&servers[1..])));
    proxy.upgrade_by(Way::Call);
    client.ask("two");
    assert_eq!((servers[0].datagrams(), servers[1].datagrams()), (1, 1));
    proxy.wait_alone();
    let ended = |line: &serde_json::Value| line["outcome"] == "removed";
    assert_eq!(proxy.wait_access(1).iter().filter(|line| ended(line)).count(), 1);
}

#[test]
fn clients_go_where_they_were_before() {
    let servers = ["a", "b", "c", "d"].map(Server::greet);
    let sticky = "[pool.p.sticky]\nclient_ip = true\nttl = \"30m\"\n";
    let proxy = Evenkeel::start(&file(&entries(&servers), "", sticky));
    let home = who(proxy.at());
    proxy.upgrade_by(Way::Call);
    for _ in 0..6 {
        assert_eq!(who(proxy.at()), home);
    }
}

#[test]
fn the_pid_file_and_a_unix_admin_socket_follow() {
    let server = Server::greet("a");
    let folder = tempfile::tempdir().unwrap();
    let (pid_file, socket) = (folder.path().join("pid"), folder.path().join("admin.sock"));
    let process = format!("[process]\npid_file = \"{}\"\n", pid_file.display());
    let admin = format!("[admin]\nbind = \"unix:{}\"\n", socket.display());
    let proxy = Evenkeel::start(&format!(
        "{process}{admin}{}",
        file(&entries(std::slice::from_ref(&server)), "", "")
    ));
    let pid = || fs::read_to_string(&pid_file).unwrap_or_default().trim().to_owned();
    let address = format!("unix:{}", socket.display());
    let status = || crate::harness::evenkeel::evenkeel(&["status", "--json", "--admin", &address]);
    for _ in 0..2 {
        let before = pid();
        crate::harness::evenkeel::evenkeel(&["upgrade", "--admin", &address]).expect_code(0);
        assert_ne!(pid(), before);
        let told: serde_json::Value =
            serde_json::from_str(&status().expect_code(0).stdout).unwrap();
        assert_eq!(told["pid"].to_string(), pid());
        // The old process has ended and taken nothing with it.
        eventually("one process is left", PATIENCE, || proxy.processes().len() == 1);
        status().expect_code(0);
        assert_eq!(pid(), proxy.processes()[0].to_string());
    }
}

#[test]
fn the_addresses_stay_also_where_the_file_names_no_port() {
    let server = Server::greet("a");
    let proxy = Evenkeel::start(&file(&entries(std::slice::from_ref(&server)), "", ""));
    let (at, admin) = (proxy.at(), proxy.admin());
    let mut held = hold(at);
    for way in [Way::Signal, Way::Command, Way::Call] {
        proxy.upgrade_by(way);
        ping(&mut hold(at).stream, "here");
    }
    ping(&mut held.stream, "and there");
    assert!(proxy.listening().iter().all(|(_, address)| *address == at || *address == admin));
    let upgrades = proxy.events();
    let is_done = |event: &&serde_json::Value| {
        event["message"].as_str().is_some_and(|text| text.starts_with("upgraded: took over"))
    };
    assert_eq!(upgrades.iter().filter(is_done).count(), 3);
}

#[test]
fn an_old_process_does_not_wake_up_for_what_the_new_one_accepts() {
    let server = Server::greet("a");
    let proxy = Evenkeel::start(&file(&entries(std::slice::from_ref(&server)), "", ""));
    let _held = hold(proxy.at());
    let old = proxy.serving();
    proxy.upgrade_by(Way::Call);
    let switches = || -> u64 {
        let tasks = fs::read_dir(format!("/proc/{old}/task")).unwrap().flatten();
        let workers = tasks.filter(|task| {
            let name = fs::read_to_string(task.path().join("comm")).unwrap_or_default();
            name.starts_with("worker-")
        });
        let count = |task: fs::DirEntry| -> u64 {
            let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
            let line =
                status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            line.and_then(|count| count.trim().parse().ok()).unwrap_or_default()
        };
        workers.map(count).sum()
    };
    let rate = |visits: bool| {
        let before = switches();
        throughout("visits", Duration::from_secs(1), || {
            !visits || (0..20).all(|_| who(proxy.at()) == "a")
        });
        switches() - before
    };
    let (calm, busy) = (rate(false), rate(true));
    // The clock ticks in both; hundreds of connections would each wake a worker.
    assert!(busy < calm + 100, "{calm} wake-ups while nothing happened, {busy} under load");
}
