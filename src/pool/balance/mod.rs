//! The policies at work. Each takes a place on one of the candidates or says that all are full.

mod chance;
mod least_connections;
mod maglev;
mod round_robin;

use std::sync::Arc;

use crate::config::{HashKey, Policy};
pub(in crate::pool) use crate::pool::balance::maglev::{Tables, hash_of};
use crate::pool::ready::{Candidates, Judged, ReadySet, Share};
use crate::pool::{Ask, Member};

/// A policy with the state that outlives each list.
#[derive(Debug)]
pub(in crate::pool) enum Balancer {
    RoundRobin(Arc<round_robin::Turn>),
    LeastConnections(Arc<round_robin::Turn>),
    ConsistentHash(Box<maglev::Maglev>),
    Random,
    PowerOfTwo,
    LeastLatency,
    First,
}

impl Balancer {
    /// Goes on with the turn of the one `before`, if that took turns too.
    pub(in crate::pool) fn new(policy: &Policy, before: Option<&Self>) -> Self {
        let turn = match before {
            Some(Self::RoundRobin(turn) | Self::LeastConnections(turn)) => Arc::clone(turn),
            _ => Arc::default(),
        };
        match policy {
            Policy::RoundRobin => Self::RoundRobin(turn),
            Policy::LeastConnections => Self::LeastConnections(turn),
            Policy::ConsistentHash { key, bounded_load } => {
                let maglev = maglev::Maglev::new(key.clone(), *bounded_load);
                Self::ConsistentHash(Box::new(maglev))
            }
            Policy::Random => Self::Random,
            Policy::PowerOfTwo => Self::PowerOfTwo,
            Policy::LeastLatency => Self::LeastLatency,
            Policy::First => Self::First,
        }
    }

    /// What a hashing policy hashes.
    pub(in crate::pool) fn hash_key(&self) -> Option<&HashKey> {
        match self {
            Self::ConsistentHash(maglev) => Some(maglev.key()),
            _ => None,
        }
    }

    /// What a hashing policy's next list needs: the tables of the last one, made anew only if a
    /// name or a weight has changed.
    pub(in crate::pool) fn tables(
        &self,
        members: &[Member],
        judged: &[Judged],
        last: &ReadySet,
    ) -> Option<Arc<Tables>> {
        let Self::ConsistentHash(_) = self else { return None };
        let weights: Box<[u16]> = judged.iter().map(|judged| judged.weight).collect();
        let kept = last.usable.tables.as_ref();
        let kept = kept.filter(|tables| tables.are_of(members, &weights));
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

    /// The share that [`take`](Self::take) would take a place on if nobody else came or went.
    pub(in crate::pool) fn peek<'a>(
        &self,
        candidates: &'a Candidates,
        ask: &Ask<'_>,
    ) -> Option<&'a Share> {
        match self {
            Self::RoundRobin(turn) => turn.peek(candidates, &Share::has_room),
            Self::LeastConnections(turn) => least_connections::peek(candidates, turn),
            // What they look at is not theirs, so looking changes nothing.
            _ => self.choose(candidates, ask, &Share::has_room),
        }
    }

    /// How the policy decides between candidates that have room.
    pub(in crate::pool) fn odds(&self, candidates: &Candidates, now: u64) -> Odds {
        match self {
            Self::RoundRobin(_) => Odds::Turn,
            Self::LeastConnections(_) => Odds::Sessions,
            Self::ConsistentHash(_) => Odds::Hash,
            Self::First => Odds::Order,
            Self::Random => Odds::Chance(chance::odds_of_one(candidates)),
            Self::PowerOfTwo => Odds::Chance(chance::odds_of_two(candidates, by_sessions)),
            Self::LeastLatency => {
                Odds::Chance(chance::odds_of_two(candidates, |share| by_latency(share, now)))
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
            Self::PowerOfTwo => chance::better_of_two(candidates, ask.chance, may, by_sessions),
            Self::LeastLatency => {
                let cost = |share: &Share| by_latency(share, ask.now);
                chance::better_of_two(candidates, ask.chance, may, cost)
            }
            Self::First | Self::LeastConnections(_) => candidates.shares.iter().find(|s| may(s)),
        }
    }
}

/// How a policy decides.
#[derive(Debug)]
pub(in crate::pool) enum Odds {
    /// In turn.
    Turn,
    /// By sessions for the weight, ties in turn.
    Sessions,
    /// By a hash of the client.
    Hash,
    /// By chance: the part of the picks that each member gets.
    Chance(Vec<(usize, f64)>),
    /// By the order of the file.
    Order,
}

fn by_sessions(share: &Share) -> f64 {
    least_connections::pressure(share.backend.sessions(), share.weight)
}

fn by_latency(share: &Share, now: u64) -> f64 {
    f64::from(share.backend.latency(now))
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
