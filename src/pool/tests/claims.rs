//! Requests that say where they belong: by what is hashed, by a cookie.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

use super::*;
use crate::config::{SameSite, StickyCookie};

fn rules(name: &str) -> StickyCookie {
    StickyCookie {
        name: name.into(),
        secure: false,
        http_only: true,
        same_site: None,
        ttl: None,
        secret_file: None,
    }
}

fn kept(pool: &str, members: usize) -> config::Pool {
    let members = (0..members).map(|i| member(&format!("b{i}"), 1)).collect();
    let cookie = Some(rules("stick"));
    config::Pool { name: pool.into(), cookie, ..spec(Policy::RoundRobin, members) }
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    lines
        .iter()
        .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_str(value).unwrap()))
        .collect::<HeaderMap>()
}

fn hashing(key: HashKey, members: &[&str]) -> Bench {
    let members = members.iter().map(|name| member(name, 1)).collect();
    Bench::new(&spec(Policy::ConsistentHash { key, bounded_load: None }, members))
}

impl Bench {
    /// Where a request goes, and the cookie that it comes back with, if any.
    fn asks(
        &self,
        path: &str,
        headers: &HeaderMap,
        tried: &[Arc<Backend>],
    ) -> (Lease, Option<String>) {
        let claims = self.entrance.claims(path, headers);
        let client = ClientAddr::new(SocketAddr::from(([10, 0, 0, 1], 40_000)));
        let ask = Ask { claims: &claims, tried, ..Ask::of(client, fastrand::u64(..), 0) };
        let picked = self.entrance.pick(&ask).unwrap();
        let cookie = picked.cookie.map(|cookie| cookie.to_str().unwrap().to_owned());
        (picked.lease, cookie)
    }

    /// The same, of one that has this cookie.
    fn comes(&self, cookie: &str) -> (String, Option<String>) {
        let (lease, set) = self.asks("/", &headers(&[("cookie", cookie)]), &[]);
        (name(&lease), set.map(|set| pair(&set)))
    }

    /// The cookies of the members in their order, as clients send them.
    fn cookies(&self) -> Vec<String> {
        let ready = self.entrance.pool.ready();
        let cookies = ready.cookies.as_ref().unwrap();
        let set = |member: &Member| cookies.set(&member.backend).unwrap().to_str().unwrap();
        ready.members().iter().map(|member| pair(set(member))).collect()
    }
}

/// What a client sends of what it was told.
fn pair(set: &str) -> String {
    set.split(';').next().unwrap().to_owned()
}

#[test]
fn the_hash_of_a_request_is_what_it_was_in_the_first_release() {
    let names = ["alpha", "beta", "gamma"];
    let of = |key, lines: &dyn Fn(u32) -> (String, HeaderMap)| {
        let bench = hashing(key, &names);
        (0..24)
            .map(|i| {
                let (path, headers) = lines(i);
                name(&bench.asks(&path, &headers, &[]).0)[..1].to_owned()
            })
            .collect::<String>()
    };
    let by_header = of(HashKey::Header("x-user".into()), &|i| {
        ("/".into(), headers(&[("x-user", &format!("user-{i}"))]))
    });
    let by_cookie = of(HashKey::Cookie("id".into()), &|i| {
        ("/".into(), headers(&[("cookie", &format!("a=b; id=user-{i}; c=d"))]))
    });
    let by_path = of(HashKey::Path, &|i| (format!("/user-{i}"), HeaderMap::new()));
    assert_eq!(by_header, "baagagaagagagbgbbabgagbb");
    assert_eq!(by_header, by_cookie, "wherever the value stands");
    assert_eq!(by_path, "gbagbggbabbaggagaggaggba");
}

#[test]
fn a_request_without_the_key_goes_by_the_address_of_its_client() {
    let names = ["alpha", "beta", "gamma"];
    let by_address = name(&hashing(HashKey::ClientIp, &names).pick_for(0x0a00_0001, &[]).unwrap());
    for key in [HashKey::Header("x-user".into()), HashKey::Cookie("id".into())] {
        let bench = hashing(key, &names);
        let empty = headers(&[("x-user", ""), ("cookie", "id=; idx=7")]);
        for lines in [HeaderMap::new(), empty] {
            assert_eq!(name(&bench.asks("/", &lines, &[]).0), by_address);
        }
    }
}

#[test]
fn each_pool_on_the_way_hashes_its_own_key() {
    let members = || ["a", "b", "c", "d"].map(|name| member(name, 1)).to_vec();
    let by = |key| Policy::ConsistentHash { key, bounded_load: None };
    let rescue = config::Pool { name: "rescue".into(), ..spec(by(HashKey::Path), members()) };
    let rescue = Bench::new(&rescue);
    let alone: Vec<_> =
        (0..20).map(|i| name(&rescue.asks(&format!("/{i}"), &HeaderMap::new(), &[]).0)).collect();
    let own = spec(by(HashKey::Header("x-user".into())), members());
    let mut bench = Bench::with_fallback(&own, Some(rescue.entrance));
    (0..4).for_each(|place| bench.judge(place, Health::Down));
    let user = headers(&[("x-user", "one")]);
    let behind: Vec<_> =
        (0..20).map(|i| name(&bench.asks(&format!("/{i}"), &user, &[]).0)).collect();
    assert_eq!(behind, alone);
}

#[test]
fn a_cookie_keeps_its_backend_and_is_told_once() {
    let bench = Bench::new(&kept("web", 3));
    let (first, set) = bench.asks("/", &HeaderMap::new(), &[]);
    assert_eq!(name(&first), "b0");
    let set = set.unwrap();
    assert!(set.ends_with("; Path=/; HttpOnly"), "{set}");
    let [own, ..] = &bench.cookies()[..] else { panic!() };
    assert_eq!(*own, pair(&set));
    for _ in 0..4 {
        assert_eq!(bench.comes(&format!("a=b; {own}")), ("b0".into(), None));
    }
    // Of several values the first that means something, also on another line.
    let several =
        [("cookie", "stick=0; stick=ffffffffffffffffffffffffffffffff"), ("cookie", &**own)];
    let (lease, set) = bench.asks("/", &headers(&several), &[]);
    assert_eq!((name(&lease), set), ("b0".into(), None));
    // Nobody's: placed anew, and told.
    let (at, set) = bench.comes("stick=00000000000000000000000000000000");
    assert_eq!(set.as_ref(), bench.cookies().iter().find(|cookie| Some(*cookie) == set.as_ref()));
    assert!(set.is_some() && at != "b0", "{at}: whose turn it is");
}

#[test]
fn a_cookie_says_all_that_the_file_wants_said() {
    let cookie = StickyCookie {
        secure: true,
        same_site: Some(SameSite::Lax),
        ttl: Some(Duration::from_secs(3_600)),
        ..rules("id")
    };
    let bench = Bench::new(&config::Pool { cookie: Some(cookie), ..kept("web", 1) });
    let set = bench.asks("/", &HeaderMap::new(), &[]).1.unwrap();
    let rest = "; Path=/; Max-Age=3600; Secure; HttpOnly; SameSite=Lax";
    let value = set.strip_prefix("id=").and_then(|set| set.strip_suffix(rest)).unwrap();
    assert!(value.len() == 32 && value.bytes().all(|byte| byte.is_ascii_hexdigit()), "{value}");
}

#[test]
fn a_value_is_of_one_pool_backend_address_and_secret_and_survives_a_restart() {
    let cookies = |spec: &config::Pool| Bench::new(spec).cookies();
    let first = cookies(&kept("web", 2));
    assert_eq!(
        first,
        ["stick=a3454db6b26321920c9a9cf9524ee508", "stick=7386c05b69cbcd4c91115b3e6298d52c"]
    );
    assert_eq!(cookies(&kept("web", 2)), first);
    assert_eq!(cookies(&kept("web", 3))[..2], first, "others come and go");
    assert_ne!(cookies(&kept("shop", 2)), first);
    let mut moved = kept("web", 2);
    moved.members[0].address = BackendAddr::Ip(SocketAddr::from(([127, 0, 0, 2], 1)));
    assert_ne!(cookies(&moved)[0], first[0]);
    let secret = |secret: &[u8]| {
        let pool = Pool::new(&kept("web", 2), None).with_secret(&rules("stick"), secret);
        let members = pool.members();
        let values = pool.cookies.unwrap().values(&members, None);
        values.set(&members[0].backend).unwrap().clone()
    };
    assert_eq!(secret(b"one"), secret(b"one"));
    let all = [secret(b"one"), secret(b"two"), secret(b"")].map(|set| pair(set.to_str().unwrap()));
    assert!(all.iter().all(|value| *value != first[0]) && all[0] != all[1], "{all:?}");
}

#[test]
fn a_draining_backend_keeps_its_holders_and_no_other_state_does() {
    type Change = fn(&mut Judged);
    let changes: [(Change, bool); 6] = [
        (|judged| judged.standing.admin = AdminState::Drain, true),
        (|judged| judged.standing.admin = AdminState::Maintenance, false),
        (|judged| judged.standing.health = Health::Down, false),
        (|judged| judged.standing.ejected = true, false),
        (|judged| judged.weight = 0, false),
        (
            |judged| {
                judged.standing.admin = AdminState::Drain;
                judged.standing.health = Health::Down;
            },
            false,
        ),
    ];
    for (place, (change, is_kept)) in changes.into_iter().enumerate() {
        let mut bench = Bench::new(&kept("web", 2));
        let cookies = bench.cookies();
        change(&mut bench.judged[0]);
        bench.entrance.pool.publish(&bench.judged);
        let expected = match is_kept {
            true => ("b0".to_owned(), None),
            false => ("b1".to_owned(), Some(cookies[1].clone())),
        };
        assert_eq!(bench.comes(&cookies[0]), expected, "change {place}");
        assert!((0..4).all(|_| bench.comes("").0 == "b1"), "change {place}: nobody new");
    }
}

#[test]
fn the_last_backends_keep_their_holders_while_they_drain() {
    let mut bench = Bench::new(&kept("web", 2));
    let cookies = bench.cookies();
    for judged in &mut bench.judged {
        judged.standing.admin = AdminState::Drain;
    }
    bench.entrance.pool.publish(&bench.judged);
    assert_eq!(bench.comes(&cookies[1]), ("b1".into(), None));
    assert!(matches!(bench.pick(), Err(Unpicked::NoBackend)));
}

#[test]
fn a_full_backend_is_missed_this_once_and_one_that_failed_for_good() {
    for is_draining in [false, true] {
        let mut spec = kept("web", 3);
        spec.members[0].max_sessions = 1;
        let mut bench = Bench::new(&spec);
        if is_draining {
            bench.judged[0].standing.admin = AdminState::Drain;
            bench.entrance.pool.publish(&bench.judged);
        }
        let cookie = bench.cookies().remove(0);
        let lines = headers(&[("cookie", &cookie)]);
        let (held, _) = bench.asks("/", &lines, &[]);
        assert_eq!(name(&held), "b0");
        let (at, set) = bench.comes(&cookie);
        assert!(at != "b0" && set.is_none(), "a guest at {at}, told {set:?}");
        drop(held);
        let failed = [Arc::clone(&bench.entrance.pool.members()[0].backend)];
        let (lease, set) = bench.asks("/", &lines, &failed);
        assert!(name(&lease) != "b0" && set.is_some(), "{} {set:?}", name(&lease));
    }
}

#[test]
fn those_who_wait_do_not_stand_in_the_way_of_whom_a_draining_backend_keeps() {
    let queue = config::Queue { size: 1, timeout: Duration::from_secs(1) };
    let mut spec = config::Pool { queue, ..kept("web", 2) };
    spec.members[1].max_sessions = 1;
    let mut bench = Bench::new(&spec);
    bench.judged[0].standing.admin = AdminState::Drain;
    bench.entrance.pool.publish(&bench.judged);
    let _held = bench.pick().unwrap();
    let Err(Unpicked::Full(queue)) = bench.pick() else { panic!() };
    let _ticket = queue.enter().unwrap();
    let cookie = bench.cookies().remove(0);
    assert_eq!(bench.comes(&cookie), ("b0".into(), None));
}

#[test]
fn whoever_is_kept_by_a_pool_of_a_split_is_known() {
    let (web, shop) = (Bench::new(&kept("web", 2)), Bench::new(&kept("shop", 2)));
    let lines = headers(&[("cookie", &web.cookies()[1])]);
    assert!(web.entrance.has_kept(&lines) && !shop.entrance.has_kept(&lines));
    assert!(!Bench::equal(Policy::Random, 2).entrance.has_kept(&lines));
}

proptest! {
    #[test]
    fn any_cookie_line_leads_somewhere(line in "[ -~]{0,80}", place in 0usize..3) {
        let bench = Bench::new(&kept("web", 3));
        let cookie = bench.cookies().remove(place);
        let mut lines = HeaderMap::new();
        lines.append(COOKIE, HeaderValue::from_str(&line).unwrap());
        lines.append(COOKIE, HeaderValue::from_str(&cookie).unwrap());
        let (lease, set) = bench.asks("/", &lines, &[]);
        prop_assert_eq!((name(&lease), set), (format!("b{place}"), None));
    }
}
