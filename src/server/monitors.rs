//! The monitors of all pools by their names, those included whose pool is gone from the file and whose
//! backends still have sessions.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::sync::Notify;

use crate::config::{self, Config};
use crate::event::Events;
use crate::health::{self, Adoption, Monitor, Operator};
use crate::net::Resolver;
use crate::pool::Pool;
use crate::server::world::World;
use crate::server::{Known, StartError};
use crate::session::Bell;

/// All monitors.
#[derive(Debug)]
pub(super) struct Monitors {
    all: BTreeMap<Arc<str>, Monitor>,
    events: Events,
    bell: Bell,
}

/// What becomes of the monitors when a configuration takes effect.
#[derive(Debug, Default)]
pub(super) struct Next {
    /// Of pools that are new; they have had their first round.
    started: Vec<(Arc<str>, Monitor)>,
    /// Of pools that differ.
    adoptions: Vec<(Arc<str>, Adoption)>,
}

impl Monitors {
    /// Starts the monitor of every pool.
    pub(super) fn start(
        config: &Config,
        world: &World,
        events: &Events,
        bell: &Bell,
        known: &Known,
    ) -> Result<Self, StartError> {
        let mut monitors =
            Self { all: BTreeMap::new(), events: events.clone(), bell: bell.clone() };
        for (ordinal, spec, pool) in in_order(config, world) {
            let known = known.get(&*spec.name).map(Vec::as_slice).unwrap_or_default();
            let monitor = monitors.begin(pool, spec, ordinal, (&world.resolver, known))?;
            monitors.all.insert(Arc::clone(&spec.name), monitor);
        }
        Ok(monitors)
    }

    fn begin(
        &self,
        pool: &Arc<Pool>,
        spec: &config::Pool,
        ordinal: usize,
        (resolver, known): (&Resolver, &[health::Known]),
    ) -> Result<Monitor, StartError> {
        let (events, bell) = (self.events.clone(), self.bell.clone());
        Ok(Monitor::start(Arc::clone(pool), spec, ordinal, resolver, events, bell, known)?)
    }

    /// Those who tell them what is wanted, in the order of the configuration.
    pub(super) fn operators(&self, config: &Config) -> Vec<Operator> {
        let operator = |spec: &config::Pool| self.all.get(&spec.name).map(Monitor::operator);
        config.pools.iter().filter_map(operator).collect()
    }

    /// What a process after this one begins with, by pool.
    pub(super) async fn known(&self) -> Known {
        let mut known = Known::new();
        for (pool, monitor) in &self.all {
            known.insert(pool.to_string(), monitor.known().await);
        }
        known
    }

    /// Who tells the monitor of a pool what was discovered, and what is notified when a backend fails.
    pub(super) fn wires(&self, pool: &str) -> Option<(Operator, Arc<Notify>)> {
        self.all.get(pool).map(|monitor| (monitor.operator(), monitor.trouble()))
    }

    /// Waits until every backend has been probed once.
    pub(super) async fn first_round(&self) {
        for monitor in self.all.values() {
            monitor.first_round().await;
        }
    }

    /// Makes ready what becomes of the monitors: each backend that is new is probed once. Nothing
    /// that serves is changed.
    pub(super) async fn prepare(
        &self,
        (old, before): (&Config, &World),
        (new, after): (&Config, &World),
    ) -> Result<Next, StartError> {
        let mut next = Next::default();
        let mut differing = Vec::new();
        let asks_others = !before.resolver.is_like(&after.resolver);
        for (ordinal, spec, pool) in in_order(new, after) {
            let name = Arc::clone(&spec.name);
            let Some(monitor) = self.all.get(&name) else {
                let from = (&after.resolver, &[][..]);
                next.started.push((name, self.begin(pool, spec, ordinal, from)?));
                continue;
            };
            let was = in_order(old, before).find(|(_, was, _)| was.name == name);
            let is_same =
                was.is_some_and(|(_, was, of)| is_untouched(was, spec) && Arc::ptr_eq(of, pool));
            if !is_same || asks_others {
                differing.push(async move {
                    (name, monitor.prepare(pool, spec, &after.resolver).await)
                });
            }
        }
        for (name, adoption) in all_of(differing).await {
            next.adoptions.push((name, adoption?));
        }
        for (_, monitor) in &next.started {
            monitor.first_round().await;
        }
        Ok(next)
    }

    /// Has the monitors go by what was prepared; returns when the next pick does. Pools that are gone
    /// from the file are as they were.
    pub(super) async fn take(&mut self, next: Next) {
        for (name, adoption) in next.adoptions {
            if let Some(monitor) = self.all.get(&name) {
                monitor.adopt(adoption).await;
            }
        }
        self.all.extend(next.started);
    }

    /// True if there are monitors of pools that the file does not name.
    pub(super) fn has_others(&self, config: &Config) -> bool {
        self.all.keys().any(|name| !is_named(config, name))
    }

    /// Has those pools end that the file does not name: returns when nobody is picked there any more.
    /// Their monitors end with the last session of their backends.
    pub(super) async fn retire_others(&mut self, config: &Config) {
        self.all.retain(|name, monitor| is_named(config, name) || !monitor.is_done());
        for (_, monitor) in self.all.iter().filter(|(name, _)| !is_named(config, name)) {
            monitor.retire().await;
        }
    }
}

fn is_named(config: &Config, pool: &Arc<str>) -> bool {
    config.pools.iter().any(|spec| spec.name == *pool)
}

/// The pools with their tables, and how many backends are named before each.
fn in_order<'a>(
    config: &'a Config,
    world: &'a World,
) -> impl Iterator<Item = (usize, &'a config::Pool, &'a Arc<Pool>)> {
    let ordinals = config.pools.iter().scan(0, |next, spec| {
        let ordinal = *next;
        *next += spec.members.len();
        Some(ordinal)
    });
    ordinals
        .zip(&config.pools)
        .zip(world.pools())
        .map(|((ordinal, spec), pool)| (ordinal, spec, pool))
}

/// True if nothing about a pool can have changed: its table is the same, and names no file that a
/// probe reads.
fn is_untouched(was: &config::Pool, is: &config::Pool) -> bool {
    // Which pool has which number says nothing about this one.
    let settled = config::Pool { fallback: is.fallback, ..was.clone() };
    settled == *is && !is.health.probe.reads_files()
}

/// Waits for all at once.
async fn all_of<T>(work: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut waiting: Vec<Pin<Box<_>>> = work.into_iter().map(Box::pin).collect();
    let mut done = Vec::new();
    poll_fn(|cx| {
        waiting.retain_mut(|work| match work.as_mut().poll(cx) {
            Poll::Ready(output) => {
                done.push(output);
                false
            }
            Poll::Pending => true,
        });
        if waiting.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    done
}
