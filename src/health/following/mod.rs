//! Following the host name of a backend: looked up anew when its answer holds no longer, or at once
//! when the backend fails. An answer that fails keeps what was known.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::AbortHandle;

use crate::config::AdminState;
use crate::health::member::Member;
use crate::health::watch::{Watch, find};
use crate::pool::Judged;

/// From one look-up to the next at least, however often the backend fails.
const RARELY: Duration = Duration::from_secs(1);

/// To the next look-up after one that said nothing new of use.
const AGAIN: Duration = Duration::from_secs(2);

/// What is known of the name of one backend. Times are the age of its monitor.
#[derive(Debug, Default)]
pub(super) struct Following {
    /// The look-up that is under way.
    task: Option<AbortHandle>,
    /// When the next one is due, if there is an address to keep.
    due: Option<Duration>,
    /// When the last one began.
    last: Option<Duration>,
    /// Failures under traffic that it has been looked up for.
    failures: u64,
}

impl Following {
    /// An address is known, for so long if anybody said so.
    pub(super) fn found(&mut self, holds: Option<Duration>, now: Duration) {
        self.due = Some(now.saturating_add(holds.unwrap_or(AGAIN)));
    }

    /// The backend has failed: its name may stand for another address.
    pub(super) fn hurry(&mut self, now: Duration) {
        let soonest = self.last.map_or(now, |last| now.max(last.saturating_add(RARELY)));
        self.due = Some(self.due.map_or(soonest, |due| due.min(soonest)));
    }

    /// True if another failure would change nothing.
    fn is_hurried(&self, now: Duration) -> bool {
        self.task.is_some() || self.due.is_some_and(|due| due <= now.saturating_add(RARELY))
    }

    /// Forgets what is under way.
    pub(super) fn stop(&mut self) -> Option<AbortHandle> {
        self.due = None;
        self.task.take()
    }

    /// True if that task was its look-up, which has ended.
    pub(super) fn is_over(&mut self, task: tokio::task::Id) -> bool {
        self.task.take_if(|own| own.id() == task).is_some()
    }

    fn is_due(&self, now: Duration) -> bool {
        self.task.is_none() && self.due.is_some_and(|due| due <= now)
    }

    /// When the next look-up is due, if none is under way.
    fn next(&self) -> Option<Duration> {
        self.due.filter(|_| self.task.is_none())
    }
}

impl Member {
    /// Takes in how often the backend has failed under traffic so far.
    pub(super) fn hear_failures(&mut self, total: u64, now: Duration) {
        if self.is_followed() && total > self.following.failures {
            self.following.hurry(now);
        }
        self.following.failures = total;
    }

    /// At how many failures in all its name is to be looked up.
    pub(super) fn curious_at(&self, now: Duration) -> Option<u64> {
        let is_curious = self.is_followed() && !self.following.is_hurried(now);
        is_curious.then(|| self.following.failures.saturating_add(1))
    }

    fn is_followed(&self) -> bool {
        let is_hidden = self.judged().standing.admin == AdminState::Maintenance;
        self.course.is_named() && self.address().is_some() && !is_hidden
    }
}

impl Watch {
    /// When a name is to be looked up next.
    pub(super) fn next_lookup(&self) -> Option<Duration> {
        let followed = self.members.iter().filter(|member| member.is_followed());
        followed.filter_map(|member| member.following.next()).min()
    }

    /// Looks up the names whose time has come.
    pub(super) fn start_lookups(&mut self) {
        let now = self.started.elapsed();
        for member in self.members.iter_mut().filter(|member| member.following.is_due(now)) {
            let Some(known) = member.address().filter(|_| member.is_followed()) else { continue };
            let (id, course) = (member.backend.id(), Arc::clone(&member.course));
            let is_up = member.judged().standing.health.is_healthy();
            let followed = async move { (id, course.follow(known, is_up).await) };
            member.following.task = Some(self.turns.spawn(followed));
            (member.following.last, member.following.due) = (Some(now), None);
        }
    }

    /// What follows for a member's address from a turn or a look-up that has ended.
    pub(super) fn settle_address(&mut self, id: u64, before: Judged, holds: Option<Duration>) {
        let now = self.started.elapsed();
        let Some(member) = find(&mut self.members, id) else { return };
        if !member.course.is_named() {
            return;
        }
        let was_lookup = holds.is_some() || member.following.next().is_none();
        if was_lookup && member.address().is_some() && member.following.task.is_none() {
            member.following.found(holds, now);
        }
        self.is_outdated |= before.address != member.address();
        let (Some(from), Some(to)) = (before.address, member.address()) else { return };
        if from == to {
            return;
        }
        let (pool, backend) = (self.pool.name(), member.backend.name());
        tracing::info!(%pool, %backend, %from, %to, "backend address changed");
        if !member.judged().standing.health.is_healthy() && member.turn.is_none() {
            self.schedule.at_once(id, now);
        }
    }
}

#[cfg(test)]
mod tests;
