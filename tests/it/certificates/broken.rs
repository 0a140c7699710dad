//! What cannot be used is refused, said and counted once, while the old pair serves on.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;

use crate::certificates::{DAY, Pair, Scene};
use crate::harness::wait::{PATIENCE, eventually};

fn log_lines(scene: &Scene, message: &str) -> usize {
    let starts = |event: &serde_json::Value| {
        event["message"].as_str().is_some_and(|m| m.starts_with(message))
    };
    scene.proxy.events().iter().filter(|event| starts(event)).count()
}

/// Puts a pipe where a file is.
fn make_pipe(path: &Path) {
    fs::remove_file(path).unwrap();
    mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).unwrap();
}

#[test]
fn a_pair_that_cannot_be_used_is_refused_once_and_its_repair_is_taken() {
    let dir = TempDir::new().unwrap();
    let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    let mut served = Pair::new();
    served.write(dir.path());
    let scene = Scene::new(&[("l", dir.path())]);
    let half = "-----BEGIN CERTIFICATE-----\nMIIB";
    let wrong: [(&dyn Fn(), &str); 5] = [
        (&|| fs::write(&cert, half).unwrap(), "cert.pem"),
        (&|| fs::write(&cert, Pair::new().cert).unwrap(), "key.pem is not the key of"),
        (&|| fs::remove_file(&key).unwrap(), "cannot read"),
        // Whoever opened it would wait for ever.
        (&|| make_pipe(&key), "it is a pipe"),
        (&|| Pair::until(SystemTime::now() - DAY).write(dir.path()), "expired on"),
    ];
    for (count, (spoil, why)) in (1..).zip(wrong) {
        spoil();
        scene.wait_event("l", "refused", why);
        assert_eq!(scene.reloads("l"), (count - 1, count), "{why}");
        assert!(scene.shows("l", &served), "{why}");
        // The same bytes again are no news.
        if let Ok(bytes) = fs::read(&cert) {
            fs::write(&cert, bytes).unwrap();
        }
        served = Pair::new();
        fs::remove_file(&key).ok();
        served.write(dir.path());
        scene.wait_shown("l", &served);
        scene.wait_reloads("l", (count, count));
    }
    assert_eq!(log_lines(&scene, "certificate refused"), wrong.len());
    assert_eq!(log_lines(&scene, "certificate replaced"), wrong.len());
}

#[test]
fn the_old_pair_put_back_is_neither_a_reload_nor_a_refusal() {
    let dir = TempDir::new().unwrap();
    let first = Pair::new();
    first.write(dir.path());
    let scene = Scene::new(&[("l", dir.path())]);
    fs::write(dir.path().join("cert.pem"), "").unwrap();
    scene.wait_event("l", "refused", "holds no certificate");
    first.write(dir.path());
    eventually("it is noticed", PATIENCE, || log_lines(&scene, "the files hold again") == 1);
    scene.wait_event("l", "valid until", "holds again what is served");
    assert_eq!(scene.reloads("l"), (0, 1));
    assert!(scene.shows("l", &first));
}

#[test]
fn a_certificate_with_little_time_left_is_spoken_of_at_the_start() {
    let dir = TempDir::new().unwrap();
    let ending = Pair::until(SystemTime::now() + DAY * 5);
    ending.write(dir.path());
    let scene = Scene::new(&[("l", dir.path())]);
    scene.wait_event("l", "expiring", "cert.pem expires in 4 days, on ");
    eventually("it is logged", PATIENCE, || log_lines(&scene, "certificate expires soon") == 1);
    Pair::new().write(dir.path());
    scene.wait_reloads("l", (1, 0));
    assert_eq!(log_lines(&scene, "certificate expires soon"), 1);
}
