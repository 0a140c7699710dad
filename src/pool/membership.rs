//! Who belongs to a pool. It may change while the pool stays: with a reload, or with what a name
//! stands for.

use std::sync::Arc;

use crate::config::{self, AdminState};
use crate::pool::Backend;

/// Ordinary backends come first; backups only while no ordinary one is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// Used as long as one of them is up.
    Ordinary,
    /// Used while no ordinary one is up.
    Backup,
}

/// A backend in a pool: what the file says about it. Dies on reload, unlike its [`Backend`].
#[derive(Debug, Clone)]
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

impl Member {
    /// `backend` as the file has it.
    pub fn new(backend: Arc<Backend>, spec: &config::Member) -> Self {
        Self {
            backend,
            weight: spec.weight,
            max_sessions: spec.max_sessions,
            tier: if spec.backup { Tier::Backup } else { Tier::Ordinary },
            state: spec.state,
        }
    }
}

/// The members of a pool, and who was one.
#[derive(Debug, Clone, Default)]
pub struct Membership {
    /// In the order of the file; then those that were discovered.
    pub members: Arc<[Member]>,
    /// Backends that have left and still have sessions.
    pub leaving: Arc<[Arc<Backend>]>,
}

impl Membership {
    /// New backends, as the file has them.
    pub(super) fn of(members: &[config::Member]) -> Self {
        let member = |spec: &config::Member| {
            let backend = Backend::new(Arc::clone(&spec.name), spec.address.clone());
            Member::new(Arc::new(backend), spec)
        };
        Self { members: members.iter().map(member).collect(), leaving: Arc::default() }
    }
}
