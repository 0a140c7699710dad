//! Two hundred reloads: what they leave behind is nothing.

use std::fs;
use std::time::{Duration, Instant};

use crate::harness::authority::Authority;
use crate::harness::client::{End, end_of, hold, ping, who};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::pool;
use crate::harness::seat::Seat;
use crate::harness::servers::{Server, entries};
use crate::harness::storm::{pages, telling};
use crate::harness::udp::{self, Client};
use crate::harness::wait::{PATIENCE, eventually, pace};
use crate::harness::whoami::{Browser, get};
use crate::terminate::entry;

/// The allocator and the caches have what they want by then.
const WARM: usize = 20;

const RELOADS: usize = 200;

/// Less than what one set of everything takes for each reload.
const MOST_KIB: u64 = 4096;

/// One of each: plain, TLS, http, udp; most of it changes with each file, some of it comes and goes.
struct Stage {
    authority: Authority,
    tcp: [Server; 2],
    http: Server,
    udp: udp::Server,
    seats: [Seat; 2],
}

impl Stage {
    fn new() -> Self {
        Self {
            authority: Authority::new(),
            tcp: ["a", "b"].map(Server::greet),
            http: pages("h"),
            udp: telling("u"),
            seats: [Seat::take(), Seat::take()],
        }
    }

    fn file(&self, step: usize) -> String {
        let certificate = entry(&self.authority, "db", &self.authority.sign(&["db.example"]));
        let moving = self.seats[step % 2].address();
        let list =
            if step.is_multiple_of(2) { entries(&self.tcp) } else { entries(&self.tcp[..1]) };
        let any = "127.0.0.1:0";
        let seconds = 60 + step % 7;
        let mut toml = format!(
            "[listener.l]\nbind = \"{any}\"\npool = \"p\"\nidle_timeout = \"{seconds}s\"\n\
             [listener.m]\nbind = \"{moving}\"\npool = \"p\"\n\
             [listener.s]\nbind = \"{any}\"\npool = \"p\"\n[listener.s.tls]\n\
             certificates = [{certificate}]\n\
             [listener.h]\nbind = \"{any}\"\nprotocol = \"http\"\npool = \"h\"\n\
             [[listener.h.route]]\nname = \"r{step}\"\npath = \"/{step}/*\"\npool = \"h{step}\"\n\
             [listener.u]\nbind = \"{any}\"\nprotocol = \"udp\"\npool = \"u\"\n\
             idle_timeout = \"{seconds}s\"\n"
        );
        toml += &pool("p", &list, &format!("connect_timeout = \"{seconds}s\""));
        let http = entries(std::slice::from_ref(&self.http));
        toml += &pool("h", &http, "");
        toml += &pool(&format!("h{step}"), &http, "");
        toml + &format!("[pool.u]\nbackends = {}\n", udp::entries(std::slice::from_ref(&self.udp)))
    }
}

/// What a process has: descriptors, threads, memory.
#[derive(Debug, Clone, Copy)]
struct Has {
    descriptors: usize,
    threads: usize,
    kib: u64,
}

fn has(proxy: &Evenkeel) -> Has {
    Has { descriptors: proxy.descriptors(), threads: proxy.threads(), kib: proxy.resident_kib() }
}

#[test]
fn two_hundred_reloads_leave_descriptors_threads_and_memory_where_they_were() {
    let stage = Stage::new();
    let proxy = Evenkeel::start(&stage.file(0));
    // Those who stay throughout hold what they began with, and no more.
    let mut held = hold(proxy.address("l"));
    let mut browser = Browser::open(proxy.address("h"));
    let client = Client::to(proxy.address("u"));
    let mut turn = |step: usize| {
        proxy.reload(&stage.file(step));
        who(stage.seats[step % 2].address());
        ping(&mut held.stream, "word");
        assert_eq!(browser.ask(&get(&format!("/{step}/x"), "")).unwrap().status, 200);
        client.ask("word");
    };
    (1..=WARM).for_each(&mut turn);
    let before = has(&proxy);
    (WARM + 1..=WARM + RELOADS).for_each(&mut turn);
    // A probe or a closing connection may be under way at any moment.
    let (began, mut least) = (Instant::now(), has(&proxy));
    while least.descriptors > before.descriptors || least.threads > before.threads {
        let now = has(&proxy);
        least.descriptors = least.descriptors.min(now.descriptors);
        least.threads = least.threads.min(now.threads);
        least.kib = least.kib.min(now.kib);
        assert!(began.elapsed() < PATIENCE, "{before:?} became {least:?}");
        pace(Instant::now() + Duration::from_millis(20));
    }
    assert!(least.kib < before.kib + MOST_KIB, "{before:?} became {least:?}");
    assert_eq!(proxy.reloads("ok") as usize, WARM + RELOADS);
    // Nothing is listed of what has gone.
    let status = proxy.status();
    assert_eq!(status["listeners"].as_array().unwrap().len(), 5);
    assert_eq!(status["pools"].as_array().unwrap().len(), 4);
    let text = proxy.metrics().text;
    assert!(!text.contains("pool=\"h1\""), "a pool that has gone is still in the metrics");
    assert_eq!(proxy.reloads("refused"), 0);
}

#[test]
fn the_sockets_of_a_listener_that_is_gone_are_gone() {
    let stage = Stage::new();
    let proxy = Evenkeel::start(&stage.file(0));
    // Local addresses of listening sockets, in the notation of the kernel.
    let listens = |seat: &Seat| {
        let wanted = format!("0100007F:{:04X} ", seat.port());
        let table = fs::read_to_string(format!("/proc/{}/net/tcp", proxy.pid())).unwrap();
        let is_it = |line: &&str| line.contains(&wanted) && line.contains(" 0A ");
        table.lines().filter(is_it).count()
    };
    assert!(listens(&stage.seats[0]) > 0 && listens(&stage.seats[1]) == 0);
    let mut old = hold(stage.seats[0].address());
    proxy.reload(&stage.file(1));
    assert!(listens(&stage.seats[1]) > 0);
    eventually("the old ones are closed", PATIENCE, || listens(&stage.seats[0]) == 0);
    ping(&mut old.stream, "still here");
    drop(proxy);
    assert_ne!(end_of(&mut old.stream), End::Open);
}
