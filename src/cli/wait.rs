//! Waiting for the last session of a backend in drain, with a count that a person or a log can follow.

use std::io::{IsTerminal, Write};
use std::thread;
use std::time::{Duration, Instant};

use super::place::Place;
use super::status;
use super::steer::line;
use crate::api::BackendStatus;
use crate::config::AdminBind;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);

/// Between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(1);

/// How the wait ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// There is nothing left to wait for.
    Done(BackendStatus),
    /// Time was up first.
    Late(BackendStatus),
}

/// Waits until the backend has no session left, or `limit` has passed.
///
/// # Errors
/// The balancer or the backend is gone, or somebody has put the backend back into rotation.
pub(super) fn wait(
    admin: &AdminBind,
    place: &Place,
    mut now: BackendStatus,
    limit: Option<Duration>,
) -> Result<Ended, String> {
    let started = Instant::now();
    let mut progress = Progress::default();
    loop {
        if now.state == "ready" {
            let weight = now.weight;
            return Err(format!(
                "{place} is ready again, with weight {weight}: somebody else wants it so"
            ));
        }
        if now.sessions == 0 {
            progress.end();
            return Ok(Ended::Done(now));
        }
        progress.show(&line(place, &now));
        let left = limit.map(|limit| limit.saturating_sub(started.elapsed()));
        if left.is_some_and(|left| left.is_zero()) {
            progress.end();
            return Ok(Ended::Late(now));
        }
        thread::park_timeout(left.map_or(LOOK, |left| left.min(LOOK)));
        now = look(admin, place).inspect_err(|_| progress.end())?;
    }
}

fn look(admin: &AdminBind, place: &Place) -> Result<BackendStatus, String> {
    let gone = |reason| format!("{place}: the balancer went away during the wait: {reason}");
    let status = status::fetch(admin).map_err(gone)?.0;
    let pool = status.pools.into_iter().find(|pool| pool.name == place.pool);
    let mut backends = pool.into_iter().flat_map(|pool| pool.backends);
    let found = backends.find(|backend| backend.name == place.backend);
    found.ok_or_else(|| format!("{place} is no longer there; its last sessions end by themselves"))
}

/// One line on standard error: rewritten in place where a person looks, else a line a change.
struct Progress {
    is_terminal: bool,
    last: Option<(Instant, String)>,
}

impl Default for Progress {
    fn default() -> Self {
        Self { is_terminal: std::io::stderr().is_terminal(), last: None }
    }
}

impl Progress {
    fn show(&mut self, line: &str) {
        let is_news = self.last.as_ref().is_none_or(|(at, last)| {
            line != last && (self.is_terminal || at.elapsed() >= PROGRESS)
        });
        if is_news {
            let (before, after) = if self.is_terminal { ("\r\x1b[K", "") } else { ("", "\n") };
            write(&format!("{before}{line}{after}"));
            self.last = Some((Instant::now(), line.to_owned()));
        }
    }

    /// Leaves the terminal's line to what comes next.
    fn end(&mut self) {
        if self.is_terminal && self.last.is_some() {
            write("\r\x1b[K");
        }
    }
}

/// Nobody may be looking.
fn write(text: &str) {
    let mut out = std::io::stderr().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).ok();
}
