//! Consistent hashing by a Maglev table (Eisenbud et al., NSDI 2016), with a second hash for keys
//! whose backend cannot be picked.
//!
//! The table holds every member of a tier that has a weight, whatever its state, by name: a backend
//! that comes back gets exactly its own keys again, and two balancers with the same file agree. It is
//! published with the list it belongs to, so that a new weight is seen in both or in neither.

use std::hash::Hasher;
use std::net::IpAddr;

use siphasher::sip::SipHasher13;

use crate::addr::ClientAddr;
use crate::config::HashKey;
use crate::pool::ready::{Candidates, Share};
use crate::pool::{Ask, Member, Tier};

/// Slots of a table: a prime, over a hundred times as many as a pool usually has members.
const SLOTS: usize = 65_537;

// The hashes are public surface: changing one would move every client at an upgrade.
const KEY: (u64, u64) = (0x6576_656e_6b65_656c, 0x636c_6965_6e74_6b79);
const OFFSET: (u64, u64) = (0x6576_656e_6b65_656c, 0x6d61_676c_6576_6f66);
const SKIP: (u64, u64) = (0x6576_656e_6b65_656c, 0x6d61_676c_6576_736b);
const SECOND: (u64, u64) = (0x6576_656e_6b65_656c, 0x7365_636f_6e64_6873);

/// What stays the same from list to list.
#[derive(Debug)]
pub(in crate::pool) struct Maglev {
    key: HashKey,
    bounded_load: Option<f64>,
}

impl Maglev {
    pub(super) fn new(key: HashKey, bounded_load: Option<f64>) -> Self {
        Self { key, bounded_load }
    }

    pub(super) fn key(&self) -> &HashKey {
        &self.key
    }

    pub(super) fn choose<'a>(
        &self,
        candidates: &'a Candidates,
        ask: &Ask<'_>,
        may: &impl Fn(&Share) -> bool,
    ) -> Option<&'a Share> {
        let table = candidates.tables.as_deref().map(|tables| tables.of_tier(candidates.tier));
        let key = ask.claim().key.unwrap_or_else(|| client_hash(&self.key, ask.client));
        let bound = self.bounded_load.map(|factor| Bound::of(candidates, factor));
        let within = |share: &&Share| may(share) && bound.is_none_or(|bound| bound.allows(share));
        let own = table
            .and_then(|table| table.member(key))
            .and_then(|member| candidates.of_member(member));
        let fair = own.filter(within).or_else(|| self.second(candidates, key, within));
        // The bound spreads load, it refuses nobody: with others at their caps it may be in the way.
        fair.or_else(|| self.second(candidates, key, |share| bound.is_some() && may(share)))
    }

    /// The open share with the highest score for this key: weighted rendezvous hashing, so that the
    /// keys of one that is away spread over the others by weight and no other key moves.
    fn second<'a>(
        &self,
        candidates: &'a Candidates,
        key: u64,
        may: impl Fn(&&Share) -> bool,
    ) -> Option<&'a Share> {
        let tables = candidates.tables.as_deref();
        let score = |share: &Share| {
            let name = tables.map(|tables| tables.name(share.member)).unwrap_or_default();
            let drawn = hash(SECOND, &[key.to_be_bytes(), name.to_be_bytes()].concat());
            let uniform = ((drawn >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
            -f64::from(share.weight) / uniform.ln()
        };
        let open = candidates.shares.iter().filter(may);
        open.map(|share| (score(share), share))
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map(|best| best.1)
    }
}

/// No backend takes more than `factor` times its part of all sessions, the new one included.
#[derive(Clone, Copy)]
struct Bound {
    per_weight: f64,
}

impl Bound {
    fn of(candidates: &Candidates, factor: f64) -> Self {
        let sessions: u64 =
            candidates.shares.iter().map(|share| u64::from(share.backend.sessions())).sum();
        Self { per_weight: factor * (sessions + 1) as f64 / candidates.total_weight.max(1) as f64 }
    }

    fn allows(self, share: &Share) -> bool {
        let most = (self.per_weight * f64::from(share.weight)).ceil();
        f64::from(share.backend.sessions()) + 1.0 <= most
    }
}

/// The tables of a pool by certain weights.
#[derive(Debug)]
pub(in crate::pool) struct Tables {
    /// Of which members.
    of: Box<[(u64, Tier)]>,
    weights: Box<[u16]>,
    /// Hash of each member's name, for the second hash.
    names: Box<[u64]>,
    ordinary: Table,
    backup: Table,
}

impl Tables {
    /// `weights` stand in the order of `members`.
    pub(super) fn of(members: &[Member], weights: Box<[u16]>) -> Self {
        let ordinary = Table::of(members, &weights, Tier::Ordinary);
        let backup = Table::of(members, &weights, Tier::Backup);
        let of = members.iter().map(identity).collect();
        let names = members.iter().map(|m| hash(SECOND, m.backend.name().as_bytes())).collect();
        Self { of, weights, names, ordinary, backup }
    }

    /// True if they were made of these members by these weights.
    pub(super) fn are_of(&self, members: &[Member], weights: &[u16]) -> bool {
        *self.weights == *weights && members.iter().map(identity).eq(self.of.iter().copied())
    }

    fn name(&self, member: usize) -> u64 {
        self.names.get(member).copied().unwrap_or_default()
    }

    fn of_tier(&self, tier: Tier) -> &Table {
        match tier {
            Tier::Ordinary => &self.ordinary,
            Tier::Backup => &self.backup,
        }
    }
}

fn identity(member: &Member) -> (u64, Tier) {
    (member.backend.id(), member.tier)
}

/// Slots, each with the place of a member. Empty if no member has a weight.
#[derive(Debug)]
struct Table(Box<[u16]>);

impl Table {
    fn of(members: &[Member], weights: &[u16], tier: Tier) -> Self {
        let heaviest = weights.iter().copied().max().unwrap_or(0);
        let mut claims: Vec<Claim<'_>> = members
            .iter()
            .zip(weights)
            .enumerate()
            .filter(|(_, (member, weight))| member.tier == tier && **weight > 0)
            .map(|(place, (member, weight))| {
                Claim::new(place, member, f64::from(*weight) / f64::from(heaviest))
            })
            .collect();
        // By name, not by place in the file: order decides who wins a slot.
        claims.sort_by(|a, b| a.name.cmp(b.name));
        if claims.is_empty() { Self(Box::default()) } else { Self(fill(&mut claims)) }
    }

    fn member(&self, key: u64) -> Option<usize> {
        let slots = u64::try_from(self.0.len()).ok().filter(|slots| *slots > 0)?;
        let slot = usize::try_from(key % slots).ok()?;
        self.0.get(slot).map(|place| usize::from(*place))
    }
}

/// One member's walk through the slots in its own order.
struct Claim<'a> {
    name: &'a str,
    place: u16,
    slot: usize,
    skip: usize,
    /// Turns it gets in each round, 1 for the heaviest.
    pace: f64,
    credit: f64,
}

impl<'a> Claim<'a> {
    fn new(place: usize, member: &'a Member, pace: f64) -> Self {
        let name = member.backend.name();
        let slots = SLOTS as u64;
        Self {
            name,
            place: u16::try_from(place).unwrap_or(u16::MAX),
            slot: (hash(OFFSET, name.as_bytes()) % slots) as usize,
            skip: (hash(SKIP, name.as_bytes()) % (slots - 1) + 1) as usize,
            pace,
            credit: 0.0,
        }
    }

    /// The next slot in its order that nobody has.
    fn next_free(&mut self, taken: &[Option<u16>]) -> usize {
        while taken.get(self.slot).is_some_and(Option::is_some) {
            self.slot = (self.slot + self.skip) % SLOTS;
        }
        self.slot
    }
}

fn fill(claims: &mut [Claim<'_>]) -> Box<[u16]> {
    let mut slots = vec![None; SLOTS];
    let mut free = SLOTS;
    while free > 0 {
        for claim in &mut *claims {
            claim.credit += claim.pace;
            if claim.credit < 1.0 || free == 0 {
                continue;
            }
            claim.credit -= 1.0;
            let slot = claim.next_free(&slots);
            slots[slot] = Some(claim.place);
            free -= 1;
        }
    }
    slots.into_iter().flatten().collect()
}

/// The hash of what a request says; like the address of a client its bytes and nothing else, so that a
/// value leads to one backend wherever in a request it stands.
pub(in crate::pool) fn hash_of(bytes: &[u8]) -> u64 {
    hash(KEY, bytes)
}

fn client_hash(key: &HashKey, client: ClientAddr) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(KEY.0, KEY.1);
    match client.ip() {
        IpAddr::V4(ip) => hasher.write(&ip.octets()),
        IpAddr::V6(ip) => hasher.write(&ip.octets()),
    }
    if *key == HashKey::ClientIpPort {
        hasher.write(&client.socket().port().to_be_bytes());
    }
    hasher.finish()
}

fn hash(key: (u64, u64), bytes: &[u8]) -> u64 {
    SipHasher13::new_with_keys(key.0, key.1).hash(bytes)
}
