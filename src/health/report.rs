//! What a monitor says: one line and one event for each change of a backend or of the pool, and
//! rarely a word about our own shortages.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::event::{Event, Events, Subject};
use crate::health::member::Member;
use crate::pool::{Backend, Health, Judged, Pool, STATES, Standing};

/// A backend stands elsewhere than before.
#[derive(Debug)]
pub(super) struct Change {
    backend: Arc<str>,
    from: Cow<'static, str>,
    to: Cow<'static, str>,
    is_bad: bool,
    reason: String,
}

impl Change {
    pub(super) fn new(member: &Member, before: Standing, reason: String) -> Self {
        let after = member.judged().standing;
        let by_operator = after.admin != before.admin;
        let by_traffic = after.ejected != before.ejected;
        let (from, to) = match (by_operator, by_traffic) {
            (true, _) => (before.state(), after.state()),
            (false, true) => (word(before), word(after)),
            (false, false) => (before.health.as_str(), after.health.as_str()),
        };
        let is_bad = matches!(after.health, Health::Down | Health::Lagging | Health::Unresolved)
            || (by_traffic && after.ejected);
        let is_bad = is_bad && !by_operator;
        let backend = Arc::clone(member.backend.name());
        Self { backend, from: from.into(), to: to.into(), is_bad, reason }
    }

    /// It has left its pool.
    pub(super) fn removed(member: &Member, reason: String) -> Self {
        let (backend, from) = (Arc::clone(member.backend.name()), member.judged().standing.state());
        Self { backend, from: from.into(), to: "removed".into(), is_bad: false, reason }
    }

    /// Its weight was another one before.
    pub(super) fn of_weight(member: &Member, before: u16, reason: String) -> Self {
        let said = |weight: u16| Cow::Owned(format!("weight {weight}"));
        let (from, to) = (said(before), said(member.judged().weight));
        Self { backend: Arc::clone(member.backend.name()), from, to, is_bad: false, reason }
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
            tracing::warn!(%pool, %backend, from = &*from, to = &*to, reason, "backend {to}");
        } else {
            tracing::info!(%pool, %backend, from = &*from, to = &*to, reason, "backend {to}");
        }
        let subject = Subject::Backend { pool: Arc::clone(pool), backend };
        events.publish(Event { time: SystemTime::now(), subject, from, to, reason });
    }
}

/// The word for a change that an ejection is part of, whatever the operator has asked for.
fn word(standing: Standing) -> &'static str {
    if standing.ejected { "ejected" } else { standing.state() }
}

/// Whether a pool had a backend to pick when it was last looked at; nothing before the first round.
#[derive(Debug, Default)]
pub(super) struct Usability(Option<bool>);

impl Usability {
    /// Tells if the pool has lost its last backend that could be picked, or has one again.
    pub(super) fn tell(&mut self, pool: &Pool, members: &[Member], events: &Events) {
        if members.is_empty() {
            // Retired, or nothing was discovered yet: nobody has failed.
            return;
        }
        let is_usable = pool.ready().is_usable();
        let before = self.0.replace(is_usable);
        // That it works when it starts is no news.
        if before.unwrap_or(true) == is_usable {
            return;
        }
        let from = before.map_or("unknown", |was_usable| if was_usable { "up" } else { "down" });
        let subject = Subject::Pool { pool: Arc::clone(pool.name()) };
        let reason = reason(members, is_usable);
        let pool = pool.name();
        let to = if is_usable { "up" } else { "down" };
        if is_usable {
            tracing::info!(%pool, from, to, reason, "pool {to}");
        } else {
            tracing::warn!(%pool, from, to, reason, "pool {to}");
        }
        let (from, to) = (from.into(), to.into());
        events.publish(Event { time: SystemTime::now(), subject, from, to, reason });
    }
}

/// Who can be picked, or how many stand how while nobody can.
fn reason(members: &[Member], is_usable: bool) -> String {
    let judged = || members.iter().map(Member::judged);
    if is_usable {
        let can = |judged: Judged| judged.standing.is_usable() && judged.weight > 0;
        return members
            .iter()
            .find(|member| can(member.judged()))
            .map_or_else(String::new, |one| format!("{} can be picked", one.backend.name()));
    }
    let words = STATES.into_iter().filter_map(|state| {
        let stand_so = judged().filter(|judged| judged.standing.state() == state);
        // Up and not usable: the weight is 0.
        let word = if state == "up" { "of weight 0" } else { state };
        Some(stand_so.count()).filter(|count| *count > 0).map(|count| format!("{count} {word}"))
    });
    format!("no backend can be picked: {}", words.collect::<Vec<_>>().join(", "))
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
