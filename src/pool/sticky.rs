//! Which backend each client address had last: `[pool.NAME.sticky]` with `client_ip`.
//!
//! One lock for all of it, held while a session is placed: two sessions of one address that come at
//! once go to one backend, and the oldest entry is the oldest of all.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config;
use crate::metric::Counter;
use crate::pool::ready::Share;

/// Addresses that one pick forgets at most: after a long silence nobody has to wait for all of them.
/// More than a pick can add, so that they do get fewer.
const FORGOTTEN: usize = 8;

/// The memory of a pool. Backends stand in it by name, so it may outlive a list.
#[derive(Debug)]
pub struct Sticky {
    /// Milliseconds.
    ttl: u64,
    most: usize,
    memory: Arc<Mutex<Memory>>,
    /// Addresses forgotten before their time, to make room.
    pub evicted: Arc<Counter>,
}

#[derive(Debug, Default)]
struct Memory {
    entries: HashMap<IpAddr, Entry>,
    /// Addresses by the turn of their latest pick, so that the first is the oldest.
    by_age: BTreeMap<u64, IpAddr>,
    next: u64,
}

#[derive(Debug)]
struct Entry {
    backend: Arc<str>,
    /// Of its latest pick.
    turn: u64,
    /// By the clock of whichever worker picked. Those started when their workers did, all together:
    /// they differ by milliseconds, and lifetimes are minutes.
    at: u64,
}

/// Where a session was placed.
#[derive(Clone, Copy)]
pub(super) enum Placed<'a> {
    /// There from now on.
    Home(&'a Share),
    /// There for this once: its own backend is full.
    Guest(&'a Share),
}

impl<'a> Placed<'a> {
    /// Where that is.
    pub(super) fn share(self) -> &'a Share {
        match self {
            Self::Home(share) | Self::Guest(share) => share,
        }
    }
}

impl Sticky {
    /// The memory of the one `before`, or an empty one.
    pub(super) fn new(rules: config::Sticky, before: Option<&Self>) -> Self {
        Self {
            ttl: u64::try_from(rules.ttl.as_millis()).unwrap_or(u64::MAX),
            most: rules.max_entries as usize,
            memory: before.map(|before| Arc::clone(&before.memory)).unwrap_or_default(),
            evicted: before.map(|before| Arc::clone(&before.evicted)).unwrap_or_default(),
        }
    }

    /// Addresses remembered now, those included whose time is over and which nobody has missed.
    pub fn len(&self) -> usize {
        self.memory().entries.len()
    }

    /// True if no address is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Has `place` take a place, given the name of the backend that `client` had, and remembers it.
    pub(super) fn place<'a>(
        &self,
        client: IpAddr,
        now: u64,
        place: impl FnOnce(Option<&str>) -> Option<Placed<'a>>,
    ) -> Option<Placed<'a>> {
        let mut memory = self.memory();
        memory.expire(now, self.ttl);
        let known = memory.entries.get(&client).filter(|entry| !entry.is_over(now, self.ttl));
        let known = known.map(|entry| Arc::clone(&entry.backend));
        let placed = place(known.as_deref())?;
        match placed {
            Placed::Guest(_) => {
                if let Some(home) = known {
                    memory.remember(client, home, now);
                }
            }
            Placed::Home(share) => {
                if memory.is_full_for(client, self.most) {
                    memory.forget_oldest();
                    self.evicted.increment();
                }
                memory.remember(client, Arc::clone(share.backend.name()), now);
            }
        }
        Some(placed)
    }

    /// The backend that `client` would be sent to again.
    pub(super) fn home(&self, client: IpAddr, now: u64) -> Option<Arc<str>> {
        let memory = self.memory();
        let known = memory.entries.get(&client).filter(|entry| !entry.is_over(now, self.ttl));
        known.map(|entry| Arc::clone(&entry.backend))
    }

    /// All that is remembered, the oldest first, with the milliseconds since its latest pick.
    pub fn remembered(&self, now: u64) -> Vec<(IpAddr, Arc<str>, u64)> {
        let memory = self.memory();
        let entry = |client: &IpAddr| {
            let entry = memory.entries.get(client).filter(|entry| !entry.is_over(now, self.ttl))?;
            Some((*client, Arc::clone(&entry.backend), now.saturating_sub(entry.at)))
        };
        memory.by_age.values().filter_map(entry).collect()
    }

    /// Remembers what another process did, and keeps what is known here by now.
    pub fn recall(&self, client: IpAddr, backend: Arc<str>, now: u64, age: u64) {
        let mut memory = self.memory();
        if !memory.entries.contains_key(&client) && memory.entries.len() < self.most {
            memory.remember(client, backend, now.saturating_sub(age));
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // Both maps are changed together, with nothing in between that could fail.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn is_over(&self, now: u64, ttl: u64) -> bool {
        now.saturating_sub(self.at) >= ttl
    }
}

impl Memory {
    /// Forgets some of those at the old end whose time is over.
    fn expire(&mut self, now: u64, ttl: u64) {
        for _ in 0..FORGOTTEN {
            let oldest = self.by_age.first_key_value().and_then(|(_, ip)| self.entries.get(ip));
            if !oldest.is_some_and(|entry| entry.is_over(now, ttl)) {
                return;
            }
            self.forget_oldest();
        }
    }

    fn is_full_for(&self, client: IpAddr, most: usize) -> bool {
        self.entries.len() >= most && !self.entries.contains_key(&client)
    }

    fn forget_oldest(&mut self) {
        if let Some((_, client)) = self.by_age.pop_first() {
            self.entries.remove(&client);
        }
    }

    fn remember(&mut self, client: IpAddr, backend: Arc<str>, now: u64) {
        let turn = self.next;
        self.next += 1;
        if let Some(before) = self.entries.insert(client, Entry { backend, turn, at: now }) {
            self.by_age.remove(&before.turn);
        }
        self.by_age.insert(turn, client);
    }
}
