//! `https` probes: a certificate is believed when its authority is the one named, and only then.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::harness::evenkeel::Evenkeel;
use crate::harness::process::Owned;
use crate::harness::seat::Seat;
use crate::harness::wait::{PATIENCE, eventually};

/// A folder with `ca.pem`, `other-ca.pem`, `cert.pem` and `key.pem`, for the name `db.example`.
fn authority() -> TempDir {
    let dir = TempDir::new().unwrap();
    let make = |name: &str| {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        fs::write(dir.path().join(name), params.self_signed(&key).unwrap().pem()).unwrap();
        Issuer::new(params, key)
    };
    let issuer = make("ca.pem");
    make("other-ca.pem");
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["db.example".into()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    fs::write(dir.path().join("cert.pem"), certificate.pem()).unwrap();
    fs::write(dir.path().join("key.pem"), key.serialize_pem()).unwrap();
    dir
}

/// `openssl s_server -www` answers every request with a status page and 200.
fn web_server(dir: &Path, seat: &Seat) -> Owned {
    let server = Command::new("openssl")
        .args(["s_server", "-quiet", "-www", "-accept", &seat.address().to_string()])
        .arg("-cert")
        .arg(dir.join("cert.pem"))
        .arg("-key")
        .arg(dir.join("key.pem"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = Owned(server);
    let listens = || std::net::TcpStream::connect(seat.address()).is_ok();
    eventually("openssl listens", PATIENCE, listens);
    server
}

fn health_with(seat: &Seat, tls: &str) -> Evenkeel {
    Evenkeel::start(&format!(
        "[listener.l]\nbind = \"127.0.0.1:0\"\npool = \"p\"\n[pool.p]\n\
         backends = [{{ address = \"{}\", name = \"s\" }}]\n[pool.p.health]\n\
         probe = \"https\"\ninterval = \"200ms\"\ntimeout = \"10s\"\n[pool.p.health.tls]\n{tls}\n",
        seat.address()
    ))
}

#[test]
fn an_https_probe_verifies_the_certificate_as_told() {
    if !Path::new("/usr/bin/openssl").exists() {
        return eprintln!("skipped: openssl not installed");
    }
    let dir = authority();
    let seat = Seat::take();
    let _server = web_server(dir.path(), &seat);
    let ca = format!("ca = \"{}\"", dir.path().join("ca.pem").display());
    let other = format!("ca = \"{}\"", dir.path().join("other-ca.pem").display());
    let name = "server_name = \"db.example\"";
    for (tls, health) in [
        (format!("{ca}\n{name}"), "up"),
        (format!("{other}\n{name}"), "down"),
        (format!("{ca}\nserver_name = \"else.example\""), "down"),
        (name.to_owned(), "down"),
        ("verify = false".to_owned(), "up"),
    ] {
        let proxy = health_with(&seat, &tls);
        let backend = proxy.backend("s");
        assert_eq!(backend["health"], health, "{tls}: {}", backend["last_probe"]);
        if health == "down" {
            let reason = backend["last_probe"]["reason"].to_string();
            assert!(reason.to_lowercase().contains("certificate"), "{reason}");
        }
    }
}

#[test]
fn an_https_probe_of_a_plain_server_fails_and_says_why() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok).take(50) {
            drop((&stream).write_all(b"HTTP/1.1 200 OK\r\n\r\n"));
        }
    });
    let proxy = Evenkeel::start(&format!(
        "[listener.l]\nbind = \"127.0.0.1:0\"\npool = \"p\"\n[pool.p]\n\
         backends = [{{ address = \"{address}\", name = \"s\" }}]\n[pool.p.health]\n\
         probe = \"https\"\ninterval = \"200ms\"\n[pool.p.health.tls]\nverify = false\n"
    ));
    let backend = proxy.backend("s");
    assert_eq!(backend["health"], "down");
    assert!(!backend["last_probe"]["reason"].as_str().unwrap().is_empty());
}
