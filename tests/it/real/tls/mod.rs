//! Real clients over TLS: what the balancer ends, and what it passes on by name.

mod postgres;
mod streams;

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;

use crate::harness::authority::Authority;

const NAME: &str = "db.example";

/// An authority whose folder a server that is not root may read.
fn authority() -> Authority {
    let authority = Authority::new();
    fs::set_permissions(authority.folder(), PermissionsExt::from_mode(0o755)).unwrap();
    authority
}

/// A file with one listener `l` that ends TLS as [`NAME`], with more keys, on one unprobed pool.
fn ending(authority: &Authority, tls: &str, backend: SocketAddr) -> String {
    let (cert, key) = authority.write(NAME, &authority.sign(&[NAME]));
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
