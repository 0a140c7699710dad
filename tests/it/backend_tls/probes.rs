//! `tls` and `https` probes, by the pool's settings or their own.

use std::io::{Read, Write};
use std::sync::Arc;

use super::backend::{Backend, Plan};
use crate::harness::authority::Authority;
use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::pool;
use crate::harness::servers::Server;

/// One backend that is probed with `health`, with these lines of `[pool.p.tls]`.
fn probed(entry: &str, health: &str, tls: &str) -> Evenkeel {
    let pool = pool("p", &format!("[{entry}]"), "");
    Evenkeel::start(&format!(
        "[listener.l]\nbind = \"127.0.0.1:0\"\npool = \"p\"\n{pool}{health}\n[pool.p.tls]\n{tls}\n"
    ))
}

fn said(proxy: &Evenkeel, backend: &str) -> (String, String) {
    let status = proxy.backend(backend);
    let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    (word(&status["health"]), word(&status["last_probe"]["reason"]))
}

const TLS: &str = "probe = \"tls\"";

#[test]
fn a_tls_probe_says_what_it_saw_or_why_it_did_not() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let good = ours.sign_until(&["127.0.0.1", "db.example"], 2040);
    let one = Backend::start("b", &good);
    let two = Plan { versions: &[&rustls::version::TLS12], ..Plan::new("b", &good) }.start();
    let old = Backend::start("b", &ours.sign_expired(&["127.0.0.1"]));
    let seen = |version| {
        format!("tls handshake ok, TLS {version}, certificate valid until 2040-01-01T00:00:00Z")
    };
    let wrong = format!("{}\nserver_name = \"else.example\"", ours.ca());
    for (backend, tls, health, reason) in [
        (&one, ours.ca(), "up", seen("1.3")),
        (&two, ours.ca(), "up", seen("1.2")),
        (&one, "verify = false".to_owned(), "up", seen("1.3")),
        (&one, theirs.ca(), "down", "certificate: unknown issuer".to_owned()),
        (&one, wrong, "down", "certificate: not valid for \"else.example\"".to_owned()),
        (&old, ours.ca(), "down", "certificate: expired".to_owned()),
    ] {
        let proxy = probed(&backend.entry(), TLS, &tls);
        assert_eq!(said(&proxy, "b"), (health.to_owned(), reason), "{tls}");
    }
    // No probe resumes another's session: two from above, and then some of one balancer.
    let _proxy = probed(&one.entry(), TLS, &ours.ca());
    let handshakes: Vec<_> = (0..5).map(|_| one.seen().resumed).collect();
    assert_eq!(handshakes, [false; 5]);
}

#[test]
fn a_tls_probe_of_a_plain_server_fails() {
    let plain = Server::new("b", |mut stream| {
        drop(stream.write_all(b"220 not what you think\r\n"));
        drop(stream.read_to_end(&mut Vec::new()));
    });
    let proxy = probed(&plain.entry(""), TLS, "verify = false");
    assert_eq!(said(&proxy, "b"), ("down".into(), "tls: what it answered is not tls".into()));
}

#[test]
fn a_probe_has_settings_of_its_own_and_the_pools_for_the_rest() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let backend = Backend::start("b", &ours.sign(&["db.example"]));
    let named = format!("{}\nserver_name = \"db.example\"", ours.ca());
    let own = format!("{TLS}\n[pool.p.health.tls]\nserver_name = \"db.example\"\n{}", ours.ca());
    let other = format!("{TLS}\n[pool.p.health.tls]\n{}", theirs.ca());
    for (health, tls, expected) in
        [(TLS, &named, "up"), (&own, &theirs.ca(), "up"), (&other, &named, "down")]
    {
        let proxy = probed(&backend.entry(), health, tls);
        assert_eq!(said(&proxy, "b").0, expected, "{health}");
    }
}

#[test]
fn a_backend_that_turns_everybody_away_after_the_handshake_is_down() {
    let authority = Authority::new();
    let signed = authority.sign(&["127.0.0.1"]);
    for version in rustls::ALL_VERSIONS {
        let clients = Some(authority.roots());
        let plan = Plan { clients, versions: &[version], ..Plan::new("b", &signed) };
        let backend = plan.start();
        let proxy = probed(&backend.entry(), TLS, &authority.ca());
        let reason = "tls: refused by the backend: certificate required";
        assert_eq!(said(&proxy, "b"), ("down".to_owned(), reason.to_owned()), "{version:?}");
    }
}

#[test]
fn a_tls_probe_asks_for_the_upgrade_where_the_pool_does() {
    let authority = Authority::new();
    let signed = authority.sign(&["127.0.0.1"]);
    let plan = Plan {
        prelude: |stream| {
            let mut request = vec![0; 8];
            stream.read_exact(&mut request)?;
            stream.write_all(b"S").map(|()| request)
        },
        ..Plan::new("b", &signed)
    };
    let backend = plan.start();
    let tls = format!("{}\nstarttls = \"postgres\"", authority.ca());
    let proxy = probed(&backend.entry(), TLS, &tls);
    assert_eq!(said(&proxy, "b").0, "up");
    assert_eq!(backend.seen().ahead, [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]);

    let unwilling = Arc::new(Server::new("b", |mut stream| {
        drop(stream.read(&mut [0; 8]));
        drop(stream.write_all(b"N"));
        drop(stream.read_to_end(&mut Vec::new()));
    }));
    let proxy = probed(&unwilling.entry(""), TLS, &tls);
    let reason = "it does not speak tls: it refused the SSLRequest";
    assert_eq!(said(&proxy, "b"), ("down".to_owned(), reason.to_owned()));
}
