//! A monitor with real sockets: what it publishes, when, and what it says about it.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::fixture::{LONG, head, on, pool, refusing, server, silent, until};
use super::{Known, Monitor, Steering};
use crate::addr::BackendAddr;
use crate::config::{self, AdminState, HttpProbe, Probe, Role};
use crate::event::Events;
use crate::net::Resolver;
use crate::pool::{Health, Pool};
use crate::session::Bell;

/// The log of this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::Write::write(&mut *self.0.lock().unwrap(), bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn keep(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let format = tracing_subscriber::fmt().without_time().with_target(false).with_ansi(false);
        tracing::subscriber::set_default(format.with_writer(move || log.clone()).finish())
    }

    fn lines(&self) -> Vec<String> {
        let bytes = self.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        text.lines().map(|line| line.trim().to_owned()).collect()
    }
}

fn health(pool: &Pool, member: usize) -> Health {
    pool.members()[member].backend.standing().health
}

fn start(spec: &config::Pool) -> (Arc<Pool>, Monitor) {
    let pool = Arc::new(Pool::new(spec, None));
    let monitor = Monitor::start(
        Arc::clone(&pool),
        spec,
        0,
        &Resolver::default(),
        Events::default(),
        Bell::default(),
        &[],
    )
    .unwrap();
    (pool, monitor)
}

async fn first_round(monitor: &Monitor) {
    timeout(LONG, monitor.first_round()).await.expect("the first round never ended");
}

fn ip(address: SocketAddr) -> BackendAddr {
    BackendAddr::Ip(address)
}

#[tokio::test]
async fn the_first_result_decides_and_each_change_is_logged_once() {
    let log = Log::default();
    let _kept = log.keep();
    let (good, _server) = server(|_stream| std::future::ready(())).await;
    let (bad, _socket) = refusing();
    let (pool, monitor) = start(&pool([ip(good), ip(bad)], Probe::Tcp));
    assert!(!pool.ready().is_usable());
    first_round(&monitor).await;
    assert_eq!((health(&pool, 0), health(&pool, 1)), (Health::Up, Health::Down));
    assert!(pool.ready().is_usable());
    assert_eq!((pool.ready().effective_weight(0), pool.ready().effective_weight(1)), (1.0, 0.0));
    let stats = &pool.members()[1].backend.stats;
    until(|| stats.probes_failed.get() >= 5).await;
    let last = stats.last_probe.load_full().unwrap();
    assert_eq!((last.ok, &last.reason), (false, &format!("connection refused by {bad}")));
    let mut lines = log.lines();
    lines.sort();
    assert_eq!(
        lines,
        [
            format!(
                "INFO backend up pool=db backend={good} from=\"unknown\" to=\"up\" \
                 reason=\"connected\""
            ),
            format!(
                "WARN backend down pool=db backend={bad} from=\"unknown\" to=\"down\" \
                 reason=\"connection refused by {bad}\""
            ),
        ]
    );
}

/// Answers the nth request with the nth status, and notes the backend's health at that moment.
async fn seen_while_answering(statuses: &'static [u16], probe: HttpProbe) -> Vec<Health> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let spec = pool([ip(address)], Probe::Http(Box::new(probe)));
    let live = Arc::new(Pool::new(&spec, None));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    let watched = Arc::clone(&live);
    let _server = on(listener, move |mut stream| {
        let (noted, watched) = (Arc::clone(&noted), Arc::clone(&watched));
        async move {
            head(&mut stream).await;
            let turn = {
                let mut noted = noted.lock().unwrap();
                noted.push(health(&watched, 0));
                noted.len() - 1
            };
            let status = statuses.get(turn).copied().unwrap_or(200);
            let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.ok();
        }
    });
    let _monitor = Monitor::start(
        live,
        &spec,
        0,
        &Resolver::default(),
        Events::default(),
        Bell::default(),
        &[],
    )
    .unwrap();
    until(|| seen.lock().unwrap().len() > statuses.len()).await;
    let seen = seen.lock().unwrap();
    seen[..=statuses.len()].to_vec()
}

#[tokio::test]
async fn rise_and_fall_count_results_in_a_row() {
    use Health::{Down, Unknown, Up};
    let log = Log::default();
    let _kept = log.keep();
    let seen = seen_while_answering(
        &[200, 500, 500, 200, 500, 500, 500, 200, 500, 200, 200],
        HttpProbe::default(),
    );
    assert_eq!(seen.await, [Unknown, Up, Up, Up, Up, Up, Up, Down, Down, Down, Down, Up]);
    let told: Vec<_> = log.lines().iter().map(|line| line[..17].trim_end().to_owned()).collect();
    let last = ["WARN backend down", "WARN pool down po", "INFO backend up p", "INFO pool up pool"];
    assert_eq!(told[0], "INFO backend up p");
    assert_eq!(told[1..], last, "that a pool works when it starts is no news");
}

#[tokio::test]
async fn a_role_follows_each_single_result() {
    use Health::{Standby, Unknown, Up};
    let spec = HttpProbe { role: Some(Role::Primary), ..HttpProbe::default() };
    let seen = seen_while_answering(&[503, 200, 503, 503, 200], spec).await;
    assert_eq!(seen, [Unknown, Standby, Up, Standby, Standby, Up]);
}

#[tokio::test]
async fn without_a_probe_everybody_is_up_at_once() {
    let (address, _socket) = refusing();
    let (pool, monitor) = start(&pool([ip(address)], Probe::None));
    assert_eq!(health(&pool, 0), Health::Up);
    assert!(pool.ready().is_usable());
    first_round(&monitor).await;
}

#[tokio::test]
async fn a_name_without_an_address_holds_nobody_up() {
    let log = Log::default();
    let _kept = log.keep();
    let (good, _server) = server(|_stream| std::future::ready(())).await;
    let nowhere = BackendAddr::Host("does-not-exist.invalid".into(), 5432);
    let (pool, monitor) = start(&pool([nowhere, ip(good)], Probe::Tcp));
    first_round(&monitor).await;
    assert_eq!((health(&pool, 0), health(&pool, 1)), (Health::Unresolved, Health::Up));
    let members = pool.members();
    let stats = |member: usize| &members[member].backend.stats;
    until(|| stats(1).probes_ok.get() > 5).await;
    assert!(stats(0).last_probe.load().is_none());
    let lines = log.lines();
    let (warned, _): (Vec<_>, Vec<_>) =
        lines.iter().partition(|line| line.starts_with("WARN backend unresolved"));
    assert_eq!(warned.len(), 1, "{lines:?}");
    assert!(warned[0].contains("does-not-exist.invalid\\\" has no address"), "{warned:?}");
}

#[tokio::test]
async fn a_name_with_an_address_is_probed_there() {
    let (address, _server) = server(|_stream| std::future::ready(())).await;
    let named = BackendAddr::Host("localhost".into(), address.port());
    let (pool, monitor) = start(&pool([named], Probe::Tcp));
    first_round(&monitor).await;
    assert_eq!(health(&pool, 0), Health::Up);
    assert!(pool.ready().is_usable());
}

#[tokio::test]
async fn a_name_whose_backend_fails_is_looked_up_again_and_judged_once() {
    let log = Log::default();
    let _kept = log.keep();
    let (refused, _socket) = refusing();
    let named = BackendAddr::Host("localhost".into(), refused.port());
    let (pool, monitor) = start(&pool([named], Probe::Tcp));
    first_round(&monitor).await;
    let stats = &pool.members()[0].backend.stats;
    until(|| stats.probes_failed.get() > 5).await;
    assert_eq!(health(&pool, 0), Health::Down);
    let lines = log.lines();
    let [backend, pool] = &lines[..] else { panic!("{lines:?}") };
    assert!(backend.starts_with("WARN backend down"), "{backend}");
    let says = "WARN pool down pool=db from=\"unknown\" to=\"down\" \
                reason=\"no backend can be picked: 1 down\"";
    assert_eq!(pool, says);
}

#[tokio::test]
async fn a_backend_judged_before_keeps_its_health_until_fall_says_otherwise() {
    let log = Log::default();
    let _kept = log.keep();
    let (refused, _socket) = refusing();
    let spec = pool([ip(refused)], Probe::Tcp);
    let live = Arc::new(Pool::new(&spec, None));
    let known = Known {
        name: spec.members[0].name.to_string(),
        address: spec.members[0].address.to_string(),
        resolved: None,
        health: "up".to_owned(),
        streak: 0,
        state: "ready".to_owned(),
        weight: 1,
        file_state: "ready".to_owned(),
        file_weight: 1,
        ejection: None,
        found: None,
    };
    let (events, bell) = (Events::default(), Bell::default());
    let monitor =
        Monitor::start(Arc::clone(&live), &spec, 0, &Resolver::default(), events, bell, &[known])
            .unwrap();
    assert!(live.ready().is_usable());
    first_round(&monitor).await;
    until(|| health(&live, 0) == Health::Down).await;
    assert!(live.members()[0].backend.stats.probes_failed.get() >= 3);
    monitor.stop().await;
    let lines = log.lines();
    let [backend, pool] = &lines[..] else { panic!("{lines:?}") };
    assert!(backend.starts_with("WARN backend down") && pool.starts_with("WARN pool down"));
}

#[tokio::test]
async fn another_address_may_be_probed_instead() {
    let (address, _server) = server(|_stream| std::future::ready(())).await;
    let (refusing, _socket) = refusing();
    let mut spec = pool([ip(refusing)], Probe::Tcp);
    spec.health.port = Some(address.port());
    spec.health.address = Some("localhost".to_owned());
    let (pool, monitor) = start(&spec);
    first_round(&monitor).await;
    assert_eq!(health(&pool, 0), Health::Up);
}

#[tokio::test]
async fn our_own_shortage_counts_against_nobody() {
    let log = Log::default();
    let _kept = log.keep();
    let (address, _server) = silent().await;
    let spec = config::Pool {
        source: vec!["192.0.2.1".parse().unwrap()],
        ..pool([ip(address)], Probe::Tcp)
    };
    let (pool, monitor) = start(&spec);
    first_round(&monitor).await;
    let stats = &pool.members()[0].backend.stats;
    assert_eq!((stats.probes_ok.get(), stats.probes_failed.get()), (0, 0));
    assert_eq!(health(&pool, 0), Health::Unknown);
    assert!(log.lines()[0].starts_with("WARN cannot probe, our own shortage"));
}

async fn steer(monitor: &Monitor, backend: &str, state: AdminState) -> bool {
    monitor.operator().steer(backend, Steering { state: Some(state), weight: None }).await
}

#[tokio::test]
async fn maintenance_is_not_probed_and_drain_is() {
    let (address, _server) = server(|_stream| std::future::ready(())).await;
    let mut spec = pool([ip(address), ip(address)], Probe::Tcp);
    spec.members[0].state = AdminState::Maintenance;
    spec.members[0].name = "resting".into();
    spec.members[1].state = AdminState::Drain;
    let (pool, monitor) = start(&spec);
    let members = pool.members();
    let backend = |member: usize| &members[member].backend;
    assert_eq!(backend(0).standing().state(), "maintenance");
    first_round(&monitor).await;
    until(|| backend(1).stats.probes_ok.get() > 3).await;
    assert_eq!(backend(0).stats.probes_ok.get(), 0);
    assert_eq!(backend(0).standing().health, Health::Unknown);
    assert_eq!(backend(1).standing().state(), "drain");
    assert!(!pool.ready().is_usable());

    let name = backend(1).name().to_string();
    assert!(steer(&monitor, &name, AdminState::Ready).await);
    assert_eq!(pool.ready().effective_weight(1), 1.0);
    assert!(steer(&monitor, "resting", AdminState::Ready).await);
    until(|| backend(0).standing().is_usable()).await;
    assert!(steer(&monitor, "resting", AdminState::Maintenance).await);
    let probes = backend(0).stats.probes_ok.get();
    let others = backend(1).stats.probes_ok.get();
    until(|| backend(1).stats.probes_ok.get() > others + 3).await;
    assert_eq!(backend(0).stats.probes_ok.get(), probes);
    assert!(!steer(&monitor, "other", AdminState::Ready).await);
}

#[tokio::test]
async fn a_monitor_that_is_dropped_takes_its_probes_along() {
    let (tell, mut told) = mpsc::channel(4);
    let (address, _server) = server(move |mut stream| {
        let tell = tell.clone();
        async move {
            tell.send(()).await.ok();
            head(&mut stream).await;
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await.ok();
            tell.send(()).await.ok();
        }
    })
    .await;
    let (pool, monitor) = start(&pool([ip(address)], Probe::Http(Box::default())));
    timeout(LONG, told.recv()).await.unwrap().unwrap();
    drop(monitor);
    timeout(LONG, told.recv()).await.unwrap().unwrap();
    assert_eq!(health(&pool, 0), Health::Unknown);
}
