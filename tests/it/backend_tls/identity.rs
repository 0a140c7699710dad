//! Backends that want to know who connects.

use super::authority::{Authority, Signed};
use super::backend::{Backend, Plan};
use super::{file, refused};
use crate::harness::client::{try_hold, who};
use crate::harness::evenkeel::Evenkeel;
use rustls::SupportedProtocolVersion;

fn asking(
    authority: &Authority,
    signed: &Signed,
    version: &'static SupportedProtocolVersion,
) -> Backend {
    let clients = Some(authority.roots());
    Plan { clients, versions: &[version], ..Plan::new("b", signed) }.start()
}

#[test]
fn a_backend_that_asks_is_shown_the_certificate_of_the_pool() {
    let authority = Authority::new();
    let signed = authority.sign(&["127.0.0.1"]);
    let (cert, key) = authority.write("client", &authority.sign(&["evenkeel"]));
    let shown =
        format!("{}\ncert = \"{}\"\nkey = \"{}\"", authority.ca(), cert.display(), key.display());
    for version in rustls::ALL_VERSIONS {
        let backend = asking(&authority, &signed, version);
        let proxy = Evenkeel::start(&file(&[&backend], &shown, ""));
        assert_eq!(who(proxy.at()), "b");
        assert!(backend.seen().identified);
    }
}

#[test]
fn without_one_the_client_is_refused_or_cut_off() {
    let authority = Authority::new();
    let signed = authority.sign(&["127.0.0.1"]);
    let backend = asking(&authority, &signed, &rustls::version::TLS12);
    let proxy = Evenkeel::start(&file(&[&backend], &authority.ca(), ""));
    refused(&proxy, "tls: refused by the backend: certificate required");

    // In TLS 1.3 we are told when the session has begun.
    let backend = asking(&authority, &signed, &rustls::version::TLS13);
    let proxy = Evenkeel::start(&file(&[&backend], &authority.ca(), ""));
    assert!(try_hold(proxy.at()).is_err());
    proxy.wait_outcome("backend-reset", 1);
}
