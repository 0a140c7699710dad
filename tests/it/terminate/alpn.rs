//! Application protocols.

use std::io;

use rustls::{AlertDescription, ClientConfig};

use super::Scene;
use super::client::{Secured, alert, ask, both, offering};

fn asked(scene: &Scene, config: &ClientConfig, offered: &[&str]) -> io::Result<Secured> {
    ask(scene.proxy.at(), &offering(config, offered), "db.example")
}

#[test]
fn the_first_of_the_list_that_the_client_offers_is_agreed_on() {
    let scene = Scene::new("", "alpn = [\"mqtt\", \"redis\"]");
    for config in both(&scene.authority) {
        let agreed = |offered: &[&str]| {
            let stream = asked(&scene, &config, offered)?;
            io::Result::Ok(stream.conn.alpn_protocol().map(<[u8]>::to_vec))
        };
        assert_eq!(agreed(&["redis", "mqtt"]).unwrap().unwrap(), b"mqtt");
        assert_eq!(agreed(&["h2", "redis"]).unwrap().unwrap(), b"redis");
        assert_eq!(agreed(&[]).unwrap(), None);
        let none = alert(asked(&scene, &config, &["h2"]));
        assert_eq!(none, AlertDescription::NoApplicationProtocol);
    }
}

#[test]
fn without_a_list_nothing_is_agreed_on_and_nobody_is_refused_for_it() {
    let scene = Scene::new("", "");
    for config in both(&scene.authority) {
        let stream = asked(&scene, &config, &["h2", "redis"]).unwrap();
        assert_eq!(stream.conn.alpn_protocol(), None);
    }
}
