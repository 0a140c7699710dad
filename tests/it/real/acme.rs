//! Automatic certificates from Pebble: the first one, its successors, and what goes wrong.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::User;
use rustix::process::geteuid;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tempfile::TempDir;

use super::pebble::{Manner, Pebble, echo_over_tls, shown};
use crate::harness::authority::Authority;
use crate::harness::evenkeel::Evenkeel;
use crate::harness::http;
use crate::harness::seat::Seat;
use crate::harness::servers::Server;
use crate::harness::wait::{PATIENCE, eventually, throughout, until};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// An authority, and the ports where it looks for the balancer.
struct Stage {
    pebble: Pebble,
    listener: Seat,
    http: Seat,
    storage: TempDir,
    backend: Server,
}

impl Stage {
    fn set() -> Option<Self> {
        let pebble = Pebble::find()?;
        let (listener, http) = (Seat::take(), Seat::take());
        let (storage, backend) = (TempDir::new().unwrap(), Server::echo("s"));
        Some(Self { pebble, listener, http, storage, backend })
    }

    /// Starts the authority with certificates that last so long.
    fn authority(&mut self, lifetime: Duration) {
        self.authority_that_looks(lifetime, 100);
    }

    fn authority_that_looks(&mut self, lifetime: Duration, looks_again: u8) {
        let (tls_port, http_port) = (self.listener.port(), self.http.port());
        self.pebble.start(&Manner { tls_port, http_port, lifetime, looks_again });
    }

    /// Does not exist before the first start.
    fn storage(&self) -> PathBuf {
        self.storage.path().join("acme")
    }

    /// The `acme` table of a listener.
    fn table(&self, listener: &str, domains: &str, keys: &str) -> String {
        format!(
            "[listener.{listener}.tls.acme]\ndomains = {domains}\ncontact = [\"ops@example.com\"]\n\
             storage = \"{}\"\n{}{keys}\n",
            self.storage().display(),
            self.pebble.keys()
        )
    }

    /// Listener `l` where the authority looks, with its own table behind.
    fn file(&self, domains: &str, keys: &str) -> String {
        format!(
            "[listener.l]\nbind = \"{}\"\npool = \"p\"\n{}[pool.p]\nbackends = [\"{}\"]\n",
            self.listener.address(),
            self.table("l", domains, keys),
            self.backend.address()
        )
    }

    fn http_01(&self) -> String {
        format!("challenge = \"http-01\"\nhttp_bind = \"{}\"", self.http.address())
    }

    #[track_caller]
    fn wait_trusted(&self, at: SocketAddr, name: &str) -> RootCertStore {
        let root = self.pebble.root();
        eventually("the certificate is trusted", PATIENCE, || echo_over_tls(at, name, &root));
        root
    }

    /// Name and permissions of what is stored.
    fn stored(&self) -> Vec<(String, u32)> {
        let entries = fs::read_dir(self.storage()).unwrap().map(Result::unwrap);
        let mut found: Vec<_> = entries
            .map(|entry| {
                let mode = entry.metadata().unwrap().permissions().mode() & 0o7777;
                (entry.file_name().into_string().unwrap(), mode)
            })
            .collect();
        found.sort();
        found
    }
}

fn orders(proxy: &Evenkeel, outcome: &str) -> u64 {
    let metrics = proxy.metrics();
    metrics.count("acme_orders_total", &[("listener", "l"), ("outcome", outcome)])
}

/// The certificate that a client who asks for `name` sees.
#[track_caller]
fn leaf(at: SocketAddr, name: &str) -> CertificateDer<'static> {
    until("a certificate is shown", PATIENCE, || shown(at, name)?.into_iter().next())
}

/// The line that says why no certificate came.
#[track_caller]
fn complaint(proxy: &Evenkeel) -> String {
    put_off(proxy).0
}

/// The same, and in how many seconds the next is asked for.
#[track_caller]
fn put_off(proxy: &Evenkeel) -> (String, u64) {
    until("the log says why there is no certificate", PATIENCE, || {
        let events = proxy.events();
        let line = events.iter().find(|event| event["message"] == "no new certificate")?;
        Some((line["why"].as_str().unwrap().to_owned(), line["again_in_s"].as_u64().unwrap()))
    })
}

#[test]
fn the_first_certificate_comes_by_the_listener_itself_and_takes_the_place_of_the_self_signed_one() {
    let Some(mut stage) = Stage::set() else { return };
    stage.authority(90 * DAY);
    let file = stage.file("[\"a.test\", \"b.test\"]", "");
    let (proxy, before) = stage.pebble.frozen(|| {
        let proxy = Evenkeel::start(&file);
        let before = leaf(proxy.at(), "a.test");
        assert!(proxy.log().contains("serving a self-signed one until the first has come"));
        (proxy, before)
    });
    let root = stage.wait_trusted(proxy.at(), "a.test");
    assert!(echo_over_tls(proxy.at(), "b.test", &root));
    assert_ne!(leaf(proxy.at(), "a.test"), before);
    assert!(shown(proxy.at(), "a.test").unwrap().len() > 1, "the chain is not complete");
    assert_eq!((orders(&proxy, "ok"), orders(&proxy, "failed")), (1, 0));

    let mode = fs::metadata(stage.storage()).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode, 0o700);
    let stored = stage.stored();
    assert_eq!(stored.len(), 2, "{stored:?}");
    assert!(stored.iter().all(|(_, mode)| *mode == 0o600), "{stored:?}");
    assert!(stored[0].0.starts_with("a.test@127.0.0.1_"), "{stored:?}");
    assert!(stored[1].0.starts_with("account@127.0.0.1_"), "{stored:?}");

    let labels = [("listener", "l"), ("name", "a.test")];
    let left = || {
        let end = proxy.metrics().sum("certificate_expiry_timestamp_seconds", &labels);
        end - jiff::Timestamp::now().as_second() as f64
    };
    let day = DAY.as_secs_f64();
    eventually("the metric knows its end", PATIENCE, || (89.0..=90.0).contains(&(left() / day)));
}

#[test]
fn over_http_one_certificate_serves_all_listeners_with_the_same_table() {
    let Some(mut stage) = Stage::set() else { return };
    stage.authority(90 * DAY);
    let domains = "[\"a.test\", \"b.test\", \"c.test\"]";
    let more = format!(
        "[listener.m]\nbind = \"127.0.0.1:0\"\npool = \"p\"\n{}",
        stage.table("m", domains, &stage.http_01())
    );
    let proxy = Evenkeel::start(&(stage.file(domains, &stage.http_01()) + &more));
    let root = stage.wait_trusted(proxy.at(), "a.test");
    let other = proxy.address("m");
    assert!(["b.test", "c.test"].iter().all(|name| echo_over_tls(other, name, &root)));
    assert_eq!(leaf(proxy.at(), "a.test"), leaf(other, "a.test"));
    assert_eq!(proxy.metrics().count("acme_orders_total", &[("outcome", "ok")]), 2);
    assert_eq!(stage.pebble.log().matches("Issued certificate serial").count(), 1);
    for path in ["/", "/.well-known/acme-challenge/", "/.well-known/acme-challenge/x"] {
        assert_eq!(http::get(stage.http.address(), path).status, 404, "{path}");
    }
}

#[test]
fn over_http_a_listener_that_redirects_everybody_answers_the_authority() {
    let Some(mut stage) = Stage::set() else { return };
    stage.authority(90 * DAY);
    let web = format!(
        "[listener.web]\nbind = \"{}\"\nprotocol = \"http\"\n\
         [[listener.web.route]]\nname = \"up\"\nredirect = \"https\"\n",
        stage.http.address()
    );
    let proxy = Evenkeel::start(&(stage.file("[\"a.test\", \"b.test\"]", &stage.http_01()) + &web));
    let root = stage.wait_trusted(proxy.at(), "a.test");
    assert!(echo_over_tls(proxy.at(), "b.test", &root));
    assert_eq!((orders(&proxy, "ok"), orders(&proxy, "failed")), (1, 0));
    let answered = |code: &str| {
        proxy.metrics().count("http_requests_total", &[("listener", "web"), ("code", code)])
    };
    // The authority has asked for each name, and was never led elsewhere.
    eventually("its requests are counted", PATIENCE, || answered("200") >= 2);
    assert_eq!(answered("308"), 0);
    for path in ["/", "/.well-known/acme-challenge/", "/.well-known/acme-challenge/x"] {
        let answer = http::get(stage.http.address(), path);
        assert_eq!(answer.status, 308, "{path}");
    }
}

#[test]
fn a_restart_shows_what_is_stored_and_orders_nothing() {
    let Some(mut stage) = Stage::set() else { return };
    stage.authority(90 * DAY);
    let file = stage.file("[\"a.test\"]", "");
    let proxy = Evenkeel::start(&file);
    let root = stage.wait_trusted(proxy.at(), "a.test");
    let first = leaf(proxy.at(), "a.test");
    drop(proxy);

    stage.pebble.kill();
    let proxy = Evenkeel::start(&file);
    assert_eq!(leaf(proxy.at(), "a.test"), first);
    assert!(echo_over_tls(proxy.at(), "a.test", &root));
    throughout("nothing is ordered", Duration::from_secs(1), || {
        orders(&proxy, "ok") + orders(&proxy, "failed") == 0
    });
    drop(proxy);

    // A name more, and what is stored will do no longer: it is shown until the next has come.
    stage.authority(90 * DAY);
    let wider = stage.file("[\"a.test\", \"b.test\"]", "");
    let proxy = stage.pebble.frozen(|| {
        let proxy = Evenkeel::start(&wider);
        assert_eq!(leaf(proxy.at(), "a.test"), first);
        proxy
    });
    stage.wait_trusted(proxy.at(), "b.test");
    assert_eq!(orders(&proxy, "ok"), 1);
}

#[test]
fn a_certificate_is_renewed_in_time_and_outlives_an_authority_that_is_gone() {
    let Some(mut stage) = Stage::set() else { return };
    stage.authority_that_looks(Duration::from_secs(12), 50);
    let proxy = Evenkeel::start(&stage.file("[\"a.test\"]", ""));
    let first = until("the first has come", PATIENCE, || {
        (orders(&proxy, "ok") == 1).then(|| leaf(proxy.at(), "a.test"))
    });
    eventually("it is renewed", PATIENCE, || orders(&proxy, "ok") == 2);
    let second = leaf(proxy.at(), "a.test");
    assert_ne!(first, second);

    stage.pebble.kill();
    eventually("two tries fail", PATIENCE, || orders(&proxy, "failed") >= 2);
    let last = if orders(&proxy, "ok") == 2 { second } else { leaf(proxy.at(), "a.test") };
    assert_eq!(leaf(proxy.at(), "a.test"), last);
    let why = complaint(&proxy);
    assert!(why.contains("no answer from https://127.0.0.1:"), "{why}");
    assert!(proxy.log().contains("the old one is served"), "{}", proxy.log());
    // Nothing but the real files is left behind.
    assert_eq!(stage.stored().len(), 2);
}

#[test]
fn a_failure_is_counted_and_says_which_name_and_why() {
    let Some(mut stage) = Stage::set() else { return };
    stage.authority(90 * DAY);
    let dead = Seat::take();
    let ours = |name: &str, keys: &str| {
        let file = stage.file(&format!("[\"{name}\"]"), keys);
        file.replace(&stage.listener.address().to_string(), "127.0.0.1:0")
    };
    let (other, right) = (Authority::new(), stage.pebble.keys());
    let wrong = right.lines().last().unwrap();
    let wrong = ours("a.test", "").replace(wrong, &format!("directory_{}", other.ca()));
    let elsewhere =
        ours("a.test", &format!("challenge = \"http-01\"\nhttp_bind = \"{}\"", dead.address()));
    for (file, expected) in [
        // Nobody listens where the authority looks.
        (ours("a.test", ""), &["a.test: ", "failed to connect to "][..]),
        (elsewhere, &["a.test: ", "connection refused"]),
        (ours("a.unknown", ""), &["a.unknown: "]),
        (
            wrong,
            &["cannot read acme.directory: no answer from https://127.0.0.1:", "certificate: "],
        ),
    ] {
        let proxy = Evenkeel::start(&file);
        let (why, again) = put_off(&proxy);
        // Only a failure that the authority saw may count there against us.
        assert_eq!(again < 45, why.contains("no answer from"), "{again}: {why}");
        let is_told = expected.iter().all(|part| why.to_lowercase().contains(part));
        assert!(is_told, "{why}\n{file}");
        eventually("it is counted", PATIENCE, || orders(&proxy, "failed") >= 1);
        let issuer = leaf(proxy.at(), "a.test");
        assert!(!String::from_utf8_lossy(&issuer).contains("Pebble"), "{file}");
        assert!(proxy.log().contains("a self-signed one is served"));
    }
}

#[test]
fn an_account_that_cannot_be_used_is_kept_aside_and_another_one_opened() {
    let Some(mut stage) = Stage::set() else { return };
    stage.authority(90 * DAY);
    let file = stage.file("[\"a.test\"]", "");
    drop({
        let proxy = Evenkeel::start(&file);
        stage.wait_trusted(proxy.at(), "a.test");
        proxy
    });
    let at = |start: &str| {
        let stored = stage.stored();
        let (name, _) = stored.iter().find(|(name, _)| name.starts_with(start)).unwrap();
        stage.storage().join(name)
    };
    fs::remove_file(at("a.test@")).unwrap();
    fs::write(at("account@"), "{ broken").unwrap();
    let proxy = Evenkeel::start(&file);
    stage.wait_trusted(proxy.at(), "a.test");
    drop(proxy);
    let aside = stage.stored().into_iter().filter(|(name, _)| name.contains(".json.unusable-"));
    let aside: Vec<_> = aside.collect();
    assert_eq!(aside.len(), 1, "{aside:?}");
    assert_eq!(fs::read_to_string(stage.storage().join(&aside[0].0)).unwrap(), "{ broken");

    // Its new address is told, and the account stays.
    fs::remove_file(at("a.test@")).unwrap();
    let file = file.replace("ops@example.com", "new@example.com");
    let proxy = Evenkeel::start(&file);
    stage.wait_trusted(proxy.at(), "a.test");
    drop(proxy);
    let account = fs::read_to_string(at("account@")).unwrap();
    assert!(account.contains("mailto:new@example.com"), "{account}");
    assert!(!stage.pebble.log().contains("There are now 3 accounts"));

    // The authority has forgotten everything, as this one does with every start.
    fs::remove_file(at("a.test@")).unwrap();
    stage.pebble.kill();
    stage.authority(90 * DAY);
    let proxy = Evenkeel::start(&file);
    stage.wait_trusted(proxy.at(), "a.test");
    assert!(proxy.log().contains("accountDoesNotExist"), "{}", proxy.log());
}

#[test]
fn beside_certificates_of_the_file_each_name_gets_its_own() {
    let Some(mut stage) = Stage::set() else { return };
    stage.authority(90 * DAY);
    let authority = Authority::new();
    let (cert, key) = authority.write("file", &authority.sign(&["file.test"]));
    let tls = |cert: &Path, key: &Path| {
        let (cert, key) = (cert.display(), key.display());
        format!("[listener.l.tls]\ncertificates = [{{ cert = \"{cert}\", key = \"{key}\" }}]\n")
    };
    let proxy = Evenkeel::start(&(stage.file("[\"a.test\"]", "") + &tls(&cert, &key)));
    stage.wait_trusted(proxy.at(), "a.test");
    let of_file = CertificateDer::from_pem_file(&cert).unwrap();
    assert_eq!(leaf(proxy.at(), "file.test"), of_file);
    assert_eq!(leaf(proxy.at(), "else.test"), of_file);
}

#[test]
fn a_storage_that_cannot_be_written_is_named_and_nothing_is_ordered() {
    let Some(mut stage) = Stage::set() else { return };
    stage.authority(90 * DAY);
    let storage = stage.storage().display().to_string();
    let file = stage.file("[\"a.test\"]", "").replace(&storage, "/proc/evenkeel/acme");
    let proxy = Evenkeel::start(&file);
    let why = complaint(&proxy);
    assert!(why.starts_with("cannot write /proc/evenkeel/acme: "), "{why}");
    assert!(!stage.pebble.log().contains("There are now 1 orders"));

    drop(proxy);

    // What root may write is of no use to whom it becomes.
    if !geteuid().is_root() {
        return eprintln!("skipped in part: not root");
    }
    fs::create_dir(stage.storage()).unwrap();
    let file = stage.file("[\"a.test\"]", "") + "[process]\nuser = \"nobody\"\n";
    let proxy = Evenkeel::start(&file);
    let why = complaint(&proxy);
    let nobody = User::from_name("nobody").unwrap().unwrap().uid;
    let expected = format!("acme.storage must be a folder that user {nobody} may write to");
    assert!(why.contains(&expected), "{why}");
}
