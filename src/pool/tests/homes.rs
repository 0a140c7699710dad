//! Client addresses that keep their backend.

use super::*;

const TTL: u64 = 1_000;

fn sticky(members: usize, max_entries: u32) -> config::Pool {
    let members = (0..members).map(|i| member(&format!("b{i}"), 1)).collect();
    let rules = config::Sticky { ttl: Duration::from_millis(TTL), max_entries };
    config::Pool { sticky: Some(rules), ..spec(Policy::RoundRobin, members) }
}

impl Bench {
    fn at(&self, now: u64, client: u32, tried: &[Arc<Backend>]) -> Lease {
        let ip = IpAddr::V4(Ipv4Addr::from_bits(client));
        let client = ClientAddr::new(SocketAddr::new(ip, fastrand::u16(1..)));
        let ask = Ask { tried, ..Ask::of(client, fastrand::u64(..), now) };
        self.entrance.pick(&ask).unwrap().lease
    }

    fn home(&self, now: u64, client: u32) -> String {
        name(&self.at(now, client, &[]))
    }

    fn memory(&self) -> (usize, u64) {
        let sticky = self.entrance.pool.sticky.as_ref().unwrap();
        (sticky.len(), sticky.evicted.get())
    }
}

#[test]
fn an_address_keeps_its_backend_until_its_time_since_the_latest_pick_is_over() {
    let bench = Bench::new(&sticky(3, 100));
    assert_eq!((bench.home(0, 1), bench.home(0, 2)), ("b0".into(), "b1".into()));
    for now in [0, TTL - 1, 2 * TTL - 2] {
        assert_eq!(bench.home(now, 1), "b0");
    }
    assert_eq!(bench.home(2 * TTL - 2, 2), "b2", "the turn that is next");
    assert_eq!(bench.memory(), (2, 0));
    assert_eq!(bench.home(9 * TTL, 3), "b0");
    assert_eq!(bench.memory(), (1, 0), "those whose time is over make room by themselves");
}

#[test]
fn a_pick_after_a_long_silence_forgets_a_few_and_the_next_ones_the_others() {
    let bench = Bench::new(&sticky(3, 1_000));
    (0..1_000).for_each(|client| drop(bench.at(0, client, &[])));
    assert_eq!(bench.memory(), (1_000, 0));
    // Others wait for the lock meanwhile.
    bench.home(TTL, 5_000);
    assert!(bench.memory().0 > 900, "one pick has paid for all");
    (0..1_000).for_each(|_| drop(bench.at(TTL, 5_000, &[])));
    assert_eq!(bench.memory(), (1, 0), "nobody was forgotten before its time");
}

#[test]
fn a_backend_that_takes_nothing_loses_its_addresses_for_good() {
    type Change = fn(&mut Judged);
    let changes: [Change; 4] = [
        |judged| judged.standing.health = Health::Down,
        |judged| judged.standing.admin = AdminState::Drain,
        |judged| judged.standing.admin = AdminState::Maintenance,
        |judged| judged.weight = 0,
    ];
    for change in changes {
        let mut bench = Bench::new(&sticky(2, 100));
        assert_eq!(bench.home(0, 1), "b0");
        let before = bench.judged.clone();
        change(&mut bench.judged[0]);
        bench.entrance.pool.publish(&bench.judged);
        assert_eq!(bench.home(0, 1), "b1");
        bench.entrance.pool.publish(&before);
        assert!((0..4).all(|_| bench.home(0, 1) == "b1"));
    }
}

#[test]
fn a_full_backend_is_missed_this_once_and_one_that_failed_for_good() {
    let mut spec = sticky(3, 100);
    spec.members[0].max_sessions = 1;
    let bench = Bench::new(&spec);
    let held = bench.at(0, 1, &[]);
    assert_eq!(name(&held), "b0");
    assert!((0..4).all(|i| bench.home(i, 1) != "b0"));
    drop(held);
    assert!((0..4).all(|i| bench.home(TTL + i, 1) == "b0"), "a visit renews as well");
    let failed = [Arc::clone(&bench.entrance.pool.members()[0].backend)];
    let other = name(&bench.at(TTL, 1, &failed));
    assert_ne!(other, "b0");
    assert!((0..4).all(|_| bench.home(TTL, 1) == other));
}

#[test]
fn sessions_of_one_address_that_come_at_once_go_to_one_backend() {
    let bench = Bench::new(&sticky(8, 100));
    for client in 0..50 {
        let homes: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| bench.home(0, client))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(homes.iter().all(|home| *home == homes[0]), "{homes:?}");
    }
}

proptest! {
    #[test]
    fn memory_is_bounded_and_the_oldest_makes_room(
        steps in prop::collection::vec((0u32..8, 0u64..TTL / 2), 1..200), most in 1usize..6,
    ) {
        let bench = Bench::new(&sticky(3, most as u32));
        // Oldest first: client, home, time of the latest pick.
        let mut model: Vec<(u32, String, u64)> = Vec::new();
        let (mut now, mut evicted) = (0, 0);
        for (client, pause) in steps {
            now += pause;
            model.retain(|(_, _, at)| now - at < TTL);
            let home = bench.home(now, client);
            if let Some(place) = model.iter().position(|(known, ..)| *known == client) {
                prop_assert_eq!(&model.remove(place).1, &home);
            } else if model.len() == most {
                model.remove(0);
                evicted += 1;
            }
            model.push((client, home, now));
            prop_assert_eq!(bench.memory(), (model.len(), evicted));
        }
    }
}
