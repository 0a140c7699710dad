//! Which certificate a client is shown.

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, IpAddr, ServerName, UnixTime};

use super::client::{ask, modern, old, shown};
use super::{entry, file};
use crate::harness::authority::Authority;
use crate::harness::evenkeel::Evenkeel;
use crate::harness::servers::Server;

#[test]
fn the_certificate_of_the_name_is_shown_or_else_the_first() {
    let (authority, backend) = (Authority::new(), Server::echo("b"));
    // The first is for all of these, so that who gets it for want of a better one can believe it.
    let all = ["one.example", "two.example", "a.wild.example", "b.a.wild.example", "else.example"];
    let signed = [
        authority.sign(&all[..1]),
        authority.sign(&["TWO.example"]),
        authority.sign(&["*.wild.example"]),
        authority.sign(&["c.wild.example"]),
    ];
    let entries = signed.each_ref().map(|signed| {
        let name = format!("{}", signed.chain()[0].len() + signed.chain()[0][80] as usize);
        entry(&authority, &name, signed)
    });
    drop((all, backend, entries));
}
