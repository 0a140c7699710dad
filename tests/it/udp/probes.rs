//! Probes of udp pools, and what a flow does when one of them finds its backend down.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use super::name_in;
use crate::harness::evenkeel::Evenkeel;
use crate::harness::seat::Seat;
use crate::harness::udp::{Client, Server, answer, entries};
use crate::harness::wait::{PATIENCE, eventually, until};

/// How a server takes its probes.
#[derive(Clone, Default)]
struct Mood(Arc<AtomicU8>);

impl Mood {
    const WELL: u8 = 0;
    const SILENT: u8 = 1;
    const FAILING: u8 = 2;

    fn set(&self, mood: u8) {
        self.0.store(mood, Ordering::SeqCst);
    }

    fn get(&self) -> u8 {
        self.0.load(Ordering::SeqCst)
    }
}

/// Probes that go astray cost a second; a flip that a stall brings is over with the next.
fn probed(servers: &[Server], health: &str) -> String {
    format!(
        "[listener.l]\nbind = \"127.0.0.1:0\"\nprotocol = \"udp\"\npool = \"p\"\n[pool.p]\n\
         backends = {}\nbalance = \"round-robin\"\n[pool.p.health]\n{health}\n\
         interval = \"100ms\"\ntimeout = \"1s\"\nrise = 1\nfall = 2\n",
        entries(servers)
    )
}

/// Takes `ping` as a probe and answers it as its mood says; names itself to everybody else, always.
fn pinged(name: &str) -> (Server, Mood) {
    let mood = Mood::default();
    let (inner, prefix) = (mood.clone(), format!("{name}:"));
    let server = Server::new(name, move |socket, payload, peer| {
        let reply = match (payload, inner.get()) {
            (b"ping", Mood::WELL) => b"all is well".to_vec(),
            (b"ping", Mood::FAILING) => b"all is lost".to_vec(),
            (b"ping", _) => return,
            _ => [prefix.as_bytes(), payload].concat(),
        };
        answer(socket, &reply, peer);
    });
    (server, mood)
}

/// Two servers and a balancer that pings them.
fn two_pinged() -> ([Server; 2], [Mood; 2], Evenkeel) {
    let ((s0, m0), (s1, m1)) = (pinged("s0"), pinged("s1"));
    let servers = [s0, s1];
    let health = "probe = \"send-expect\"\nsend = \"ping\"\nexpect = \"well\"";
    let proxy = Evenkeel::start(&probed(&servers, health));
    proxy.wait_health("s0", "up");
    proxy.wait_health("s1", "up");
    (servers, [m0, m1], proxy)
}

/// A client on this backend.
fn client_on(backend: &str, at: SocketAddr) -> Client {
    until(&format!("a flow on {backend}"), PATIENCE, || {
        let client = Client::to(at);
        (name_in(&client.ask("who")) == backend).then_some(client)
    })
}

#[test]
fn a_flow_moves_with_its_next_datagram_when_its_backend_goes_down() {
    let (_servers, moods, proxy) = two_pinged();
    let client = client_on("s0", proxy.at());
    for mood in [Mood::FAILING, Mood::SILENT] {
        let client = if mood == Mood::FAILING { &client } else { &client_on("s0", proxy.at()) };
        let moved = proxy.outcomes("moved");
        moods[0].set(mood);
        proxy.wait_health("s0", "down");
        // The backend still answers datagrams: only the probe says that it is down.
        assert_eq!(client.ask("who"), "s1:who");
        let ended = || proxy.outcomes("moved") == moved + 1;
        eventually("the old flow ended as moved", PATIENCE, ended);
        assert!(proxy.backend("s0")["last_probe"]["reason"].is_string());
        moods[0].set(Mood::WELL);
        proxy.wait_health("s0", "up");
        assert_eq!(client.ask("who"), "s1:who", "nothing draws it back");
    }
    let moved = proxy.access().into_iter().find(|line| line["outcome"] == "moved").unwrap();
    assert_eq!((&moved["backend"], &moved["protocol"]), (&"s0".into(), &"udp".into()));
}

#[test]
fn with_every_backend_down_datagrams_are_refused_until_one_is_up() {
    let (_servers, moods, proxy) = two_pinged();
    let client = client_on("s0", proxy.at());
    moods.iter().for_each(|mood| mood.set(Mood::SILENT));
    proxy.wait_health("s0", "down");
    proxy.wait_health("s1", "down");
    client.send("lost");
    eventually("it is refused", PATIENCE, || proxy.rejected("no-backend") >= 1);
    assert!(client.is_empty());
    moods[1].set(Mood::WELL);
    client.insist("who", |answer| answer == "s1:who");
}

/// A name server of one answer: the question, marked as answered with the code of its mood.
fn name_server(name: &str) -> (Server, Mood) {
    const SERVFAIL: u8 = 2;
    let mood = Mood::default();
    let inner = mood.clone();
    let server = Server::new(name, move |socket, payload, peer| {
        let rcode = match inner.get() {
            Mood::WELL => 0,
            Mood::FAILING => SERVFAIL,
            _ => return,
        };
        let mut reply = payload.to_vec();
        if let [_, _, flags, codes, ..] = reply.as_mut_slice() {
            *flags |= 0x80;
            *codes = 0x80 | rcode;
            answer(socket, &reply, peer);
        }
    });
    (server, mood)
}

#[test]
fn a_dns_probe_goes_by_answer_and_code() {
    let (server, mood) = name_server("s");
    let health = "probe = \"dns\"\nquery = \"example.org\"\nquery_type = \"A\"";
    let proxy = Evenkeel::start(&probed(std::slice::from_ref(&server), health));
    proxy.wait_health("s", "up");
    for bad in [Mood::FAILING, Mood::SILENT] {
        mood.set(bad);
        proxy.wait_health("s", "down");
        let reason = proxy.backend("s")["last_probe"]["reason"].to_string();
        assert!(bad != Mood::FAILING || reason.contains("SERVFAIL"), "{reason}");
        mood.set(Mood::WELL);
        proxy.wait_health("s", "up");
    }
    server.stop();
    proxy.wait_health("s", "down");
    server.start();
    proxy.wait_health("s", "up");
}

#[test]
fn a_tcp_probe_on_another_port_decides_for_a_udp_backend() {
    let server = Server::named("s");
    let seat = Seat::take();
    let listens = seat.listen();
    let health = format!("probe = \"tcp\"\nport = {}", seat.port());
    let proxy = Evenkeel::start(&probed(std::slice::from_ref(&server), &health));
    proxy.wait_health("s", "up");
    let client = Client::to(proxy.at());
    assert_eq!(client.ask("who"), "s:who");
    drop(listens);
    proxy.wait_health("s", "down");
    client.send("lost");
    eventually("it is refused", PATIENCE, || proxy.rejected("no-backend") >= 1);
    let _listens = seat.listen();
    client.insist("who", |answer| answer == "s:who");
}
