//! The look-ups of backends, for each pool that has some: what they find goes to the pool's monitor.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::config::{self, Config, Member};
use crate::discover::{self, Discovery, Figures, Spec};
use crate::health::{self, Operator};
use crate::metric::Counter;
use crate::server::monitors::Monitors;
use crate::server::world::World;
use crate::server::{Handle, Known};

/// The first answers are waited for so long: a question takes no longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A pool's look-ups as reports see them.
#[derive(Debug, Clone)]
pub struct DiscoveryView {
    /// The name of the pool.
    pub pool: Arc<str>,
    /// What is looked up.
    pub source: String,
    figures: Arc<Figures>,
}

impl DiscoveryView {
    /// How long ago the last good answer came; `None` if there was none yet.
    pub fn age(&self) -> Option<Duration> {
        self.figures.age()
    }

    /// Why the last look-up failed; `None` if it did not.
    pub fn trouble(&self) -> Option<Arc<str>> {
        self.figures.trouble()
    }

    /// Look-ups that failed, or found nothing.
    pub fn failures(&self) -> &Counter {
        &self.figures.failures
    }
}

/// All look-ups, by their pools.
#[derive(Debug, Default)]
pub(super) struct Discoveries {
    all: BTreeMap<Arc<str>, Carried>,
}

/// The look-ups of one pool, and the tasks between them and its monitor.
#[derive(Debug)]
struct Carried {
    discovery: Discovery,
    _carriers: JoinSet<()>,
}

/// Look-ups that are new: they have had their first answer, or time for one.
#[derive(Debug, Default)]
pub(super) struct NextDiscoveries {
    started: Vec<Discovery>,
}

impl Discoveries {
    /// Begins those that `config` asks for and that are not at work yet; waits a while for their first
    /// answers. What serves is as it was. What is `known` from a process before holds until there are
    /// any.
    pub(super) async fn prepare(
        &self,
        config: &Config,
        world: &World,
        known: &Known,
    ) -> NextDiscoveries {
        let started = specs(config, world).filter_map(|spec| {
            let before = self.all.get(&spec.pool).map(|carried| &carried.discovery);
            let fits = before.is_some_and(|before| before.fits(&spec));
            (!fits).then(|| match before {
                Some(_) => Discovery::start(spec, before),
                None => {
                    let known = known.get(&*spec.pool).into_iter().flatten();
                    let found = known.filter_map(health::Known::as_found).collect();
                    Discovery::resume(spec, found)
                }
            })
        });
        let next = NextDiscoveries { started: started.collect() };
        let answered = async {
            for discovery in &next.started {
                discovery.first_answer().await;
            }
        };
        timeout(PATIENCE, answered).await.ok();
        next
    }

    /// Has what is found go to the monitors, and ends the look-ups that `config` does not ask for.
    /// Returns when what those that are new have found is in force, after one probe at most.
    pub(super) async fn take(
        &mut self,
        next: NextDiscoveries,
        (config, monitors): (&Config, &Monitors),
        handle: &Handle,
    ) {
        let spec = |name: &Arc<str>| config.pools.iter().find(|spec| spec.name == *name);
        self.all.retain(|name, _| spec(name).is_some_and(|spec| spec.discover.is_some()));
        let mut settling = JoinSet::new();
        for discovery in next.started {
            let name = Arc::clone(&discovery.spec().pool);
            let (Some(spec), Some(wires)) = (spec(&name), monitors.wires(&name)) else { continue };
            let (operator, trouble) = wires;
            let limit = patience(spec);
            let (settled, mut told) = watch::channel(false);
            let mut carriers = JoinSet::new();
            carriers.spawn(carry(operator, discovery.found(), settled));
            carriers.spawn(hasten(trouble, discovery.hurrier()));
            let has_found = discovery.found().borrow().is_some();
            if has_found {
                settling.spawn(async move {
                    timeout(limit, told.wait_for(|settled| *settled)).await.is_ok()
                });
            }
            self.all.insert(name, Carried { discovery, _carriers: carriers });
        }
        while settling.join_next().await.is_some() {}
        handle.set_discoveries(self.views());
    }

    fn views(&self) -> Vec<DiscoveryView> {
        let view = |(pool, carried): (&Arc<str>, &Carried)| DiscoveryView {
            pool: Arc::clone(pool),
            source: discover::source(&carried.discovery.spec().discover.source),
            figures: Arc::clone(carried.discovery.figures()),
        };
        self.all.iter().map(view).collect()
    }
}

/// One probe, and before it a name that is looked up.
fn patience(spec: &config::Pool) -> Duration {
    spec.health.timeout.saturating_mul(2)
}

fn specs<'a>(config: &'a Config, world: &'a World) -> impl Iterator<Item = Spec> + 'a {
    config.pools.iter().filter_map(|spec| {
        Some(Spec {
            pool: Arc::clone(&spec.name),
            discover: spec.discover.clone()?,
            max_sessions: spec.max_sessions,
            resolver: world.resolver.clone(),
        })
    })
}

/// Carries each list to the monitor.
async fn carry(
    operator: Operator,
    mut found: watch::Receiver<Option<Arc<[Member]>>>,
    settled: watch::Sender<bool>,
) {
    found.mark_changed();
    while found.changed().await.is_ok() {
        let Some(list) = found.borrow_and_update().clone() else { continue };
        tokio::select! {
            in_force = operator.roster(list.to_vec()) => {
                if in_force {
                    settled.send_replace(true);
                }
            }
            // A newer list goes before one that is still being made ready.
            Ok(()) = found.changed() => found.mark_changed(),
        }
    }
}

/// Carries back that a backend has failed.
async fn hasten(trouble: Arc<Notify>, hurry: Arc<Notify>) {
    loop {
        trouble.notified().await;
        hurry.notify_one();
    }
}
