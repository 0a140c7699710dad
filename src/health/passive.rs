//! What a monitor does at each look at its backends' failures under traffic: eject, let return, and
//! raise the weight of those that warm up.

use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;

use crate::config;
use crate::health::member::Member;
use crate::health::watch::{Watch, find};
use crate::pool::{Allowance, LastEjection, Marks, Ruling};

/// From one look to the next, unless a failure wakes the monitor before.
const LOOK: Duration = Duration::from_millis(250);

/// When to look next.
#[derive(Debug)]
pub(super) struct Looks {
    rules: config::Passive,
    /// Some things can only be seen by looking, others have to be looked at when they are there.
    next: Option<Duration>,
    alarm: Arc<Alarm>,
}

/// Ends a monitor's sleep; a ring while it is awake is kept for it.
#[derive(Debug, Default)]
struct Alarm(Notify);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

impl Looks {
    pub(super) fn new(rules: config::Passive) -> Self {
        let next = (rules.failures > 0).then_some(LOOK);
        Self { rules, next, alarm: Arc::default() }
    }

    /// Looks by other rules from now on.
    pub(super) fn set_rules(&mut self, rules: config::Passive, now: Duration) {
        self.rules = rules;
        if rules.failures > 0 {
            self.want(now);
        }
    }

    /// What a backend wakes with the failure that ejects it.
    pub(super) fn waker(&self) -> Waker {
        Arc::clone(&self.alarm).into()
    }

    /// Some backend has failed often enough.
    pub(super) async fn alarm(&self) {
        self.alarm.0.notified().await;
    }

    pub(super) fn hurry(&mut self) {
        self.next = Some(Duration::ZERO);
    }

    /// When the next look is due: the age of the monitor.
    pub(super) fn next(&self) -> Option<Duration> {
        self.next
    }

    /// Somebody warms up and has to be looked at.
    pub(super) fn want(&mut self, now: Duration) {
        self.next.get_or_insert(now + LOOK);
    }

    fn take_due(&mut self, now: Duration) -> bool {
        let is_due = self.next.take_if(|next| *next <= now).is_some();
        if is_due && self.rules.failures > 0 {
            self.want(now);
        }
        is_due
    }
}

impl Watch {
    /// Looks at every backend, if it is time to.
    pub(super) fn look(&mut self) {
        let now = self.started.elapsed();
        if !self.looks.take_due(now) {
            return;
        }
        let ejected = self.members.iter().filter(|member| member.ejection.is_ejected()).count();
        let mut allowance = Allowance::new(&self.looks.rules, self.members.len(), ejected);
        let ids: Vec<_> = self.members.iter().map(|member| member.backend.id()).collect();
        for id in ids {
            self.look_at(id, now, &mut allowance);
        }
    }

    fn look_at(&mut self, id: u64, now: Duration, allowance: &mut Allowance) {
        let Some(member) = find(&mut self.members, id) else { return };
        let before = member.judged();
        let may = before.standing.is_usable();
        let counted = member.backend.marks();
        member.hear_failures(counted.total(), now);
        let reason = match member.ejection.look(counted, may, now, allowance) {
            Some(Ruling::Ejected { why, term }) => {
                let reason = format!("{}; out for {term:?}", told(why, self.looks.rules.window));
                ejected(member, term, &reason);
                reason
            }
            Some(Ruling::Returned { term }) => format!("its {term:?} of ejection are over"),
            Some(Ruling::Spared { why }) => {
                let (pool, backend) = (self.pool.name(), member.backend.name());
                let reason = told(why, self.looks.rules.window);
                tracing::info!(%pool, %backend, reason, "backend not ejected: no more of its pool may be");
                String::new()
            }
            None => String::new(),
        };
        self.note(id, before, reason);
    }
}

/// `3 failures in 10s: 2 refused, 1 timed out`.
fn told(why: Marks, window: Duration) -> String {
    let total = why.total();
    let noun = if total == 1 { "failure" } else { "failures" };
    format!("{total} {noun} in {window:?}: {why}")
}

/// Counts an ejection and leaves what reports say of it.
fn ejected(member: &Member, term: Duration, reason: &str) {
    let stats = &member.backend.stats;
    stats.ejections.increment();
    // Far beyond any term that a file can ask for, the wall clock has no name for the time.
    let until = SystemTime::now().checked_add(term).unwrap_or(SystemTime::UNIX_EPOCH);
    let ejection = LastEjection { until, reason: reason.to_owned() };
    stats.last_ejection.store(Some(Arc::new(ejection)));
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, advance};

    use super::*;
    use crate::addr::BackendAddr;
    use crate::config::{AdminState, Probe};
    use crate::event::{Events, Heard, Subject, Watcher};
    use crate::health::fixture::pool;
    use crate::health::{Monitor, Steering};
    use crate::net::Resolver;
    use crate::outcome::ConnectFailure;
    use crate::pool::Pool;
    use crate::session::Bell;

    const SECOND: Duration = Duration::from_secs(1);

    struct Bench {
        pool: Arc<Pool>,
        monitor: Monitor,
        watcher: Watcher,
        _events: Events,
    }

    /// Two backends that nobody probes, with the events of their changes.
    fn start(change: impl Fn(&mut config::Pool)) -> Bench {
        let address = |port: u16| BackendAddr::Ip(([127, 0, 0, 1], port).into());
        let mut spec = pool([address(1), address(2)], Probe::None);
        spec.members[0].name = "a".into();
        spec.members[1].name = "b".into();
        change(&mut spec);
        let pool = Arc::new(Pool::new(&spec, None));
        let events = Events::default();
        let monitor = Monitor::start(
            Arc::clone(&pool),
            &spec,
            0,
            &Resolver::default(),
            events.clone(),
            Bell::default(),
            &[],
        )
        .unwrap();
        Bench { pool, monitor, watcher: events.watch(100), _events: events }
    }

    impl Bench {
        fn fail(&self, member: usize, times: usize) {
            let backend = Arc::clone(&self.pool.members()[member].backend);
            let refused = ConnectFailure::Refused;
            (0..times).for_each(|_| backend.connect_failed(refused, Some(SECOND), 0));
        }

        /// The next event: about whom, what, and why.
        async fn next(&mut self) -> [String; 2] {
            let Some(Heard::Event(event)) = self.watcher.next().await else { panic!() };
            let name = match &event.subject {
                Subject::Backend { backend, .. } => backend,
                Subject::Pool { pool } => pool,
                other => panic!("{other:?}"),
            };
            [format!("{name} {} {}", event.from, event.to), event.reason.clone()]
        }

        async fn steer(&self, member: usize, state: Option<AdminState>, weight: Option<u16>) {
            let name = Arc::clone(self.pool.members()[member].backend.name());
            assert!(self.monitor.operator().steer(&name, Steering { state, weight }).await);
        }

        fn weight(&self, member: usize) -> f64 {
            self.pool.ready().effective_weight(member)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_ejection_has_its_term_and_an_operators_ready_ends_it() {
        let mut bench = start(|_| {});
        for name in ["a", "b"] {
            assert_eq!(bench.next().await[0], format!("{name} unknown up"));
        }
        bench.fail(0, 3);
        let began = Instant::now();
        let why = "3 failures in 10s: 3 refused; out for 10s";
        assert_eq!(bench.next().await, ["a up ejected", why]);
        assert_eq!(began.elapsed(), Duration::ZERO, "by the failure, not by the clock");
        assert_eq!((bench.weight(0), bench.weight(1)), (0.0, 1.0));
        assert_eq!(bench.next().await, ["a ejected up", "its 10s of ejection are over"]);
        assert!(began.elapsed() >= SECOND * 10);
        assert_eq!(bench.weight(0), 1.0);

        bench.fail(0, 4);
        let why = "4 failures in 10s: 4 refused; out for 20s";
        assert_eq!(bench.next().await, ["a up ejected", why]);
        // Half of the pool is out: the other one has to stay.
        bench.fail(1, 9);
        advance(SECOND).await;
        bench.steer(0, Some(AdminState::Ready), None).await;
        assert_eq!(bench.next().await, ["a ejected up", "operator"]);
        assert_eq!(bench.weight(0), 1.0);
        // Now there is room.
        assert_eq!(bench.next().await[0], "b up ejected");
        let stats = |member: usize| bench.pool.members()[member].backend.stats.ejections.get();
        assert_eq!((stats(0), stats(1)), (2, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pool_whose_last_backend_is_ejected_says_so() {
        let mut bench = start(|spec| {
            spec.passive.max_ejected = 100;
            spec.members[1].state = AdminState::Drain;
        });
        assert_eq!(bench.next().await[0], "a unknown up");
        assert_eq!(bench.next().await[0], "b unknown up");
        bench.fail(0, 3);
        assert_eq!(bench.next().await[0], "a up ejected");
        let why = "no backend can be picked: 1 ejected, 1 drain";
        assert_eq!(bench.next().await, ["db up down", why]);
        assert_eq!(bench.next().await[0], "a ejected up");
        assert_eq!(bench.next().await, ["db down up", "a can be picked"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pool_that_is_up_again_names_one_that_can_be_picked() {
        let mut bench = start(|spec| spec.members[0].weight = 0);
        assert_eq!(bench.next().await[0], "a unknown up");
        assert_eq!(bench.next().await[0], "b unknown up");
        bench.steer(1, Some(AdminState::Maintenance), None).await;
        assert_eq!(bench.next().await[0], "b up maintenance");
        let why = "no backend can be picked: 1 of weight 0, 1 maintenance";
        assert_eq!(bench.next().await, ["db up down", why]);
        bench.steer(1, Some(AdminState::Ready), None).await;
        assert_eq!(bench.next().await[0], "b maintenance up");
        assert_eq!(bench.next().await, ["db down up", "b can be picked"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_weight_is_told_and_whoever_returns_gets_it_step_by_step() {
        let mut bench = start(|spec| spec.slow_start = SECOND * 100);
        assert_eq!(bench.next().await[0], "a unknown up");
        assert_eq!(bench.next().await[0], "b unknown up");
        assert_eq!(bench.weight(0), 1.0, "full at the start");
        bench.steer(0, None, Some(4)).await;
        assert_eq!(bench.next().await, ["a weight 1 weight 4", "operator"]);
        assert_eq!(bench.weight(0), 4.0, "another weight is no return");
        bench.steer(0, Some(AdminState::Maintenance), None).await;
        bench.steer(0, Some(AdminState::Ready), None).await;
        let mut weight = bench.weight(0);
        assert!((weight - 0.4).abs() < 1e-9, "{weight}");
        for _ in 0..30 {
            advance(SECOND * 3).await;
            tokio::task::yield_now().await;
            assert!(bench.weight(0) >= weight);
            weight = bench.weight(0);
        }
        assert!((3.0..4.0).contains(&weight), "{weight}");
        assert_eq!(bench.weight(1), 1.0);
        tokio::time::sleep(SECOND * 20).await;
        assert_eq!(bench.weight(0), 4.0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_table_of_hashes_knows_no_slow_start() {
        let bench = start(|spec| {
            let key = config::HashKey::ClientIp;
            spec.slow_start = SECOND * 100;
            spec.policy = config::Policy::ConsistentHash { key, bounded_load: None };
        });
        bench.steer(0, Some(AdminState::Maintenance), None).await;
        bench.steer(0, Some(AdminState::Ready), None).await;
        assert_eq!(bench.weight(0), 1.0);
    }
}
