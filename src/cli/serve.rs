//! A balancer from a checked configuration to its graceful end: what `run`, `proxy` and `demo` share.

use std::future::pending;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use super::belongings::{Belongings, at_work};
use super::pid_file::PidFile;
use super::{FAILED, complain};
use crate::admin;
use crate::config::{Access, AdminBind, Config};
use crate::log::{self, Log};
use crate::server::{
    self, Account, Bound, Handle, Inheritance, Known, Legacy, Line, Predecessor, Server,
    ServiceManager, Signals, Supervisor, Suspended, activation,
};

/// Threads of the control plane: probes, admin, signals. Never in the way of a session.
const CONTROL_THREADS: usize = 2;

/// How long the last log lines may take to be written.
pub(crate) const LAST_LINES: Duration = Duration::from_secs(1);

/// Runs a balancer until it is told to stop or replaced, and says on standard error what kept it from
/// running.
pub(crate) fn serve(config: Config) -> ExitCode {
    // Before there is a second thread, of which the log has some.
    let origin = Line::found().map_err(anyhow::Error::from).and_then(|line| {
        let sockets = activation::from_service_manager()?;
        Ok((line, sockets))
    });
    let (line, sockets) = match origin {
        Ok(origin) => origin,
        Err(error) => return failed(&error),
    };
    let log = match log::start(&config.log).context("cannot open the log") {
        Ok(log) => Arc::new(log),
        Err(error) => return failed(&error),
    };
    let prepared = match line {
        None => prepare(config, &log, sockets),
        Some(line) => succeed(config, &log, line),
    };
    let served = prepared.and_then(|(runtime, ready)| {
        let ready = Ready { is_replaceable: true, ..ready };
        let served = runtime.block_on(until_told(ready, &log));
        runtime.shutdown_background();
        served
    });
    let code = served.map_or_else(|error| failed(&error), |()| ExitCode::SUCCESS);
    log.flush(LAST_LINES);
    code
}

/// Says on standard error what failed.
pub(crate) fn failed(error: &anyhow::Error) -> ExitCode {
    complain(&format!("error: {error:#}"));
    ExitCode::from(FAILED)
}

/// A balancer with all its addresses, and no rights beyond what it needs from here on.
#[derive(Debug)]
pub(crate) struct Ready {
    bound: Bound,
    admin: Option<admin::Bound>,
    pid_file: Option<PidFile>,
    /// The process that this one is to take over from.
    before: Option<Suspended>,
    /// What that one knows of the backends.
    known: Known,
    /// Another process can be started in place of this one.
    is_replaceable: bool,
}

impl Ready {
    /// Where the admin interface listens; port 0 has become the real one.
    pub(crate) fn admin_address(&self) -> Option<&AdminBind> {
        self.admin.as_ref().map(admin::Bound::address)
    }
}

/// Binds everything that is not in `sockets`, gives up privileges, and makes the control plane's
/// runtime.
pub(crate) fn prepare(
    config: Config,
    log: &Arc<Log>,
    sockets: Inheritance,
) -> anyhow::Result<(Runtime, Ready)> {
    activation::fits(&sockets, &config)?;
    bind(config, log, Legacy { sockets, ..Legacy::default() })
}

/// As [`prepare`], for a process that another one has started so that it takes over.
fn succeed(config: Config, log: &Arc<Log>, line: Line) -> anyhow::Result<(Runtime, Ready)> {
    // A runtime without threads, since rights may still have to be given up.
    let hearing = Builder::new_current_thread().enable_all().build();
    let hearing = hearing.context("cannot hear the process before this one")?;
    let (before, legacy) = hearing.block_on(Predecessor::hear(line))?;
    match bind(config, log, legacy) {
        Ok((runtime, ready)) => {
            let before = hearing.block_on(async { before.suspend() });
            Ok((runtime, Ready { before: Some(before?), ..ready }))
        }
        Err(error) => {
            hearing.block_on(before.refuse(format!("{error:#}")));
            Err(error)
        }
    }
}

fn bind(config: Config, log: &Arc<Log>, legacy: Legacy) -> anyhow::Result<(Runtime, Ready)> {
    let Legacy { mut sockets, admin, known } = legacy;
    let process = config.process.clone();
    let account = Account::find(process.user.as_deref(), process.group.as_deref())?;
    let admin = match config.admin.bind {
        AdminBind::Off => None,
        _ => admin::bind(&config.admin, admin)?,
    };
    let access_file = config.log.access.clone();
    let bound = Bound::bind(config, log, server::raise_open_files(), &mut sockets)?;
    let pid_file = process.pid_file.map(PidFile::open).transpose()?;
    hand_over(&account, admin.as_ref(), &access_file)?;
    if let Some(pid_file) = &pid_file {
        // The process after an upgrade writes there as that account; without it this one can still.
        account.give(pid_file.path()).ok();
    }
    account.assume()?;
    let runtime = Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("control")
        .enable_all()
        .build()
        .context("cannot start the control threads")?;
    Ok((runtime, Ready { bound, admin, pid_file, before: None, known, is_replaceable: false }))
}

/// Gives the account what it will have to use, remove or open again.
fn hand_over(
    account: &Account,
    admin: Option<&admin::Bound>,
    access: &Access,
) -> anyhow::Result<()> {
    let socket = match admin.map(admin::Bound::address) {
        Some(AdminBind::Unix(path)) => Some(path),
        _ => None,
    };
    let file = if let Access::File(path) = access { Some(path) } else { None };
    for path in socket.into_iter().chain(file) {
        let failed = || format!("cannot give {} to process.user", path.display());
        account.give(path).with_context(failed)?;
    }
    Ok(())
}

/// A balancer that serves, with its admin interface.
#[derive(Debug)]
pub(crate) struct Running {
    supervisor: Supervisor<Belongings>,
}

impl Running {
    /// Opens the admin interface, then probes, then the listeners; with a process before this one, when
    /// that one stops.
    pub(crate) async fn start(ready: Ready, log: &Log) -> anyhow::Result<Self> {
        let Ready { bound, admin, pid_file, before, known, is_replaceable } = ready;
        let handle = Arc::clone(bound.handle());
        let manager = ServiceManager::from_env(before.is_some());
        let mut belongings = Belongings {
            admin: JoinSet::new(),
            socket: admin.as_ref().map(admin::Bound::share).transpose()?,
            token: admin.as_ref().and_then(|admin| admin.token().cloned()),
            pid_file,
            manager,
            handle,
            is_replaceable,
        };
        let server = match before {
            None => {
                belongings.open_admin(admin, log);
                let server = bound.start().await?;
                belongings.write_pid()?;
                belongings.manager.ready(&at_work(&server.handle().snapshot().config));
                server
            }
            Some(before) => {
                let before = (Predecessor::resume(before)?, &known);
                take_over(bound, before, || {
                    belongings.write_pid()?;
                    belongings.open_admin(admin, log);
                    Ok(())
                })
                .await?
            }
        };
        let supervisor = Supervisor::new(server, belongings).context("it is supervised twice")?;
        Ok(Self { supervisor })
    }

    /// What reports read.
    pub(crate) fn handle(&self) -> &Arc<Handle> {
        self.supervisor.handle()
    }

    /// Obeys commands and signals until a stop is asked for, or another process serves.
    pub(crate) async fn obey(&mut self, signals: &mut Signals) {
        let manager = self.supervisor.aside().manager.clone();
        // Within the same task: while the one hangs the other shows no sign of life either.
        tokio::select! {
            () = self.supervisor.run(signals) => {}
            () = pulse(&manager) => {}
        }
    }

    /// True if another process serves.
    fn is_replaced(&self) -> bool {
        self.supervisor.is_replaced()
    }

    /// Stops gracefully, at once when a stop is asked for again. If another process serves, this one
    /// ends with its last session.
    pub(crate) async fn stop(self, signals: &mut Signals) {
        let is_replaced = self.is_replaced();
        if !is_replaced {
            self.supervisor.aside().manager.stopping();
        }
        let mut belongings = self.supervisor.resign(signals).await;
        if is_replaced {
            // Whoever asked for the upgrade may still be waiting for the answer.
            belongings.admin.join_next().await;
        }
    }
}

/// Serves in place of the process before, which is told when all of this is open, `besides` included.
async fn take_over(
    bound: Bound,
    (before, known): (Predecessor, &Known),
    besides: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<Server> {
    let poised = match bound.poise(known).await {
        Ok(poised) => poised,
        Err(error) => {
            before.refuse(error.to_string()).await;
            return Err(error.into());
        }
    };
    let taken = poised.take_over(before).await?;
    besides()?;
    Ok(taken.confirm().await)
}

/// Shows signs of life as often as the service manager wants them.
async fn pulse(manager: &ServiceManager) {
    let Some(pulse) = manager.pulse() else { return pending().await };
    loop {
        manager.alive();
        tokio::time::sleep(pulse).await;
    }
}

async fn until_told(ready: Ready, log: &Log) -> anyhow::Result<()> {
    // Before anything listens: a signal that comes early must find its handler.
    let mut signals = Signals::install().context("cannot listen to signals")?;
    let mut running = tokio::select! {
        running = Running::start(ready, log) => running?,
        () = signals.stop() => return Ok(()),
    };
    tracing::info!(pid = std::process::id(), version = env!("CARGO_PKG_VERSION"), "ready");
    running.obey(&mut signals).await;
    if !running.is_replaced() {
        tracing::info!(
            sessions = running.handle().sessions(),
            "stopping: no new sessions, those that are there may end"
        );
    }
    running.stop(&mut signals).await;
    tracing::info!("stopped");
    Ok(())
}
