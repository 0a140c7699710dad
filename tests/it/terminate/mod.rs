//! TLS that ends at a listener: what is shown to whom, what is spoken, who gets in, and what it costs
//! the others.

mod alpn;
pub(crate) mod client;
mod clients;
mod crowds;
mod failures;
mod names;
mod relayed;
mod reports;
mod resumption;
mod served;
mod versions;

use crate::harness::authority::{Authority, Signed};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::unprobed;
use crate::harness::servers::Server;

/// An entry for `certificates`.
pub(crate) fn entry(authority: &Authority, file: &str, signed: &Signed) -> String {
    let (cert, key) = authority.write(file, signed);
    format!("{{ cert = \"{}\", key = \"{}\" }}", cert.display(), key.display())
}

/// A listener `l` that ends TLS with these certificates, on an unprobed pool of these backends, with
/// more keys for the listener and its `tls`.
fn file(certificates: &[String], backends: &str, listener: &str, tls: &str) -> String {
    let certificates = certificates.join(", ");
    format!(
        "{}[listener.l.tls]\ncertificates = [{certificates}]\n{tls}\n",
        unprobed(backends, listener, "")
    )
}

/// A balancer that ends TLS for `db.example` in front of an echoing server.
struct Scene {
    authority: Authority,
    proxy: Evenkeel,
    backend: Server,
}

impl Scene {
    /// With more keys for the listener and for its `tls`.
    #[track_caller]
    fn new(listener: &str, tls: &str) -> Self {
        let (authority, backend) = (Authority::new(), Server::echo("b"));
        let certificate = entry(&authority, "db", &authority.sign(&["db.example"]));
        let backends = format!("[{}]", backend.entry(""));
        let proxy = Evenkeel::start(&file(&[certificate], &backends, listener, tls));
        Self { authority, proxy, backend }
    }

    /// Handshakes of the listener that have ended so.
    #[track_caller]
    fn handshakes(&self, version: &str, outcome: &str) -> u64 {
        let labels = [("listener", "l"), ("version", version), ("outcome", outcome)];
        self.proxy.metrics().count("tls_handshakes_total", &labels)
    }
}
