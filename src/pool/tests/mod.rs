//! The pool as pickers see it: every policy, every tier, and the counts.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::thread;

use proptest::prelude::*;

use std::time::Duration;

use super::*;
use crate::addr::BackendAddr;
use crate::config::AdminState;
use crate::config::{HashKey, Health as Check, Policy, Probe};
use crate::outcome::ConnectFailure;

mod claims;
mod homes;
mod previews;
mod renewals;
mod waiting;

struct Bench {
    entrance: Entrance,
    judged: Vec<Judged>,
}

fn member(name: &str, weight: u16) -> config::Member {
    config::Member {
        name: name.into(),
        weight,
        ..config::Member::unset(BackendAddr::Ip(SocketAddr::from(([127, 0, 0, 1], 1))))
    }
}

fn spec(policy: Policy, members: Vec<config::Member>) -> config::Pool {
    config::Pool {
        policy,
        health: Check { probe: Probe::None, ..Check::default() },
        ..config::Pool::unset("db", members)
    }
}

impl Bench {
    fn new(spec: &config::Pool) -> Self {
        Self::with_fallback(spec, None)
    }

    fn with_fallback(spec: &config::Pool, fallback: Option<Entrance>) -> Self {
        let pool = Arc::new(Pool::new(spec, None));
        let standing = Standing { health: Health::Up, ..Standing::default() };
        let address = Some(SocketAddr::from(([127, 0, 0, 1], 1)));
        let judged = |member: &config::Member| Judged {
            standing,
            address,
            weight: member.weight,
            warmth: Warmth::FULL,
        };
        let judged: Vec<_> = spec.members.iter().map(judged).collect();
        pool.publish(&judged);
        Self { entrance: Entrance::new(&"front".into(), pool, fallback), judged }
    }

    fn equal(policy: Policy, count: usize) -> Self {
        let members = (0..count).map(|i| member(&format!("b{i}"), 1)).collect();
        Self::new(&spec(policy.clone(), members))
    }

    fn judge(&mut self, member: usize, health: Health) {
        self.judged[member].standing.health = health;
        self.entrance.pool.publish(&self.judged);
    }

    fn pick_for(&self, client: u32, tried: &[Arc<Backend>]) -> Result<Lease, Unpicked<'_>> {
        let ip = IpAddr::V4(Ipv4Addr::from_bits(client));
        let client = ClientAddr::new(SocketAddr::new(ip, 40_000));
        let ask = Ask { tried, ..Ask::of(client, fastrand::u64(..), 0) };
        self.entrance.pick(&ask).map(|picked| picked.lease)
    }

    fn pick_in_turn(&self, ticket: &Ticket) -> Result<Lease, Unpicked<'_>> {
        let client = ClientAddr::new(SocketAddr::from(([10, 0, 0, 1], 40_000)));
        let ask = Ask::of(client, fastrand::u64(..), 0);
        self.entrance.pick_in_turn(&ask, ticket).map(|picked| picked.lease)
    }

    fn pick(&self) -> Result<Lease, Unpicked<'_>> {
        self.pick_for(1, &[])
    }

    /// The name that each of `count` sessions goes to, none of them held.
    fn names(&self, count: usize) -> Vec<String> {
        (0..count).map(|_| name(&self.pick().unwrap())).collect()
    }

    fn sessions(&self) -> Vec<u32> {
        self.entrance.pool.members().iter().map(|member| member.backend.sessions()).collect()
    }

    fn homes(&self, clients: u32) -> Vec<String> {
        (0..clients).map(|client| name(&self.pick_for(client, &[]).unwrap())).collect()
    }
}

fn name(lease: &Lease) -> String {
    lease.backend().name().to_string()
}

const HASH: Policy = Policy::ConsistentHash { key: HashKey::ClientIp, bounded_load: None };

#[test]
fn round_robin_goes_on_where_it_was_and_skips_who_is_down() {
    let mut bench = Bench::equal(Policy::RoundRobin, 3);
    assert_eq!(bench.names(4), ["b0", "b1", "b2", "b0"]);
    bench.judge(1, Health::Down);
    assert_eq!(bench.names(4).iter().filter(|n| *n == "b1").count(), 0);
    bench.judge(1, Health::Up);
    let mut round = bench.names(3);
    round.sort();
    assert_eq!(round, ["b0", "b1", "b2"]);
}

#[test]
fn a_full_backend_does_not_give_its_turn_to_the_same_neighbour_each_time() {
    let mut members: Vec<_> = (0..3).map(|i| member(&format!("b{i}"), 1)).collect();
    members[1].max_sessions = 1;
    let bench = Bench::new(&spec(Policy::RoundRobin, members));
    let held: Vec<_> = (0..7).map(|_| bench.pick().unwrap()).collect();
    assert_eq!(bench.sessions(), [3, 1, 3]);
    drop(held);
    assert_eq!(bench.sessions(), [0, 0, 0]);
}

#[test]
fn least_connections_keeps_held_sessions_within_one() {
    let bench = Bench::equal(Policy::LeastConnections, 7);
    let held: Vec<_> = (0..1000).map(|_| bench.pick().unwrap()).collect();
    let sessions = bench.sessions();
    assert!(sessions.iter().max().unwrap() - sessions.iter().min().unwrap() <= 1, "{sessions:?}");
    drop(held);
    assert_eq!(bench.sessions(), [0; 7]);
}

#[test]
fn least_connections_breaks_ties_in_turn() {
    let bench = Bench::equal(Policy::LeastConnections, 3);
    assert_eq!(bench.names(6), ["b0", "b1", "b2", "b0", "b1", "b2"]);
}

#[test]
fn least_connections_is_exact_while_many_threads_only_take() {
    let bench = Bench::equal(Policy::LeastConnections, 5);
    let leases: Vec<Vec<Lease>> = thread::scope(|scope| {
        let take = || (0..2_000).map(|_| bench.pick().unwrap()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(bench.sessions(), [1_600; 5]);
    drop(leases);
    assert_eq!(bench.sessions(), [0; 5]);
}

#[test]
fn counts_return_to_zero_after_threads_took_and_gave_back_at_random() {
    let bench = Bench::equal(Policy::LeastConnections, 3);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut held = Vec::new();
                for _ in 0..5_000 {
                    held.push(bench.pick().unwrap());
                    if held.len() > 20 {
                        held.swap_remove(fastrand::usize(..held.len()));
                    }
                }
            });
        }
    });
    assert_eq!(bench.sessions(), [0; 3]);
    let tally = bench.entrance.pool.members()[0].backend.tally(&"l".into());
    assert_eq!(tally.active.get(), 0);
}

#[test]
fn a_cap_is_exact_over_threads_and_full_is_not_a_failure() {
    for policy in [Policy::LeastConnections, Policy::First, Policy::Random, HASH] {
        let mut members = vec![member("a", 1), member("b", 1), member("spare", 1)];
        members[0].max_sessions = 10;
        members[1].max_sessions = 10;
        members[2].backup = true;
        let bench = Bench::new(&spec(policy.clone(), members));
        let held: Vec<Lease> = thread::scope(|scope| {
            let take = || (0..20).filter_map(|_| bench.pick().ok()).collect::<Vec<_>>();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!((held.len(), bench.sessions()), (20, vec![10, 10, 0]), "{policy:?}");
        assert!(matches!(bench.pick(), Err(Unpicked::Full(_))));
    }
}

#[test]
fn nobody_gets_a_session_that_a_published_list_denies_them() {
    let bench = Bench::equal(Policy::LeastConnections, 2);
    // Odd while the list that is published denies b1.
    let epoch = AtomicU64::new(0);
    let mut judged = bench.judged.clone();
    thread::scope(|scope| {
        let pickers: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    while epoch.load(Ordering::SeqCst) < 4_000 {
                        let before = epoch.load(Ordering::SeqCst);
                        let lease = bench.pick().unwrap();
                        let after = epoch.load(Ordering::SeqCst);
                        let denied = before == after && before % 2 == 1;
                        assert!(!denied || name(&lease) == "b0", "picked against the list");
                    }
                })
            })
            .collect();
        for _ in 0..2_000 {
            judged[1].standing.health = Health::Down;
            bench.entrance.pool.publish(&judged);
            epoch.fetch_add(1, Ordering::SeqCst);
            thread::yield_now();
            epoch.fetch_add(1, Ordering::SeqCst);
            judged[1].standing.health = Health::Up;
            bench.entrance.pool.publish(&judged);
        }
        for picker in pickers {
            picker.join().unwrap();
        }
    });
}

#[test]
fn whoever_reads_that_a_backend_is_up_gets_it_at_the_next_pick() {
    let bench = Bench::equal(Policy::RoundRobin, 1);
    let standing = || bench.entrance.pool.members()[0].backend.standing();
    // 3 of 4: it is being published as up.
    let phase = AtomicU64::new(0);
    let mut judged = bench.judged.clone();
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while phase.load(Ordering::SeqCst) < 40_000 {
                let before = phase.load(Ordering::SeqCst);
                let (is_up, picked) = (standing().is_usable(), bench.pick());
                let is_coming = before % 4 == 3 && before == phase.load(Ordering::SeqCst);
                assert!(!(is_coming && is_up) || picked.is_ok(), "said to be up, but not picked");
            }
        });
        for health in [Health::Down, Health::Up].into_iter().cycle().take(20_000) {
            judged[0].standing.health = health;
            phase.fetch_add(1, Ordering::SeqCst);
            bench.entrance.pool.publish(&judged);
            phase.fetch_add(1, Ordering::SeqCst);
        }
        reader.join().unwrap();
    });
}

#[test]
fn a_tried_backend_is_only_picked_again_if_there_is_no_other() {
    for policy in [Policy::LeastConnections, Policy::RoundRobin, Policy::PowerOfTwo, HASH] {
        let bench = Bench::equal(policy.clone(), 2);
        let first = bench.pick_for(1, &[]).unwrap();
        let tried = [Arc::clone(first.backend())];
        assert_ne!(name(&bench.pick_for(1, &tried).unwrap()), name(&first), "{policy:?}");
        let alone = Bench::equal(policy.clone(), 1);
        let first = alone.pick().unwrap();
        assert!(alone.pick_for(1, &[Arc::clone(first.backend())]).is_ok());
    }
}

#[test]
fn backups_then_fallback_then_last_resort_then_nobody() {
    let mut rescue = Bench::new(&spec(Policy::First, vec![member("rescue", 1)]));
    rescue.judge(0, Health::Up);
    let rescue_pool = Arc::clone(&rescue.entrance.pool);
    let fallback = Entrance::new(&"front".into(), Arc::clone(&rescue_pool), None);
    let mut members = vec![member("a", 1), member("spare", 1)];
    members[1].backup = true;
    let mut pool = spec(Policy::First, members);
    pool.fail_open = true;
    let mut bench = Bench::with_fallback(&pool, Some(fallback));
    assert_eq!(bench.names(1), ["a"]);
    bench.judge(0, Health::Down);
    assert_eq!(bench.names(1), ["spare"]);
    bench.judge(1, Health::Down);
    assert_eq!(bench.names(1), ["rescue"]);
    rescue.judge(0, Health::Down);
    assert_eq!(bench.names(1), ["a"], "the pool fails open");
    bench.judge(0, Health::Up);
    bench.judged[0].standing.ejected = true;
    bench.entrance.pool.publish(&bench.judged);
    assert_eq!(bench.names(1), ["a"], "to one that is ejected too");
    bench.judged[0].standing.ejected = false;
    bench.judge(0, Health::Standby);
    assert_eq!(bench.names(1), ["spare"], "a standby is never a last resort");
    bench.judge(1, Health::Unresolved);
    assert!(matches!(bench.pick(), Err(Unpicked::NoBackend)));
}

#[test]
fn weight_zero_and_operators_wishes_keep_sessions_away() {
    let mut members = vec![member("a", 0), member("b", 1), member("c", 1)];
    members[2].state = AdminState::Drain;
    let mut bench = Bench::new(&spec(Policy::RoundRobin, members));
    bench.judged[2].standing.admin = AdminState::Drain;
    bench.entrance.pool.publish(&bench.judged);
    assert_eq!(bench.names(3), ["b", "b", "b"]);
}

/// How much of the weight of the last of three backends is there while it warms up, and the bench.
fn half_warm(policy: Policy) -> Bench {
    let mut bench = Bench::equal(policy.clone(), 3);
    let mut warmup = Warmup::new(Duration::from_secs(10));
    let down = Standing { health: Health::Down, ..Standing::default() };
    warmup.observe(down, Duration::ZERO);
    warmup.observe(bench.judged[2].standing, Duration::ZERO);
    bench.judged[2].warmth = warmup.warmth(Duration::from_secs(5));
    bench.entrance.pool.publish(&bench.judged);
    bench
}

#[test]
fn every_policy_but_first_gives_a_backend_that_warms_up_its_part() {
    let bench = half_warm(Policy::RoundRobin);
    let ready = bench.entrance.pool.ready();
    let weights = [0, 1, 2].map(|member| ready.effective_weight(member));
    assert_eq!((weights, ready.weight(2)), ([1.0, 1.0, 0.5], 1));
    let count = |names: Vec<String>| names.iter().filter(|name| *name == "b2").count();
    assert_eq!(count(bench.names(500)), 100);
    let drawn = count(half_warm(Policy::Random).names(5_000));
    assert!((800..1_200).contains(&drawn), "{drawn} of 5000");
    for policy in [Policy::LeastConnections, Policy::PowerOfTwo] {
        let bench = half_warm(policy.clone());
        let _held: Vec<_> = (0..500).map(|_| bench.pick().unwrap()).collect();
        let [.., last] = bench.sessions()[..] else { panic!() };
        assert!((90..=110).contains(&last), "{policy:?}: {:?}", bench.sessions());
    }
}

#[test]
fn two_balancers_agree_whatever_the_order_in_the_file() {
    let names = ["alpha", "beta", "gamma", "delta"];
    let one = Bench::new(&spec(HASH, names.map(|n| member(n, 1)).to_vec()));
    let mut reversed = names;
    reversed.reverse();
    let other = Bench::new(&spec(HASH, reversed.map(|n| member(n, 1)).to_vec()));
    assert_eq!(one.homes(2_000), other.homes(2_000));
}

#[test]
fn the_hash_is_what_it_was_in_the_first_release() {
    let bench = Bench::new(&spec(HASH, ["alpha", "beta", "gamma"].map(|n| member(n, 1)).to_vec()));
    let homes: String = bench.homes(24).iter().map(|home| &home[..1]).collect();
    assert_eq!(homes, "aabgbaagbggabgbagaggaaag");
}

#[test]
fn keys_of_a_dead_backend_move_the_others_stay_and_it_gets_its_own_back() {
    let mut bench = Bench::equal(HASH, 5);
    let before = bench.homes(5_000);
    bench.judge(2, Health::Down);
    let during = bench.homes(5_000);
    let mut heirs: HashMap<&str, u32> = HashMap::new();
    for (was, is) in before.iter().zip(&during) {
        if was == "b2" {
            *heirs.entry(is).or_default() += 1;
        } else {
            assert_eq!(was, is);
        }
    }
    assert!(heirs.len() == 4 && heirs.values().all(|keys| *keys > 150), "{heirs:?}");
    bench.judge(2, Health::Up);
    assert_eq!(bench.homes(5_000), before);
}

#[test]
fn a_weight_set_at_run_time_hashes_like_the_same_weight_in_the_file() {
    let of = |weights: [u16; 3]| {
        let named = |(i, weight)| member(&format!("b{i}"), weight);
        Bench::new(&spec(HASH, weights.into_iter().enumerate().map(named).collect()))
    };
    let mut bench = of([1, 1, 1]);
    let before = bench.homes(3_000);
    for weights in [[1, 3, 1], [1, 0, 1], [0, 2, 5]] {
        for (judged, weight) in bench.judged.iter_mut().zip(weights) {
            judged.weight = weight;
        }
        bench.entrance.pool.publish(&bench.judged);
        assert_eq!(bench.homes(3_000), of(weights).homes(3_000));
        assert_ne!(bench.homes(3_000), before);
    }
    bench.judged.iter_mut().for_each(|judged| judged.weight = 1);
    bench.entrance.pool.publish(&bench.judged);
    assert_eq!(bench.homes(3_000), before);
}

#[test]
fn bounded_load_keeps_a_popular_key_from_filling_one_backend() {
    let policy = Policy::ConsistentHash { key: HashKey::ClientIp, bounded_load: Some(1.25) };
    let bench = Bench::equal(policy.clone(), 4);
    let held: Vec<_> = (0..400).map(|_| bench.pick().unwrap()).collect();
    assert!(bench.sessions().iter().all(|sessions| *sessions <= 126), "{:?}", bench.sessions());
    drop(held);
}

#[test]
fn least_latency_avoids_the_slow_one_and_power_of_two_the_busy_one() {
    const SECOND: Duration = Duration::from_secs(1);
    let mut bench = Bench::equal(Policy::LeastLatency, 2);
    for (member, ms) in bench.entrance.pool.members().iter().zip([50, 1]) {
        member.backend.connected(Duration::from_millis(ms), 0);
    }
    assert!(bench.names(50).iter().all(|name| name == "b1"));
    // However quickly it refuses.
    let refused = ConnectFailure::Refused;
    bench.entrance.pool.members()[1].backend.connect_failed(refused, Some(SECOND), 0);
    assert!(bench.names(50).iter().all(|name| name == "b0"));
    bench.entrance.pool.members()[0].backend.connect_failed(ConnectFailure::Other, None, 0);
    assert!(bench.names(50).iter().all(|name| name == "b0"), "our own shortage is not its fault");
    bench.judge(1, Health::Down);
    bench.judge(1, Health::Up);
    assert!(bench.names(50).iter().all(|name| name == "b1"), "back again, it starts anew");
    let bench = Bench::equal(Policy::PowerOfTwo, 2);
    let _held: Vec<_> = (0..100).map(|_| bench.pick().unwrap()).collect();
    assert_eq!(bench.sessions(), [50, 50]);
}

#[test]
fn sources_of_the_right_family_are_used_in_turn() {
    let mut pool = spec(Policy::First, vec![member("a", 1)]);
    pool.source = ["10.0.0.1", "::1", "10.0.0.2"].map(|ip| ip.parse().unwrap()).to_vec();
    let connecting = Connecting::new(&pool, None);
    let to = SocketAddr::from(([10, 0, 0, 9], 1));
    let used: Vec<_> = (0..4).map(|_| connecting.source(to).unwrap().to_string()).collect();
    assert_eq!(used, ["10.0.0.1", "10.0.0.2", "10.0.0.1", "10.0.0.2"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn weighted_least_connections_follows_its_rule(weights in prop::collection::vec(1u16..=20, 1..6)) {
        let named = |(i, weight): (usize, &u16)| member(&format!("b{i}"), *weight);
        let members = weights.iter().enumerate().map(named).collect();
        let bench = Bench::new(&spec(Policy::LeastConnections, members));
        let mut held = Vec::new();
        for _ in 0..200 {
            let before = bench.sessions();
            let pressure = |i: usize| f64::from(before[i] + 1) / f64::from(weights[i]);
            let least = (0..weights.len()).map(pressure).fold(f64::INFINITY, f64::min);
            let lease = bench.pick().unwrap();
            let chosen: usize = name(&lease)[1..].parse().unwrap();
            prop_assert!(pressure(chosen) <= least + 1e-9);
            held.push(lease);
        }
    }

    #[test]
    fn hashing_follows_weights_and_adding_one_moves_few_keys(count in 2usize..9) {
        let small = Bench::equal(HASH, count);
        let large = Bench::equal(HASH, count + 1);
        let clients = 4_000;
        let (before, after) = (small.homes(clients), large.homes(clients));
        let moved = before.iter().zip(&after).filter(|(was, is)| was != is).count();
        let newcomer = format!("b{count}");
        let to_newcomer = after.iter().filter(|home| **home == newcomer).count();
        let fair = clients as f64 / (count + 1) as f64;
        prop_assert!((to_newcomer as f64) < fair * 1.25);
        // Maglev trades a few more moves for an even table.
        prop_assert!((moved as f64) < fair * 1.35, "{moved} of {clients}, fair {fair}");
    }

    #[test]
    fn chance_follows_weights(weights in prop::collection::vec(1u16..=9, 2..5)) {
        let named = |(i, weight): (usize, &u16)| member(&format!("b{i}"), *weight);
        let members = weights.iter().enumerate().map(named).collect();
        let bench = Bench::new(&spec(Policy::Random, members));
        let picks = bench.names(4_000);
        let total: u16 = weights.iter().sum();
        for (i, weight) in weights.iter().enumerate() {
            let expected = 4_000.0 * f64::from(*weight) / f64::from(total);
            let got = picks.iter().filter(|name| **name == format!("b{i}")).count() as f64;
            prop_assert!((got - expected).abs() < 6.0 * expected.sqrt() + 1.0, "{got} of {expected}");
        }
    }
}
