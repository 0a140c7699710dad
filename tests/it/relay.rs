//! The bytes: all of them, in order, both ways at once, and each end passed on as what it was.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use crate::harness::client::{End, close, connect, end_of, hold, is_reset, ping, reset};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::unprobed;
use crate::harness::pattern::Pattern;
use crate::harness::servers::{Server, entries};
use crate::harness::wait::{PATIENCE, eventually};

const UP: u64 = 1;
const DOWN: u64 = 2;

/// Sends one stream while reading the other, and half-closes when its own is sent.
fn both_ways(stream: &TcpStream, send: u64, expect: u64, total: usize, piece: usize) -> usize {
    let mut writing = stream.try_clone().unwrap();
    let writer = thread::spawn(move || {
        Pattern::new(send).send(&mut writing, total, piece).unwrap();
        writing.shutdown(Shutdown::Write).unwrap();
    });
    let got = Pattern::new(expect).expect(&mut &*stream).unwrap();
    writer.join().unwrap();
    got
}

/// A server that reports what it received; the transfer is the same on both sides.
fn duplex_server(total: usize, piece: usize) -> (Server, Receiver<usize>) {
    let (tell, told) = channel();
    let server = Server::new("d", move |stream| {
        tell.send(both_ways(&stream, DOWN, UP, total, piece)).unwrap();
    });
    (server, told)
}

fn proxy_for(server: &Server, listener: &str) -> Evenkeel {
    Evenkeel::start(&unprobed(&entries(std::slice::from_ref(server)), listener, ""))
}

fn transfer(total: usize, piece: usize) {
    let (server, told) = duplex_server(total, piece);
    let proxy = proxy_for(&server, "");
    let stream = connect(proxy.at());
    assert_eq!(both_ways(&stream, UP, DOWN, total, piece), total);
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), total);
    drop(stream);
    proxy.wait_outcome("ok", 1);
    let backend = proxy.backend("d");
    assert_eq!(
        (backend["bytes_in"].as_u64(), backend["bytes_out"].as_u64()),
        (Some(total as u64), Some(total as u64))
    );
    let line = proxy.wait_access(1).remove(0);
    assert_eq!(line["bytes_in"].as_u64(), Some(total as u64));
    assert_eq!(line["bytes_out"].as_u64(), Some(total as u64));
}

#[test]
fn a_hundred_megabytes_each_way_at_once_arrive_whole_through_half_closes() {
    transfer(100_000_000, 256 * 1024);
}

#[test]
fn three_megabytes_each_way_in_small_pieces_arrive_whole_through_half_closes() {
    transfer(3_000_000, 700);
}

#[test]
fn a_long_conversation_of_small_messages_arrives_whole() {
    let server = Server::echo("e");
    let proxy = proxy_for(&server, "");
    let mut stream = connect(proxy.at());
    stream.set_nodelay(true).unwrap();
    for turn in 0..4000_u32 {
        ping(&mut stream, &format!("message {turn} {}", "x".repeat(turn as usize % 600)));
    }
    close(stream);
    proxy.wait_outcome("ok", 1);
}

#[test]
fn a_session_may_turn_from_small_messages_to_bulk_and_back() {
    let server = Server::echo("e");
    let proxy = proxy_for(&server, "");
    let mut stream = connect(proxy.at());
    for round in 0..3 {
        for turn in 0..50 {
            ping(&mut stream, &format!("round {round} turn {turn}"));
        }
        let mut writing = stream.try_clone().unwrap();
        let bulk = thread::spawn(move || {
            Pattern::new(9).send(&mut writing, 8_000_000, 1 << 20).unwrap();
        });
        let mut back = vec![0; 8_000_000];
        stream.read_exact(&mut back).unwrap();
        Pattern::new(9).check(0, &back);
        bulk.join().unwrap();
    }
    close(stream);
    proxy.wait_outcome("ok", 1);
}

#[test]
fn many_sessions_at_once_do_not_mix_their_bytes() {
    let server = Server::echo("e");
    let proxy = proxy_for(&server, "");
    let at = proxy.at();
    let one = move |seed: u64| {
        let stream = connect(at);
        assert_eq!(both_ways(&stream, seed, seed, 1_500_000, 50_000), 1_500_000);
    };
    let all: Vec<_> = (10..34).map(|seed| thread::spawn(move || one(seed))).collect();
    all.into_iter().for_each(|thread| thread.join().unwrap());
    proxy.wait_outcome("ok", 24);
}

#[test]
fn a_client_that_half_closes_still_gets_its_answer() {
    let server = Server::new("s", |mut stream| {
        let mut asked = String::new();
        stream.read_to_string(&mut asked).unwrap();
        stream.write_all(format!("you said {asked}").as_bytes()).unwrap();
    });
    let proxy = proxy_for(&server, "");
    let mut stream = connect(proxy.at());
    stream.write_all(b"hello").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "you said hello");
    proxy.wait_outcome("ok", 1);
}

#[test]
fn a_backend_that_half_closes_still_gets_the_rest() {
    let (tell, told) = channel();
    let server = Server::new("s", move |mut stream| {
        stream.write_all(b"that was all\n").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).unwrap();
        tell.send(rest).unwrap();
    });
    let proxy = proxy_for(&server, "");
    let mut stream = connect(proxy.at());
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "that was all\n");
    stream.write_all(b"still here").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "still here");
    proxy.wait_outcome("ok", 1);
}

#[test]
fn a_client_that_only_connects_reaches_the_backend_at_once() {
    // Protocols in which the server speaks first would hang otherwise.
    let server = Server::greet("s");
    let proxy = proxy_for(&server, "");
    assert_eq!(hold(proxy.at()).backend, "s");
}

#[test]
fn a_reset_by_the_client_reaches_the_backend_as_a_reset() {
    let (tell, told) = channel();
    let server = Server::new("s", move |mut stream| {
        stream.write_all(b"s\n").unwrap();
        tell.send(end_of(&mut stream)).unwrap();
    });
    let proxy = proxy_for(&server, "");
    reset(hold(proxy.at()).stream);
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), End::Reset);
    proxy.wait_outcome("client-reset", 1);
}

#[test]
fn a_reset_by_the_backend_reaches_the_client_as_a_reset() {
    let proxy_to = Server::resetting("s");
    let proxy = proxy_for(&proxy_to, "");
    let mut stream = connect(proxy.at());
    stream.write_all(b"x").unwrap();
    assert_eq!(end_of(&mut stream), End::Reset);
    proxy.wait_outcome("backend-reset", 1);
}

#[test]
fn a_reset_in_the_middle_of_a_bulk_transfer_is_a_reset_on_the_other_side() {
    let (tell, told) = channel();
    let server = Server::new("s", move |mut stream| {
        let mut buffer = vec![0; 1 << 16];
        tell.send(loop {
            match stream.read(&mut buffer) {
                Ok(0) => break "end".into(),
                Ok(_) => {}
                Err(error) => {
                    break if is_reset(&error) { "reset".into() } else { error.to_string() };
                }
            }
        })
        .unwrap();
    });
    let proxy = proxy_for(&server, "");
    let mut stream = connect(proxy.at());
    Pattern::new(3).send(&mut stream, 30_000_000, 1 << 18).unwrap();
    reset(stream);
    assert_eq!(told.recv_timeout(PATIENCE).unwrap(), "reset");
    proxy.wait_outcome("client-reset", 1);
}

#[test]
fn a_reader_that_stalls_holds_back_only_itself_and_loses_nothing() {
    let total = 40_000_000;
    let server = Server::new("s", move |mut stream| {
        drop(Pattern::new(5).send(&mut stream, total, 1 << 18));
    });
    let proxy = proxy_for(&server, "");
    let mut stalled = connect(proxy.at());
    let sent = || proxy.backend("s")["bytes_out"].as_u64().unwrap();
    let mut last = 0;
    let mut still = std::time::Instant::now();
    eventually("the balancer stops taking what nobody reads", PATIENCE, || {
        let now = sent();
        if now != last {
            (last, still) = (now, std::time::Instant::now());
        }
        still.elapsed() > Duration::from_millis(2500)
    });
    assert!(last < total as u64, "{last} bytes were buffered for a client that reads nothing");
    let mut other = connect(proxy.at());
    assert_eq!(Pattern::new(5).expect(&mut other).unwrap(), total);
    assert_eq!(Pattern::new(5).expect(&mut stalled).unwrap(), total);
}

#[test]
fn bytes_advance_in_status_and_metrics_while_a_session_runs() {
    let server = Server::greet("s");
    let proxy = proxy_for(&server, "");
    let mut held = hold(proxy.at());
    for round in 1..=3_u64 {
        ping(&mut held.stream, &"x".repeat(1000));
        let (sent, back) = (round * 1000, round * 1000 + 2);
        eventually("the status counts them", PATIENCE, || {
            let backend = proxy.backend("s");
            backend["bytes_in"] == sent && backend["bytes_out"] == back
        });
        let metrics = proxy.metrics();
        let labels = [("listener", "l"), ("pool", "p"), ("backend", "s")];
        let count = |way| {
            let with = [&labels[..], &[("direction", way)]].concat();
            metrics.count("bytes_total", &with)
        };
        assert_eq!((count("in"), count("out")), (sent, back));
    }
    assert_eq!(proxy.metrics().count("sessions_active", &[]), 1);
}
