//! What the balancer is told to do as a whole: `POST` of reload, confirm and upgrade, and of a plan,
//! which changes nothing.
//!
//! No call takes a path: the process reads the file it was started with, and a plan brings its own.

use std::time::Duration;

use hyper::body::Body;
use hyper::{Request, StatusCode};
use serde::Serialize;
use tokio::sync::Semaphore;

use crate::admin::answer::{Answer, Refusal, json};
use crate::admin::stay::Stay;
use crate::admin::{body, path, status};
use crate::api;
use crate::config::units;
use crate::server::{self, Handle};

/// A file that says more than this is none of ours; it is what `check` reads at most.
const LARGEST_PLAN: usize = 8 << 20;

/// Commands that wait at once: beyond it somebody asks in a loop.
const WAITING: usize = 16;

/// What may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Command {
    /// Read the file again.
    Reload,
    /// Keep what was loaded.
    Confirm,
    /// Let a new process take over.
    Upgrade,
    /// What would this file change?
    Plan,
}

/// Room for those who wait.
#[derive(Debug)]
pub(super) struct Waiters(Semaphore);

impl Default for Waiters {
    fn default() -> Self {
        Self(Semaphore::new(WAITING))
    }
}

/// Has a command carried out, and says how that went. Once begun it is carried out to its end, even if
/// whoever asked goes away.
pub(super) async fn obey<B: Body>(
    handle: &Handle,
    (command, waiters): (Command, &Waiters),
    request: Request<B>,
    stay: &Stay,
) -> Result<Answer, Refusal> {
    let within = confirm(command, request.uri().query())?;
    let file = match command {
        Command::Plan => plan(request).await?,
        _ => String::new(),
    };
    let _place = waiters.0.try_acquire().map_err(|_| {
        Refusal::unavailable(format!("{WAITING} commands wait already: try again in a moment"))
    })?;
    let _waiting = stay.wait();
    ready(handle)?;
    match command {
        Command::Reload => done(&handle.reload(within).await?),
        Command::Upgrade => done(&handle.upgrade().await?),
        Command::Plan => done(&handle.plan(file).await?),
        Command::Confirm => {
            handle.confirm().await?;
            done(&status::config(&handle.snapshot()))
        }
    }
}

fn done(value: &impl Serialize) -> Result<Answer, Refusal> {
    Ok(json(StatusCode::OK, value))
}

fn ready(handle: &Handle) -> Result<(), Refusal> {
    match status::phase(handle) {
        api::Phase::Serving => Ok(()),
        api::Phase::Starting => Err(server::Refusal::Unready("starting").into()),
        api::Phase::Stopping => Err(server::Refusal::Unready("stopping").into()),
    }
}

/// The time of `?confirm=60s`. Nothing else may be said: a slip of the pen must not become a reload
/// that stays.
fn confirm(command: Command, query: Option<&str>) -> Result<Option<Duration>, Refusal> {
    let keys = query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    let mut keys = keys.map(|pair| pair.split_once('=').map_or(pair, |(key, _)| key));
    if let Some(key) = keys.find(|key| command != Command::Reload || *key != "confirm") {
        let known = if command == Command::Reload { "there is `confirm`" } else { "it takes none" };
        return Err(Refusal::bad(format!("unknown key {key:?}; {known}")));
    }
    if query.is_none_or(str::is_empty) {
        return Ok(None);
    }
    let text = path::value(query, "confirm").unwrap_or_default();
    match units::duration(&text) {
        Ok(time) if !time.is_zero() => Ok(Some(time)),
        _ => {
            let error = format!("`confirm` is {text:?}; it is a time above zero, as in 60s");
            Err(Refusal::bad(error))
        }
    }
}

async fn plan<B: Body>(request: Request<B>) -> Result<String, Refusal> {
    let (head, sent) = request.into_parts();
    let way_out = "send the effective file as JSON, as `evenkeel plan -c FILE` does";
    let sent = body::read(&head.headers, sent, LARGEST_PLAN, way_out).await?;
    String::from_utf8(sent).map_err(|_| Refusal::bad(format!("the body is no text; {way_out}")))
}

impl From<server::Refusal> for Refusal {
    fn from(refusal: server::Refusal) -> Self {
        let error = refusal.to_string();
        match refusal {
            server::Refusal::Invalid(refused) => {
                let problems = refused.problems.iter().map(ToString::to_string);
                Self::bad(error).about(problems.collect())
            }
            server::Refusal::Conflict(_) => Self::new(StatusCode::CONFLICT, error),
            server::Refusal::Failed(_) | server::Refusal::Unready(_) => Self::unavailable(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_reload_takes_a_time_and_nothing_else_is_taken() {
        let reload = |query| confirm(Command::Reload, query).ok();
        assert_eq!(reload(None), Some(None));
        assert_eq!(reload(Some("")), Some(None));
        assert_eq!(reload(Some("confirm=1m30s")), Some(Some(Duration::from_secs(90))));
        for wrong in ["confirm", "confirm=", "confirm=60", "confirm=0s", "confrim=60s", "file=/x"] {
            assert_eq!(reload(Some(wrong)), None, "{wrong}");
        }
        assert!(confirm(Command::Plan, Some("confirm=60s")).is_err());
        assert!(confirm(Command::Upgrade, Some("x")).is_err());
    }
}
