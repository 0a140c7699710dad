//! Real clients over TLS: what the balancer ends, and what it passes on by name.

mod brokers;
mod general;
mod postgres;

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::harness::authority::Authority;
use crate::harness::process::Owned;
use crate::harness::wait::PATIENCE;

/// An authority in a folder that everybody may read, servers that are not root among them.
fn authority() -> Authority {
    let authority = Authority::new();
    fs::set_permissions(authority.folder(), PermissionsExt::from_mode(0o755)).unwrap();
    authority
}

/// Where its own certificate is.
fn ca(authority: &Authority) -> PathBuf {
    authority.folder().join("ca.pem")
}

/// A certificate for this name and 127.0.0.1: where it is, and its key.
fn issue(authority: &Authority, name: &str) -> (PathBuf, PathBuf) {
    authority.write(name, &authority.sign(&[name, "127.0.0.1"]))
}

/// A file with one listener `l` that ends TLS as `name`, with more keys, on one unprobed pool.
fn ending(authority: &Authority, name: &str, tls: &str, backend: SocketAddr) -> String {
    let (cert, key) = issue(authority, name);
    format!(
        "[listener.l]\nbind = \"127.0.0.1:0\"\npool = \"p\"\n\
         [listener.l.tls]\ncertificates = [{{ cert = \"{}\", key = \"{}\" }}]\n{tls}\n{}",
        cert.display(),
        key.display(),
        pool("p", backend)
    )
}

/// A pool of one backend that nobody probes.
fn pool(name: &str, backend: SocketAddr) -> String {
    format!("[pool.{name}]\nbackends = [\"{backend}\"]\n[pool.{name}.health]\nprobe = \"none\"\n")
}

/// Runs a program, says this to it, waits until it has said that, and ends its input; all that it
/// said, once it has ended well.
#[track_caller]
fn converse(command: &mut Command, say: &str, hear: &str) -> String {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Owned(command.spawn().unwrap());
    let heard = Arc::new(Mutex::new(Vec::new()));
    let readers = [
        gather(child.0.stdout.take().unwrap(), heard.clone()),
        gather(child.0.stderr.take().unwrap(), heard.clone()),
    ];
    let text = || String::from_utf8_lossy(&heard.lock().unwrap()).into_owned();
    let mut stdin = child.0.stdin.take().unwrap();
    stdin.write_all(say.as_bytes()).unwrap();
    let start = Instant::now();
    while !text().contains(hear) {
        assert!(child.runs() && start.elapsed() < PATIENCE, "no {hear:?} in:\n{}", text());
        thread::park_timeout(Duration::from_millis(5));
    }
    drop(stdin);
    let status = child.exit("it ends with its input", PATIENCE);
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    assert!(status.success(), "{status}:\n{}", text());
    text()
}

fn gather(mut pipe: impl Read + Send + 'static, into: Arc<Mutex<Vec<u8>>>) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(taken @ 1..) = pipe.read(&mut buffer) {
            into.lock().unwrap().extend(&buffer[..taken]);
        }
    })
}
