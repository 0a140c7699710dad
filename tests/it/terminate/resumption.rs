//! Sessions that go on with the secrets of an earlier one, and those that must not.

use std::io;

use super::client::{ask, both, confused, forgetful, is_resumed, showing};
use super::{Scene, entry, file};
use crate::harness::authority::Authority;
use crate::harness::evenkeel::Evenkeel;
use crate::harness::servers::Server;

#[test]
fn sessions_resume_in_both_versions_and_are_counted() {
    let scene = Scene::new("", "");
    for (config, version) in both(&scene.authority).iter().zip(["1.2", "1.3"]) {
        let config = forgetful(config);
        let resumed = || is_resumed(&ask(scene.proxy.at(), &config, "db.example").unwrap());
        assert_eq!([resumed(), resumed(), resumed()], [false, true, true], "{version}");
        let labels = [("listener", "l"), ("version", version)];
        assert_eq!(scene.proxy.metrics().count("tls_resumed_total", &labels), 2);
        assert_eq!(scene.handshakes(version, "ok"), 3);
    }
}

/// Two listeners, on two addresses of one pool, with these keys in the `tls` of each.
fn twins(authority: &Authority, tls: [&str; 2]) -> (Evenkeel, Server) {
    let backend = Server::echo("b");
    let certificate = entry(authority, "db", &authority.sign(&["db.example"]));
    let backends = format!("[{}]", backend.entry(""));
    let mut toml = file(std::slice::from_ref(&certificate), &backends, "", tls[0]);
    toml += &format!(
        "[listener.other]\nbind = \"127.0.0.1:0\"\npool = \"p\"\n[listener.other.tls]\n\
         certificates = [{certificate}]\n{}\n",
        tls[1]
    );
    (Evenkeel::start(&toml), backend)
}

#[test]
fn a_ticket_of_an_open_listener_opens_no_other() {
    let authority = Authority::new();
    let auth = format!("client_{}\nclient_auth = \"required\"", authority.ca());
    let (proxy, _backend) = twins(&authority, ["", &auth]);
    for config in both(&authority) {
        let config = forgetful(&config);
        let asked = |at| ask(at, &config, "db.example").map(|stream| is_resumed(&stream));
        // The client takes both for one server and offers the ticket of the first to the second.
        assert!(!asked(proxy.at()).unwrap());
        assert!(asked(proxy.at()).unwrap());
        asked(proxy.address("other")).unwrap_err();
    }
}

#[test]
fn who_has_shown_a_certificate_resumes_without_showing_it_again() {
    let authority = Authority::new();
    let auth = format!("client_{}\nclient_auth = \"required\"", authority.ca());
    let (proxy, _backend) = twins(&authority, [&auth, &auth]);
    let own = authority.sign(&["client.example"]);
    for config in showing(&authority, &own) {
        let config = forgetful(&config);
        let asked = |at| -> io::Result<_> { Ok(is_resumed(&ask(at, &config, "db.example")?)) };
        assert_eq!((asked(proxy.at()).unwrap(), asked(proxy.at()).unwrap()), (false, true));
        // Another listener knows nothing of it, and asks anew.
        assert!(!asked(proxy.address("other")).unwrap());
    }
}

#[test]
fn a_ticket_of_one_name_is_worth_nothing_under_another() {
    let authority = Authority::new();
    let certificates = [
        entry(&authority, "one", &authority.sign(&["one.example"])),
        entry(&authority, "two", &authority.sign(&["two.example"])),
    ];
    let backend = Server::echo("b");
    let backends = format!("[{}]", backend.entry(""));
    let proxy = Evenkeel::start(&file(&certificates, &backends, "", ""));
    for config in both(&authority) {
        let config = confused(&config);
        let resumed = |name| is_resumed(&ask(proxy.at(), &config, name).unwrap());
        assert!(!resumed("one.example"));
        assert!(resumed("one.example"));
        assert!(!resumed("two.example"));
    }
}
