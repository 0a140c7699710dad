//! The play itself: sets the stage, and lets happen what the script says.
//!
//! It needs nothing of the balancer but its [`Handle`] and its admin address, so whoever runs the
//! balancer decides how.

use std::future::Future;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::backend::Backend;
use super::clients::{self, Ledger};
use super::script::{Event, event};
use super::view::{Row, View, summary};
use crate::admin;
use crate::api::BackendStatus;
use crate::config::{self, Config};
use crate::server::Handle;

/// Names of the backends, with the ports they like.
const CAST: [(&str, u16); 3] = [("alpha", 9001), ("beta", 9002), ("gamma", 9003)];

/// The port that the balancer likes, for both protocols.
const FRONT: u16 = 9000;

/// Names of the listeners.
const STREAMS: &str = "demo";
const DATAGRAMS: &str = "demo-udp";

/// The port that the admin interface likes.
const ADMIN: u16 = 9900;

/// How finely it is measured when the balancer notices something.
const TICK: Duration = Duration::from_millis(10);

/// Three running backends, and the configuration of the balancer that belongs in front of them.
#[derive(Debug)]
pub(crate) struct Stage {
    backends: Vec<Backend>,
    front: SocketAddr,
    datagrams: SocketAddr,
    admin: SocketAddr,
}

impl Stage {
    /// Starts the backends on the runtime that this is called in, and finds ports: the usual ones,
    /// or free ones where those are taken.
    pub(crate) fn set() -> io::Result<Self> {
        let mut backends = Vec::new();
        for (name, port) in CAST {
            backends.push(Backend::start(name, loopback(port))?);
        }
        let usual_for_datagrams = UdpSocket::bind(loopback(FRONT)).is_ok();
        let datagrams = loopback(if usual_for_datagrams { FRONT } else { 0 });
        Ok(Self { backends, front: usual(FRONT), datagrams, admin: usual(ADMIN) })
    }

    /// Takes any free ports: somebody was quicker to take those that were found.
    pub(crate) fn move_elsewhere(&mut self) {
        self.front.set_port(0);
        self.datagrams.set_port(0);
        self.admin.set_port(0);
    }

    /// What the balancer is to run on. A port 0 in it means: any.
    ///
    /// Its probes are quick, so that a stop is noticed while somebody looks.
    pub(crate) fn config(&self) -> anyhow::Result<Config> {
        let backends = self.backends.iter();
        let backends = backends.map(|backend| {
            format!("  {{ name = \"{}\", address = \"{}\" }},\n", backend.name, backend.address)
        });
        let text = format!(
            "log.level = \"error\"\n\
             admin.bind = \"{}\"\n\
             process.shutdown_timeout = \"1s\"\n\
             [listener.{STREAMS}]\nbind = \"{}\"\npool = \"demo\"\n\
             [listener.{DATAGRAMS}]\nbind = \"{}\"\npool = \"demo\"\nprotocol = \"udp\"\n\
             responses = 1\n\
             [pool.demo]\nbackends = [\n{}]\n\
             [pool.demo.health]\ninterval = \"250ms\"\ntimeout = \"200ms\"\nfall = 2\n",
            self.admin,
            self.front,
            self.datagrams,
            backends.collect::<String>()
        );
        let loaded = config::parse("demo", &text, &|_| None);
        loaded.map(|loaded| loaded.config).map_err(|refused| {
            let problems = refused.problems.iter().map(ToString::to_string);
            anyhow::anyhow!(problems.collect::<Vec<_>>().join("\n"))
        })
    }

    /// Plays in front of the balancer of `handle` for `seconds`, or until `stop` is done.
    ///
    /// `admin` is where its admin interface listens; `live` redraws in place. Ends with a summary.
    /// Fails if nobody reads `out` any more, or if a stopped backend cannot come back.
    pub(crate) async fn play(
        self,
        handle: Arc<Handle>,
        admin: SocketAddr,
        seconds: Option<u64>,
        stop: impl Future<Output = ()>,
        (out, live): (impl Write, bool),
    ) -> io::Result<()> {
        let front = address(&handle, STREAMS).unwrap_or(self.front);
        let datagrams = address(&handle, DATAGRAMS).unwrap_or(self.datagrams);
        let ledger = Arc::new(Ledger::new(self.backends.iter().map(|backend| backend.name)));
        let mut view = View::new(out, live);
        view.say(&self.welcome(front, datagrams, admin))?;
        let mut crowd = JoinSet::new();
        crowd.spawn(clients::run(front, Arc::clone(&ledger)));
        let mut play = Play {
            backends: self.backends,
            handle,
            ledger,
            view,
            length: seconds,
            waiting: None,
            noticed: Vec::new(),
        };
        let mut stop = pin!(stop);
        tokio::select! {
            result = play.run() => result?,
            () = stop.as_mut() => {}
        }
        crowd.shutdown().await;
        let noticed = std::mem::take(&mut play.noticed);
        let retries = admin::report(&play.handle).pools.iter().map(|pool| pool.retries).sum();
        play.view.say(&summary(&play.ledger, &noticed, retries))
    }

    fn welcome(&self, front: SocketAddr, datagrams: SocketAddr, admin: SocketAddr) -> String {
        let backends = self.backends.iter();
        let backends: Vec<_> =
            backends.map(|backend| format!("{} {}", backend.name, backend.address)).collect();
        let (ip, port) = (front.ip(), front.port());
        format!(
            "evenkeel demo: three small backends behind one address, all on loopback\n\
             \n  clients go to  {front}, and with UDP to {datagrams}\n  backends       {}\n  dashboard      http://{admin}/\n\
             \nTry in another terminal:\n\
             \n  curl http://{front}/\n  nc {ip} {port}\n  \
             echo hello | nc -u -w1 {} {}\n  evenkeel status --admin {admin}\n  evenkeel top --admin {admin}\n  \
             curl http://{admin}/metrics\n\
             \nSome clients are on their way. One backend will stop and come back; Ctrl-C ends it.\n",
            backends.join(", "),
            datagrams.ip(),
            datagrams.port(),
        )
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port)
}

/// The port, or 0 if somebody else has it.
fn usual(port: u16) -> SocketAddr {
    let free = TcpListener::bind(loopback(port)).is_ok();
    loopback(if free { port } else { 0 })
}

/// Where a listener of the balancer really is.
fn address(handle: &Handle, listener: &str) -> Option<SocketAddr> {
    let snapshot = handle.snapshot();
    let view = snapshot.listeners.iter().find(|view| &*view.name == listener)?;
    view.addresses.first().copied()
}

/// A change that the balancer has not noticed yet.
#[derive(Debug)]
struct Waiting {
    who: usize,
    since: Instant,
    up: bool,
}

struct Play<W> {
    backends: Vec<Backend>,
    handle: Arc<Handle>,
    ledger: Arc<Ledger>,
    view: View<W>,
    length: Option<u64>,
    waiting: Option<Waiting>,
    noticed: Vec<(&'static str, f64)>,
}

impl<W: Write> Play<W> {
    async fn run(&mut self) -> io::Result<()> {
        let start = Instant::now();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut second = 0;
        while self.length.is_none_or(|length| second < length) {
            ticks.tick().await;
            self.look()?;
            let now = start.elapsed().as_secs();
            while second < now && self.length.is_none_or(|length| second < length) {
                second += 1;
                if let Some(event) = event(second, self.length, self.backends.len()) {
                    self.happen(event)?;
                }
                self.view.show(second, &self.rows(), &self.ledger)?;
            }
        }
        Ok(())
    }

    fn happen(&mut self, event: Event) -> io::Result<()> {
        let (Event::Stop(who) | Event::Revive(who)) = event;
        let up = matches!(event, Event::Revive(_));
        let Some(backend) = self.backends.get_mut(who) else { return Ok(()) };
        let name = backend.name;
        if up {
            backend.revive()?;
            self.view.say(&format!(">> {name} is started again"))?;
        } else {
            backend.stop();
            self.view.say(&format!(">> {name} is stopped: no listener, all its sessions cut"))?;
        }
        self.waiting = Some(Waiting { who, since: Instant::now(), up });
        Ok(())
    }

    /// Says so once the balancer has noticed the latest change.
    fn look(&mut self) -> io::Result<()> {
        let Some(Waiting { who, since, up }) = &self.waiting else { return Ok(()) };
        let (who, seconds, up) = (*who, since.elapsed().as_secs_f64(), *up);
        let seen = self.seen().get(who).map(|backend| backend.health == "up");
        if seen != Some(up) {
            return Ok(());
        }
        self.waiting = None;
        let Some(name) = self.backends.get(who).map(|backend| backend.name) else { return Ok(()) };
        if up {
            return self.view.say(&format!(">> {name} takes clients again after {seconds:.2} s"));
        }
        self.noticed.push((name, seconds));
        let others = "no client is sent there any more";
        self.view.say(&format!(">> {name} was found down after {seconds:.2} s: {others}"))
    }

    /// The backends as the balancer reports them.
    fn seen(&self) -> Vec<BackendStatus> {
        admin::report(&self.handle).pools.into_iter().flat_map(|pool| pool.backends).collect()
    }

    fn rows(&self) -> Vec<Row> {
        let row = |(backend, seen): (&Backend, BackendStatus)| Row {
            name: backend.name,
            address: backend.address.to_string(),
            // The operator's wish counts before what probes say.
            state: if seen.state == "ready" { seen.health } else { seen.state },
            sessions: seen.sessions,
        };
        self.backends.iter().zip(self.seen()).map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admission::Figures;
    use crate::pool::{Health, Judged, Pool, Standing, Warmth};
    use crate::server::{ListenerView, Snapshot};

    /// A balancer that sends everybody to the first backend, and whose judgement we are.
    fn stand_in(stage: &Stage) -> Arc<Handle> {
        let config = stage.config().unwrap();
        let pool = Arc::new(Pool::new(&config.pools[0], None));
        let view = ListenerView {
            name: Arc::from("demo"),
            addresses: vec![stage.backends[0].address],
            figures: Arc::new(Figures::default()),
            datagram_sockets: Vec::new(),
            routes: Vec::new(),
            requests: Vec::new(),
            tls: None,
            orders: None,
            live: None,
        };
        let snapshot = Snapshot {
            config: Arc::new(config),
            listeners: vec![view],
            pools: vec![pool],
            operators: Vec::new(),
        };
        Arc::new(Handle::new(snapshot, Arc::default()))
    }

    fn judge(handle: &Handle, second: Health) {
        let judged = [Health::Up, second, Health::Up].map(|health| Judged {
            standing: Standing { health, ..Standing::default() },
            address: None,
            weight: 1,
            warmth: Warmth::FULL,
        });
        handle.snapshot().pools[0].publish(&judged);
    }

    #[tokio::test]
    async fn the_play_says_what_happens_and_ends_with_a_summary() {
        let stage = Stage::set().unwrap();
        let handle = stand_in(&stage);
        judge(&handle, Health::Up);
        let (second, balancer) = (stage.backends[1].address, Arc::clone(&handle));
        let monitor = async move {
            // The probes of the balancer that is not there.
            loop {
                let up = tokio::net::TcpStream::connect(second).await.is_ok();
                judge(&balancer, if up { Health::Up } else { Health::Down });
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let mut out = Vec::new();
        let admin = "127.0.0.1:9900".parse().unwrap();
        stage.play(handle, admin, Some(3), monitor, (&mut out, false)).await.unwrap();
        let text = String::from_utf8(out).unwrap();
        for part in [
            "evenkeel status --admin 127.0.0.1:9900",
            "echo hello | nc -u -w1 127.0.0.1 ",
            ">> beta is stopped",
            ">> beta was found down after 0.",
            ">> beta is started again",
            ">> beta takes clients again",
            "served by alpha: ",
            "errors: 0 refused, 0 sessions cut",
            "failover: beta was found down 0.",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(!text.contains("served by alpha: 0\n"), "{text}");
    }

    #[tokio::test]
    async fn a_stop_ends_the_play_with_a_summary() {
        let stage = Stage::set().unwrap();
        let handle = stand_in(&stage);
        let mut out = Vec::new();
        let admin = "127.0.0.1:9900".parse().unwrap();
        stage.play(handle, admin, None, async {}, (&mut out, false)).await.unwrap();
        assert!(String::from_utf8(out).unwrap().contains("summary: "));
    }
}
