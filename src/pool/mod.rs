//! A pool in memory: its backends, the list of those that may be picked, and the picking.
//!
//! No socket, no clock, no chance of its own: time and random bits come with each [`Ask`].

mod backend;
mod balance;
mod budget;
mod claim;
mod connecting;
mod cookie;
mod ejection;
mod entrance;
mod failure;
mod interleave;
mod judge;
mod latency;
mod links;
mod load;
mod membership;
mod place;
mod preview;
mod queue;
mod readmission;
mod ready;
mod standing;
mod sticky;
mod warmup;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use arc_swap::ArcSwap;
use crossbeam_utils::CachePadded;
use http::HeaderValue;

use crate::addr::ClientAddr;
use crate::config;
use crate::metric::Counter;
use crate::outcome::Rejection;
pub use backend::{Backend, LastEjection, LastProbe, Lease, Stats};
use balance::Balancer;
pub use budget::Budget;
pub use claim::Claim;
pub use connecting::Connecting;
use cookie::Cookies;
pub use ejection::{Allowance, Ejection, Ruling};
pub use entrance::Entrance;
pub use failure::{Failure, Marks};
pub use judge::{Judge, Verdict};
pub use links::Links;
pub use membership::{Member, Membership, Tier};
pub use preview::{Because, Candidate, Ending, Preview, Reason};
use queue::Line;
pub use queue::{Queue, Ticket};
pub use ready::{Judged, ReadySet};
pub use standing::{Health, STATES, Standing};
pub use sticky::Sticky;
pub use warmup::{Warmth, Warmup};

/// What a picker knows about the session it picks for.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The client.
    pub client: ClientAddr,
    /// What its request says to the pool that is asked, and to those behind it.
    pub claims: &'a [Claim],
    /// Random bits, fresh for each attempt.
    pub chance: u64,
    /// Milliseconds on a steady clock.
    pub now: u64,
    /// Backends that have failed this session already: others are preferred.
    pub tried: &'a [Arc<Backend>],
}

impl Ask<'_> {
    /// For one who is known by its address alone and has tried nobody.
    pub fn of(client: ClientAddr, chance: u64, now: u64) -> Self {
        Self { client, claims: &[], chance, now, tried: &[] }
    }

    /// The same, asked of the pool that the asked one falls back on.
    fn behind(&self) -> Self {
        Self { claims: self.claims.get(1..).unwrap_or_default(), ..*self }
    }

    /// What is said to the pool that is asked.
    fn claim(&self) -> Claim {
        self.claims.first().copied().unwrap_or_default()
    }

    fn has_tried(&self, backend: &Arc<Backend>) -> bool {
        self.tried.iter().any(|tried| Arc::ptr_eq(tried, backend))
    }
}

/// Why nobody was picked.
#[derive(Debug, Clone, Copy)]
pub enum Unpicked<'a> {
    /// No backend may take a session.
    NoBackend,
    /// Every backend that might is at its cap, or others wait for a place. This is where to wait.
    Full(&'a Arc<Queue>),
}

impl Unpicked<'_> {
    /// The word for a session that ends so after `attempts` connects.
    pub fn rejection(self, attempts: u32) -> Rejection {
        match self {
            // Whoever was tried and failed is no longer usable: the attempts are what went wrong.
            Self::NoBackend if attempts > 0 => Rejection::Refused,
            Self::NoBackend => Rejection::NoBackend,
            Self::Full(_) => Rejection::QueueFull,
        }
    }
}

/// A named set of backends with one policy: settings that never change, and the list of those who may
/// be picked, which does.
#[derive(Debug)]
pub struct Pool {
    name: Arc<str>,
    /// What it was made of, without what may change under it.
    spec: config::Pool,
    balancer: Balancer,
    ready: ArcSwap<ReadySet>,
    /// Of the last list whose publication is complete; written by the monitor alone.
    generation: CachePadded<AtomicU64>,
    queue: Arc<Queue>,
    neighbours: Mutex<Neighbours>,
    sticky: Option<Sticky>,
    cookies: Option<Cookies>,
    /// Attempts beyond the first.
    pub retries: Arc<Counter>,
    /// Of its requests, how many may be asked again.
    pub budget: Budget,
    /// How its backends are connected to.
    pub connecting: Connecting,
}

/// Who is concerned by a new list, besides those who pick.
#[derive(Debug, Default)]
struct Neighbours {
    /// Listeners whose sessions come here: each backend counts for each of them from the start.
    listeners: Vec<Arc<str>>,
    /// Where those wait who might be placed here: in the pools that this one is used before.
    downstream: Vec<Weak<Line>>,
}

/// A place taken in a pool.
#[derive(Debug)]
pub struct Picked<'a> {
    /// The place.
    pub lease: Lease,
    /// The pool it was taken in: the asked one or a fallback.
    pub pool: &'a Arc<Pool>,
    /// What the client is told with the answer, so that it comes here again: a `Set-Cookie`. `None` =
    /// it knows, or is here for this once.
    pub cookie: Option<HeaderValue>,
}

impl Pool {
    /// A pool in which nobody may be picked until the first list is published.
    ///
    /// With the pool of this name `before`, it has that one's members until then, and shares with it
    /// what outlives other settings: who waits, who was where, whose turn it is, what was counted.
    pub fn new(spec: &config::Pool, before: Option<&Self>) -> Self {
        let (budget, kept) = (spec.retry.http.budget, before.and_then(|it| it.sticky.as_ref()));
        let membership = before.map(|before| before.ready.load().membership.clone());
        let membership = membership.unwrap_or_else(|| Membership::of(&spec.members));
        Self {
            name: Arc::clone(&spec.name),
            spec: settings(spec),
            balancer: Balancer::new(&spec.policy, before.map(|before| &before.balancer)),
            ready: ArcSwap::from_pointee(ReadySet::of(&membership, &[], false, None)),
            generation: CachePadded::new(AtomicU64::new(0)),
            queue: Arc::new(Queue::new(spec.queue, before.map(|before| &*before.queue))),
            neighbours: Mutex::default(),
            sticky: spec.sticky.map(|rules| Sticky::new(rules, kept)),
            cookies: spec.cookie.as_ref().map(|rules| Cookies::new(&spec.name, rules, None)),
            retries: before.map(|before| Arc::clone(&before.retries)).unwrap_or_default(),
            budget: before.map_or_else(|| Budget::new(budget), |it| it.budget.with(budget)),
            connecting: Connecting::new(spec, before.map(|before| &before.connecting)),
        }
    }

    /// The same, but nothing is used that was opened for the pool before it, as other certificates
    /// count from now on.
    #[must_use]
    pub fn set_apart(mut self) -> Self {
        self.connecting.set_apart();
        self
    }

    /// The same, before anybody was picked, with the values of its cookie keyed by this secret.
    #[must_use]
    pub fn with_secret(mut self, rules: &config::StickyCookie, secret: &[u8]) -> Self {
        self.cookies = Some(Cookies::new(&self.name, rules, Some(secret)));
        self
    }

    /// True if a pool made of `spec` would differ in its members at most. The file of a secret may
    /// hold another one now.
    pub fn fits(&self, spec: &config::Pool) -> bool {
        let has_file = |cookie: &config::StickyCookie| cookie.secret_file.is_some();
        self.spec == settings(spec) && !spec.cookie.as_ref().is_some_and(has_file)
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Its members in file order, as the list in force has them.
    pub fn members(&self) -> Arc<[Member]> {
        Arc::clone(&self.ready.load().membership.members)
    }

    /// Those who wait while its backends are full.
    pub fn queue(&self) -> &Arc<Queue> {
        &self.queue
    }

    /// Which backend each client address had last, if it is to have it again.
    pub fn sticky(&self) -> Option<&Sticky> {
        self.sticky.as_ref()
    }

    /// The list that is in force.
    pub fn ready(&self) -> Arc<ReadySet> {
        self.ready.load_full()
    }

    /// Judges all members at once; `judged` stands in their order. As [`renew`](Self::renew), with the
    /// members that the list in force has.
    pub fn publish(&self, judged: &[Judged]) {
        let membership = self.ready.load().membership.clone();
        self.renew(&membership, judged);
    }

    /// Has these members from now on; `judged` stands in their order.
    ///
    /// Called by the pool's monitor alone. Once it returns, no picker hands out a backend that the
    /// new list does not hold.
    pub fn renew(&self, membership: &Membership, judged: &[Judged]) {
        let members = &*membership.members;
        let mut neighbours = self.neighbours();
        neighbours.expect(members);
        members.iter().for_each(|member| member.backend.called_for(self.queue.line()));
        let generation = self.generation.load(Ordering::Relaxed) + 1;
        let last = self.ready.load_full();
        let tables = self.balancer.tables(members, judged, &last);
        let cookies = self.cookies.as_ref();
        let cookies = cookies.map(|cookies| cookies.values(members, last.cookies.as_ref()));
        let set = ReadySet::of(membership, judged, self.spec.fail_open, tables);
        self.ready.store(Arc::new(ReadySet { generation, cookies, ..set }));
        self.generation.store(generation, Ordering::SeqCst);
        // Last: whoever reads in a report that a backend is up may count on the next pick.
        for (member, judged) in members.iter().zip(judged) {
            member.backend.judge(judged.standing);
        }
        // There may be more room, or nobody left to wait for.
        self.queue.line().call();
        neighbours.call();
    }

    /// From now on those who wait in `queue` are woken when this pool's list changes.
    fn lead_to(&self, queue: &Queue) {
        if queue.is_open() {
            self.neighbours().lead_to(queue.line());
        }
    }

    /// Sessions of this listener come here.
    fn serve(&self, listener: &Arc<str>) {
        let mut neighbours = self.neighbours();
        if !neighbours.listeners.contains(listener) {
            neighbours.listeners.push(Arc::clone(listener));
        }
        neighbours.expect(self.ready.load().members());
    }

    /// Forgets the listeners that are gone, and what was counted of them, once they have no sessions.
    pub fn forget_listeners(&self, is_gone: impl Fn(&str) -> bool) {
        self.neighbours().listeners.retain(|listener| !is_gone(listener));
        self.ready.load().backends().for_each(|backend| backend.forget_listeners(&is_gone));
    }

    fn neighbours(&self) -> MutexGuard<'_, Neighbours> {
        // What is added to a list is added whole.
        self.neighbours.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True if a newer list than `set` has been published whole.
    fn has_outdated(&self, set: &ReadySet) -> bool {
        self.generation.load(Ordering::SeqCst) > set.generation
    }
}

impl Neighbours {
    /// Members are counted for by all listeners, from zero.
    fn expect(&self, members: &[Member]) {
        for member in members {
            for listener in &self.listeners {
                member.backend.tally(listener);
            }
        }
    }

    fn lead_to(&mut self, line: &Arc<Line>) {
        let line = Arc::downgrade(line);
        if !self.downstream.iter().any(|known| known.ptr_eq(&line)) {
            self.downstream.push(line);
        }
    }

    /// Has all look who wait for the sake of this pool. Lines of pools that are gone are forgotten.
    fn call(&mut self) {
        self.downstream.retain(|line| {
            let line = line.upgrade();
            line.iter().for_each(|line| line.call_all());
            line.is_some()
        });
    }
}

/// What a pool cannot change while it lives. Whom it falls back on stands with its entrances.
fn settings(spec: &config::Pool) -> config::Pool {
    config::Pool { members: Vec::new(), fallback: None, discover: None, ..spec.clone() }
}

#[cfg(test)]
mod tests;
