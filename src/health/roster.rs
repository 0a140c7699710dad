//! Backends that were discovered: a list takes effect once all who are new in it were probed, so that
//! nobody is taken away before there is somebody in their place.

use std::future::pending;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::config;
use crate::health::StartError;
use crate::health::adoption::Adoption;
use crate::health::watch::Watch;

/// Why a backend stands elsewhere that was discovered, or is no longer.
const DISCOVERED: &str = "discovered";

/// The list that is being made ready: the latest, if there is one.
#[derive(Debug, Default)]
pub(super) struct Rosters {
    /// One task at most.
    task: JoinSet<Result<Adoption, StartError>>,
    sought: Option<Vec<config::Member>>,
    /// Told once it, or one that came after it, is in force.
    waiting: Vec<oneshot::Sender<()>>,
}

impl Rosters {
    /// What has come of the list that was made ready; pending while there is none. `None`: nothing.
    pub(super) async fn prepared(&mut self) -> Option<Result<Adoption, StartError>> {
        match self.task.join_next().await {
            Some(Ok(prepared)) => Some(prepared),
            // Aborted for a newer one, or it panicked.
            Some(Err(_)) => None,
            None => pending().await,
        }
    }

    /// Seeks what is in force, unless something else is sought.
    pub(super) fn seek_again(&mut self, roster: &[config::Member]) {
        self.sought.get_or_insert_with(|| roster.to_vec());
    }

    /// Nothing is made ready any more.
    pub(super) fn clear(&mut self) {
        self.task.abort_all();
        self.sought = None;
        self.waiting.clear();
    }
}

impl Watch {
    /// Makes ready what was discovered; a list that was being made ready is forgotten.
    pub(super) fn seek_roster(&mut self, members: Vec<config::Member>, done: oneshot::Sender<()>) {
        self.rosters.sought = Some(members);
        self.rosters.waiting.push(done);
        self.renew_roster();
    }

    /// Begins anew to make ready what was discovered last, if that is not in force: what it is measured
    /// by has changed.
    pub(super) fn renew_roster(&mut self) {
        let Some(sought) = self.rosters.sought.clone() else { return };
        // What is aborted must not be taken for what comes now.
        self.rosters.task = JoinSet::new();
        let (pool, spec, view) = (Arc::clone(&self.pool), self.spec.clone(), self.view());
        let prepared = async move { Adoption::prepare(pool, spec, sought, &view).await };
        self.rosters.task.spawn(prepared);
    }

    pub(super) fn take_roster(&mut self, prepared: Option<Result<Adoption, StartError>>) {
        match prepared {
            Some(Ok(adoption)) => {
                self.rosters.sought = None;
                self.adopt(adoption, DISCOVERED);
                self.obeyed.append(&mut self.rosters.waiting);
            }
            Some(Err(error)) => {
                let pool = self.pool.name();
                tracing::error!(%pool, reason = %error, "discovered backends cannot be probed");
                self.rosters.clear();
            }
            None => self.rosters.clear(),
        }
    }
}
