//! `evenkeel demo`: the balancer with built-in backends, to see it work.
//!
//! The demo is a play on loopback: three small backends, a balancer in front of them, and clients
//! of its own. One backend is stopped and comes back, so that a newcomer sees what that costs.

mod backend;
mod clients;
mod script;
mod stage;
mod view;

use std::future::Future;
use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};

use self::stage::Stage;
use super::{FAILED, complain};
use crate::config::Config;
use crate::server::Handle;

/// Run with three small built-in backends, to see it work
///
/// Everything stays on loopback. Prints the addresses and a few lines to type.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  evenkeel demo --seconds 60")]
pub(crate) struct Args {
    /// End after so many seconds [default: run until stopped]
    #[arg(long, value_name = "N")]
    pub(crate) seconds: Option<u64>,
}

/// A balancer that has started.
pub(crate) struct Running {
    /// What reports read.
    pub(crate) handle: Arc<Handle>,
    /// Where its admin interface listens.
    pub(crate) admin: SocketAddr,
    /// Stops it when awaited.
    pub(crate) stop: Pin<Box<dyn Future<Output = ()>>>,
}

pub(crate) fn execute(args: Args) -> ExitCode {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let played = runtime.map_err(|error| format!("demo: cannot start: {error}"));
    match played.and_then(|runtime| runtime.block_on(perform(args.seconds, launch))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            complain(&reason);
            ExitCode::from(FAILED)
        }
    }
}

/// STUB: starts the balancer.
async fn launch(_config: Config) -> Result<Running, String> {
    Err("`demo` is not built yet".to_owned())
}

/// Sets the stage, has the balancer launched in front of it, plays, and stops it.
async fn perform<F>(seconds: Option<u64>, launch: impl FnOnce(Config) -> F) -> Result<(), String>
where
    F: Future<Output = Result<Running, String>>,
{
    let failed = |error: io::Error| format!("demo: {error}");
    // Before anything listens, so that no Ctrl-C is lost.
    let stop = asked_to_stop().map_err(failed)?;
    let stage = Stage::set().await.map_err(failed)?;
    let Running { handle, admin, stop: end } = launch(stage.config()?).await?;
    let out = io::stdout();
    let live = out.is_terminal();
    let played = stage.play(handle, admin, seconds, stop, (out, live)).await;
    end.await;
    match played {
        // Whoever read along has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        played => played.map_err(failed),
    }
}

/// Done at the first Ctrl-C or SIGTERM.
fn asked_to_stop() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
