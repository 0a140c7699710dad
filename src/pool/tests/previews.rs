//! A preview says what the next pick does, and leaves no trace.

use super::*;

pub(super) const POLICIES: [Policy; 8] = [
    Policy::RoundRobin,
    Policy::LeastConnections,
    Policy::ConsistentHash { key: HashKey::ClientIp, bounded_load: None },
    Policy::ConsistentHash { key: HashKey::ClientIpPort, bounded_load: Some(1.25) },
    Policy::Random,
    Policy::PowerOfTwo,
    Policy::LeastLatency,
    Policy::First,
];

/// One thing that happens to a pool.
#[derive(Debug, Clone)]
enum Step {
    /// A client comes with this roll of the dice and these claims; previews come before it, or none.
    Pick(u8, u64, u8, [Claim; 2]),
    /// The oldest session ends.
    End,
    /// A member is judged anew.
    Judge(usize, Health, AdminState, u16),
}

fn claim() -> impl Strategy<Value = Claim> {
    let key = prop::option::of(any::<u64>());
    (key, prop::option::of(0u64..5)).prop_map(|(key, home)| Claim { key, home })
}

fn step() -> impl Strategy<Value = Step> {
    let health = prop_oneof![4 => Just(Health::Up), 1 => Just(Health::Down)];
    let admin = prop_oneof![4 => Just(AdminState::Ready), 1 => Just(AdminState::Drain)];
    prop_oneof![
        6 => (any::<u8>(), any::<u64>(), 0u8..3, [claim(), claim()])
            .prop_map(|(c, r, n, claims)| Step::Pick(c, r, n, claims)),
        3 => Just(Step::End),
        1 => (0usize..4, health, admin, 0u16..4).prop_map(|(m, h, a, w)| Step::Judge(m, h, a, w)),
    ]
}

fn bench(policy: Policy, sticky: bool, queue: u32) -> Bench {
    let mut members: Vec<_> = (1..=4).map(|i| member(&format!("b{i}"), i)).collect();
    members[0].max_sessions = 2;
    members[1].max_sessions = 1;
    members[3].backup = true;
    let queue = config::Queue { size: queue, timeout: Duration::from_secs(1) };
    let sticky = sticky.then_some(config::Sticky { ttl: Duration::from_secs(60), max_entries: 9 });
    let rescue = config::Pool {
        policy: policy.clone(),
        ..spec(policy.clone(), vec![member("r1", 1), member("r2", 1)])
    };
    let rescue = Bench::new(&rescue).entrance;
    let spec = config::Pool { queue, sticky, fail_open: true, ..spec(policy.clone(), members) };
    Bench::with_fallback(&spec, Some(rescue))
}

/// What a pick came to, in words.
fn came_to(picked: &Result<Picked<'_>, Unpicked<'_>>) -> String {
    match picked {
        Ok(picked) => format!("{}/{}", picked.pool.name(), picked.lease.backend().name()),
        Err(Unpicked::NoBackend) => "nobody".to_owned(),
        Err(Unpicked::Full(queue)) => format!("full, {} wait", queue.len()),
    }
}

/// What a preview says that it will come to, in the same words.
fn foretold(preview: &Preview) -> String {
    let picked = |candidate: &&Candidate| matches!(candidate.reason, Reason::Picked(_));
    let chosen: Vec<_> = preview.candidates.iter().filter(picked).collect();
    match &preview.ending {
        Ending::Picked { pool, backend, .. } => {
            assert!(
                chosen.len() == 1 && chosen[0].backend.name() == backend && chosen[0].pool == *pool
            );
            format!("{pool}/{backend}")
        }
        other => {
            assert!(chosen.is_empty(), "{preview:?}");
            match other {
                Ending::Waits { behind, .. } => format!("full, {behind} wait"),
                Ending::Full => "full, 0 wait".to_owned(),
                _ => "nobody".to_owned(),
            }
        }
    }
}

/// Plays a story; gives what each pick came to. Previews are compared with it, if there are any.
fn play(mut bench: Bench, story: &[Step], is_previewed: bool) -> Vec<String> {
    let mut told = Vec::new();
    let mut held = std::collections::VecDeque::new();
    for step in story {
        match step {
            Step::Pick(client, chance, previews, claims) => {
                let ip = IpAddr::V4(Ipv4Addr::new(10, 0, 0, *client));
                let client = ClientAddr::new(SocketAddr::new(ip, 40_000));
                // A pool has one memory, never both.
                let backends = bench.entrance.pool.members();
                let id = |place: u64| Some(backends.get(place as usize)?.backend.id());
                let named = |claim: &Claim| Claim { home: claim.home.and_then(id), ..*claim };
                let claims = claims.each_ref().map(named);
                let claims = if bench.entrance.pool.sticky.is_some() { &[] } else { &claims[..] };
                let ask = Ask { claims, ..Ask::of(client, *chance, 0) };
                let preview = || bench.entrance.preview(&ask);
                let asked = if is_previewed { *previews } else { 0 };
                let last = (0..asked).fold(None, |_, _| Some(preview()));
                let picked = bench.entrance.pick(&ask);
                told.push(came_to(&picked));
                if let Some(preview) = last {
                    assert_eq!(foretold(&preview), came_to(&picked), "{preview:?}");
                }
                held.extend(picked.ok().map(|picked| picked.lease));
            }
            Step::End => drop(held.pop_front()),
            Step::Judge(place, health, admin, weight) => {
                let judged = &mut bench.judged[*place];
                judged.standing = Standing { health: *health, admin: *admin, ejected: false };
                judged.weight = *weight;
                bench.entrance.pool.publish(&bench.judged);
            }
        }
    }
    told.push(format!("{:?}", bench.sessions()));
    told
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_preview_is_the_next_pick_and_leaves_all_later_ones_as_they_are(
        policy in prop::sample::select(&POLICIES[..]),
        story in prop::collection::vec(step(), 1..60),
        sticky in any::<bool>(),
        queue in 0u32..2,
    ) {
        let with = play(bench(policy.clone(), sticky, queue), &story, true);
        let without = play(bench(policy.clone(), sticky, queue), &story, false);
        prop_assert_eq!(with, without);
    }
}

fn reasons(bench: &Bench) -> Vec<Reason> {
    let client = ClientAddr::new(SocketAddr::from(([10, 0, 0, 1], 1)));
    let ask = Ask::of(client, 0, 0);
    let preview = bench.entrance.preview(&ask);
    preview.candidates.into_iter().map(|candidate| candidate.reason).collect()
}

#[test]
fn everybody_who_is_passed_over_has_a_reason() {
    let mut members: Vec<_> = ["down", "drain", "zero", "full", "busy", "free", "spare"]
        .map(|name| member(name, 1))
        .to_vec();
    members[3].max_sessions = 1;
    members[6].backup = true;
    let mut bench = Bench::new(&spec(Policy::LeastConnections, members));
    bench.judged[0].standing.health = Health::Down;
    bench.judged[1].standing.admin = AdminState::Drain;
    bench.judged[2].weight = 0;
    bench.entrance.pool.publish(&bench.judged);
    let _held: Vec<_> = (0..3).map(|_| bench.pick().unwrap()).collect();
    let _more = bench.pick().unwrap();
    let down = Standing { health: Health::Down, ..Standing::default() };
    let drain = Standing { admin: AdminState::Drain, health: Health::Up, ..Standing::default() };
    assert_eq!(
        reasons(&bench),
        [
            Reason::Standing(down),
            Reason::Standing(drain),
            Reason::NoWeight,
            Reason::AtCap(1),
            Reason::Policy(Because::Sessions { own: (3, 1.0), picked: (2, 1.0) }),
            Reason::Picked(Because::Sessions { own: (2, 1.0), picked: (2, 1.0) }),
            Reason::Backup,
        ]
    );
}

#[test]
fn weights_are_told_as_they_are_while_somebody_warms_up() {
    let members = vec![member("warming", 2), member("warm", 2)];
    let mut bench = Bench::new(&spec(Policy::LeastConnections, members));
    let mut warmup = Warmup::new(Duration::from_secs(20));
    warmup.observe(Standing { health: Health::Down, ..Standing::default() }, Duration::ZERO);
    warmup.observe(bench.judged[0].standing, Duration::ZERO);
    bench.judged[0].warmth = warmup.warmth(Duration::from_secs(5));
    bench.entrance.pool.publish(&bench.judged);
    assert_eq!(
        reasons(&bench),
        [
            Reason::Policy(Because::Sessions { own: (1, 0.5), picked: (1, 2.0) }),
            Reason::Picked(Because::Sessions { own: (1, 2.0), picked: (1, 2.0) }),
        ]
    );
}

#[test]
fn odds_are_what_many_rolls_come_to() {
    for policy in [Policy::Random, Policy::PowerOfTwo] {
        let bench =
            Bench::new(&spec(policy.clone(), vec![member("a", 1), member("b", 2), member("c", 3)]));
        let _held: Vec<_> = (0..3).map(|_| bench.pick().unwrap()).collect();
        let odds: Vec<_> = reasons(&bench)
            .into_iter()
            .map(|reason| match reason {
                Reason::Picked(Because::Chance(part)) | Reason::Policy(Because::Chance(part)) => {
                    part
                }
                other => panic!("{other:?}"),
            })
            .collect();
        assert!((odds.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{odds:?}");
        let mut drawn = HashMap::new();
        for _ in 0..20_000 {
            let client = ClientAddr::new(SocketAddr::from(([10, 0, 0, 1], 1)));
            let ask = Ask::of(client, fastrand::u64(..), 0);
            *drawn.entry(foretold(&bench.entrance.preview(&ask))).or_insert(0) += 1;
        }
        for (name, odds) in ["db/a", "db/b", "db/c"].into_iter().zip(odds) {
            let part = f64::from(*drawn.get(name).unwrap_or(&0)) / 20_000.0;
            assert!((part - odds).abs() < 0.03, "{policy:?} {name}: {part} for {odds}");
        }
    }
}
