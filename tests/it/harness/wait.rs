//! Waiting for something to become true, which is the only way these tests let time pass.

use std::thread;
use std::time::{Duration, Instant};

/// Enough for anything that does not hang, on a machine that is busy with other things.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

const STEP: Duration = Duration::from_millis(5);

/// Polls until `condition` holds; fails, naming `what`, when `limit` has passed.
#[track_caller]
pub(crate) fn eventually(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    until(what, limit, || condition().then_some(()));
}

/// Polls until there is an answer; fails, naming `what`, when `limit` has passed.
#[track_caller]
pub(crate) fn until<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        thread::park_timeout(STEP);
    }
}

/// Fails as soon as `condition` does not hold within `span`: for what must *not* happen.
#[track_caller]
pub(crate) fn throughout(what: &str, span: Duration, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while start.elapsed() < span {
        assert!(condition(), "did not hold for {span:?}: {what}");
        thread::park_timeout(STEP);
    }
}

/// Waits for a moment that load is paced by.
pub(crate) fn pace(next: Instant) {
    while let Some(left) = next.checked_duration_since(Instant::now()).filter(|d| !d.is_zero()) {
        thread::park_timeout(left);
    }
}
