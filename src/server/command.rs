//! What the running server is asked to do as a whole, and what it says to that.
//!
//! Whoever asks waits for the answer; the supervisor, one task, does one thing after the other.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::api;
use crate::config;
use crate::metric::Counter;

/// Commands that may stand in line: each comes from somebody who waits for its answer.
pub(super) const COMMANDS: usize = 16;

/// Where the answer goes; nobody may be waiting for it any more.
pub(super) type Reply<T> = oneshot::Sender<Result<T, Refusal>>;

/// What the supervisor is asked.
#[derive(Debug)]
pub(super) enum Command {
    /// Read the file again; go back after this time unless it is confirmed.
    Reload(Option<Duration>, Reply<api::Reloaded>),
    /// Keep what was loaded last.
    Confirm(Reply<()>),
    /// What would this file change? It is the effective file as JSON.
    Plan(String, Reply<api::Changes>),
    /// Let a new process take over.
    Upgrade(Reply<api::Upgraded>),
}

/// Reloads so far, by how they went; the first load is none.
#[derive(Debug, Default)]
pub struct Reloads {
    /// That have taken effect.
    pub ok: Counter,
    /// That have changed nothing, whatever the reason.
    pub refused: Counter,
}

/// Why a command was not obeyed. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The file cannot be used.
    #[error("the file cannot be used: {}", problems(.0))]
    Invalid(Box<config::Refused>),
    /// Something else is under way, or nothing is that could be meant.
    #[error("{0}")]
    Conflict(String),
    /// It was tried, and could not be done.
    #[error("{0}")]
    Failed(String),
    /// The process is starting or stopping.
    #[error("the process is {0}: nothing is changed now")]
    Unready(&'static str),
}

fn problems(refused: &config::Refused) -> String {
    let count = refused.problems.len();
    let first = refused.problems.first().map(ToString::to_string).unwrap_or_default();
    if count > 1 { format!("{first} (and {} more)", count - 1) } else { first }
}

/// Asks the supervisor, and waits for what it says.
pub(super) async fn ask<T>(
    commands: &mpsc::Sender<Command>,
    command: impl FnOnce(Reply<T>) -> Command,
) -> Result<T, Refusal> {
    let (reply, answer) = oneshot::channel();
    let gone = || Refusal::Unready("stopping");
    commands.send(command(reply)).await.map_err(|_| gone())?;
    answer.await.unwrap_or_else(|_| Err(gone()))
}
