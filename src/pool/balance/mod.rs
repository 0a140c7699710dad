//! The policies at work. Each takes a place on one of the candidates or says that all are full.

mod chance;
mod least_connections;
mod maglev;
mod round_robin;

use std::sync::Arc;

use crate::config::Policy;
pub(in crate::pool) use crate::pool::balance::maglev::Tables;
use crate::pool::ready::{Candidates, Judged, ReadySet, Share};
use crate::pool::{Ask, Member};

/// A policy with the state that outlives each list.
#[derive(Debug)]
pub(in crate::pool) enum Balancer {
    RoundRobin(round_robin::Turn),
    LeastConnections(round_robin::Turn),
    ConsistentHash(Box<maglev::Maglev>),
    Random,
    PowerOfTwo,
    LeastLatency,
    First,
}

impl Balancer {
    pub(in crate::pool) fn new(policy: Policy, members: &[Member]) -> Self {
        match policy {
            Policy::RoundRobin => Self::RoundRobin(round_robin::Turn::default()),
            Policy::LeastConnections => Self::LeastConnections(round_robin::Turn::default()),
            Policy::ConsistentHash { key, bounded_load } => {
                Self::ConsistentHash(Box::new(maglev::Maglev::new(members, key, bounded_load)))
            }
            Policy::Random => Self::Random,
            Policy::PowerOfTwo => Self::PowerOfTwo,
            Policy::LeastLatency => Self::LeastLatency,
            Policy::First => Self::First,
        }
    }

    /// What a hashing policy's next list needs: the tables of the last one, made anew only if a
    /// weight has changed.
    pub(in crate::pool) fn tables(
        &self,
        members: &[Member],
        judged: &[Judged],
        last: &ReadySet,
    ) -> Option<Arc<Tables>> {
        let Self::ConsistentHash(_) = self else { return None };
        let weights: Box<[u16]> = judged.iter().map(|judged| judged.weight).collect();
        let kept = last.usable.tables.as_ref().filter(|tables| tables.are_of(&weights));
        Some(kept.map_or_else(|| Arc::new(Tables::of(members, weights)), Arc::clone))
    }

    /// The share on which a place was taken: one that `may` be picked and is below its cap.
    ///
    /// `None`: at one moment all of them were full. A policy looks at one after the other, and while
    /// places change hands it may find none though there always was one.
    pub(in crate::pool) fn take<'a>(
        &self,
        candidates: &'a Candidates,
        ask: &Ask<'_>,
        may: impl Fn(&Share) -> bool,
    ) -> Option<&'a Share> {
        loop {
            let taken = self.try_take(candidates, ask, &may);
            if taken.is_some() || were_full(candidates, &may) {
                return taken;
            }
        }
    }

    fn try_take<'a>(
        &self,
        candidates: &'a Candidates,
        ask: &Ask<'_>,
        may: &impl Fn(&Share) -> bool,
    ) -> Option<&'a Share> {
        if let Self::LeastConnections(turn) = self {
            return least_connections::take(candidates, turn, may);
        }
        let may = |share: &Share| may(share) && share.has_room();
        // Choosing and taking are two steps; another worker may fill the last place in between.
        loop {
            let share = self.choose(candidates, ask, &may)?;
            if share.backend.load().take_below(share.cap) {
                return Some(share);
            }
        }
    }

    fn choose<'a>(
        &self,
        candidates: &'a Candidates,
        ask: &Ask<'_>,
        may: &impl Fn(&Share) -> bool,
    ) -> Option<&'a Share> {
        match self {
            Self::RoundRobin(turn) => turn.choose(candidates, may),
            Self::ConsistentHash(maglev) => maglev.choose(candidates, ask, may),
            Self::Random => chance::draw(candidates, ask.chance, may),
            Self::PowerOfTwo => chance::better_of_two(candidates, ask.chance, may, |share| {
                least_connections::pressure(share.backend.sessions(), share.weight)
            }),
            Self::LeastLatency => chance::better_of_two(candidates, ask.chance, may, |share| {
                f64::from(share.backend.latency(ask.now))
            }),
            Self::First | Self::LeastConnections(_) => candidates.shares.iter().find(|s| may(s)),
        }
    }
}

/// True if all that `may` be picked were full at one moment: each was when it was looked at, and by
/// the second look nobody had left any of them.
fn were_full(candidates: &Candidates, may: &impl Fn(&Share) -> bool) -> bool {
    let seen = || {
        let open = candidates.shares.iter().filter(|share| may(share));
        open.map(|share| (share, share.backend.load().seen()))
    };
    let departures = || seen().map(|(_, seen)| u64::from(seen.departures())).sum::<u64>();
    let mut before = 0;
    for (share, seen) in seen() {
        if share.cap == 0 || seen.sessions() < share.cap {
            return false;
        }
        before += u64::from(seen.departures());
    }
    departures() == before
}
