//! Whom a session would get, and why not the others: the pick without its traces.
//!
//! It walks the same way as [`Entrance::pick`] and asks the same policies, but takes no place, moves
//! no turn, counts and remembers nothing.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::pool::balance::Odds;
use crate::pool::ready::{Candidates, ReadySet, Share};
use crate::pool::{Ask, Backend, Entrance, Member, Pool, Standing, Tier};

/// What a pick would come to.
#[derive(Debug, Clone)]
pub struct Preview {
    /// How it would end.
    pub ending: Ending,
    /// Everybody in the pools that were looked at, in that order.
    pub candidates: Vec<Candidate>,
}

/// How a pick would end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// With this backend.
    Picked {
        /// Its pool: the asked one or a fallback.
        pool: Arc<str>,
        /// Its name.
        backend: Arc<str>,
        /// Where it is.
        address: SocketAddr,
    },
    /// In the queue of this pool, behind so many.
    Waits {
        /// Whose queue.
        pool: Arc<str>,
        /// Who wait there already.
        behind: usize,
    },
    /// Every backend that might take it is at its cap, and there is no room to wait.
    Full,
    /// Nobody may take it.
    NoBackend,
}

/// One backend that was looked at.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Its pool.
    pub pool: Arc<str>,
    /// The backend itself.
    pub backend: Arc<Backend>,
    /// Why it would be picked, or why not.
    pub reason: Reason,
}

/// Why a backend would be picked, or why not.
#[derive(Debug, Clone, PartialEq)]
pub enum Reason {
    /// It would be picked.
    Picked(Because),
    /// It may take nothing: as it stands, or because its name has no address.
    Standing(Standing),
    /// Its weight is 0.
    NoWeight,
    /// It is a backup, and an ordinary backend is up.
    Backup,
    /// It has as many sessions as it may have.
    AtCap(u32),
    /// Others wait for a place in this pool.
    Queue,
    /// The policy prefers another.
    Policy(Because),
}

/// What decides between backends that may be picked.
#[derive(Debug, Clone, PartialEq)]
pub enum Because {
    /// The client was there last.
    Remembered,
    /// The client's cookie names it.
    Cookie,
    /// Whose turn it is.
    Turn,
    /// The fewest sessions for its weight: sessions with the new one, and weight, of this backend
    /// and of the one that is picked. While one warms up it has a part of its weight.
    Sessions {
        /// Of this backend.
        own: (u32, f64),
        /// Of the one that is picked.
        picked: (u32, f64),
    },
    /// The hash of the client.
    Hash,
    /// Chance: the part of such picks, from 0 to 1, that it gets.
    Chance(f64),
    /// The order of the file.
    Order,
}

/// A share that a pick would end at, and what of the client's past has led there, if that has.
struct Choice<'a> {
    share: &'a Share,
    past: Option<Because>,
}

impl Entrance {
    /// What [`pick`](Self::pick) would come to now.
    pub fn preview(&self, ask: &Ask<'_>) -> Preview {
        let mut candidates = Vec::new();
        let ending = self.walk(ask, &mut candidates);
        Preview { ending, candidates }
    }

    fn walk(&self, ask: &Ask<'_>, seen: &mut Vec<Candidate>) -> Ending {
        let set = self.pool.ready();
        if let Some(share) = set.draining_home(ask).filter(|share| share.has_room()) {
            return self.pool.keep(&set, share, seen);
        }
        if !set.usable.is_empty() {
            return self.pool.look(&set, &set.usable, ask, seen);
        }
        let mut behind = Vec::new();
        if let Some(fallback) = &self.fallback {
            let ending = fallback.walk(&ask.behind(), &mut behind);
            if ending != Ending::NoBackend {
                self.pool.list(&set, None, &|_| Reason::Queue, seen);
                seen.append(&mut behind);
                return ending;
            }
        }
        let ending = if set.last_resort.is_empty() {
            self.pool.list(&set, None, &|_| Reason::Queue, seen);
            Ending::NoBackend
        } else {
            self.pool.look(&set, &set.last_resort, ask, seen)
        };
        seen.append(&mut behind);
        ending
    }
}

impl Pool {
    /// Looks among candidates, of which there are some.
    fn look(
        &self,
        set: &ReadySet,
        candidates: &Candidates,
        ask: &Ask<'_>,
        seen: &mut Vec<Candidate>,
    ) -> Ending {
        let waiting = self.queue.len();
        let choice = if waiting == 0 { self.choice(candidates, ask) } else { None };
        let Some(Choice { share: picked, past }) = choice else {
            let full = |share: &Share| match share.has_room() {
                true => Reason::Queue,
                false => Reason::AtCap(share.cap),
            };
            self.list(set, Some(candidates), &full, seen);
            let pool = Arc::clone(&self.name);
            return match self.queue.has_room() {
                true => Ending::Waits { pool, behind: waiting },
                false => Ending::Full,
            };
        };
        let odds = self.balancer.odds(candidates, ask.now);
        let because = |share: &Share| {
            past.clone().unwrap_or_else(|| because(&odds, candidates, share, picked))
        };
        let reason = |share: &Share| match share.member == picked.member {
            true => Reason::Picked(because(share)),
            false if !share.has_room() => Reason::AtCap(share.cap),
            false => Reason::Policy(because(share)),
        };
        self.list(set, Some(candidates), &reason, seen);
        self.ends_at(picked)
    }

    /// A client whose cookie leads to a backend that takes nobody else.
    fn keep(&self, set: &ReadySet, home: &Share, seen: &mut Vec<Candidate>) -> Ending {
        let first = seen.len();
        self.list(set, Some(&set.usable), &|_| Reason::Policy(Because::Cookie), seen);
        if let Some(candidate) = seen.get_mut(first + home.member) {
            candidate.reason = Reason::Picked(Because::Cookie);
        }
        self.ends_at(home)
    }

    fn ends_at(&self, picked: &Share) -> Ending {
        Ending::Picked {
            pool: Arc::clone(&self.name),
            backend: Arc::clone(picked.backend.name()),
            address: picked.address,
        }
    }

    /// The share on which [`place`](Self::place) would take a place.
    fn choice<'a>(&self, candidates: &'a Candidates, ask: &Ask<'_>) -> Option<Choice<'a>> {
        let remembered =
            self.sticky.as_ref().and_then(|known| known.home(ask.client.ip(), ask.now));
        let named = |home| candidates.shares.iter().find(|share| share.backend.id() == home);
        let kept = ask.claim().home.map(|home| (named(home), Because::Cookie));
        let is_home = |share: &&Share| remembered.as_ref() == Some(share.backend.name());
        let last = || (candidates.shares.iter().find(is_home), Because::Remembered);
        let (home, past) = kept.unwrap_or_else(last);
        if let Some(share) = home.filter(|share| share.has_room()) {
            return Some(Choice { share, past: Some(past) });
        }
        Some(Choice { share: self.balancer.peek(candidates, ask)?, past: None })
    }

    /// Lists all members, each with why it may not be picked or, if it may, with what `reason` says.
    fn list(
        &self,
        set: &ReadySet,
        candidates: Option<&Candidates>,
        reason: &dyn Fn(&Share) -> Reason,
        seen: &mut Vec<Candidate>,
    ) {
        let tier = candidates.map(|candidates| candidates.tier);
        seen.extend(set.members().iter().enumerate().map(|(place, member)| {
            let share = candidates.and_then(|candidates| candidates.of_member(place));
            Candidate {
                pool: Arc::clone(&self.name),
                backend: Arc::clone(&member.backend),
                reason: share.map_or_else(|| left_out(member, set.weight(place), tier), reason),
            }
        }));
    }
}

/// Why a member is not among the candidates, which are of a tier if there are any.
fn left_out(member: &Member, weight: u16, tier: Option<Tier>) -> Reason {
    let standing = member.backend.standing();
    if !standing.is_usable() {
        Reason::Standing(standing)
    } else if weight == 0 {
        Reason::NoWeight
    } else if member.tier == Tier::Backup && tier == Some(Tier::Ordinary) {
        Reason::Backup
    } else {
        Reason::Standing(standing)
    }
}

/// What the policy has to say of a share.
fn because(odds: &Odds, among: &Candidates, share: &Share, picked: &Share) -> Because {
    match odds {
        Odds::Turn => Because::Turn,
        Odds::Sessions => {
            let load = |share: &Share| share.backend.sessions() + 1;
            let (ours, theirs) = (load(share), load(picked));
            let is_tied = u64::from(ours) * u64::from(picked.weight)
                == u64::from(theirs) * u64::from(share.weight);
            match is_tied && share.member != picked.member {
                true => Because::Turn,
                false => Because::Sessions {
                    own: (ours, among.weight_of(share)),
                    picked: (theirs, among.weight_of(picked)),
                },
            }
        }
        Odds::Hash => Because::Hash,
        Odds::Order => Because::Order,
        Odds::Chance(parts) => {
            let part = parts.iter().find(|(member, _)| *member == share.member);
            Because::Chance(part.map_or(0.0, |(_, part)| *part))
        }
    }
}
