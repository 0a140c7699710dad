//! Routes by what a client says first: read without ending its TLS, and handed on as it came.

mod cuts;
mod foretold;
mod limits;
mod plain;
mod postgres;
mod routing;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use crate::harness::client::{connect, read_line};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::servers::Server;

/// A pool of one server, which is not probed.
fn pool(server: &Server) -> String {
    let (name, entry) = (&server.name, server.entry(""));
    format!("[pool.{name}]\nbackends = [{entry}]\n[pool.{name}.health]\nprobe = \"none\"\n")
}

/// A listener with these keys and routes, before pools that are called as their servers.
fn file(keys: &str, routes: &str, servers: &[Server]) -> String {
    let pools: String = servers.iter().map(pool).collect();
    format!("[listener.l]\nbind = \"127.0.0.1:0\"\n{keys}\n{routes}\n{pools}")
}

/// A route with these keys.
fn route(keys: &str) -> String {
    format!("[[listener.l.route]]\n{keys}\n")
}

fn before(servers: &[Server], keys: &str, routes: &[&str]) -> Evenkeel {
    let routes: String = routes.iter().map(|keys| route(keys)).collect();
    Evenkeel::start(&file(keys, &routes, servers))
}

/// Sends `bytes` to greeting servers behind `at`, and checks that they came through unchanged; who
/// answered.
#[track_caller]
fn answered(at: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = connect(at);
    stream.write_all(bytes).unwrap();
    through(stream, bytes)
}

/// The rest of [`answered`], once all has been sent.
#[track_caller]
fn through(mut stream: TcpStream, bytes: &[u8]) -> String {
    let name = read_line(&mut stream).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    assert_eq!(back, bytes, "every byte as it was sent, and then the end");
    name
}
