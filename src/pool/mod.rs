//! A pool in memory: its backends, the list of those that may be picked, and the picking.
//!
//! No socket, no clock, no chance of its own: time and random bits come with each [`Ask`].

mod backend;
mod balance;
mod budget;
mod claim;
mod cookie;
mod ejection;
mod entrance;
mod failure;
mod interleave;
mod judge;
mod latency;
mod links;
mod place;
mod preview;
mod queue;
mod readmission;
mod ready;
mod standing;
mod sticky;
mod warmup;

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use crossbeam_utils::CachePadded;
use http::HeaderValue;

use crate::addr::ClientAddr;
use crate::config::{self, AdminState};
use crate::metric::Counter;
use crate::outcome::Rejection;
pub use backend::{Backend, LastEjection, LastProbe, Lease, Stats};
use balance::Balancer;
pub use budget::Budget;
pub use claim::Claim;
use cookie::Cookies;
pub use ejection::{Allowance, Ejection, Ruling};
pub use entrance::Entrance;
pub use failure::{Failure, Marks};
pub use judge::{Judge, Verdict};
pub use links::Links;
pub use preview::{Because, Candidate, Ending, Preview, Reason};
pub use queue::{Queue, Ticket};
pub use ready::{Judged, ReadySet};
pub use standing::{Health, STATES, Standing};
pub use sticky::Sticky;
pub use warmup::{Warmth, Warmup};

/// Ordinary backends come first; backups only while no ordinary one is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// Used as long as one of them is up.
    Ordinary,
    /// Used while no ordinary one is up.
    Backup,
}

/// A backend in a pool: what the file says about it. Dies on reload, unlike its [`Backend`].
#[derive(Debug)]
pub struct Member {
    /// The backend with its live counters.
    pub backend: Arc<Backend>,
    /// 0 to 256; 0 takes nothing new.
    pub weight: u16,
    /// Cap on its sessions; 0 = none.
    pub max_sessions: u32,
    /// When it is used.
    pub tier: Tier,
    /// What the file wants of it.
    pub state: AdminState,
}

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

/// A named set of backends with one policy.
#[derive(Debug)]
pub struct Pool {
    name: Arc<str>,
    members: Box<[Member]>,
    fail_open: bool,
    balancer: Balancer,
    ready: ArcSwap<ReadySet>,
    /// Of the last list whose publication is complete; written by the monitor alone.
    generation: CachePadded<AtomicU64>,
    queue: Arc<Queue>,
    /// Of the pools that are used while this one has no backend up.
    downstream: Mutex<Vec<Arc<Queue>>>,
    sticky: Option<Sticky>,
    cookies: Option<Cookies>,
    /// Attempts beyond the first.
    pub retries: Counter,
    /// Of its requests, how many may be asked again.
    pub budget: Budget,
    /// How its backends are connected to.
    pub connecting: Connecting,
}

/// How a pool's backends are connected to.
#[derive(Debug)]
pub struct Connecting {
    /// Bound of one attempt.
    pub timeout: Duration,
    /// How long the head of an answer may take; `None` = as long as it likes.
    pub response_timeout: Option<Duration>,
    /// TCP keepalive idle time; `None` = off.
    pub keepalive: Option<Duration>,
    /// Further attempts after a failed one.
    pub retry: config::Retry,
    /// The PROXY header that goes ahead of the client's bytes.
    pub proxy_header: Option<config::ProxyVersion>,
    /// How http is spoken to them.
    pub http: config::PoolHttp,
    sources: Box<[IpAddr]>,
    turn: AtomicUsize,
}

impl Connecting {
    fn new(spec: &config::Pool) -> Self {
        Self {
            timeout: spec.connect_timeout,
            response_timeout: spec.response_timeout,
            keepalive: spec.keepalive,
            retry: spec.retry,
            proxy_header: spec.send_proxy_protocol,
            http: spec.http,
            sources: spec.source.clone().into(),
            turn: AtomicUsize::new(0),
        }
    }

    /// The local address to connect to `to` from: those of its family in turn, else the kernel's.
    pub fn source(&self, to: SocketAddr) -> Option<IpAddr> {
        if self.sources.is_empty() {
            return None;
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let fitting = || self.sources.iter().filter(|source| source.is_ipv4() == to.is_ipv4());
        fitting().nth(turn % fitting().count().max(1)).copied()
    }
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
    pub cookie: Option<&'a HeaderValue>,
}

impl Pool {
    /// A pool in which nobody may be picked until the first list is published.
    ///
    /// `carried` gives the backend that an earlier pool had under the same name and address.
    pub fn new(
        spec: &config::Pool,
        carried: impl Fn(&config::Member) -> Option<Arc<Backend>>,
    ) -> Self {
        let members: Box<[Member]> = spec
            .members
            .iter()
            .map(|member| {
                let fresh = || Backend::new(Arc::clone(&member.name), member.address.clone());
                Member {
                    backend: carried(member).unwrap_or_else(|| Arc::new(fresh())),
                    weight: member.weight,
                    max_sessions: member.max_sessions,
                    tier: if member.backup { Tier::Backup } else { Tier::Ordinary },
                    state: member.state,
                }
            })
            .collect();
        Self {
            name: Arc::clone(&spec.name),
            fail_open: spec.fail_open,
            balancer: Balancer::new(&spec.policy, &members),
            ready: ArcSwap::from_pointee(ReadySet::of(&members, &[], false, None)),
            generation: CachePadded::new(AtomicU64::new(0)),
            queue: Arc::new(Queue::new(spec.queue)),
            downstream: Mutex::default(),
            sticky: spec.sticky.map(Sticky::new),
            cookies: spec
                .cookie
                .as_ref()
                .map(|rules| Cookies::new(&spec.name, rules, &members, None)),
            retries: Counter::default(),
            budget: Budget::new(spec.retry.http.budget),
            connecting: Connecting::new(spec),
            members,
        }
    }

    /// The same, before anybody was picked, with the values of its cookie keyed by this secret.
    #[must_use]
    pub fn with_secret(mut self, rules: &config::StickyCookie, secret: &[u8]) -> Self {
        self.cookies = Some(Cookies::new(&self.name, rules, &self.members, Some(secret)));
        self
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Its members in file order.
    pub fn members(&self) -> &[Member] {
        &self.members
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

    /// Judges all members at once; `judged` stands in their order.
    ///
    /// Called by the pool's monitor alone. Once it returns, no picker hands out a backend that the
    /// new list does not hold.
    pub fn publish(&self, judged: &[Judged]) {
        let generation = self.generation.load(Ordering::Relaxed) + 1;
        let tables = self.balancer.tables(&self.members, judged, &self.ready.load());
        let set = ReadySet::of(&self.members, judged, self.fail_open, tables);
        let set = ReadySet { generation, ..set };
        self.ready.store(Arc::new(set));
        self.generation.store(generation, Ordering::SeqCst);
        // Last: whoever reads in a report that a backend is up may count on the next pick.
        for (member, judged) in self.members.iter().zip(judged) {
            member.backend.judge(judged.standing);
        }
        // There may be more room, or nobody left to wait for.
        self.queue.call();
        let downstream = self.downstream.lock().unwrap_or_else(PoisonError::into_inner);
        downstream.iter().for_each(|queue| queue.call_all());
    }

    /// From now on those who wait in `queue` are woken when this pool's list changes.
    fn lead_to(&self, queue: &Arc<Queue>) {
        let mut downstream = self.downstream.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.is_open() && !downstream.iter().any(|known| Arc::ptr_eq(known, queue)) {
            downstream.push(Arc::clone(queue));
        }
    }

    /// True if a newer list than `set` has been published whole.
    fn has_outdated(&self, set: &ReadySet) -> bool {
        self.generation.load(Ordering::SeqCst) > set.generation
    }
}

#[cfg(test)]
mod tests;
