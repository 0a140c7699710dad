//! The arithmetic of failure: what the keys of a pool and of a listener make certain, as sums.
//!
//! Each sum is an upper bound of what the running program does, as long as the machine keeps up.
//! What it is about stands with it in `facts`.

use std::net::IpAddr;
use std::time::Duration;

use super::sum::{Sum, Term};
use crate::config::{
    AdminState, Closing, Listener, Member, Passive, Pool, Probe, Process, Protocol,
};

/// How often a pool's monitor looks for backends that have failed under traffic, and for ejections
/// that are over.
const LOOK: Duration = Duration::from_millis(250);

/// A limit of a step of the workers' clock or more is seen at most this part of a step late, of
/// which half is for the machine's own timers.
const PART_LATE: u32 = 5;

/// A shorter one, such as what is left of another, is seen at most this many steps late.
const STEPS_LATE: u32 = 2;

/// From the death of a backend until its probes have taken it out; `None` if nothing is probed.
///
/// The last good probe may have been just before. The next starts one interval later, and the last
/// of `fall` bad ones may take all of its time.
pub(in crate::config) fn detection(pool: &Pool) -> Option<Sum> {
    rounds(pool, |term| term.by("fall", pool.health.fall))
}

/// From the recovery of a backend until its probes have brought it back.
pub(super) fn recovery(pool: &Pool) -> Option<Sum> {
    rounds(pool, |term| term.by("rise", pool.health.rise))
}

/// From the loss of a role until no session is sent there: a single result is enough.
pub(super) fn role_lost(pool: &Pool) -> Option<Sum> {
    let has_role = matches!(&pool.health.probe, Probe::Http(http) if http.role.is_some());
    has_role.then(|| rounds(pool, |term| term)).flatten()
}

/// So many probes and the end of the last: a probe never overlaps the one before, so one that may
/// take longer than the interval sets the pace instead.
fn rounds(pool: &Pool, so_many: impl Fn(Term) -> Term) -> Option<Sum> {
    let health = &pool.health;
    if matches!(health.probe, Probe::None) {
        return None;
    }
    let turn = turn(pool);
    let interval = Term::of("interval", health.interval);
    let pace = if is_paced_by_interval(pool) { interval } else { turn.clone() };
    Some(Sum::of(so_many(pace)).plus(turn))
}

/// True unless a probe may take longer than the interval.
pub(super) fn is_paced_by_interval(pool: &Pool) -> bool {
    pool.health.interval >= turn(pool).total()
}

/// One probe at its longest: a host name in `health.address` is looked up first.
fn turn(pool: &Pool) -> Term {
    Term::of("timeout", pool.health.timeout).times(timeouts(pool))
}

/// How often `timeout` is in one probe.
pub(super) fn timeouts(pool: &Pool) -> u32 {
    if is_name(pool.health.address.as_deref()) { 2 } else { 1 }
}

fn is_name(address: Option<&str>) -> bool {
    let bare = |host: &str| host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.is_some_and(|host| bare(host).is_err())
}

/// How many backends of a pool can be ejected at a time. Whoever is alone never is.
pub(in crate::config) fn most_ejected(pool: &Pool) -> usize {
    let Passive { failures, max_ejected, .. } = pool.passive;
    let all = pool.members.len();
    if failures == 0 || all < 2 { 0 } else { all * usize::from(max_ejected) / 100 }
}

/// From the last of the failures that eject until nobody is sent there.
pub(super) fn ejection() -> Sum {
    Sum::of(Term::of("look", LOOK))
}

/// How long the first ejection keeps a backend out, and how long one does at most.
pub(super) fn ejected(pool: &Pool) -> (Sum, Sum) {
    let Passive { eject_for, eject_max, .. } = pool.passive;
    let out = |key, time| Sum::of(Term::of(key, time)).plus(Term::of("look", LOOK));
    (out("eject_for", eject_for), out("eject_max", eject_max))
}

/// From coming up until a backend has all of its weight.
pub(super) fn slow_start(pool: &Pool) -> Sum {
    Sum::of(Term::of("slow_start", pool.slow_start))
}

/// What a listener gives a client for all that is read before a backend is picked.
pub(super) fn handshake(listener: &Listener) -> Sum {
    Sum::of(Term::of("handshake_timeout", listener.handshake_timeout))
}

/// A backend that takes sessions as the file has it.
pub(in crate::config) fn takes_sessions(member: &Member) -> bool {
    member.weight > 0 && member.state == AdminState::Ready
}

/// What one session can meet: the pool it asks, and the fallbacks behind it, never empty.
#[derive(Debug, Clone)]
pub(super) struct Chain<'a> {
    pub(super) first: &'a Pool,
    pub(super) fallbacks: Vec<&'a Pool>,
}

impl<'a> Chain<'a> {
    pub(super) fn of(first: &'a Pool, pools: &'a [Pool]) -> Self {
        let next = |pool: &&'a Pool| pool.fallback.and_then(|at| pools.get(at));
        let fallbacks = std::iter::successors(next(&first), next);
        // No cycles in a valid file; this ends whatever comes.
        Self { first, fallbacks: fallbacks.take(pools.len()).collect() }
    }

    pub(super) fn pools(&self) -> impl Iterator<Item = &'a Pool> {
        std::iter::once(self.first).chain(self.fallbacks.iter().copied())
    }

    /// One connect that is not answered. Each pool has its own bound, of which the largest counts.
    pub(super) fn connect(&self) -> Term {
        let slowest = self.pools().map(|pool| pool.connect_timeout).max().unwrap_or_default();
        Term::of("connect_timeout", slowest)
    }

    pub(super) fn pauses(&self, number: u32) -> Term {
        Term::of("backoff", self.first.retry.backoff).times(number)
    }

    pub(super) fn capped(&self, terms: Vec<Term>) -> Sum {
        Sum::default().plus_capped(terms, Term::of("window", self.first.retry.window))
    }

    /// True if a client that fails on one backend has no other to try: backups and fallbacks take
    /// nobody while an ordinary backend counts as up.
    pub(super) fn is_alone(&self) -> bool {
        let tier = |pool: &Pool, backup: bool| {
            let taking = pool.members.iter().filter(|it| takes_sessions(it));
            let named = taking.filter(|it| it.backup == backup).count();
            // How many are found nobody knows beforehand: one at the worst.
            if pool.discover.is_some() && !backup { named.max(1) } else { named }
        };
        let mut tiers = self.pools().flat_map(|pool| [tier(pool, false), tier(pool, true)]);
        tiers.find(|size| *size > 0).unwrap_or_default() < 2
    }

    /// How many attempts one dead backend can cost a client: with nobody else it is tried again.
    pub(super) fn spent(&self) -> u32 {
        if self.is_alone() { self.first.retry.attempts } else { 1 }
    }

    /// A refused connect costs no time, only the pause before the next, and whoever failed stands
    /// in the queue again.
    pub(super) fn after_refused(&self) -> Sum {
        let pauses = self.pauses(self.spent().min(self.first.retry.attempts - 1));
        self.queues(self.capped(vec![pauses]))
    }

    /// Connects that are not answered, and the pauses before the next.
    pub(super) fn after_unanswered(&self) -> Sum {
        let connects = self.connect().times(self.spent());
        let pauses = self.pauses(self.spent().min(self.first.retry.attempts - 1));
        self.queues(self.capped(vec![connects, pauses]))
    }

    /// True if there is time for another attempt after one that was not answered.
    pub(super) fn goes_on(&self) -> bool {
        let retry = &self.first.retry;
        let once = self.connect().total().saturating_add(retry.backoff);
        retry.attempts > 1 && once < retry.window
    }

    /// Everybody who is tried is dead and answers nothing. The rules are those of the first pool,
    /// also for attempts in a fallback.
    pub(super) fn worst(&self) -> Sum {
        let attempts = self.first.retry.attempts;
        let connects = self.connect().by("attempts", attempts);
        self.queues(self.capped(vec![connects, self.pauses(attempts - 1)]))
    }

    /// Everybody is at the cap.
    pub(super) fn full(&self) -> Sum {
        self.queues(Sum::default())
    }

    /// All waits of a session in queues are bounded together, by the queue that waits longest.
    pub(super) fn queues(&self, sum: Sum) -> Sum {
        let queues = self.pools().map(|pool| pool.queue).filter(|queue| queue.size > 0);
        match queues.map(|queue| queue.timeout).max() {
            Some(timeout) => sum.plus(Term::of("queue.timeout", timeout)),
            None => sum,
        }
    }

    pub(super) fn has_queue(&self) -> bool {
        self.pools().any(|pool| pool.queue.size > 0)
    }

    /// By how much the coarse clock of the workers may lengthen the worst wait, in all.
    pub(super) fn late(&self, step: Duration) -> Duration {
        let retry = &self.first.retry;
        let cut = step * STEPS_LATE;
        let each = |limit: Duration| late(limit, step);
        let shortest = self.pools().map(|pool| pool.connect_timeout).min().unwrap_or_default();
        let pauses = if retry.backoff.is_zero() { 0 } else { retry.attempts - 1 };
        let of_all = |connect: Duration, pause: Duration| {
            let connects = connect.saturating_mul(retry.attempts);
            connects.saturating_add(pause.saturating_mul(pauses))
        };
        let all = of_all(each(shortest), each(retry.backoff));
        let waits = of_all(self.connect().total(), retry.backoff);
        // Only the last pause and the last connect can exceed the window.
        let beyond = (cut * 2).saturating_add(retry.window.saturating_sub(waits));
        let is_cut = waits.saturating_add(all) >= retry.window;
        let attempts = if is_cut { beyond.min(all + cut) } else { all };
        attempts + if self.has_queue() { cut } else { Duration::ZERO }
    }

    /// The same for answers that are waited for.
    pub(super) fn late_answers(&self, step: Duration) -> Duration {
        let each = self.first.response_timeout.map(|limit| late(limit, step)).unwrap_or_default();
        each.saturating_mul(self.first.retry.attempts)
    }
}

/// By how much the coarse clock may lengthen one limit.
fn late(limit: Duration, step: Duration) -> Duration {
    if limit >= step { step / PART_LATE } else { step * STEPS_LATE }
}

/// How long nobody may be sure yet that every client is off a dead backend: until its probes have
/// found it, and the connects that were under way have run out. Only one with datagrams waits for
/// no connect.
pub(in crate::config) fn failover(pool: &Pool, connects: bool) -> Option<Sum> {
    let found = detection(pool)?;
    if !connects {
        return Some(found);
    }
    let pause = if pool.retry.attempts > 1 { pool.retry.backoff } else { Duration::ZERO };
    let terms = vec![Term::of("connect_timeout", pool.connect_timeout), Term::of("backoff", pause)];
    Some(found.plus_capped(terms, Term::of("window", pool.retry.window)))
}

/// How long a stop can take.
pub(super) fn stop(process: &Process) -> Sum {
    Sum::of(Term::of("shutdown_timeout", process.shutdown_timeout))
}

/// How long sessions can stay on a backend that they should leave; `None` if nothing bounds it.
pub(super) fn leaving(cause: &'static str, closing: Closing, listener: &Listener) -> Option<Sum> {
    match closing {
        Closing::Now => Some(Sum::default()),
        Closing::Over(time) => Some(Sum::of(Term::of(cause, time))),
        Closing::Keep if listener.protocol == Protocol::Udp => None,
        Closing::Keep => {
            listener.max_lifetime.map(|time| Sum::of(Term::of("max_lifetime", time).tenths(11)))
        }
    }
}
