//! TLS over reloads: what is shown and asked changes with the file and with the files it names, and
//! whoever has a session keeps it.

use std::fs;
use std::io;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::harness::authority::Authority;
use crate::harness::evenkeel::Evenkeel;
use crate::harness::files::{says, unprobed};
use crate::harness::servers::Server;
use crate::harness::storm::{Diary, repeated};
use crate::terminate::client::{
    ask, both, echo, forgetful, is_resumed, modern, offering, old, showing, shown,
};
use crate::terminate::entry;

/// A balancer that ends TLS for `db.example` in front of an echoing server.
struct Stage {
    authority: Authority,
    backend: Server,
}

impl Stage {
    fn new() -> Self {
        let stage = Self { authority: Authority::new(), backend: Server::echo("b") };
        stage.sign();
        stage
    }

    /// Writes a new pair.
    fn sign(&self) -> String {
        entry(&self.authority, "db", &self.authority.sign(&["db.example"]))
    }

    /// The file, with more keys for `tls`.
    fn file(&self, tls: &str) -> String {
        let (cert, key) = (self.folder("db.pem"), self.folder("db.key"));
        let backends = format!("[{}]", self.backend.entry(""));
        format!(
            "{}[listener.l.tls]\ncertificates = [{{ cert = \"{cert}\", key = \"{key}\" }}]\n{tls}\n",
            unprobed(&backends, "", "")
        )
    }

    fn folder(&self, file: &str) -> String {
        self.authority.folder().join(file).display().to_string()
    }

    /// The certificate that the file holds now.
    fn written(&self) -> Vec<u8> {
        let text = fs::read(self.authority.folder().join("db.pem")).unwrap();
        CertificateDer::from_pem_slice(&text).unwrap().to_vec()
    }
}

#[test]
fn certificate_files_are_read_again_by_the_time_of_the_answer() {
    let stage = Stage::new();
    let proxy = Evenkeel::start(&stage.file(""));
    let config = forgetful(&modern(&stage.authority));
    let mut before = ask(proxy.at(), &config, "db.example").unwrap();
    for _ in 0..3 {
        let old = stage.written();
        stage.sign();
        assert_ne!(stage.written(), old);
        proxy.reload(&stage.file(""));
        let fresh = forgetful(&modern(&stage.authority));
        assert_eq!(shown(&ask(proxy.at(), &fresh, "db.example").unwrap()), stage.written());
    }
    echo(&mut before, b"still here").unwrap();
}

#[test]
fn handshakes_go_on_while_pairs_and_files_change() {
    let stage = Stage::new();
    let proxy = Evenkeel::start(&stage.file(""));
    let (at, diary) = (proxy.at(), Diary::new());
    // Half of them with tickets, which are good for as long as it lasts.
    let configs = [forgetful(&modern(&stage.authority)), forgetful(&old(&stage.authority))];
    let fresh = modern(&stage.authority);
    let storm = repeated(40, move |number| {
        let config = configs.get(number as usize % 4);
        let config = config.map_or_else(|| forgetful(&fresh), Arc::clone);
        ask(at, &config, "db.example").map(drop)
    });
    for step in 0..15 {
        stage.sign();
        diary.note(format!("reload {step}"));
        proxy.reload(&stage.file(["", "alpn = [\"one\"]"][step % 2]));
        storm.go_on(4);
    }
    storm.calm(&diary, 100);
    assert_eq!(proxy.metrics().count("tls_handshakes_total", &[("outcome", "failed")]), 0);
}

#[test]
fn a_pair_that_is_broken_refuses_the_reload_and_the_old_one_is_shown() {
    let stage = Stage::new();
    let proxy = Evenkeel::start(&stage.file(""));
    let good = stage.written();
    fs::write(stage.authority.folder().join("db.pem"), "no certificate\n").unwrap();
    let answer = proxy.post("/api/v1/reload");
    assert_eq!(answer.status, 400, "{}", answer.body);
    says(&answer.body, &["problems", "db.pem"]);
    let fresh = forgetful(&modern(&stage.authority));
    assert_eq!(shown(&ask(proxy.at(), &fresh, "db.example").unwrap()), good);
    assert_eq!((proxy.reloads("refused"), proxy.reloads("ok")), (1, 0));
}

#[test]
fn tickets_are_good_after_a_reload() {
    let stage = Stage::new();
    let proxy = Evenkeel::start(&stage.file(""));
    let configs = both(&stage.authority).map(|config| forgetful(&config));
    for config in &configs {
        assert!(!is_resumed(&ask(proxy.at(), config, "db.example").unwrap()));
    }
    proxy.reload(&stage.file(""));
    proxy.reload(&stage.file("").replace("pool = \"p\"\n", "pool = \"p\"\nmax_sessions = 500\n"));
    for config in &configs {
        assert!(is_resumed(&ask(proxy.at(), config, "db.example").unwrap()));
    }
}

#[test]
fn other_client_authorities_count_from_the_next_handshake_and_old_tickets_do_not() {
    let stage = Stage::new();
    let others = Authority::new();
    let asking = |authority: &Authority| {
        stage.file(&format!("client_{}\nclient_auth = \"required\"", authority.ca()))
    };
    let proxy = Evenkeel::start(&asking(&stage.authority));
    let configs = |signer: &Authority| {
        let own = signer.sign(&["client.example"]);
        showing(&stage.authority, &own).map(|config| forgetful(&config))
    };
    let asked = |config: &_| -> io::Result<_> { ask(proxy.at(), config, "db.example") };
    let (first, second) = (configs(&stage.authority), configs(&others));
    let mut held: Vec<_> = first.iter().map(|config| asked(config).unwrap()).collect();
    second.iter().for_each(|config| drop(asked(config).unwrap_err()));
    proxy.reload(&asking(&others));
    // With a ticket of before, and without one.
    for config in first.iter().chain(&configs(&stage.authority)) {
        asked(config).unwrap_err();
    }
    for config in &second {
        assert!(!is_resumed(&asked(config).unwrap()));
    }
    held.iter_mut().for_each(|stream| echo(stream, b"still here").unwrap());

    // The same, with another content of the same file.
    fs::copy(stage.authority.ca_file(), others.ca_file()).unwrap();
    proxy.reload(&asking(&others));
    for config in second.iter().chain(&configs(&others)) {
        asked(config).unwrap_err();
    }
    for config in &configs(&stage.authority) {
        assert!(!is_resumed(&asked(config).unwrap()));
    }
    held.iter_mut().for_each(|stream| echo(stream, b"still here").unwrap());
}

#[test]
fn versions_and_protocols_are_those_of_the_file_from_the_next_handshake() {
    let stage = Stage::new();
    let proxy = Evenkeel::start(&stage.file("alpn = [\"one\"]"));
    let at = proxy.at();
    let (old, new) = (old(&stage.authority), modern(&stage.authority));
    let spoken = |config| {
        let stream = ask(at, &offering(config, &["one", "two"]), "db.example")?;
        io::Result::Ok(stream.conn.alpn_protocol().map(<[u8]>::to_vec))
    };
    assert_eq!(spoken(&old).unwrap().unwrap(), b"one");
    assert_eq!(spoken(&new).unwrap().unwrap(), b"one");
    let mut held = ask(at, &offering(&old, &["one"]), "db.example").unwrap();
    proxy.reload(&stage.file("alpn = [\"two\"]\nmin_version = \"1.3\""));
    spoken(&old).unwrap_err();
    assert_eq!(spoken(&new).unwrap().unwrap(), b"two");
    echo(&mut held, b"still here").unwrap();
    // From TLS to none and back.
    let plain = unprobed(&format!("[{}]", stage.backend.entry("")), "", "");
    proxy.reload(&plain);
    let mut stream = crate::harness::client::connect(at);
    crate::harness::client::ping(&mut stream, "in the clear");
    proxy.reload(&stage.file(""));
    spoken(&old).unwrap();
    crate::harness::client::ping(&mut stream, "still in the clear");
    echo(&mut held, b"still here").unwrap();
}
