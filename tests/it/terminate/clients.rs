//! Clients that must, or may, show a certificate.

use std::io;
use std::sync::Arc;

use rustls::{AlertDescription, ClientConfig};

use super::Scene;
use super::client::{Secured, alert, ask, both, showing};
use crate::harness::authority::Authority;

fn asked(scene: &Scene, config: ClientConfig) -> io::Result<Secured> {
    ask(scene.proxy.at(), &Arc::new(config), "db.example")
}

/// A balancer that asks for certificates of this authority.
fn asking(authority: &Authority, auth: &str) -> Scene {
    Scene::new("", &format!("client_{}\nclient_auth = \"{auth}\"", authority.ca()))
}

#[test]
fn required_lets_in_who_shows_a_good_one_and_tells_the_others() {
    let people = Authority::new();
    let scene = asking(&people, "required");
    let good = people.sign(&["client.example"]);
    for config in showing(&scene.authority, &good) {
        asked(&scene, config).unwrap();
    }
    let stranger = Authority::new().sign(&["client.example"]);
    let expired = people.sign_expired(&["client.example"]);
    for (own, said) in
        [(&stranger, AlertDescription::UnknownCA), (&expired, AlertDescription::CertificateExpired)]
    {
        for config in showing(&scene.authority, own) {
            assert_eq!(alert(asked(&scene, config)), said);
        }
    }
    for config in both(&scene.authority) {
        assert_eq!(alert(asked(&scene, config)), AlertDescription::CertificateRequired);
    }

    assert_eq!(scene.proxy.rejected("tls"), 6);
    assert_eq!(scene.handshakes("1.2", "failed"), 3);
    assert_eq!(scene.handshakes("1.3", "failed"), 3);
    assert_eq!(scene.backend.accepted(), 2);
}

#[test]
fn optional_lets_in_who_shows_none_and_refuses_a_bad_one() {
    let people = Authority::new();
    let scene = asking(&people, "optional");
    let good = people.sign(&["client.example"]);
    for config in showing(&scene.authority, &good).into_iter().chain(both(&scene.authority)) {
        asked(&scene, config).unwrap();
    }
    let stranger = Authority::new().sign(&["client.example"]);
    for config in showing(&scene.authority, &stranger) {
        assert_eq!(alert(asked(&scene, config)), AlertDescription::UnknownCA);
    }
    assert_eq!(scene.backend.accepted(), 4);
}
