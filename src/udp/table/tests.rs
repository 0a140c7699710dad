//! The table against a model that does everything by looking at all flows, and a seeded simulation
//! of clients, backends and a flood.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const RULES: Rules = Rules { idle: Some(5_000), responses: 2 };

fn key(client: u8) -> Key {
    Key { client: SocketAddr::from(([10, 0, 0, client], 5_353)), local: None }
}

/// What may happen to a table of few clients.
#[derive(Debug, Clone)]
enum Action {
    Datagrams { client: u8, count: u64 },
    Replies { client: u8, count: u64 },
    Move { client: u8 },
    TakeOverStale { client: u8 },
    Remove { client: u8 },
    Wait(Tick),
    Expire,
}

fn action() -> impl Strategy<Value = Action> {
    let client = 0..6_u8;
    prop_oneof![
        4 => (client.clone(), 1..4_u64).prop_map(|(client, count)| Action::Datagrams { client, count }),
        3 => (client.clone(), 1..4_u64).prop_map(|(client, count)| Action::Replies { client, count }),
        1 => client.clone().prop_map(|client| Action::Move { client }),
        2 => client.clone().prop_map(|client| Action::TakeOverStale { client }),
        1 => client.prop_map(|client| Action::Remove { client }),
        3 => (0..3_000_u64).prop_map(Action::Wait),
        1 => Just(Action::Expire),
    ]
}

/// A flow as the model knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    order: u64,
    began: Tick,
    last: Tick,
    datagrams: u64,
    replies: u64,
}

#[derive(Default)]
struct Model {
    flows: BTreeMap<u8, Known>,
    entered: u64,
}

impl Model {
    fn enter(&mut self, client: u8, now: Tick) {
        let order = self.entered;
        self.entered += 1;
        let known = Known { order, began: now, last: now, datagrams: 0, replies: 0 };
        self.flows.insert(client, known);
    }

    /// Whoever the rule names; those of the same millisecond are alike.
    fn stale(&self, now: Tick) -> Option<Tick> {
        let may = |known: &&Known| {
            known.datagrams <= 1 && known.replies == 0 && now > known.began + PATIENCE
        };
        self.flows.values().filter(may).map(|known| known.began).min()
    }
}

fn client_of(flow: &Flow<u8>) -> u8 {
    assert_eq!(key(flow.load), flow.key);
    flow.load
}

fn apply(table: &mut Table<u8>, model: &mut Model, now: &mut Tick, action: &Action) {
    match *action {
        Action::Datagrams { client, count } => {
            let slot = table.find(&key(client)).unwrap_or_else(|| {
                model.enter(client, *now);
                let expected = table.next_slot();
                let slot = table.insert(*now, key(client), client);
                assert_eq!(slot, expected, "its socket already reports under that number");
                slot
            });
            table.on_datagrams(slot, *now, count);
            let known = model.flows.get_mut(&client).unwrap();
            (known.last, known.datagrams) = (*now, known.datagrams + count);
        }
        Action::Replies { client, count } => {
            let Some(slot) = table.find(&key(client)) else { return };
            let is_over = table.on_replies(slot, *now, count);
            let known = model.flows.get_mut(&client).unwrap();
            (known.last, known.replies) = (*now, known.replies + count);
            assert_eq!(is_over, known.replies >= 2 * known.datagrams);
            if is_over {
                assert_eq!(client_of(&table.remove(slot).unwrap()), client);
                model.flows.remove(&client);
            }
        }
        Action::Move { client } => {
            let Some(slot) = table.find(&key(client)) else { return };
            assert_eq!(client_of(&table.replace(slot, *now, key(client), client).unwrap()), client);
            model.enter(client, *now);
        }
        Action::TakeOverStale { client } => take_over(table, model, *now, client),
        Action::Remove { client } => {
            let found = table.find(&key(client)).and_then(|slot| table.remove(slot));
            assert_eq!(found.is_some(), model.flows.remove(&client).is_some());
        }
        Action::Wait(time) => *now += time,
        Action::Expire => {
            let mut overdue = Vec::new();
            table.overdue(*now, &mut overdue);
            for slot in overdue {
                let client = client_of(&table.remove(slot).unwrap());
                let known = model.flows.remove(&client).unwrap();
                assert!(*now >= known.last + 5_000);
            }
            assert!(model.flows.values().all(|known| *now < known.last + 5_000));
        }
    }
}

fn take_over(table: &mut Table<u8>, model: &mut Model, now: Tick, client: u8) {
    let Some(slot) = table.stale(now) else {
        return assert_eq!(model.stale(now), None);
    };
    if model.flows.contains_key(&client) {
        return;
    }
    let old = client_of(&table.replace(slot, now, key(client), client).unwrap());
    let known = model.flows[&old];
    assert_eq!(Some(known.began), model.stale(now), "the oldest of those that may");
    model.flows.remove(&old);
    model.enter(client, now);
    assert_eq!(table.find(&key(old)), None);
    assert_eq!(table.find(&key(client)), Some(slot));
}

proptest! {
    #[test]
    fn the_table_does_as_the_model(actions in prop::collection::vec(action(), 1..200)) {
        let (mut table, mut model, mut now) = (Table::new(RULES), Model::default(), 0);
        for action in &actions {
            apply(&mut table, &mut model, &mut now, action);
            prop_assert_eq!(table.len(), model.flows.len());
            prop_assert_eq!(table.stale(now).is_some(), model.stale(now).is_some());
            for client in model.flows.keys() {
                let slot = table.find(&key(*client)).unwrap();
                prop_assert_eq!(table.get(slot).unwrap().load, *client);
            }
        }
    }
}

#[test]
fn local_addresses_are_told_apart() {
    let mut table = Table::new(RULES);
    let to = |ip: [u8; 4]| Key { local: Some(IpAddr::from(ip)), ..key(1) };
    let first = table.insert(0, to([127, 0, 0, 1]), 1);
    let second = table.insert(0, to([127, 0, 0, 2]), 2);
    assert_ne!(first, second);
    assert_eq!(table.find(&to([127, 0, 0, 2])), Some(second));
    assert_eq!(table.find(&key(1)), None);
}

#[test]
fn a_flow_with_a_second_datagram_never_makes_room() {
    let mut table = Table::new(RULES);
    let slot = table.insert(0, key(1), 1);
    table.on_datagrams(slot, 0, 1);
    assert_eq!(table.stale(1_000), None, "not older than a second yet");
    assert_eq!(table.stale(1_001), Some(slot));
    table.on_datagrams(slot, 500, 1);
    assert_eq!(table.stale(90_000), None);
}

/// One client of the simulation: it asks, waits for its answer, and asks again.
struct Asker {
    client: u8,
    asked: Option<Tick>,
}

#[test]
fn a_flood_of_single_datagrams_never_displaces_a_flow_that_is_answered() {
    for seed in 0..32 {
        simulate(seed);
    }
}

/// A table of 20 places, 8 clients that are answered, and a flood of strangers who are not.
fn simulate(seed: u64) {
    let chance = fastrand::Rng::with_seed(seed);
    let mut chance = chance;
    let mut table: Table<Option<u8>> = Table::new(Rules { idle: Some(30_000), responses: 0 });
    let mut askers: Vec<Asker> = (0..8).map(|client| Asker { client, asked: None }).collect();
    let (mut now, mut stranger, mut refused) = (0, 0_u32, 0);
    let mut settled = BTreeSet::new();
    for _ in 0..3_000 {
        now += chance.u64(0..40);
        let asker = &mut askers[chance.usize(..8)];
        match asker.asked {
            None => {
                if let Some(slot) = admit(&mut table, now, key(asker.client), Some(asker.client)) {
                    table.on_datagrams(slot, now, 1);
                    asker.asked = Some(now);
                }
            }
            Some(_) => {
                let slot =
                    table.find(&key(asker.client)).expect("its answer is due within a second");
                table.on_replies(slot, now, 1);
                settled.insert(asker.client);
                asker.asked = None;
            }
        }
        for _ in 0..chance.u32(..4) {
            stranger += 1;
            let from = SocketAddr::from((std::net::Ipv4Addr::from(stranger + (172 << 24)), 9));
            match admit(&mut table, now, Key { client: from, local: None }, None) {
                Some(slot) => table.on_datagrams(slot, now, 1),
                None => refused += 1,
            }
        }
        assert!(table.len() <= 20);
        for client in &settled {
            assert!(
                table.find(&key(*client)).is_some(),
                "seed {seed}: client {client} was displaced"
            );
        }
        // Nobody in this world may wait for longer than the patience of the table.
        for asker in &mut askers {
            if asker.asked.is_some_and(|asked| now > asked + PATIENCE - 50) {
                if let Some(slot) = table.find(&key(asker.client)) {
                    table.on_replies(slot, now, 1);
                    settled.insert(asker.client);
                }
                asker.asked = None;
            }
        }
    }
    assert!(refused > 100 && settled.len() == 8, "the flood was one: {refused} refused");
}

fn admit(table: &mut Table<Option<u8>>, now: Tick, key: Key, load: Option<u8>) -> Option<usize> {
    if let Some(slot) = table.find(&key) {
        return Some(slot);
    }
    if table.len() < 20 {
        return Some(table.insert(now, key, load));
    }
    let stale = table.stale(now)?;
    table.replace(stale, now, key, load);
    Some(stale)
}

#[test]
fn a_flow_that_goes_on_in_another_table_ends_when_it_would_have_here() {
    let rules = Rules { idle: Some(1_000), responses: 2 };
    let (mut one, mut other) = (Table::new(rules), Table::new(Rules::default()));
    let key = Key { client: "10.0.0.1:9".parse().unwrap(), local: None };
    let slot = one.insert(5_000, key, ());
    one.on_datagrams(slot, 5_100, 2);
    assert!(!one.on_replies(slot, 5_200, 3));
    let past = one.get(slot).unwrap().past(5_300);
    assert_eq!((past.age, past.idle, past.datagrams, past.replies), (300, 100, 2, 3));

    // The other clock is elsewhere.
    let slot = other.resume(90_000, key, (), past);
    assert_eq!((other.find(&key), other.stale(99_000)), (Some(slot), None));
    let mut overdue = Vec::new();
    other.overdue(90_899, &mut overdue);
    assert!(overdue.is_empty());
    other.overdue(90_900, &mut overdue);
    assert_eq!(overdue, [slot]);
    assert!(other.on_replies(slot, 90_500, 1), "two replies for each of two datagrams");

    // One that nobody has answered may still have to make room, as soon as it would have.
    let slot = one.insert(6_000, Key { client: "10.0.0.2:9".parse().unwrap(), local: None }, ());
    one.on_datagrams(slot, 6_000, 1);
    let past = one.get(slot).unwrap().past(6_600);
    let key = Key { client: "10.0.0.2:9".parse().unwrap(), local: None };
    let slot = other.resume(91_000, key, (), past);
    assert_eq!((other.stale(91_400), other.stale(91_401)), (None, Some(slot)));
    other.remove(slot);
    assert_eq!(other.stale(99_999), None);
}
