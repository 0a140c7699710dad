//! The queue: who is next, who is woken, and that nobody is forgotten.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::task::{Wake, Waker};
use std::thread::Thread;
use std::time::Instant;

use super::*;

const LONG: Duration = Duration::from_secs(30);

/// Tells whether it was woken.
#[derive(Default)]
struct Bell(AtomicBool);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Bell {
    fn rang(&self) -> bool {
        self.0.swap(false, Ordering::SeqCst)
    }
}

/// One who waits, with a bell.
struct Waiter {
    ticket: Ticket,
    bell: Arc<Bell>,
}

impl Waiter {
    fn enter(bench: &Bench) -> Self {
        let ticket = bench.entrance.pool.queue.enter().expect("room to wait");
        Self { ticket, bell: Arc::default() }
    }

    /// As a task does when it is polled.
    fn look<'a>(&self, bench: &'a Bench) -> Result<Lease, Unpicked<'a>> {
        self.ticket.wake_with(&Waker::from(Arc::clone(&self.bell)));
        bench.pick_in_turn(&self.ticket)
    }
}

fn waits(looked: &Result<Lease, Unpicked<'_>>) -> bool {
    matches!(looked, Err(Unpicked::Full(_)))
}

fn capped(policy: Policy, backends: usize, cap: u32, queue: u32) -> config::Pool {
    let mut members: Vec<_> = (0..backends).map(|i| member(&format!("b{i}"), 1)).collect();
    members.iter_mut().for_each(|member| member.max_sessions = cap);
    let queue = config::Queue { size: queue, timeout: LONG };
    config::Pool { queue, ..spec(policy.clone(), members) }
}

fn one_place(queue: u32) -> Bench {
    Bench::new(&capped(Policy::LeastConnections, 1, 1, queue))
}

#[test]
fn the_first_is_served_first_and_nobody_gets_past_those_who_wait() {
    let bench = one_place(9);
    let held = bench.pick().unwrap();
    let (first, second) = (Waiter::enter(&bench), Waiter::enter(&bench));
    assert!(waits(&first.look(&bench)) && waits(&second.look(&bench)));
    drop(held);
    assert!(first.bell.rang() && !second.bell.rang());
    assert!(waits(&bench.pick()), "a newcomer got past those who wait");
    assert!(waits(&second.look(&bench)), "the second got past the first");
    let held = first.look(&bench).unwrap();
    drop(first);
    assert!(second.bell.rang(), "there may be more room");
    assert!(waits(&second.look(&bench)));
    drop(held);
    assert!(second.bell.rang() && second.look(&bench).is_ok());
    drop(second);
    assert!(bench.pick().is_ok());
}

#[test]
fn whoever_leaves_leaves_nothing_behind_and_wakes_the_next_if_it_was_first() {
    let bench = one_place(3);
    let queue = &bench.entrance.pool.queue;
    let held = bench.pick().unwrap();
    let [a, b, c] = [(); 3].map(|()| Waiter::enter(&bench));
    assert!(queue.enter().is_none(), "it holds three");
    assert!([&a, &b, &c].iter().all(|waiter| waits(&waiter.look(&bench))));
    drop(b);
    assert_eq!((queue.len(), a.bell.rang(), c.bell.rang()), (2, false, false));
    drop(held);
    assert!(a.bell.rang());
    // Called, and gone before it looked: the place must not stay empty.
    drop(a);
    assert!(c.bell.rang() && c.look(&bench).is_ok());
    drop(c);
    assert_eq!((queue.len(), bench.sessions()), (0, vec![0]));
    assert!(one_place(0).entrance.pool.queue.enter().is_none());
}

#[test]
fn a_new_list_wakes_those_who_wait_and_those_who_wait_behind_a_fallback() {
    let mut bench = Bench::new(&capped(Policy::First, 2, 1, 9));
    bench.judge(1, Health::Down);
    let _held = bench.pick().unwrap();
    let (a, b) = (Waiter::enter(&bench), Waiter::enter(&bench));
    assert!(waits(&a.look(&bench)) && waits(&b.look(&bench)));
    bench.judge(1, Health::Up);
    assert!(a.bell.rang());
    assert_eq!(name(&a.look(&bench).unwrap()), "b1");
    bench.judge(0, Health::Down);
    bench.judge(1, Health::Down);
    assert!(a.bell.rang() && matches!(a.look(&bench), Err(Unpicked::NoBackend)));
    drop(a);
    assert!(b.bell.rang() && matches!(b.look(&bench), Err(Unpicked::NoBackend)));

    let rescue = Bench::new(&capped(Policy::First, 1, 1, 9));
    let below = Entrance::new(&"front".into(), Arc::clone(&rescue.entrance.pool), None);
    let mut above = Bench::with_fallback(&spec(Policy::First, vec![member("a", 1)]), Some(below));
    above.judge(0, Health::Down);
    let _held = above.pick().unwrap();
    let (ahead, behind) = (Waiter::enter(&rescue), Waiter::enter(&rescue));
    assert!(waits(&ahead.look(&rescue)) && waits(&behind.look(&above)));
    above.judge(0, Health::Up);
    // The one ahead knows no other pool; the one behind does, and need not wait for its turn.
    assert!(behind.bell.rang());
    assert_eq!(name(&behind.look(&above).unwrap()), "a");
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Takes a place, waiting for it if need be: then with the number of the turn.
fn take(bench: &Bench) -> (Lease, Option<u64>) {
    if let Ok(lease) = bench.pick() {
        return (lease, None);
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let ticket = bench.entrance.pool.queue.enter().unwrap();
    let began = Instant::now();
    loop {
        ticket.wake_with(&waker);
        if let Ok(lease) = bench.pick_in_turn(&ticket) {
            return (lease, Some(ticket.number));
        }
        thread::park_timeout(LONG);
        assert!(began.elapsed() < LONG, "nobody woke it");
    }
}

#[test]
fn under_many_threads_the_order_holds_and_no_wake_up_is_lost() {
    let bench = one_place(64);
    let served = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for thread in 0..8 {
            let (bench, served) = (&bench, &served);
            scope.spawn(move || {
                for round in 0..1_000 {
                    // Some give up, at the head or not.
                    let quitter = bench.entrance.pool.queue.enter().filter(|_| thread % 4 == 0);
                    drop(quitter);
                    let (lease, turn) = take(bench);
                    served.lock().unwrap().extend(turn);
                    if round % 3 == 0 {
                        thread::yield_now();
                    }
                    drop(lease);
                }
            });
        }
    });
    let served = served.into_inner().unwrap();
    assert!(served.is_sorted(), "the order of the queue was broken");
    assert!(!served.is_empty(), "nobody ever waited: this tests nothing");
    assert_eq!((bench.entrance.pool.queue.len(), bench.sessions()), (0, vec![0]));
}

#[test]
fn under_many_threads_caps_hold_and_all_are_served_by_every_policy() {
    let policies = [
        Policy::LeastConnections,
        Policy::RoundRobin,
        Policy::Random,
        Policy::PowerOfTwo,
        Policy::LeastLatency,
        Policy::First,
        Policy::ConsistentHash { key: HashKey::ClientIp, bounded_load: Some(1.0) },
    ];
    for policy in policies {
        let bench = Bench::new(&capped(policy.clone(), 3, 2, 64));
        let here = [const { std::sync::atomic::AtomicUsize::new(0) }; 3];
        thread::scope(|scope| {
            for _ in 0..10 {
                scope.spawn(|| {
                    for _ in 0..300 {
                        let (lease, _) = take(&bench);
                        let place: usize = name(&lease)[1..].parse().unwrap();
                        assert!(here[place].fetch_add(1, Ordering::SeqCst) < 2, "{policy:?}");
                        thread::yield_now();
                        here[place].fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!((bench.entrance.pool.queue.len(), bench.sessions()), (0, vec![0; 3]));
    }
}

#[test]
fn nobody_is_refused_while_there_is_room() {
    let bounded = Policy::ConsistentHash { key: HashKey::ClientIp, bounded_load: Some(1.0) };
    for policy in [Policy::LeastConnections, Policy::RoundRobin, Policy::Random, bounded] {
        // As many places are left as there are threads, each of which takes one at a time. Between
        // them are many that are taken, so that a look from one to the other takes a while.
        let bench = Bench::new(&capped(policy.clone(), 99, 1, 0));
        let mut held: Vec<_> = (0..99).map(|_| bench.pick().unwrap()).collect();
        held.retain(|lease| !["b0", "b98"].contains(&name(lease).as_str()));
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        assert!(bench.pick().is_ok(), "{policy:?}");
                    }
                });
            }
        });
    }
}

#[test]
fn a_bound_on_the_load_refuses_nobody_when_the_others_are_at_their_caps() {
    let bounded = Policy::ConsistentHash { key: HashKey::ClientIp, bounded_load: Some(1.0) };
    let mut members = vec![member("small", 1), member("large", 1)];
    members[0].max_sessions = 1;
    let bench = Bench::new(&spec(bounded, members));
    let held: Vec<_> = (0..20).map(|_| bench.pick().unwrap()).collect();
    let names: BTreeSet<_> = held.iter().map(name).collect();
    assert_eq!((bench.sessions(), names.len()), (vec![1, 19], 2));
}
