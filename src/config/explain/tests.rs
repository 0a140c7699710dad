//! The arithmetic against numbers that were reckoned by hand.

use std::time::Duration;

use proptest::prelude::*;

use super::arithmetic;
use super::sum::tests::reckon;
use super::*;
use crate::addr::BackendAddr;
use crate::config::{
    self, Admin, Closing, Health, Listener, Log, Member, Origin, Passive, Probe, Process, Queue,
    Retry,
};

const STEP: Duration = Duration::from_millis(100);

fn ms(number: u64) -> Duration {
    Duration::from_millis(number)
}

/// A pool of so many backends.
fn pool(name: &str, backends: u16) -> Pool {
    let member = |port| Member::unset(BackendAddr::Ip(([10, 0, 0, 1], port).into()));
    Pool::unset(name, (1..=backends).map(member).collect())
}

fn listener(protocol: Protocol) -> Listener {
    Listener::unset("l", protocol, vec![([127, 0, 0, 1], 0).into()], 0)
}

fn config(listener: Listener, pools: Vec<Pool>) -> Config {
    let (process, log, admin) = (Process::default(), Log::default(), Admin::default());
    Config { process, log, admin, listeners: vec![listener], pools, origin: Origin::default() }
}

/// Milliseconds and formula of every fact of the first way, by id.
fn facts(config: &Config) -> Vec<(&'static str, Option<u64>, String)> {
    let explained = explain(config, STEP);
    let parts = explained.ways[0].parts.iter().flat_map(|part| &part.facts);
    let numbers = |fact: &Fact| match &fact.bound {
        Bound::Within(sum) => (fact.id, Some(whole_milliseconds(sum.total())), sum.to_string()),
        Bound::None => (fact.id, None, fact.note.clone()),
    };
    parts.map(numbers).collect()
}

#[track_caller]
fn said(config: &Config, wanted: &[(&str, Option<u64>)]) {
    let facts = facts(config);
    for (id, bound) in wanted {
        let found = facts.iter().find(|(it, _, _)| it == id).unwrap_or_else(|| panic!("no {id}"));
        assert_eq!(found.1, *bound, "{id}: {}", found.2);
    }
}

#[test]
fn the_defaults_make_the_numbers_of_the_contract() {
    // 2 s × 3 + 1 s; three connects of 1 s, which the window of 5 s has room for; 2 s × 2 + 1 s.
    let config = config(listener(Protocol::Tcp), vec![pool("p", 2)]);
    said(
        &config,
        &[
            ("dead", Some(7000)),
            ("hung", None),
            ("resetting", None),
            ("ejection", Some(250)),
            ("failover", Some(8000)),
            ("wait_killed", Some(0)),
            ("wait_host_gone", Some(1000)),
            ("wait_hung", Some(0)),
            ("wait_full", Some(0)),
            ("wait_worst", Some(3000)),
            ("recovered", Some(5000)),
            ("ejected_first", Some(10_250)),
            ("ejected_longest", Some(300_250)),
            ("drain", None),
            ("maintenance", Some(0)),
            ("down", None),
        ],
    );
}

#[test]
fn waits_are_capped_by_the_window_and_the_queue_comes_on_top() {
    let mut pools = vec![pool("p", 3), pool("spare", 2)];
    pools[0].retry = Retry { attempts: 5, window: ms(4000), backoff: ms(100), ..Retry::default() };
    pools[0].connect_timeout = ms(300);
    // 5 × 300 + 4 × 100 = 1900; one dead: 300 + 100.
    let first = config(listener(Protocol::Tcp), pools.clone());
    said(&first, &[("wait_killed", Some(100)), ("wait_host_gone", Some(400))]);
    said(&first, &[("wait_worst", Some(1900)), ("failover", Some(7400))]);
    // Attempts in the fallback have its own bound of one, and the first pool's rules:
    // 5 × 2000 + 400 is more than the window.
    pools[0].fallback = Some(1);
    pools[1].connect_timeout = ms(2000);
    pools[1].retry = Retry { attempts: 1, ..Retry::default() };
    let both = config(listener(Protocol::Tcp), pools.clone());
    said(&both, &[("wait_host_gone", Some(2100)), ("wait_worst", Some(4000))]);
    // A session waits in queues for as long as the longer of the two allows, in all.
    pools[0].queue = Queue { size: 1, timeout: ms(700) };
    pools[1].queue = Queue { size: 9, timeout: ms(900) };
    let queued = config(listener(Protocol::Tcp), pools);
    said(&queued, &[("wait_full", Some(900)), ("wait_worst", Some(4900))]);
    // Whoever has failed on one backend stands in the queue again, and so do all while the places
    // of one that hangs are taken.
    said(&queued, &[("wait_killed", Some(1000)), ("wait_host_gone", Some(3000))]);
    said(&queued, &[("wait_hung", Some(900)), ("wait_reset", Some(1000))]);
    let worst = facts(&queued).into_iter().find(|(id, _, _)| *id == "wait_worst").unwrap().2;
    assert_eq!(
        worst,
        "min(connect_timeout 2s × attempts 5 + backoff 100ms × 4, window 4s) + queue.timeout 900ms"
    );
}

#[test]
fn the_clock_makes_waits_a_little_longer_and_a_window_cuts_that_off_too() {
    let late = |change: &dyn Fn(&mut Pool)| {
        let mut pools = vec![pool("p", 2)];
        change(&mut pools[0]);
        whole_milliseconds(Chain::of(&pools[0], &pools).late(STEP))
    };
    assert_eq!(late(&|_| ()), 60);
    // A pause shorter than a step may last two of them longer.
    assert_eq!(late(&|pool| pool.retry.backoff = ms(50)), 60 + 2 * 200);
    // The last connect has less than a step left.
    assert_eq!(late(&|pool| pool.retry.window = ms(2050)), 60 + 200);
    assert_eq!(late(&|pool| pool.retry.attempts = 100), 400);
    assert_eq!(late(&|pool| pool.queue.size = 1), 60 + 200);
}

#[test]
fn a_backend_without_another_is_tried_again_and_again() {
    // Three connects to the one, or to the ordinary one while the backup waits for its end.
    let alone = config(listener(Protocol::Tcp), vec![pool("p", 1)]);
    said(&alone, &[("wait_host_gone", Some(3000)), ("ejection", None)]);
    let mut backed = pool("p", 2);
    backed.members[1].backup = true;
    said(&config(listener(Protocol::Tcp), vec![backed]), &[("wait_host_gone", Some(3000))]);
}

#[test]
fn whoever_is_alone_is_never_ejected_whatever_max_ejected_says() {
    let of = |backends| {
        let passive = Passive { max_ejected: 100, ..Passive::default() };
        let pool = Pool { passive, ..pool("p", backends) };
        facts(&config(listener(Protocol::Tcp), vec![pool]))
    };
    let bound = |facts: &[(&str, Option<u64>, String)], id| {
        facts.iter().find(|(it, _, _)| *it == id).map(|fact| fact.1)
    };
    let (alone, two) = (of(1), of(2));
    assert_eq!(bound(&alone, "ejection"), Some(None), "{alone:#?}");
    assert_eq!(bound(&alone, "ejected_first"), None);
    assert_eq!(bound(&two, "ejection"), Some(Some(250)));
    assert_eq!(bound(&two, "ejected_first"), Some(Some(10_250)));
}

#[test]
fn slow_probes_set_the_pace() {
    let of = |interval, timeout, address: Option<&str>| {
        let mut pool = pool("p", 2);
        pool.health = Health {
            interval: ms(interval),
            timeout: ms(timeout),
            address: address.map(str::to_owned),
            ..Health::default()
        };
        whole_milliseconds(arithmetic::detection(&pool).unwrap().total())
    };
    assert_eq!(of(1000, 1000, None), 4000);
    // 3 × 1500 + 1500.
    assert_eq!(of(1000, 1500, None), 6000);
    // The name is looked up first, for 400 at most: 3 × 1000 + 800; 3 × 1600 + 1600.
    assert_eq!(of(1000, 400, Some("agent.internal")), 3800);
    assert_eq!(of(1000, 800, Some("agent.internal")), 6400);
    assert_eq!(of(1000, 400, Some("[::1]")), 3400);
}

#[test]
fn without_a_probe_only_clients_see_and_datagrams_wait_for_nothing() {
    let mut blind = pool("p", 2);
    blind.health.probe = Probe::None;
    let tcp = config(listener(Protocol::Tcp), vec![blind.clone()]);
    said(&tcp, &[("dead", None), ("failover", None), ("ejection", Some(250))]);
    blind.passive = Passive { max_ejected: 49, ..Passive::default() };
    said(&config(listener(Protocol::Tcp), vec![blind.clone()]), &[("ejection", None)]);
    let udp = config(listener(Protocol::Udp), vec![blind]);
    said(&udp, &[("dead", None), ("wait_worst", Some(0)), ("drain", None)]);
    let probed = config(listener(Protocol::Udp), vec![pool("p", 2)]);
    said(&probed, &[("failover", Some(7000)), ("down", Some(0))]);
}

#[test]
fn a_probe_that_expects_an_answer_sees_a_program_that_hangs() {
    let of = |expect: &str, over| {
        let mut pool = pool("p", 2);
        let (send, expect) = (Vec::new(), expect.into());
        pool.health.probe = Probe::SendExpect { send, expect, over };
        let config = config(listener(Protocol::Tcp), vec![pool]);
        let hung = facts(&config).into_iter().find(|(id, _, _)| *id == "hung").unwrap();
        (hung.1, hung.2.contains("NOT seen"))
    };
    assert_eq!(of("PONG", Protocol::Tcp), (Some(7000), false));
    assert_eq!(of("", Protocol::Udp), (Some(7000), false));
    assert_eq!(of("", Protocol::Tcp), (None, true), "an empty answer asks for nothing");
}

#[test]
fn tls_to_the_backends_shows_a_program_that_hangs_to_clients_and_to_its_probe() {
    let mut secured = pool("p", 2);
    said(&config(listener(Protocol::Tcp), vec![secured.clone()]), &[("hung", None)]);
    secured.tls = Some(config::ClientTls::default());
    secured.health.probe = Probe::Tls(config::ClientTls::default());
    // A client is tried elsewhere after connect_timeout, as if the host were gone.
    let secured = config(listener(Protocol::Tcp), vec![secured]);
    said(&secured, &[("hung", Some(7000)), ("wait_hung", Some(1000))]);
}

#[test]
fn what_a_client_must_send_first_is_told() {
    let told = |listener: Listener| {
        let facts = facts(&config(listener, vec![pool("p", 2)]));
        facts.into_iter().find(|(id, _, _)| *id == "wait_handshake").map(|(_, bound, _)| bound)
    };
    assert_eq!(told(listener(Protocol::Tcp)), None);
    let mut reading = listener(Protocol::Tcp);
    reading.handshake_timeout = ms(4000);
    reading.accept_proxy_protocol = config::AcceptProxy::All;
    assert_eq!(told(reading.clone()), Some(Some(4000)));
    reading.accept_proxy_protocol = config::AcceptProxy::Off;
    let sni = vec![config::NamePattern::Any];
    reading.routes = vec![config::Route {
        name: "1".into(),
        when: config::Matchers { sni, ..config::Matchers::default() },
        leads: config::Leads::Pool(0),
        treatment: Box::default(),
    }];
    let explained = config(reading, vec![pool("p", 2)]);
    let text = explain(&explained, STEP).text();
    assert!(
        text.contains("Before that a client has handshake_timeout 4s for its ClientHello."),
        "{text}"
    );
}

#[test]
fn a_request_waits_for_answers_too() {
    let mut pools = vec![pool("p", 2)];
    let bounds = |pools: &[Pool], wanted: &[(&str, Option<u64>)]| {
        said(&config(listener(Protocol::Http), pools.to_vec()), wanted);
    };
    bounds(&pools, &[("wait_handshake", Some(10_000)), ("wait_host_gone", Some(1000))]);
    bounds(&pools, &[("wait_killed", Some(0)), ("wait_hung", None), ("wait_worst", None)]);
    // Three connects of 1 s and two answers of 4 s are more than the window, in which the last one
    // begins.
    pools[0].response_timeout = Some(ms(4000));
    bounds(&pools, &[("wait_hung", Some(4000)), ("wait_worst", Some(9000)), ("drain", None)]);
    let worst = facts(&config(listener(Protocol::Http), pools.clone())).into_iter();
    let worst = worst.filter(|it| it.0 == "wait_worst").map(|it| it.2).next().unwrap();
    let formula = "min(connect_timeout 1s × attempts 3 + response_timeout 4s × 2, window 5s) + \
                   response_timeout 4s";
    assert_eq!(worst, formula);
    pools[0].retry.http.on.timeout = false;
    bounds(&pools, &[("wait_hung", Some(4000)), ("wait_worst", Some(7000))]);
    // With one backend it is tried again.
    let mut alone = vec![Pool { response_timeout: Some(ms(500)), ..pool("p", 1) }];
    bounds(&alone, &[("wait_hung", Some(1500)), ("wait_worst", Some(4500))]);
    alone[0].response_timeout = None;
    let treatment = config::Treatment { request_timeout: Some(ms(2000)), ..Default::default() };
    let route = config::Route {
        name: "1".into(),
        when: config::Matchers::default(),
        leads: config::Leads::Pool(0),
        treatment: Box::new(treatment),
    };
    let mut routed = listener(Protocol::Http);
    routed.routes = vec![route];
    said(&config(routed.clone(), alone.clone()), &[("wait_worst", None)]);
    routed.pool = None;
    let wanted = [("wait_hung", Some(2000)), ("wait_worst", Some(2000)), ("wait_killed", Some(0))];
    said(&config(routed, alone), &wanted);
}

#[test]
fn what_leaves_is_bounded_by_close_or_by_the_lifetime() {
    let mut listener = listener(Protocol::Tcp);
    listener.max_lifetime = Some(ms(60_000));
    let mut pool = pool("p", 2);
    pool.close.down = Closing::Over(ms(20_000));
    said(&config(listener, vec![pool]), &[("drain", Some(66_000)), ("down", Some(20_000))]);
}

#[test]
fn every_fallback_of_a_listener_has_a_block_of_its_own() {
    let mut pools = vec![pool("a", 2), pool("b", 2), pool("unused", 2)];
    pools[0].fallback = Some(1);
    let config = config(listener(Protocol::Tcp), pools);
    let explained = explain(&config, STEP);
    let ways: Vec<_> = explained.ways.iter().map(|way| (way.pool, way.fallback_of)).collect();
    assert_eq!(ways, [("a", None), ("b", Some("a"))]);
    let text = explained.text();
    assert!(text.contains("listener \"l\" (tcp) → pool \"b\" (fallback of \"a\", 2 backends)"));
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
}

/// A pool with `max_failover`, and what is said of it.
fn asserted(most: u64, change: impl Fn(&mut Pool)) -> Result<(), (String, String)> {
    let mut pool = pool("p", 2);
    pool.max_failover = Some(ms(most));
    change(&mut pool);
    assert(&pool, true).map_err(|broken| (broken.message, broken.way_out))
}

#[test]
fn an_assertion_holds_to_the_millisecond() {
    // 2 s × 3 + 1 s + 1 s.
    assert_eq!(asserted(8000, |_| ()), Ok(()));
    let (message, way_out) = asserted(7999, |_| ()).unwrap_err();
    assert!(message.contains("it can take 8s"), "{message}");
    assert!(message.contains("interval 2s × fall 3 + timeout 1s + connect_timeout 1s"));
    assert!(message.contains("health.interval × health.fall, 6s"), "{message}");
    assert!(way_out.contains("health.interval = \"1s900ms\", or health.fall = 2"), "{way_out}");
    let (message, _) = asserted(60_000, |pool| pool.health.probe = Probe::None).unwrap_err();
    assert!(message.contains("health.probe is \"none\""), "{message}");
    let (message, _) = asserted(60_000, |pool| pool.members.truncate(1)).unwrap_err();
    assert!(message.contains("backends has only one"), "{message}");
    let (message, _) = asserted(8000, |pool| pool.connect_timeout = ms(9000)).unwrap_err();
    // The window of 5 s ends a connect of 9 s: 7 s + 5 s.
    assert!(message.contains("it can take 12s"), "{message}");
}

prop_compose! {
    fn any_pool()(
        interval in 1_u64..20_000, timeout in 1_u64..20_000, fall in 1_u32..20, rise in 1_u32..20,
        connect in 1_u64..20_000, backoff in 0_u64..2000, window in 1_u64..60_000,
        attempts in 1_u32..20, queue in 0_u32..2, backends in 1_u16..5,
    ) -> Pool {
        let mut pool = pool("p", backends);
        pool.health = Health {
            interval: ms(interval), timeout: ms(timeout), fall, rise, ..Health::default()
        };
        pool.connect_timeout = ms(connect);
        pool.retry = Retry { attempts, window: ms(window), backoff: ms(backoff), ..Retry::default() };
        pool.queue.size = queue;
        pool
    }
}

proptest! {
    #[test]
    fn every_formula_comes_to_its_number(pool in any_pool()) {
        for (id, bound, formula) in facts(&config(listener(Protocol::Tcp), vec![pool])) {
            if let Some(bound) = bound {
                prop_assert_eq!(whole_milliseconds(reckon(&formula)), bound, "{}: {}", id, formula);
            }
        }
    }

    #[test]
    fn no_longer_time_makes_a_bound_shorter(pool in any_pool(), which in 0_usize..5, more in 0_u64..5000) {
        let mut longer = pool.clone();
        let health = &mut longer.health;
        let keys = [
            &mut health.interval, &mut health.timeout, &mut longer.connect_timeout,
            &mut longer.retry.window, &mut longer.retry.backoff,
        ];
        for (number, key) in keys.into_iter().enumerate() {
            *key += ms(if number == which { more } else { 0 });
        }
        let before = facts(&config(listener(Protocol::Tcp), vec![pool]));
        let after = facts(&config(listener(Protocol::Tcp), vec![longer]));
        for ((id, before, _), (_, after, _)) in before.iter().zip(&after) {
            prop_assert!(after >= before, "{}", id);
        }
    }

    #[test]
    fn an_assertion_breaks_exactly_where_the_number_exceeds_it(pool in any_pool(), most in 1_u64..200_000) {
        let mut pool = pool;
        pool.max_failover = Some(ms(most));
        let needed = arithmetic::failover(&pool, true).unwrap().total();
        let holds = assert(&pool, true).is_ok();
        prop_assert_eq!(holds, needed <= ms(most) && pool.members.len() > 1);
    }

    #[test]
    fn what_is_proposed_would_do(pool in any_pool(), most in 1_u64..200_000) {
        let mut pool = pool;
        pool.max_failover = Some(ms(most));
        if pool.members.len() < 2 {
            return Ok(());
        }
        let Err(broken) = assert(&pool, true) else { return Ok(()) };
        let (first, _) = broken.way_out.split_once(", or allow").unwrap();
        let Some(keys) = first.strip_prefix("set ") else { return Ok(()) };
        for either in keys.split(", or ") {
            let mut changed = pool.clone();
            for setting in either.split(" and ") {
                let (key, value) = setting.split_once(" = ").unwrap();
                let time = || config::units::duration(value.trim_matches('"')).unwrap();
                match key {
                    "health.interval" => changed.health.interval = time(),
                    "health.timeout" => changed.health.timeout = time(),
                    "connect_timeout" => changed.connect_timeout = time(),
                    "retry.backoff" => changed.retry.backoff = time(),
                    "health.fall" => changed.health.fall = value.parse().unwrap(),
                    other => panic!("{other}"),
                }
            }
            prop_assert_eq!(assert(&changed, true), Ok(()), "{}", either);
        }
    }
}
