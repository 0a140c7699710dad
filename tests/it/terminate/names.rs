//! Which certificate a client is shown.

use std::sync::Arc;

use rustls::SignatureScheme;

use super::client::{ask, both, liking, shown};
use super::{entry, file};
use crate::harness::authority::{Authority, Signed};
use crate::harness::evenkeel::Evenkeel;
use crate::harness::servers::Server;

/// A balancer with these certificates in front of an echoing server.
fn with(authority: &Authority, certificates: &[&Signed]) -> (Evenkeel, Server) {
    let named = |(place, signed): (usize, &&Signed)| entry(authority, &place.to_string(), signed);
    let certificates: Vec<_> = certificates.iter().enumerate().map(named).collect();
    let backend = Server::echo("b");
    let backends = format!("[{}]", backend.entry(""));
    (Evenkeel::start(&file(&certificates, &backends, "", "")), backend)
}

#[test]
fn the_certificate_of_the_name_is_shown_or_else_the_first() {
    let authority = Authority::new();
    // Who gets the first for want of a better one must be able to believe it.
    let others = ["b.a.wild.example", "wild.example", "else.example"];
    let first = authority.sign(&[&["one.example"], &others[..]].concat());
    let two = authority.sign(&["TWO.example"]);
    let wild = authority.sign(&["*.wild.example"]);
    let exact = authority.sign(&["c.wild.example"]);
    let (proxy, _backend) = with(&authority, &[&first, &two, &wild, &exact]);
    for config in both(&authority).map(Arc::new) {
        let shown = |name| shown(&ask(proxy.at(), &config, name).unwrap());
        assert_eq!(shown("one.example"), *first.chain()[0]);
        assert_eq!(shown("two.example"), *two.chain()[0]);
        assert_eq!(shown("Two.Example"), *two.chain()[0]);
        assert_eq!(shown("a.wild.example"), *wild.chain()[0]);
        assert_eq!(shown("c.wild.example"), *exact.chain()[0]);
        for name in others {
            assert_eq!(shown(name), *first.chain()[0], "{name}");
        }
    }
}

#[test]
fn of_two_keys_for_one_name_a_client_gets_the_one_it_can_check() {
    let authority = Authority::new();
    let name = ["db.example"];
    let (rsa, ecdsa) = (authority.sign_rsa(&name), authority.sign(&name));
    let (proxy, _backend) = with(&authority, &[&rsa, &ecdsa]);
    let shown = |scheme| {
        let config = Arc::new(liking(&authority, scheme));
        shown(&ask(proxy.at(), &config, "db.example").unwrap())
    };
    assert_eq!(shown(SignatureScheme::RSA_PSS_SHA256), *rsa.chain()[0]);
    assert_eq!(shown(SignatureScheme::ECDSA_NISTP256_SHA256), *ecdsa.chain()[0]);
}

#[test]
fn a_client_that_names_nobody_gets_the_first() {
    let authority = Authority::new();
    let first = authority.sign(&["one.example", "127.0.0.1"]);
    let two = authority.sign(&["two.example"]);
    let (proxy, _backend) = with(&authority, &[&first, &two]);
    for config in both(&authority).map(Arc::new) {
        // An address is no server name, so none is sent.
        let stream = ask(proxy.at(), &config, "127.0.0.1").unwrap();
        assert_eq!(shown(&stream), *first.chain()[0]);
    }
}
