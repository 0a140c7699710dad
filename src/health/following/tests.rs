//! A backend with a name, and a name server that changes its mind.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_resolver::proto::op::Message;
use hickory_resolver::proto::rr::rdata::A;
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::*;
use crate::addr::BackendAddr;
use crate::config::Probe;
use crate::event::Events;
use crate::health::Monitor;
use crate::health::fixture::{LONG, on, pool, until};
use crate::net::Resolver;
use crate::outcome::ConnectFailure;
use crate::pool::{Ask, Entrance, Pool};
use crate::session::Bell;

/// What the name server says of every name: addresses, and seconds for which they hold.
type Said = Arc<Mutex<(Vec<Ipv4Addr>, u32)>>;

struct Zone {
    at: SocketAddr,
    said: Said,
    /// Questions for IPv4 addresses so far.
    asked: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl Zone {
    async fn start(address: Ipv4Addr, ttl: u32) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (at, asked) = (socket.local_addr().unwrap(), Arc::<AtomicUsize>::default());
        let said: Said = Arc::new(Mutex::new((vec![address], ttl)));
        let mut task = JoinSet::new();
        task.spawn(serve(socket, Arc::clone(&said), Arc::clone(&asked)));
        Self { at, said, asked, _task: task }
    }

    fn say(&self, addresses: &[Ipv4Addr], ttl: u32) {
        *self.said.lock().unwrap() = (addresses.to_vec(), ttl);
    }

    /// Comes back once it was asked so often from now on.
    async fn is_asked(&self, times: usize) {
        let before = self.asked.load(Ordering::SeqCst);
        until(|| self.asked.load(Ordering::SeqCst) >= before + times).await;
    }
}

async fn serve(socket: UdpSocket, said: Said, asked: Arc<AtomicUsize>) {
    let mut buffer = [0; 1500];
    loop {
        let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
        let question = Message::from_vec(&buffer[..length]).unwrap();
        let query = question.queries[0].clone();
        let mut answer = Message::response(question.id, question.op_code);
        if query.query_type() == RecordType::A {
            let (addresses, ttl) = said.lock().unwrap().clone();
            let record = |ip| Record::from_rdata(query.name().clone(), ttl, RData::A(A(ip)));
            answer.add_answers(addresses.into_iter().map(record));
            asked.fetch_add(1, Ordering::SeqCst);
        }
        answer.add_query(query);
        socket.send_to(&answer.to_vec().unwrap(), from).await.unwrap();
    }
}

const ONE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const TWO: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

struct Scene {
    zone: Zone,
    pool: Arc<Pool>,
    entrance: Entrance,
    _monitor: Monitor,
}

impl Scene {
    async fn of(port: u16, ttl: u32, probe: Probe) -> Self {
        let zone = Zone::start(ONE, ttl).await;
        let spec = pool([BackendAddr::Host("db.example".into(), port)], probe);
        let live = Arc::new(Pool::new(&spec, None));
        let resolver = Resolver::new(vec![zone.at]);
        let (events, bell) = (Events::default(), Bell::default());
        let monitor =
            Monitor::start(Arc::clone(&live), &spec, 0, &resolver, events, bell, &[]).unwrap();
        timeout(LONG, monitor.first_round()).await.unwrap();
        let entrance = Entrance::new(&"l".into(), Arc::clone(&live), None);
        Self { zone, pool: live, entrance, _monitor: monitor }
    }

    /// Where the next session goes.
    fn goes_to(&self) -> Option<IpAddr> {
        let client = crate::addr::ClientAddr::new(SocketAddr::from((ONE, 1)));
        let picked = self.entrance.pick(&Ask::of(client, 0, 0)).ok()?;
        Some(picked.lease.address().ip())
    }
}

/// A port that is free at both addresses, with a server at the first one.
async fn server_at_one() -> (u16, JoinSet<()>) {
    loop {
        let listener = TcpListener::bind((ONE, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        if TcpListener::bind((TWO, port)).await.is_ok() {
            return (port, on(listener, |_stream| std::future::ready(())));
        }
    }
}

#[tokio::test]
async fn a_new_address_is_taken_once_it_answers_and_kept_while_names_fail() {
    let (port, one) = server_at_one().await;
    let scene = Scene::of(port, 1, Probe::Tcp).await;
    assert_eq!(scene.goes_to(), Some(ONE.into()));
    let backend = Arc::clone(&scene.pool.members()[0].backend);

    scene.zone.say(&[TWO], 1);
    scene.zone.is_asked(2).await;
    assert_eq!(scene.goes_to(), Some(ONE.into()), "nobody answers at the other one");
    let two = on(TcpListener::bind((TWO, port)).await.unwrap(), |_| std::future::ready(()));
    until(|| scene.goes_to() == Some(TWO.into())).await;
    assert!(Arc::ptr_eq(&scene.pool.members()[0].backend, &backend));

    scene.zone.say(&[], 1);
    scene.zone.is_asked(2).await;
    assert_eq!(scene.goes_to(), Some(TWO.into()), "an empty answer is none");

    // Where it is down nobody waits for another to be up.
    drop((one, two));
    until(|| scene.goes_to().is_none()).await;
    scene.zone.say(&[ONE], 3600);
    let address = || scene.pool.ready().is_usable();
    scene.zone.is_asked(1).await;
    let _one = on(TcpListener::bind((ONE, port)).await.unwrap(), |_| std::future::ready(()));
    until(address).await;
    assert_eq!(scene.goes_to(), Some(ONE.into()));
}

#[tokio::test]
async fn a_failed_connect_has_the_name_looked_up_at_once_and_not_again_and_again() {
    // Nobody probes, and the answer holds for an hour.
    let scene = Scene::of(5432, 3600, Probe::None).await;
    assert_eq!(scene.goes_to(), Some(ONE.into()));
    scene.zone.say(&[TWO], 3600);
    let backend = Arc::clone(&scene.pool.members()[0].backend);
    let before = scene.zone.asked.load(Ordering::SeqCst);
    backend.connect_failed(ConnectFailure::Refused, Some(Duration::from_secs(1)), 0);
    until(|| scene.goes_to() == Some(TWO.into())).await;
    let began = tokio::time::Instant::now();
    let asked = || scene.zone.asked.load(Ordering::SeqCst);
    while asked() < before + 3 {
        backend.connect_failed(ConnectFailure::Refused, Some(Duration::from_secs(1)), 0);
        tokio::task::yield_now().await;
    }
    assert!(began.elapsed() >= RARELY, "{:?}", began.elapsed());
}
