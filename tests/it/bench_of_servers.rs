//! The pieces of the harness against each other, with no balancer between them: when a test fails,
//! it is not for one of these.

use std::io::{Read, Write};
use std::time::Duration;

use crate::harness::client::{End, close, connect, end_of, hold, ping, reset, try_connect, who};
use crate::harness::http::{self, get};
use crate::harness::peers::Peer;
use crate::harness::seat::{Blackhole, Seat};
use crate::harness::servers::Server;
use crate::harness::wait::{PATIENCE, eventually};

#[test]
fn a_greeting_server_greets_echoes_and_ends() {
    let server = Server::greet("a");
    assert_eq!(who(server.address()), "a");
    eventually("the server saw the end", PATIENCE, || server.open() == 0);
    let mut held = hold(server.address());
    ping(&mut held.stream, "hello");
    assert_eq!(server.open(), 1);
    close(held.stream);
    eventually("the server saw the end", PATIENCE, || server.open() == 0);
    assert_eq!((server.accepted(), server.peak()), (2, 1));
}

#[test]
fn a_stopped_server_refuses_and_comes_back_on_its_port() {
    let server = Server::greet("a");
    let mut held = hold(server.address());
    server.stop();
    assert_ne!(end_of(&mut held.stream), End::Open);
    assert!(try_connect(server.address()).is_err());
    server.start();
    assert_eq!(who(server.address()), "a");
}

#[test]
fn a_seat_refuses_and_a_blackhole_does_not_answer() {
    let seat = Seat::take();
    let error = try_connect(seat.address()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    let hole = Blackhole::open();
    let hang = std::net::TcpStream::connect_timeout(&hole.address(), Duration::from_millis(300));
    assert_eq!(hang.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
}

#[test]
fn a_reset_is_told_from_an_end() {
    let server = Server::resetting("r");
    let mut stream = connect(server.address());
    stream.write_all(b"x").unwrap();
    assert_eq!(end_of(&mut stream), End::Reset);

    let (tell, told) = std::sync::mpsc::channel();
    let seen = Server::new("s", move |mut stream| {
        tell.send(stream.read(&mut [0; 8]).unwrap_err().kind()).unwrap();
    });
    reset(connect(seen.address()));
    let kind = told.recv_timeout(PATIENCE).unwrap();
    assert_eq!(kind, std::io::ErrorKind::ConnectionReset);
}

#[test]
fn an_http_server_lies_as_it_is_told() {
    let server = Server::http("h", |head| {
        http::answer(if head.starts_with("GET /up ") { 200 } else { 503 }, "body")
    });
    assert_eq!(get(server.address(), "/up").status, 200);
    let other = get(server.address(), "/down");
    assert_eq!((other.status, other.body.as_str()), (503, "body"));
}

#[test]
fn a_peer_process_serves_dies_and_comes_back() {
    let mut peer = Peer::start("p");
    let mut held = hold(peer.address());
    assert_eq!(held.backend, "p");
    peer.kill();
    assert_ne!(end_of(&mut held.stream), End::Open);
    assert!(try_connect(peer.address()).is_err());
    peer.restart();
    assert_eq!(who(peer.address()), "p");
}
