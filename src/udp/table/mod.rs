//! The flows of one socket: who they belong to, when they last moved, who may be given up.
//!
//! No socket, no clock: time comes as milliseconds on any steady clock that never goes back.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use slab::Slab;

/// Milliseconds on a steady clock.
pub type Tick = u64;

/// How long a flow may wait for its first answer before it can be asked to make room.
pub const PATIENCE: Tick = 1_000;

/// What tells one flow from another; the local port is the socket's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key {
    /// Address and port of the client.
    pub client: SocketAddr,
    /// The address the client sent to, where the socket has many.
    pub local: Option<IpAddr>,
}

/// When flows end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rules {
    /// No datagram either way for so long; `None` = never.
    pub idle: Option<Tick>,
    /// So many replies for each of the flow's datagrams; 0 = no such end.
    pub responses: u32,
}

/// One flow, with what its owner keeps of it.
#[derive(Debug)]
pub struct Flow<T> {
    /// Who it belongs to.
    pub key: Key,
    /// What its owner keeps.
    pub load: T,
    /// Those of its beginning.
    rules: Rules,
    began: Tick,
    last: Tick,
    datagrams: u64,
    replies: u64,
}

impl<T> Flow<T> {
    /// A flow of which nothing has moved yet.
    fn new(rules: Rules, now: Tick, key: Key, load: T) -> Self {
        Self { key, load, rules, began: now, last: now, datagrams: 0, replies: 0 }
    }

    /// When the latest datagram moved.
    pub fn last(&self) -> Tick {
        self.last
    }

    /// What it has been through until `now`.
    pub fn past(&self, now: Tick) -> Past {
        let (age, idle) = (now.saturating_sub(self.began), now.saturating_sub(self.last));
        let Self { datagrams, replies, rules, .. } = *self;
        Past { age, idle, datagrams, replies, rules }
    }

    /// It has had all the replies that it may expect.
    fn has_all(&self) -> bool {
        let each = u64::from(self.rules.responses);
        each > 0 && self.replies >= each.saturating_mul(self.datagrams)
    }

    /// It has had one datagram and no reply: it may be made up.
    fn is_unanswered(&self) -> bool {
        self.datagrams <= 1 && self.replies == 0
    }
}

/// What a flow has been through: another table goes on from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// Milliseconds since it began.
    pub age: Tick,
    /// Milliseconds since the latest datagram.
    pub idle: Tick,
    /// Datagrams from the client that were handed on.
    pub datagrams: u64,
    /// Replies.
    pub replies: u64,
    /// Those of its beginning.
    pub rules: Rules,
}

/// The flows of one socket.
#[derive(Debug)]
pub struct Table<T> {
    rules: Rules,
    flows: Slab<Flow<T>>,
    by_key: HashMap<Key, usize>,
    /// Those that are unanswered, the oldest first.
    unanswered: BTreeSet<(Tick, usize)>,
}

impl<T> Table<T> {
    /// An empty table. Its hash is keyed anew in each, since keys are the clients' choice.
    pub fn new(rules: Rules) -> Self {
        Self { rules, flows: Slab::new(), by_key: HashMap::new(), unanswered: BTreeSet::new() }
    }

    /// Flows that come from now on go by these; those there are keep theirs.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// Flows in the table.
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// The place of a flow.
    pub fn find(&self, key: &Key) -> Option<usize> {
        self.by_key.get(key).copied()
    }

    /// The flow at a place.
    pub fn get(&self, slot: usize) -> Option<&Flow<T>> {
        self.flows.get(slot)
    }

    /// The flow at a place, to be changed.
    pub fn get_mut(&mut self, slot: usize) -> Option<&mut Flow<T>> {
        self.flows.get_mut(slot)
    }

    /// The place that the next flow will get.
    pub fn next_slot(&self) -> usize {
        self.flows.vacant_key()
    }

    /// Enters a flow of which nothing has moved yet. A key that is there already is replaced; its
    /// flow should have been removed before.
    pub fn insert(&mut self, now: Tick, key: Key, load: T) -> usize {
        let slot = self.flows.insert(Flow::new(self.rules, now, key, load));
        self.unanswered.insert((now, slot));
        if let Some(old) = self.by_key.insert(key, slot) {
            self.forget(old);
        }
        slot
    }

    /// Enters a flow that began elsewhere, as [`Table::insert`] does.
    pub fn resume(&mut self, now: Tick, key: Key, load: T, past: Past) -> usize {
        // Its clock may have begun only now: what was before that counts as its beginning.
        let (began, last) = (now.saturating_sub(past.age), now.saturating_sub(past.idle));
        let slot = self.insert(began, key, load);
        self.on_moved(slot, last, |flow| {
            (flow.datagrams, flow.replies, flow.rules) = (past.datagrams, past.replies, past.rules);
        });
        slot
    }

    /// Counts datagrams from the client that were handed on.
    pub fn on_datagrams(&mut self, slot: usize, now: Tick, count: u64) {
        self.on_moved(slot, now, |flow| flow.datagrams += count);
    }

    /// Counts replies that were handed on; true if the flow has now had all that it may expect.
    pub fn on_replies(&mut self, slot: usize, now: Tick, count: u64) -> bool {
        self.on_moved(slot, now, |flow| flow.replies += count);
        self.flows.get(slot).is_some_and(Flow::has_all)
    }

    fn on_moved(&mut self, slot: usize, now: Tick, count: impl Fn(&mut Flow<T>)) {
        let Some(flow) = self.flows.get_mut(slot) else { return };
        let was_unanswered = flow.is_unanswered();
        count(flow);
        flow.last = now;
        if was_unanswered && !flow.is_unanswered() {
            self.unanswered.remove(&(flow.began, slot));
        }
    }

    /// Puts a flow where another one is, which is given back.
    pub fn replace(&mut self, slot: usize, now: Tick, key: Key, load: T) -> Option<Flow<T>> {
        let flow = self.flows.get_mut(slot)?;
        let old = std::mem::replace(flow, Flow::new(self.rules, now, key, load));
        self.unanswered.remove(&(old.began, slot));
        self.unanswered.insert((now, slot));
        if self.by_key.get(&old.key) == Some(&slot) {
            self.by_key.remove(&old.key);
        }
        self.by_key.insert(key, slot);
        Some(old)
    }

    /// Takes a flow out.
    pub fn remove(&mut self, slot: usize) -> Option<Flow<T>> {
        let flow = self.forget(slot)?;
        self.by_key.remove(&flow.key);
        Some(flow)
    }

    fn forget(&mut self, slot: usize) -> Option<Flow<T>> {
        let flow = self.flows.try_remove(slot)?;
        self.unanswered.remove(&(flow.began, slot));
        Some(flow)
    }

    /// The oldest flow that has had a single datagram and no answer for more than a second: the
    /// only one that may ever have to make room for another.
    pub fn stale(&self, now: Tick) -> Option<usize> {
        let (began, slot) = self.unanswered.first()?;
        (now > began + PATIENCE).then_some(*slot)
    }

    /// Puts into `overdue` who has been idle for too long.
    pub fn overdue(&self, now: Tick, overdue: &mut Vec<usize>) {
        let is_idle = |flow: &Flow<T>| {
            flow.rules.idle.is_some_and(|idle| now >= flow.last.saturating_add(idle))
        };
        overdue.extend(self.flows.iter().filter(|(_, flow)| is_idle(flow)).map(|(slot, _)| slot));
    }

    /// All flows with their places.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &Flow<T>)> {
        self.flows.iter()
    }

    /// All flows with their places, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut Flow<T>)> {
        self.flows.iter_mut()
    }
}

#[cfg(test)]
mod tests;
