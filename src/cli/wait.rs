//! Waiting for the last session of a backend in drain, with a count that a person or a log can follow.

use std::io::{IsTerminal, Write};
use std::thread;
use std::time::{Duration, Instant};

use super::place::Place;
use super::status;
use super::steer::line;
use crate::api::{self, BackendStatus};
use crate::config::AdminBind;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(250);

/// How long looks may stay unanswered: a balancer that was too busy for one has not gone.
const SILENCE: Duration = Duration::from_secs(3);

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
    let mut heard = started;
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
        let seen = match status::fetch(admin) {
            Ok((status, _)) => find(status, place),
            Err(_) if heard.elapsed() < SILENCE => continue,
            Err(reason) => {
                Err(format!("{place}: the balancer went away during the wait: {reason}"))
            }
        };
        now = seen.inspect_err(|_| progress.end())?;
        heard = Instant::now();
    }
}

fn find(status: api::Status, place: &Place) -> Result<BackendStatus, String> {
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

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn backend(sessions: u64) -> String {
        format!(
            r#"{{"name": "a", "address": "127.0.0.1:1", "health": "up", "state": "drain",
                "ejected_until": null, "weight": 1, "effective_weight": 0, "backup": false,
                "max_sessions": 0, "sessions": {sessions}, "sessions_total": 1, "bytes_in": 0,
                "bytes_out": 0, "failures": 0, "last_probe": null}}"#
        )
    }

    #[test]
    fn a_look_that_is_not_answered_does_not_end_the_wait() {
        let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let admin = AdminBind::Tcp(other.local_addr().unwrap());
        let answers = thread::spawn(move || {
            // As one that makes room for others.
            drop(other.accept().unwrap());
            let (mut stream, _) = other.accept().unwrap();
            assert!(stream.read(&mut [0; 1024]).unwrap() > 0);
            let body = format!(
                r#"{{"version": "0", "pid": 1, "uptime_seconds": 1, "state": "serving",
                    "config": {{"file": null, "hash": ""}}, "listeners": [], "pools": [{{
                    "name": "p", "balance": "first", "retries": 0, "backends": [{}]}}]}}"#,
                backend(0)
            );
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            stream.write_all((head + &body).as_bytes()).unwrap();
        });
        let now = serde_json::from_str(&backend(1)).unwrap();
        let ended = wait(&admin, &"p/a".parse().unwrap(), now, None).unwrap();
        assert!(matches!(ended, Ended::Done(now) if now.sessions == 0));
        answers.join().unwrap();
    }
}
