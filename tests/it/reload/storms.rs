//! Fifty reloads in a row under load: no failed connection, no broken session, no lost datagram, no
//! request without its answer.

use std::fmt::Write;
use std::io::ErrorKind;

use crate::harness::client::{Held, close, hold, ping, try_connect, who};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::pool;
use crate::harness::reloads::Way;
use crate::harness::seat::Seat;
use crate::harness::servers::Server;
use crate::harness::storm::{Diary, browsers, flows, pages, sessions, streams, telling, visits};
use crate::harness::wait::{PATIENCE, eventually};

const RELOADS: usize = 50;

/// Backends whose names begin so come and go.
fn is_passing(name: &str) -> bool {
    name.starts_with("passing")
}

/// Two that stay, with a weight that changes, and one that comes and goes.
fn members(step: usize, kept: [String; 2], passing: &str) -> String {
    let [first, second] = kept;
    let passing = if step % 2 == 1 { format!(", {passing}") } else { String::new() };
    format!("[{first}, {second}{passing}]")
}

/// What changes of a pool besides its members.
fn settings(step: usize) -> String {
    let policy = ["least-connections", "round-robin"][step / 3 % 2];
    format!("balance = \"{policy}\"\nconnect_timeout = \"{}s\"", 5 + step / 2 % 2)
}

fn weight(step: usize) -> String {
    format!("weight = {}", 1 + step % 3)
}

fn listener(name: &str, bind: &str, keys: &str) -> String {
    format!("[listener.{name}]\nbind = \"{bind}\"\n{keys}\n")
}

/// Reloads again and again, and says so.
fn reload(proxy: &Evenkeel, diary: &Diary, step: usize, toml: &str) {
    let way = Way::turn(step);
    diary.note(format!("reload {step} ({way:?})"));
    proxy.reload_by(way, toml);
    diary.note(format!("the end of reload {step}"));
}

/// A listener `l` whose sessions stay with what is removed, a listener `n` whose do not, and `m`, which
/// moves from one port to another.
struct Stage {
    kept: [Server; 2],
    passing: Server,
    seats: [Seat; 2],
}

impl Stage {
    fn new() -> Self {
        Self {
            kept: ["a", "b"].map(Server::greet),
            passing: Server::greet("passing"),
            seats: [Seat::take(), Seat::take()],
        }
    }

    fn file(&self, step: usize) -> String {
        let kept = [self.kept[0].entry(""), self.kept[1].entry(&weight(step))];
        let members = members(step, kept, &self.passing.entry(""));
        let any = "127.0.0.1:0";
        let mut toml = listener("l", any, "pool = \"keeping\"");
        toml += &listener("n", any, "pool = \"cutting\"");
        toml += &listener("m", &self.seat(step).address().to_string(), "pool = \"keeping\"");
        toml += &pool("keeping", &members, &settings(step));
        toml += &pool("cutting", &members, &settings(step));
        toml + "[pool.cutting.close]\nremoved = \"now\"\n"
    }

    /// Where `m` is.
    fn seat(&self, step: usize) -> &Seat {
        &self.seats[step / 2 % 2]
    }

    /// `m` is where the file says, and nowhere else.
    fn look_at_the_moving_one(&self, step: usize) -> Held {
        let other = self.seat(step + 2).address();
        eventually("nobody listens where it was", PATIENCE, || {
            try_connect(other).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
        });
        hold(self.seat(step).address())
    }
}

#[test]
fn fifty_reloads_fail_no_connection_and_break_no_session() {
    const CUT: u32 = 50;
    const KEPT: u32 = 150;
    let stage = Stage::new();
    // With all three there, so that some sessions are with the one that goes.
    let proxy = Evenkeel::start(&stage.file(1));
    let diary = Diary::new();
    let visitors = visits(proxy.address("l"), 300);
    let kept = sessions(proxy.address("l"), KEPT, |_| false);
    let cut = sessions(proxy.address("n"), CUT, is_passing);
    let mut held = Vec::new();
    for step in 2..RELOADS + 2 {
        reload(&proxy, &diary, step, &stage.file(step));
        held.push(stage.look_at_the_moving_one(step).stream);
        // Someone comes between any two.
        visitors.go_on(4);
    }
    let visitors = visitors.calm(&diary, 1000);
    let kept = kept.calm(&diary, 1000);
    let cut = cut.calm(&diary, 300);
    assert_eq!(kept.moved, 0);
    assert!(cut.moved > 0, "somebody was with a backend that went");
    held.iter_mut().for_each(|stream| ping(stream, "still here"));
    held.into_iter().for_each(close);
    proxy.wait_idle();

    // What was counted of a backend goes with it; a line stays.
    let all = visitors.done + KEPT as usize + RELOADS + CUT as usize + cut.moved;
    let lines = proxy.wait_access(all);
    let of = |key: &str, value: &str| lines.iter().filter(|line| line[key] == value).count();
    assert_eq!(lines.len(), all);
    assert_eq!(of("listener", "l"), visitors.done + KEPT as usize);
    assert_eq!(of("listener", "m"), RELOADS);
    assert_eq!((of("outcome", "removed"), of("outcome", "ok")), (cut.moved, all - cut.moved));
    let metrics = proxy.metrics();
    assert_eq!(metrics.count("rejected_total", &[]), 0);
    assert_eq!(metrics.count("connect_failures_total", &[]), 0);
    assert_eq!(metrics.count("access_log_dropped_total", &[]), 0);
    assert_eq!(proxy.reloads("ok") as usize, RELOADS);
}

#[test]
fn fifty_reloads_lose_no_datagram() {
    const FLOWS: u32 = 60;
    let (kept, passing) = (["a", "b"].map(telling), telling("passing"));
    let file = |step: usize| {
        let kept = [kept[0].entry(""), kept[1].entry(&weight(step))];
        let mut toml = listener("l", "127.0.0.1:0", "protocol = \"udp\"\npool = \"p\"");
        writeln!(toml, "idle_timeout = \"{}m\"", 1 + step % 2).unwrap();
        let members = members(step, kept, &passing.entry(""));
        toml + &format!("[pool.p]\nbackends = {members}\n{}\n", settings(step))
    };
    let proxy = Evenkeel::start(&file(0));
    let diary = Diary::new();
    let mut storms = vec![flows(proxy.at(), FLOWS, is_passing)];
    storms[0].reach(FLOWS as usize);
    for step in 1..=RELOADS {
        reload(&proxy, &diary, step, &file(step));
        storms[0].go_on(2 * FLOWS as usize);
        if step == 1 {
            // For new flows there is now one that goes again.
            storms.push(flows(proxy.at(), FLOWS / 2, is_passing));
        }
    }
    let least = 10 * FLOWS as usize;
    let tolls: Vec<_> = storms.into_iter().map(|storm| storm.calm(&diary, least)).collect();
    assert!(tolls[1].moved > 0, "some flow was with a backend that went");
    assert_eq!(tolls[0].moved, 0, "these began before it was there");
    let done = tolls[0].done + tolls[1].done;
    for direction in ["in", "out"] {
        let passed = || proxy.metrics().count("udp_datagrams_total", &[("direction", direction)]);
        eventually("each datagram is counted once", PATIENCE, || passed() as usize == done);
    }
    let metrics = proxy.metrics();
    assert_eq!(metrics.count("rejected_total", &[]), 0);
    assert_eq!(metrics.count("udp_dropped_total", &[]), 0);
    let moved = proxy.wait_access(tolls[1].moved);
    assert!(moved.len() == tolls[1].moved && moved.iter().all(|line| line["outcome"] == "moved"));
}

#[test]
fn fifty_reloads_fail_no_request_and_end_no_connection() {
    let (kept, passing) = (["a", "b"].map(pages), pages("passing"));
    let file = |step: usize| {
        let kept = [kept[0].entry(""), kept[1].entry(&weight(step))];
        let members = members(step, kept, &passing.entry(""));
        let mut toml = listener("l", "127.0.0.1:0", "protocol = \"http\"\npool = \"p\"");
        // The routes change with each file, and now and then take what the listener's pool took.
        for client in 0..=step % 4 {
            let (name, value) = (format!("r{}", step + client), step);
            write!(
                toml,
                "[[listener.l.route]]\nname = \"{name}\"\npath = \"/{client}/*\"\npool = \"q\"\n\
                 set_response_headers = {{ x-step = \"{value}\" }}\n"
            )
            .unwrap();
        }
        toml + &pool("p", &members, &settings(step)) + &pool("q", &members, "")
    };
    let proxy = Evenkeel::start(&file(0));
    let diary = Diary::new();
    let storms = [browsers(proxy.at(), 6), streams(proxy.at(), 2, 4)];
    for step in 1..=RELOADS {
        reload(&proxy, &diary, step, &file(step));
        storms.iter().for_each(|storm| storm.go_on(4));
    }
    let tolls = storms.map(|storm| storm.calm(&diary, 500));
    assert_eq!(tolls[0].moved + tolls[1].moved, 0, "a connection of a client was ended");
    // What was counted of a route goes with it; a line stays.
    let done = tolls[0].done + tolls[1].done;
    let lines = proxy.wait_access(done);
    assert_eq!(lines.len(), done);
    assert!(lines.iter().all(|line| line["status"] == 200 && line["outcome"] == "ok"));
    assert_eq!(proxy.metrics().count("access_log_dropped_total", &[]), 0);
}

#[test]
fn the_listener_that_has_moved_serves_whoever_was_in_its_queue() {
    let stage = Stage::new();
    let proxy = Evenkeel::start(&stage.file(0));
    let at = stage.seat(0).address();
    // Frozen, it accepts nothing; whoever has connected before the reload has been promised something.
    let queued: Vec<_> = proxy.frozen(|| {
        let queued = (0..20).map(|_| try_connect(at).unwrap()).collect();
        proxy.rewrite(&stage.file(2));
        proxy.signal(rustix::process::Signal::HUP);
        queued
    });
    for mut stream in queued {
        assert!(
            ["a", "b"].contains(&crate::harness::client::read_line(&mut stream).unwrap().as_str())
        );
        close(stream);
    }
    eventually("it has moved", PATIENCE, || proxy.reloads("ok") == 1);
    who(stage.seat(2).address());
}
