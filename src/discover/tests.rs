//! Files that are followed; look-ups in DNS are tested with the whole balancer, in `tests/it/names/`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use tokio::time::timeout;

use super::*;

/// Far beyond what a busy machine needs.
const PATIENCE: Duration = Duration::from_secs(20);

fn spec(path: &Path) -> Spec {
    Spec {
        pool: "p".into(),
        discover: Discover { source: DiscoverSource::File(path.to_owned()), refresh: None },
        max_sessions: 0,
        resolver: Resolver::default(),
    }
}

/// Waits until these are found.
async fn finds(discovery: &Discovery, names: &[&str]) {
    let are_these = |found: &Option<Arc<[Member]>>| {
        found
            .as_ref()
            .is_some_and(|found| found.iter().map(|it| &*it.name).eq(names.iter().copied()))
    };
    let mut found = discovery.found();
    let waited = timeout(PATIENCE, found.wait_for(are_these)).await;
    assert!(waited.is_ok(), "{names:?}, not {:?}", discovery.found().borrow());
}

/// Waits until the last look-up has failed for a reason with `part` in it.
async fn fails(discovery: &Discovery, part: &str) {
    let wait = async {
        while !discovery.figures().trouble().is_some_and(|why| why.contains(part)) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let waited = timeout(PATIENCE, wait).await;
    assert!(waited.is_ok(), "{part}, not {:?}", discovery.figures().trouble());
}

fn write(path: &Path, text: &str) {
    let other = path.with_extension("new");
    fs::write(&other, text).unwrap();
    fs::rename(other, path).unwrap();
}

#[tokio::test]
async fn a_file_is_followed_and_a_broken_one_takes_nothing_away() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.json");
    let discovery = Discovery::start(spec(&path), None);
    timeout(PATIENCE, discovery.first_answer()).await.unwrap();
    assert!(discovery.found().borrow().is_none());
    assert!(discovery.figures().trouble().unwrap().contains("cannot be read"));
    assert_eq!(discovery.figures().age(), None);

    write(&path, "[\"10.0.0.2:1\", {\"address\": \"10.0.0.1:1\", \"name\": \"one\"}]");
    finds(&discovery, &["10.0.0.2:1", "one"]).await;
    assert_eq!(discovery.figures().trouble(), None);
    assert!(discovery.figures().age().is_some());

    for (text, why) in [("[\"10.0.0.2:1\"", "no JSON"), ("[]", "no backend"), ("[1]", "string")] {
        let before = discovery.figures().failures.get();
        write(&path, text);
        fails(&discovery, why).await;
        assert!(discovery.figures().failures.get() > before);
        finds(&discovery, &["10.0.0.2:1", "one"]).await;
    }
    write(&path, "[\"10.0.0.3:1\"]");
    finds(&discovery, &["10.0.0.3:1"]).await;
    // In place, too.
    fs::write(&path, "[\"10.0.0.4:1\"]").unwrap();
    finds(&discovery, &["10.0.0.4:1"]).await;
}

#[tokio::test]
async fn a_link_that_is_swapped_is_another_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.json");
    for (version, text) in [("1", "[\"10.0.0.1:1\"]"), ("2", "[\"10.0.0.2:1\"]")] {
        fs::create_dir(folder.path().join(version)).unwrap();
        fs::write(folder.path().join(version).join("b.json"), text).unwrap();
    }
    symlink("1", folder.path().join("..data")).unwrap();
    symlink("..data/b.json", &path).unwrap();
    let discovery = Discovery::start(spec(&path), None);
    finds(&discovery, &["10.0.0.1:1"]).await;
    symlink("2", folder.path().join("..new")).unwrap();
    fs::rename(folder.path().join("..new"), folder.path().join("..data")).unwrap();
    finds(&discovery, &["10.0.0.2:1"]).await;
}

#[tokio::test]
async fn what_was_found_and_counted_goes_on_when_it_is_set_up_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("b.json");
    let first = Discovery::start(spec(&path), None);
    fails(&first, "cannot be read").await;
    write(&path, "[\"10.0.0.1:1\"]");
    finds(&first, &["10.0.0.1:1"]).await;
    assert!(first.fits(&spec(&path)));
    let elsewhere = spec(&folder.path().join("c.json"));
    assert!(!first.fits(&elsewhere));
    let second = Discovery::start(elsewhere, Some(&first));
    fails(&second, "cannot be read").await;
    finds(&second, &["10.0.0.1:1"]).await;
    assert!(second.figures().failures.get() >= 2);
}
