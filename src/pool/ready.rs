//! The finished list a picker reads: who may take a session now, with everything worked out.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::pool::backend::Backend;
use crate::pool::balance::Tables;
use crate::pool::cookie::Values;
use crate::pool::interleave::interleave;
use crate::pool::membership::Membership;
use crate::pool::standing::Standing;
use crate::pool::warmup::Warmth;
use crate::pool::{Ask, Member, Tier};

/// What the monitor knows of one member when it makes the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judged {
    /// Health, ejection and the operator's wish.
    pub standing: Standing,
    /// Where to connect to; `None` while its name has no address.
    pub address: Option<SocketAddr>,
    /// What the file or the operator gave it; 0 to 256.
    pub weight: u16,
    /// How much of it the backend has by now.
    pub warmth: Warmth,
}

/// One backend that may be picked.
#[derive(Debug)]
pub(super) struct Share {
    /// Its place among the pool's members.
    pub(super) member: usize,
    pub(super) backend: Arc<Backend>,
    pub(super) address: SocketAddr,
    /// Above 0; in the unit of its list, which is finer while somebody warms up.
    pub(super) weight: u32,
    /// Cap on its sessions; 0 = none.
    pub(super) cap: u32,
}

impl Share {
    /// Below its cap.
    pub(super) fn has_room(&self) -> bool {
        self.cap == 0 || self.backend.sessions() < self.cap
    }
}

/// The backends of one tier that may be picked, with what the policies need worked out.
#[derive(Debug)]
pub(super) struct Candidates {
    pub(super) tier: Tier,
    pub(super) shares: Box<[Share]>,
    /// Positions in `shares`, each as often as its weight says, spread evenly.
    pub(super) sequence: Box<[u16]>,
    pub(super) total_weight: u64,
    /// What a weight of 1 is in `shares`.
    unit: u32,
    /// For a policy that hashes.
    pub(super) tables: Option<Arc<Tables>>,
    /// Position in `shares` by member.
    by_member: Box<[Option<u16>]>,
}

impl Candidates {
    fn of(members: &[Member], judged: &[Judged], tier: Tier, may: fn(Standing) -> bool) -> Self {
        let open: Vec<_> = members
            .iter()
            .zip(judged)
            .enumerate()
            .filter(|(_, (member, judged))| member.tier == tier && judged.weight > 0)
            .filter(|(_, (_, judged))| may(judged.standing))
            .collect();
        let is_warming = open.iter().any(|(_, (_, judged))| judged.warmth != Warmth::FULL);
        let unit = if is_warming { Warmth::UNIT } else { 1 };
        let shares: Box<[Share]> = open
            .into_iter()
            .filter_map(|(place, (member, judged))| Share::of(place, member, judged, unit))
            .collect();
        let weights: Vec<u32> = shares.iter().map(|share| share.weight).collect();
        let mut by_member = vec![None; members.len()];
        for (position, share) in shares.iter().enumerate() {
            if let Some(slot) = by_member.get_mut(share.member) {
                *slot = u16::try_from(position).ok();
            }
        }
        Self {
            tier,
            sequence: interleave(&weights),
            total_weight: weights.iter().map(|weight| u64::from(*weight)).sum(),
            by_member: by_member.into(),
            unit,
            tables: None,
            shares,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.shares.is_empty()
    }

    /// The weight of a share in the unit of the file.
    pub(super) fn weight_of(&self, share: &Share) -> f64 {
        f64::from(share.weight) / f64::from(self.unit)
    }

    /// The share of a member, if it is among the candidates.
    pub(super) fn of_member(&self, member: usize) -> Option<&Share> {
        self.shares.get(usize::from((*self.by_member.get(member)?)?))
    }
}

impl Share {
    fn of(place: usize, member: &Member, judged: &Judged, unit: u32) -> Option<Self> {
        let whole = u32::from(judged.weight);
        Some(Self {
            member: place,
            backend: Arc::clone(&member.backend),
            address: judged.address?,
            weight: if unit == 1 { whole } else { judged.warmth.part_of(judged.weight) },
            cap: member.max_sessions,
        })
    }
}

/// The finished list of a pool; immutable, published whole.
#[derive(Debug)]
pub struct ReadySet {
    /// Rises with each published list.
    pub(super) generation: u64,
    /// The ordinary backends that are usable or, if there is none, the backups.
    pub(super) usable: Candidates,
    /// Whom to try when nobody is usable; empty unless the pool fails open.
    pub(super) last_resort: Candidates,
    /// Those of any tier that are drained and up: clients may still reach them by their cookie.
    pub(super) draining: Box<[Share]>,
    /// What the file or the operator gave each member.
    pub(super) weights: Box<[u16]>,
    /// Whose list it is.
    pub(super) membership: Membership,
    /// What the cookies of clients mean.
    pub(super) cookies: Option<Arc<Values>>,
}

impl ReadySet {
    /// Makes the list; `judged` stands in the order of the members, `tables` are for a policy that
    /// hashes.
    pub(super) fn of(
        membership: &Membership,
        judged: &[Judged],
        fail_open: bool,
        tables: Option<Arc<Tables>>,
    ) -> Self {
        let members = &*membership.members;
        let among = |tier, may| Candidates {
            tables: tables.clone(),
            ..Candidates::of(members, judged, tier, may)
        };
        let usable = |tier| among(tier, Standing::is_usable);
        let ordinary = usable(Tier::Ordinary);
        let usable = if ordinary.is_empty() { usable(Tier::Backup) } else { ordinary };
        let may: fn(Standing) -> bool =
            if fail_open && usable.is_empty() { Standing::is_last_resort } else { |_| false };
        let first = among(Tier::Ordinary, may);
        let last_resort = if first.is_empty() { among(Tier::Backup, may) } else { first };
        let draining = [Tier::Ordinary, Tier::Backup]
            .into_iter()
            .flat_map(|tier| Candidates::of(members, judged, tier, Standing::is_draining).shares);
        let draining = draining.collect();
        let weights = judged.iter().map(|judged| judged.weight).collect();
        let membership = membership.clone();
        Self { generation: 0, usable, last_resort, draining, weights, membership, cookies: None }
    }

    /// The pool's members, in the order of the file.
    pub fn members(&self) -> &[Member] {
        &self.membership.members
    }

    /// Backends that have left the pool and still had sessions when the list was made.
    pub fn leaving(&self) -> &[Arc<Backend>] {
        &self.membership.leaving
    }

    /// All that may have sessions: the backends of the members, and those that are leaving.
    pub fn backends(&self) -> impl Iterator<Item = &Arc<Backend>> {
        self.members().iter().map(|member| &member.backend).chain(self.leaving())
    }

    /// True if some backend is up and may be used.
    pub fn is_usable(&self) -> bool {
        !self.usable.is_empty()
    }

    /// The draining backend that the client's cookie names.
    pub(super) fn draining_home(&self, ask: &Ask<'_>) -> Option<&Share> {
        let home = ask.claim().home?;
        let mut draining = self.draining.iter().filter(|share| !ask.has_tried(&share.backend));
        draining.find(|share| share.backend.id() == home)
    }

    /// The weight that the file or the operator gave a member.
    pub fn weight(&self, member: usize) -> u16 {
        self.weights.get(member).copied().unwrap_or_default()
    }

    /// The weight a member has in this list, a part of its own while it warms up; 0 if it is not in
    /// the list.
    pub fn effective_weight(&self, member: usize) -> f64 {
        let weight =
            |candidates: &Candidates| Some(candidates.weight_of(candidates.of_member(member)?));
        weight(&self.usable).or_else(|| weight(&self.last_resort)).unwrap_or_default()
    }
}
