//! Pairs that are swapped again and again under handshakes: none fails, and nothing is left behind.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::certificates::{Pair, Scene, Secret, shown};
use crate::harness::wait::{PATIENCE, eventually, pace};

/// Clients, each with 25 handshakes a second.
const CLIENTS: u32 = 4;
const BETWEEN: Duration = Duration::from_millis(40);

const SWAPS: usize = 100;

/// Of so many swaps the last is waited for; the others come as fast as somebody writes files.
const AWAITED: usize = 10;

/// Fewer than one for each of those that are waited for.
const FEW: usize = 5;

#[test]
fn a_hundred_swaps_of_a_link_fail_no_handshake() {
    let dir = TempDir::new().unwrap();
    let mut secret = Secret::new(dir.path(), &Pair::new());
    let (scene, _) = swap_under_load(dir.path(), |pair| secret.update(pair));
    assert_eq!(scene.reloads("l").1, 0);
}

#[test]
fn a_hundred_pairs_written_over_each_other_fail_no_handshake() {
    let dir = TempDir::new().unwrap();
    Pair::new().write(dir.path());
    swap_under_load(dir.path(), |pair| pair.write(dir.path()));
}

/// Swaps while clients shake hands, and looks at what is left of it.
#[track_caller]
fn swap_under_load(folder: &Path, mut swap: impl FnMut(&Pair)) -> (Scene, usize) {
    let scene = Scene::new(&[("l", folder)]);
    let at = scene.proxy.address("l");
    let before = Traces::of(&scene);
    let (is_over, shaken) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (is_over, shaken) = (&is_over, &shaken);
            scope.spawn(move || {
                let mut next = Instant::now() + BETWEEN / CLIENTS * client;
                while !is_over.load(Ordering::Relaxed) {
                    pace(next);
                    shown(at).unwrap_or_else(|error| panic!("a handshake failed: {error}"));
                    shaken.fetch_add(1, Ordering::Relaxed);
                    // One that is late does not hurry after.
                    next = (next + BETWEEN).max(Instant::now());
                }
            });
        }
        let _over = Over(&is_over);
        for number in 1..=SWAPS {
            let pair = Pair::new();
            let since = shaken.load(Ordering::Relaxed);
            swap(&pair);
            if number % AWAITED == 0 {
                scene.wait_shown("l", &pair);
            }
            eventually("there is load between two swaps", PATIENCE, || {
                shaken.load(Ordering::Relaxed) > since
            });
        }
    });
    let shaken = shaken.into_inner();
    assert!(shaken >= SWAPS, "{shaken} handshakes");
    let (replaced, _) = scene.reloads("l");
    assert!(replaced >= (SWAPS / AWAITED) as u64, "{replaced} replaced");
    scene.proxy.wait_idle();
    eventually("nothing has grown", PATIENCE, || {
        let now = Traces::of(&scene);
        // The balancer may not have had all of its own yet, and an idle thread for blocking work stays
        // for a while; what each swap left behind would be more.
        now.descriptors <= before.descriptors + FEW
            && now.threads <= before.threads + FEW
            && now.watches <= before.watches + FEW
    });
    (scene, shaken)
}

/// Ends the load, also when a test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What the process holds.
#[derive(Debug)]
struct Traces {
    descriptors: usize,
    threads: usize,
    /// Of inotify.
    watches: usize,
}

impl Traces {
    #[track_caller]
    fn of(scene: &Scene) -> Self {
        let process = format!("/proc/{}", scene.proxy.pid());
        let watches = || {
            let infos = fs::read_dir(format!("{process}/fdinfo")).unwrap().filter_map(Result::ok);
            let texts = infos.filter_map(|info| fs::read_to_string(info.path()).ok());
            texts.map(|text| text.matches("inotify wd:").count()).sum::<usize>()
        };
        eventually("the files are watched", PATIENCE, || watches() > 0);
        Self {
            descriptors: scene.proxy.descriptors(),
            threads: fs::read_dir(format!("{process}/task")).unwrap().count(),
            watches: watches(),
        }
    }
}
