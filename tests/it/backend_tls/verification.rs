//! Whose certificate is believed, and what name is asked for.

use rustls::ProtocolVersion;

use super::backend::{Backend, Plan};
use super::{complaints, failures, file, refused};
use crate::harness::authority::Authority;
use crate::harness::client::{close, hold, ping, who};
use crate::harness::dns::Dns;
use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::Written;

#[test]
fn a_backend_is_believed_if_the_authority_that_is_named_vouches_for_its_name() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let backend = Backend::start("b", &ours.sign(&["db.example", "127.0.0.1"]));
    let named = |name: &str| format!("{}\nserver_name = \"{name}\"", ours.ca());
    // An address is never told as a name (RFC 6066, 3).
    for (tls, sni) in [
        (ours.ca(), None),
        (named("db.example"), Some("db.example")),
        ("verify = false\nserver_name = \"other.example\"".to_owned(), Some("other.example")),
    ] {
        let proxy = Evenkeel::start(&file(&[&backend], &tls, ""));
        let mut held = hold(proxy.at());
        assert_eq!(held.backend, "b", "{tls}");
        ping(&mut held.stream, "hello");
        close(held.stream);
        let seen = backend.seen();
        assert_eq!((seen.sni.as_deref(), seen.version), (sni, Some(ProtocolVersion::TLSv1_3)));
        proxy.wait_outcome("ok", 1);
        assert_eq!(proxy.metrics().count("connect_duration_seconds_count", &[]), 1);
    }
    for (tls, why) in [
        (theirs.ca(), "certificate: unknown issuer"),
        (named("other.example"), "certificate: not valid for \"other.example\""),
        // The system's authorities know nothing of it.
        (String::new(), "certificate: unknown issuer"),
    ] {
        let proxy = Evenkeel::start(&file(&[&backend], &tls, ""));
        refused(&proxy, why);
        assert_eq!((failures(&proxy, "other"), proxy.rejected("refused")), (3, 1), "{tls}");
        assert_eq!(complaints(&proxy, "no tls with a backend"), [why], "one for all three");
    }
}

#[test]
fn a_backend_of_the_same_name_at_another_host_is_asked_for_that_hosts_name() {
    let (dns, authority) = (Dns::start(), Authority::new());
    let backend = Backend::start("b", &authority.sign(&["one.test", "two.test"]));
    let file = |host: &str| {
        let toml = file(&[&backend], &authority.ca(), "").replace("127.0.0.1:0", "{listener}");
        let toml = toml.replace("127.0.0.1:", &format!("{host}:"));
        format!("[process]\n{}\n{}", dns.key(), toml.replace("{listener}", "127.0.0.1:0"))
    };
    let hosts = ["one.test", "two.test"];
    hosts.iter().for_each(|host| dns.addresses(host, 60, &["127.0.0.1"]));
    let proxy = Evenkeel::start(&file(hosts[0]));
    for host in hosts {
        proxy.reload(&file(host));
        assert_eq!(who(proxy.at()), "b");
        assert_eq!(backend.seen().sni.as_deref(), Some(host));
    }
}

#[test]
fn a_certificate_that_has_expired_is_refused_unless_nobody_looks() {
    let authority = Authority::new();
    let backend = Backend::start("b", &authority.sign_expired(&["127.0.0.1"]));
    let proxy = Evenkeel::start(&file(&[&backend], &authority.ca(), ""));
    refused(&proxy, "certificate: expired");
    let proxy = Evenkeel::start(&file(&[&backend], "verify = false", ""));
    assert_eq!(who(proxy.at()), "b");
}

#[test]
fn a_backend_that_speaks_tls_1_2_alone_will_do() {
    let authority = Authority::new();
    let signed = authority.sign(&["127.0.0.1"]);
    let versions = &[&rustls::version::TLS12];
    let backend = Plan { versions, ..Plan::new("b", &signed) }.start();
    let proxy = Evenkeel::start(&file(&[&backend], &authority.ca(), ""));
    for resumed in [false, true] {
        let mut held = hold(proxy.at());
        ping(&mut held.stream, "hello");
        close(held.stream);
        let seen = backend.seen();
        assert_eq!((seen.version, seen.resumed), (Some(ProtocolVersion::TLSv1_2), resumed));
    }
}

#[test]
fn files_that_are_of_no_use_are_refused_before_anything_is_bound() {
    let authority = Authority::new();
    let backend = Backend::start("b", &authority.sign(&["127.0.0.1"]));
    let missing = file(&[&backend], "ca = \"/nowhere/ca.pem\"", "");
    for command in ["check", "run"] {
        let said = Written::new(&missing).command(&[command]).expect_code(2);
        assert!(said.text().contains("/nowhere/ca.pem"), "{}", said.text());
    }
}
