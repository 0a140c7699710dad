//! Files with TLS in them: certificates that cannot serve are refused, and those whose time is over are
//! an error for `check` and no reason for `run` to stay away.

use std::fs;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, KeyPair};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::evenkeel::{Evenkeel, evenkeel};
use crate::harness::files::says;
use crate::harness::process::Finished;

const DAY: Duration = Duration::from_secs(86_400);
/// The certificate is named here.
const LINE: u64 = 5;

/// A file with a listener that ends TLS, and its certificate.
struct Files(TempDir);

impl Files {
    fn valid(from: SystemTime, until: SystemTime) -> Self {
        let dir = TempDir::new().unwrap();
        let mut params = CertificateParams::new(vec!["a.example".into()]).unwrap();
        params.not_before = from.into();
        params.not_after = until.into();
        let key = KeyPair::generate().unwrap();
        fs::write(dir.path().join("cert.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(dir.path().join("key.pem"), key.serialize_pem()).unwrap();
        let files = Self(dir);
        fs::write(files.path("evenkeel.toml"), files.toml("")).unwrap();
        files
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    /// The paths in it are absolute.
    fn toml(&self, more: &str) -> String {
        format!(
            "[listener.l]\nbind = \"127.0.0.1:0\"\npool = \"p\"\n[listener.l.tls]\n\
             certificates = [{{ cert = \"{}\", key = \"{}\" }}]\n[pool.p]\n\
             backends = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\nhealth.probe = \"none\"\n{more}",
            self.path("cert.pem"),
            self.path("key.pem")
        )
    }

    fn check(&self, args: &[&str]) -> Finished {
        let file = self.path("evenkeel.toml");
        evenkeel(&[&["check", "-c", &file], args].concat())
    }
}

#[test]
fn an_expired_certificate_fails_the_check_and_not_the_start() {
    let now = SystemTime::now();
    let files = Files::valid(now - 30 * DAY, now - DAY);
    let text = files.check(&[]).expect_code(2).text();
    says(&text, &["error", "certificate 1", "cert.pem expired on", &format!("toml:{LINE}:")]);
    let report: Value =
        serde_json::from_str(&files.check(&["--json"]).expect_code(2).stdout).unwrap();
    assert_eq!((&report["ok"], &report["warnings"]), (&Value::Bool(false), &Value::Array(vec![])));
    let error = &report["errors"][0];
    assert_eq!(error["line"].as_u64(), Some(LINE), "{report:#}");
    assert!(error["message"].as_str().unwrap().contains("expired"), "{report:#}");

    let running = Evenkeel::start(&files.toml(""));
    assert_eq!(running.get("/healthz").status, 200);
}

#[test]
fn a_certificate_that_soon_expires_or_has_not_begun_is_a_warning() {
    let now = SystemTime::now();
    for (from, until, words) in [
        (now - DAY, now + 12 * DAY + DAY / 2, ["expires on", "in 12 days"]),
        (now + DAY, now + 90 * DAY, ["is not valid before", "cert.pem"]),
    ] {
        let files = Files::valid(from, until);
        let text = files.check(&[]).expect_code(0).text();
        says(&text, &["warning"]);
        says(&text, &words);
        files.check(&["--deny-warnings"]).expect_code(2);
    }
    let good = Files::valid(now - DAY, now + 15 * DAY);
    good.check(&["--deny-warnings"]).expect_code(0);
}

#[test]
fn files_that_cannot_serve_are_refused_by_check_and_run() {
    let now = SystemTime::now();
    let other = KeyPair::generate().unwrap().serialize_pem();
    for (name, content, words) in [
        ("key.pem", other.as_str(), "is not the key of its certificate\n"),
        ("key.pem", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB", "holds an encrypted key"),
        ("key.pem", "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n", "encrypted key"),
        ("key.pem", "", "is empty"),
        ("cert.pem", "nothing", "no certificate"),
    ] {
        let files = Files::valid(now - DAY, now + 90 * DAY);
        fs::write(files.path(name), content).unwrap();
        let file = files.path("evenkeel.toml");
        for command in ["check", "run"] {
            let text = evenkeel(&[command, "-c", &file]).expect_code(2).text();
            says(&text, &[words, name, &format!("toml:{LINE}:")]);
        }
    }
}

#[test]
fn a_pipe_is_no_certificate_and_nobody_waits_for_it() {
    let now = SystemTime::now();
    for name in ["cert.pem", "key.pem"] {
        let files = Files::valid(now - DAY, now + 90 * DAY);
        fs::remove_file(files.path(name)).unwrap();
        mknodat(CWD, files.path(name), FileType::Fifo, Mode::RWXU, 0).unwrap();
        says(&files.check(&[]).expect_code(2).text(), &[name, "cannot be read: it is a pipe"]);
    }
}

#[test]
fn a_file_with_every_kind_of_tls_is_written_back_the_same() {
    let now = SystemTime::now();
    let files = Files::valid(now - DAY, now + 90 * DAY);
    let more = format!(
        "tls = {{ server_name = \"db\", ca = \"{ca}\" }}\n[listener.r]\nbind = \"127.0.0.1:0\"\n\
         plain_pool = \"q\"\ntls.starttls = \"postgres\"\n[[listener.r.route]]\n\
         sni = [\"a.example\", \"*.B.example.\"]\nalpn = \"postgresql\"\n\
         split = [{{ pool = \"q\", weight = 3 }}]\n[pool.q]\n\
         backends = [\"127.0.0.1:3\", \"127.0.0.1:4\"]\nhealth = {{ probe = \"tls\" }}\n",
        ca = files.path("cert.pem")
    );
    fs::write(files.path("evenkeel.toml"), files.toml(&more)).unwrap();
    let written = files.check(&["--effective"]).expect_code(0).stdout;
    says(&written, &["min_version = \"1.2\"", "\"*.b.example\"", "probe = \"tls\"", "weight = 3"]);
    fs::write(files.path("evenkeel.toml"), &written).unwrap();
    assert_eq!(files.check(&["--effective"]).expect_code(0).stdout, written);
}
