//! `[pool.NAME.close]`: what a change of a backend means for the sessions it has.
//!
//! Each axis, health, the operator's wish and whether it is in its pool, has at most one term. A new cause on
//! the same axis may only shorten it, and it lapses when the backend is back on that axis. The term
//! that ends soonest is the order in force.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::{AdminState, Close, Closing};
use crate::outcome::Outcome;
use crate::pool::{Backend, Health, Pool, Standing};
use crate::session::{Bell, Order};

/// How long after the end of an order its result is logged: workers end the last sessions then.
const GRACE: Duration = Duration::from_secs(1);

/// What is to become of the sessions of a pool's backends.
#[derive(Debug)]
pub(super) struct Closings {
    rules: Close,
    bell: Bell,
    /// By the number of the backend.
    terms: HashMap<u64, Terms>,
    /// Backends that have changed since the last list was published.
    changed: BTreeMap<u64, (Arc<Backend>, News)>,
    /// Orders whose end has not been logged.
    open: Vec<(Arc<Backend>, Arc<Order>)>,
}

/// What has changed for one backend.
#[derive(Debug, Clone, Copy)]
struct News {
    at: Instant,
    has_new_cause: bool,
}

/// A time to end sessions, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Term {
    cause: Outcome,
    end: Instant,
}

/// The terms of one backend.
#[derive(Debug, Clone, Copy, Default)]
struct Terms {
    health: Option<Term>,
    operator: Option<Term>,
    removed: Option<Term>,
}

impl Closings {
    pub(super) fn new(rules: Close, bell: Bell) -> Self {
        let (terms, changed) = (HashMap::new(), BTreeMap::new());
        Self { rules, bell, terms, changed, open: Vec::new() }
    }

    /// What begins from now on follows these rules.
    pub(super) fn set_rules(&mut self, rules: Close) {
        self.rules = rules;
    }

    /// Takes note of a change of standing.
    pub(super) fn note(
        &mut self,
        backend: &Arc<Backend>,
        before: Standing,
        after: Standing,
        now: Instant,
    ) {
        let terms = self.terms.entry(backend.id()).or_default();
        let has_new_cause = terms.change(&self.rules, before, after, now);
        self.changed(backend, News { at: now, has_new_cause });
    }

    /// The backend has left its pool.
    pub(super) fn removed(&mut self, backend: &Arc<Backend>, now: Instant) {
        let terms = self.terms.entry(backend.id()).or_default();
        let has_new_cause = terms.remove(&self.rules, now);
        self.changed(backend, News { at: now, has_new_cause });
    }

    /// The backend is in its pool again, and stands so.
    pub(super) fn returned(&mut self, backend: &Arc<Backend>, standing: Standing, now: Instant) {
        // What it was closed for before it left no longer holds; what holds now is noted anew.
        self.terms.insert(backend.id(), Terms::default());
        let before = Standing { health: Health::Up, ..Standing::default() };
        self.note(backend, before, standing, now);
    }

    /// The backend has no sessions and will have none.
    pub(super) fn forget(&mut self, backend: u64) {
        self.terms.remove(&backend);
        self.changed.remove(&backend);
        self.open.retain(|(other, _)| other.id() != backend);
    }

    fn changed(&mut self, backend: &Arc<Backend>, news: News) {
        let fresh = || (Arc::clone(backend), news);
        let (_, known) = self.changed.entry(backend.id()).or_insert_with(fresh);
        known.has_new_cause |= news.has_new_cause;
    }

    /// Gives the orders that follow from what was noted. The list without those backends is in
    /// force, so nobody is picked any more whom an order does not know.
    pub(super) fn carry_out(&mut self, pool: &Pool, now: Instant) {
        for (id, (backend, news)) in std::mem::take(&mut self.changed) {
            let terms = self.terms.get(&id).copied().unwrap_or_default();
            self.order(pool, &backend, (terms.soonest(), news));
        }
        self.tell_ended(pool, now);
    }

    fn order(&mut self, pool: &Pool, backend: &Arc<Backend>, (term, news): (Option<Term>, News)) {
        let News { at: now, has_new_cause } = news;
        let recall = backend.recall();
        let order = recall.order();
        if order.as_ref().is_some_and(|order| term == Some(Term::of(order))) {
            if has_new_cause {
                recall.widen();
                self.bell.ring();
            }
            return;
        }
        let in_force = order.filter(|order| !order.is_over(now));
        let sessions = backend.sessions();
        let Some(term) = term.filter(|term| term.end >= now && sessions > 0) else {
            recall.stop();
            if in_force.is_some() {
                let (pool, backend) = (pool.name(), backend.name());
                tracing::info!(%pool, %backend, sessions, "no longer closing sessions");
            }
            return;
        };
        let over = term.end.saturating_duration_since(now);
        let order = Arc::new(Order::new(term.cause, now, over));
        recall.begin(Arc::clone(&order));
        self.bell.ring();
        self.open.retain(|(other, _)| !Arc::ptr_eq(other, backend));
        self.open.push((Arc::clone(backend), order));
        let what = match in_force {
            Some(old) if old.end() > term.end => "closing sessions sooner",
            Some(_) => "closing sessions later",
            None => "closing sessions",
        };
        let over = match over.as_millis() {
            0 => "now".to_owned(),
            millis => format!("{:?}", Duration::from_millis(millis as u64)),
        };
        let (pool, backend, cause) = (pool.name(), backend.name(), term.cause.as_str());
        tracing::info!(%pool, %backend, cause, sessions, over, "{what}");
    }

    /// When the end of an order is to be logged.
    pub(super) fn next(&self) -> Option<Instant> {
        self.open.iter().map(|(_, order)| order.end() + GRACE).min()
    }

    fn tell_ended(&mut self, pool: &Pool, now: Instant) {
        self.open.retain(|(backend, order)| {
            if !backend.recall().order().is_some_and(|current| Arc::ptr_eq(&current, order)) {
                return false;
            }
            if now < order.end() + GRACE {
                return true;
            }
            let (closed, sessions, cause) =
                (order.closed(), backend.sessions(), order.cause().as_str());
            let (pool, backend) = (pool.name(), backend.name());
            tracing::info!(%pool, %backend, cause, closed, sessions, "closed sessions");
            false
        });
    }
}

impl Terms {
    /// Follows a change; true if it is a cause to end sessions.
    fn change(&mut self, rules: &Close, before: Standing, after: Standing, now: Instant) -> bool {
        if after.health == Health::Up {
            self.health = None;
        }
        if after.admin == AdminState::Ready {
            self.operator = None;
        }
        let health = match after.health {
            Health::Down => Some((Outcome::Down, rules.down)),
            Health::Standby => Some((Outcome::Role, rules.role)),
            Health::Unknown | Health::Up | Health::Lagging | Health::Unresolved => None,
        };
        let operator = match after.admin {
            AdminState::Ready => None,
            AdminState::Drain => Some((Outcome::Drain, rules.drain)),
            AdminState::Maintenance => Some((Outcome::Maintenance, rules.maintenance)),
        };
        let term = |(cause, closing)| Term::begun(cause, closing, now);
        let health = health.filter(|_| after.health != before.health).and_then(term);
        let operator = operator.filter(|_| after.admin != before.admin).and_then(term);
        if health.is_none() && operator.is_none() {
            return false;
        }
        self.forget_past(now);
        self.health = Term::sooner(self.health, health);
        self.operator = Term::sooner(self.operator, operator);
        true
    }

    /// Takes in that the backend has left; true if that is a cause to end sessions.
    fn remove(&mut self, rules: &Close, now: Instant) -> bool {
        let removed = Term::begun(Outcome::Removed, rules.removed, now);
        if removed.is_some() {
            self.forget_past(now);
            self.removed = removed;
        }
        removed.is_some()
    }

    /// Whom those meant are gone; who has come since has its own time.
    fn forget_past(&mut self, now: Instant) {
        for old in [&mut self.health, &mut self.operator] {
            old.take_if(|old| old.end < now);
        }
    }

    fn soonest(self) -> Option<Term> {
        Term::sooner(Term::sooner(self.health, self.operator), self.removed)
    }
}

impl Term {
    fn of(order: &Order) -> Self {
        Self { cause: order.cause(), end: order.end() }
    }

    fn begun(cause: Outcome, closing: Closing, now: Instant) -> Option<Self> {
        match closing {
            Closing::Keep => None,
            Closing::Now => Some(Self { cause, end: now }),
            Closing::Over(time) => Some(Self { cause, end: now + time }),
        }
    }

    /// Whichever ends first; the first one if both do.
    fn sooner(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        [one, other].into_iter().flatten().min_by_key(|term| term.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::ClientAddr;
    use crate::config::{self, Probe};
    use crate::health::fixture::pool;
    use crate::pool::{Ask, Entrance, Judged, Lease, Warmth};

    const fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    const UP: Standing = Standing { health: Health::Up, admin: AdminState::Ready, ejected: false };
    const DOWN: Standing = Standing { health: Health::Down, ..UP };
    const STANDBY: Standing = Standing { health: Health::Standby, ..UP };
    const DRAIN: Standing = Standing { admin: AdminState::Drain, ..UP };
    const DRAIN_DOWN: Standing = Standing { admin: AdminState::Drain, ..DOWN };
    /// Nobody looks at a backend in maintenance.
    const MAINTENANCE: Standing =
        Standing { health: Health::Unknown, admin: AdminState::Maintenance, ejected: false };
    const UNKNOWN: Standing = Standing { health: Health::Unknown, ..UP };

    /// A pool whose one backend has a session.
    struct Scene {
        closings: Closings,
        pool: Arc<Pool>,
        _lease: Lease,
        standing: Standing,
        started: Instant,
        now: Instant,
    }

    impl Scene {
        fn new(rules: Close) -> Self {
            let address = crate::addr::BackendAddr::Ip("127.0.0.1:1".parse().unwrap());
            let spec = config::Pool { close: rules, ..pool([address], Probe::None) };
            let pool = Arc::new(Pool::new(&spec, None));
            let address = Some("127.0.0.1:1".parse().unwrap());
            pool.publish(&[Judged { standing: UP, address, weight: 1, warmth: Warmth::FULL }]);
            let entrance = Entrance::new(&"l".into(), Arc::clone(&pool), None);
            let client = ClientAddr::new("127.0.0.1:2".parse().unwrap());
            let ask = Ask::of(client, 0, 0);
            let lease = entrance.pick(&ask).unwrap().lease;
            let (closings, now) = (Closings::new(rules, Bell::default()), Instant::now());
            Self { closings, pool, _lease: lease, standing: UP, started: now, now }
        }

        /// The order in force once it stands so, `seconds` after the start: cause and end.
        fn at(&mut self, seconds: u64, standing: Standing) -> Option<(Outcome, u64)> {
            self.now = self.started + secs(seconds);
            let backend = &self.pool.members()[0].backend;
            self.closings.note(backend, self.standing, standing, self.now);
            self.standing = standing;
            self.closings.carry_out(&self.pool, self.now);
            let order = self.pool.members()[0].backend.recall().order()?;
            Some((order.cause(), (order.end() - self.started).as_secs()))
        }
    }

    fn over(seconds: u64) -> Closing {
        Closing::Over(secs(seconds))
    }

    const KEEP: Close = Close {
        down: Closing::Keep,
        role: Closing::Keep,
        drain: Closing::Keep,
        removed: Closing::Keep,
        maintenance: Closing::Keep,
    };

    #[test]
    fn with_the_defaults_only_a_lost_role_and_maintenance_end_sessions() {
        for (standing, cause) in [
            (DOWN, None),
            (DRAIN, None),
            (Standing { health: Health::Lagging, ..UP }, None),
            (STANDBY, Some((Outcome::Role, 0))),
            (MAINTENANCE, Some((Outcome::Maintenance, 0))),
        ] {
            assert_eq!(Scene::new(Close::default()).at(0, standing), cause, "{standing:?}");
        }
    }

    #[test]
    fn a_new_cause_shortens_and_never_lengthens() {
        let rules = Close { down: over(20), drain: over(60), maintenance: Closing::Now, ..KEEP };
        let mut scene = Scene::new(rules);
        assert_eq!(scene.at(0, DRAIN), Some((Outcome::Drain, 60)));
        assert_eq!(scene.at(10, DRAIN_DOWN), Some((Outcome::Down, 30)));
        assert_eq!(scene.at(11, MAINTENANCE), Some((Outcome::Maintenance, 11)));

        let mut scene = Scene::new(rules);
        assert_eq!(scene.at(0, DOWN), Some((Outcome::Down, 20)));
        assert_eq!(scene.at(5, DRAIN_DOWN), Some((Outcome::Down, 20)));
    }

    #[test]
    fn a_cause_that_keeps_sessions_does_not_save_them_from_another() {
        let mut scene = Scene::new(Close { down: over(20), ..KEEP });
        assert_eq!(scene.at(0, DOWN), Some((Outcome::Down, 20)));
        // Nobody probes it now, so nobody knows that it is back.
        assert_eq!(scene.at(5, MAINTENANCE), Some((Outcome::Down, 20)));
        assert_eq!(scene.at(6, UNKNOWN), Some((Outcome::Down, 20)));
        assert_eq!(scene.at(7, UP), None);
    }

    #[test]
    fn a_backend_that_comes_back_keeps_the_sessions_it_still_has() {
        let mut scene = Scene::new(Close { down: over(20), drain: over(60), ..KEEP });
        assert_eq!(scene.at(0, DOWN), Some((Outcome::Down, 20)));
        assert_eq!(scene.at(5, UP), None);
        assert_eq!(scene.at(6, DRAIN), Some((Outcome::Drain, 66)));
        assert_eq!(scene.at(7, UP), None);
        // Back on one axis, it is still drained.
        assert_eq!(scene.at(10, DRAIN), Some((Outcome::Drain, 70)));
        assert_eq!(scene.at(11, DRAIN_DOWN), Some((Outcome::Down, 31)));
        assert_eq!(scene.at(12, DRAIN), Some((Outcome::Drain, 70)));
    }

    #[test]
    fn who_came_after_the_end_of_an_order_has_the_whole_time_of_the_next_cause() {
        let mut scene = Scene::new(Close { down: Closing::Now, drain: over(60), ..KEEP });
        assert_eq!(scene.at(0, DOWN), Some((Outcome::Down, 0)));
        assert_eq!(scene.at(10, DRAIN_DOWN), Some((Outcome::Drain, 70)));
        // A drained backend that found its way from down to up and down again.
        assert_eq!(scene.at(11, DRAIN), Some((Outcome::Drain, 70)));
        assert_eq!(scene.at(12, DRAIN_DOWN), Some((Outcome::Down, 12)));
    }

    #[test]
    fn the_monitor_wakes_to_log_the_end_once() {
        let mut scene = Scene::new(Close { drain: over(60), ..KEEP });
        scene.at(0, DRAIN);
        assert_eq!(scene.closings.next(), Some(scene.started + secs(61)));
        scene.closings.carry_out(&scene.pool, scene.started + secs(60));
        assert!(scene.closings.next().is_some());
        scene.closings.carry_out(&scene.pool, scene.started + secs(61));
        assert_eq!(scene.closings.next(), None);
    }
}
