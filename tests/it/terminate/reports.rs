//! What metrics, status and the access log say of TLS.

use std::sync::Arc;

use super::Scene;
use super::client::{ask, both, modern, offering};
use crate::harness::authority::Authority;
use crate::harness::evenkeel::by_name;
use crate::harness::files::{Written, says};

#[test]
fn every_series_is_there_before_the_first_handshake() {
    let metrics = Scene::new("", "").proxy.metrics();
    let listener = [("listener", "l")];
    assert_eq!(metrics.find("tls_handshakes_total", &listener).len(), 9);
    for metric in ["tls_handshakes_total", "tls_handshakes_active", "tls_resumed_total"] {
        assert!(metrics.has(&format!("evenkeel_{metric}")), "{metric}");
        assert_eq!(metrics.count(metric, &listener), 0, "{metric}");
    }
    for outcome in ["ok", "refused"] {
        let labels = [("listener", "l"), ("outcome", outcome)];
        assert_eq!(metrics.find("certificate_reloads_total", &labels).len(), 1);
        assert_eq!(metrics.count("certificate_reloads_total", &labels), 0);
    }
    assert_eq!(metrics.count("tls_handshake_duration_seconds_count", &listener), 0);
}

#[test]
fn a_session_is_in_metrics_status_and_access_log() {
    let scene = Scene::new("", "alpn = [\"redis\"]");
    for config in both(&scene.authority) {
        let config = offering(&config, &["redis"]);
        drop(ask(scene.proxy.at(), &config, "db.example").unwrap());
    }
    let lines = scene.proxy.wait_access(2);
    for version in ["1.2", "1.3"] {
        assert_eq!(scene.handshakes(version, "ok"), 1);
        let line = lines.iter().find(|line| line["tls_version"] == version).unwrap();
        assert_eq!((&line["sni"], &line["alpn"]), (&"db.example".into(), &"redis".into()));
    }
    let metrics = scene.proxy.metrics();
    assert_eq!(metrics.count("tls_handshake_duration_seconds_count", &[("listener", "l")]), 2);
    assert!(metrics.sum("tls_handshake_duration_seconds_sum", &[]) > 0.0);

    let status = scene.proxy.status();
    let tls = &by_name(&status["listeners"], "l")["tls"];
    assert_eq!(tls["handshakes"]["ok"], 2);
    assert_eq!(tls["handshakes"]["failed"], 0);
    assert_eq!(tls["certificates"][0]["name"], "db.example");
    assert_eq!(tls["certificates"][0]["names"][0], "db.example");
    assert!(tls["certificates"][0]["source"].as_str().unwrap().ends_with("db.pem"), "{tls}");
}

#[test]
fn when_a_certificate_ends_is_told() {
    let authority = Authority::new();
    let signed = authority.sign_until(&["db.example", "more.example"], 2040);
    let certificate = super::entry(&authority, "db", &signed);
    let proxy = crate::harness::evenkeel::Evenkeel::start(&super::file(
        &[certificate],
        "[\"127.0.0.1:9\"]",
        "",
        "",
    ));
    let labels = [("listener", "l"), ("name", "db.example")];
    // 2040-01-01.
    let ends = proxy.metrics().count("certificate_expiry_timestamp_seconds", &labels);
    assert_eq!(ends, 2_208_988_800);
    let status = proxy.status();
    let tls = &by_name(&status["listeners"], "l")["tls"];
    assert_eq!(tls["certificates"][0]["not_after"], "2040-01-01T00:00:00.000Z");
    says(&proxy.order(&["status"]).expect_code(0).text(), &["CERTIFICATE", "2040-01-01"]);
}

#[test]
fn a_certificate_that_cannot_be_used_ends_the_start_and_is_named() {
    let authority = Authority::new();
    let one = super::entry(&authority, "one", &authority.sign(&["one.example"]));
    let two = super::entry(&authority, "two", &authority.sign(&["two.example"]));
    let mixed = one.replace("one.key", "two.key");
    drop(two);
    let file = Written::new(&super::file(&[mixed], "[\"127.0.0.1:9\"]", "", ""));
    says(&file.command(&["run"]).expect_code(2).text(), &["two.key"]);
}

#[test]
fn a_listener_without_tls_says_nothing_of_it() {
    let scene = Scene::new("", "");
    let modern = Arc::new(modern(&scene.authority));
    drop(ask(scene.proxy.at(), &modern, "db.example").unwrap());
    let plain = crate::harness::evenkeel::Evenkeel::start(&crate::harness::files::unprobed(
        "[\"127.0.0.1:9\"]",
        "",
        "",
    ));
    assert!(plain.metrics().find("tls_handshakes_total", &[]).is_empty());
    assert!(by_name(&plain.status()["listeners"], "l").get("tls").is_none());
}
