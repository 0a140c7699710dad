//! The one task that obeys: signals, commands, and the clock where something was left open.
//!
//! Commands are obeyed one after the other. While one is at work a request to stop is still heard.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::api;
use crate::config::{self, Config, Loaded};
use crate::event::{Event, Subject};
use crate::server::changes::{self, Whose};
use crate::server::command::{Command, Refusal, Reply};
use crate::server::farewell;
use crate::server::handover::AdminSocket;
use crate::server::upgrade::Succeeded;
use crate::server::{Handle, Server, Signals, Told, warnings};

/// How often pools are looked at while a reload waits to be confirmed, and what is no longer used is
/// let go of.
const LOOK: Duration = Duration::from_millis(100);

/// What else has to follow a reload, a floor above.
pub trait Aside: Send + Debug {
    /// A reload has begun.
    fn reloading(&mut self);
    /// Another configuration is in force.
    fn reloaded(&mut self, config: &Config);
    /// A reload is over, whatever became of it.
    fn settled(&mut self, config: &Config);

    /// What another process needs to serve in place of this one, besides what the balancer has.
    ///
    /// # Errors
    /// Why no other process can.
    fn bequest(&self) -> io::Result<Option<AdminSocket>>;

    /// The process of this id serves: whatever could be taken for it is given up.
    fn replaced(&mut self, pid: u32) -> impl Future<Output = ()> + Send;
}

/// A running balancer that obeys.
#[derive(Debug)]
pub struct Supervisor<A> {
    pub(super) server: Server,
    pub(super) commands: mpsc::Receiver<Command>,
    /// What was asked while something was under way.
    pub(super) waiting: VecDeque<Command>,
    pub(super) aside: A,
    pub(super) trial: Option<Trial>,
    /// Another process serves.
    pub(super) succeeded: Option<Succeeded>,
}

/// A reload that waits to be confirmed.
#[derive(Debug)]
pub(super) struct Trial {
    /// What was in force before.
    before: Arc<Config>,
    until: Instant,
    /// The pools that had a backend to pick.
    usable: Vec<Arc<str>>,
}

/// A stop came in between.
pub(super) struct Stopped;

impl<A: Aside> Supervisor<A> {
    /// Of this balancer. `None`: it has a supervisor.
    pub fn new(server: Server, aside: A) -> Option<Self> {
        let commands = server.handle().commanded()?;
        let (waiting, trial, succeeded) = (VecDeque::new(), None, None);
        Some(Self { server, commands, waiting, aside, trial, succeeded })
    }

    /// What reports read.
    pub fn handle(&self) -> &Arc<Handle> {
        self.server.handle()
    }

    /// What follows it.
    pub fn aside(&self) -> &A {
        &self.aside
    }

    /// True if another process serves.
    pub fn is_replaced(&self) -> bool {
        self.succeeded.is_some()
    }

    /// Stops gracefully, at once if a stop is asked for again; or keeps the sessions that are left if
    /// another process serves. Returns when the last one has ended, with what was there aside.
    pub async fn resign(self, signals: &mut Signals) -> A {
        match self.succeeded {
            Some(succeeded) => self.server.drain(succeeded, self.commands, signals).await,
            None => self.server.stop(signals.stop()).await,
        }
        self.aside
    }

    /// Obeys until a stop is asked for, or another process serves.
    pub async fn run(&mut self, signals: &mut Signals) {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let obeyed = tokio::select! {
                told = signals.next() => match told {
                    Told::Stop => Err(Stopped),
                    Told::Reload => self.hang_up(signals).await,
                    // What comes of it is in the log: nobody waits for an answer.
                    Told::Upgrade => self.upgrade(signals).await.map(drop),
                },
                Some(command) = next(&mut self.waiting, &mut self.commands) => {
                    self.obey(command, signals).await
                }
                heard = farewell::hear(&mut self.server.before) => {
                    self.listen(heard);
                    Ok(())
                }
                _ = look.tick() => self.look(signals).await,
            };
            if obeyed.is_err() || self.is_replaced() {
                return;
            }
        }
    }

    async fn obey(&mut self, command: Command, signals: &mut Signals) -> Result<(), Stopped> {
        match command {
            Command::Reload(confirm, reply) => {
                let reloaded = self.reload(confirm, signals).await?;
                answer(reply, reloaded);
            }
            Command::Confirm(reply) => answer(reply, self.confirm()),
            Command::Plan(file, reply) => answer(reply, self.plan(&file)),
            Command::Upgrade(reply) => {
                let upgraded = self.upgrade(signals).await?;
                answer(reply, upgraded);
            }
        }
        Ok(())
    }

    /// SIGHUP.
    async fn hang_up(&mut self, signals: &mut Signals) -> Result<(), Stopped> {
        // What comes of it is in the log: nobody waits for an answer.
        self.reload(None, signals).await.map(drop)
    }

    async fn reload(
        &mut self,
        confirm: Option<Duration>,
        signals: &mut Signals,
    ) -> Result<Result<api::Reloaded, Refusal>, Stopped> {
        self.aside.reloading();
        let reloaded = self.reload_now(confirm, signals).await?;
        self.aside.settled(&self.server.handle().snapshot().config);
        Ok(reloaded)
    }

    async fn reload_now(
        &mut self,
        confirm: Option<Duration>,
        signals: &mut Signals,
    ) -> Result<Result<api::Reloaded, Refusal>, Stopped> {
        let before = Arc::clone(&self.server.handle().snapshot().config);
        let loaded = match self.read(&before).await {
            Ok(loaded) => loaded,
            Err(refusal) => return Ok(Err(self.refused(refusal))),
        };
        let warnings: Vec<_> = warnings::all(&loaded).iter().map(ToString::to_string).collect();
        let usable = self.usable();
        let changes = match self.take_effect(loaded.config, signals).await? {
            Ok(changes) => changes,
            Err(refusal) => return Ok(Err(self.refused(refusal))),
        };
        warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        self.trial = confirm.map(|time| Trial {
            // Who tries again before the first is confirmed wants to go back to what was sure.
            before: self.trial.take().map_or(before, |trial| trial.before),
            until: Instant::now() + time,
            usable,
        });
        self.server.handle().reloads.ok.increment();
        let config = self.told_of(&changes, confirm);
        let confirm_within_ms = confirm.and_then(|time| u64::try_from(time.as_millis()).ok());
        Ok(Ok(api::Reloaded { config, changes, warnings, confirm_within_ms }))
    }

    /// Reads and checks the file, where it holds up nobody.
    async fn read(&self, before: &Config) -> Result<Loaded, Refusal> {
        let Some(file) = before.origin.file.clone() else {
            if let Err(error) = self.server.log.reopen() {
                tracing::error!(%error, "cannot reopen the access log, going on with the old one");
            }
            let why = "there is no file to read again: evenkeel was started without one; logs were reopened";
            return Err(Refusal::Failed(why.to_owned()));
        };
        let loaded = tokio::task::spawn_blocking(move || load(&file)).await;
        let loaded = loaded.map_err(|error| Refusal::Failed(error.to_string()))?;
        loaded.map_err(|refused| Refusal::Invalid(Box::new(refused)))
    }

    /// Puts a configuration in force, unless something is wrong with it or a stop comes first.
    async fn take_effect(
        &mut self,
        config: Config,
        signals: &mut Signals,
    ) -> Result<Result<api::Changes, Refusal>, Stopped> {
        let changes = self.changes(&config);
        let Self { server, commands, waiting, .. } = self;
        let prepared = {
            let mut prepared = pin!(server.prepare(config));
            loop {
                tokio::select! {
                    prepared = &mut prepared => break prepared,
                    told = signals.next() => match told {
                        Told::Stop => return Err(Stopped),
                        Told::Reload => waiting.push_back(Command::Reload(None, oneshot::channel().0)),
                        Told::Upgrade => tracing::error!("SIGUSR2: {RELOADING}"),
                    },
                    Some(command) = commands.recv() => match command {
                        Command::Upgrade(reply) => {
                            answer(reply, Err(Refusal::Conflict(RELOADING.to_owned())));
                        }
                        other => waiting.push_back(other),
                    },
                }
            }
        };
        Ok(match prepared {
            Ok(prepared) => {
                self.server.commit(prepared).await;
                let config = Arc::clone(&self.server.handle().snapshot().config);
                self.aside.reloaded(&config);
                Ok(changes)
            }
            Err(error) => Err(Refusal::Failed(error.to_string())),
        })
    }

    fn plan(&self, file: &str) -> Result<api::Changes, Refusal> {
        let loaded = config::parse_json("the file", file);
        let loaded = loaded.map_err(|refused| Refusal::Invalid(Box::new(refused)))?;
        Ok(self.changes(&loaded.config))
    }

    fn changes(&self, config: &Config) -> api::Changes {
        let snapshot = self.server.handle().snapshot();
        let sessions = |whose: Whose<'_>| match whose {
            Whose::Listener(name) => {
                let view = snapshot.listeners.iter().find(|view| *view.name == *name);
                view.map_or(0, |view| view.figures.admitted.get())
            }
            Whose::Backend(pool, backend) => {
                let pool = snapshot.pools.iter().find(|known| **known.name() == *pool);
                let members = pool.map(|pool| pool.members()).unwrap_or_default();
                let member = members.iter().find(|member| **member.backend.name() == *backend);
                member.map_or(0, |member| u64::from(member.backend.sessions()))
            }
        };
        changes::between(&snapshot.config, config, &sessions)
    }

    fn confirm(&mut self) -> Result<(), Refusal> {
        if self.trial.take().is_none() {
            let why = "nothing waits to be confirmed; `evenkeel reload --confirm 60s` makes a reload wait";
            return Err(Refusal::Conflict(why.to_owned()));
        }
        tracing::info!("reload confirmed");
        Ok(())
    }

    async fn look(&mut self, signals: &mut Signals) -> Result<(), Stopped> {
        self.server.tidy().await;
        let Some(trial) = &self.trial else { return Ok(()) };
        let usable = self.usable();
        let names: Vec<_> = self
            .server
            .handle()
            .snapshot()
            .pools
            .iter()
            .map(|pool| Arc::clone(pool.name()))
            .collect();
        let is_lost = |pool: &&Arc<str>| names.contains(pool) && !usable.contains(pool);
        let lost = trial.usable.iter().find(is_lost);
        let why = match lost {
            Some(pool) => format!("pool {pool} had a backend to pick before and has none now"),
            None if Instant::now() >= trial.until => "nobody has confirmed it in time".to_owned(),
            None => return Ok(()),
        };
        self.go_back(&why, signals).await
    }

    /// Restores what was in force before a reload that was not confirmed.
    async fn go_back(&mut self, why: &str, signals: &mut Signals) -> Result<(), Stopped> {
        let Some(Trial { before, .. }) = self.trial.take() else { return Ok(()) };
        match self.take_effect(Config::clone(&before), signals).await? {
            Ok(changes) => {
                tracing::warn!(
                    reason = why,
                    "the reload is taken back, what was before is in force; the file on disk is as it was"
                );
                self.tell("new", "taken back", why.to_owned());
                drop(changes);
            }
            Err(error) => tracing::error!(
                reason = why, %error,
                "the reload was to be taken back and that failed: the new file stays in force"
            ),
        }
        Ok(())
    }

    /// The pools that have a backend to pick.
    fn usable(&self) -> Vec<Arc<str>> {
        let snapshot = self.server.handle().snapshot();
        let usable = snapshot.pools.iter().filter(|pool| pool.ready().is_usable());
        usable.map(|pool| Arc::clone(pool.name())).collect()
    }

    /// Leaves the line of a reload that has taken effect; gives what is in force.
    fn told_of(&self, changes: &api::Changes, confirm: Option<Duration>) -> api::ConfigStatus {
        let snapshot = self.server.handle().snapshot();
        let origin = &snapshot.config.origin;
        let file = origin.file.as_ref().map(|file| file.display().to_string());
        let summary = changes::summary(changes);
        tracing::info!(file = file.as_deref(), hash = origin.hash, "reloaded: {summary}");
        if !changes.restart.is_empty() {
            let keys = changes.restart.join(", ");
            tracing::warn!(
                "changed keys that need a restart, and are as they were until then: {keys}"
            );
        }
        if let Some(time) = confirm {
            tracing::info!(
                "the reload is taken back in {time:?} unless `evenkeel confirm` comes first"
            );
        }
        self.tell("old", "new", summary);
        api::ConfigStatus { file, hash: origin.hash.clone() }
    }

    fn refused(&self, refusal: Refusal) -> Refusal {
        self.server.handle().reloads.refused.increment();
        tracing::error!("reload refused, nothing has changed: {refusal}");
        self.tell("old", "refused", refusal.to_string());
        refusal
    }

    fn tell(&self, from: &'static str, to: &'static str, reason: String) {
        let (time, subject) = (SystemTime::now(), Subject::Reload);
        let event = Event { time, subject, from: from.into(), to: to.into(), reason };
        self.server.handle().events.publish(event);
    }
}

fn load(file: &Path) -> Result<Loaded, config::Refused> {
    config::load(file, &|name| std::env::var(name).ok())
}

/// Why nothing else is done.
const RELOADING: &str = "a reload is under way: try again when it is over";

/// The next command: what has waited comes first.
async fn next(
    waiting: &mut VecDeque<Command>,
    commands: &mut mpsc::Receiver<Command>,
) -> Option<Command> {
    match waiting.pop_front() {
        Some(command) => Some(command),
        None => commands.recv().await,
    }
}

/// Whoever asked may have gone.
pub(super) fn answer<T>(reply: Reply<T>, said: Result<T, Refusal>) {
    reply.send(said).ok();
}
