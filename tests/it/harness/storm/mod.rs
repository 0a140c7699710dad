//! Load that goes on beside a test, and remembers each failure with its time.
//!
//! A storm is cheap: it is paced, and a machine that is slow gets less of it, never a hurry to catch up.
//! So that less is not nothing, a test says at its end how much there must have been.

mod flows;
mod sessions;
mod visits;
mod web;

use std::fmt::Write;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::wait::{eventually, pace};

pub(crate) use flows::{flows, telling};
pub(crate) use sessions::sessions;
pub(crate) use visits::{repeated, visits};
pub(crate) use web::{browsers, pages, streams};

/// For as much load as a slow machine needs some time for.
const LONG: Duration = Duration::from_secs(60);

/// Of all failures so many are shown.
const SHOWN: usize = 20;

/// What one piece of data is long.
const PIECE: usize = 1024;

/// Load of one kind, until it is finished or dropped.
pub(crate) struct Storm {
    sky: Arc<Sky>,
    lanes: Vec<thread::JoinHandle<()>>,
}

/// What the lanes of a storm share.
struct Sky {
    is_over: AtomicBool,
    done: AtomicUsize,
    moved: AtomicUsize,
    failures: Mutex<Vec<Failure>>,
}

/// Something that must not happen.
struct Failure {
    at: Instant,
    what: String,
}

/// What is left of a storm.
pub(crate) struct Toll {
    /// Visits, pieces, datagrams or requests that were answered well.
    pub(crate) done: usize,
    /// Sessions, flows and connections that had to be begun anew, and were allowed to.
    pub(crate) moved: usize,
    /// In the order of time.
    failures: Vec<Failure>,
}

impl Sky {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    fn well(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    fn moved(&self) {
        self.moved.fetch_add(1, Ordering::Relaxed);
    }

    fn fail(&self, what: String) {
        self.failures.lock().unwrap().push(Failure { at: Instant::now(), what });
    }
}

impl Storm {
    /// A thread for each lane, which works until the sky is over.
    fn of<L: FnOnce(&Arc<Sky>) + Send + 'static>(lanes: Vec<L>) -> Self {
        let sky = Arc::new(Sky {
            is_over: AtomicBool::new(false),
            done: AtomicUsize::new(0),
            moved: AtomicUsize::new(0),
            failures: Mutex::default(),
        });
        let spawn = |lane: L| {
            let sky = Arc::clone(&sky);
            thread::spawn(move || lane(&sky))
        };
        let lanes = lanes.into_iter().map(spawn).collect();
        Self { sky, lanes }
    }

    /// What was answered well so far.
    pub(crate) fn done(&self) -> usize {
        self.sky.done.load(Ordering::Relaxed)
    }

    /// Whether something has failed.
    pub(crate) fn has_failed(&self) -> bool {
        !self.sky.failures.lock().unwrap().is_empty()
    }

    /// Waits until so much more was answered well, or something has failed.
    #[track_caller]
    pub(crate) fn go_on(&self, more: usize) {
        self.reach(self.done() + more);
    }

    /// Waits until so much was answered well in all, or something has failed.
    #[track_caller]
    pub(crate) fn reach(&self, goal: usize) {
        eventually(&format!("{goal} are served"), LONG, || {
            self.done() >= goal || self.has_failed()
        });
    }

    /// Ends it in order.
    pub(crate) fn finish(mut self) -> Toll {
        self.sky.is_over.store(true, Ordering::Relaxed);
        for lane in self.lanes.drain(..) {
            if lane.join().is_err() {
                self.sky.fail("a lane of the storm has panicked".into());
            }
        }
        let failures = std::mem::take(&mut *self.sky.failures.lock().unwrap());
        Toll { done: self.done(), moved: self.sky.moved.load(Ordering::Relaxed), failures }
    }

    /// Ends it in order, after at least so much; fails the test unless all of it was answered well.
    #[track_caller]
    pub(crate) fn calm(self, diary: &Diary, least: usize) -> Toll {
        self.reach(least);
        let toll = self.finish();
        assert!(toll.failures.is_empty(), "{}", diary.told(&toll));
        assert!(toll.done >= least, "only {} of at least {least}", toll.done);
        toll
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        self.sky.is_over.store(true, Ordering::Relaxed);
    }
}

impl Toll {
    /// How much failed.
    pub(crate) fn failed(&self) -> usize {
        self.failures.len()
    }
}

/// What a test did to the balancer, and when: so that a failure is told with what came before it.
pub(crate) struct Diary {
    began: Instant,
    notes: Mutex<Vec<(Instant, String)>>,
}

impl Diary {
    pub(crate) fn new() -> Self {
        Self { began: Instant::now(), notes: Mutex::default() }
    }

    /// This is about to be done.
    pub(crate) fn note(&self, what: impl Into<String>) {
        self.notes.lock().unwrap().push((Instant::now(), what.into()));
    }

    fn told(&self, toll: &Toll) -> String {
        let notes = self.notes.lock().unwrap();
        let mut text = format!("{} failed, {} went well:\n", toll.failures.len(), toll.done);
        for Failure { at, what } in toll.failures.iter().take(SHOWN) {
            let after = at.duration_since(self.began);
            let last = notes.iter().rev().find(|(noted, _)| noted <= at);
            let last = last.map_or_else(
                || "before anything".into(),
                |(noted, note)| format!("{:?} after {note}", at.duration_since(*noted)),
            );
            writeln!(text, "at {after:?}, {last}: {what}").unwrap();
        }
        text
    }
}

/// When the next thing is due: after `gap`, but one that is late does not hurry after.
struct Beat {
    next: Instant,
    gap: Duration,
}

impl Beat {
    /// Of lane `turn` of `lanes`, which do not all begin at once.
    fn new(gap: Duration, turn: u32, lanes: u32) -> Self {
        Self { next: Instant::now() + gap * turn / lanes, gap }
    }

    fn wait(&mut self) {
        pace(self.next);
        self.next = (self.next + self.gap).max(Instant::now());
    }
}

/// Bytes that no other seed has.
fn piece(seed: u64) -> [u8; PIECE] {
    let mut word = (seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = [0; PIECE];
    for eight in bytes.chunks_exact_mut(8) {
        // xorshift64: no quality asked of it but that neighbours differ.
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        eight.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// For bytes that came back as others.
fn torn() -> io::Error {
    io::Error::other("the bytes that came back are not those that were sent")
}
