//! Connections to backends: how many there are, how long they are kept, and what they cost when they
//! break.

mod answers;
mod http2;
mod kept;
mod refused;

use std::io::{Read, Write};
use std::net::SocketAddr;

use crate::harness::client::connect;
use crate::harness::evenkeel::Evenkeel;
use crate::harness::servers::{Server, entries};

/// An http listener `l` on one pool `p` of these servers, with more of the pool.
fn file(servers: &[Server], keys: &str) -> String {
    file_of(&entries(servers), keys)
}

fn file_of(backends: &str, keys: &str) -> String {
    format!(
        "[listener.l]\nbind = \"127.0.0.1:0\"\nprotocol = \"http\"\npool = \"p\"\n\
         [pool.p]\nbackends = {backends}\npassive = {{ failures = 0 }}\n{keys}\n\
         [pool.p.health]\nprobe = \"none\"\n"
    )
}

/// Http connections to backends that are in this state.
fn links(proxy: &Evenkeel, state: &str) -> u64 {
    proxy.metrics().count("http_backend_connections", &[("state", state)])
}

/// Everything that a client is sent until the connection ends, if it ends well.
fn all(at: SocketAddr, request: &str) -> (String, std::io::Result<usize>) {
    let mut stream = connect(at);
    stream.write_all(request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    let end = stream.read_to_end(&mut bytes);
    (String::from_utf8_lossy(&bytes).into_owned(), end)
}
