//! One holder's part in the orders to end sessions: who goes now, of those it holds.
//!
//! A holder is a worker's table, or one worker's flows of a listener. Holders share nothing but the
//! orders: each says there what it has, and leaves what may be closed to others while they have
//! idle sessions and it has none.

use std::cmp::min;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use crate::outcome::Outcome;
use crate::session::clock::Tick;
use crate::session::recall::{Bell, Order, Recall, Said};

/// A session that an order may mean.
#[derive(Debug)]
pub struct Called<'a> {
    /// What its backend says.
    pub recall: &'a Arc<Recall>,
    /// When it last moved a byte, on its holder's clock.
    pub last: Tick,
    /// Its place with its holder.
    pub slot: usize,
}

impl Called<'_> {
    fn backend(&self) -> usize {
        Arc::as_ptr(self.recall).addr()
    }
}

/// Where one holder stands with all orders.
#[derive(Debug, Default)]
pub struct Roll {
    bell: Bell,
    heard: u64,
    /// When some order has to be looked at again.
    due: Option<Instant>,
    /// Its part in each order under way, by backend.
    shares: BTreeMap<usize, Share>,
}

impl Roll {
    /// Of a holder that listens to `bell`.
    pub fn new(bell: Bell) -> Self {
        Self { bell, ..Self::default() }
    }

    /// True if orders have changed or one is due: the holder must then call its sessions.
    pub fn is_due(&mut self, now: impl FnOnce() -> Instant) -> bool {
        let count = self.bell.count();
        let has_rung = std::mem::replace(&mut self.heard, count) != count;
        has_rung || self.due.is_some_and(|due| due <= now())
    }

    /// When it will be due if no bell rings.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// The cause if a session that enters only now has to end at once.
    pub(super) fn late(&mut self, recall: &Recall, epoch: u32) -> Option<Outcome> {
        let order = recall.order_for(epoch)?;
        let now = Instant::now();
        if order.is_over(now) {
            order.take_late(1);
            return Some(order.cause());
        }
        self.due = Some(now);
        None
    }

    /// Chooses who goes now, and how: `called` are all that were picked before their backend's
    /// latest order; `tick` is now on the holder's clock.
    pub fn call(
        &mut self,
        mut called: Vec<Called<'_>>,
        now: Instant,
        tick: Tick,
    ) -> Vec<(usize, Outcome)> {
        // By backend, and whoever has moved nothing for longest first.
        called.sort_unstable_by_key(|session| (session.backend(), session.last));
        let mut ended = Vec::new();
        let mut shares = BTreeMap::new();
        self.due = None;
        for of_one in called.chunk_by(|one, other| one.backend() == other.backend()) {
            let Some(first) = of_one.first() else { continue };
            let Some(order) = first.recall.order() else { continue };
            let known = self.shares.remove(&first.backend());
            let known = known.filter(|share| Arc::ptr_eq(&share.order, &order));
            let mut share = known.unwrap_or_else(|| Share::new(Arc::clone(&order)));
            let count = share.claim(of_one, now, tick);
            ended.extend(of_one.iter().take(count).map(|one| (one.slot, order.cause())));
            if count < of_one.len() {
                let next = order.next(now);
                self.due = Some(self.due.map_or(next, |due| min(due, next)));
                shares.insert(first.backend(), share);
            }
        }
        // What it said in the others is withdrawn.
        self.shares = shares;
        ended
    }
}

/// One holder's part in one order.
#[derive(Debug)]
struct Share {
    order: Arc<Order>,
    /// What it last said.
    said: Said,
    second: u64,
    /// The first look in that second.
    looked: Option<Tick>,
    /// The first look in the second before: who has moved nothing since is idle.
    mark: Option<Tick>,
}

impl Share {
    fn new(order: Arc<Order>) -> Self {
        Self { order, said: Said::default(), second: 0, looked: None, mark: None }
    }

    /// How many of its sessions go now; they stand in the order in which they go.
    fn claim(&mut self, sessions: &[Called<'_>], now: Instant, tick: Tick) -> usize {
        let held = sessions.len();
        if self.order.is_over(now) {
            self.order.take_late(held as u64);
            return held;
        }
        let second = self.order.second(now);
        if second != self.second {
            (self.second, self.mark) = (second, self.looked.take());
        }
        self.looked.get_or_insert(tick);
        let Some(mark) = self.mark else {
            // Nobody has been watched for a second yet: who may be idle keeps others from going.
            self.say(held, held);
            return 0;
        };
        let idle = sessions.partition_point(|session| session.last <= mark);
        let others_idle = self.say(held, idle);
        let wanted = if others_idle == 0 { held } else { idle };
        let taken = self.order.take(second, wanted as u64) as usize;
        self.say(held - taken, idle.saturating_sub(taken));
        taken
    }

    /// Says what it has; gives the idle ones that others have.
    fn say(&mut self, held: usize, idle: usize) -> u64 {
        let says = Said { held: held as u64, idle: idle as u64 };
        self.order.report(says, std::mem::replace(&mut self.said, says))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.say(0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    /// A session, and when it last moved.
    #[derive(Debug, Clone)]
    struct Session {
        is_busy: bool,
        last: Tick,
    }

    /// One worker: its sessions, and when it cannot run.
    struct Worker {
        roll: Roll,
        sessions: BTreeMap<usize, Session>,
        stall: std::ops::Range<u64>,
    }

    /// Workers with sessions on one backend; time in milliseconds since the order.
    struct Scene {
        started: Instant,
        recall: Arc<Recall>,
        workers: Vec<Worker>,
        ended: Vec<(u64, Session)>,
    }

    /// The order begins when the workers' clocks stand there.
    const AGE: Tick = 100_000;

    impl Scene {
        fn new(workers: &[(usize, usize, std::ops::Range<u64>)], over: Duration) -> Self {
            let (bell, recall, started) = (Bell::default(), Arc::default(), Instant::now());
            let worker = |(busy, silent, stall): &(usize, usize, std::ops::Range<u64>)| {
                let session = |slot| Session { is_busy: slot < *busy, last: AGE - 10 };
                Worker {
                    roll: Roll::new(bell.clone()),
                    sessions: (0..busy + silent).map(|slot| (slot, session(slot))).collect(),
                    stall: stall.clone(),
                }
            };
            let workers = workers.iter().map(worker).collect();
            let scene = Self { started, recall, workers, ended: Vec::new() };
            scene.recall.begin(Arc::new(Order::new(Outcome::Drain, started, over)));
            bell.ring();
            scene
        }

        fn order(&self) -> Arc<Order> {
            self.recall.order().unwrap()
        }

        fn left(&self) -> usize {
            self.workers.iter().map(|worker| worker.sessions.len()).sum()
        }

        /// Every worker that runs at `at` looks around.
        fn step(&mut self, at: u64) {
            let now = self.started + Duration::from_millis(at);
            for worker in &mut self.workers {
                if worker.stall.contains(&at) {
                    continue;
                }
                worker.sessions.values_mut().filter(|s| s.is_busy).for_each(|s| s.last = AGE + at);
                if !worker.roll.is_due(|| now) {
                    continue;
                }
                let sessions = worker.sessions.iter();
                let called = sessions.map(|(slot, s)| Called {
                    recall: &self.recall,
                    last: s.last,
                    slot: *slot,
                });
                for (slot, _) in worker.roll.call(called.collect(), now, AGE + at) {
                    self.ended.push((at, worker.sessions.remove(&slot).unwrap()));
                }
            }
        }

        fn run(&mut self, until: u64) {
            (0..=until).step_by(50).for_each(|at| self.step(at));
        }

        fn closed_by(&self, at: u64) -> usize {
            self.ended.iter().filter(|(when, _)| *when <= at).count()
        }

        /// No busy session went before the end while a silent one was left.
        fn is_idle_first(&self, over: u64) -> bool {
            let first_busy = self.ended.iter().position(|(_, s)| s.is_busy);
            let last_silent = self.ended.iter().rposition(|(at, s)| !s.is_busy && *at < over);
            first_busy.zip(last_silent).is_none_or(|(busy, silent)| silent < busy)
        }
    }

    #[test]
    fn a_thousand_sessions_go_a_hundred_a_second_and_the_idle_ones_first() {
        let workers = [(100, 400, 0..0), (400, 100, 0..0)];
        let mut scene = Scene::new(&workers, Duration::from_secs(10));
        scene.run(11_000);
        for second in 0..=10 {
            let closed = scene.closed_by(second * 1000 + 50);
            assert_eq!(closed, second as usize * 100, "after {second} s");
        }
        assert!(scene.is_idle_first(10_000));
        assert_eq!((scene.left(), scene.order().closed()), (0, 1000));
    }

    #[test]
    fn now_means_the_next_look() {
        let mut scene = Scene::new(&[(3, 4, 0..0)], Duration::ZERO);
        scene.step(0);
        assert_eq!(scene.left(), 0);
        assert_eq!(scene.workers[0].roll.due(), None);
    }

    #[test]
    fn a_few_sessions_are_spread_over_the_whole_time() {
        let mut scene = Scene::new(&[(0, 2, 0..0)], Duration::from_secs(4));
        scene.run(5_000);
        let when: Vec<_> = scene.ended.iter().map(|(at, _)| *at).collect();
        assert_eq!(when, [2000, 4000]);
    }

    #[test]
    fn who_leaves_by_itself_slows_the_closing_of_the_others() {
        let mut scene = Scene::new(&[(0, 100, 0..0)], Duration::from_secs(10));
        scene.run(1_000);
        assert_eq!(scene.closed_by(1_000), 10);
        while scene.left() > 45 {
            scene.workers[0].sessions.pop_last();
        }
        // The plan of the next second was made before the others were seen to be gone.
        (1_050..=10_000).step_by(50).for_each(|at| scene.step(at));
        for second in 2..=9 {
            let closed = scene.closed_by(second * 1000) - scene.closed_by((second - 1) * 1000);
            assert!((4..=6).contains(&closed), "{closed} in second {second}");
        }
        assert_eq!(scene.left(), 0);
    }

    #[test]
    fn a_session_that_was_picked_after_the_order_is_not_meant_by_it() {
        let recall = Recall::default();
        let before = recall.epoch();
        recall.begin(Arc::new(Order::new(Outcome::Down, Instant::now(), Duration::ZERO)));
        let mut roll = Roll::default();
        assert_eq!(roll.late(&recall, before), Some(Outcome::Down));
        assert_eq!(roll.late(&recall, recall.epoch()), None);
        recall.stop();
        assert_eq!(roll.late(&recall, before), None);
    }

    #[test]
    fn what_a_holder_said_of_an_order_goes_with_it() {
        let mut scene = Scene::new(&[(5, 5, 0..0), (0, 1, 0..0)], Duration::from_secs(60));
        scene.step(0);
        let order = scene.order();
        scene.workers.truncate(1);
        assert_eq!(order.report(Said::default(), Said::default()), 10);
        scene.workers.clear();
        assert_eq!(order.report(Said::default(), Said::default()), 0);
    }

    proptest! {
        #[test]
        fn the_plan_is_never_exceeded_and_idle_ones_go_first(
            // All have heard of the order when it began: who has not can have said nothing yet.
            workers in proptest::collection::vec((0_usize..60, 0_usize..60, 1_u64..9000, 0_u64..2500), 1..4),
            over in 1_u64..9,
        ) {
            let workers: Vec<_> = workers
                .into_iter()
                .map(|(busy, silent, from, took)| (busy, silent, from..from + took))
                .collect();
            let total: usize = workers.iter().map(|(busy, silent, _)| busy + silent).sum();
            let mut scene = Scene::new(&workers, Duration::from_secs(over));
            scene.run(14_000);
            for at in (0..over * 1000).step_by(50) {
                let plan = (total as u64 * (at / 1000)).div_ceil(over) as usize;
                prop_assert!(scene.closed_by(at) <= plan, "{} of {plan} at {at}", scene.closed_by(at));
            }
            prop_assert!(scene.is_idle_first(over * 1000));
            prop_assert_eq!(scene.left(), 0);
            prop_assert_eq!(scene.order().closed(), total as u64);
        }
    }
}
