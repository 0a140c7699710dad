//! `evenkeel demo`: the balancer with built-in backends, to see it work.
//!
//! The demo is a play on loopback: three small backends, a balancer in front of them, and clients
//! of its own. One backend is stopped and comes back, so that a newcomer sees what that costs.

mod backend;
mod clients;
mod script;
mod stage;
mod view;

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use tokio::runtime::{Builder, Runtime};

use self::stage::Stage;
use super::serve::{LAST_LINES, Ready, Running, failed, prepare};
use crate::config::AdminBind;
use crate::log::{self, Log};
use crate::server::{Inheritance, Signals};

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

/// Plays to the end, or until told to stop.
pub(crate) fn execute(args: Args) -> ExitCode {
    match perform(args.seconds) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn perform(seconds: Option<u64>) -> anyhow::Result<()> {
    // Backends of their own, as far from the balancer's threads as one process allows.
    let backends = Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let backends = backends.context("cannot start the demo's backends")?;
    let mut stage = set_stage(&backends).context("cannot start the demo's backends")?;
    let log = log::start(&stage.config()?.log).context("cannot open the log")?;
    let log = Arc::new(log);
    let (control, opened) = raise_curtain(&mut stage, &log)?;
    let played = match opened {
        Some(opened) => control.block_on(play(stage, opened, seconds)),
        None => Ok(()),
    };
    control.shutdown_background();
    backends.shutdown_background();
    log.flush(LAST_LINES);
    played
}

fn set_stage(backends: &Runtime) -> io::Result<Stage> {
    let _inside = backends.enter();
    Stage::set()
}

/// A balancer that serves the demo.
struct Opened {
    running: Running,
    admin: SocketAddr,
    signals: Signals,
}

/// Opens the balancer on the usual ports, or on free ones when that fails. Whether it fails is
/// known only when they are open: another demo may start in the same moment.
fn raise_curtain(stage: &mut Stage, log: &Arc<Log>) -> anyhow::Result<(Runtime, Option<Opened>)> {
    open(stage, log).or_else(|_| {
        stage.move_elsewhere();
        open(stage, log)
    })
}

/// Nothing if told to stop meanwhile.
fn open(stage: &Stage, log: &Arc<Log>) -> anyhow::Result<(Runtime, Option<Opened>)> {
    let (control, ready) = prepare(stage.config()?, log, Inheritance::default())?;
    let opened = control.block_on(async {
        // Before anything listens: a signal that comes early must find its handler.
        let mut signals = Signals::install().context("cannot listen to signals")?;
        let admin = admin_address(&ready).context("the demo has no admin address")?;
        let running = tokio::select! {
            running = Running::start(ready, log) => running?,
            () = signals.stop() => return Ok(None),
        };
        Ok(Some(Opened { running, admin, signals }))
    });
    opened.map(|opened| (control, opened))
}

async fn play(stage: Stage, opened: Opened, seconds: Option<u64>) -> anyhow::Result<()> {
    let Opened { mut running, admin, mut signals } = opened;
    let handle = running.handle().clone();
    let out = io::stdout();
    let live = out.is_terminal();
    let obeyed = Box::pin(running.obey(&mut signals));
    let played = stage.play(handle, admin, seconds, obeyed, (out, live)).await;
    running.stop(&mut signals).await;
    match played {
        // Whoever read along has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        played => played.context("the demo cannot go on"),
    }
}

fn admin_address(ready: &Ready) -> Option<SocketAddr> {
    match ready.admin_address()? {
        AdminBind::Tcp(address) => Some(*address),
        AdminBind::Off | AdminBind::Unix(_) => None,
    }
}
