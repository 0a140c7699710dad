//! A pool whose members change while it is in use, and pools that come after it.

use std::collections::{BTreeMap, HashMap as Map};
use std::sync::atomic::AtomicBool;

use super::previews::POLICIES;
use super::*;

/// What may happen to a pool, in the order in which the numbers ask for it.
#[derive(Debug, Clone)]
enum Step {
    /// Its members are these, by number.
    Renew(Vec<u8>),
    /// The file has other settings as well.
    Succeed(Policy),
    /// Sessions come, each with a claim to a home by the number of a backend.
    Pick(u32),
    /// The session of this number ends.
    End(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => prop::collection::vec(0u8..6, 0..5).prop_map(Step::Renew),
        1 => prop::sample::select(&POLICIES[..]).prop_map(Step::Succeed),
        8 => any::<u32>().prop_map(Step::Pick),
        3 => any::<usize>().prop_map(Step::End),
    ];
    prop::collection::vec(step, 1..80)
}

/// What a monitor does for the pools that it publishes to.
struct Keeper {
    backends: BTreeMap<u8, Arc<Backend>>,
    /// The oldest first.
    entrances: Vec<Entrance>,
    last: Membership,
}

fn up() -> Judged {
    let standing = Standing { health: Health::Up, ..Standing::default() };
    let address = Some(SocketAddr::from(([127, 0, 0, 1], 1)));
    Judged { standing, address, weight: 1, warmth: Warmth::FULL }
}

impl Keeper {
    fn renew(&mut self, numbers: &[u8]) {
        let numbers: std::collections::BTreeSet<_> = numbers.iter().copied().collect();
        let fresh = |number: &u8| {
            let spec = member(&format!("b{number}"), 1);
            Arc::new(Backend::new(spec.name, spec.address))
        };
        let members = numbers.iter().map(|number| {
            let backend = self.backends.entry(*number).or_insert_with(|| fresh(number));
            Member::new(Arc::clone(backend), &member(backend.name(), 1))
        });
        let members: Arc<[Member]> = members.collect();
        let has = |id: u64| members.iter().any(|member| member.backend.id() == id);
        let gone = self.backends.values().filter(|backend| !has(backend.id()));
        let leaving = gone.filter(|backend| backend.sessions() > 0).map(Arc::clone).collect();
        self.last = Membership { members, leaving };
        self.publish();
    }

    fn publish(&self) {
        let judged = vec![up(); self.last.members.len()];
        self.entrances.iter().for_each(|entrance| entrance.pool.renew(&self.last, &judged));
    }

    fn succeed(&mut self, policy: Policy) {
        let before = &self.entrances.last().unwrap().pool;
        let pool = Arc::new(Pool::new(&spec(policy, Vec::new()), Some(before)));
        assert!(!pool.ready().is_usable(), "nobody before the first list");
        self.entrances.push(Entrance::new(&"front".into(), pool, None));
        self.publish();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn loads_are_the_leases_and_picks_are_of_members_whatever_changes(steps in steps()) {
        let first = Bench::new(&spec(Policy::RoundRobin, Vec::new())).entrance;
        let mut keeper = Keeper {
            backends: BTreeMap::new(),
            entrances: vec![first],
            last: Membership::default(),
        };
        let mut held: Vec<Lease> = Vec::new();
        for step in steps {
            match step {
                Step::Renew(numbers) => keeper.renew(&numbers),
                Step::Succeed(policy) => keeper.succeed(policy),
                Step::Pick(client) => {
                    let ip = IpAddr::V4(Ipv4Addr::from_bits(client));
                    let client_addr = ClientAddr::new(SocketAddr::new(ip, 40_000));
                    let claims = [Claim { key: None, home: Some(u64::from(client) % 40) }];
                    let ask = Ask { claims: &claims, ..Ask::of(client_addr, u64::from(client), 0) };
                    for entrance in &keeper.entrances {
                        let picked = entrance.pick(&ask).ok();
                        prop_assert_eq!(picked.is_some(), !keeper.last.members.is_empty());
                        held.extend(picked.map(|picked| picked.lease));
                        let Some(lease) = held.last() else { continue };
                        if !keeper.last.members.is_empty() {
                            let is_it =
                                |member: &Member| Arc::ptr_eq(&member.backend, lease.backend());
                            prop_assert!(keeper.last.members.iter().any(is_it));
                        }
                    }
                }
                Step::End(number) => {
                    if !held.is_empty() {
                        drop(held.swap_remove(number % held.len()));
                    }
                }
            }
            let mut leases: Map<u64, u32> = Map::new();
            held.iter().for_each(|lease| *leases.entry(lease.backend().id()).or_default() += 1);
            for backend in keeper.backends.values() {
                let leases = leases.get(&backend.id()).copied().unwrap_or_default();
                prop_assert_eq!(backend.sessions(), leases);
                let tally = backend.tally(&"front".into());
                prop_assert_eq!(tally.active.get(), u64::from(leases));
            }
        }
    }
}

#[test]
fn once_a_list_is_out_no_picker_anywhere_hands_out_who_is_not_in_it() {
    let bench = Bench::equal(Policy::LeastConnections, 3);
    let pool = Arc::clone(&bench.entrance.pool);
    let all = pool.members();
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let pickers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    while !is_over.load(Ordering::SeqCst) {
                        drop(bench.pick());
                    }
                })
            })
            .collect();
        for turn in 0..2_000 {
            let gone = turn % all.len();
            let members =
                all.iter().filter(|member| !Arc::ptr_eq(&member.backend, &all[gone].backend));
            let members: Arc<[Member]> = members.cloned().collect();
            pool.renew(&Membership { members, leaving: Arc::default() }, &[up(), up()]);
            let name = all[gone].backend.name();
            let picked = bench.pick().ok();
            assert!(picked.is_some_and(|lease| lease.backend().name() != name));
        }
        is_over.store(true, Ordering::SeqCst);
        pickers.into_iter().for_each(|picker| picker.join().unwrap());
    });
    assert_eq!(all.iter().map(|member| member.backend.sessions()).sum::<u32>(), 0);
}

#[test]
fn a_hash_leads_where_it_led_for_all_but_the_clients_of_who_is_gone() {
    let key = HashKey::ClientIp;
    let policy = Policy::ConsistentHash { key, bounded_load: None };
    let bench = Bench::equal(policy.clone(), 4);
    let pool = &bench.entrance.pool;
    let before = bench.homes(500);
    let members: Arc<[Member]> = pool.members().iter().skip(1).cloned().collect();
    pool.renew(&Membership { members, leaving: Arc::default() }, &[up(), up(), up()]);
    // The table of three is another one: Maglev moves a few besides those that have to.
    let moved = before.iter().zip(bench.homes(500)).filter(|(home, now)| **home != *now);
    let had_to = before.iter().filter(|home| **home == "b0").count();
    assert!(moved.count() < had_to + 100);
    let fresh = Bench::new(&spec(policy, (1..4).map(|i| member(&format!("b{i}"), 1)).collect()));
    assert_eq!(bench.homes(500), fresh.homes(500), "as for whoever never knew the fourth");
}

#[test]
fn a_client_keeps_its_backend_and_its_turn_over_other_settings() {
    let sticky = Some(config::Sticky { ttl: Duration::from_secs(60), max_entries: 9 });
    let members: Vec<_> = (0..3).map(|i| member(&format!("b{i}"), 1)).collect();
    let kept = config::Pool { sticky, ..spec(Policy::RoundRobin, members) };
    let bench = Bench::new(&kept);
    let before = bench.homes(3);
    let mut other = config::Pool { fail_open: true, ..kept.clone() };
    assert!(bench.entrance.pool.fits(&kept) && !bench.entrance.pool.fits(&other));
    other.members.truncate(1);
    assert!(!bench.entrance.pool.fits(&other));
    let less = config::Pool { fail_open: false, members: Vec::new(), fallback: Some(7), ..other };
    assert!(bench.entrance.pool.fits(&less), "members and fallback are not its own");
    let after = Pool::new(&config::Pool { fail_open: true, ..kept }, Some(&bench.entrance.pool));
    after.publish(&bench.judged);
    let entrance = Entrance::new(&"front".into(), Arc::new(after), None);
    let after = Bench { entrance, judged: bench.judged };
    assert_eq!(after.homes(3), before);
    assert_eq!(after.entrance.pool.sticky().map(Sticky::len), Some(3));
    assert_eq!(after.homes(4)[3], before[0], "the turn goes on as well");
}

#[test]
fn a_listener_that_is_gone_is_counted_while_it_has_sessions_and_then_forgotten() {
    let bench = Bench::equal(Policy::RoundRobin, 2);
    let pool = &bench.entrance.pool;
    let lease = bench.pick().unwrap();
    let other = Entrance::new(&"other".into(), Arc::clone(pool), None);
    let counted = || -> Vec<usize> {
        pool.members().iter().map(|member| member.backend.tallies().len()).collect()
    };
    assert_eq!(counted(), [2, 2]);
    let is_gone = |listener: &str| listener != "other";
    pool.forget_listeners(is_gone);
    assert_eq!(counted(), [2, 1], "there is a session with the first");
    drop((lease, other));
    pool.forget_listeners(is_gone);
    pool.publish(&bench.judged);
    assert_eq!(counted(), [1, 1], "another list does not bring it back");
}
