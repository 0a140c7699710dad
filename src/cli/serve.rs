//! A balancer from a checked configuration to its graceful end: what `run`, `proxy` and `demo` share.

use std::fs::{self, File};
use std::future::pending;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

use super::{FAILED, complain, count};
use crate::admin;
use crate::config::{Access, AdminBind, Config};
use crate::log::{self, Log};
use crate::server::{
    self, Account, Aside, Bound, Handle, Inheritance, ServiceManager, Signals, Supervisor,
    activation,
};

/// Threads of the control plane: probes, admin, signals. Never in the way of a session.
const CONTROL_THREADS: usize = 2;

/// How long the last log lines may take to be written.
pub(crate) const LAST_LINES: Duration = Duration::from_secs(1);

/// Runs a balancer until it is told to stop, and says on standard error what kept it from running.
pub(crate) fn serve(config: Config) -> ExitCode {
    // Before there is a second thread, of which the log has some.
    let inheritance = match activation::from_service_manager() {
        Ok(inheritance) => inheritance,
        Err(error) => return failed(&error.into()),
    };
    let log = match log::start(&config.log).context("cannot open the log") {
        Ok(log) => Arc::new(log),
        Err(error) => return failed(&error),
    };
    let served = prepare(config, &log, inheritance).and_then(|(runtime, ready)| {
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
}

impl Ready {
    /// Where the admin interface listens; port 0 has become the real one.
    pub(crate) fn admin_address(&self) -> Option<&AdminBind> {
        self.admin.as_ref().map(admin::Bound::address)
    }
}

/// Binds everything, gives up privileges, and makes the control plane's runtime.
pub(crate) fn prepare(
    config: Config,
    log: &Arc<Log>,
    mut inheritance: Inheritance,
) -> anyhow::Result<(Runtime, Ready)> {
    activation::fits(&inheritance, &config)?;
    let process = config.process.clone();
    let account = Account::find(process.user.as_deref(), process.group.as_deref())?;
    let admin = match config.admin.bind {
        AdminBind::Off => None,
        _ => admin::bind(&config.admin)?,
    };
    let access_file = config.log.access.clone();
    let bound = Bound::bind(config, log, server::raise_open_files(), &mut inheritance)?;
    let pid_file = process.pid_file.map(PidFile::open).transpose()?;
    hand_over(&account, admin.as_ref(), &access_file)?;
    account.assume()?;
    let runtime = Builder::new_multi_thread()
        .worker_threads(CONTROL_THREADS)
        .thread_name("control")
        .enable_all()
        .build()
        .context("cannot start the control threads")?;
    Ok((runtime, Ready { bound, admin, pid_file }))
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
    /// Ends with the balancer.
    _admin: JoinSet<()>,
}

/// What belongs to the process and not to the balancer.
#[derive(Debug)]
struct Belongings {
    token: Option<Arc<admin::Token>>,
    pid_file: Option<PidFile>,
    manager: ServiceManager,
}

impl Aside for Belongings {
    fn reloading(&mut self) {
        self.manager.reloading();
    }

    fn settled(&mut self, config: &Config) {
        self.manager.ready(&at_work(config));
    }

    fn replaced(&mut self, pid: u32) {
        self.manager.main_pid(pid);
    }

    fn reloaded(&mut self, config: &Config) {
        if let Some(Err(error)) = self.token.as_deref().map(admin::Token::read_again) {
            tracing::error!(%error, "cannot read admin.token_file, the old token holds");
        }
        if let Err(error) = self.move_pid_file(config.process.pid_file.as_ref()) {
            tracing::error!("{error:#}; the old one stays");
        }
    }
}

impl Belongings {
    /// The process id stands in this file from now on.
    fn move_pid_file(&mut self, path: Option<&PathBuf>) -> anyhow::Result<()> {
        if self.pid_file.as_ref().map(|known| &known.path) == path {
            return Ok(());
        }
        let moved = path.cloned().map(PidFile::open).transpose()?;
        moved.as_ref().map_or(Ok(()), PidFile::write)?;
        self.pid_file = moved;
        Ok(())
    }
}

impl Running {
    /// Opens the admin interface, then probes, then the listeners.
    pub(crate) async fn start(ready: Ready, log: &Log) -> anyhow::Result<Self> {
        let mut serving = JoinSet::new();
        let token = ready.admin.as_ref().and_then(|admin| admin.token().cloned());
        if let Some(admin) = ready.admin {
            let handle = Arc::clone(ready.bound.handle());
            let dropped = log.access_dropped();
            serving.spawn(async move {
                let Err(error) = admin.serve(handle, dropped).await;
                tracing::error!(%error, "the admin interface cannot serve");
            });
        }
        let server = ready.bound.start().await?;
        if let Some(pid_file) = &ready.pid_file {
            pid_file.write()?;
        }
        let manager = ServiceManager::from_env(false);
        manager.ready(&at_work(&server.handle().snapshot().config));
        let belongings = Belongings { token, pid_file: ready.pid_file, manager };
        let supervisor = Supervisor::new(server, belongings).context("it is supervised twice")?;
        Ok(Self { supervisor, _admin: serving })
    }

    /// What reports read.
    pub(crate) fn handle(&self) -> &Arc<Handle> {
        self.supervisor.handle()
    }

    /// Obeys commands and signals until a stop is asked for.
    pub(crate) async fn obey(&mut self, signals: &mut Signals) {
        let manager = self.supervisor.aside().manager.clone();
        // Within the same task: while the one hangs the other shows no sign of life either.
        tokio::select! {
            () = self.supervisor.run(signals) => {}
            () = pulse(&manager) => {}
        }
    }

    /// Stops gracefully; at once when `hurry` is done.
    pub(crate) async fn stop(self, hurry: impl Future<Output = ()>) {
        let (server, belongings) = self.supervisor.resign();
        belongings.manager.stopping();
        server.stop(hurry).await;
        drop(belongings);
    }
}

/// Shows signs of life as often as the service manager wants them.
async fn pulse(manager: &ServiceManager) {
    let Some(pulse) = manager.pulse() else { return pending().await };
    loop {
        manager.alive();
        tokio::time::sleep(pulse).await;
    }
}

/// What serves, in one line.
fn at_work(config: &Config) -> String {
    let (listeners, pools) = (config.listeners.len() as u64, config.pools.len() as u64);
    format!("serving: {}, {}", count(listeners, "listener"), count(pools, "pool"))
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
    tracing::info!(
        sessions = running.handle().sessions(),
        "stopping: no new sessions, those that are there may end"
    );
    running.stop(signals.stop()).await;
    tracing::info!("stopped");
    Ok(())
}

/// The file with the process id, removed when the balancer ends.
#[derive(Debug)]
struct PidFile {
    path: PathBuf,
    file: File,
}

impl PidFile {
    /// Opens the file while it can still be opened, and leaves what is in it.
    fn open(path: PathBuf) -> anyhow::Result<Self> {
        let opened = File::options().create(true).truncate(false).write(true).open(&path);
        let failed = || format!("process.pid_file: cannot write {}", path.display());
        let file = opened.with_context(failed)?;
        Ok(Self { path, file })
    }

    /// Says that the balancer is ready.
    fn write(&self) -> anyhow::Result<()> {
        let line = format!("{}\n", std::process::id());
        let written = self.file.set_len(0).and_then(|()| (&self.file).write_all(line.as_bytes()));
        written.with_context(|| format!("process.pid_file: cannot write {}", self.path.display()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Whoever was dropped to may not remove it; a stale file is the lesser harm.
        fs::remove_file(&self.path).ok();
    }
}
