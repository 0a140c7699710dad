//! What the supervisor does for a reload: reads, puts in force, tells; or only says what it would do.

use std::collections::VecDeque;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::api;
use crate::config::{self, Config, Loaded};
use crate::event::{Event, Subject};
use crate::server::changes::{self, Whose};
use crate::server::command::{Command, Refusal};
use crate::server::supervisor::{Aside, Stopped, Supervisor, Trial, answer};
use crate::server::{Signals, Told, warnings};

/// Why nothing else is done.
const RELOADING: &str = "a reload is under way: try again when it is over";

impl<A: Aside> Supervisor<A> {
    /// Reads the file again and puts it in force.
    pub(super) async fn reload(
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
        let loaded = match self.read(&before, signals).await? {
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
    async fn read(
        &mut self,
        before: &Config,
        signals: &mut Signals,
    ) -> Result<Result<Loaded, Refusal>, Stopped> {
        let Self { server, commands, waiting, .. } = self;
        let Some(file) = before.origin.file.clone() else {
            if let Err(error) = server.log.reopen() {
                tracing::error!(%error, "cannot reopen the access log, going on with the old one");
            }
            let why = "there is no file to read again: evenkeel was started without one; logs were reopened";
            return Ok(Err(Refusal::Failed(why.to_owned())));
        };
        let loaded = tokio::task::spawn_blocking(move || load(&file));
        // A file that cannot be read to its end, as on a server that is gone, must not hold up a stop.
        let loaded = unless_stopped(loaded, (commands, waiting), signals).await?;
        Ok(match loaded {
            Ok(loaded) => loaded.map_err(|refused| Refusal::Invalid(Box::new(refused))),
            Err(error) => Err(Refusal::Failed(error.to_string())),
        })
    }

    /// Puts a configuration in force, unless something is wrong with it or a stop comes first.
    pub(super) async fn take_effect(
        &mut self,
        config: Config,
        signals: &mut Signals,
    ) -> Result<Result<api::Changes, Refusal>, Stopped> {
        let changes = self.changes(&config);
        let Self { server, commands, waiting, .. } = self;
        let prepared = unless_stopped(server.prepare(config), (commands, waiting), signals).await?;
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

    /// What a file would change.
    pub(super) fn plan(&self, file: &str) -> Result<api::Changes, Refusal> {
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

    pub(super) fn tell(&self, from: &'static str, to: &'static str, reason: String) {
        let (time, subject) = (SystemTime::now(), Subject::Reload);
        let event = Event { time, subject, from: from.into(), to: to.into(), reason };
        self.server.handle().events.publish(event);
    }
}

/// Waits for a part of a reload, unless a stop comes first; whatever else is asked for stands in line.
async fn unless_stopped<T>(
    work: impl Future<Output = T>,
    (commands, waiting): (&mut mpsc::Receiver<Command>, &mut VecDeque<Command>),
    signals: &mut Signals,
) -> Result<T, Stopped> {
    let mut work = pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return Ok(done),
            told = signals.next() => match told {
                Told::Stop => return Err(Stopped),
                // One that waits stands for all that came since.
                Told::Reload if waiting.iter().any(is_hang_up) => {}
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
}

/// True for a reload that nobody waits for.
fn is_hang_up(command: &Command) -> bool {
    matches!(command, Command::Reload(None, reply) if reply.is_closed())
}

fn load(file: &Path) -> Result<Loaded, config::Refused> {
    config::load(file, &|name| std::env::var(name).ok())
}
