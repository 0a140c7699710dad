//! What a monitor logs: one line for each change, and rarely a word about our own shortages.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::event::{Event, Events, Subject};
use crate::health::member::Member;
use crate::pool::{Backend, Health, Pool, Standing};

/// A backend stands elsewhere than before.
#[derive(Debug)]
pub(super) struct Change {
    backend: Arc<str>,
    from: &'static str,
    to: &'static str,
    is_bad: bool,
    reason: String,
}

impl Change {
    pub(super) fn new(member: &Member, before: Standing, reason: String) -> Self {
        let after = member.judged().standing;
        let by_operator = after.admin != before.admin;
        let (from, to) = match by_operator {
            true => (before.state(), after.state()),
            false => (before.health.as_str(), after.health.as_str()),
        };
        let is_bad = matches!(after.health, Health::Down | Health::Lagging | Health::Unresolved);
        let backend = Arc::clone(member.backend.name());
        Self { backend, from, to, is_bad: is_bad && !by_operator, reason }
    }

    /// The change of a backend that is judged before anybody asked: one that is not probed.
    pub(super) fn at_start(member: &Member) -> Option<Self> {
        let standing = member.judged().standing;
        let before = Standing { health: member.backend.standing().health, ..standing };
        (standing != before).then(|| Self::new(member, before, "not probed".to_owned()))
    }

    /// Logs it and tells those who watch.
    pub(super) fn tell(self, pool: &Pool, events: &Events) {
        let Self { backend, from, to, is_bad, reason } = self;
        let pool = pool.name();
        if is_bad {
            tracing::warn!(%pool, %backend, from, to, reason, "backend {to}");
        } else {
            tracing::info!(%pool, %backend, from, to, reason, "backend {to}");
        }
        let subject = Subject::Backend { pool: Arc::clone(pool), backend };
        events.publish(Event { time: SystemTime::now(), subject, from, to, reason });
    }
}

/// How often a monitor speaks of our own shortages: every probe meets them.
const RARELY: Duration = Duration::from_secs(10);

/// Keeps complaints about our own shortages rare.
#[derive(Debug, Default)]
pub(super) struct Shortage {
    last: Option<Instant>,
    /// Not spoken of since then.
    silenced: u64,
}

impl Shortage {
    pub(super) fn log(&mut self, pool: &Pool, backend: &Backend, why: &str) {
        if self.last.is_some_and(|last| last.elapsed() < RARELY) {
            self.silenced += 1;
            return;
        }
        self.last = Some(Instant::now());
        let silenced = std::mem::take(&mut self.silenced);
        let (pool, backend) = (pool.name(), backend.name());
        tracing::warn!(%pool, %backend, reason = why, silenced, "cannot probe, our own shortage");
    }
}
