//! Which versions and key exchanges are spoken.

use std::io::{Read, Write};
use std::sync::Arc;

use rustls::{AlertDescription, NamedGroup, ProtocolVersion};

use super::Scene;
use super::client::{alert, ask, modern, old};
use crate::harness::client::connect;

#[test]
fn both_versions_are_spoken_unless_the_older_one_is_switched_off() {
    let scene = Scene::new("", "");
    let speaks = |config| {
        let stream = ask(scene.proxy.at(), &Arc::new(config), "db.example").unwrap();
        stream.conn.protocol_version()
    };
    assert_eq!(speaks(old(&scene.authority)), Some(ProtocolVersion::TLSv1_2));
    assert_eq!(speaks(modern(&scene.authority)), Some(ProtocolVersion::TLSv1_3));

    let strict = Scene::new("", "min_version = \"1.3\"");
    let ask = |config| ask(strict.proxy.at(), &Arc::new(config), "db.example");
    ask(modern(&strict.authority)).unwrap();
    assert_eq!(alert(ask(old(&strict.authority))), AlertDescription::ProtocolVersion);
    assert_eq!(strict.handshakes("none", "failed"), 1);
}

#[test]
fn the_first_choice_of_a_key_exchange_is_post_quantum() {
    let scene = Scene::new("", "");
    let config = Arc::new(modern(&scene.authority));
    let stream = ask(scene.proxy.at(), &config, "db.example").unwrap();
    let group = stream.conn.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, NamedGroup::X25519MLKEM768);
}

/// A ClientHello as TLS 1.0 or 1.1 has it: no extensions, so no word of a newer version.
fn ancient(minor: u8) -> Vec<u8> {
    let mut body = vec![3, minor];
    body.extend([7; 32]);
    // No session, one suite (RSA, AES-128-CBC, SHA-1), no compression.
    body.extend([0, 0, 2, 0, 0x2f, 1, 0]);
    let message = [&[1, 0, 0, body.len() as u8][..], &body].concat();
    [&[22, 3, 1, 0, message.len() as u8][..], &message].concat()
}

#[test]
fn versions_before_1_2_are_refused_with_an_alert_and_a_plain_end() {
    let scene = Scene::new("", "");
    for minor in [0, 1, 2] {
        let mut stream = connect(scene.proxy.at());
        stream.write_all(&ancient(minor)).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        // One alert, fatal.
        assert_eq!((answer[0], &answer[3..6]), (21, &[0, 2, 2][..]), "{minor}: {answer:?}");
        assert_eq!(answer.len(), 7);
    }
    assert_eq!(scene.proxy.rejected("tls"), 3);
    assert_eq!(scene.backend.accepted(), 0);
}
