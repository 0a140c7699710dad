//! Every usual way to put a new pair in place is noticed, and only where it was put.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use crate::certificates::{Pair, Scene, Secret, point};

/// Overwritten in place, renamed into place, and the key before the certificate.
#[test]
fn a_new_pair_in_the_old_files_is_shown_from_the_next_handshake_on() {
    let ways: [fn(&Path, &Pair); 3] = [
        |folder, pair| pair.write(folder),
        |folder, pair| {
            let new = folder.join("new");
            fs::create_dir(&new).unwrap();
            pair.write(&new);
            for file in ["cert.pem", "key.pem"] {
                fs::rename(new.join(file), folder.join(file)).unwrap();
            }
            fs::remove_dir(new).unwrap();
        },
        |folder, pair| {
            fs::write(folder.join("key.pem"), &pair.key).unwrap();
            fs::write(folder.join("cert.pem"), &pair.cert).unwrap();
        },
    ];
    let dir = TempDir::new().unwrap();
    let first = Pair::new();
    first.write(dir.path());
    let scene = Scene::new(&[("l", dir.path())]);
    assert!(scene.shows("l", &first));
    assert_eq!(scene.reloads("l"), (0, 0));
    for (count, way) in (1..).zip(ways) {
        let pair = Pair::new();
        way(dir.path(), &pair);
        scene.wait_shown("l", &pair);
        // That key and certificate came one after the other is nothing to speak of.
        scene.wait_reloads("l", (count, 0));
    }
    scene.wait_event("l", "valid until ", "cert.pem has changed");
}

#[test]
fn a_secret_of_kubernetes_is_followed_through_its_versions() {
    let dir = TempDir::new().unwrap();
    let mut secret = Secret::new(dir.path(), &Pair::new());
    let scene = Scene::new(&[("l", dir.path())]);
    for count in 1..=3 {
        let pair = Pair::new();
        secret.update(&pair);
        scene.wait_shown("l", &pair);
        scene.wait_reloads("l", (count, 0));
    }
}

#[test]
fn a_certificate_of_certbot_is_followed_into_the_archive() {
    let dir = TempDir::new().unwrap();
    let (live, archive) = (dir.path().join("live/db"), dir.path().join("archive/db"));
    fs::create_dir_all(&live).unwrap();
    fs::create_dir_all(&archive).unwrap();
    let issue = |number: u32, pair: &Pair| {
        for (file, text) in [("cert", &pair.cert), ("key", &pair.key)] {
            let name = format!("{file}{number}.pem");
            fs::write(archive.join(&name), text).unwrap();
            let target = Path::new("../../archive/db").join(name);
            point(&live.join(format!("{file}.pem")), target);
        }
    };
    issue(1, &Pair::new());
    let scene = Scene::new(&[("l", &live)]);
    for count in 1..=3 {
        let pair = Pair::new();
        issue(u32::try_from(count).unwrap() + 1, &pair);
        scene.wait_shown("l", &pair);
        scene.wait_reloads("l", (count, 0));
    }
}

#[test]
fn a_folder_that_is_removed_and_made_again_is_found_again() {
    let dir = TempDir::new().unwrap();
    let folder = dir.path().join("deep/certs");
    fs::create_dir_all(&folder).unwrap();
    let first = Pair::new();
    first.write(&folder);
    let scene = Scene::new(&[("l", &folder)]);
    fs::remove_dir_all(dir.path().join("deep")).unwrap();
    scene.wait_event("l", "refused", "No such file");
    assert!(scene.shows("l", &first));
    fs::create_dir_all(&folder).unwrap();
    let second = Pair::new();
    second.write(&folder);
    scene.wait_shown("l", &second);
    scene.wait_reloads("l", (1, 1));
}

#[test]
fn listeners_that_share_a_pair_change_together_and_others_do_not() {
    let (one, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let (first, its_own) = (Pair::new(), Pair::new());
    first.write(one.path());
    its_own.write(other.path());
    let listeners = [("l", one.path()), ("m", one.path()), ("n", other.path())];
    let scene = Scene::new(&listeners);
    let second = Pair::new();
    second.write(one.path());
    for listener in ["l", "m"] {
        scene.wait_shown(listener, &second);
        scene.wait_reloads(listener, (1, 0));
        scene.wait_event(listener, "valid until ", "has changed");
    }
    assert!(scene.shows("n", &its_own));
    assert_eq!(scene.reloads("n"), (0, 0));
}
