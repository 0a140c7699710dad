//! All that is counted, by names that stay: what a process says at its end, and the next one goes on
//! with.
//!
//! What the next process does not have any more, because its file has no such listener or backend, is
//! dropped there.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::metric::Figure;
use crate::pool::Pool;
use crate::server::snapshot::{Handle, ListenerView, Snapshot};

/// Figures by name. Those that stand at 0 are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Ledger(BTreeMap<String, Vec<u64>>);

impl Ledger {
    /// What has been counted so far.
    pub(super) fn read(handle: &Handle) -> Self {
        let mut figures = BTreeMap::new();
        handle.each_figure(&mut |name, figure| {
            add(figures.entry(name).or_default(), &figure.read());
        });
        figures.retain(|_, numbers| numbers.iter().any(|number| *number > 0));
        Self(figures)
    }

    /// Adds all of it to the figures of the same names here.
    pub(super) fn enter(mut self, handle: &Handle) {
        // Taken out, so that what stands in two places is added once.
        handle.each_figure(&mut |name, figure| {
            if let Some(growth) = self.0.remove(&name) {
                figure.add(&growth);
            }
        });
    }

    /// What it has risen by since it was `before`.
    pub(super) fn since(&self, before: &Self) -> Self {
        let growth = self.0.iter().map(|(name, now)| {
            let then = before.0.get(name).map(Vec::as_slice).unwrap_or_default();
            let then = then.iter().copied().chain(std::iter::repeat(0));
            let risen = now.iter().zip(then).map(|(now, then)| now.saturating_sub(then));
            (name.clone(), risen.collect::<Vec<_>>())
        });
        Self(growth.filter(|(_, risen)| risen.iter().any(|number| *number > 0)).collect())
    }

    /// The same in parts of at most `most` figures each.
    pub(super) fn into_parts(self, most: usize) -> Vec<Self> {
        let mut parts = Vec::new();
        let mut rest = self.0.into_iter();
        loop {
            let part: BTreeMap<_, _> = rest.by_ref().take(most).collect();
            if part.is_empty() {
                return parts;
            }
            parts.push(Self(part));
        }
    }
}

/// Who is shown a figure with its whole name.
pub(super) type See<'a> = dyn FnMut(String, Figure<'_>) + 'a;

/// Shows every figure of the world. Names of listeners, routes, pools and backends hold no space.
pub(super) fn each(snapshot: &Snapshot, see: &mut See<'_>) {
    snapshot.pools.iter().for_each(|pool| of_pool(pool, see));
    snapshot.listeners.iter().for_each(|view| of_listener(view, see));
}

fn of_pool(pool: &Pool, see: &mut See<'_>) {
    let mut own =
        |name: &str, figure: Figure<'_>| see(format!("pool {} {name}", pool.name()), figure);
    own("retries", Figure::Count(&pool.retries));
    own("budget-exhausted", Figure::Count(&pool.budget.exhausted));
    own("queue-wait", Figure::Durations(&pool.queue().wait));
    own("queue-abandoned", Figure::Count(&pool.queue().abandoned));
    if let Some(sticky) = pool.sticky() {
        own("sticky-evicted", Figure::Count(&sticky.evicted));
    }
    for backend in pool.ready().backends() {
        let prefix = format!("backend {} {}", pool.name(), backend.name());
        backend.figures(&mut |name, figure| see(format!("{prefix} {name}"), figure));
        for (listener, tally) in backend.tallies() {
            tally
                .figures(&mut |name, figure| see(format!("{prefix} of {listener} {name}"), figure));
        }
    }
}

fn of_listener(view: &ListenerView, see: &mut See<'_>) {
    let prefix = format!("listener {}", view.name);
    view.figures.figures(&mut |name, figure| see(format!("{prefix} {name}"), figure));
    for route in &view.routes {
        see(format!("{prefix} route {} sessions", route.name), Figure::Count(&route.sessions));
        see(format!("{prefix} route {} limited", route.name), Figure::Count(&route.limited));
    }
    if let Some(tls) = &view.tls {
        tls.figures.figures(&mut |name, figure| see(format!("{prefix} tls {name}"), figure));
    }
    if let Some(orders) = &view.orders {
        see(format!("{prefix} orders ok"), Figure::Count(&orders.ok));
        see(format!("{prefix} orders failed"), Figure::Count(&orders.failed));
    }
    let mut timed: Vec<&Arc<_>> = Vec::new();
    for requests in &view.requests {
        let named = |name: &Option<Arc<str>>| name.as_deref().unwrap_or_default().to_owned();
        let (route, pool) = (named(&requests.route), named(&requests.pool));
        see(format!("{prefix} requests {route} {pool} codes"), Figure::Answers(&requests.codes));
        // The lanes of one route share it.
        if !timed.iter().any(|known| Arc::ptr_eq(known, &requests.duration)) {
            timed.push(&requests.duration);
            let duration = Figure::Durations(&requests.duration);
            see(format!("{prefix} requests {route} duration"), duration);
        }
    }
}

fn add(total: &mut Vec<u64>, more: &[u64]) {
    total.resize(total.len().max(more.len()), 0);
    total.iter_mut().zip(more).for_each(|(total, more)| *total += more);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(figures: &[(&str, &[u64])]) -> Ledger {
        Ledger(
            figures.iter().map(|(name, numbers)| ((*name).to_owned(), numbers.to_vec())).collect(),
        )
    }

    #[test]
    fn growth_is_what_was_added_and_nothing_else() {
        let before = ledger(&[("a", &[1, 2]), ("b", &[5]), ("c", &[1])]);
        let now = ledger(&[("a", &[1, 4, 3]), ("b", &[5]), ("c", &[9]), ("d", &[2])]);
        assert_eq!(now.since(&before), ledger(&[("a", &[0, 2, 3]), ("c", &[8]), ("d", &[2])]));
        assert_eq!(now.since(&now), Ledger::default());
    }

    #[test]
    fn parts_hold_all_of_it() {
        let whole = ledger(&[("a", &[1]), ("b", &[2]), ("c", &[3])]);
        let parts = whole.clone().into_parts(2);
        assert_eq!(parts, [ledger(&[("a", &[1]), ("b", &[2])]), ledger(&[("c", &[3])])]);
        assert!(Ledger::default().into_parts(2).is_empty());
    }
}
