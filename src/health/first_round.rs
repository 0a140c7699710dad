//! What the start of the listeners waits for: that every backend was probed once.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::watch;

use crate::health::member::Member;
use crate::health::schedule::Schedule;
use crate::pool::Health;

/// When the members are probed, and who is waited for: whoever is unknown is asked at once.
pub(super) fn at_start(
    interval: Duration,
    first: usize,
    members: &[Member],
) -> (Schedule, BTreeSet<u64>) {
    let mut schedule = Schedule::new(interval, first);
    let mut awaited = BTreeSet::new();
    for member in members {
        let id = member.backend.id();
        schedule.add(id);
        if !member.wants_turns() {
            continue;
        }
        if member.judged().standing.health == Health::Unknown {
            schedule.at_once(id, Duration::ZERO);
            awaited.insert(id);
        } else {
            schedule.resume(id, Duration::ZERO);
        }
    }
    (schedule, awaited)
}

/// What the start of the listeners waits for.
#[derive(Debug)]
pub(super) struct FirstRound {
    /// By the number of the backend.
    awaited: BTreeSet<u64>,
    /// Until then a resolver may take its time; `None` once that has passed.
    patience: Option<Duration>,
    over: watch::Sender<bool>,
}

impl FirstRound {
    /// It is over once nobody of these is awaited; a resolver is waited for so long.
    pub(super) fn new(
        awaited: BTreeSet<u64>,
        patience: Duration,
        over: watch::Sender<bool>,
    ) -> Self {
        Self { awaited, patience: Some(patience), over }
    }

    /// True while somebody is awaited.
    pub(super) fn is_on(&self) -> bool {
        !self.awaited.is_empty()
    }

    /// Tells those who wait for its end.
    pub(super) fn end(&self) {
        self.over.send_if_modified(|over| !std::mem::replace(over, true));
    }

    /// Who is awaited.
    #[cfg(test)]
    pub(super) fn awaited(&self) -> Vec<u64> {
        self.awaited.iter().copied().collect()
    }

    /// Nobody waits for this one any more.
    pub(super) fn forget(&mut self, backend: u64) {
        self.awaited.remove(&backend);
    }

    /// When patience ends, while somebody is awaited.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.patience.filter(|_| !self.awaited.is_empty())
    }

    /// Past the deadline only those are awaited whose probes end by themselves in this instant.
    pub(super) fn lose_patience(&mut self, now: Duration, members: &[Member]) {
        if self.patience.take_if(|patience| *patience <= now).is_some() {
            let is_prompt = |member: &&Member| !member.course.may_look_up();
            let prompt = members.iter().filter(is_prompt).map(|member| member.backend.id());
            let prompt: BTreeSet<_> = prompt.collect();
            self.awaited.retain(|id| prompt.contains(id));
        }
    }
}
