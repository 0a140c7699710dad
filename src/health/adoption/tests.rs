//! A monitor that takes over other lists: who stays, who comes, who goes, and what becomes of those
//! who wait or have sessions.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::*;
use crate::addr::{BackendAddr, ClientAddr};
use crate::config::{Closing, Member as Entry, Probe};
use crate::event::Events;
use crate::health::fixture::{LONG, pool, refusing, server, silent, until};
use crate::health::{Monitor, Steering};
use crate::net::Resolver;
use crate::outcome::Outcome;
use crate::pool::{Ask, Entrance, Lease};
use crate::session::Bell;

/// A monitor with the pool that is in force, as the server has them.
struct Scene {
    spec: config::Pool,
    pool: Arc<Pool>,
    monitor: Monitor,
    entrance: Entrance,
}

fn entry(name: &str, address: SocketAddr) -> Entry {
    Entry { name: name.into(), ..Entry::unset(BackendAddr::Ip(address)) }
}

fn nowhere(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Backends that nobody probes, by their names.
fn unprobed(names: &[&str]) -> config::Pool {
    let entries = names.iter().enumerate();
    let entries = entries.map(|(place, name)| entry(name, nowhere(1 + place as u16)));
    config::Pool { members: entries.collect(), ..pool([], Probe::None) }
}

impl Scene {
    async fn of(spec: config::Pool) -> Self {
        let pool = Arc::new(Pool::new(&spec, None));
        let entrance = Entrance::new(&"l".into(), Arc::clone(&pool), None);
        let (resolver, events, bell) = (Resolver::default(), Events::default(), Bell::default());
        let monitor =
            Monitor::start(Arc::clone(&pool), &spec, 0, &resolver, events, bell, &[]).unwrap();
        timeout(LONG, monitor.first_round()).await.unwrap();
        Self { spec, pool, monitor, entrance }
    }

    /// What a reload does with a file whose pool is this.
    async fn reload(&mut self, spec: config::Pool) {
        if !self.pool.fits(&spec) {
            self.pool = Arc::new(Pool::new(&spec, Some(&self.pool)));
        }
        let resolver = Resolver::default();
        let prepared = self.monitor.prepare(&self.pool, &spec, &resolver);
        let adoption = timeout(LONG, prepared).await.unwrap().unwrap();
        self.entrance = Entrance::new(&"l".into(), Arc::clone(&self.pool), None);
        timeout(LONG, self.monitor.adopt(adoption)).await.unwrap();
        self.spec = spec;
    }

    /// The same, of the file with this change.
    async fn change(&mut self, change: impl FnOnce(&mut config::Pool)) {
        let mut spec = self.spec.clone();
        change(&mut spec);
        self.reload(spec).await;
    }

    fn pick(&self) -> Option<Lease> {
        picked(&self.entrance)
    }

    /// Whom picks lead to, by name.
    fn names(&self) -> Vec<String> {
        let held: Vec<_> = (0..20).filter_map(|_| self.pick()).collect();
        let mut names: Vec<_> =
            held.iter().map(|lease| lease.backend().name().to_string()).collect();
        names.sort();
        names.dedup();
        names
    }

    fn backend(&self, name: &str) -> Arc<Backend> {
        let members = self.pool.members();
        let member = members.iter().find(|member| **member.backend.name() == *name);
        Arc::clone(&member.unwrap().backend)
    }

    fn leaving(&self) -> Vec<String> {
        let ready = self.pool.ready();
        ready.leaving().iter().map(|backend| backend.name().to_string()).collect()
    }

    async fn steer(&self, name: &str, state: Option<AdminState>, weight: Option<u16>) {
        assert!(self.monitor.operator().steer(name, Steering { state, weight }).await);
    }
}

fn ask() -> Ask<'static> {
    Ask::of(ClientAddr::new(nowhere(40_000)), fastrand::u64(..), 0)
}

fn picked(entrance: &Entrance) -> Option<Lease> {
    entrance.pick(&ask()).ok().map(|picked| picked.lease)
}

#[tokio::test]
async fn who_stays_is_the_same_backend_and_who_is_gone_is_picked_no_more() {
    let mut scene = Scene::of(unprobed(&["a", "b"])).await;
    let (a, b) = (scene.backend("a"), scene.backend("b"));
    let pool = Arc::clone(&scene.pool);
    let held: Vec<_> = (0..2).filter_map(|_| scene.pick()).collect();
    assert_eq!((a.sessions(), b.sessions()), (1, 1));
    scene
        .change(|spec| {
            spec.members.remove(0);
            spec.members.insert(0, entry("c", nowhere(3)));
        })
        .await;
    assert!(Arc::ptr_eq(&scene.pool, &pool), "its members alone are others");
    assert!(Arc::ptr_eq(&scene.backend("b"), &b));
    assert_eq!(scene.names(), ["b", "c"]);
    assert!(a.is_removed() && !b.is_removed());
    assert_eq!((scene.leaving(), a.recall().order().is_none()), (vec!["a".to_owned()], true));
    // It is there until its last session has ended, and if it comes back it is the same.
    drop(held);
    until(|| scene.leaving().is_empty()).await;
    let held = {
        scene.change(|spec| spec.members = unprobed(&["a", "b"]).members).await;
        assert!(!Arc::ptr_eq(&scene.backend("a"), &a), "nothing was left of it");
        let a = scene.backend("a");
        let held: Vec<_> = (0..2).filter_map(|_| scene.pick()).collect();
        scene.change(|spec| drop(spec.members.remove(0))).await;
        scene.change(|spec| spec.members = unprobed(&["a", "b"]).members).await;
        assert!(Arc::ptr_eq(&scene.backend("a"), &a) && !a.is_removed());
        held
    };
    assert_eq!((scene.leaving().len(), scene.names()), (0, vec!["a".to_owned(), "b".to_owned()]));
    drop(held);
}

#[tokio::test]
async fn a_removed_backend_ends_its_sessions_by_its_own_rule_and_a_revived_one_keeps_them() {
    let mut spec = unprobed(&["a", "b"]);
    spec.close.removed = Closing::Over(Duration::from_secs(60));
    let mut scene = Scene::of(spec).await;
    let a = scene.backend("a");
    let _held: Vec<_> = (0..2).filter_map(|_| scene.pick()).collect();
    scene.change(|spec| drop(spec.members.remove(0))).await;
    let order = a.recall().order().unwrap();
    assert_eq!((order.cause(), a.recall().has_called(0)), (Outcome::Removed, true));
    scene.change(|spec| spec.members = unprobed(&["a", "b"]).members).await;
    assert!(a.recall().order().is_none());

    // A pool that is gone is no other case.
    assert!(!scene.monitor.is_done());
    timeout(LONG, scene.monitor.retire()).await.unwrap();
    assert!(scene.pick().is_none() && !scene.monitor.is_done());
    assert_eq!(scene.backends_called(), [("a".to_owned(), true), ("b".to_owned(), true)]);
    drop(_held);
    until(|| scene.monitor.is_done()).await;
    assert_eq!(scene.leaving().len(), 0);
}

impl Scene {
    /// Those that leave, and whether they end their sessions.
    fn backends_called(&self) -> Vec<(String, bool)> {
        let ready = self.pool.ready();
        let leaving = ready.leaving().iter();
        let called = leaving.map(|one| (one.name().to_string(), one.recall().order().is_some()));
        let mut called: Vec<_> = called.collect();
        called.sort();
        called
    }
}

#[tokio::test]
async fn what_an_operator_set_holds_until_the_files_own_value_changes() {
    let mut scene = Scene::of(unprobed(&["a", "b"])).await;
    scene.steer("a", Some(AdminState::Drain), Some(7)).await;
    let of_a = |scene: &Scene| (scene.backend("a").standing().admin, scene.pool.ready().weight(0));
    scene.change(|spec| spec.retry.attempts += 1).await;
    assert_eq!(of_a(&scene), (AdminState::Drain, 7));
    scene.change(|spec| spec.members[0].weight = 3).await;
    assert_eq!(of_a(&scene), (AdminState::Drain, 3));
    scene.change(|spec| spec.members[0].state = AdminState::Maintenance).await;
    assert_eq!(of_a(&scene), (AdminState::Maintenance, 3));
    scene.change(|spec| spec.members[0].state = AdminState::Ready).await;
    assert_eq!((of_a(&scene), scene.names().len()), ((AdminState::Ready, 3), 2));

    // And so it does in a process after this one.
    scene.steer("b", Some(AdminState::Drain), Some(0)).await;
    let known = scene.monitor.known().await;
    let told = serde_json::from_str::<Vec<Known>>(&serde_json::to_string(&known).unwrap());
    assert_eq!(told.unwrap(), known);
    let mut spec = scene.spec.clone();
    spec.members[1].weight = 9;
    let next = Arc::new(Pool::new(&spec, None));
    let (resolver, events, bell) = (Resolver::default(), Events::default(), Bell::default());
    let _monitor =
        Monitor::start(Arc::clone(&next), &spec, 0, &resolver, events, bell, &known).unwrap();
    assert_eq!(next.members()[1].backend.standing().admin, AdminState::Drain);
    assert_eq!((next.ready().weight(0), next.ready().weight(1)), (3, 9));
}

#[tokio::test]
async fn an_ejection_lasts_over_a_reload_and_into_the_next_process() {
    let mut scene = Scene::of(unprobed(&["a", "b", "c", "d"])).await;
    let a = scene.backend("a");
    for _ in 0..3 {
        let refused = crate::outcome::ConnectFailure::Refused;
        a.connect_failed(refused, Some(Duration::from_secs(1)), 0);
    }
    until(|| a.standing().ejected).await;
    scene.change(|spec| spec.fail_open = true).await;
    assert!(a.standing().ejected && scene.names() == ["b", "c", "d"]);
    let known = scene.monitor.known().await;
    let (rest, term) = known[0].ejection.unwrap();
    assert!(rest <= term && term == Duration::from_secs(10));
    let next = Arc::new(Pool::new(&scene.spec, None));
    let (resolver, events, bell) = (Resolver::default(), Events::default(), Bell::default());
    let spec = &scene.spec;
    let _monitor =
        Monitor::start(Arc::clone(&next), spec, 0, &resolver, events, bell, &known).unwrap();
    assert!(next.members()[0].backend.standing().ejected);
}

#[tokio::test]
async fn a_new_backend_is_probed_before_anything_changes_and_a_known_one_is_not_probed_for_it() {
    let (good, _good) = server(|_stream| std::future::ready(())).await;
    let (bad, _bad) = refusing();
    let mut spec = pool([], Probe::Tcp);
    // Nobody is probed again by itself.
    spec.health.interval = Duration::from_secs(3600);
    spec.members = vec![entry("a", good)];
    let mut scene = Scene::of(spec).await;
    let probes =
        |backend: &Backend| (backend.stats.probes_ok.get(), backend.stats.probes_failed.get());
    let next = {
        let mut next = scene.spec.clone();
        next.members.extend([entry("b", bad), entry("c", good)]);
        next
    };
    let adoption = scene.monitor.prepare(&scene.pool, &next, &Resolver::default()).await.unwrap();
    assert_eq!(scene.pool.members().len(), 1, "nothing has changed");
    drop(adoption);
    assert_eq!((scene.names(), probes(&scene.backend("a"))), (vec!["a".to_owned()], (1, 0)));
    scene.reload(next).await;
    assert_eq!(scene.names(), ["a", "c"]);
    let counted = ["a", "b", "c"].map(|name| probes(&scene.backend(name)));
    assert_eq!(counted, [(1, 0), (0, 1), (1, 0)]);
    // Other rules for the probes, and still nobody is asked again or forgotten.
    scene.change(|spec| spec.health.fall = 5).await;
    assert_eq!(["a", "b", "c"].map(|name| probes(&scene.backend(name))), counted);
    assert_eq!(scene.names(), ["a", "c"]);
}

#[tokio::test]
async fn a_probe_under_way_ends_under_the_same_rules() {
    let (address, _server) = silent().await;
    let mut spec = pool([], Probe::Http(Box::default()));
    spec.health.timeout = Duration::from_millis(300);
    spec.members = vec![entry("a", address)];
    let mut scene = Scene::of(spec).await;
    let a = scene.backend("a");
    // Reloads come much more often than probes end.
    let failed = || a.stats.probes_failed.get();
    let before = failed();
    while failed() < before + 3 {
        scene.change(|spec| spec.members[0].weight ^= 3).await;
    }
}

#[tokio::test]
async fn who_waits_in_an_earlier_pool_is_first_and_sees_new_members() {
    let mut spec = unprobed(&["a"]);
    spec.queue = config::Queue { size: 9, timeout: LONG };
    spec.members[0].max_sessions = 1;
    let mut scene = Scene::of(spec).await;
    let held = scene.pick().unwrap();
    let (early_pool, retries) = (Arc::clone(&scene.pool), Arc::clone(&scene.pool.retries));
    let early = Entrance::new(&"l".into(), Arc::clone(&early_pool), None);
    let first = early_pool.queue().enter().unwrap();
    // Other settings: another pool, in whose queue the next one waits.
    scene.change(|spec| spec.retry.attempts += 1).await;
    assert!(!Arc::ptr_eq(&scene.pool, &early_pool) && Arc::ptr_eq(&scene.pool.retries, &retries));
    let second = scene.pool.queue().enter().unwrap();
    assert_eq!((early_pool.queue().len(), scene.pool.queue().len()), (2, 2));
    scene.change(|spec| spec.members.push(entry("b", nowhere(2)))).await;
    assert!(scene.entrance.pick(&ask()).is_err(), "nobody overtakes those who wait");
    assert!(scene.entrance.pick_in_turn(&ask(), &second).is_err(), "nor each other");
    let lease = early.pick_in_turn(&ask(), &first).unwrap().lease;
    assert_eq!(&**lease.backend().name(), "b");
    drop(first);
    let other = scene.entrance.pick_in_turn(&ask(), &second).unwrap().lease;
    assert_eq!(&**other.backend().name(), "b", "its cap is the file's, and a is full");
    drop((held, second));
    assert_eq!(&**scene.pick().unwrap().backend().name(), "a");
}

#[tokio::test]
async fn what_was_discovered_takes_effect_once_it_was_probed_and_the_latest_wins() {
    let (one, _one) = server(|_stream| std::future::ready(())).await;
    let (two, _two) = server(|_stream| std::future::ready(())).await;
    let (mute, _mute) = silent().await;
    let mut spec = pool([], Probe::Http(Box::default()));
    spec.discover = Some(config::Discover {
        source: config::DiscoverSource::Srv("s.example".into()),
        refresh: None,
    });
    spec.health.probe = Probe::Tcp;
    let mut scene = Scene::of(spec).await;
    let operator = scene.monitor.operator();
    assert!(timeout(LONG, operator.roster(vec![entry("one", one)])).await.unwrap());
    assert_eq!(scene.names(), ["one"]);
    let kept = scene.backend("one");
    // A reload knows what was discovered before it.
    scene.change(|spec| spec.retry.attempts += 1).await;
    assert!(Arc::ptr_eq(&scene.backend("one"), &kept));
    // Over http the mute one would need its whole time; the list after it need not wait for that.
    scene.change(|spec| spec.health.probe = Probe::Http(Box::default())).await;
    let slow = operator.clone();
    let mut waiting = JoinSet::new();
    waiting.spawn(async move { slow.roster(vec![entry("mute", mute)]).await });
    tokio::task::yield_now().await;
    assert_eq!(scene.pool.members().len(), 1);
    let mut next = entry("two", two);
    next.state = AdminState::Drain;
    assert!(timeout(LONG, operator.roster(vec![entry("one", one), next])).await.unwrap());
    assert!(timeout(LONG, waiting.join_next()).await.unwrap().unwrap().unwrap());
    let names: Vec<_> =
        scene.pool.members().iter().map(|one| one.backend.name().to_string()).collect();
    assert_eq!(names, ["one", "two"]);
    assert!(Arc::ptr_eq(&scene.backend("one"), &kept));
}

#[tokio::test]
async fn what_a_process_before_knew_of_a_discovered_backend_is_not_lost() {
    let spec = config::Pool {
        discover: Some(config::Discover {
            source: config::DiscoverSource::Srv("s.example".into()),
            refresh: None,
        }),
        ..unprobed(&[])
    };
    let scene = Scene::of(spec.clone()).await;
    let found = vec![entry("one", nowhere(1)), entry("two", nowhere(2))];
    assert!(scene.monitor.operator().roster(found.clone()).await);
    scene.steer("one", Some(AdminState::Drain), Some(5)).await;
    let known = scene.monitor.known().await;
    let next = Arc::new(Pool::new(&spec, None));
    let (resolver, events, bell) = (Resolver::default(), Events::default(), Bell::default());
    let monitor =
        Monitor::start(Arc::clone(&next), &spec, 0, &resolver, events, bell, &known).unwrap();
    assert!(monitor.operator().roster(found).await);
    let one = Arc::clone(&next.members()[0].backend);
    assert_eq!((one.standing().admin, next.ready().weight(0)), (AdminState::Drain, 5));
    assert!(next.members()[1].backend.standing().is_usable());
}
