//! The watcher over real files: what it replaces, refuses, and says.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::certificates::Watcher;
use crate::certificates::expiry::day;
use crate::certificates::watch::Watch;
use crate::config::{Identity, ListenerTls, TlsVersion};
use crate::event::{self, Event, Events, Heard, Subject};
use crate::lookout::Lookout;
use crate::tls::Inbound;

/// Far beyond anything that is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A certificate for this name that ends so many days from now.
fn made(name: &str, days: i32) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
    let end = match u32::try_from(days) {
        Ok(days) => SystemTime::now() + DAY * days,
        Err(_) => SystemTime::now() - DAY * days.unsigned_abs(),
    };
    params.not_after = end.into();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

struct Scene {
    folder: TempDir,
    shown: Vec<(Arc<str>, Arc<Inbound>)>,
    events: Events,
    heard: event::Watcher,
}

impl Scene {
    /// Listeners of these names, all with the one pair.
    fn new(listeners: &[&str], name: &str, days: i32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), &made(name, days));
        let identity =
            Identity { cert: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
        let spec = ListenerTls {
            certificates: vec![identity],
            acme: None,
            min_version: TlsVersion::V1_2,
            alpn: Vec::new(),
            client_auth: None,
            starttls: None,
        };
        let inbound = || Arc::new(Inbound::new(&spec, &Arc::default(), None).unwrap());
        let shown = listeners.iter().map(|listener| (Arc::from(*listener), inbound())).collect();
        let events = Events::default();
        let heard = events.watch(0);
        Self { folder, shown, events, heard }
    }

    fn watch(&self) -> Watcher {
        Watcher::start(&self.shown, &self.events)
    }

    fn write(&self, pair: &(String, String)) {
        write(self.folder.path(), pair);
    }

    /// The next event: its listener, certificate, and what became of it.
    async fn next(&mut self) -> (String, Arc<Event>) {
        let heard = timeout(PATIENCE, self.heard.next()).await.expect("nothing was said");
        let Some(Heard::Event(event)) = heard else { panic!("{heard:?}") };
        let Subject::Certificate { listener, name } = &event.subject else { panic!("{event:?}") };
        (format!("{listener} {name} {}", event.to), event)
    }

    /// What each listener shows, and what it has counted: replaced and refused.
    fn state(&self) -> Vec<(String, u64, u64)> {
        let of = |(_, inbound): &(_, Arc<Inbound>)| {
            let name = inbound.certificates.list()[0].name.to_string();
            (name, inbound.figures.replaced.get(), inbound.figures.refused.get())
        };
        self.shown.iter().map(of).collect()
    }
}

fn write(folder: &Path, (cert, key): &(String, String)) {
    fs::write(folder.join("cert.pem"), cert).unwrap();
    fs::write(folder.join("key.pem"), key).unwrap();
}

#[tokio::test]
async fn a_good_pair_is_shown_by_every_listener_that_names_it() {
    let mut scene = Scene::new(&["l", "m"], "a.example", 100);
    let _watcher = scene.watch();
    scene.write(&made("b.example", 200));
    let until = format!("valid until {}", day(SystemTime::now() + DAY * 200));
    for listener in ["l", "m"] {
        let (said, event) = scene.next().await;
        assert_eq!(said, format!("{listener} b.example {until}"));
        assert_eq!(event.from, format!("valid until {}", day(SystemTime::now() + DAY * 100)));
        assert!(event.reason.ends_with("cert.pem has changed"), "{}", event.reason);
    }
    assert_eq!(scene.state(), [("b.example".to_owned(), 1, 0), ("b.example".to_owned(), 1, 0)]);
}

#[tokio::test]
async fn a_pair_that_stays_broken_is_refused_once_and_a_repaired_one_is_taken() {
    let mut scene = Scene::new(&["l"], "a.example", 100);
    let _watcher = scene.watch();
    scene.write(&("nothing".to_owned(), made("b.example", 100).1));
    let (said, event) = scene.next().await;
    assert_eq!(said, "l a.example refused");
    assert!(event.reason.contains("cert.pem holds no certificate"), "{}", event.reason);
    assert_eq!(scene.state(), [("a.example".to_owned(), 0, 1)]);
    scene.write(&made("b.example", 100));
    assert!(scene.next().await.0.starts_with("l b.example valid until "));
    assert_eq!(scene.state(), [("b.example".to_owned(), 1, 1)]);
}

#[tokio::test]
async fn a_certificate_that_has_expired_does_not_replace_one_that_has_not() {
    let mut scene = Scene::new(&["l"], "a.example", 100);
    let _watcher = scene.watch();
    scene.write(&made("b.example", -1));
    let (said, event) = scene.next().await;
    assert_eq!(said, "l a.example refused");
    assert!(event.reason.contains("cert.pem expired on "), "{}", event.reason);

    let mut scene = Scene::new(&["l"], "a.example", -2);
    let _watcher = scene.watch();
    assert_eq!(scene.next().await.0, "l a.example expired");
    scene.write(&made("b.example", -1));
    assert!(scene.next().await.0.starts_with("l b.example valid until "));
    assert_eq!(scene.next().await.0, "l b.example expired");
}

#[tokio::test(start_paused = true)]
async fn what_nobody_hears_of_is_found_by_looking() {
    let mut scene = Scene::new(&["l"], "a.example", 100);
    let mut watch = Watch::new(&scene.shown, &scene.events);
    // It tells somebody else.
    watch.lookout = Some(Lookout::new(Arc::new(Notify::new()), ("files", super::watch::POLL)));
    let mut task = tokio::task::JoinSet::new();
    task.spawn(watch.run());
    scene.write(&made("b.example", 200));
    assert!(scene.next().await.0.starts_with("l b.example valid until "));
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_ends_is_spoken_of_each_day() {
    let mut scene = Scene::new(&["l"], "a.example", 10);
    let _watcher = scene.watch();
    for _ in 0..2 {
        let heard = timeout(DAY * 2, scene.heard.next()).await.expect("nothing was said");
        let Some(Heard::Event(event)) = heard else { panic!("{heard:?}") };
        assert_eq!((&*event.to, event.from.starts_with("valid until ")), ("expiring", true));
        let expected = format!("on {}; put", day(SystemTime::now() + DAY * 10));
        assert!(event.reason.contains(&expected), "{}", event.reason);
    }
    assert!(timeout(DAY / 2, scene.heard.next()).await.is_err());
}
