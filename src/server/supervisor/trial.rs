//! A reload that goes back by itself unless somebody confirms it.

use std::sync::Arc;

use tokio::time::Instant;

use crate::config::Config;
use crate::server::Signals;
use crate::server::command::Refusal;
use crate::server::supervisor::{Aside, Stopped, Supervisor};

/// A reload that waits to be confirmed.
#[derive(Debug)]
pub(super) struct Trial {
    /// What was in force before.
    pub(super) before: Arc<Config>,
    pub(super) until: Instant,
    /// The pools that had a backend to pick.
    pub(super) usable: Vec<Arc<str>>,
}

impl<A: Aside> Supervisor<A> {
    /// Keeps what was loaded last.
    pub(super) fn confirm(&mut self) -> Result<(), Refusal> {
        if self.trial.take().is_none() {
            let why = "nothing waits to be confirmed; `evenkeel reload --confirm 60s` makes a reload wait";
            return Err(Refusal::Conflict(why.to_owned()));
        }
        tracing::info!("reload confirmed");
        Ok(())
    }

    /// Goes back if it is time to, and lets go of what is no longer used.
    pub(super) async fn look(&mut self, signals: &mut Signals) -> Result<(), Stopped> {
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
            Ok(_) => {
                tracing::warn!(
                    reason = why,
                    "the reload is taken back, what was before is in force; the file on disk is as it was"
                );
                self.tell("new", "taken back", why.to_owned());
            }
            Err(error) => tracing::error!(
                reason = why, %error,
                "the reload was to be taken back and that failed: the new file stays in force"
            ),
        }
        Ok(())
    }

    /// The pools that have a backend to pick.
    pub(super) fn usable(&self) -> Vec<Arc<str>> {
        let snapshot = self.server.handle().snapshot();
        let usable = snapshot.pools.iter().filter(|pool| pool.ready().is_usable());
        usable.map(|pool| Arc::clone(pool.name())).collect()
    }
}
