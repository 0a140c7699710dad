//! One TCP session on one page: pick and connect, relay, leave a record.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::log::AccessLog;
use crate::outcome::{Outcome, Unserved};
use crate::record::{Record, WayIn};
use crate::relay::{self, Lent, Side};
use crate::route::{Routes, Way};
use crate::session::{Direction, Limits, Table};
use crate::tls::Inbound;
use crate::upstream::{self, Client, Dialer, Gateway, Secured};

/// What is done with the connections of one listener.
#[derive(Debug)]
pub struct Proxy {
    /// The listener's name.
    pub listener: Arc<str>,
    /// Where its sessions go.
    pub routes: Routes<Arc<Gateway>>,
    /// Where those go that do not speak TLS though it is asked of them; `None` = nowhere.
    pub plain: Option<Way<Arc<Gateway>>>,
    /// What ends TLS here; `None` = what comes is passed on.
    pub tls: Option<Arc<Inbound>>,
    /// No byte either way for so long ends a session; `None` = never.
    pub idle_timeout: Option<Duration>,
    /// A session ends after so long, give or take a tenth; `None` = never.
    pub max_lifetime: Option<Duration>,
    /// Where sessions leave their line; `None` = nowhere.
    pub access: Option<AccessLog>,
}

/// What a worker lends to its sessions.
#[derive(Debug)]
pub struct Tools {
    /// Connects to backends.
    pub dialer: Dialer,
    /// Buffer and pipes.
    pub lent: Rc<Lent>,
    /// The live sessions.
    pub sessions: Rc<Table>,
}

/// Serves one connection to its end, the way that it was led. The client's socket is closed when its
/// owner drops it, so that whoever counts can do so before the client knows.
///
/// # Errors
/// Why the client never reached a backend.
pub async fn serve(
    client: &mut Client,
    way: Way<Arc<Gateway>>,
    proxy: Arc<Proxy>,
    tools: &Tools,
) -> Result<Outcome, Unserved> {
    let mut line = Line::begin(client, &proxy, Some(&way));
    // Boxed, since it is twice as large as all that an established session needs.
    let connect = Box::pin(upstream::connect(&way.to, client, &tools.dialer));
    // Matched at once: a name for the result would keep room for it as long as the session lasts.
    let mut server = match connect.await {
        Ok(server) => server,
        Err(unreached) => {
            client.socket.reset_on_close();
            if let Some(line) = &mut line {
                line.record.attempts = unreached.attempts;
                line.finish(unreached.why.as_str());
            }
            return Err(unreached.why);
        }
    };
    if let Some(line) = &mut line {
        line.reached(&server);
    }
    let (tally, epoch) = (Arc::clone(server.lease.tally()), server.lease.epoch());
    let live = tools.sessions.enter(tally, epoch, proxy.limits());
    // The session may outlive many configurations.
    drop((proxy, way));
    client.hello = None;

    let ahead = std::mem::take(&mut client.ahead);
    let ours = Side { socket: &client.socket, tls: client.tls.as_deref_mut(), ahead };
    let outcome = relay::run(ours, theirs(&mut server), &live, &tools.lent).await;
    let is_mute = outcome == Outcome::BackendReset && live.first_byte().is_none();
    if is_mute && Instant::now() < server.on_trial_until {
        server.lease.backend().reset_early();
    }
    if let Some(line) = &mut line {
        line.record.bytes_in = live.bytes(Direction::In);
        line.record.bytes_out = live.bytes(Direction::Out);
        line.record.first_byte = live.first_byte().map(|at| at - client.since);
    }
    // Its last bytes are counted before its end is: whoever sees the end sees them all.
    drop(live);
    server.lease.tally().end(outcome, client.since.elapsed());
    if let Some(line) = &mut line {
        line.finish(outcome.as_str());
    }
    Ok(outcome)
}

/// Leaves the line of a client that no backend was asked for.
pub fn refuse(client: &Client, proxy: &Proxy, why: Unserved) {
    if let Some(mut line) = Line::begin(client, proxy, None) {
        line.finish(why.as_str());
    }
}

/// The backend's end of the relay.
fn theirs(server: &mut upstream::Server) -> Side<'_> {
    match server.tls.as_deref_mut() {
        None => Side::new(&server.socket, None),
        Some(Secured { session, ahead }) => {
            let ahead = std::mem::take(ahead);
            Side { socket: &server.socket, tls: Some(session), ahead }
        }
    }
}

impl Proxy {
    /// The limits of a session that begins now.
    fn limits(&self) -> Limits {
        // Sessions that began together must not end together.
        let spread = |lifetime: Duration| lifetime.mul_f64(0.9 + fastrand::f64() * 0.2);
        Limits { idle: self.idle_timeout, lifetime: self.max_lifetime.map(spread) }
    }
}

/// The access line of a session, boxed away: most run without one.
struct Line {
    access: AccessLog,
    since: Instant,
    record: Record,
}

impl Line {
    fn begin(client: &Client, proxy: &Proxy, way: Option<&Way<Arc<Gateway>>>) -> Option<Box<Self>> {
        let access = proxy.access.clone()?;
        let way_in = WayIn {
            listener: &proxy.listener,
            protocol: "tcp",
            client: client.address,
            local: client.local(),
            way: way.map(|way| (&way.route.name, way.to.entrance.pool().name())),
        };
        let mut record = Record::begun(way_in, SystemTime::now());
        record.tls = client.facts().map(Box::new);
        Some(Box::new(Self { access, since: client.since, record }))
    }

    fn reached(&mut self, server: &upstream::Server) {
        self.record.pool = Some(Arc::clone(&server.pool));
        self.record.backend = Some(Arc::clone(server.lease.backend().name()));
        self.record.attempts = server.attempts;
        self.record.connect = Some(self.since.elapsed());
    }

    fn finish(&mut self, outcome: &'static str) {
        self.record.time = SystemTime::now();
        self.record.duration = self.since.elapsed();
        self.record.outcome = outcome;
        self.access.write(&self.record);
    }
}
